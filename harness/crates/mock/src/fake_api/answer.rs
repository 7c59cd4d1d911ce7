//! One answer of the API as the events of its stream, made from the request. Pure: the clock is the caller's.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use leakgate_session::mark;
use serde_json::{Value, json};

use super::scenario::{Scenario, Word};
use crate::answer::{Mode, Words};

/// The length of a piece of text, in characters: about what the recorded pieces have.
const PIECE: usize = 40;

/// An answer.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// An error instead of a reply.
    Refused {
        /// The status.
        status: u16,
        /// The API's words.
        words: String,
    },
    /// A reply.
    Said {
        /// The events, in order.
        pieces: Vec<Piece>,
        /// What comes after them.
        end: End,
    },
}

/// One event of a stream.
#[derive(Debug, Clone, PartialEq)]
pub struct Piece {
    /// The silence before it.
    pub wait: Duration,
    /// The event.
    pub event: Value,
}

/// What comes after the last event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The end of the response.
    Complete,
    /// The end of the connection, in the middle of the response.
    Cut,
    /// Nothing.
    Hang,
}

/// Makes answers.
#[derive(Debug)]
pub struct Maker {
    /// What is answered where a prompt has no word for it.
    pub scenario: Scenario,
    /// The replies that a plain request gets, in turn, each in its pieces.
    pub replies: Vec<Vec<String>>,
    /// Whether a request's mark is woven into its reply, as the mock CLI does.
    pub echo_mark: bool,
    /// The silence before the first event of a reply.
    pub delay: Duration,
    /// Requests so far.
    pub asked: AtomicUsize,
}

impl Maker {
    /// Answers plain requests with `replies`.
    #[must_use]
    pub fn new(scenario: Scenario, replies: Vec<Vec<String>>, echo_mark: bool, delay: Duration) -> Self {
        Self { scenario, replies, echo_mark, delay, asked: AtomicUsize::new(0) }
    }

    /// The answer to a request; `now` is the time since 1970.
    pub fn answer(&self, request: &Value, now: Duration) -> Answer {
        let number = self.asked.fetch_add(1, Ordering::Relaxed);
        let prompt = prompt(request);
        let mark = mark::find_in_prompt(&prompt).filter(|_| self.echo_mark);
        let word = Word::of(&prompt).or(match &self.scenario {
            Scenario::Api(word) => Some(word.clone()),
            Scenario::Mode(_) => None,
        });
        let mode = match &self.scenario {
            Scenario::Mode(mode) => mode.clone(),
            Scenario::Api(_) => Mode::default(),
        };
        let told = Told { number, request, wait: self.delay };
        let recorded = || mark_pieces(self.recorded(number), mark);
        match word {
            Some(Word::Long(words)) => told.text(&mark_pieces(pieces(&long(words)), mark)),
            Some(Word::ToolUse(name)) if !has_result(request) => told.tool(&name, &any_input()),
            Some(Word::ToolUse(_)) => told.text(&recorded()),
            Some(Word::Overloaded) => told.half(&recorded(), Some(overloaded()), End::Complete),
            Some(Word::Cut) => told.half(&recorded(), None, End::Cut),
            Some(Word::Hang) => told.half(&recorded(), None, End::Hang),
            None => {
                let reply = mode.reply(&prompt, mark, now);
                let pieces = match reply.words {
                    Words::Error(status) => return refused(status),
                    // A tool is used once; its result is answered.
                    Words::Use(_) if has_result(request) => recorded(),
                    Words::Use(used) => return told.tool(&used.tool, &used.input.unwrap_or_else(any_input)),
                    Words::Recorded => recorded(),
                    Words::Text(text) => mark_pieces(pieces(&text), mark),
                    Words::Json(text) => pieces(&text),
                };
                let told = Told { wait: self.delay + reply.slow, ..told };
                told.paced(&pieces, reply.drip, reply.stop_reason.unwrap_or("end_turn"))
            }
        }
    }

    fn recorded(&self, number: usize) -> Vec<String> {
        let next = number.checked_rem(self.replies.len()).and_then(|next| self.replies.get(next));
        next.cloned().unwrap_or_else(|| pieces("This is a reply of the stand-in for the Messages API."))
    }
}

/// An answer that is an error.
#[must_use]
pub fn refused(status: u16) -> Answer {
    Answer::Refused { status, words: super::sse::error(status).1.to_owned() }
}

/// What the user said last: the text of the last message with the role `user`, without what the CLI puts beside it.
#[must_use]
pub fn prompt(request: &Value) -> String {
    let Some(message) = last_user(request) else { return String::new() };
    match &message["content"] {
        Value::String(text) => text.clone(),
        blocks => {
            let texts = blocks.as_array().into_iter().flatten().filter_map(|block| block["text"].as_str());
            texts.filter(|text| !text.starts_with("<system-reminder>")).collect::<Vec<_>>().join("\n")
        }
    }
}

fn last_user(request: &Value) -> Option<&Value> {
    request["messages"].as_array()?.iter().rfind(|message| message["role"] == "user")
}

fn has_result(request: &Value) -> bool {
    let blocks = last_user(request).and_then(|message| message["content"].as_array());
    blocks.into_iter().flatten().any(|block| block["type"] == "tool_result")
}

fn mark_pieces(pieces: Vec<String>, mark: Option<&str>) -> Vec<String> {
    match mark {
        Some(mark) => mark::mark_pieces(&pieces, mark),
        None => pieces,
    }
}

/// A text in pieces; none is empty, and there is at least one.
#[must_use]
pub fn pieces(text: &str) -> Vec<String> {
    let letters: Vec<char> = text.chars().collect();
    let pieces: Vec<String> = letters.chunks(PIECE).map(|chunk| chunk.iter().collect()).collect();
    if pieces.is_empty() { vec![String::new()] } else { pieces }
}

fn long(words: usize) -> String {
    (0..words).map(|word| format!("word{word}")).collect::<Vec<_>>().join(" ")
}

fn overloaded() -> Value {
    let (kind, words) = super::sse::error(529);
    json!({"type": "error", "error": {"type": kind, "message": words}})
}

/// What every event of an answer needs to know.
#[derive(Clone, Copy)]
struct Told<'a> {
    number: usize,
    request: &'a Value,
    /// The silence before the first event.
    wait: Duration,
}

impl Told<'_> {
    fn text(self, pieces: &[String]) -> Answer {
        self.paced(pieces, Duration::ZERO, "end_turn")
    }

    /// A whole text, with `drip` before each piece but the first.
    fn paced(self, pieces: &[String], drip: Duration, reason: &str) -> Answer {
        let mut all = vec![self.start(), now(block_start(&json!({"type": "text", "text": ""})))];
        for (at, piece) in pieces.iter().enumerate() {
            let wait = if at == 0 { Duration::ZERO } else { drip };
            all.push(Piece { wait, event: delta(&json!({"type": "text_delta", "text": piece})) });
        }
        all.extend(end(reason, pieces.iter().map(String::len).sum()));
        Answer::Said { pieces: all, end: End::Complete }
    }

    /// The first half of a text, then one more event at most.
    fn half(self, pieces: &[String], last: Option<Value>, end: End) -> Answer {
        let mut all = vec![self.start(), now(block_start(&json!({"type": "text", "text": ""})))];
        let half = pieces.len().div_ceil(2);
        all.extend(pieces.iter().take(half).map(|piece| now(delta(&json!({"type": "text_delta", "text": piece})))));
        all.extend(last.map(now));
        Answer::Said { pieces: all, end }
    }

    fn tool(self, name: &str, input: &Value) -> Answer {
        let id = format!("toolu_{:022}", self.number);
        let input = input.to_string();
        let mut all = vec![self.start()];
        all.push(now(block_start(&json!({"type": "tool_use", "id": id, "name": name, "input": {}}))));
        all.push(now(delta(&json!({"type": "input_json_delta", "partial_json": input}))));
        all.extend(end("tool_use", input.len()));
        Answer::Said { pieces: all, end: End::Complete }
    }

    fn start(self) -> Piece {
        let tokens = self.request["messages"].to_string().len() / 4;
        let message = json!({
            "id": format!("msg_{:024}", self.number),
            "type": "message",
            "role": "assistant",
            "model": self.request["model"],
            "content": [],
            "stop_reason": null,
            "stop_sequence": null,
            "usage": {
                "input_tokens": tokens,
                "cache_creation_input_tokens": 0,
                "cache_read_input_tokens": 0,
                "output_tokens": 1,
            },
        });
        Piece { wait: self.wait, event: json!({"type": "message_start", "message": message}) }
    }
}

fn end(reason: &str, length: usize) -> [Piece; 3] {
    let delta = json!({"stop_reason": reason, "stop_sequence": null});
    let usage = json!({"output_tokens": length.div_ceil(4)});
    [
        now(json!({"type": "content_block_stop", "index": 0})),
        now(json!({"type": "message_delta", "delta": delta, "usage": usage})),
        now(json!({"type": "message_stop"})),
    ]
}

/// The input of a tool where nobody says which.
fn any_input() -> Value {
    json!({"command": "true", "description": "nothing"})
}

fn block_start(block: &Value) -> Value {
    json!({"type": "content_block_start", "index": 0, "content_block": block})
}

fn delta(delta: &Value) -> Value {
    json!({"type": "content_block_delta", "index": 0, "delta": delta})
}

fn now(event: Value) -> Piece {
    Piece { wait: Duration::ZERO, event }
}
