//! The pool's decisions as a pure state machine: which invoker serves next, which is replaced, and when.
//!
//! Inputs are method calls ([`Core::add_request`], [`Core::handle_report`], [`Core::tick`], …); outputs are [`Effects`].
//! After each input `settle` brings the pool as close to its target as the bounds allow: at most `slots` + 1 live
//! invokers at any instant. This module has no processes, no clock and no locks.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use crate::claude::quota::QuotaHold;
use crate::config::{Config, Isolation, Standby};
use crate::invoker::Report;
use crate::invoker::life::{Cause, Clear};
use crate::invoker::reason::{RestartReason, StopReason};
use crate::pool::observer::LifeEvent;
use crate::pool::policy::{CircuitBreaker, LimitUsage, Limits, STANDBY_AT, next_backoff};
use crate::pool::status::{LastRestart, PoolState, PoolStatus, Recovery, RestartCounts};
use crate::turn::{TurnError, Usage};

/// A waiting request.
pub(crate) type Ticket = u64;
/// An invoker's number.
pub(crate) type Id = u64;

/// The actions that the core asks its owner to carry out.
pub(crate) trait Effects {
    /// Starts an invoker; returns its number.
    fn start_invoker(&mut self) -> Id;
    /// Whether an invoker already runs the model that a waiting request names. A wrong answer only costs a `set_model`.
    fn runs_requested_model(&self, id: Id, ticket: Ticket) -> bool;
    /// Hands a waiting request to an idle invoker; returns false if the invoker is gone.
    fn assign_turn(&mut self, id: Id, ticket: Ticket, clear: Clear) -> bool;
    /// Ends a waiting request with an error.
    fn refuse_request(&mut self, ticket: Ticket, error: TurnError);
    /// Stops an invoker: after its turn, or `now`.
    fn stop_invoker(&mut self, id: Id, cause: StopReason, now: bool);
    /// Kills an invoker's tree.
    fn kill_invoker(&mut self, id: Id);
    /// Passes an event to the observers.
    fn emit_event(&mut self, event: LifeEvent);
}

/// The part of the configuration that the core needs.
#[derive(Debug, Clone)]
pub(crate) struct Rules {
    slots: usize,
    limits: Limits,
    standby: Standby,
    isolation: Isolation,
    queue: usize,
    probe_interval: Duration,
    max_failures: usize,
    failure_window: Duration,
}

impl From<&Config> for Rules {
    fn from(config: &Config) -> Self {
        Self {
            slots: config.slots.get(),
            limits: Limits::from(config),
            standby: config.standby,
            isolation: config.isolation,
            queue: config.queue,
            probe_interval: config.probe_interval,
            max_failures: config.max_failures.into(),
            failure_window: config.failure_window,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Starting,
    Idle,
    Busy,
    /// Its turn is over and its conversation is being reset.
    Settling,
    /// Takes no more turns; its process stops or has stopped.
    Leaving,
}

#[derive(Debug, Clone)]
struct Worker {
    phase: Phase,
    slot: Option<usize>,
    used: LimitUsage,
    /// RSS at the time of `Ready`, in bytes; 0 before that.
    first_rss: u64,
    /// At least one of its turns had a reply.
    is_proven: bool,
    /// Replace it although no limit is reached.
    forced_reason: Option<RestartReason>,
    cause: Option<Cause>,
}

/// The invoker that served a slot before, until its successor does.
#[derive(Debug, Clone, Copy)]
struct Predecessor {
    id: Id,
    reason: RestartReason,
    rss: u64,
    /// When it stopped taking turns.
    left: Instant,
}

#[derive(Debug, Clone, Copy, Default)]
struct Slot {
    invoker: Option<Id>,
    predecessor: Option<Predecessor>,
    /// Backoff: no start for this slot before.
    not_before: Option<Instant>,
}

/// The circuit is open: after too many failures no invoker is started, except for one probe at a time. The probe's invoker
/// is on trial (half-open) until a turn of it has had a reply: a CLI that answers `initialize` may still crash on every
/// prompt.
#[derive(Debug, Clone)]
struct OpenCircuit {
    reason: String,
    probe_at: Instant,
    probe: Probe,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Probe {
    /// The next probe is due at `probe_at`.
    Waiting,
    /// The probe's invoker is starting.
    Starting(Id),
    /// The probe's invoker has started and serves.
    OnTrial(Id),
}

impl OpenCircuit {
    fn is_probed_by(&self, id: Id) -> bool {
        matches!(self.probe, Probe::Starting(probe) | Probe::OnTrial(probe) if probe == id)
    }
}

/// The account's quota is used up.
#[derive(Debug, Clone, Copy)]
struct Quota {
    until: Instant,
    /// The CLI named an impossible reset time, so `until` is a guess.
    is_doubtful: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Stop {
    No,
    /// Accepted requests are served with all the turns that they need; the server accepts no new ones.
    Draining,
    /// Every request is refused.
    Now,
}

/// The pool's state.
#[derive(Debug, Clone)]
pub(crate) struct Core {
    rules: Rules,
    slots: Vec<Slot>,
    workers: BTreeMap<Id, Worker>,
    waiting: VecDeque<Ticket>,
    circuit: Option<OpenCircuit>,
    quota: Option<Quota>,
    /// After a doubtful hold: only one turn runs until it shows that the quota is renewed.
    quota_trial: bool,
    /// Since when no turn has run and no invoker could take one; `None` while there is one.
    unserved_since: Option<Instant>,
    /// Time of the last `settle`.
    settled_at: Option<Instant>,
    stop: Stop,
    /// The latest `/clear` was answered like a prompt, so this CLI seems not to know it. A `/clear` that works resets this.
    cannot_clear: bool,
    was_ready: bool,
    reported_state: PoolState,
    failures_in_a_row: u32,
    /// Counts each process once: its first reply is a success, an end before that is a failure.
    start_breaker: CircuitBreaker,
    /// Counts the later turns of processes that have had a reply.
    turn_breaker: CircuitBreaker,
    rng: fastrand::Rng,
    high_water: usize,
    started: u64,
    turns: u64,
    restarts: RestartCounts,
    last_restart: Option<LastRestart>,
}

impl Core {
    /// An empty pool; the first [`Core::tick`] starts its invokers. `seed` seeds the backoff jitter.
    #[must_use]
    pub(crate) fn new(rules: Rules, seed: u64) -> Self {
        Self {
            slots: vec![Slot::default(); rules.slots],
            workers: BTreeMap::new(),
            waiting: VecDeque::new(),
            circuit: None,
            quota: None,
            quota_trial: false,
            unserved_since: None,
            settled_at: None,
            stop: Stop::No,
            cannot_clear: false,
            was_ready: false,
            reported_state: PoolState::Starting,
            failures_in_a_row: 0,
            start_breaker: CircuitBreaker::new(rules.max_failures, rules.failure_window),
            turn_breaker: CircuitBreaker::new(rules.max_failures, rules.failure_window),
            rng: fastrand::Rng::with_seed(seed),
            high_water: 0,
            started: 0,
            turns: 0,
            restarts: RestartCounts::default(),
            last_restart: None,
            rules,
        }
    }

    /// Queues a request, or refuses it at once.
    pub(crate) fn add_request(&mut self, ticket: Ticket, now: Instant, fx: &mut dyn Effects) -> Result<(), TurnError> {
        if let Some(refusal) = self.refusal(now) {
            return Err(refusal);
        }
        // A request that can be assigned immediately does not count against the queue limit.
        self.waiting.push_back(ticket);
        self.settle(now, fx);
        if self.waiting.len() > self.rules.queue && self.waiting.back() == Some(&ticket) {
            self.waiting.pop_back();
            return Err(TurnError::QueueFull { waiting: self.waiting.len() });
        }
        Ok(())
    }

    /// Removes a waiting request whose client has left or whose time in the queue is over.
    pub(crate) fn withdraw_request(&mut self, ticket: Ticket) {
        self.waiting.retain(|t| *t != ticket);
    }

    /// Takes the report of an invoker.
    pub(crate) fn handle_report(&mut self, id: Id, report: Report<Ticket>, now: Instant, fx: &mut dyn Effects) {
        match report {
            Report::Ready { rss } => self.on_ready(id, rss, now, fx),
            Report::TurnOver { usage } => self.on_turn_over(id, usage, now),
            Report::Idle { cleared, rss } => self.on_idle(id, cleared, rss, now),
            Report::Returned(ticket) => self.waiting.push_front(ticket),
            Report::Cleared => self.cannot_clear = false,
            Report::RateLimited(hold) => self.on_rate_limit(hold, now),
            Report::Leaving { cause, rss } => self.on_leaving(id, &cause, rss, now),
            Report::Gone { cause, unusable } => self.on_gone(id, &cause, unusable, now, fx),
        }
        self.settle(now, fx);
    }

    /// Does what has become due since the last input.
    pub(crate) fn tick(&mut self, now: Instant, fx: &mut dyn Effects) {
        self.settle(now, fx);
    }

    /// Replaces every serving invoker; returns their numbers. The operator may have repaired the CLI or raised the quota,
    /// so this waits for no backoff, no probe interval and no quota reset. A probe that fails opens the circuit again, and a
    /// turn that finds the quota used up starts a new hold.
    pub(crate) fn restart(&mut self, now: Instant, fx: &mut dyn Effects) -> Vec<Id> {
        let serving: Vec<Id> = self.slots.iter().filter_map(|slot| slot.invoker).collect();
        for id in &serving {
            if let Some(worker) = self.workers.get_mut(id) {
                worker.forced_reason = Some(RestartReason::Admin);
            }
        }
        for slot in &mut self.slots {
            slot.not_before = None;
        }
        if let Some(circuit) = self.circuit.as_mut().filter(|s| s.probe == Probe::Waiting) {
            circuit.probe_at = now;
        }
        (self.quota, self.quota_trial) = (None, false);
        self.settle(now, fx);
        serving
    }

    /// Whether a slot is served by one of these.
    #[must_use]
    pub(crate) fn serves_any(&self, ids: &[Id]) -> bool {
        self.slots.iter().any(|slot| slot.invoker.is_some_and(|id| ids.contains(&id)))
    }

    /// Shows `Stopping` while the server accepts no new connections. Turns are served as before: an accepted request may
    /// need another turn, and that turn another invoker.
    pub(crate) fn drain(&mut self, now: Instant, fx: &mut dyn Effects) {
        self.stop = self.stop.max(Stop::Draining);
        self.settle(now, fx);
    }

    /// Refuses all requests from now on and stops every invoker.
    pub(crate) fn stop(&mut self, now: Instant, fx: &mut dyn Effects) {
        self.stop = Stop::Now;
        self.settle(now, fx);
    }

    /// Like [`Core::stop`], and kills every invoker at once.
    pub(crate) fn kill(&mut self, now: Instant, fx: &mut dyn Effects) {
        self.stop(now, fx);
        for id in self.workers.keys() {
            fx.kill_invoker(*id);
        }
    }

    /// When [`Core::tick`] is due next; already past, if something has become due since the last one.
    #[must_use]
    pub(crate) fn next_tick(&self, now: Instant) -> Option<Instant> {
        // Not the present: something that became due between the last `settle` and this call would be skipped for ever.
        let now = self.settled_at.unwrap_or(now);
        let serving = self.slots.iter().filter_map(|slot| self.workers.get(&slot.invoker?));
        let used = serving.filter_map(|worker| worker.used.next_change(&self.limits(), now));
        let backoff = self.slots.iter().filter_map(|slot| slot.not_before);
        let probe = self.circuit.as_ref().filter(|s| s.probe == Probe::Waiting).map(|s| s.probe_at);
        used.chain(backoff).chain(probe).chain(self.quota.map(|quota| quota.until)).filter(|at| *at > now).min()
    }

    /// Whether the pool has stopped and no invoker is left.
    #[must_use]
    pub(crate) fn is_over(&self) -> bool {
        self.stop == Stop::Now && self.workers.is_empty()
    }

    /// A snapshot.
    #[must_use]
    pub(crate) fn status(&self, now: Instant) -> PoolStatus {
        let state = self.state(now);
        let circuit = self.circuit.as_ref().filter(|_| state == PoolState::Offline);
        PoolStatus {
            state,
            recovery: self.recovery(now).filter(|_| state == PoolState::Ready),
            offline_reason: circuit.map(|s| s.reason.clone()),
            slots: self.rules.slots,
            live: self.workers.len(),
            high_water: self.high_water,
            standby: usize::from(self.standby().is_some()),
            busy: self.workers.values().filter(|m| m.phase == Phase::Busy).count(),
            waiting: self.waiting.len(),
            settled: self.is_settled(now),
            started: self.started,
            turns: self.turns,
            restarts: self.restarts,
            last_restart: self.last_restart.clone(),
            probe_in: circuit.map(|s| s.probe_at.saturating_duration_since(now)),
            quota_in: self.quota.map(|q| q.until.saturating_duration_since(now)).filter(|wait| !wait.is_zero()),
        }
    }
}

mod input;
mod settle;

#[cfg(test)]
mod tests;
