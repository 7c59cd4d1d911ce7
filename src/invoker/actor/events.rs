//! What the actor does with each thing that happens.

use std::process::ExitStatus;

use super::{
    Actor, Assignment, BytesMut, ClaudeEvent, Command, ControlError, DRAIN, Duration, EXIT_AFTER_EOF, Ending,
    EventError, INITIALIZE, Input, LineError, MAX_WAITING_ANSWERS, Phase, QuotaHold, RESERVED, Reply, Report, Running,
    SET_MODEL, STDERR_KEPT, STDERR_SHOWN, SystemTime, TurnError, TurnEvent, TurnResult, VecDeque, event, mpsc, now,
    reply,
};
use crate::invoker::reason::StopReason;

type Line = Result<BytesMut, LineError>;

impl Actor {
    pub(super) fn on_line(&mut self, line: Option<Line>) {
        match line {
            Some(Ok(line)) => match event::parse(&line) {
                Ok(line) => match self.binding.accept(&line) {
                    Ok(()) => self.on_event(line.event),
                    Err(misplaced) => self.handle(Input::Broken(misplaced.to_string())),
                },
                Err(EventError::Noise) => {
                    tracing::debug!(
                        invoker = self.live.id,
                        bytes = line.len(),
                        "a line that is not JSON was passed over"
                    );
                    self.handle(Input::Activity);
                }
                Err(error @ EventError::Broken(_)) => self.handle(Input::Broken(error.to_string())),
            },
            Some(Err(error @ LineError::TooLong { .. })) => {
                self.stdout_open = false;
                self.handle(Input::Broken(error.to_string()));
            }
            Some(Err(error)) => self.pipe_ended(Some(error.to_string())),
            None => self.pipe_ended(None),
        }
        self.forget_lines();
    }

    /// An exit should follow, and it says more than the end of a pipe does.
    fn pipe_ended(&mut self, why: Option<String>) {
        self.stdout_open = false;
        self.broken = self.broken.take().or(why);
        if self.exit.is_none() {
            self.exit_due = Some(now() + EXIT_AFTER_EOF);
        }
    }

    fn on_event(&mut self, event: ClaudeEvent) {
        self.handle(Input::Activity);
        match event {
            ClaudeEvent::Result(result) => {
                self.on_result(result);
            }
            ClaudeEvent::ConversationReset => self.handle(Input::Reset),
            ClaudeEvent::ControlResponse { request_id, error, models } if request_id == INITIALIZE => {
                if error.is_none() {
                    self.live.learn(models);
                }
                self.handle(Input::Initialized(error.map_or(Ok(()), |error| Err(error.words))));
            }
            ClaudeEvent::ControlResponse { request_id, error, .. } if request_id == SET_MODEL => self.switched(error),
            ClaudeEvent::ControlRequest { request_id, subtype } => {
                self.answer(&event::refusal(&request_id, &subtype));
            }
            ClaudeEvent::RateLimit { rejected: true, resets_at: Some(at) } => {
                let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
                let hold = QuotaHold::until(Duration::from_secs(at), now);
                self.reply(|reply| reply.quota_in(hold.resets_in));
                self.report(Report::RateLimited(hold));
            }
            // The CLI would go on trying a key that cannot become right, for minutes.
            ClaudeEvent::ApiRetry { status: Some(status @ (401 | 403)), error } => self.refuse(status, &error),
            ClaudeEvent::TextDelta(text) => self.on_text(text),
            ClaudeEvent::BlockText(text) => self.on_block(&text),
            ClaudeEvent::Init { model } => self.reply(|reply| reply.model(model)),
            ClaudeEvent::StopReason(reason) => self.reply(|reply| reply.stop_reason(reason)),
            ClaudeEvent::RateLimit { .. }
            | ClaudeEvent::ApiRetry { .. }
            | ClaudeEvent::ControlResponse { .. }
            | ClaudeEvent::MessageStart
            | ClaudeEvent::Other => {}
        }
    }

    fn on_result(&mut self, result: TurnResult) {
        let success = result.is_success();
        if matches!(self.life.phase(), Phase::Busy { .. })
            && let Some(turn) = &mut self.turn
        {
            match std::mem::take(&mut turn.reply).finish(result) {
                Ok(finished) => self.finished = Some(finished),
                Err(foreign) => return self.handle(Input::Broken(foreign.to_string())),
            }
        }
        self.handle(Input::TurnEnded { success, detects_late_text: self.binding.detects_late_text() });
        self.finished = None;
    }

    /// Answers a question of the CLI's.
    fn answer(&mut self, line: &[u8]) {
        if self.stdin.is_none() {
            return;
        }
        self.answers += line.len();
        if self.answers > MAX_WAITING_ANSWERS {
            return self.handle(Input::Broken("it asks and does not read the answers".to_owned()));
        }
        self.outbox.extend_from_slice(line);
    }

    fn switched(&mut self, error: Option<ControlError>) {
        let Some(asked) = self.asked_model.take() else { return };
        let answer = if let Some(error) = error {
            Err(reply::not_switched(asked, error))
        } else {
            self.model = Some(asked);
            Ok(())
        };
        self.handle(Input::Switched(answer));
    }

    fn reply(&mut self, change: impl FnOnce(&mut Reply)) {
        if let Some(turn) = &mut self.turn {
            change(&mut turn.reply);
        }
    }

    fn on_text(&mut self, text: String) {
        let limit = self.live.factory.shared.max_line;
        let Some(turn) = &mut self.turn else { return };
        if !turn.reply.delta(&text, limit) {
            return self.handle(too_long(limit));
        }
        if !turn.assignment.prompt.streamed {
            return;
        }
        turn.passed_on = true;
        turn.waiting.push_back(TurnEvent::Text(text));
        turn.pass_on();
    }

    fn on_block(&mut self, text: &str) {
        let limit = self.live.factory.shared.max_line;
        let Some(turn) = &mut self.turn else { return };
        if !turn.reply.block(text, limit) {
            self.handle(too_long(limit));
        }
    }

    fn refuse(&mut self, status: u16, error: &str) {
        let message = format!("{error} (the CLI's account or key was refused)");
        self.finish_turn(&Err(TurnError::Api { status: Some(status), message, retry_after: None }), None);
        self.handle(Input::GiveUp);
    }

    /// The client has room for more, or is gone.
    pub(super) fn on_client(&mut self, client: Option<&mpsc::Sender<TurnEvent>>) {
        if client.is_some_and(mpsc::Sender::is_closed) {
            self.handle(Input::GiveUp);
        } else if let Some(turn) = &mut self.turn {
            turn.pass_on();
        }
    }

    pub(super) fn on_command(&mut self, command: Option<Command>) {
        match command {
            Some(Command::Turn { assignment, clear }) => {
                let (reply, waiting) = (Reply::default(), VecDeque::new());
                self.turn = Some(Running { assignment, reply, waiting, passed_on: false });
                let switch = Some(self.wanted_model()) != self.model.as_deref();
                self.handle(Input::Lease { clear, switch });
            }
            Some(Command::Stop { cause, now }) => self.handle(Input::Stop { cause, now }),
            Some(Command::Kill) => self.handle(Input::Kill),
            None => {
                self.commands_open = false;
                self.handle(Input::Stop { cause: StopReason::Dropped, now: false });
            }
        }
    }

    pub(super) fn on_written(&mut self, written: &std::io::Result<usize>) {
        if let Err(error) = written {
            self.stdin = None;
            self.outbox.clear();
            self.broken = self.broken.take().or_else(|| Some(format!("it closed its stdin ({error})")));
            self.exit_due = self.exit_due.or_else(|| Some(now() + EXIT_AFTER_EOF));
        } else if self.outbox.is_empty() {
            // A large prompt should not stay for as long as the invoker lives.
            self.outbox = BytesMut::new();
            self.answers = 0;
        }
    }

    pub(super) fn on_deadline(&mut self, blocked: bool) {
        if self.exit.is_none() && self.exit_due.is_some_and(|due| now() >= due) {
            self.exit_due = None;
            let what = self.broken.take().unwrap_or_else(|| "it closed its stdout and goes on running".to_owned());
            self.handle(Input::Broken(what));
        }
        if blocked {
            // It is the client that is slow, not the CLI.
            self.handle(Input::Activity);
        }
        self.handle(Input::Tick);
    }

    pub(super) fn keep_stderr(&mut self, chunk: &mut BytesMut) {
        self.stderr_kept.extend(chunk.iter());
        chunk.clear();
        let excess = self.stderr_kept.len().saturating_sub(STDERR_KEPT);
        self.stderr_kept.drain(..excess);
    }

    pub(super) fn on_exit(&mut self, status: std::io::Result<ExitStatus>) {
        match status {
            Ok(status) => self.exit = Some((status, now() + DRAIN)),
            Err(error) => {
                tracing::error!(invoker = self.live.id, %error, "waiting for the keeper failed");
                self.exit = Some((ExitStatus::default(), now() + DRAIN));
            }
        }
        self.exit_due = None;
    }

    /// Once the keeper has exited and its output is read to the end, the life is over.
    pub(super) fn finish_exit(&mut self) {
        let Some((status, drained)) = self.exit else { return };
        let blocked = self.turn.as_ref().is_some_and(|turn| !turn.waiting.is_empty());
        let read_to_the_end = !self.stdout_open && !self.stderr_open;
        if !blocked && (read_to_the_end || now() >= drained) {
            let how = self.describe(status);
            self.handle(Input::Exited(how));
        }
    }

    fn describe(&mut self, status: ExitStatus) -> String {
        let mut how = match status.code() {
            Some(code) if code > 128 => format!("the CLI was ended by signal {} (exit code {code})", code - 128),
            Some(code) => format!("the CLI exited with code {code}"),
            None => "the CLI's keeper was killed".to_owned(),
        };
        if let Some(broken) = self.broken.take() {
            how = format!("{how}, and {broken}");
        }
        let stderr: Vec<u8> = self.stderr_kept.iter().copied().collect();
        let shown = &stderr[stderr.len().saturating_sub(STDERR_SHOWN)..];
        match String::from_utf8_lossy(shown).trim() {
            "" => how,
            words => format!("{how}: {words}"),
        }
    }

    pub(super) fn end_turn(&mut self, ending: Ending) {
        match ending {
            Ending::Completed => {
                let Some(finished) = self.finished.take() else { return };
                let Some(turn) = &mut self.turn else { return };
                if let Some(tail) = finished.tail.filter(|_| turn.assignment.prompt.streamed) {
                    turn.send(TurnEvent::Text(tail));
                }
                self.finish_turn(&finished.outcome, Some(finished.usage));
            }
            Ending::Failed(what) => self.fail_turn(what),
            Ending::Refused(error) => self.finish_turn(&Err(error), None),
            Ending::Deadline(what, after) => self.finish_turn(&Err(TurnError::Deadline { what, after }), None),
            Ending::Stopping => self.finish_turn(&Err(TurnError::Stopping), None),
            Ending::GivenUp => {
                if self.turn.take().is_some() {
                    self.report(Report::TurnOver { usage: None });
                }
            }
        }
    }

    /// A turn of which nothing was passed on can run again, once.
    fn fail_turn(&mut self, what: String) {
        match self.turn.take() {
            Some(Running { assignment, passed_on: false, .. }) if !assignment.retried => {
                self.report(Report::TurnOver { usage: None });
                self.report(Report::Returned(Assignment { retried: true, ..assignment }));
            }
            turn => {
                self.turn = turn;
                self.finish_turn(&Err(TurnError::Cli(what)), None);
            }
        }
    }

    fn finish_turn(&mut self, outcome: &Result<crate::turn::Completion, TurnError>, usage: Option<crate::turn::Usage>) {
        let Some(turn) = self.turn.take() else { return };
        turn.send(match outcome {
            Ok(completion) => TurnEvent::Done(completion.clone()),
            Err(error) => TurnEvent::Failed(error.clone()),
        });
        self.report(Report::TurnOver { usage });
    }
}

fn too_long(limit: usize) -> Input {
    Input::Broken(format!("a reply is longer than {limit} bytes (--max-line-bytes)"))
}

impl Running {
    /// Passes on what the client has room for.
    fn pass_on(&mut self) {
        while !self.waiting.is_empty() {
            let Ok(mut room) = self.assignment.reply.try_reserve_many(RESERVED + 1) else { return };
            if let (Some(permit), Some(event)) = (room.next(), self.waiting.pop_front()) {
                permit.send(event);
            }
        }
    }

    /// Sends the last piece or the ending, for which room was kept. A client that is gone gets nothing.
    fn send(&self, event: TurnEvent) {
        let _ = self.assignment.reply.try_send(event);
    }
}
