//! Makes a recording smaller in ways after which it can still be played.

use std::collections::BTreeMap;
use std::collections::HashMap;

use serde_json::Value;

use super::find_turns;
use crate::recording::{End, Event, Flaws, Payload, Session};

/// Limits for a smaller recording.
#[derive(Debug, Clone, Copy, Default)]
pub struct TrimLimits {
    /// Keep this many turns from the start.
    pub turns: Option<usize>,
    /// Keep this many milliseconds of each pause.
    pub pause: Option<u64>,
    /// Keep this many characters of each text of a prompt or a reply.
    pub text: Option<usize>,
}

/// The smaller recording. One without an exit gets one: a mock that plays it has to end somehow.
pub fn trim_recording(session: &Session, cut: &TrimLimits) -> Session {
    let mut events = cut.turns.map_or_else(|| session.events.clone(), |turns| keep_first_turns(session, turns));
    if let Some(longest) = cut.text {
        let mut shortener = Shortener { longest, streamed: HashMap::new() };
        events.retain_mut(|event| shortener.shorten_event(event));
    }
    if let Some(longest) = cut.pause {
        shorten_pauses(&mut events, longest);
    }
    if !events.last().is_some_and(|event| matches!(event.payload, Payload::Exit { .. })) {
        let ms = events.last().map_or(0, |event| event.ms);
        let removed = match session.events.last().map(|event| &event.payload) {
            Some(Payload::Exit { removed, .. }) => removed.clone(),
            _ => BTreeMap::new(),
        };
        let payload = Payload::Exit { end: End::Code(0), after: "stdin closed".to_owned(), removed };
        events.push(Event { ms, payload, flaws: Flaws::default() });
    }
    Session { header: session.header.clone(), events }
}

/// Everything up to the last line of the last turn to keep; user messages that were queued for later turns go too.
fn keep_first_turns(session: &Session, count: usize) -> Vec<Event> {
    let turns = find_turns(session);
    let Some(next) = turns.get(count) else { return session.events.clone() };
    // Lines after a result and before the next message belong to the turn that they follow.
    let result = count.checked_sub(1).and_then(|last| turns[last].result);
    let end = result.map_or(next.prompt, |result| next.prompt.max(result + 1));
    let late: Vec<usize> = turns[count..].iter().map(|turn| turn.prompt).collect();
    let before = session.events[..end].iter().enumerate();
    before.filter(|(index, _)| !late.contains(index)).map(|(_, event)| event.clone()).collect()
}

fn shorten_pauses(events: &mut [Event], longest: u64) {
    let (mut before, mut now) = (0, 0);
    for event in events {
        now += event.ms.saturating_sub(before).min(longest);
        before = event.ms;
        event.ms = now;
    }
}

/// Cuts texts. The deltas of a block are one text: together they keep what its whole message keeps.
struct Shortener {
    longest: usize,
    /// Characters that the deltas of each block have said so far.
    streamed: HashMap<String, usize>,
}

impl Shortener {
    /// Shortens the texts of a line; a delta that has nothing left to say goes.
    fn shorten_event(&mut self, event: &mut Event) -> bool {
        let (Payload::In(line) | Payload::Out(line)) = &mut event.payload else { return true };
        let Ok(mut message) = serde_json::from_str::<Value>(line) else { return true };
        let before = message.clone();
        let keeps = match message["type"].as_str() {
            Some("stream_event") => self.shorten_delta(&mut message),
            Some("user" | "assistant") => {
                self.shorten_content(&mut message["message"]["content"]);
                true
            }
            Some("result") => {
                self.shorten_value(&mut message["result"]);
                true
            }
            _ => true,
        };
        // Untouched lines stay byte for byte.
        if message != before {
            *line = message.to_string();
        }
        keeps
    }

    fn shorten_delta(&mut self, message: &mut Value) -> bool {
        let block =
            format!("{} {} {}", message["session_id"], message["parent_tool_use_id"], message["event"]["index"]);
        match message["event"]["type"].as_str() {
            Some("content_block_start") => {
                self.streamed.remove(&block);
            }
            Some("content_block_delta") => {
                let delta = &mut message["event"]["delta"];
                for field in ["text", "thinking"] {
                    let Some(Value::String(text)) = delta.get_mut(field) else { continue };
                    let said = self.streamed.entry(block.clone()).or_default();
                    let left = self.longest.saturating_sub(*said);
                    *said += text.chars().count();
                    truncate_chars(text, left);
                    return left > 0;
                }
            }
            _ => {}
        }
        true
    }

    fn shorten_content(&self, content: &mut Value) {
        match content {
            Value::Array(blocks) => {
                for block in blocks {
                    // A tool's result has its text one level deeper.
                    for field in ["text", "thinking", "content"] {
                        if let Some(inner) = block.get_mut(field) {
                            self.shorten_content(inner);
                        }
                    }
                }
            }
            other => self.shorten_value(other),
        }
    }

    fn shorten_value(&self, value: &mut Value) {
        if let Value::String(text) = value {
            truncate_chars(text, self.longest);
        }
    }
}

fn truncate_chars(text: &mut String, longest: usize) {
    if let Some((end, _)) = text.char_indices().nth(longest) {
        text.truncate(end);
    }
}
