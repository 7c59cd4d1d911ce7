//! Handles the reports of the invokers.

use super::{
    Cause, Core, Duration, Effects, Id, Instant, LastRestart, LifeEvent, OpenCircuit, Phase, Predecessor, Probe, Quota,
    QuotaHold, RestartReason, StopReason, Usage, next_backoff,
};

/// How long requests wait while no invoker can serve and starts fail; then the circuit opens and they are refused. Equal to
/// the default of `--start-timeout`.
const MAX_UNSERVED: Duration = Duration::from_secs(30);

impl Core {
    pub(super) fn on_ready(&mut self, id: Id, rss: u64, now: Instant, fx: &mut dyn Effects) {
        let Some(worker) = self.workers.get_mut(&id) else { return };
        if worker.phase != Phase::Starting {
            return;
        }
        worker.phase = Phase::Idle;
        (worker.used.rss, worker.first_rss, worker.used.idle_since) = (rss, rss, now);
        let (took, slot) = (now.saturating_duration_since(worker.used.started), worker.slot);
        fx.emit_event(LifeEvent::Ready { invoker: id, took, rss });
        if let Some(circuit) = &mut self.circuit
            && !matches!(circuit.probe, Probe::OnTrial(_))
        {
            circuit.probe = Probe::OnTrial(id);
        }
        self.was_ready = true;
        if let Some(slot) = slot {
            self.record_switch(slot, id, now, fx);
        }
    }

    pub(super) fn on_turn_over(&mut self, id: Id, usage: Option<Usage>, now: Instant) {
        self.turns += 1;
        // With the quota still used up, the CLI would have reported that before the end of the turn.
        self.quota_trial = false;
        let Some(worker) = self.workers.get_mut(&id) else { return };
        if worker.phase == Phase::Busy {
            worker.phase = Phase::Settling;
        }
        worker.used.idle_since = now;
        if let Some(usage) = usage {
            worker.used.tokens = usage.context();
            self.failures_in_a_row = 0;
            let was_proven = std::mem::replace(&mut worker.is_proven, true);
            if was_proven { &mut self.turn_breaker } else { &mut self.start_breaker }.record_success(now);
            self.close_circuit_if_tried_by(id);
        }
    }

    /// A reply of the invoker on trial shows that the CLI works again.
    fn close_circuit_if_tried_by(&mut self, id: Id) {
        if self.circuit.as_ref().is_some_and(|s| s.probe == Probe::OnTrial(id)) {
            self.circuit = None;
            self.start_breaker.reset();
            self.turn_breaker.reset();
        }
    }

    pub(super) fn on_rate_limit(&mut self, hold: QuotaHold, now: Instant) {
        let quota = Quota { until: now + hold.resets_in, is_doubtful: hold.is_doubtful };
        if self.quota.is_none_or(|known| known.until < quota.until) {
            self.quota = Some(quota);
        }
    }

    pub(super) fn on_idle(&mut self, id: Id, cleared: bool, rss: u64, now: Instant) {
        let Some(worker) = self.workers.get_mut(&id) else { return };
        if !matches!(worker.phase, Phase::Busy | Phase::Settling) {
            return;
        }
        worker.phase = Phase::Idle;
        (worker.used.rss, worker.used.idle_since) = (rss, now);
        if cleared {
            worker.used.tokens = 0;
            self.cannot_clear = false;
        }
    }

    /// Takes the invoker out of service. Only the first call for each has an effect: `Gone` can come without `Leaving`.
    pub(super) fn on_leaving(&mut self, id: Id, cause: &Cause, rss: u64, now: Instant) {
        let Some(worker) = self.workers.get_mut(&id) else { return };
        if worker.phase == Phase::Leaving {
            return;
        }
        worker.phase = Phase::Leaving;
        worker.cause = Some(cause.clone());
        let slot = worker.slot.take();
        let rss = if rss > 0 { rss } else { worker.used.rss };
        let reason = match cause {
            Cause::Planned(StopReason::Restart(reason)) => Some(*reason),
            // No invoker follows.
            Cause::Planned(StopReason::Shutdown | StopReason::Kill | StopReason::Dropped) => None,
            Cause::NotCleared { unable } => {
                self.cannot_clear |= unable;
                Some(RestartReason::Isolation)
            }
            Cause::NotSwitched(_) | Cause::Failed(_) => Some(RestartReason::Recovery),
        };
        let was_standby = slot.is_none();
        if let Some(slot) = slot {
            let slot = &mut self.slots[slot];
            slot.invoker = None;
            // An invoker that never became ready is not a predecessor: the restart is still that of the one before it.
            let served = self.workers.get(&id).is_some_and(|m| m.first_rss > 0);
            if let Some(reason) = reason.filter(|_| served) {
                slot.predecessor = Some(Predecessor { id, reason, rss, left: now });
            }
        }
        match cause {
            Cause::Failed(what) => self.on_failure(id, what, was_standby, now),
            // This end says nothing about whether the CLI works, so the next probe need not wait.
            Cause::Planned(_) | Cause::NotCleared { .. } | Cause::NotSwitched(_) => {
                if let Some(circuit) = self.circuit.as_mut().filter(|s| s.is_probed_by(id)) {
                    (circuit.probe, circuit.probe_at) = (Probe::Waiting, now);
                }
            }
        }
    }

    fn on_failure(&mut self, id: Id, what: &str, was_standby: bool, now: Instant) {
        self.failures_in_a_row = self.failures_in_a_row.saturating_add(1);
        let is_proven = self.workers.get(&id).is_some_and(|worker| worker.is_proven);
        let is_open = if is_proven { &mut self.turn_breaker } else { &mut self.start_breaker }.record_failure(now);
        let was_probe = self.circuit.as_ref().is_some_and(|s| s.is_probed_by(id));
        let is_unserved = self.unserved_since.is_some_and(|since| now.saturating_duration_since(since) >= MAX_UNSERVED);
        if was_probe || (self.circuit.is_none() && (is_open || is_unserved)) {
            return self.open_circuit(what, now);
        }
        let not_before = now + next_backoff(self.failures_in_a_row, &mut self.rng);
        for slot in &mut self.slots {
            // A failed standby had no slot yet, so every slot waits.
            if slot.invoker.is_none() || was_standby {
                slot.not_before = slot.not_before.max(Some(not_before));
            }
        }
    }

    fn open_circuit(&mut self, reason: &str, now: Instant) {
        let probe_at = now + self.rules.probe_interval;
        self.circuit = Some(OpenCircuit { reason: reason.to_owned(), probe_at, probe: Probe::Waiting });
    }

    pub(super) fn on_gone(&mut self, id: Id, cause: &Cause, unusable: bool, now: Instant, fx: &mut dyn Effects) {
        self.on_leaving(id, cause, 0, now);
        if unusable && let Cause::Failed(what) = cause {
            self.open_circuit(what, now);
        }
        let Some(worker) = self.workers.remove(&id) else { return };
        let cause = worker.cause.unwrap_or_else(|| cause.clone());
        let failed = matches!(cause, Cause::NotSwitched(_) | Cause::Failed(_));
        let reason = match cause {
            Cause::Planned(reason) => reason.as_str().to_owned(),
            Cause::NotCleared { .. } => "its conversation could not be reset".to_owned(),
            Cause::NotSwitched(what) | Cause::Failed(what) => what,
        };
        let lived = now.saturating_duration_since(worker.used.started);
        fx.emit_event(LifeEvent::Stopped { invoker: id, reason, failed, turns: worker.used.turns, lived });
    }

    /// Counts and reports the restart of a slot that has a new invoker, unless it is the slot's first.
    pub(super) fn record_switch(&mut self, slot: usize, new: Id, now: Instant, fx: &mut dyn Effects) {
        let Some(predecessor) = self.slots[slot].predecessor.take() else { return };
        let memory_after = self.workers.get(&new).map_or(0, |worker| worker.first_rss);
        *self.restarts.of_mut(predecessor.reason) += 1;
        #[expect(clippy::cast_precision_loss, reason = "megabytes need no more digits than an f64 has")]
        let mb = |bytes: u64| (bytes as f64 / 1e5).round() / 10.0;
        self.last_restart = Some(LastRestart {
            reason: predecessor.reason,
            memory_before_mb: mb(predecessor.rss),
            memory_after_mb: mb(memory_after),
        });
        fx.emit_event(LifeEvent::Switched {
            slot,
            old: predecessor.id,
            new,
            reason: predecessor.reason,
            memory_before: predecessor.rss,
            memory_after,
            vacant: now.saturating_duration_since(predecessor.left),
        });
    }
}
