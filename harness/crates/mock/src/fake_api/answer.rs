//! One answer of the API as the events of its stream, made from the request. Pure: the clock is the caller's.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use leakgate_session::mark;
use serde_json::{Value, json};

use super::scenario::{ApiScenario, Scenario};
use crate::answer::{Content, Mode};

/// The length of a piece of text, in characters: about what the recorded pieces have.
const PIECE_CHARS: usize = 40;

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
    Reply {
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
pub struct AnswerMaker {
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

impl AnswerMaker {
    /// Answers plain requests with `replies`.
    #[must_use]
    pub fn new(scenario: Scenario, replies: Vec<Vec<String>>, echo_mark: bool, delay: Duration) -> Self {
        Self { scenario, replies, echo_mark, delay, asked: AtomicUsize::new(0) }
    }

    /// The answer to a request; `now` is the time since 1970.
    pub fn make_answer(&self, request: &Value, now: Duration) -> Answer {
        let number = self.asked.fetch_add(1, Ordering::Relaxed);
        let prompt = prompt_text(request);
        let mark = mark::find_in_prompt(&prompt).filter(|_| self.echo_mark);
        let word = ApiScenario::find_in_prompt(&prompt).or(match &self.scenario {
            Scenario::Api(word) => Some(word.clone()),
            Scenario::Mode(_) => None,
        });
        let mode = match &self.scenario {
            Scenario::Mode(mode) => mode.clone(),
            Scenario::Api(_) => Mode::default(),
        };
        let builder = AnswerBuilder { number, request, wait: self.delay };
        let recorded = || mark_pieces(self.recorded_reply(number), mark);
        match word {
            Some(ApiScenario::Long(words)) => {
                builder.text_answer(&mark_pieces(split_pieces(&make_long_text(words)), mark))
            }
            Some(ApiScenario::ToolUse(name)) if !has_result(request) => builder.tool_answer(&name, &any_input()),
            Some(ApiScenario::ToolUse(_)) => builder.text_answer(&recorded()),
            Some(ApiScenario::Overloaded) => builder.half_answer(&recorded(), Some(overloaded_event()), End::Complete),
            Some(ApiScenario::Cut) => builder.half_answer(&recorded(), None, End::Cut),
            Some(ApiScenario::Hang) => builder.half_answer(&recorded(), None, End::Hang),
            None => {
                let reply = mode.make_reply(&prompt, mark, now);
                let pieces = match reply.content {
                    Content::Error(status) => return make_refusal(status),
                    // A tool is used once; its result is answered.
                    Content::Use(_) if has_result(request) => recorded(),
                    Content::Use(used) => {
                        return builder.tool_answer(&used.tool, &used.input.unwrap_or_else(any_input));
                    }
                    Content::Recorded => recorded(),
                    Content::Text(text) => mark_pieces(split_pieces(&text), mark),
                    Content::Json(text) => split_pieces(&text),
                };
                let builder = AnswerBuilder { wait: self.delay + reply.first_delay, ..builder };
                builder.paced_answer(&pieces, reply.piece_delay, reply.stop_reason.unwrap_or("end_turn"))
            }
        }
    }

    fn recorded_reply(&self, number: usize) -> Vec<String> {
        let next = number.checked_rem(self.replies.len()).and_then(|next| self.replies.get(next));
        next.cloned().unwrap_or_else(|| split_pieces("This is a reply of the stand-in for the Messages API."))
    }
}

/// An answer that is an error.
#[must_use]
pub fn make_refusal(status: u16) -> Answer {
    Answer::Refused { status, words: super::sse::describe_error(status).1.to_owned() }
}

/// What the user said last: the text of the last message with the role `user`, without what the CLI puts beside it.
#[must_use]
pub fn prompt_text(request: &Value) -> String {
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
pub fn split_pieces(text: &str) -> Vec<String> {
    let letters: Vec<char> = text.chars().collect();
    let pieces: Vec<String> = letters.chunks(PIECE_CHARS).map(|chunk| chunk.iter().collect()).collect();
    if pieces.is_empty() { vec![String::new()] } else { pieces }
}

fn make_long_text(words: usize) -> String {
    (0..words).map(|word| format!("word{word}")).collect::<Vec<_>>().join(" ")
}

fn overloaded_event() -> Value {
    let (kind, words) = super::sse::describe_error(529);
    json!({"type": "error", "error": {"type": kind, "message": words}})
}

/// What every event of an answer needs to know.
#[derive(Clone, Copy)]
struct AnswerBuilder<'a> {
    number: usize,
    request: &'a Value,
    /// The silence before the first event.
    wait: Duration,
}

impl AnswerBuilder<'_> {
    fn text_answer(self, pieces: &[String]) -> Answer {
        self.paced_answer(pieces, Duration::ZERO, "end_turn")
    }

    /// A whole text, with `drip` before each piece but the first.
    fn paced_answer(self, pieces: &[String], drip: Duration, reason: &str) -> Answer {
        let mut all = vec![self.start_event(), immediate(block_start(&json!({"type": "text", "text": ""})))];
        for (at, piece) in pieces.iter().enumerate() {
            let wait = if at == 0 { Duration::ZERO } else { drip };
            all.push(Piece { wait, event: delta_event(&json!({"type": "text_delta", "text": piece})) });
        }
        all.extend(end_events(reason, pieces.iter().map(String::len).sum()));
        Answer::Reply { pieces: all, end: End::Complete }
    }

    /// The first half of a text, then one more event at most.
    fn half_answer(self, pieces: &[String], last: Option<Value>, end: End) -> Answer {
        let mut all = vec![self.start_event(), immediate(block_start(&json!({"type": "text", "text": ""})))];
        let half = pieces.len().div_ceil(2);
        all.extend(
            pieces.iter().take(half).map(|piece| immediate(delta_event(&json!({"type": "text_delta", "text": piece})))),
        );
        all.extend(last.map(immediate));
        Answer::Reply { pieces: all, end }
    }

    fn tool_answer(self, name: &str, input: &Value) -> Answer {
        let id = format!("toolu_{:022}", self.number);
        let input = input.to_string();
        let mut all = vec![self.start_event()];
        all.push(immediate(block_start(&json!({"type": "tool_use", "id": id, "name": name, "input": {}}))));
        all.push(immediate(delta_event(&json!({"type": "input_json_delta", "partial_json": input}))));
        all.extend(end_events("tool_use", input.len()));
        Answer::Reply { pieces: all, end: End::Complete }
    }

    fn start_event(self) -> Piece {
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

fn end_events(reason: &str, length: usize) -> [Piece; 3] {
    let delta = json!({"stop_reason": reason, "stop_sequence": null});
    let usage = json!({"output_tokens": length.div_ceil(4)});
    [
        immediate(json!({"type": "content_block_stop", "index": 0})),
        immediate(json!({"type": "message_delta", "delta": delta, "usage": usage})),
        immediate(json!({"type": "message_stop"})),
    ]
}

/// The input of a tool where nobody says which.
fn any_input() -> Value {
    json!({"command": "true", "description": "nothing"})
}

fn block_start(block: &Value) -> Value {
    json!({"type": "content_block_start", "index": 0, "content_block": block})
}

fn delta_event(delta: &Value) -> Value {
    json!({"type": "content_block_delta", "index": 0, "delta": delta})
}

fn immediate(event: Value) -> Piece {
    Piece { wait: Duration::ZERO, event }
}
