//! Handles lines, commands, deadlines and the exit.

use std::process::ExitStatus;

use super::{
    Actor, Assignment, BytesMut, ClaudeEvent, Command, ControlError, Duration, Ending, EventError, INITIALIZE, Input,
    LineError, MAX_DRAIN, MAX_EXIT_AFTER_EOF, MAX_QUEUED_ANSWER_BYTES, MAX_STDERR_IN_ERROR_BYTES,
    MAX_STDERR_TAIL_BYTES, Phase, QuotaHold, RESERVED_EVENTS, Reply, Report, Running, SET_MODEL, SystemTime, TurnError,
    TurnEvent, TurnResult, VecDeque, event, mpsc, now, reply,
};
use crate::invoker::reason::StopReason;

type Line = Result<BytesMut, LineError>;

impl Actor {
    pub(super) fn on_line(&mut self, line: Option<Line>) {
        match line {
            Some(Ok(line)) => match event::parse_line(&line) {
                Ok(line) => match self.binding.check_line(&line) {
                    Ok(()) => self.on_event(line.event),
                    Err(misplaced) => self.handle(Input::Broken(misplaced.to_string())),
                },
                Err(EventError::Noise) => {
                    tracing::debug!(invoker = self.live.id, bytes = line.len(), "skipped a line that is not JSON");
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
        self.shrink_read_buffer();
    }

    /// Waits for the exit that should follow: its status says more than the end of a pipe.
    fn pipe_ended(&mut self, why: Option<String>) {
        self.stdout_open = false;
        self.broken = self.broken.take().or(why);
        if self.exit.is_none() {
            self.exit_due = Some(now() + MAX_EXIT_AFTER_EOF);
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
                    self.live.update_models(models);
                }
                self.handle(Input::Initialized(error.map_or(Ok(()), |error| Err(error.words))));
            }
            ClaudeEvent::ControlResponse { request_id, error, .. } if request_id == SET_MODEL => {
                self.on_model_switched(error);
            }
            ClaudeEvent::ControlRequest { request_id, subtype } => {
                self.queue_answer(&event::control_refusal(&request_id, &subtype));
            }
            ClaudeEvent::RateLimit { rejected: true, resets_at: Some(at) } => {
                let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
                let hold = QuotaHold::until(Duration::from_secs(at), now);
                self.update_reply(|reply| reply.set_quota_reset(hold.resets_in));
                self.report(Report::RateLimited(hold));
            }
            // The CLI would retry with the same rejected key for minutes.
            ClaudeEvent::ApiRetry { status: Some(status @ (401 | 403)), error } => self.refuse_turn(status, &error),
            ClaudeEvent::TextDelta(text) => self.on_text(text),
            ClaudeEvent::BlockText(text) => self.on_block(&text),
            ClaudeEvent::Init { model } => self.update_reply(|reply| reply.set_model(model)),
            ClaudeEvent::StopReason(reason) => self.update_reply(|reply| reply.set_stop_reason(reason)),
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

    /// Queues the answer to a control request of the CLI.
    fn queue_answer(&mut self, line: &[u8]) {
        if self.stdin.is_none() {
            return;
        }
        self.answers += line.len();
        if self.answers > MAX_QUEUED_ANSWER_BYTES {
            return self
                .handle(Input::Broken("the CLI sends control requests and does not read the answers".to_owned()));
        }
        self.outbox.extend_from_slice(line);
    }

    fn on_model_switched(&mut self, error: Option<ControlError>) {
        let Some(asked) = self.asked_model.take() else { return };
        let answer = if let Some(error) = error {
            Err(reply::model_switch_error(asked, error))
        } else {
            self.model = Some(asked);
            Ok(())
        };
        self.handle(Input::Switched(answer));
    }

    fn update_reply(&mut self, change: impl FnOnce(&mut Reply)) {
        if let Some(turn) = &mut self.turn {
            change(&mut turn.reply);
        }
    }

    fn on_text(&mut self, text: String) {
        let limit = self.live.factory.shared.max_line;
        let Some(turn) = &mut self.turn else { return };
        if !turn.reply.add_delta(&text, limit) {
            return self.handle(too_long(limit));
        }
        if !turn.assignment.prompt.streamed {
            return;
        }
        turn.forwarded = true;
        turn.waiting.push_back(TurnEvent::Text(text));
        turn.forward_events();
    }

    fn on_block(&mut self, text: &str) {
        let limit = self.live.factory.shared.max_line;
        let Some(turn) = &mut self.turn else { return };
        if !turn.reply.add_block(text, limit) {
            self.handle(too_long(limit));
        }
    }

    fn refuse_turn(&mut self, status: u16, error: &str) {
        let message = format!("{error} (the CLI's account or key was refused)");
        self.finish_turn(&Err(TurnError::Api { status: Some(status), message, retry_after: None }), None);
        self.handle(Input::GiveUp);
    }

    /// The client has room for more, or is gone.
    pub(super) fn on_client(&mut self, client: Option<&mpsc::Sender<TurnEvent>>) {
        if client.is_some_and(mpsc::Sender::is_closed) {
            self.handle(Input::GiveUp);
        } else if let Some(turn) = &mut self.turn {
            turn.forward_events();
        }
    }

    pub(super) fn on_command(&mut self, command: Option<Command>) {
        match command {
            Some(Command::Turn { assignment, clear }) => {
                let (reply, waiting) = (Reply::default(), VecDeque::new());
                self.turn = Some(Running { assignment, reply, waiting, forwarded: false });
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
            self.exit_due = self.exit_due.or_else(|| Some(now() + MAX_EXIT_AFTER_EOF));
        } else if self.outbox.is_empty() {
            // Gives back the memory of a large prompt.
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
            // The client is slow, not the CLI: no silence.
            self.handle(Input::Activity);
        }
        self.handle(Input::Tick);
    }

    pub(super) fn append_stderr(&mut self, chunk: &mut BytesMut) {
        self.stderr_tail.extend(chunk.iter());
        chunk.clear();
        let excess = self.stderr_tail.len().saturating_sub(MAX_STDERR_TAIL_BYTES);
        self.stderr_tail.drain(..excess);
    }

    pub(super) fn on_exit(&mut self, status: std::io::Result<ExitStatus>) {
        match status {
            Ok(status) => self.exit = Some((status, now() + MAX_DRAIN)),
            Err(error) => {
                tracing::error!(invoker = self.live.id, %error, "waiting for the keeper failed");
                self.exit = Some((ExitStatus::default(), now() + MAX_DRAIN));
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
            let how = self.describe_exit(status);
            self.handle(Input::Exited(how));
        }
    }

    fn describe_exit(&mut self, status: ExitStatus) -> String {
        let mut how = match status.code() {
            Some(code) if code > 128 => format!("the CLI was ended by signal {} (exit code {code})", code - 128),
            Some(code) => format!("the CLI exited with code {code}"),
            None => "the CLI's keeper was killed".to_owned(),
        };
        if let Some(broken) = self.broken.take() {
            how = format!("{how}, and {broken}");
        }
        let stderr: Vec<u8> = self.stderr_tail.iter().copied().collect();
        let shown = &stderr[stderr.len().saturating_sub(MAX_STDERR_IN_ERROR_BYTES)..];
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
                    turn.send_reserved(TurnEvent::Text(tail));
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

    /// Hands a turn back for one retry if none of it has reached the client.
    fn fail_turn(&mut self, what: String) {
        match self.turn.take() {
            Some(Running { assignment, forwarded: false, .. }) if !assignment.retried => {
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
        turn.send_reserved(match outcome {
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
    /// Forwards as many events as the client has room for.
    fn forward_events(&mut self) {
        while !self.waiting.is_empty() {
            let Ok(mut room) = self.assignment.reply.try_reserve_many(RESERVED_EVENTS + 1) else { return };
            if let (Some(permit), Some(event)) = (room.next(), self.waiting.pop_front()) {
                permit.send(event);
            }
        }
    }

    /// Sends the last piece of text or the end into the reserved capacity.
    fn send_reserved(&self, event: TurnEvent) {
        let _ = self.assignment.reply.try_send(event);
    }
}
