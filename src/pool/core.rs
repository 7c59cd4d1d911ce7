//! Who serves next: the pool's decisions as a pure state machine.
//!
//! It is told what happens ([`Core::request`], [`Core::report`], [`Core::tick`], …) and answers through [`Effects`].
//! After each input `settle` brings the pool as near to where it should be as the bounds allow: at most
//! `slots` + 1 invokers live, whatever happens. No process, no clock, no lock in here.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use crate::claude::quota::QuotaHold;
use crate::config::{Config, Isolation, Standby};
use crate::invoker::Report;
use crate::invoker::life::{Cause, Clear};
use crate::invoker::reason::{RestartReason, StopReason};
use crate::pool::observer::LifeEvent;
use crate::pool::policy::{CircuitBreaker, Limits, STANDBY_AT, Wear, backoff};
use crate::pool::status::{LastRestart, PoolState, PoolStatus, Recovery, RestartCounts};
use crate::turn::{TurnError, Usage};

/// A waiting request.
pub type Ticket = u64;
/// An invoker's number.
pub type Id = u64;

/// What the core has done to the world.
pub trait Effects {
    /// Starts an invoker; gives its number.
    fn start(&mut self) -> Id;
    /// Whether an invoker runs the model that a waiting request wants. A wrong answer costs a switch, no more.
    fn suits(&self, id: Id, ticket: Ticket) -> bool;
    /// Gives a waiting request to an idle invoker. False: the invoker is gone.
    fn assign(&mut self, id: Id, ticket: Ticket, clear: Clear) -> bool;
    /// Ends a waiting request with an error.
    fn refuse(&mut self, ticket: Ticket, error: TurnError);
    /// Stops an invoker: after its turn, or `now`.
    fn stop(&mut self, id: Id, cause: StopReason, now: bool);
    /// Kills an invoker's tree.
    fn kill(&mut self, id: Id);
    /// Tells the observers.
    fn emit(&mut self, event: LifeEvent);
}

/// What the core is configured with.
#[derive(Debug, Clone)]
pub struct Rules {
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
    /// It stops, or is gone but for its process.
    Leaving,
}

#[derive(Debug, Clone)]
struct Member {
    phase: Phase,
    slot: Option<usize>,
    wear: Wear,
    /// RSS when it had become ready, in bytes.
    first_rss: u64,
    /// A turn of it has had a reply: it was not only started, it works.
    is_proven: bool,
    /// It has to be replaced whatever it has used.
    forced: Option<RestartReason>,
    why: Option<Cause>,
}

/// Who served a slot before, until the next one does.
#[derive(Debug, Clone, Copy)]
struct Previous {
    id: Id,
    reason: RestartReason,
    rss: u64,
    /// When it served nobody any more.
    left: Instant,
}

#[derive(Debug, Clone, Copy, Default)]
struct Slot {
    invoker: Option<Id>,
    previous: Option<Previous>,
    /// Backoff: no start before.
    not_before: Option<Instant>,
}

/// Starts are suspended after too many failures. One probe at a time tries whether the CLI is back, and what it has started
/// is on trial until a turn has had a reply: a CLI that answers `initialize` may still die of every prompt.
#[derive(Debug, Clone)]
struct Suspension {
    reason: String,
    probe_at: Instant,
    probe: Probe,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Probe {
    /// Due at `probe_at`.
    Waiting,
    /// This invoker starts.
    Starting(Id),
    /// This invoker has started, and can serve.
    OnTrial(Id),
}

impl Suspension {
    fn is_probed_by(&self, id: Id) -> bool {
        matches!(self.probe, Probe::Starting(probe) | Probe::OnTrial(probe) if probe == id)
    }
}

/// The account's quota is used up.
#[derive(Debug, Clone, Copy)]
struct Quota {
    until: Instant,
    /// Nobody knows whether it is renewed then.
    is_doubtful: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Stop {
    No,
    /// Nobody new is let in; whoever is in is served as ever, with all the turns that it takes.
    Draining,
    /// Nothing is served any more.
    Now,
}

/// The pool's state.
#[derive(Debug, Clone)]
pub struct Core {
    rules: Rules,
    slots: Vec<Slot>,
    members: BTreeMap<Id, Member>,
    waiting: VecDeque<Ticket>,
    suspension: Option<Suspension>,
    quota: Option<Quota>,
    /// A single turn has to show whether the quota is renewed.
    quota_trial: bool,
    /// Since when no turn has run and none could have begun, if that is so.
    unserved_since: Option<Instant>,
    /// Up to when everything that was due is done.
    settled_at: Option<Instant>,
    stop: Stop,
    /// The latest `/clear` was taken for a prompt: this CLI seems not to know it. One that is obeyed shows the contrary.
    cannot_clear: bool,
    was_ready: bool,
    told: PoolState,
    failures_in_a_row: u32,
    /// Each process works or fails once: by its first reply, or by its end before that.
    start_breaker: CircuitBreaker,
    /// The turns of processes that have worked.
    turn_breaker: CircuitBreaker,
    rng: fastrand::Rng,
    high_water: usize,
    started: u64,
    turns: u64,
    restarts: RestartCounts,
    last_restart: Option<LastRestart>,
}

impl Core {
    /// An empty pool; the first [`Core::tick`] starts its invokers. `seed` is for the jitter of the backoff.
    #[must_use]
    pub fn new(rules: Rules, seed: u64) -> Self {
        Self {
            slots: vec![Slot::default(); rules.slots],
            members: BTreeMap::new(),
            waiting: VecDeque::new(),
            suspension: None,
            quota: None,
            quota_trial: false,
            unserved_since: None,
            settled_at: None,
            stop: Stop::No,
            cannot_clear: false,
            was_ready: false,
            told: PoolState::Starting,
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

    /// A request wants to wait for a slot.
    pub fn request(&mut self, ticket: Ticket, now: Instant, fx: &mut dyn Effects) -> Result<(), TurnError> {
        if let Some(refusal) = self.refusal(now) {
            return Err(refusal);
        }
        // Who can be served at once need not wait, and so can't be one too many.
        self.waiting.push_back(ticket);
        self.settle(now, fx);
        if self.waiting.len() > self.rules.queue && self.waiting.back() == Some(&ticket) {
            self.waiting.pop_back();
            return Err(TurnError::QueueFull { waiting: self.waiting.len() });
        }
        Ok(())
    }

    /// A waiting request does not want to wait any more.
    pub fn withdraw(&mut self, ticket: Ticket) {
        self.waiting.retain(|t| *t != ticket);
    }

    /// An invoker reports.
    pub fn report(&mut self, id: Id, report: Report<Ticket>, now: Instant, fx: &mut dyn Effects) {
        match report {
            Report::Ready { rss } => self.became_ready(id, rss, now, fx),
            Report::TurnOver { usage } => self.turn_over(id, usage, now),
            Report::Idle { cleared, rss } => self.became_idle(id, cleared, rss, now),
            Report::Returned(ticket) => self.waiting.push_front(ticket),
            Report::Cleared => self.cannot_clear = false,
            Report::RateLimited(hold) => self.rate_limited(hold, now),
            Report::Leaving { cause, rss } => self.leaving(id, &cause, rss, now),
            Report::Gone { cause, unusable } => self.gone(id, &cause, unusable, now, fx),
        }
        self.settle(now, fx);
    }

    /// Time has passed.
    pub fn tick(&mut self, now: Instant, fx: &mut dyn Effects) {
        self.settle(now, fx);
    }

    /// Every serving invoker has to be replaced. Gives their numbers. Somebody may have repaired what made the CLI fail, or
    /// have raised the quota, so no backoff, no suspension and no quota is waited for; a probe that fails suspends starts
    /// anew, and so does a turn that finds the quota used up.
    pub fn restart(&mut self, now: Instant, fx: &mut dyn Effects) -> Vec<Id> {
        let serving: Vec<Id> = self.slots.iter().filter_map(|slot| slot.invoker).collect();
        for id in &serving {
            if let Some(member) = self.members.get_mut(id) {
                member.forced = Some(RestartReason::Admin);
            }
        }
        for slot in &mut self.slots {
            slot.not_before = None;
        }
        if let Some(suspension) = self.suspension.as_mut().filter(|s| s.probe == Probe::Waiting) {
            suspension.probe_at = now;
        }
        (self.quota, self.quota_trial) = (None, false);
        self.settle(now, fx);
        serving
    }

    /// Whether a slot is served by one of these.
    #[must_use]
    pub fn serves(&self, ids: &[Id]) -> bool {
        self.slots.iter().any(|slot| slot.invoker.is_some_and(|id| ids.contains(&id)))
    }

    /// The server lets nobody new in. Nothing else changes: a request that is in may need another turn, and that turn
    /// another invoker.
    pub fn drain(&mut self, now: Instant, fx: &mut dyn Effects) {
        self.stop = self.stop.max(Stop::Draining);
        self.settle(now, fx);
    }

    /// Nothing is served any more, and every invoker stops.
    pub fn stop(&mut self, now: Instant, fx: &mut dyn Effects) {
        self.stop = Stop::Now;
        self.settle(now, fx);
    }

    /// Nobody gets the time to stop in good order.
    pub fn kill(&mut self, now: Instant, fx: &mut dyn Effects) {
        self.stop(now, fx);
        for id in self.members.keys() {
            fx.kill(*id);
        }
    }

    /// When [`Core::tick`] is due next; already past, if something has become due since the last one.
    #[must_use]
    pub fn next_tick(&self, now: Instant) -> Option<Instant> {
        // Not the present: what became due between the last look and this one would never be looked at.
        let now = self.settled_at.unwrap_or(now);
        let serving = self.slots.iter().filter_map(|slot| self.members.get(&slot.invoker?));
        let wear = serving.filter_map(|member| member.wear.next_change(&self.limits(), now));
        let backoff = self.slots.iter().filter_map(|slot| slot.not_before);
        let probe = self.suspension.as_ref().filter(|s| s.probe == Probe::Waiting).map(|s| s.probe_at);
        wear.chain(backoff).chain(probe).chain(self.quota.map(|quota| quota.until)).filter(|at| *at > now).min()
    }

    /// Whether the pool has stopped and nobody is left.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.stop == Stop::Now && self.members.is_empty()
    }

    /// A snapshot.
    #[must_use]
    pub fn status(&self, now: Instant) -> PoolStatus {
        let state = self.state(now);
        let suspension = self.suspension.as_ref().filter(|_| state == PoolState::Offline);
        PoolStatus {
            state,
            recovery: self.recovery(now).filter(|_| state == PoolState::Ready),
            offline_reason: suspension.map(|s| s.reason.clone()),
            slots: self.rules.slots,
            live: self.members.len(),
            high_water: self.high_water,
            standby: usize::from(self.standby().is_some()),
            busy: self.members.values().filter(|m| m.phase == Phase::Busy).count(),
            waiting: self.waiting.len(),
            settled: self.is_settled(now),
            started: self.started,
            turns: self.turns,
            restarts: self.restarts,
            last_restart: self.last_restart.clone(),
            probe_in: suspension.map(|s| s.probe_at.saturating_duration_since(now)),
            quota_in: self.quota.map(|q| q.until.saturating_duration_since(now)).filter(|wait| !wait.is_zero()),
        }
    }
}

mod input;
mod settle;

#[cfg(test)]
mod tests;
