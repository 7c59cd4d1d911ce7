//! Bringing the pool to where it should be, as far as the bounds allow.

use super::{
    Cause, Clear, Core, Duration, Effects, Id, Instant, Isolation, LifeEvent, Limits, Member, Phase, PoolState,
    Previous, Probe, Recovery, RestartReason, STANDBY_AT, Standby, Stop, StopReason, Suspension, TurnError, Wear,
};

/// How long after its start a probe has shown whether the CLI is well: who comes back then is served, if it is. A start
/// was measured at 0.3 to 1.1 s.
const PROBE_TAKES: Duration = Duration::from_secs(2);

/// For so long nobody may be able to serve before that is called a stall: a start, and a second one after a failure.
const STALLED_AFTER: Duration = Duration::from_secs(5);

impl Core {
    /// Does everything that can be done now. Called after each input; doing it twice changes nothing.
    pub(super) fn settle(&mut self, now: Instant, fx: &mut dyn Effects) {
        self.settled_at = Some(now);
        self.expire(now);
        if self.stop == Stop::Now {
            self.end_all(fx);
        } else {
            self.switch(now, fx);
            self.stop_the_worn(now, fx);
            self.end_stuck_trial(now);
            self.start(now, fx);
            self.assign(now, fx);
            // A turn that has just begun can be the one that makes a standby due.
            self.start(now, fx);
        }
        self.unserved_since = if self.serves_somebody(now) { None } else { self.unserved_since.or(Some(now)) };
        self.refuse_the_waiting(now, fx);
        self.tell_state(now, fx);
    }

    fn expire(&mut self, now: Instant) {
        if let Some(quota) = self.quota.filter(|quota| now >= quota.until) {
            (self.quota, self.quota_trial) = (None, quota.is_doubtful);
        }
        for slot in &mut self.slots {
            slot.not_before = slot.not_before.filter(|at| now < *at);
        }
    }

    /// The limits that hold: a CLI that can't forget serves one turn.
    pub(super) fn limits(&self) -> Limits {
        let one_turn = self.cannot_clear && self.rules.isolation == Isolation::Auto;
        Limits { turns: if one_turn { 1 } else { self.rules.limits.turns }, ..self.rules.limits }
    }

    /// What a member has used of its limits, with the reason that a restart would have.
    fn share(&self, member: &Member, now: Instant) -> (f64, RestartReason) {
        match member.forced {
            Some(reason) => (f64::INFINITY, reason),
            None => match member.wear.share(&self.limits(), now) {
                (share, RestartReason::Turns) if self.limits().turns < self.rules.limits.turns => {
                    (share, RestartReason::Isolation)
                }
                share => share,
            },
        }
    }

    pub(super) fn standby(&self) -> Option<Id> {
        let waits = |m: &Member| m.slot.is_none() && matches!(m.phase, Phase::Starting | Phase::Idle);
        self.members.iter().find(|(_, member)| waits(member)).map(|(id, _)| *id)
    }

    /// The slot whose invoker is most in need of being replaced, with its share and reason.
    fn most_worn(&self, now: Instant) -> Option<(usize, Id, f64, RestartReason)> {
        let worn = self.slots.iter().enumerate().filter_map(|(slot, s)| {
            let id = s.invoker?;
            let member = self.members.get(&id).filter(|m| m.phase != Phase::Starting)?;
            let (share, reason) = self.share(member, now);
            (share >= STANDBY_AT).then_some((slot, id, share, reason))
        });
        worn.max_by(|a, b| a.2.total_cmp(&b.2))
    }

    /// A standby that is ready takes over an empty slot, or the one that is most worn.
    fn switch(&mut self, now: Instant, fx: &mut dyn Effects) {
        let Some(standby) = self.standby().filter(|id| self.members[id].phase == Phase::Idle) else { return };
        let slot = if let Some(empty) = self.slots.iter().position(|slot| slot.invoker.is_none()) {
            empty
        } else {
            let Some((slot, old, _, reason)) = self.most_worn(now) else { return };
            if let Some(member) = self.members.get_mut(&old) {
                member.slot = None;
                self.slots[slot].previous = Some(Previous { id: old, reason, rss: member.wear.rss, left: now });
                // It ends the turn that it may have; it gets no other.
                if member.phase == Phase::Idle {
                    member.phase = Phase::Leaving;
                    member.why = Some(Cause::Planned(StopReason::Restart(reason)));
                    // The trial goes on with the successor: the old invoker will never get the turn that ends it.
                    if let Some(suspension) = self.suspension.as_mut().filter(|s| s.is_probed_by(old)) {
                        suspension.probe = Probe::OnTrial(standby);
                    }
                }
                fx.stop(old, StopReason::Restart(reason), false);
            }
            slot
        };
        self.slots[slot].invoker = Some(standby);
        if let Some(member) = self.members.get_mut(&standby) {
            member.slot = Some(slot);
        }
        self.switched(slot, standby, now, fx);
    }

    /// Without standbys, an invoker at its limit stops before the next one starts.
    fn stop_the_worn(&mut self, now: Instant, fx: &mut dyn Effects) {
        if self.rules.standby != Standby::Off {
            return;
        }
        for slot in 0..self.slots.len() {
            let Some(id) = self.slots[slot].invoker else { continue };
            let Some(member) = self.members.get(&id).filter(|m| m.phase == Phase::Idle) else { continue };
            let ((share, reason), rss) = (self.share(member, now), member.wear.rss);
            if share >= 1.0 {
                fx.stop(id, StopReason::Restart(reason), false);
                self.leaving(id, &Cause::Planned(StopReason::Restart(reason)), rss, now);
            }
        }
    }

    /// Lets the next probe start when the invoker on trial has to be replaced before a turn has shown whether it works:
    /// it is idle and at a limit, so it gets no turn, and a trial that never ends would hold back its successor for ever.
    fn end_stuck_trial(&mut self, now: Instant) {
        let Some(Suspension { probe: Probe::OnTrial(id), .. }) = self.suspension else { return };
        let serving = self.members.get(&id).filter(|member| member.slot.is_some() && member.phase == Phase::Idle);
        if serving.is_some_and(|member| self.share(member, now).0 >= 1.0)
            && let Some(suspension) = &mut self.suspension
        {
            (suspension.probe, suspension.probe_at) = (Probe::Waiting, now);
        }
    }

    /// Starts what is missing: first for empty slots, then a standby.
    fn start(&mut self, now: Instant, fx: &mut dyn Effects) {
        while self.members.len() <= self.rules.slots {
            let covered = usize::from(self.standby().is_some());
            let empty = self.slots.iter().enumerate().filter(|(_, slot)| slot.invoker.is_none());
            let next_empty = empty.skip(covered).find(|(_, slot)| slot.not_before.is_none()).map(|(n, _)| n);
            let (slot, standby_for) = match next_empty {
                Some(slot) => (Some(slot), None),
                None => match self.standby_wanted(now) {
                    Some(slot) => (None, Some(slot)),
                    None => return,
                },
            };
            if !self.may_start(now) {
                return;
            }
            let id = fx.start();
            let wear = Wear { turns: 0, tokens: 0, started: now, idle_since: now, rss: 0 };
            let phase = Phase::Starting;
            let fresh = Member { phase, slot, wear, first_rss: 0, is_proven: false, forced: None, why: None };
            self.members.insert(id, fresh);
            if let Some(suspension) = &mut self.suspension {
                suspension.probe = Probe::Starting(id);
            }
            if let Some(slot) = slot {
                self.slots[slot].invoker = Some(id);
            }
            self.started += 1;
            self.high_water = self.high_water.max(self.members.len());
            let standby = slot.is_none();
            fx.emit(LifeEvent::Started { invoker: id, slot: slot.or(standby_for).unwrap_or(0), standby });
        }
    }

    /// The slot that a standby is needed for now.
    fn standby_wanted(&self, now: Instant) -> Option<usize> {
        let backing_off = self.slots.iter().any(|slot| slot.not_before.is_some());
        if self.standby().is_some() || backing_off || self.slots.iter().any(|slot| slot.invoker.is_none()) {
            return None;
        }
        match self.rules.standby {
            Standby::Off => None,
            Standby::Jit => self.most_worn(now).map(|(slot, ..)| slot),
            Standby::Always => Some(self.most_worn(now).map_or(0, |(slot, ..)| slot)),
        }
    }

    /// While starts are suspended, one probe at a time is let through.
    fn may_start(&self, now: Instant) -> bool {
        self.suspension.as_ref().is_none_or(|s| s.probe == Probe::Waiting && now >= s.probe_at)
    }

    /// Gives waiting requests to idle invokers, first come first served.
    fn assign(&mut self, now: Instant, fx: &mut dyn Effects) {
        while let Some(ticket) = self.waiting.front().copied() {
            let Some(id) = self.next_idle(now, |id| fx.suits(id, ticket)) else { return };
            self.waiting.pop_front();
            let limits = self.limits();
            let Some(member) = self.members.get_mut(&id) else { return };
            member.wear.turns += 1;
            member.phase = Phase::Busy;
            let clear = match self.rules.isolation {
                Isolation::Auto if self.cannot_clear => Clear::Always,
                Isolation::Auto if member.wear.turns < limits.turns => Clear::IfKept,
                // After its last turn nobody will see the conversation again.
                Isolation::None | Isolation::Auto => Clear::Never,
            };
            if !fx.assign(id, ticket, clear) {
                self.waiting.push_front(ticket);
                let gone = Cause::Failed("the invoker's task has ended".to_owned());
                self.leaving(id, &gone, 0, now);
            }
        }
    }

    /// An idle invoker: the one that is on trial, or one that suits before others. Among those the one that has served most:
    /// so several slots do not reach their limits at the same time.
    fn next_idle(&self, now: Instant, suits: impl Fn(Id) -> bool) -> Option<Id> {
        // An old invoker may still be busy with its last turn after its slot has switched.
        let most = if self.quota_trial { 1 } else { self.rules.slots };
        if self.members.values().filter(|member| member.phase == Phase::Busy).count() >= most {
            return None;
        }
        let idle = self.able(now).filter(|(_, member)| member.phase == Phase::Idle);
        let is_on_trial = |id| self.suspension.as_ref().is_some_and(|s| s.probe == Probe::OnTrial(id));
        let best =
            idle.max_by_key(|(id, member)| (is_on_trial(*id), suits(*id), member.wear.turns, std::cmp::Reverse(*id)));
        best.map(|(id, _)| id)
    }

    /// Invokers that serve a slot and may be given another turn, now or after the one they have.
    fn able(&self, now: Instant) -> impl Iterator<Item = (Id, &Member)> {
        let limits = self.limits();
        let serving = self.slots.iter().filter_map(|slot| Some((slot.invoker?, self.members.get(&slot.invoker?)?)));
        serving.filter(move |(_, member)| {
            let serves = matches!(member.phase, Phase::Idle | Phase::Busy | Phase::Settling);
            serves && member.wear.share(&limits, now).0 < 1.0
        })
    }

    /// The error that a request gets at once.
    pub(super) fn refusal(&self, now: Instant) -> Option<TurnError> {
        if self.stop == Stop::Now {
            return Some(TurnError::Stopping);
        }
        if let Some(quota) = self.quota {
            return Some(TurnError::RateLimited { retry_after: quota.until.saturating_duration_since(now) });
        }
        match &self.suspension {
            Some(suspension) if self.is_offline(now) => Some(TurnError::Offline {
                reason: suspension.reason.clone(),
                retry_after: suspension.probe_at.saturating_duration_since(now) + PROBE_TAKES,
            }),
            _ => None,
        }
    }

    fn refuse_the_waiting(&mut self, now: Instant, fx: &mut dyn Effects) {
        if let Some(error) = self.refusal(now) {
            for ticket in self.waiting.drain(..) {
                fx.refuse(ticket, error.clone());
            }
        }
    }

    /// Nothing is served any more: everybody goes, whatever runs.
    fn end_all(&mut self, fx: &mut dyn Effects) {
        for (id, member) in self.members.iter_mut().filter(|(_, member)| member.phase != Phase::Leaving) {
            fx.stop(*id, StopReason::Shutdown, true);
            member.phase = Phase::Leaving;
            member.why = Some(Cause::Planned(StopReason::Shutdown));
        }
    }

    /// A turn runs, or could at once.
    fn serves_somebody(&self, now: Instant) -> bool {
        let runs = |member: &Member| matches!(member.phase, Phase::Busy | Phase::Settling);
        self.members.values().any(runs) || self.able(now).next().is_some()
    }

    /// Nobody can be given another turn, and nobody new may start. An invoker that has reached a limit does not count,
    /// nor does one that ends its last turn.
    fn is_offline(&self, now: Instant) -> bool {
        self.suspension.is_some() && self.able(now).next().is_none()
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

    /// What keeps the pool from being well.
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

    /// The invoker of a probe has started and can serve, and has not yet shown that it works.
    pub(super) fn is_on_trial(&self) -> bool {
        self.suspension.as_ref().is_some_and(|s| matches!(s.probe, Probe::OnTrial(_)))
    }

    fn tell_state(&mut self, now: Instant, fx: &mut dyn Effects) {
        let state = self.state(now);
        if state != self.told {
            self.told = state;
            let reason = self.suspension.as_ref().filter(|_| state == PoolState::Offline).map(|s| s.reason.clone());
            fx.emit(LifeEvent::State { state, reason });
        }
    }

    pub(super) fn is_settled(&self, now: Instant) -> bool {
        let expected = self.rules.slots + usize::from(self.rules.standby == Standby::Always);
        let idle = self.members.values().all(|member| member.phase == Phase::Idle);
        idle && self.members.len() == expected && self.waiting.is_empty() && self.most_worn(now).is_none()
    }
}
