//! What the caller writes: one line of stdin, understood.

use serde::Deserialize;
use serde_json::{Value, json};

use leakgate_session::mark;

/// A line of stdin.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Input {
    /// A user message.
    User(User),
    /// A control request of the caller.
    Control(Control),
    /// The caller's answer to the CLI's own control request.
    Answer(Answer),
    /// JSON that means nothing here.
    Other,
}

/// What of a user message matters to a mock.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct User {
    /// Its text.
    pub(super) text: String,
    /// It is `/clear`, not a turn.
    pub(super) is_clear: bool,
    /// The caller's mark, in hex.
    pub(super) mark: Option<String>,
}

/// A control request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Control {
    /// The caller's id, which the answer carries.
    pub(super) id: String,
    /// What is asked.
    pub(super) subtype: String,
    /// The model that `set_model` names.
    pub(super) model: Option<String>,
    /// The whole request.
    pub(super) request: Value,
}

impl Control {
    /// A request without anything but its kind.
    pub(super) fn bare(id: String, subtype: &str) -> Self {
        Self { id, subtype: subtype.to_owned(), model: None, request: json!({"subtype": subtype}) }
    }

    /// A text in the request.
    pub(super) fn text(&self, key: &str) -> Option<&str> {
        self.request.get(key)?.as_str()
    }
}

/// What the caller says to a control request of the CLI.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    /// The id of the CLI's request.
    pub(super) id: String,
    /// What was answered, or the error.
    pub(super) said: Result<Value, String>,
}

#[derive(Deserialize)]
struct Raw {
    #[serde(rename = "type")]
    kind: Option<String>,
    request_id: Option<String>,
    request: Option<Value>,
    response: Option<RawResponse>,
    message: Option<RawMessage>,
}

#[derive(Deserialize)]
struct RawResponse {
    request_id: Option<String>,
    #[serde(default)]
    response: Value,
    error: Option<String>,
}

#[derive(Deserialize)]
struct RawMessage {
    content: Value,
}

/// Understands a line; the error says that it is not JSON.
pub(super) fn parse(line: &[u8]) -> Result<Input, serde_json::Error> {
    let raw: Raw = match serde_json::from_slice(line) {
        Ok(raw) => raw,
        // A shape that no CLI knows is passed over like the real one does; only what is no JSON at all is fatal.
        Err(error) if error.is_data() => return Ok(Input::Other),
        Err(error) => return Err(error),
    };
    Ok(match raw.kind.as_deref() {
        Some("user") => raw.message.map_or(Input::Other, |message| Input::User(parse_user(&message.content))),
        Some("control_request") => match (raw.request_id, raw.request) {
            (Some(id), Some(request)) => Input::Control(parse_control(id, request)),
            _ => Input::Other,
        },
        Some("control_response") => raw.response.and_then(RawResponse::into_answer).map_or(Input::Other, Input::Answer),
        _ => Input::Other,
    })
}

fn parse_control(id: String, request: Value) -> Control {
    let text = |key| request.get(key).and_then(Value::as_str).map(str::to_owned);
    Control { id, subtype: text("subtype").unwrap_or_default(), model: text("model"), request }
}

impl RawResponse {
    fn into_answer(self) -> Option<Answer> {
        let said = self.error.map_or(Ok(self.response), Err);
        Some(Answer { id: self.request_id?, said })
    }
}

/// The message of a single prompt.
pub(super) fn user_of(prompt: &str) -> User {
    parse_user(&Value::from(prompt))
}

fn parse_user(content: &Value) -> User {
    let texts: Vec<&str> = match content {
        Value::String(text) => vec![text],
        Value::Array(blocks) => blocks.iter().filter_map(|block| block.get("text")?.as_str()).collect(),
        _ => Vec::new(),
    };
    User {
        is_clear: matches!(texts[..], [only] if only.trim() == "/clear"),
        mark: texts.iter().find_map(|text| mark::find_in_prompt(text)).map(str::to_owned),
        text: texts.join("\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user_of(line: &str) -> User {
        match parse(line.as_bytes()).expect("JSON") {
            Input::User(user) => user,
            other => panic!("not a user line: {other:?}"),
        }
    }

    #[test]
    fn clear_and_marks_are_seen_in_text_and_in_blocks() {
        assert!(user_of(r#"{"type":"user","message":{"content":"/clear"}}"#).is_clear);
        assert!(user_of(r#"{"type":"user","message":{"content":[{"type":"text","text":"/clear"}]}}"#).is_clear);
        let marked = user_of(r#"{"type":"user","message":{"content":"say [[mark:0aF]] /clear"}}"#);
        let text = "say [[mark:0aF]] /clear".to_owned();
        assert_eq!(marked, User { text, is_clear: false, mark: Some("0aF".to_owned()) });
    }

    #[test]
    fn only_what_is_no_json_is_an_error() {
        assert!(parse(b"{not json").is_err());
        assert_eq!(parse(b"{\"type\":\"keep_alive\"}").expect("JSON"), Input::Other);
        assert_eq!(parse(b"{\"type\":7}").expect("JSON"), Input::Other);
    }
}
