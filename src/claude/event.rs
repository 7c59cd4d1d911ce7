//! The CLI's JSON, both ways: which lines matter to a server, and how they are written.
//!
//! Every version of the CLI adds types and keys. Unknown ones are ignored as [`ClaudeEvent::Other`].

use std::borrow::Cow;
use std::time::Duration;

use serde::Deserialize;
use serde_json::json;

use crate::turn::{Model, Usage};

/// One line of the CLI's stdout.
#[derive(Debug, Clone, PartialEq)]
pub struct Line<'a> {
    /// The conversation that the line belongs to, where the line says so. `/clear` begins a new one.
    pub session: Option<Cow<'a, str>>,
    /// The event.
    pub event: ClaudeEvent,
}

/// The events that matter to the server.
#[derive(Debug, Clone, PartialEq)]
pub enum ClaudeEvent {
    /// `system/init`: a turn begins.
    Init {
        /// The model's full id.
        model: Option<String>,
    },
    /// The API begins a message; its text follows.
    MessageStart,
    /// A piece of the reply's text.
    TextDelta(String),
    /// One block of a message is complete: its whole text, empty for a block that has none. The text has come before, in
    /// pieces, unless the CLI sends no pieces.
    BlockText(String),
    /// The API's stop reason for one message.
    StopReason(String),
    /// The API refused; the CLI will try again by itself.
    ApiRetry {
        /// The API's HTTP status.
        status: Option<u16>,
        /// The API's word for it, for example `authentication_failed`.
        error: String,
    },
    /// The end of a turn.
    Result(TurnResult),
    /// The conversation is empty now.
    ConversationReset,
    /// The state of the account's quota.
    RateLimit {
        /// The quota is used up.
        rejected: bool,
        /// When it is renewed, in seconds since 1970-01-01 UTC.
        resets_at: Option<u64>,
    },
    /// The answer to one of our control requests.
    ControlResponse {
        /// Which one.
        request_id: String,
        /// The CLI's error, if it refused.
        error: Option<ControlError>,
        /// The models that the answer to `initialize` lists.
        models: Vec<Model>,
    },
    /// A question of the CLI's, which has to be answered.
    ControlRequest {
        /// To be repeated in the answer.
        request_id: String,
        /// The kind of question, for example `can_use_tool`.
        subtype: String,
    },
    /// A type that a server need not know.
    Other,
}

/// Why the CLI does not do what it was asked to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ControlError {
    /// The CLI's words.
    pub words: String,
    /// The CLI's short name for it, for example `not_found`, where it gives one.
    pub code: Option<String>,
}

/// The `result` line. `is_error` and `subtype` are both needed: an API error comes as `success` with `is_error`.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
pub struct TurnResult {
    /// `success`, `error_during_execution`, …
    #[serde(default)]
    pub subtype: String,
    /// The turn did not work, whatever `subtype` says.
    #[serde(default)]
    pub is_error: bool,
    /// The API's HTTP status, when `is_error`.
    #[serde(default)]
    pub api_error_status: Option<u16>,
    /// The reply's text, or the words of the error.
    #[serde(default)]
    pub result: Option<String>,
    /// The API's stop reason for the last message.
    #[serde(default)]
    pub stop_reason: Option<String>,
    #[serde(default, rename = "usage")]
    pub(crate) tokens: Tokens,
}

impl TurnResult {
    /// Whether the turn gave an answer.
    #[must_use]
    pub fn is_success(&self) -> bool {
        self.subtype == "success" && !self.is_error
    }

    /// The tokens of the turn.
    #[must_use]
    pub fn usage(&self) -> Usage {
        Usage {
            input: self.tokens.input,
            cache_creation: self.tokens.cache_creation,
            cache_read: self.tokens.cache_read,
            output: self.tokens.output,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Tokens {
    #[serde(rename = "input_tokens")]
    input: u64,
    #[serde(rename = "cache_creation_input_tokens")]
    cache_creation: u64,
    #[serde(rename = "cache_read_input_tokens")]
    cache_read: u64,
    #[serde(rename = "output_tokens")]
    output: u64,
}

/// Why a line is not an event.
#[derive(Debug, thiserror::Error)]
pub enum EventError {
    /// Not an object at all, for example a warning that a library printed. Passed over.
    #[error("not JSON")]
    Noise,
    /// The line begins like JSON and is none, or a known type lacks a required field.
    #[error("a broken line: {0}")]
    Broken(#[from] serde_json::Error),
}

#[derive(Deserialize)]
struct Head<'a> {
    #[serde(default, borrow, rename = "type")]
    kind: Cow<'a, str>,
    #[serde(default, borrow)]
    subtype: Option<Cow<'a, str>>,
    #[serde(default, borrow)]
    session_id: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct InitLine {
    #[serde(default)]
    model: Option<String>,
}

#[derive(Deserialize)]
struct RetryLine {
    #[serde(default)]
    error_status: Option<u16>,
    #[serde(default)]
    error: Option<String>,
}

#[derive(Deserialize)]
struct StreamLine {
    event: StreamEvent,
    #[serde(default)]
    parent_tool_use_id: Option<String>,
}

#[derive(Deserialize)]
struct StreamEvent {
    #[serde(default, rename = "type")]
    kind: String,
    #[serde(default)]
    delta: Option<Delta>,
}

#[derive(Deserialize)]
struct AssistantLine {
    #[serde(default)]
    message: AssistantMessage,
    #[serde(default)]
    parent_tool_use_id: Option<String>,
}

#[derive(Default, Deserialize)]
struct AssistantMessage {
    #[serde(default)]
    content: Vec<Block>,
}

#[derive(Deserialize)]
struct Block {
    #[serde(default, rename = "type")]
    kind: String,
    #[serde(default)]
    text: Option<String>,
}

#[derive(Deserialize)]
struct Delta {
    #[serde(default, rename = "type")]
    kind: Option<String>,
    #[serde(default)]
    text: Option<String>,
    #[serde(default)]
    stop_reason: Option<String>,
}

#[derive(Deserialize)]
struct RateLimitLine {
    rate_limit_info: RateLimitInfo,
}

#[derive(Deserialize)]
struct RateLimitInfo {
    #[serde(default)]
    status: String,
    #[serde(default, rename = "resetsAt")]
    resets_at: Option<f64>,
    #[serde(default, rename = "rateLimitType")]
    kind: String,
}

#[derive(Deserialize)]
struct ControlResponseLine {
    response: ControlResponse,
}

#[derive(Deserialize)]
struct ControlResponse {
    #[serde(default)]
    subtype: String,
    #[serde(default)]
    request_id: String,
    #[serde(default)]
    error: Option<String>,
    #[serde(default)]
    error_code: Option<String>,
    #[serde(default)]
    response: serde_json::Value,
}

#[derive(Deserialize)]
struct ControlRequestLine {
    request_id: String,
    request: ControlRequest,
}

#[derive(Deserialize)]
struct ControlRequest {
    #[serde(default)]
    subtype: String,
}

/// Reads one line.
pub fn parse_line(line: &[u8]) -> Result<Line<'_>, EventError> {
    if line.trim_ascii_start().first() != Some(&b'{') {
        return Err(EventError::Noise);
    }
    let head: Head<'_> = serde_json::from_slice(line)?;
    let event = parse_event(&head, line)?;
    Ok(Line { session: head.session_id, event })
}

fn parse_event(head: &Head<'_>, line: &[u8]) -> Result<ClaudeEvent, serde_json::Error> {
    Ok(match (&*head.kind, head.subtype.as_deref()) {
        ("stream_event", _) => stream_event(serde_json::from_slice(line)?),
        // The line is JSON; what does not have the shape of a message has no text.
        ("assistant", _) => serde_json::from_slice(line).map_or(ClaudeEvent::Other, assistant_event),
        ("result", _) => ClaudeEvent::Result(serde_json::from_slice(line)?),
        ("system", Some("init")) => ClaudeEvent::Init { model: serde_json::from_slice::<InitLine>(line)?.model },
        ("system", Some("api_retry")) => {
            let retry: RetryLine = serde_json::from_slice(line)?;
            ClaudeEvent::ApiRetry { status: retry.error_status, error: retry.error.unwrap_or_default() }
        }
        ("conversation_reset", _) => ClaudeEvent::ConversationReset,
        ("rate_limit_event", _) => rate_limit(&serde_json::from_slice::<RateLimitLine>(line)?.rate_limit_info),
        ("control_response", _) => control_response(serde_json::from_slice::<ControlResponseLine>(line)?.response),
        ("control_request", _) => {
            let line: ControlRequestLine = serde_json::from_slice(line)?;
            ClaudeEvent::ControlRequest { request_id: line.request_id, subtype: line.request.subtype }
        }
        _ => ClaudeEvent::Other,
    })
}

fn control_response(answer: ControlResponse) -> ClaudeEvent {
    let ControlResponse { subtype, request_id, error, error_code, response } = answer;
    let words = error.unwrap_or_else(|| "no reason given".to_owned());
    let error = (subtype == "error").then_some(ControlError { words, code: error_code });
    ClaudeEvent::ControlResponse { request_id, error, models: listed_models(&response) }
}

/// How many models are kept, and how long a name may be, in bytes. The CLI lists five, of at most 20 bytes.
const MAX_MODELS: usize = 64;
const MAX_MODEL_NAME_BYTES: usize = 128;

/// The models that an answer lists. One without a sensible name is passed over.
fn listed_models(response: &serde_json::Value) -> Vec<Model> {
    let name = |model: &serde_json::Value, key| {
        let name = model.get(key)?.as_str()?;
        (1..=MAX_MODEL_NAME_BYTES).contains(&name.len()).then(|| name.to_owned())
    };
    let listed = response.get("models").and_then(serde_json::Value::as_array).into_iter().flatten();
    let models =
        listed.filter_map(|model| Some(Model { name: name(model, "value")?, id: name(model, "resolvedModel") }));
    models.take(MAX_MODELS).collect()
}

/// Text counts only where it is the model's own: not inside a tool's sub-conversation.
fn stream_event(line: StreamLine) -> ClaudeEvent {
    if line.parent_tool_use_id.is_some() {
        return ClaudeEvent::Other;
    }
    match (line.event.kind.as_str(), line.event.delta) {
        ("content_block_delta", Some(Delta { kind: Some(kind), text: Some(text), .. })) if kind == "text_delta" => {
            ClaudeEvent::TextDelta(text)
        }
        ("message_delta", Some(Delta { stop_reason: Some(reason), .. })) => ClaudeEvent::StopReason(reason),
        ("message_start", _) => ClaudeEvent::MessageStart,
        _ => ClaudeEvent::Other,
    }
}

fn assistant_event(line: AssistantLine) -> ClaudeEvent {
    if line.parent_tool_use_id.is_some() {
        return ClaudeEvent::Other;
    }
    let texts = line.message.content.into_iter().filter(|block| block.kind == "text").filter_map(|block| block.text);
    ClaudeEvent::BlockText(texts.collect())
}

fn rate_limit(info: &RateLimitInfo) -> ClaudeEvent {
    let resets_at = info.resets_at.and_then(|s| Duration::try_from_secs_f64(s).ok()).map(|d| d.as_secs());
    // A quota of one model alone (`seven_day_opus`) says nothing of the others: its turn fails by itself.
    let of_one_model = ["opus", "sonnet", "haiku"].iter().any(|model| info.kind.ends_with(model));
    ClaudeEvent::RateLimit { rejected: info.status == "rejected" && !of_one_model, resets_at }
}

/// A control request without arguments, as a line.
#[must_use]
pub fn control_request(request_id: &str, subtype: &str) -> Vec<u8> {
    to_line(&json!({"type": "control_request", "request_id": request_id, "request": {"subtype": subtype}}))
}

/// The control request that switches to another model, as a line.
#[must_use]
pub fn set_model(request_id: &str, model: &str) -> Vec<u8> {
    let request = json!({"subtype": "set_model", "model": model});
    to_line(&json!({"type": "control_request", "request_id": request_id, "request": request}))
}

/// A user message, as a line. The CLI takes one that begins with a slash for a command of its own: an empty line before
/// it makes it text like any other, and reaches the model as it is.
#[must_use]
pub fn user_message(text: &str) -> Vec<u8> {
    if text.starts_with('/') { user_line(&format!("\n{text}")) } else { user_line(text) }
}

/// A command of the CLI's own, for example `/clear`, as a line.
#[must_use]
pub fn slash_command(name: &'static str) -> Vec<u8> {
    user_line(name)
}

/// Written piece by piece: a text can be large, and one more copy of it would count.
fn user_line(text: &str) -> Vec<u8> {
    const BEFORE: &[u8] = br#"{"type":"user","message":{"role":"user","content":"#;
    const AFTER: &[u8] = b"},\"parent_tool_use_id\":null,\"session_id\":\"default\"}\n";
    // Room for the text and for as many escapes as prose has.
    let mut line = Vec::with_capacity(BEFORE.len() + text.len() + text.len() / 16 + 2 + AFTER.len());
    line.extend_from_slice(BEFORE);
    let written = serde_json::to_writer(&mut line, text);
    debug_assert!(written.is_ok(), "text is written to memory");
    line.extend_from_slice(AFTER);
    line
}

/// The answer to a question of the CLI's: tools are refused, anything else is not supported. Without an answer the
/// turn would hang.
#[must_use]
pub fn control_refusal(request_id: &str, subtype: &str) -> Vec<u8> {
    let response = if subtype == "can_use_tool" {
        let denial = json!({"behavior": "deny", "message": "This server runs no tools."});
        json!({"subtype": "success", "request_id": request_id, "response": denial})
    } else {
        let error = format!("This server does not support {subtype:?}.");
        json!({"subtype": "error", "request_id": request_id, "error": error})
    };
    to_line(&json!({"type": "control_response", "response": response}))
}

fn to_line(value: &serde_json::Value) -> Vec<u8> {
    let mut line = value.to_string().into_bytes();
    line.push(b'\n');
    line
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn event(line: &[u8]) -> ClaudeEvent {
        parse_line(line).unwrap().event
    }

    #[test]
    fn an_api_error_is_no_success() {
        let line =
            br#"{"is_error":true,"subtype":"success","api_error_status":529,"result":"API Error: x","type":"result"}"#;
        let ClaudeEvent::Result(result) = event(line) else { panic!("no result") };
        assert!(!result.is_success());
        assert_eq!(result.api_error_status, Some(529));
    }

    #[test]
    fn an_unknown_type_and_unknown_keys_are_passed_over() {
        assert_eq!(event(br#"{"type":"brand_new","x":[1,{"y":2}]}"#), ClaudeEvent::Other);
        assert_eq!(event(br#"{"no_type":1}"#), ClaudeEvent::Other);
        let init = event(br#"{"subtype":"init","new_key":{},"type":"system","model":"m"}"#);
        assert_eq!(init, ClaudeEvent::Init { model: Some("m".to_owned()) });
    }

    #[test]
    fn the_text_of_a_message_is_that_of_its_text_blocks_and_of_no_tools_conversation() {
        let line = |more: &str, content: &str| {
            let line = format!(r#"{{"type":"assistant","message":{{"content":{content}}}{more}}}"#);
            event(line.as_bytes())
        };
        let blocks = r#"[{"type":"thinking","thinking":"t"},{"type":"text","text":"a"},{"type":"text","text":"b"}]"#;
        assert_eq!(line("", blocks), ClaudeEvent::BlockText("ab".to_owned()));
        assert_eq!(line("", r#"[{"type":"tool_use","text":"no"}]"#), ClaudeEvent::BlockText(String::new()));
        assert_eq!(line(r#","parent_tool_use_id":"toolu_1""#, blocks), ClaudeEvent::Other);
        assert_eq!(line("", "7"), ClaudeEvent::Other);
    }

    #[test]
    fn a_line_tells_its_conversation_where_it_has_one() {
        let session = |line: &[u8]| parse_line(line).unwrap().session.map(Cow::into_owned);
        assert_eq!(session(br#"{"type":"system","subtype":"init","session_id":"s-1"}"#).as_deref(), Some("s-1"));
        assert_eq!(session(br#"{"type":"stream_event","event":{"type":"message_start"}}"#), None);
        assert_eq!(event(br#"{"type":"stream_event","event":{"type":"message_start"}}"#), ClaudeEvent::MessageStart);
    }

    #[test]
    fn noise_is_told_from_a_broken_line() {
        assert!(matches!(parse_line(b"Warning: something"), Err(EventError::Noise)));
        assert!(matches!(parse_line(b""), Err(EventError::Noise)));
        assert!(matches!(parse_line(br#"{"type":"result""#), Err(EventError::Broken(_))));
        assert!(matches!(parse_line(b"{\"type\":\"\xff\"}"), Err(EventError::Broken(_))));
    }

    #[test]
    fn the_models_of_an_answer_are_read_within_bounds_and_whatever_their_shape() {
        let listed = |models: serde_json::Value| {
            let response = json!({"subtype": "success", "request_id": "i", "response": {"models": models}});
            let line = json!({"type": "control_response", "response": response}).to_string();
            match event(line.as_bytes()) {
                ClaudeEvent::ControlResponse { error: None, models, .. } => models,
                other => panic!("{other:?}"),
            }
        };
        let two = listed(json!([{"value": "haiku", "resolvedModel": "claude-haiku-5-5", "new": 1}, {"value": "opus"}]));
        let haiku = Model { name: "haiku".to_owned(), id: Some("claude-haiku-5-5".to_owned()) };
        assert_eq!(two, [haiku, Model { name: "opus".to_owned(), id: None }]);
        let odd = json!([1, {}, {"value": 7}, {"value": ""}, {"value": "x".repeat(129)}, {"value": "kept", "resolvedModel": []}]);
        assert_eq!(listed(odd), [Model { name: "kept".to_owned(), id: None }]);
        assert_eq!(listed(json!("none")), []);
        assert_eq!(listed(json!(vec![json!({"value": "m"}); 1000])).len(), MAX_MODELS);
    }

    #[test]
    fn a_refused_control_request_tells_its_words_and_its_code() {
        let line = br#"{"type":"control_response","response":{"subtype":"error","request_id":"set_model","error":"no","error_code":"not_found"}}"#;
        let error = Some(ControlError { words: "no".to_owned(), code: Some("not_found".to_owned()) });
        let request_id = "set_model".to_owned();
        assert_eq!(event(line), ClaudeEvent::ControlResponse { request_id, error, models: Vec::new() });
    }

    #[test]
    fn deep_nesting_is_passed_over_or_refused_and_never_a_crash() {
        let deep = format!(r#"{{"type":"brand_new","x":{}{}}}"#, "[".repeat(10_000), "]".repeat(10_000));
        match parse_line(deep.as_bytes()) {
            Ok(Line { event: ClaudeEvent::Other, .. }) | Err(EventError::Broken(_)) => {}
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_warning_about_the_quota_is_no_refusal() {
        let line = |status| {
            format!(r#"{{"type":"rate_limit_event","rate_limit_info":{{"status":"{status}","resetsAt":1790000000}}}}"#)
        };
        let warning = event(line("allowed_warning").as_bytes());
        assert_eq!(warning, ClaudeEvent::RateLimit { rejected: false, resets_at: Some(1_790_000_000) });
        let refusal = event(line("rejected").as_bytes());
        assert_eq!(refusal, ClaudeEvent::RateLimit { rejected: true, resets_at: Some(1_790_000_000) });
        for (kind, rejected) in [("five_hour", true), ("seven_day", true), ("seven_day_opus", false)] {
            let line = line("rejected").replace(r#""resetsAt""#, &format!(r#""rateLimitType":"{kind}","resetsAt""#));
            let ClaudeEvent::RateLimit { rejected: found, .. } = event(line.as_bytes()) else { panic!("{line}") };
            assert_eq!(found, rejected, "{kind}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = parse_line(&bytes);
            let _ = parse_line(&[b"{".as_slice(), &bytes].concat());
        }

        #[test]
        fn any_prompt_is_one_line_that_says_the_same_and_no_command(text in "/?.*") {
            let line = user_message(&text);
            prop_assert_eq!(line.split(|b| *b == b'\n').count(), 2, "one newline, at the end");
            let value: serde_json::Value = serde_json::from_slice(&line).unwrap();
            let said = value["message"]["content"].as_str().unwrap();
            prop_assert_eq!(said.strip_prefix('\n').filter(|_| text.starts_with('/')).unwrap_or(said), text.as_str());
            prop_assert!(!said.starts_with('/'), "the CLI would take it for a command");
        }
    }
}
