//! The state machine of one invoker: (phase, input, now) → (phase, actions). It has no process, no pipe and no clock.
//!
//! | phase | ends by |
//! | --- | --- |
//! | `Starting` | `initialize` answered → `Ready`; deadline → `Stopping`, a failure |
//! | `Ready` | leased → `Busy`, or `Switching` where the turn wants another model; told to stop → `Stopping` |
//! | `Switching` | `set_model` answered → `Busy`, or `Ready` where it was refused or nobody wants the turn any more; anything else → `Stopping`, the turn's fault |
//! | `Busy` | `result` → `Clearing` or `Ready`; client gone or deadline → `Interrupting`; broken stream → `Stopping` |
//! | `Interrupting` | the same turn's `result` → `Clearing` or `Ready`, or `Stopping` where more of it may come unnoticed; deadline → `Stopping`, a failure |
//! | `Clearing` | `conversation_reset` and its `result` → `Ready`, or `Stopping` where it was told to; anything else → `Stopping`, as planned |
//! | `Stopping` | the rungs of the ladder, one deadline each |
//! | `Gone` | nothing |
//!
//! An exit leads to `Gone` from everywhere; unless the invoker was stopping or `Switching`, it is a failure.

use std::time::{Duration, Instant};

use crate::invoker::reason::{RestartReason, StopReason};
use crate::turn::TurnError;

/// How long `set_model` may take. Measured: 4 to 60 ms; but for a name that it does not know, the CLI first asks the
/// API, once and without trying again.
const MAX_SWITCH: Duration = Duration::from_secs(15);
/// How long an interrupt may take to end the turn. Measured: 15 ms.
const MAX_INTERRUPT: Duration = Duration::from_secs(5);
/// How long `/clear` may take. Measured: 14 to 41 ms.
const MAX_CLEAR: Duration = Duration::from_secs(5);
/// How long each rung of the stopping ladder waits for the exit. Measured for the first: 17 to 75 ms.
const MAX_RUNG: Duration = Duration::from_secs(2);

/// The deadlines that can be configured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Deadlines {
    /// From the start to the answer to `initialize`.
    pub start: Duration,
    /// Between two events of a turn.
    pub silence: Duration,
    /// From the start of a turn to its end.
    pub turn: Duration,
}

/// Whether the conversation is reset after a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Clear {
    /// The next turn continues the conversation.
    Never,
    /// Reset it, unless the invoker stops after the turn: then the conversation ends with the process.
    IfKept,
    /// Reset it even if the invoker stops, to find out whether this CLI can.
    Always,
}

/// Why an invoker ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cause {
    /// It was stopped as planned.
    Planned(StopReason),
    /// The CLI did not confirm `/clear`, so the next turn could see the last conversation.
    NotCleared {
        /// `/clear` was answered like a prompt, so this CLI does not have the command.
        unable: bool,
    },
    /// `set_model` was not answered, or the process ended during it. The requested model is at fault, not the CLI, so this
    /// does not count as a failure.
    NotSwitched(String),
    /// The process or its protocol failed.
    Failed(String),
}

/// An input of the state machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Input {
    /// `initialize` was answered; `Err` has the CLI's error message.
    Initialized(Result<(), String>),
    /// A turn is to run. Only in `Ready`.
    Lease {
        /// Whether the conversation is to be reset after it.
        clear: Clear,
        /// The turn needs another model than the current one.
        switch: bool,
    },
    /// `set_model` was answered; `Err` has the error of the turn.
    Switched(Result<(), TurnError>),
    /// The CLI wrote a line that is no other input.
    Activity,
    /// A `result` line.
    TurnEnded {
        /// The result reports success.
        success: bool,
        /// Late text of this turn can be distinguished from the text of the next turn.
        detects_late_text: bool,
    },
    /// A `conversation_reset` line.
    Reset,
    /// The client has left: interrupt the running turn.
    GiveUp,
    /// Stop: a running turn may end first, unless `now`.
    Stop {
        /// Why.
        cause: StopReason,
        /// Give up a running turn.
        now: bool,
    },
    /// Stop at the last rung.
    Kill,
    /// The pipes or the protocol broke.
    Broken(String),
    /// The keeper has exited: the tree is empty.
    Exited(String),
    /// Time has passed.
    Tick,
}

/// A line for the CLI.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Message {
    /// The control request `initialize`.
    Initialize,
    /// The control request `set_model` with the leased turn's model.
    SetModel,
    /// The leased turn's prompt.
    User,
    /// The control request `interrupt`.
    Interrupt,
    /// The user line `/clear`.
    Clear,
}

/// How a turn ended, seen from the life. Whether a completed one is good is in its `result`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ending {
    /// With a `result`.
    Completed,
    /// The client left.
    GivenUp,
    /// A deadline: which, and how long it was.
    Deadline(&'static str, Duration),
    /// The CLI refused the turn's model before the prompt was sent.
    Refused(TurnError),
    /// The server is stopping.
    Stopping,
    /// The invoker broke.
    Failed(String),
}

/// An action for the owner of the process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Action {
    /// Write a line.
    Send(Message),
    /// Close the CLI's stdin, on which it exits by itself.
    CloseStdin,
    /// Send SIGTERM.
    Terminate,
    /// Let the keeper kill the tree.
    KillTree,
    /// Kill a keeper that does not exit, and the tree.
    Abandon,
    /// The leased turn is over.
    EndTurn(Ending),
    /// Report [`Ready`](super::Report::Ready).
    ReportReady,
    /// Report [`Idle`](super::Report::Idle).
    ReportIdle {
        /// The conversation is empty.
        cleared: bool,
    },
    /// Report [`Cleared`](super::Report::Cleared).
    ReportCleared,
    /// Report [`Leaving`](super::Report::Leaving).
    ReportLeaving(Cause),
    /// Report [`Gone`](super::Report::Gone).
    ReportGone(Cause),
}

/// The rungs of the stopping ladder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Rung {
    /// stdin is closed.
    StdinClosed,
    /// SIGTERM was sent.
    Terminated,
    /// The keeper kills the tree.
    Killed,
    /// The keeper itself was killed.
    Abandoned,
}

/// Where an invoker is in its life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Phase {
    /// The process runs and has not answered `initialize`.
    Starting {
        /// Until when it may.
        deadline: Instant,
    },
    /// Waiting for a turn.
    Ready,
    /// A turn waits for its model.
    Switching {
        /// Until when the CLI has to answer.
        deadline: Instant,
        /// The client is still there.
        wanted: bool,
        /// Reset the conversation afterwards.
        clear: Clear,
        /// Stop afterwards.
        stop_after: Option<StopReason>,
    },
    /// A turn runs.
    Busy {
        /// Until when the next event has to come.
        silence: Instant,
        /// Until when the turn has to end.
        total: Instant,
        /// Reset the conversation afterwards.
        clear: Clear,
        /// Stop afterwards.
        stop_after: Option<StopReason>,
    },
    /// A turn without a client is being interrupted.
    Interrupting {
        /// Until when.
        deadline: Instant,
        /// Reset the conversation afterwards.
        clear: Clear,
    },
    /// The conversation is being reset.
    Clearing {
        /// Until when.
        deadline: Instant,
        /// `conversation_reset` has come.
        reset: bool,
        /// Wait for the outcome even if the invoker is to stop.
        has_to_prove: bool,
        /// Stop afterwards.
        stop_after: Option<StopReason>,
    },
    /// On the ladder.
    Stopping {
        /// Which rung.
        rung: Rung,
        /// Until when this rung waits.
        deadline: Option<Instant>,
        /// Why.
        cause: Cause,
    },
    /// The process tree is empty.
    Gone,
}

/// The state machine of one invoker.
#[derive(Debug, Clone)]
pub(crate) struct Life {
    phase: Phase,
    deadlines: Deadlines,
}

impl Life {
    /// A process that has just been started, and the first thing to do with it.
    #[must_use]
    pub(crate) fn begin(deadlines: Deadlines, now: Instant) -> (Self, Vec<Action>) {
        let phase = Phase::Starting { deadline: now + deadlines.start };
        (Self { phase, deadlines }, vec![Action::Send(Message::Initialize)])
    }

    /// Where it is.
    #[must_use]
    pub(crate) fn phase(&self) -> &Phase {
        &self.phase
    }

    /// When the next [`Input::Tick`] is due.
    #[must_use]
    pub(crate) fn deadline(&self) -> Option<Instant> {
        match &self.phase {
            Phase::Starting { deadline }
            | Phase::Switching { deadline, .. }
            | Phase::Interrupting { deadline, .. }
            | Phase::Clearing { deadline, .. } => Some(*deadline),
            Phase::Busy { silence, total, .. } => Some(*silence.min(total)),
            Phase::Stopping { deadline, .. } => *deadline,
            Phase::Ready | Phase::Gone => None,
        }
    }

    /// Takes one input; gives what has to be done, in order.
    pub(crate) fn handle(&mut self, input: Input, now: Instant) -> Vec<Action> {
        match input {
            Input::Exited(how) => self.on_exit(how),
            Input::Kill => self.on_kill(now),
            Input::Stop { cause, now: at_once } => self.on_stop(cause, at_once, now),
            Input::Broken(what) => self.fail(what, now),
            // A timer that was set for an earlier phase.
            Input::Tick if self.deadline().is_none_or(|deadline| now < deadline) => Vec::new(),
            Input::Tick => self.on_deadline(now),
            Input::Initialized(answer) => self.on_initialized(answer, now),
            Input::Lease { clear, switch } => self.on_lease(clear, switch, now),
            Input::Switched(answer) => self.on_model_switched(answer, now),
            Input::Activity => self.extend_silence(now),
            Input::TurnEnded { success, detects_late_text } => self.on_turn_ended(success, detects_late_text, now),
            Input::Reset => self.on_reset(),
            Input::GiveUp => self.give_up_turn(Ending::GivenUp, now),
        }
    }

    fn on_initialized(&mut self, answer: Result<(), String>, now: Instant) -> Vec<Action> {
        match (&self.phase, answer) {
            (Phase::Starting { .. }, Ok(())) => {
                self.phase = Phase::Ready;
                vec![Action::ReportReady]
            }
            (Phase::Starting { .. }, Err(words)) => self.fail(format!("the CLI refused to start: {words}"), now),
            _ => Vec::new(),
        }
    }

    fn on_lease(&mut self, clear: Clear, switch: bool, now: Instant) -> Vec<Action> {
        if self.phase != Phase::Ready {
            // The invoker broke between the pool's choice and now; the turn is handed back, not lost.
            return vec![Action::EndTurn(Ending::Failed("the invoker was not ready".to_owned()))];
        }
        if switch {
            self.phase = Phase::Switching { deadline: now + MAX_SWITCH, wanted: true, clear, stop_after: None };
            return vec![Action::Send(Message::SetModel)];
        }
        self.send_prompt(clear, None, now)
    }

    fn send_prompt(&mut self, clear: Clear, stop_after: Option<StopReason>, now: Instant) -> Vec<Action> {
        let (silence, total) = (now + self.deadlines.silence, now + self.deadlines.turn);
        self.phase = Phase::Busy { silence, total, clear, stop_after };
        vec![Action::Send(Message::User)]
    }

    fn on_model_switched(&mut self, answer: Result<(), TurnError>, now: Instant) -> Vec<Action> {
        let Phase::Switching { wanted, clear, stop_after, .. } = self.phase else { return Vec::new() };
        let mut actions = match answer {
            Ok(()) if wanted => return self.send_prompt(clear, stop_after, now),
            Err(refusal) if wanted => vec![Action::EndTurn(Ending::Refused(refusal))],
            _ => Vec::new(),
        };
        if let Some(cause) = stop_after {
            return self.begin_stopping(actions, Cause::Planned(cause), now);
        }
        // No prompt was sent, so the conversation is unchanged.
        self.phase = Phase::Ready;
        actions.push(Action::ReportIdle { cleared: false });
        actions
    }

    fn extend_silence(&mut self, now: Instant) -> Vec<Action> {
        if let Phase::Busy { silence, .. } = &mut self.phase {
            *silence = now + self.deadlines.silence;
        }
        Vec::new()
    }

    fn on_turn_ended(&mut self, success: bool, detects_late_text: bool, now: Instant) -> Vec<Action> {
        match self.phase {
            Phase::Busy { stop_after, clear, .. } => {
                self.after_turn(vec![Action::EndTurn(Ending::Completed)], clear, stop_after, now)
            }
            // Text of this turn that comes late would be taken for text of the next turn.
            Phase::Interrupting { .. } if !detects_late_text => {
                self.begin_stopping(Vec::new(), Cause::Planned(StopReason::Restart(RestartReason::Isolation)), now)
            }
            Phase::Interrupting { clear, .. } => self.after_turn(Vec::new(), clear, None, now),
            Phase::Clearing { reset: true, stop_after: Some(cause), .. } => {
                self.begin_stopping(vec![Action::ReportCleared], Cause::Planned(cause), now)
            }
            Phase::Clearing { reset: true, .. } => {
                self.phase = Phase::Ready;
                vec![Action::ReportIdle { cleared: true }]
            }
            Phase::Clearing { reset: false, stop_after: Some(cause), .. } => {
                self.enter_ladder(Cause::Planned(cause), now)
            }
            // A success without a reset: the CLI took `/clear` for a prompt. An error says nothing about that.
            Phase::Clearing { reset: false, .. } => self.enter_ladder(Cause::NotCleared { unable: success }, now),
            Phase::Starting { .. } | Phase::Ready | Phase::Switching { .. } => {
                self.fail("a result came without a prompt".to_owned(), now)
            }
            Phase::Stopping { .. } | Phase::Gone => Vec::new(),
        }
    }

    fn after_turn(
        &mut self,
        mut actions: Vec<Action>,
        clear: Clear,
        stop_after: Option<StopReason>,
        now: Instant,
    ) -> Vec<Action> {
        match (clear, stop_after) {
            (Clear::Never | Clear::IfKept, Some(cause)) => self.begin_stopping(actions, Cause::Planned(cause), now),
            (Clear::Never, None) => {
                self.phase = Phase::Ready;
                actions.push(Action::ReportIdle { cleared: false });
                actions
            }
            (Clear::IfKept | Clear::Always, stop_after) => {
                let has_to_prove = clear == Clear::Always;
                self.phase = Phase::Clearing { deadline: now + MAX_CLEAR, reset: false, has_to_prove, stop_after };
                actions.push(Action::Send(Message::Clear));
                actions
            }
        }
    }

    fn on_reset(&mut self) -> Vec<Action> {
        if let Phase::Clearing { reset, .. } = &mut self.phase {
            *reset = true;
        }
        Vec::new()
    }

    fn give_up_turn(&mut self, ending: Ending, now: Instant) -> Vec<Action> {
        match self.phase {
            // It stops anyway, so there is no interrupt to wait for.
            Phase::Busy { stop_after: Some(cause), .. }
            | Phase::Switching { stop_after: Some(cause), wanted: true, .. } => {
                self.begin_stopping(vec![Action::EndTurn(ending)], Cause::Planned(cause), now)
            }
            Phase::Busy { clear, .. } => {
                self.phase = Phase::Interrupting { deadline: now + MAX_INTERRUPT, clear };
                vec![Action::EndTurn(ending), Action::Send(Message::Interrupt)]
            }
            Phase::Switching { ref mut wanted, .. } if *wanted => {
                *wanted = false;
                vec![Action::EndTurn(ending)]
            }
            _ => Vec::new(),
        }
    }

    fn on_deadline(&mut self, now: Instant) -> Vec<Action> {
        match &self.phase {
            Phase::Starting { .. } => self.fail(
                format!("no answer to initialize within {}", crate::turn::format_seconds(self.deadlines.start)),
                now,
            ),
            Phase::Busy { total, .. } if now >= *total => {
                self.give_up_turn(Ending::Deadline("the turn took too long", self.deadlines.turn), now)
            }
            Phase::Busy { .. } => {
                self.give_up_turn(Ending::Deadline("the CLI was silent for too long", self.deadlines.silence), now)
            }
            Phase::Switching { .. } => {
                // The same model would hold the next invoker up as well.
                let mut actions =
                    self.give_up_turn(Ending::Deadline("the CLI did not answer set_model", MAX_SWITCH), now);
                actions.extend(
                    self.fail(
                        format!("no answer to set_model within {}", crate::turn::format_seconds(MAX_SWITCH)),
                        now,
                    ),
                );
                actions
            }
            Phase::Interrupting { .. } => self.fail("an interrupt did not end the turn".to_owned(), now),
            Phase::Clearing { .. } => self.enter_ladder(Cause::NotCleared { unable: false }, now),
            Phase::Stopping { rung, .. } => self.climb_ladder(*rung, now),
            Phase::Ready | Phase::Gone => Vec::new(),
        }
    }

    fn on_stop(&mut self, cause: StopReason, at_once: bool, now: Instant) -> Vec<Action> {
        match &mut self.phase {
            Phase::Busy { stop_after, .. } | Phase::Switching { stop_after, wanted: true, .. } if !at_once => {
                *stop_after = Some(cause);
                Vec::new()
            }
            Phase::Clearing { stop_after, has_to_prove: true, .. } if !at_once => {
                *stop_after = Some(cause);
                Vec::new()
            }
            Phase::Stopping { .. } | Phase::Gone => Vec::new(),
            _ => self.enter_ladder(Cause::Planned(cause), now),
        }
    }

    fn fail(&mut self, what: String, now: Instant) -> Vec<Action> {
        self.enter_ladder(self.failure_cause(what), now)
    }

    /// The cause of a failure at this point.
    fn failure_cause(&self, what: String) -> Cause {
        if matches!(self.phase, Phase::Switching { .. }) { Cause::NotSwitched(what) } else { Cause::Failed(what) }
    }

    /// Begins to stop. Without effect on an invoker that already stops: the first cause is the true one.
    fn enter_ladder(&mut self, cause: Cause, now: Instant) -> Vec<Action> {
        match &self.phase {
            Phase::Stopping { .. } | Phase::Gone => Vec::new(),
            Phase::Busy { .. } | Phase::Switching { wanted: true, .. } => {
                self.begin_stopping(vec![Action::EndTurn(turn_ending(&cause))], cause, now)
            }
            _ => self.begin_stopping(Vec::new(), cause, now),
        }
    }

    fn begin_stopping(&mut self, mut actions: Vec<Action>, cause: Cause, now: Instant) -> Vec<Action> {
        actions.extend([Action::ReportLeaving(cause.clone()), Action::CloseStdin]);
        self.phase = Phase::Stopping { rung: Rung::StdinClosed, deadline: Some(now + MAX_RUNG), cause };
        actions
    }

    fn on_kill(&mut self, now: Instant) -> Vec<Action> {
        let mut actions = self.enter_ladder(Cause::Planned(StopReason::Kill), now);
        if let Phase::Stopping { rung, deadline, .. } = &mut self.phase
            && *rung < Rung::Killed
        {
            (*rung, *deadline) = (Rung::Killed, Some(now + MAX_RUNG));
            actions.push(Action::KillTree);
        }
        actions
    }

    fn climb_ladder(&mut self, from: Rung, now: Instant) -> Vec<Action> {
        let (next, action, wait) = match from {
            Rung::StdinClosed => (Rung::Terminated, Action::Terminate, Some(now + MAX_RUNG)),
            Rung::Terminated => (Rung::Killed, Action::KillTree, Some(now + MAX_RUNG)),
            Rung::Killed | Rung::Abandoned => (Rung::Abandoned, Action::Abandon, None),
        };
        if let Phase::Stopping { rung, deadline, .. } = &mut self.phase {
            (*rung, *deadline) = (next, wait);
        }
        vec![action]
    }

    fn on_exit(&mut self, how: String) -> Vec<Action> {
        let cause = self.failure_cause(how.clone());
        match std::mem::replace(&mut self.phase, Phase::Gone) {
            Phase::Gone => Vec::new(),
            Phase::Stopping { cause, .. } => vec![Action::ReportGone(cause)],
            Phase::Busy { .. } | Phase::Switching { wanted: true, .. } => {
                vec![Action::EndTurn(Ending::Failed(how)), Action::ReportGone(cause)]
            }
            _ => vec![Action::ReportGone(cause)],
        }
    }
}

fn turn_ending(cause: &Cause) -> Ending {
    match cause {
        Cause::Failed(what) | Cause::NotSwitched(what) => Ending::Failed(what.clone()),
        Cause::Planned(_) | Cause::NotCleared { .. } => Ending::Stopping,
    }
}

#[cfg(test)]
mod tests;
