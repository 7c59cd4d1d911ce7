//! Tools for recordings: [`check`] finds problems, [`replay`] compares a recording with what `mock-claude` plays of it,
//! [`show`] renders an overview, and [`trim`] makes a smaller recording that still plays.

use std::collections::VecDeque;

use serde::Deserialize;

use crate::recording::{Payload, Session};

pub mod check;
pub mod replay;
pub mod show;
pub mod trim;

/// One user message and its result; the numbers are indices of [`Session::events`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Turn {
    /// The user message.
    pub prompt: usize,
    /// The first line that answers it.
    pub first: Option<usize>,
    /// The result; none where the process ended before.
    pub result: Option<usize>,
}

/// The fields of a line that identify its kind of message.
#[derive(Debug, Deserialize)]
pub(crate) struct MessageKind {
    #[serde(rename = "type")]
    kind: String,
    subtype: Option<String>,
    request: Option<Inner>,
    event: Option<Inner>,
}

#[derive(Debug, Deserialize)]
struct Inner {
    #[serde(rename = "type")]
    kind: Option<String>,
    subtype: Option<String>,
}

impl MessageKind {
    /// The label of a line that is a message.
    fn parse(line: &str) -> Option<Self> {
        serde_json::from_str(line).ok()
    }

    /// Its type with what it is more closely: `stream_event/message_start`, `result/success`.
    fn name(&self) -> String {
        let inner = self.request.as_ref().or(self.event.as_ref());
        let closer = inner.and_then(|inner| inner.subtype.as_ref().or(inner.kind.as_ref())).or(self.subtype.as_ref());
        closer.map_or_else(|| self.kind.clone(), |closer| format!("{}/{closer}", self.kind))
    }
}

/// The turns in order. The CLI queues user messages that come while a turn runs, and answers each with a result.
pub fn find_turns(session: &Session) -> Vec<Turn> {
    let (mut turns, mut open): (Vec<Turn>, VecDeque<usize>) = (Vec::new(), VecDeque::new());
    for (index, event) in session.events.iter().enumerate() {
        let Some(kind) = MessageKind::parse(event.payload.text()).map(|label| label.kind) else { continue };
        match (&event.payload, kind.as_str()) {
            (Payload::In(_), "user") => {
                open.push_back(turns.len());
                turns.push(Turn { prompt: index, first: None, result: None });
            }
            (Payload::Out(_), "control_response" | "control_request") => {}
            (Payload::Out(_), kind) => {
                let Some(turn) = open.front().map(|open| &mut turns[*open]) else { continue };
                turn.first.get_or_insert(index);
                if kind == "result" {
                    turn.result = Some(index);
                    open.pop_front();
                }
            }
            _ => {}
        }
    }
    turns
}
