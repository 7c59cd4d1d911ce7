use std::collections::BTreeSet;
use std::num::NonZeroUsize;

use proptest::prelude::*;

use super::*;

/// Invokers and requests that do as they are told, one step at a time.
#[derive(Default)]
struct World {
    next: Id,
    starting: BTreeSet<Id>,
    idle: BTreeSet<Id>,
    busy: BTreeMap<Id, Ticket>,
    /// Whether the latest turn of each is followed by a reset.
    clears: BTreeMap<Id, Clear>,
    clearing: BTreeSet<Id>,
    stopping: BTreeMap<Id, StopReason>,
    stop_after: BTreeMap<Id, StopReason>,
    /// Tickets that have ended: served, refused or withdrawn.
    ended: BTreeMap<Ticket, &'static str>,
    events: Vec<LifeEvent>,
    /// Who runs the model that a request wants.
    suited: BTreeMap<Ticket, Id>,
}

impl World {
    fn live(&self) -> usize {
        self.starting.len() + self.idle.len() + self.busy.len() + self.clearing.len() + self.stopping.len()
    }

    fn end(&mut self, ticket: Ticket, how: &'static str) {
        assert_eq!(self.ended.insert(ticket, how), None, "request {ticket} ended twice");
    }
}

impl Effects for World {
    fn start_invoker(&mut self) -> Id {
        self.next += 1;
        self.starting.insert(self.next);
        self.next
    }

    fn runs_requested_model(&self, id: Id, ticket: Ticket) -> bool {
        self.suited.get(&ticket) == Some(&id)
    }

    fn assign_turn(&mut self, id: Id, ticket: Ticket, clear: Clear) -> bool {
        assert!(self.idle.remove(&id), "{id} is not idle");
        assert!(!self.ended.contains_key(&ticket));
        self.busy.insert(id, ticket);
        self.clears.insert(id, clear);
        true
    }

    fn refuse_request(&mut self, ticket: Ticket, _: TurnError) {
        self.end(ticket, "refused");
    }

    fn stop_invoker(&mut self, id: Id, cause: StopReason, now: bool) {
        if self.busy.contains_key(&id) && !now {
            self.stop_after.insert(id, cause);
        } else if let Some(ticket) = self.busy.remove(&id) {
            self.end(ticket, "stopped");
            self.stopping.insert(id, cause);
        } else if self.idle.remove(&id) || self.clearing.remove(&id) || self.starting.remove(&id) {
            self.stopping.insert(id, cause);
        }
    }

    fn kill_invoker(&mut self, id: Id) {
        self.stop_invoker(id, StopReason::Kill, true);
    }

    fn emit_event(&mut self, event: LifeEvent) {
        self.events.push(event);
    }
}

/// A core and its world, with the bounds checked after every step.
struct Sim {
    core: Core,
    world: World,
    now: Instant,
    tickets: Ticket,
    slots: usize,
}

impl Sim {
    fn new(config: &Config) -> Self {
        let core = Core::new(Rules::from(config), 7);
        let (now, slots) = (Instant::now(), config.slots.get());
        let mut sim = Self { core, world: World::default(), now, tickets: 0, slots };
        sim.core.tick(sim.now, &mut sim.world);
        sim.check();
        sim
    }

    fn check(&self) {
        let status = self.core.status(self.now);
        assert!(self.world.live() <= self.slots + 1, "{} live with {} slots", self.world.live(), self.slots);
        assert_eq!(status.live, self.world.live());
        assert!(status.high_water <= self.slots + 1);
        assert!(self.world.busy.len() <= self.slots, "more turns run than there are slots");
    }

    fn report(&mut self, id: Id, report: Report<Ticket>) {
        self.core.handle_report(id, report, self.now, &mut self.world);
        self.check();
    }

    fn request(&mut self) -> Ticket {
        self.tickets += 1;
        let ticket = self.tickets;
        if self.core.add_request(ticket, self.now, &mut self.world).is_err() {
            self.world.end(ticket, "refused");
        }
        self.check();
        ticket
    }

    fn ready(&mut self, id: Id) {
        self.world.starting.remove(&id);
        self.world.idle.insert(id);
        self.report(id, Report::Ready { rss: 1 });
    }

    /// The turn works; then the invoker clears and is idle again, or stops as it was told.
    fn finish(&mut self, id: Id, clears: bool) {
        let ticket = self.world.busy.remove(&id).unwrap();
        self.world.end(ticket, "served");
        if let Some(cause) = self.world.stop_after.remove(&id) {
            self.world.stopping.insert(id, cause);
            self.report(id, Report::TurnOver { usage: Some(Usage::default()) });
            if clears && self.world.clears[&id] == Clear::Always {
                self.report(id, Report::Cleared);
            }
            self.report(id, Report::Leaving { cause: Cause::Planned(cause), rss: 1 });
        } else {
            self.world.clearing.insert(id);
            self.report(id, Report::TurnOver { usage: Some(Usage::default()) });
            if clears && self.world.clearing.remove(&id) {
                self.world.idle.insert(id);
                self.report(id, Report::Idle { cleared: true, rss: 1 });
            } else if self.world.clearing.remove(&id) {
                self.world.stopping.insert(id, StopReason::Restart(RestartReason::Isolation));
                self.report(id, Report::Leaving { cause: Cause::NotCleared { unable: true }, rss: 1 });
            }
        }
    }

    /// The client goes away: the turn ends without a reply, and the invoker is idle again, or stops as it was told.
    fn give_up(&mut self, id: Id) {
        let ticket = self.world.busy.remove(&id).unwrap();
        self.world.end(ticket, "given up");
        if let Some(cause) = self.world.stop_after.remove(&id) {
            self.world.stopping.insert(id, cause);
            self.report(id, Report::TurnOver { usage: None });
            self.report(id, Report::Leaving { cause: Cause::Planned(cause), rss: 1 });
        } else {
            self.world.clearing.insert(id);
            self.report(id, Report::TurnOver { usage: None });
            if self.world.clearing.remove(&id) {
                self.world.idle.insert(id);
                self.report(id, Report::Idle { cleared: true, rss: 1 });
            }
        }
    }

    /// Whatever the invoker does, its process ends by itself.
    fn crash(&mut self, id: Id, unusable: bool) {
        let ticket = self.world.busy.remove(&id);
        self.world.stop_after.remove(&id);
        let there = self.world.starting.remove(&id) || self.world.idle.remove(&id) || self.world.clearing.remove(&id);
        if ticket.is_none() && !there {
            return;
        }
        self.world.stopping.insert(id, StopReason::Kill);
        let cause = Cause::Failed("crash".to_owned());
        if let Some(ticket) = ticket {
            self.core.handle_report(id, Report::TurnOver { usage: None }, self.now, &mut self.world);
            self.core.handle_report(id, Report::Leaving { cause: cause.clone(), rss: 1 }, self.now, &mut self.world);
            self.report(id, Report::Returned(ticket));
        }
        self.world.stopping.remove(&id);
        self.core.handle_report(id, Report::Gone { cause, unusable }, self.now, &mut self.world);
        self.check();
    }

    fn gone(&mut self, id: Id) {
        if let Some(cause) = self.world.stopping.remove(&id) {
            self.report(id, Report::Gone { cause: Cause::Planned(cause), unusable: false });
        }
    }

    fn advance(&mut self, by: Duration) {
        self.now += by;
        self.core.tick(self.now, &mut self.world);
        self.check();
    }

    /// Everybody does what is expected, until nothing is left to do.
    fn run_out(&mut self) {
        for _ in 0..10_000 {
            let pick = |set: &BTreeSet<Id>| set.first().copied();
            if let Some(id) = pick(&self.world.starting) {
                self.ready(id);
            } else if let Some(id) = self.world.busy.keys().next().copied() {
                self.finish(id, true);
            } else if let Some(id) = pick(&self.world.clearing) {
                self.world.clearing.remove(&id);
                self.world.idle.insert(id);
                self.report(id, Report::Idle { cleared: true, rss: 1 });
            } else if let Some(id) = self.world.stopping.keys().next().copied() {
                self.gone(id);
            } else if self.core.is_on_trial() && self.core.stop != Stop::Now {
                // Only a turn shows that it works.
                self.request();
            } else if let Some(at) = self.core.next_tick(self.now).filter(|_| !self.core.status(self.now).settled) {
                self.advance(at - self.now);
            } else {
                return;
            }
        }
        panic!("never comes to rest: {:?}", self.core.status(self.now));
    }
}

fn rate_limited(seconds: u64, is_doubtful: bool) -> Report<Ticket> {
    Report::RateLimited(QuotaHold { resets_in: Duration::from_secs(seconds), is_doubtful })
}

fn config(slots: usize, standby: Standby) -> Config {
    Config { slots: NonZeroUsize::new(slots).unwrap(), standby, ..Config::default() }
}

#[test]
fn one_slot_restarts_without_a_stall_and_with_two_live_at_most() {
    let mut sim = Sim::new(&config(1, Standby::Jit));
    sim.ready(1);
    for turn in 1..=7 {
        sim.request();
        sim.finish(1, true);
        assert_eq!(sim.world.live(), 1, "after turn {turn}");
    }
    sim.request();
    assert_eq!(sim.world.starting.len(), 1, "at 80 % a standby is started");
    sim.finish(1, true);
    sim.request();
    assert!(sim.world.busy.contains_key(&1), "meanwhile the old one serves on");
    sim.ready(2);
    assert_eq!(sim.core.status(sim.now).restarts.turns, 1);
    sim.request();
    assert_eq!(sim.world.busy.len(), 1, "with one slot one turn runs at a time");
    sim.finish(1, true);
    assert!(sim.world.busy.contains_key(&2), "the new one serves while the old one stops");
    sim.gone(1);
    sim.run_out();
    assert!(sim.core.status(sim.now).settled);
}

#[test]
fn a_hundred_requests_during_one_restart_start_one_process() {
    let mut sim = Sim::new(&Config { max_turns: 1, ..config(1, Standby::Jit) });
    sim.ready(1);
    for _ in 0..100 {
        sim.request();
    }
    assert_eq!(sim.core.status(sim.now).started, 2);
}

#[test]
fn without_standbys_the_old_one_stops_first() {
    let mut sim = Sim::new(&Config { max_turns: 1, ..config(1, Standby::Off) });
    sim.ready(1);
    sim.request();
    assert_eq!(sim.world.live(), 1);
    sim.finish(1, true);
    assert_eq!((sim.world.stopping.len(), sim.world.starting.len()), (1, 1));
}

#[test]
fn a_crash_costs_no_wait_and_a_crash_loop_ends_offline_with_a_probe() {
    let mut sim = Sim::new(&config(1, Standby::Jit));
    sim.ready(1);
    sim.request();
    sim.finish(1, true);
    sim.crash(1, false);
    assert_eq!(sim.world.starting.len(), 1, "the next one starts at once");
    for _ in 0..6 {
        let id = *sim.world.starting.first().unwrap();
        sim.crash(id, false);
        if let Some(at) = sim.core.next_tick(sim.now) {
            sim.advance(at - sim.now);
        }
    }
    let status = sim.core.status(sim.now);
    assert_eq!((status.state, status.started), (PoolState::Offline, 8), "the advance to the probe starts one more");
    sim.request();
    assert_eq!(sim.world.ended.values().filter(|how| **how == "refused").count(), 1);
    let probe = *sim.world.starting.first().unwrap();
    sim.ready(probe);
    let status = sim.core.status(sim.now);
    assert_eq!((status.state, status.recovery), (PoolState::Ready, Some(Recovery::Trial)));
    let served = sim.request();
    sim.run_out();
    assert_eq!(sim.world.ended[&served], "served");
    assert_eq!(sim.core.status(sim.now).recovery, None);
}

#[test]
fn a_cli_that_starts_and_then_dies_costs_one_try_for_each_probe() {
    let config = Config { probe_interval: Duration::from_secs(30), ..config(2, Standby::Jit) };
    let mut sim = Sim::new(&config);
    sim.crash(1, true);
    sim.crash(2, true);
    for round in 1..5 {
        sim.advance(Duration::from_secs(30));
        let probe = *sim.world.starting.first().unwrap();
        sim.ready(probe);
        assert_eq!(
            sim.core.status(sim.now).started,
            2 + round,
            "nothing else is started before it has shown something"
        );
        let waits = sim.request();
        sim.crash(probe, false);
        assert_eq!(sim.core.status(sim.now).state, PoolState::Offline);
        assert_eq!(sim.world.ended[&waits], "refused");
    }
    sim.advance(Duration::from_secs(30));
    let probe = *sim.world.starting.first().unwrap();
    sim.ready(probe);
    sim.request();
    sim.finish(probe, true);
    assert_eq!(sim.world.starting.len(), 1, "it works: the second slot is filled");
    sim.run_out();
    assert!(sim.core.status(sim.now).settled);
}

#[test]
fn an_invoker_at_its_limit_serves_nobody_and_does_not_hide_that_the_cli_is_gone() {
    let mut sim = Sim::new(&Config { max_turns: 3, ..config(1, Standby::Jit) });
    sim.ready(1);
    for _ in 0..3 {
        sim.request();
        if let Some(standby) = sim.world.starting.first().copied() {
            sim.crash(standby, true);
        }
        sim.finish(1, true);
    }
    assert_eq!(sim.core.status(sim.now).state, PoolState::Offline);
    let refused = sim.request();
    assert_eq!(sim.world.ended[&refused], "refused");
    sim.advance(Duration::from_secs(30));
    sim.ready(*sim.world.starting.first().unwrap());
    let served = sim.request();
    sim.run_out();
    assert_eq!(sim.world.ended[&served], "served");
}

#[test]
fn a_start_that_takes_as_long_as_requests_may_wait_takes_the_pool_offline_when_it_fails() {
    let mut sim = Sim::new(&config(1, Standby::Jit));
    sim.ready(1);
    sim.crash(1, false);
    let waits = sim.request();
    let starting = *sim.world.starting.first().unwrap();
    sim.advance(Duration::from_secs(6));
    assert_eq!(sim.core.status(sim.now).recovery, Some(Recovery::Stalled));
    sim.advance(Duration::from_secs(24));
    sim.crash(starting, false);
    assert_eq!(sim.core.status(sim.now).state, PoolState::Offline);
    assert_eq!(sim.world.ended[&waits], "refused");
}

#[test]
fn a_few_broken_turns_among_many_that_work_never_take_the_pool_offline() {
    let mut sim = Sim::new(&config(8, Standby::Jit));
    for n in 0..4000_u32 {
        while let Some(id) = sim.world.starting.first().copied() {
            sim.ready(id);
        }
        sim.request();
        let id = *sim.world.busy.first_key_value().unwrap().0;
        if n % 20 == 0 {
            // Returned to the queue, it is given to another, which serves it.
            sim.crash(id, false);
        } else {
            sim.finish(id, true);
        }
        while let Some(id) = sim.world.stopping.first_key_value().map(|(id, _)| *id) {
            sim.gone(id);
        }
        sim.advance(Duration::from_millis(3));
        assert_eq!(sim.core.status(sim.now).state, PoolState::Ready, "after {n} turns");
    }
    assert!(sim.world.ended.values().all(|how| *how == "served"));
}

#[test]
fn a_cli_that_can_not_be_started_any_more_suspends_starts_however_well_the_others_work() {
    let mut sim = Sim::new(&config(2, Standby::Jit));
    (1..=2).for_each(|id| sim.ready(id));
    (0..4).for_each(|_| {
        sim.request();
        sim.finish(1, true);
    });
    sim.crash(2, false);
    let mut started = 0;
    while let Some(id) = sim.world.starting.first().copied() {
        sim.crash(id, false);
        started += 1;
        sim.advance(Duration::from_millis(600));
        assert!(started < 20, "starts go on");
    }
    assert_eq!(sim.core.status(sim.now).state, PoolState::Ready, "the one that works serves");
}

#[test]
fn a_cli_that_is_missing_is_offline_at_once() {
    let mut sim = Sim::new(&config(1, Standby::Jit));
    sim.crash(1, true);
    assert_eq!(sim.core.status(sim.now).state, PoolState::Offline);
    assert_eq!(sim.world.live(), 0, "no loop of starts");
}

#[test]
fn a_restart_that_is_asked_for_waits_neither_for_a_probe_nor_for_a_backoff() {
    let mut sim = Sim::new(&Config { max_failures: 1, ..config(1, Standby::Jit) });
    sim.crash(1, true);
    assert_eq!(sim.core.status(sim.now).state, PoolState::Offline);
    for started in 2..5 {
        assert!(sim.core.restart(sim.now, &mut sim.world).is_empty(), "nothing serves");
        assert_eq!(sim.core.restart(sim.now, &mut sim.world).len(), 1, "the probe itself, and no second one");
        sim.check();
        let probe = *sim.world.starting.first().unwrap();
        assert_eq!((sim.core.status(sim.now).started, sim.world.starting.len()), (started, 1));
        sim.crash(probe, false);
        assert_eq!(sim.core.status(sim.now).state, PoolState::Offline, "and it waits for the next one");
        assert!(sim.world.starting.is_empty());
    }
    let mut sim = Sim::new(&Config { max_failures: 100, ..config(1, Standby::Jit) });
    for _ in 0..10 {
        let id = *sim.world.starting.first().unwrap();
        sim.crash(id, false);
        sim.core.restart(sim.now, &mut sim.world);
        assert_eq!(sim.world.starting.len(), 1, "no backoff is waited for");
    }
}

#[test]
fn an_invoker_that_breaks_over_a_model_is_replaced_at_once_and_never_counts() {
    let mut sim = Sim::new(&Config { max_failures: 0, ..config(1, Standby::Jit) });
    for round in 1..10 {
        let id = *sim.world.starting.first().unwrap();
        sim.ready(id);
        let ticket = sim.request();
        assert_eq!(sim.world.busy.remove(&id), Some(ticket));
        sim.world.end(ticket, "refused");
        sim.world.stopping.insert(id, StopReason::Kill);
        sim.report(id, Report::TurnOver { usage: None });
        let cause = Cause::NotSwitched("no answer".to_owned());
        sim.report(id, Report::Leaving { cause: cause.clone(), rss: 1 });
        sim.world.stopping.remove(&id);
        sim.core.handle_report(id, Report::Gone { cause, unusable: false }, sim.now, &mut sim.world);
        sim.check();
        assert_eq!(sim.world.starting.len(), 1, "round {round}: its successor starts without a wait");
        assert_eq!(sim.core.status(sim.now).state, PoolState::Ready);
    }
    assert_eq!(sim.core.status(sim.now).restarts.recovery, 8);
}

#[test]
fn a_used_up_quota_holds_the_pool_until_it_is_renewed() {
    let mut sim = Sim::new(&config(1, Standby::Jit));
    sim.ready(1);
    sim.report(1, rate_limited(100, false));
    let refusal = sim.core.add_request(99, sim.now, &mut sim.world).unwrap_err();
    assert_eq!(refusal, TurnError::RateLimited { retry_after: Duration::from_secs(100) });
    sim.advance(Duration::from_secs(100));
    let served = sim.request();
    sim.run_out();
    assert_eq!(sim.world.ended[&served], "served");
}

#[test]
fn after_a_doubtful_quota_one_turn_goes_first_and_the_others_wait_for_what_it_finds() {
    let mut sim = Sim::new(&config(3, Standby::Jit));
    (1..=3).for_each(|id| sim.ready(id));
    sim.report(1, rate_limited(300, true));
    sim.advance(Duration::from_mins(5));
    let tickets: Vec<Ticket> = (0..3).map(|_| sim.request()).collect();
    assert_eq!(sim.world.busy.len(), 1, "one of them tries");
    let (probe, _) = sim.world.busy.first_key_value().map(|(id, ticket)| (*id, *ticket)).unwrap();
    sim.report(probe, rate_limited(300, true));
    assert!(tickets[1..].iter().all(|t| sim.world.ended[t] == "refused"), "used up still");
    sim.finish(probe, true);
    sim.advance(Duration::from_mins(5));
    for _ in 0..3 {
        sim.request();
    }
    let probe = *sim.world.busy.first_key_value().unwrap().0;
    assert_eq!(sim.world.busy.len(), 1);
    sim.finish(probe, true);
    assert_eq!(sim.world.busy.len(), 2, "renewed");
}

#[test]
fn a_restart_that_is_asked_for_ends_a_quota() {
    for is_doubtful in [false, true] {
        let mut sim = Sim::new(&config(1, Standby::Jit));
        sim.ready(1);
        sim.report(1, rate_limited(100, is_doubtful));
        sim.core.restart(sim.now, &mut sim.world);
        let served = sim.request();
        sim.run_out();
        assert_eq!(sim.world.ended[&served], "served");
    }
}

#[test]
fn what_becomes_due_between_two_looks_is_looked_at() {
    let mut sim = Sim::new(&config(1, Standby::Jit));
    sim.ready(1);
    sim.report(1, rate_limited(100, false));
    let due = sim.now + Duration::from_secs(100);
    // Whoever asks for the time of the next tick does so a little later than the last one was.
    assert_eq!(sim.core.next_tick(due + Duration::from_millis(1)), Some(due));
}

#[test]
fn a_cli_that_cannot_clear_serves_one_turn_and_the_next_one_is_prewarmed() {
    let mut sim = Sim::new(&config(1, Standby::Jit));
    sim.ready(1);
    sim.request();
    sim.finish(1, false);
    sim.run_out();
    assert_eq!(sim.core.status(sim.now).restarts.isolation, 1);
    sim.request();
    assert_eq!(sim.world.starting.len(), 1, "while it serves, the next one starts");
    sim.run_out();
    assert_eq!(sim.core.status(sim.now).restarts.isolation, 2);
}

#[test]
fn an_idle_pool_renews_its_invokers_by_time_alone() {
    let mut sim = Sim::new(&config(2, Standby::Jit));
    sim.run_out();
    let before = sim.core.status(sim.now).restarts.total();
    sim.advance(Duration::from_hours(4));
    sim.run_out();
    assert_eq!(sim.core.status(sim.now).restarts.idle - before, 2);
}

#[test]
fn a_request_goes_to_the_idle_invoker_that_runs_its_model_and_else_to_the_one_that_has_served_most() {
    let mut sim = Sim::new(&config(3, Standby::Jit));
    for id in 1..=3 {
        sim.ready(id);
    }
    sim.world.suited = BTreeMap::from([(1, 3), (2, 2), (4, 2)]);
    for (ticket, served_by) in [(1, 3), (2, 2), (3, 2), (4, 2)] {
        assert_eq!(sim.request(), ticket);
        assert_eq!(sim.world.busy.get(&served_by), Some(&ticket), "{:?}", sim.world.busy);
        sim.finish(served_by, true);
    }
    sim.world.suited = BTreeMap::from([(5, 2), (6, 2)]);
    assert_eq!((sim.request(), sim.request()), (5, 6));
    assert_eq!(sim.world.busy, BTreeMap::from([(2, 5), (3, 6)]), "it does not wait for the one that suits");
}

#[test]
fn a_full_queue_refuses_one_more_and_serves_the_rest() {
    let mut sim = Sim::new(&Config { queue: 3, ..config(1, Standby::Jit) });
    sim.ready(1);
    let tickets: Vec<Ticket> = (0..6).map(|_| sim.request()).collect();
    assert_eq!(sim.world.ended.len(), 2, "one runs, three wait");
    sim.run_out();
    assert!(tickets[..4].iter().all(|t| sim.world.ended[t] == "served"));
}

#[test]
fn whoever_is_in_when_the_door_closes_is_served_and_so_is_the_turn_asked_after_it() {
    let mut sim = Sim::new(&Config { max_turns: 1, ..config(1, Standby::Off) });
    sim.ready(1);
    let first = sim.request();
    sim.core.drain(sim.now, &mut sim.world);
    assert_eq!(sim.core.status(sim.now).state, PoolState::Stopping);
    sim.run_out();
    let second = sim.request();
    sim.run_out();
    assert_eq!((sim.world.ended[&first], sim.world.ended[&second]), ("served", "served"));
    sim.core.stop(sim.now, &mut sim.world);
    let late = sim.request();
    sim.run_out();
    assert!(sim.world.ended[&late] == "refused" && sim.core.is_over());
}

#[test]
fn an_invoker_on_trial_that_is_replaced_hands_the_trial_to_its_successor() {
    let mut sim = Sim::new(&Config { max_turns: 1, ..config(1, Standby::Always) });
    sim.crash(2, true);
    sim.core.restart(sim.now, &mut sim.world);
    // The invoker that was starting already is ready first, so it is on trial; then the standby takes its slot.
    sim.ready(1);
    sim.ready(3);
    assert!(sim.core.is_on_trial());
    let ticket = sim.request();
    sim.run_out();
    assert_eq!(sim.world.ended[&ticket], "served");
    assert_eq!(sim.core.status(sim.now).state, PoolState::Ready);
}

#[test]
fn an_invoker_on_trial_that_idles_too_long_hands_the_trial_to_its_successor() {
    for standby in [Standby::Jit, Standby::Always, Standby::Off] {
        let mut sim = Sim::new(&config(1, standby));
        sim.crash(1, true);
        sim.core.restart(sim.now, &mut sim.world);
        let probe = *sim.world.starting.first().unwrap();
        sim.ready(probe);
        assert!(sim.core.is_on_trial());
        sim.advance(Config::default().max_idle);
        let successor = *sim.world.starting.first().unwrap();
        sim.ready(successor);
        assert_eq!(sim.core.status(sim.now).state, PoolState::Ready, "{standby:?}");
        let ticket = sim.request();
        sim.run_out();
        assert_eq!(sim.world.ended[&ticket], "served", "{standby:?}");
        assert_eq!(sim.core.status(sim.now).recovery, None, "{standby:?}");
    }
}

#[test]
fn an_invoker_on_trial_whose_only_turn_is_given_up_hands_the_trial_to_its_successor() {
    let mut sim = Sim::new(&Config { max_turns: 1, ..config(1, Standby::Jit) });
    sim.crash(1, true);
    sim.core.restart(sim.now, &mut sim.world);
    let probe = *sim.world.starting.first().unwrap();
    sim.ready(probe);
    sim.request();
    sim.give_up(probe);
    let successor = *sim.world.starting.first().unwrap();
    sim.ready(successor);
    let ticket = sim.request();
    sim.run_out();
    assert_eq!(sim.world.ended[&ticket], "served");
}

#[test]
fn a_restart_that_is_asked_for_does_not_wait_for_the_turn_of_an_invoker_on_trial() {
    let mut sim = Sim::new(&config(1, Standby::Jit));
    sim.crash(1, true);
    sim.core.restart(sim.now, &mut sim.world);
    let probe = *sim.world.starting.first().unwrap();
    sim.ready(probe);
    assert_eq!(sim.core.restart(sim.now, &mut sim.world), [probe]);
    let successor = *sim.world.starting.first().unwrap();
    sim.ready(successor);
    assert!(!sim.core.serves_any(&[probe]), "it is replaced");
    assert!(sim.core.is_on_trial(), "and its successor has to show that the CLI works");
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Request,
    Withdraw(prop::sample::Index),
    Ready(prop::sample::Index),
    Finish(prop::sample::Index, bool),
    GiveUp(prop::sample::Index),
    Crash(prop::sample::Index, bool),
    Gone(prop::sample::Index),
    Advance(u64),
    Restart,
    Drain,
    StopNow,
}

fn steps() -> impl Strategy<Value = Step> {
    let index = any::<prop::sample::Index>;
    prop_oneof![
        20 => Just(Step::Request),
        2 => index().prop_map(Step::Withdraw),
        12 => index().prop_map(Step::Ready),
        20 => (index(), prop::bool::weighted(0.98)).prop_map(|(i, clears)| Step::Finish(i, clears)),
        3 => index().prop_map(Step::GiveUp),
        4 => (index(), prop::bool::weighted(0.1)).prop_map(|(i, unusable)| Step::Crash(i, unusable)),
        10 => index().prop_map(Step::Gone),
        3 => (0_u64..40_000).prop_map(Step::Advance),
        // Longer than any limit of time.
        1 => (0_u64..100_000_000).prop_map(Step::Advance),
        2 => Just(Step::Restart),
    ]
}

fn pick(index: prop::sample::Index, ids: &[Id]) -> Option<Id> {
    (!ids.is_empty()).then(|| *index.get(ids))
}

impl Sim {
    fn step(&mut self, step: Step) {
        match step {
            Step::Request => drop(self.request()),
            Step::Withdraw(index) => {
                let waiting: Vec<Id> = self.core.waiting.iter().copied().collect();
                if let Some(ticket) = pick(index, &waiting) {
                    self.core.withdraw_request(ticket);
                    self.world.end(ticket, "withdrawn");
                }
            }
            Step::Ready(index) => {
                if let Some(id) = pick(index, &self.world.starting.iter().copied().collect::<Vec<_>>()) {
                    self.ready(id);
                }
            }
            Step::Finish(index, clears) => {
                if let Some(id) = pick(index, &self.world.busy.keys().copied().collect::<Vec<_>>()) {
                    self.finish(id, clears);
                }
            }
            Step::GiveUp(index) => {
                if let Some(id) = pick(index, &self.world.busy.keys().copied().collect::<Vec<_>>()) {
                    self.give_up(id);
                }
            }
            Step::Crash(index, unusable) => {
                let ids = self.world.idle.iter().chain(&self.world.starting).chain(self.world.busy.keys());
                if let Some(id) = pick(index, &ids.copied().collect::<Vec<_>>()) {
                    self.crash(id, unusable);
                }
            }
            Step::Gone(index) => {
                if let Some(id) = pick(index, &self.world.stopping.keys().copied().collect::<Vec<_>>()) {
                    self.gone(id);
                }
            }
            Step::Advance(ms) => self.advance(Duration::from_millis(ms)),
            Step::Restart => drop(self.core.restart(self.now, &mut self.world)),
            Step::Drain => self.core.drain(self.now, &mut self.world),
            Step::StopNow => self.core.stop(self.now, &mut self.world),
        }
        self.check();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Whatever happens, the bounds hold (`Sim::check`), no request ends twice, and once the faults stop every
    /// request has ended and the pool comes to rest.
    #[test]
    fn any_history_keeps_the_bounds_and_ends_every_request(
        slots in 1_usize..5,
        standby in prop::sample::select(vec![Standby::Jit, Standby::Always, Standby::Off]),
        max_turns in 1_u32..12,
        history in prop::collection::vec(steps(), 0..300),
        ending in prop::sample::select(vec![None, Some(Step::Drain), Some(Step::StopNow)]),
    ) {
        let mut sim = Sim::new(&Config { max_turns, queue: 20, ..config(slots, standby) });
        for step in history {
            sim.step(step);
        }
        if let Some(ending) = ending {
            sim.step(ending);
        }
        sim.run_out();
        prop_assert_eq!(sim.world.ended.len() as u64, sim.tickets, "every request has ended");
        if !matches!(ending, Some(Step::StopNow)) {
            prop_assert!(sim.core.status(sim.now).settled, "{:?}", sim.core.status(sim.now));
            sim.step(Step::StopNow);
            sim.run_out();
        }
        prop_assert!(sim.core.is_over());
    }
}
