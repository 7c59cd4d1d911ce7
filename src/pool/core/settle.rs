//! Brings the pool to its target, as far as the bounds allow.

use super::{
    Cause, Clear, Core, Duration, Effects, Id, Instant, Isolation, LifeEvent, LimitUsage, Limits, OpenCircuit, Phase,
    PoolState, Predecessor, Probe, Recovery, RestartReason, STANDBY_AT, Standby, Stop, StopReason, TurnError, Worker,
};

/// Added to the time of the next probe for `Retry-After`, so that a client that comes back finds the probe's invoker ready.
/// A start was measured at 0.3 to 1.1 s.
const PROBE_TAKES: Duration = Duration::from_secs(2);

/// A pool that could serve no turn for this long is stalled. Enough for one start and a second one after a failure.
const STALLED_AFTER: Duration = Duration::from_secs(5);

impl Core {
    /// Does everything that is possible now. Called after each input; idempotent.
    pub(super) fn settle(&mut self, now: Instant, fx: &mut dyn Effects) {
        self.settled_at = Some(now);
        self.clear_expired(now);
        if self.stop == Stop::Now {
            self.stop_all(fx);
        } else {
            self.switch_to_standby(now, fx);
            self.stop_exhausted(now, fx);
            self.end_stuck_trial(now);
            self.start_missing(now, fx);
            self.assign_waiting(now, fx);
            // Again, because a turn that has just begun can reach `STANDBY_AT`.
            self.start_missing(now, fx);
        }
        self.unserved_since = if self.serves_any_turn(now) { None } else { self.unserved_since.or(Some(now)) };
        self.refuse_waiting(now, fx);
        self.report_state(now, fx);
    }

    fn clear_expired(&mut self, now: Instant) {
        // After a doubtful hold one turn goes first: releasing the whole queue could make every request fail.
        if let Some(quota) = self.quota.filter(|quota| now >= quota.until) {
            (self.quota, self.quota_trial) = (None, quota.is_doubtful);
        }
        for slot in &mut self.slots {
            slot.not_before = slot.not_before.filter(|at| now < *at);
        }
    }

    /// The limits in force. With a CLI that cannot clear its conversation, isolation needs one process per turn.
    pub(super) fn limits(&self) -> Limits {
        let one_turn = self.cannot_clear && self.rules.isolation == Isolation::Auto;
        Limits { turns: if one_turn { 1 } else { self.rules.limits.turns }, ..self.rules.limits }
    }

    /// The highest used share of a worker's limits, with the reason that a restart would have now.
    fn used_share(&self, worker: &Worker, now: Instant) -> (f64, RestartReason) {
        match worker.forced_reason {
            Some(reason) => (f64::INFINITY, reason),
            None => match worker.used.highest_share(&self.limits(), now) {
                (share, RestartReason::Turns) if self.limits().turns < self.rules.limits.turns => {
                    (share, RestartReason::Isolation)
                }
                share => share,
            },
        }
    }

    pub(super) fn standby(&self) -> Option<Id> {
        let waits = |m: &Worker| m.slot.is_none() && matches!(m.phase, Phase::Starting | Phase::Idle);
        self.workers.iter().find(|(_, worker)| waits(worker)).map(|(id, _)| *id)
    }

    /// The slot whose invoker has used most of a limit, with its share and reason. `None` below [`STANDBY_AT`].
    fn most_used_slot(&self, now: Instant) -> Option<(usize, Id, f64, RestartReason)> {
        let exhausted = self.slots.iter().enumerate().filter_map(|(slot, s)| {
            let id = s.invoker?;
            let worker = self.workers.get(&id).filter(|m| m.phase != Phase::Starting)?;
            let (share, reason) = self.used_share(worker, now);
            (share >= STANDBY_AT).then_some((slot, id, share, reason))
        });
        exhausted.max_by(|a, b| a.2.total_cmp(&b.2))
    }

    /// Lets a standby that is ready take over an empty slot, or else the slot with the most used invoker.
    fn switch_to_standby(&mut self, now: Instant, fx: &mut dyn Effects) {
        let Some(standby) = self.standby().filter(|id| self.workers[id].phase == Phase::Idle) else { return };
        let slot = if let Some(empty) = self.slots.iter().position(|slot| slot.invoker.is_none()) {
            empty
        } else {
            let Some((slot, old, _, reason)) = self.most_used_slot(now) else { return };
            if let Some(worker) = self.workers.get_mut(&old) {
                worker.slot = None;
                self.slots[slot].predecessor = Some(Predecessor { id: old, reason, rss: worker.used.rss, left: now });
                // A busy one finishes its turn first; without a slot it gets no other.
                if worker.phase == Phase::Idle {
                    worker.phase = Phase::Leaving;
                    worker.cause = Some(Cause::Planned(StopReason::Restart(reason)));
                    // The trial goes on with the successor: the old invoker will never get the turn that ends it.
                    if let Some(circuit) = self.circuit.as_mut().filter(|s| s.is_probed_by(old)) {
                        circuit.probe = Probe::OnTrial(standby);
                    }
                }
                fx.stop_invoker(old, StopReason::Restart(reason), false);
            }
            slot
        };
        self.slots[slot].invoker = Some(standby);
        if let Some(worker) = self.workers.get_mut(&standby) {
            worker.slot = Some(slot);
        }
        self.record_switch(slot, standby, now, fx);
    }

    /// With `--standby off`, stops an idle invoker at its limit before its successor starts.
    fn stop_exhausted(&mut self, now: Instant, fx: &mut dyn Effects) {
        if self.rules.standby != Standby::Off {
            return;
        }
        for slot in 0..self.slots.len() {
            let Some(id) = self.slots[slot].invoker else { continue };
            let Some(worker) = self.workers.get(&id).filter(|m| m.phase == Phase::Idle) else { continue };
            let ((share, reason), rss) = (self.used_share(worker, now), worker.used.rss);
            if share >= 1.0 {
                fx.stop_invoker(id, StopReason::Restart(reason), false);
                self.on_leaving(id, &Cause::Planned(StopReason::Restart(reason)), rss, now);
            }
        }
    }

    /// Lets the next probe start when the invoker on trial has to be replaced before a turn has shown whether it works:
    /// it is idle and at a limit, so it gets no turn, and a trial that never ends would hold back its successor for ever.
    fn end_stuck_trial(&mut self, now: Instant) {
        let Some(OpenCircuit { probe: Probe::OnTrial(id), .. }) = self.circuit else { return };
        let serving = self.workers.get(&id).filter(|worker| worker.slot.is_some() && worker.phase == Phase::Idle);
        if serving.is_some_and(|worker| self.used_share(worker, now).0 >= 1.0)
            && let Some(circuit) = &mut self.circuit
        {
            (circuit.probe, circuit.probe_at) = (Probe::Waiting, now);
        }
    }

    /// Starts invokers: first for empty slots, then a standby.
    fn start_missing(&mut self, now: Instant, fx: &mut dyn Effects) {
        while self.workers.len() <= self.rules.slots {
            // An unassigned standby will take one of the empty slots.
            let covered = usize::from(self.standby().is_some());
            let empty = self.slots.iter().enumerate().filter(|(_, slot)| slot.invoker.is_none());
            let next_empty = empty.skip(covered).find(|(_, slot)| slot.not_before.is_none()).map(|(n, _)| n);
            let (slot, standby_for) = match next_empty {
                Some(slot) => (Some(slot), None),
                None => match self.slot_needing_standby(now) {
                    Some(slot) => (None, Some(slot)),
                    None => return,
                },
            };
            if !self.may_start(now) {
                return;
            }
            let id = fx.start_invoker();
            let used = LimitUsage { turns: 0, tokens: 0, started: now, idle_since: now, rss: 0 };
            let phase = Phase::Starting;
            let fresh = Worker { phase, slot, used, first_rss: 0, is_proven: false, forced_reason: None, cause: None };
            self.workers.insert(id, fresh);
            if let Some(circuit) = &mut self.circuit {
                circuit.probe = Probe::Starting(id);
            }
            if let Some(slot) = slot {
                self.slots[slot].invoker = Some(id);
            }
            self.started += 1;
            self.high_water = self.high_water.max(self.workers.len());
            let standby = slot.is_none();
            fx.emit_event(LifeEvent::Started { invoker: id, slot: slot.or(standby_for).unwrap_or(0), standby });
        }
    }

    /// The slot that needs a standby now.
    fn slot_needing_standby(&self, now: Instant) -> Option<usize> {
        // Empty slots and slots in backoff come first: the extra process is needed there.
        let backing_off = self.slots.iter().any(|slot| slot.not_before.is_some());
        if self.standby().is_some() || backing_off || self.slots.iter().any(|slot| slot.invoker.is_none()) {
            return None;
        }
        match self.rules.standby {
            Standby::Off => None,
            Standby::Jit => self.most_used_slot(now).map(|(slot, ..)| slot),
            Standby::Always => Some(self.most_used_slot(now).map_or(0, |(slot, ..)| slot)),
        }
    }

    /// While the circuit is open, only one probe at a time may start.
    fn may_start(&self, now: Instant) -> bool {
        self.circuit.as_ref().is_none_or(|s| s.probe == Probe::Waiting && now >= s.probe_at)
    }

    /// Assigns waiting requests to idle invokers, first come, first served.
    fn assign_waiting(&mut self, now: Instant, fx: &mut dyn Effects) {
        while let Some(ticket) = self.waiting.front().copied() {
            let Some(id) = self.next_idle(now, |id| fx.runs_requested_model(id, ticket)) else { return };
            self.waiting.pop_front();
            let limits = self.limits();
            let Some(worker) = self.workers.get_mut(&id) else { return };
            worker.used.turns += 1;
            worker.phase = Phase::Busy;
            let clear = match self.rules.isolation {
                Isolation::Auto if self.cannot_clear => Clear::Always,
                Isolation::Auto if worker.used.turns < limits.turns => Clear::IfKept,
                // After the last turn the process ends, and the conversation with it.
                Isolation::None | Isolation::Auto => Clear::Never,
            };
            if !fx.assign_turn(id, ticket, clear) {
                self.waiting.push_front(ticket);
                let gone = Cause::Failed("the invoker's task has ended".to_owned());
                self.on_leaving(id, &gone, 0, now);
            }
        }
    }

    /// The idle invoker for the next request: first the one on trial, then one that runs the requested model, then the one
    /// with the most turns, so that several slots do not reach their limits at the same time.
    fn next_idle(&self, now: Instant, suits: impl Fn(Id) -> bool) -> Option<Id> {
        // An old invoker may still run its last turn after its slot has switched: no more turns than slots.
        let most = if self.quota_trial { 1 } else { self.rules.slots };
        if self.workers.values().filter(|worker| worker.phase == Phase::Busy).count() >= most {
            return None;
        }
        let idle = self.assignable(now).filter(|(_, worker)| worker.phase == Phase::Idle);
        let is_on_trial = |id| self.circuit.as_ref().is_some_and(|s| s.probe == Probe::OnTrial(id));
        let best =
            idle.max_by_key(|(id, worker)| (is_on_trial(*id), suits(*id), worker.used.turns, std::cmp::Reverse(*id)));
        best.map(|(id, _)| id)
    }

    /// Invokers in a slot that can take another turn, now or after their current one.
    fn assignable(&self, now: Instant) -> impl Iterator<Item = (Id, &Worker)> {
        let limits = self.limits();
        let serving = self.slots.iter().filter_map(|slot| Some((slot.invoker?, self.workers.get(&slot.invoker?)?)));
        serving.filter(move |(_, worker)| {
            let serves = matches!(worker.phase, Phase::Idle | Phase::Busy | Phase::Settling);
            serves && worker.used.highest_share(&limits, now).0 < 1.0
        })
    }

    /// The error for a request that must not wait.
    pub(super) fn refusal(&self, now: Instant) -> Option<TurnError> {
        if self.stop == Stop::Now {
            return Some(TurnError::Stopping);
        }
        if let Some(quota) = self.quota {
            return Some(TurnError::RateLimited { retry_after: quota.until.saturating_duration_since(now) });
        }
        match &self.circuit {
            Some(circuit) if self.is_offline(now) => Some(TurnError::Offline {
                reason: circuit.reason.clone(),
                retry_after: circuit.probe_at.saturating_duration_since(now) + PROBE_TAKES,
            }),
            _ => None,
        }
    }

    fn refuse_waiting(&mut self, now: Instant, fx: &mut dyn Effects) {
        if let Some(error) = self.refusal(now) {
            for ticket in self.waiting.drain(..) {
                fx.refuse_request(ticket, error.clone());
            }
        }
    }

    /// Stops every invoker, running turns included.
    fn stop_all(&mut self, fx: &mut dyn Effects) {
        for (id, worker) in self.workers.iter_mut().filter(|(_, worker)| worker.phase != Phase::Leaving) {
            fx.stop_invoker(*id, StopReason::Shutdown, true);
            worker.phase = Phase::Leaving;
            worker.cause = Some(Cause::Planned(StopReason::Shutdown));
        }
    }

    /// Whether a turn runs or could begin at once.
    fn serves_any_turn(&self, now: Instant) -> bool {
        let runs = |worker: &Worker| matches!(worker.phase, Phase::Busy | Phase::Settling);
        self.workers.values().any(runs) || self.assignable(now).next().is_some()
    }

    /// Whether the circuit is open and no invoker can take another turn. Invokers at a limit and those that finish their
    /// last turn do not count.
    fn is_offline(&self, now: Instant) -> bool {
        self.circuit.is_some() && self.assignable(now).next().is_none()
    }

    pub(super) fn state(&self, now: Instant) -> PoolState {
        if self.stop != Stop::No {
            PoolState::Stopping
        } else if self.is_offline(now) {
            PoolState::Offline
        } else if self.was_ready {
            PoolState::Ready
        } else {
            PoolState::Starting
        }
    }

    /// The problem that the pool is recovering from, if any.
    pub(super) fn recovery(&self, now: Instant) -> Option<Recovery> {
        let unserved = self.unserved_since.map(|since| now.saturating_duration_since(since));
        if unserved.is_some_and(|unserved| unserved >= STALLED_AFTER) {
            Some(Recovery::Stalled)
        } else if self.is_on_trial() || self.failures_in_a_row > 1 {
            Some(Recovery::Trial)
        } else {
            None
        }
    }

    /// Whether a probe's invoker serves and has not had a reply yet.
    pub(super) fn is_on_trial(&self) -> bool {
        self.circuit.as_ref().is_some_and(|s| matches!(s.probe, Probe::OnTrial(_)))
    }

    fn report_state(&mut self, now: Instant, fx: &mut dyn Effects) {
        let state = self.state(now);
        if state != self.reported_state {
            self.reported_state = state;
            let reason = self.circuit.as_ref().filter(|_| state == PoolState::Offline).map(|s| s.reason.clone());
            fx.emit_event(LifeEvent::State { state, reason });
        }
    }

    pub(super) fn is_settled(&self, now: Instant) -> bool {
        let expected = self.rules.slots + usize::from(self.rules.standby == Standby::Always);
        let idle = self.workers.values().all(|worker| worker.phase == Phase::Idle);
        idle && self.workers.len() == expected && self.waiting.is_empty() && self.most_used_slot(now).is_none()
    }
}
