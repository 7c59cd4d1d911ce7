//! The prompts that a load sends and the replies that it accepts.

use std::collections::HashSet;

use serde_json::Value;
use thiserror::Error;

use leakgate_session::recording::{Payload, Session};

/// The prompts that are sent, in turn, and every reply that the recording can give.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Script {
    prompts: Vec<String>,
    replies: HashSet<String>,
}

/// Why a recording is of no use for a load.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("the recording {name} has no turn that ends in a reply; choose one that has, for example ten-turns")]
pub struct NothingToReplay {
    /// Which recording.
    pub name: String,
}

impl Script {
    /// A script of these prompts and replies.
    #[must_use]
    pub fn new(prompts: Vec<String>, replies: Vec<String>) -> Self {
        Self { prompts, replies: replies.into_iter().collect() }
    }

    /// The prompts and replies of a recording.
    pub fn from_session(session: &Session) -> Result<Self, NothingToReplay> {
        let mut script = Self::default();
        for event in &session.events {
            match &event.payload {
                Payload::In(line) => script.prompts.extend(prompt_text(line)),
                Payload::Out(line) => script.replies.extend(result_text(line)),
                Payload::Err(_) | Payload::Exit { .. } => {}
            }
        }
        let is_usable = !script.prompts.is_empty() && !script.replies.is_empty();
        if is_usable { Ok(script) } else { Err(NothingToReplay { name: session.header.name.clone() }) }
    }

    /// The prompt of request `number`.
    #[must_use]
    pub fn prompt(&self, number: u64) -> &str {
        let count = self.prompts.len().max(1) as u64;
        let index = usize::try_from(number % count).unwrap_or(0);
        self.prompts.get(index).map_or("Hello", String::as_str)
    }

    /// Whether the recording has a reply with exactly this text.
    #[must_use]
    pub(crate) fn is_reply(&self, text: &str) -> bool {
        self.replies.contains(text)
    }
}

/// The text of a user message; commands of the CLI are none.
fn prompt_text(line: &str) -> Option<String> {
    let line: Value = serde_json::from_str(line).ok()?;
    let content = line.pointer("/message/content").filter(|_| line["type"] == "user")?.as_str()?;
    (!content.starts_with('/')).then(|| content.to_owned())
}

/// The text of a result that is no error.
fn result_text(line: &str) -> Option<String> {
    let line: Value = serde_json::from_str(line).ok()?;
    let is_reply = line["type"] == "result" && line["is_error"] == false && line["num_turns"] != 0;
    line.get("result").filter(|_| is_reply)?.as_str().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use leakgate_session::recording;

    #[test]
    fn the_ten_turns_have_ten_prompts_and_their_replies() {
        for version in ["2.1.330", "2.1.19"] {
            let script = Script::from_session(&recording::load(&format!("{version}/ten-turns")).unwrap()).unwrap();
            assert_eq!((script.prompts.len(), script.replies.len()), (10, 10), "{version}");
            assert!(script.prompt(10).contains("Extract the entities"));
        }
    }

    #[test]
    fn a_recording_without_a_reply_is_refused() {
        let refused = Script::from_session(&recording::load("bad-flag").unwrap()).unwrap_err();
        assert!(refused.to_string().contains("bad-flag"));
    }
}
