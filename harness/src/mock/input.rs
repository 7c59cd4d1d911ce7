//! What the caller writes: one line of stdin, understood.

use serde::Deserialize;
use serde_json::Value;

use super::mark;

/// A line of stdin.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Input {
    /// A user message.
    User(User),
    /// A control request of the caller.
    Control(Control),
    /// The caller's answer to the CLI's own control request of this id.
    Answer(String),
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
}

#[derive(Deserialize)]
struct Raw {
    #[serde(rename = "type")]
    kind: Option<String>,
    request_id: Option<String>,
    request: Option<RawRequest>,
    response: Option<RawResponse>,
    message: Option<RawMessage>,
}

#[derive(Deserialize)]
struct RawRequest {
    #[serde(default)]
    subtype: String,
    model: Option<String>,
}

#[derive(Deserialize)]
struct RawResponse {
    request_id: Option<String>,
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
        Some("user") => raw.message.map_or(Input::Other, |message| Input::User(user(&message.content))),
        Some("control_request") => match (raw.request_id, raw.request) {
            (Some(id), Some(request)) => Input::Control(Control { id, subtype: request.subtype, model: request.model }),
            _ => Input::Other,
        },
        Some("control_response") => {
            raw.response.and_then(|response| response.request_id).map_or(Input::Other, Input::Answer)
        }
        _ => Input::Other,
    })
}

fn user(content: &Value) -> User {
    let texts: Vec<&str> = match content {
        Value::String(text) => vec![text],
        Value::Array(blocks) => blocks.iter().filter_map(|block| block.get("text")?.as_str()).collect(),
        _ => Vec::new(),
    };
    User {
        is_clear: matches!(texts[..], [only] if only.trim() == "/clear"),
        mark: texts.iter().find_map(|text| mark::find(text)).map(str::to_owned),
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
