//! The API's side of a recorded session: what it must have said for the CLI to say what was recorded.
//!
//! A CLI passes the API's events on as they are (`stream_event`), so they can be told again. Where it was started without
//! partial messages they are made from its `assistant` messages. An error is known by the CLI's retries and by its last
//! words; it is repeated as long as the same thing is asked, because not every CLI tells of each try.

use std::collections::VecDeque;
use std::time::Duration;

use serde_json::{Value, json};

use super::answer::{Answer, AnswerMaker, End, Piece, make_refusal, prompt_text, split_pieces};
use super::scenario::Scenario;
use leakgate_session::recording::{Payload, Session};

/// A shorter silence was none of the API's.
const MIN_WAIT_MS: u64 = 20;
/// What the CLI calls the model of a message that it made up itself.
const SYNTHETIC: &str = "<synthetic>";

/// What is still to be told.
#[derive(Debug, Default)]
pub struct Tape {
    exchanges: VecDeque<Exchange>,
    /// The prompt that is being refused, and the status.
    refusing: Option<(String, u16)>,
    /// What users said in the session, in letters and digits alone.
    prompts: Vec<String>,
}

#[derive(Debug, Clone, PartialEq)]
enum Exchange {
    Refused(u16),
    Said(Vec<Piece>, End),
}

impl Tape {
    /// Everything that the API said in a session.
    #[must_use]
    pub fn from_session(session: &Session) -> Self {
        let mut builder = TapeBuilder { has_partials: session.events.iter().any(is_partial), ..TapeBuilder::default() };
        for event in &session.events {
            match &event.payload {
                Payload::In(line) => builder.read_input(&parse_line(line)),
                Payload::Out(line) => builder.read_output(event.ms, &parse_line(line)),
                Payload::Err(_) | Payload::Exit { .. } => {}
            }
        }
        builder.close_reply(End::Hang);
        Self { exchanges: builder.exchanges, refusing: None, prompts: builder.prompts }
    }

    /// The answer to the next request.
    pub fn next(&mut self, request: &Value) -> Answer {
        if !self.is_of_the_session(request) {
            return answer_aside(request);
        }
        let prompt = prompt_text(request);
        if let Some((refused_prompt, status)) = &self.refusing
            && *refused_prompt == prompt
        {
            return make_refusal(*status);
        }
        match self.exchanges.pop_front() {
            Some(Exchange::Refused(status)) => {
                self.refusing = Some((prompt, status));
                make_refusal(status)
            }
            Some(Exchange::Said(pieces, end)) => Answer::Reply { pieces, end },
            None => Answer::Refused { status: 400, words: "the recording has no further reply".to_owned() },
        }
    }

    /// Whether a request carries something that a user said. Others are the CLI's own, such as for a title; nothing of
    /// them was recorded.
    fn is_of_the_session(&self, request: &Value) -> bool {
        let messages = request["messages"].as_array().into_iter().flatten();
        let mut texts =
            messages.filter(|message| message["role"] == "user").flat_map(|message| match &message["content"] {
                Value::String(text) => vec![core_of(text)],
                blocks => blocks
                    .as_array()
                    .into_iter()
                    .flatten()
                    .filter_map(|block| block["text"].as_str())
                    .map(core_of)
                    .collect(),
            });
        self.prompts.is_empty() || texts.any(|text| self.prompts.contains(&text))
    }

    /// The texts of the whole replies, each in the pieces in which it came.
    #[must_use]
    pub fn replies(self) -> Vec<Vec<String>> {
        let texts = self.exchanges.into_iter().filter_map(|exchange| match exchange {
            Exchange::Said(pieces, End::Complete) => Some(pieces),
            _ => None,
        });
        let texts = texts.map(|pieces| pieces.iter().filter_map(piece_text).collect::<Vec<_>>());
        texts.filter(|pieces| !pieces.is_empty()).collect()
    }
}

/// The answer to what a CLI asks for its own ends.
fn answer_aside(request: &Value) -> Answer {
    AnswerMaker::new(Scenario::default(), vec![split_pieces("An aside")], false, Duration::ZERO)
        .make_answer(request, Duration::ZERO)
}

/// The letters and digits of a text: what a CLI does not change on its way.
fn core_of(text: &str) -> String {
    text.chars().filter(|letter| letter.is_alphanumeric()).collect()
}

fn piece_text(piece: &Piece) -> Option<String> {
    piece.event["delta"]["text"].as_str().map(str::to_owned)
}

fn parse_line(line: &str) -> Value {
    serde_json::from_str(line).unwrap_or_default()
}

fn is_partial(event: &leakgate_session::recording::Event) -> bool {
    matches!(&event.payload, Payload::Out(line) if parse_line(line)["type"] == "stream_event")
}

/// Follows a session.
#[derive(Default)]
struct TapeBuilder {
    has_partials: bool,
    exchanges: VecDeque<Exchange>,
    prompts: Vec<String>,
    /// The events of the reply that has not ended, and when the last one came.
    open: Option<(Vec<Piece>, u64)>,
    /// The API message whose `assistant` lines are being put together, and how many blocks it has.
    message: Option<(String, u64)>,
    /// An interrupt that is not acknowledged yet.
    interrupted: bool,
    /// The user's message that is being answered has been refused.
    refused: bool,
}

impl TapeBuilder {
    fn read_input(&mut self, line: &Value) {
        self.interrupted |= line["request"]["subtype"] == "interrupt";
        if line["type"] == "user" {
            self.refused = false;
            self.prompts.extend(line["message"]["content"].as_str().map(core_of));
        }
    }

    fn read_output(&mut self, ms: u64, line: &Value) {
        match line["type"].as_str().unwrap_or_default() {
            "stream_event" => self.add_stream_event(ms, &line["event"]),
            // What follows is the CLI's own tidying up.
            "control_response" if self.interrupted => {
                self.interrupted = false;
                self.close_reply(End::Hang);
            }
            "system" if line["subtype"] == "api_retry" => self.add_refusal(line["error_status"].as_u64()),
            "assistant" if line["message"]["model"] == SYNTHETIC => {
                let words = line["message"]["content"][0]["text"].as_str().unwrap_or_default();
                self.add_refusal(line["api_error_status"].as_u64().or_else(|| parse_status(words)));
            }
            "assistant" if !self.has_partials => self.add_message(&line["message"]),
            "result" => self.close_reply(End::Complete),
            _ => {}
        }
    }

    fn add_stream_event(&mut self, ms: u64, event: &Value) {
        if event["type"] == "message_start" {
            self.close_reply(End::Hang);
            self.open = Some((Vec::new(), ms));
        }
        let Some((events, last)) = &mut self.open else { return };
        let wait = Some(ms.saturating_sub(*last)).filter(|wait| *wait >= MIN_WAIT_MS).unwrap_or(0);
        *last = ms;
        events.push(Piece { wait: Duration::from_millis(wait), event: event.clone() });
        if event["type"] == "message_stop" {
            self.close_reply(End::Complete);
        }
    }

    fn add_refusal(&mut self, status: Option<u64>) {
        let status = status.and_then(|status| u16::try_from(status).ok());
        if let Some(status) = status.filter(|_| !self.refused) {
            self.refused = true;
            self.exchanges.push_back(Exchange::Refused(status));
        }
    }

    /// Adds the blocks of an `assistant` line to the reply whose id it has.
    fn add_message(&mut self, message: &Value) {
        let id = message["id"].as_str().unwrap_or_default().to_owned();
        if self.message.as_ref().is_none_or(|(open, _)| *open != id) {
            self.close_reply(End::Complete);
            let mut start = message.clone();
            start["content"] = json!([]);
            self.open = Some((vec![immediate(json!({"type": "message_start", "message": start}))], 0));
            self.message = Some((id, 0));
        }
        for block in message["content"].as_array().into_iter().flatten() {
            self.add_block(block);
        }
    }

    fn add_block(&mut self, block: &Value) {
        let (Some((events, _)), Some((_, index))) = (&mut self.open, &mut self.message) else { return };
        let (mut empty, deltas) = match block["type"].as_str().unwrap_or_default() {
            "text" => {
                let texts = split_pieces(block["text"].as_str().unwrap_or_default());
                let deltas = texts.into_iter().map(|text| json!({"type": "text_delta", "text": text})).collect();
                (json!({"type": "text", "text": ""}), deltas)
            }
            "tool_use" => {
                (block.clone(), vec![json!({"type": "input_json_delta", "partial_json": block["input"].to_string()})])
            }
            _ => (block.clone(), Vec::new()),
        };
        if empty["type"] == "tool_use" {
            empty["input"] = json!({});
        }
        events.push(immediate(json!({"type": "content_block_start", "index": index, "content_block": empty})));
        let deltas = deltas.into_iter();
        events.extend(
            deltas.map(|delta| immediate(json!({"type": "content_block_delta", "index": index, "delta": delta}))),
        );
        events.push(immediate(json!({"type": "content_block_stop", "index": index})));
        *index += 1;
    }

    /// Ends the reply that is open, if there is one.
    fn close_reply(&mut self, end: End) {
        let Some((mut events, _)) = self.open.take() else { return };
        if self.message.take().is_some() && end == End::Complete {
            let is_tool = events.iter().any(|piece| piece.event["content_block"]["type"] == "tool_use");
            let reason = if is_tool { "tool_use" } else { "end_turn" };
            let delta = json!({"stop_reason": reason, "stop_sequence": null});
            let usage = json!({"output_tokens": events.len()});
            events.push(immediate(json!({"type": "message_delta", "delta": delta, "usage": usage})));
            events.push(immediate(json!({"type": "message_stop"})));
        }
        self.exchanges.push_back(Exchange::Said(events, end));
    }
}

/// The status that an older CLI tells only in words.
fn parse_status(words: &str) -> Option<u64> {
    let told = words.split_once("API Error: ").map(|(_, rest)| rest.chars().take(3).collect::<String>());
    told.and_then(|status| status.parse().ok()).or_else(|| words.contains("API key").then_some(401))
}

fn immediate(event: Value) -> Piece {
    Piece { wait: Duration::ZERO, event }
}

#[cfg(test)]
mod tests {
    use super::*;
    use leakgate_session::recording;

    fn tape(spec: &str) -> Tape {
        Tape::from_session(&recording::load(spec).expect("bundled"))
    }

    fn ends(spec: &str) -> Vec<Result<End, u16>> {
        let exchanges = tape(spec).exchanges.into_iter();
        exchanges
            .map(|exchange| match exchange {
                Exchange::Refused(status) => Err(status),
                Exchange::Said(_, end) => Ok(end),
            })
            .collect()
    }

    #[test]
    fn a_session_has_as_many_exchanges_as_the_cli_asked_for() {
        for version in ["2.1.330", "2.1.19"] {
            let of = |name: &str| ends(&format!("{version}/{name}"));
            assert_eq!(of("ten-turns"), [Ok(End::Complete); 10]);
            assert_eq!(of("without-partials"), [Ok(End::Complete); 3]);
            assert_eq!(of("api-error-529"), [Err(529), Ok(End::Complete)]);
            assert_eq!(of("api-error-401"), [Err(401), Ok(End::Complete)]);
            assert_eq!(of("interrupt"), [Ok(End::Hang), Ok(End::Complete)]);
            assert_eq!(of("killed-mid-turn"), [Ok(End::Hang)]);
            assert_eq!(of("bad-flag"), []);
        }
        assert_eq!(ends("2.1.330/empty-reply"), [Ok(End::Complete); 3]);
    }

    #[test]
    fn an_error_is_repeated_until_something_else_is_asked() {
        let mut tape = tape("2.1.19/api-error-529");
        let (first, second) = ("FAIL529", tape.prompts[1].clone());
        let asks = |text: &str| json!({"messages": [{"role": "user", "content": text}]});
        assert_eq!(tape.next(&asks(first)), make_refusal(529));
        assert!(matches!(tape.next(&asks("a title, please")), Answer::Reply { .. }), "an aside takes nothing away");
        assert_eq!(tape.next(&asks(first)), make_refusal(529));
        assert!(matches!(tape.next(&asks(&second)), Answer::Reply { .. }));
        assert_eq!(tape.next(&asks(first)), make_refusal(529));
        assert!(matches!(tape.next(&asks(&second)), Answer::Refused { status: 400, .. }));
    }

    #[test]
    fn replies_are_the_recorded_texts() {
        let session = recording::load("ten-turns").expect("bundled");
        let result = |event: &recording::Event| match &event.payload {
            Payload::Out(line) => parse_line(line)["result"].as_str().map(str::to_owned),
            _ => None,
        };
        let results: Vec<String> = session.events.iter().filter_map(result).collect();
        let replies = Tape::from_session(&session).replies();
        assert_eq!(replies.iter().map(|pieces| pieces.concat()).collect::<Vec<_>>(), results);
        assert_eq!(replies.len(), 10);
    }
}
