//! What each report of an invoker changes.

use super::{
    Cause, Core, Duration, Effects, Id, Instant, LastRestart, LifeEvent, Phase, Previous, Probe, Quota, QuotaHold,
    RestartReason, StopReason, Suspension, Usage, backoff,
};

/// For so long requests wait while nobody can serve them and starts fail. It is what one start may take by default.
const MAX_UNSERVED: Duration = Duration::from_secs(30);

impl Core {
    pub(super) fn became_ready(&mut self, id: Id, rss: u64, now: Instant, fx: &mut dyn Effects) {
        let Some(member) = self.members.get_mut(&id) else { return };
        if member.phase != Phase::Starting {
            return;
        }
        member.phase = Phase::Idle;
        (member.wear.rss, member.first_rss, member.wear.idle_since) = (rss, rss, now);
        let (took, slot) = (now.saturating_duration_since(member.wear.started), member.slot);
        fx.emit(LifeEvent::Ready { invoker: id, took, rss });
        if let Some(suspension) = &mut self.suspension
            && !matches!(suspension.probe, Probe::OnTrial(_))
        {
            suspension.probe = Probe::OnTrial(id);
        }
        self.was_ready = true;
        if let Some(slot) = slot {
            self.switched(slot, id, now, fx);
        }
    }

    pub(super) fn turn_over(&mut self, id: Id, usage: Option<Usage>, now: Instant) {
        self.turns += 1;
        // Had the quota still been used up, the CLI would have said so before.
        self.quota_trial = false;
        let Some(member) = self.members.get_mut(&id) else { return };
        if member.phase == Phase::Busy {
            member.phase = Phase::Settling;
        }
        member.wear.idle_since = now;
        if let Some(usage) = usage {
            member.wear.tokens = usage.context();
            self.failures_in_a_row = 0;
            let was_proven = std::mem::replace(&mut member.is_proven, true);
            if was_proven { &mut self.turn_breaker } else { &mut self.start_breaker }.succeed(now);
            self.end_suspension_by(id);
        }
    }

    /// The CLI that was on trial works.
    fn end_suspension_by(&mut self, id: Id) {
        if self.suspension.as_ref().is_some_and(|s| s.probe == Probe::OnTrial(id)) {
            self.suspension = None;
            self.start_breaker.clear();
            self.turn_breaker.clear();
        }
    }

    pub(super) fn rate_limited(&mut self, hold: QuotaHold, now: Instant) {
        let quota = Quota { until: now + hold.resets_in, is_doubtful: hold.is_doubtful };
        if self.quota.is_none_or(|known| known.until < quota.until) {
            self.quota = Some(quota);
        }
    }

    pub(super) fn became_idle(&mut self, id: Id, cleared: bool, rss: u64, now: Instant) {
        let Some(member) = self.members.get_mut(&id) else { return };
        if !matches!(member.phase, Phase::Busy | Phase::Settling) {
            return;
        }
        member.phase = Phase::Idle;
        (member.wear.rss, member.wear.idle_since) = (rss, now);
        if cleared {
            member.wear.tokens = 0;
            self.cannot_clear = false;
        }
    }

    /// The invoker serves nobody from here on. Called once for each, by whichever report comes first.
    pub(super) fn leaving(&mut self, id: Id, cause: &Cause, rss: u64, now: Instant) {
        let Some(member) = self.members.get_mut(&id) else { return };
        if member.phase == Phase::Leaving {
            return;
        }
        member.phase = Phase::Leaving;
        member.why = Some(cause.clone());
        let slot = member.slot.take();
        let rss = if rss > 0 { rss } else { member.wear.rss };
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
            // One that never served leaves the one before it as the one that is replaced.
            let served = self.members.get(&id).is_some_and(|m| m.first_rss > 0);
            if let Some(reason) = reason.filter(|_| served) {
                slot.previous = Some(Previous { id, reason, rss, left: now });
            }
        }
        match cause {
            Cause::Failed(what) => self.failed(id, what, was_standby, now),
            // It has shown nothing about the CLI, neither good nor bad: the next one is probed at once.
            Cause::Planned(_) | Cause::NotCleared { .. } | Cause::NotSwitched(_) => {
                if let Some(suspension) = self.suspension.as_mut().filter(|s| s.is_probed_by(id)) {
                    (suspension.probe, suspension.probe_at) = (Probe::Waiting, now);
                }
            }
        }
    }

    fn failed(&mut self, id: Id, what: &str, was_standby: bool, now: Instant) {
        self.failures_in_a_row = self.failures_in_a_row.saturating_add(1);
        let is_proven = self.members.get(&id).is_some_and(|member| member.is_proven);
        let is_open = if is_proven { &mut self.turn_breaker } else { &mut self.start_breaker }.fail(now);
        let was_probe = self.suspension.as_ref().is_some_and(|s| s.is_probed_by(id));
        let is_unserved = self.unserved_since.is_some_and(|since| now.saturating_duration_since(since) >= MAX_UNSERVED);
        if was_probe || (self.suspension.is_none() && (is_open || is_unserved)) {
            return self.suspend(what, now);
        }
        let not_before = now + backoff(self.failures_in_a_row, &mut self.rng);
        for slot in &mut self.slots {
            // A standby belongs to no slot: whichever would be next waits.
            if slot.invoker.is_none() || was_standby {
                slot.not_before = slot.not_before.max(Some(not_before));
            }
        }
    }

    fn suspend(&mut self, reason: &str, now: Instant) {
        let probe_at = now + self.rules.probe_interval;
        self.suspension = Some(Suspension { reason: reason.to_owned(), probe_at, probe: Probe::Waiting });
    }

    pub(super) fn gone(&mut self, id: Id, cause: &Cause, unusable: bool, now: Instant, fx: &mut dyn Effects) {
        self.leaving(id, cause, 0, now);
        if unusable && let Cause::Failed(what) = cause {
            self.suspend(what, now);
        }
        let Some(member) = self.members.remove(&id) else { return };
        let why = member.why.unwrap_or_else(|| cause.clone());
        let failed = matches!(why, Cause::NotSwitched(_) | Cause::Failed(_));
        let reason = match why {
            Cause::Planned(reason) => reason.as_str().to_owned(),
            Cause::NotCleared { .. } => "its conversation could not be reset".to_owned(),
            Cause::NotSwitched(what) | Cause::Failed(what) => what,
        };
        let lived = now.saturating_duration_since(member.wear.started);
        fx.emit(LifeEvent::Stopped { invoker: id, reason, failed, turns: member.wear.turns, lived });
    }

    /// A slot has a new invoker: count the restart, if there was one before.
    pub(super) fn switched(&mut self, slot: usize, new: Id, now: Instant, fx: &mut dyn Effects) {
        let Some(previous) = self.slots[slot].previous.take() else { return };
        let memory_after = self.members.get(&new).map_or(0, |member| member.first_rss);
        *self.restarts.of_mut(previous.reason) += 1;
        #[expect(clippy::cast_precision_loss, reason = "megabytes need no more digits than an f64 has")]
        let mb = |bytes: u64| (bytes as f64 / 1e5).round() / 10.0;
        self.last_restart = Some(LastRestart {
            reason: previous.reason,
            memory_before_mb: mb(previous.rss),
            memory_after_mb: mb(memory_after),
        });
        fx.emit(LifeEvent::Switched {
            slot,
            old: previous.id,
            new,
            reason: previous.reason,
            memory_before: previous.rss,
            memory_after,
            vacant: now.saturating_duration_since(previous.left),
        });
    }
}
