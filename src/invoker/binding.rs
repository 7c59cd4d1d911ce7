//! Which turn a line of the CLI belongs to. Pure.
//!
//! No line of the CLI names the prompt that it answers. These rules held in every recorded version:
//!
//! - A prompt is answered by one `system/init`, then text, then one `result`; so is `/clear`, and on a CLI that knows it
//!   a `conversation_reset` comes first. Nothing of a turn comes before its `init` or after its `result`.
//! - The lines of a turn carry the `session_id` of its `init`, and each `/clear` begins a new session.
//! - Text comes after the `message_start` of its own turn.
//!
//! A line that breaks one of these belongs to another turn, and then the lines after it may as well: the process has to
//! be replaced. A result also has to have the text of its turn (`reply.rs`).
//!
//! One case stays open. A delta names its conversation and no turn, so one that came late within the same conversation, in
//! the middle of another turn's message, would be noticed only at the end of that turn. Its client gets an error then, but
//! one that reads the reply as a stream has seen the text. Nor can a whole reply that comes twice (its text and its result) be
//! told from the reply of the turn that runs. `/clear` between the turns rules both out.

use crate::claude::event::{ClaudeEvent, Line};

/// Work for the CLI.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// A prompt.
    Prompt,
    /// `/clear`.
    Clear,
}

/// A line that does not belong to the CLI's current work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Misplaced {
    /// `system/init`, without a prompt or a second time.
    #[error("a turn began that was not asked for")]
    Init,
    /// Text before the turn began, after it ended, or before its first message.
    #[error("text came that belongs to no running turn")]
    Text,
    /// `result` before the turn began or after it ended.
    #[error("a result came that belongs to no running turn")]
    Result,
    /// `conversation_reset` without a `/clear`.
    #[error("the conversation was reset without a request")]
    Reset,
    /// A line of an earlier conversation.
    #[error("a line came that belongs to an earlier conversation")]
    Session,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Stage {
    #[default]
    Idle,
    /// Written to the CLI, which has not begun it.
    Asked(Work),
    /// `system/init` has come.
    Begun(Work),
}

/// Follows the lines of one process. The default is a process without work.
#[derive(Debug, Default)]
pub struct TurnBinding {
    stage: Stage,
    /// The conversation was reset for the `/clear` that is under way.
    is_reset: bool,
    /// The session id of the latest `system/init`.
    session: Option<String>,
    /// The running turn has begun a message.
    in_message: bool,
    /// The CLI announces its messages.
    frames_messages: bool,
}

impl TurnBinding {
    /// Begins the CLI's next work. The work before it must have had a `result`.
    pub fn begin_work(&mut self, work: Work) {
        self.stage = Stage::Asked(work);
        self.is_reset = false;
    }

    /// Whether text that comes after the end of its turn can be told from the text of the next turn, in all cases.
    #[must_use]
    pub fn detects_late_text(&self) -> bool {
        self.frames_messages
    }

    /// Checks the next line; fails if it does not belong to the current work.
    pub fn check_line(&mut self, line: &Line<'_>) -> Result<(), Misplaced> {
        let session = line.session.as_deref();
        match &line.event {
            ClaudeEvent::Init { .. } => self.on_init(session),
            ClaudeEvent::MessageStart => {
                self.check_is_running(session, Misplaced::Text)?;
                (self.in_message, self.frames_messages) = (true, true);
                Ok(())
            }
            ClaudeEvent::TextDelta(_) if self.frames_messages && !self.in_message => Err(Misplaced::Text),
            ClaudeEvent::TextDelta(_) | ClaudeEvent::BlockText(_) | ClaudeEvent::StopReason(_) => {
                self.check_is_running(session, Misplaced::Text)
            }
            ClaudeEvent::Result(_) => {
                self.check_is_running(session, Misplaced::Result)?;
                self.stage = Stage::Idle;
                Ok(())
            }
            ClaudeEvent::ConversationReset => self.on_reset(),
            ClaudeEvent::ApiRetry { .. }
            | ClaudeEvent::RateLimit { .. }
            | ClaudeEvent::ControlResponse { .. }
            | ClaudeEvent::ControlRequest { .. }
            | ClaudeEvent::Other => Ok(()),
        }
    }

    fn on_init(&mut self, session: Option<&str>) -> Result<(), Misplaced> {
        let Stage::Asked(work) = self.stage else { return Err(Misplaced::Init) };
        self.stage = Stage::Begun(work);
        self.in_message = false;
        if self.session.as_deref() != session {
            self.session = session.map(str::to_owned);
        }
        Ok(())
    }

    fn check_is_running(&self, session: Option<&str>, otherwise: Misplaced) -> Result<(), Misplaced> {
        if !matches!(self.stage, Stage::Begun(_)) {
            return Err(otherwise);
        }
        // A line without a session says nothing about it.
        match (session, self.session.as_deref()) {
            (Some(own), Some(current)) if own != current => Err(Misplaced::Session),
            _ => Ok(()),
        }
    }

    fn on_reset(&mut self) -> Result<(), Misplaced> {
        let clears = matches!(self.stage, Stage::Asked(Work::Clear) | Stage::Begun(Work::Clear));
        if !clears || self.is_reset {
            return Err(Misplaced::Reset);
        }
        self.is_reset = true;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
