//! One recorded line of stdout: what it is, and the text in it that may have to change.

use std::ops::Range;

use serde::Deserialize;
use serde_json::Value;

/// A line of stdout, kept byte for byte.
#[derive(Debug, Clone)]
pub(super) struct Line {
    /// As recorded, without its newline.
    pub(super) raw: String,
    /// What it is.
    pub(super) kind: Kind,
    /// The request id of a control request or response.
    pub(super) id: Option<String>,
    /// The session id that it names.
    pub(super) session: Option<String>,
    /// The model of a `system/init`, or that a control response names.
    pub(super) model: Option<String>,
    /// The message of the API that it belongs to.
    pub(super) message: Option<String>,
    /// The index of the content block that it belongs to.
    pub(super) block: Option<u64>,
    slot: Option<Slot>,
}

/// What a line is, as far as replaying needs to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A `text_delta`.
    TextDelta,
    /// `content_block_start`.
    BlockStart,
    /// `content_block_stop`.
    BlockStop,
    /// `message_start`.
    MessageStart,
    /// `message_delta` of a stream.
    MessageDelta,
    /// `message_stop`.
    MessageStop,
    /// Any other `stream_event`.
    Stream,
    /// `system/status`, which the CLI sends only along with a stream.
    Status,
    /// An `assistant` message whose block is a text.
    AssistantText,
    /// A `result`: an answer.
    Result,
    /// A `result` that is an API error.
    ErrorResult,
    /// A `result` without an answer, as after an interrupt.
    NoResult,
    /// A `control_response` of the CLI.
    Response,
    /// A `control_response` that is an error.
    ErrorResponse,
    /// A `control_request` of the CLI.
    Request,
    /// `system/init`.
    Init,
    /// `system/session_state_changed`.
    State,
    /// An `assistant` message whose block is the use of a tool.
    ToolUse,
    /// A `user` message that holds what a tool gave.
    ToolResult,
    /// Anything else.
    Other,
}

impl Kind {
    /// Whether the line ends its turn.
    pub(super) fn ends_turn(self) -> bool {
        matches!(self, Self::Result | Self::ErrorResult | Self::NoResult)
    }

    /// Whether the CLI sends it only with `--include-partial-messages`.
    pub(super) fn is_partial(self) -> bool {
        matches!(
            self,
            Self::TextDelta
                | Self::BlockStart
                | Self::BlockStop
                | Self::MessageStart
                | Self::MessageDelta
                | Self::MessageStop
                | Self::Stream
                | Self::Status
        )
    }
}

/// A text in a line: where its JSON string stands, quotes included, and what it says.
#[derive(Debug, Clone)]
struct Slot {
    range: Range<usize>,
    text: String,
}

impl Line {
    /// Understands a recorded line; one that is not JSON is [`Kind::Other`].
    pub(super) fn new(raw: &str) -> Self {
        let mut line = Self {
            raw: raw.to_owned(),
            kind: Kind::Other,
            id: None,
            session: None,
            model: None,
            message: None,
            block: None,
            slot: None,
        };
        if let Ok(probe) = serde_json::from_str::<Probe>(raw) {
            line.fill_in(probe);
        }
        line
    }

    /// The text that may change: of a delta, an assistant message or a result.
    pub(super) fn text(&self) -> Option<&str> {
        self.slot.as_ref().map(|slot| slot.text.as_str())
    }

    /// The line with another text.
    pub(super) fn with_text(&self, text: &str) -> String {
        match &self.slot {
            Some(Slot { range, .. }) => {
                format!("{}{}{}", &self.raw[..range.start], Value::from(text), &self.raw[range.end..])
            }
            None => self.raw.clone(),
        }
    }

    /// The line with something else in its JSON.
    pub(super) fn edit_json(&self, change: impl FnOnce(&mut Value)) -> Self {
        match serde_json::from_str(&self.raw) {
            Ok(mut json) => {
                change(&mut json);
                Self::new(&json.to_string())
            }
            Err(_) => self.clone(),
        }
    }

    /// The line of another content block.
    pub(super) fn in_block(&self, block: u64) -> Self {
        let Some(recorded) = self.block else { return self.clone() };
        let raw = self.raw.replace(&format!("\"index\":{recorded}"), &format!("\"index\":{block}"));
        Self { raw, ..self.clone() }
    }

    fn fill_in(&mut self, mut probe: Probe) {
        self.kind = probe.classify();
        self.session = probe.session_id;
        self.id = probe.request_id.or(probe.response.as_ref().and_then(|response| response.request_id.clone()));
        self.model = probe.model.or(probe.response.and_then(|response| response.response?.model));
        self.block = probe.event.as_ref().and_then(|event| event.index);
        let event_message = probe.event.as_mut().and_then(|event| event.message.take());
        self.message = probe.api_message_id.or(event_message.and_then(|message| message.id));
        match self.kind {
            Kind::TextDelta => {
                self.open_slot("text", probe.event.and_then(|event| event.delta).and_then(|delta| delta.text));
            }
            Kind::AssistantText => {
                let message = probe.message.unwrap_or_default();
                self.open_slot("text", message.texts().next().map(str::to_owned));
                self.message = message.id;
            }
            Kind::Result => self.open_slot("result", probe.result),
            _ => {}
        }
    }

    fn open_slot(&mut self, key: &str, text: Option<String>) {
        let Some(text) = text else { return };
        let string = Value::from(text.as_str()).to_string();
        let needle = format!("\"{key}\":{string}");
        if !self.raw.contains(&needle) {
            // Written with other escapes or spaces than serde's: take serde's form, so that the text can be found.
            self.raw =
                serde_json::from_str::<Value>(&self.raw).map_or_else(|_| self.raw.clone(), |line| line.to_string());
        }
        self.slot = self.raw.find(&needle).map(|start| {
            let end = start + needle.len();
            Slot { range: end - string.len()..end, text }
        });
    }
}

/// Puts another id in place of one, wherever it stands as a whole JSON string; inside a text it would be escaped.
pub(super) fn replace_id(line: &str, from: &str, to: &str) -> String {
    line.replace(&format!("\"{from}\""), &Value::from(to).to_string())
}

#[derive(Deserialize)]
struct Probe {
    #[serde(rename = "type")]
    kind: String,
    subtype: Option<String>,
    session_id: Option<String>,
    model: Option<String>,
    request_id: Option<String>,
    response: Option<ProbeResponse>,
    event: Option<ProbeEvent>,
    message: Option<ProbeMessage>,
    result: Option<String>,
    is_error: Option<bool>,
    api_message_id: Option<String>,
    status: Option<String>,
}

#[derive(Deserialize)]
struct ProbeResponse {
    request_id: Option<String>,
    subtype: Option<String>,
    response: Option<ProbeModel>,
}

#[derive(Deserialize)]
struct ProbeModel {
    model: Option<String>,
}

#[derive(Deserialize)]
struct ProbeEvent {
    #[serde(rename = "type")]
    kind: String,
    index: Option<u64>,
    delta: Option<ProbeBlock>,
    message: Option<ProbeMessage>,
}

#[derive(Deserialize)]
struct ProbeBlock {
    #[serde(rename = "type")]
    kind: Option<String>,
    text: Option<String>,
}

#[derive(Deserialize, Default)]
struct ProbeMessage {
    id: Option<String>,
    #[serde(default)]
    content: Value,
}

impl ProbeMessage {
    fn texts(&self) -> impl Iterator<Item = &str> {
        let blocks = self.content.as_array().map_or(&[][..], Vec::as_slice);
        blocks.iter().filter_map(|block| block.get("text")?.as_str())
    }
}

impl Probe {
    fn has_block(&self, kind: &str) -> bool {
        let blocks = self.message.as_ref().and_then(|message| message.content.as_array());
        blocks.is_some_and(|blocks| blocks.iter().any(|block| block.get("type").and_then(Value::as_str) == Some(kind)))
    }

    fn classify(&self) -> Kind {
        match self.kind.as_str() {
            "stream_event" => self.event.as_ref().map_or(Kind::Stream, ProbeEvent::classify),
            "system" => match self.subtype.as_deref() {
                // Without a status it says that the permission mode has changed, to everybody.
                Some("status") if self.status.is_some() => Kind::Status,
                Some("init") => Kind::Init,
                Some("session_state_changed") => Kind::State,
                _ => Kind::Other,
            },
            "assistant" if self.has_block("text") => Kind::AssistantText,
            "assistant" if self.has_block("tool_use") => Kind::ToolUse,
            "user" if self.has_block("tool_result") => Kind::ToolResult,
            "result" if self.subtype.as_deref() != Some("success") => Kind::NoResult,
            "result" if self.is_error == Some(true) => Kind::ErrorResult,
            "result" => Kind::Result,
            "control_request" => Kind::Request,
            "control_response" => match self.response.as_ref().and_then(|response| response.subtype.as_deref()) {
                Some("error") => Kind::ErrorResponse,
                _ => Kind::Response,
            },
            _ => Kind::Other,
        }
    }
}

impl ProbeEvent {
    fn classify(&self) -> Kind {
        match self.kind.as_str() {
            "message_start" => Kind::MessageStart,
            "message_delta" => Kind::MessageDelta,
            "message_stop" => Kind::MessageStop,
            "content_block_start" => Kind::BlockStart,
            "content_block_stop" => Kind::BlockStop,
            "content_block_delta"
                if self.delta.as_ref().is_some_and(|delta| delta.kind.as_deref() == Some("text_delta")) =>
            {
                Kind::TextDelta
            }
            _ => Kind::Stream,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DELTA: &str = r#"{"type":"stream_event","event":{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"a \"b\" ⟦é\n"}},"session_id":"s"}"#;

    #[test]
    fn a_text_can_be_replaced_and_nothing_else_changes() {
        let line = Line::new(DELTA);
        assert_eq!((line.kind, line.text()), (Kind::TextDelta, Some("a \"b\" ⟦é\n")));
        assert_eq!(line.with_text("a \"b\" ⟦é\n"), DELTA);
        assert_eq!(line.with_text("x"), DELTA.replace(r#"a \"b\" ⟦é\n"#, "x"));
    }

    #[test]
    fn an_unusual_escape_is_found_too() {
        let line = Line::new(&DELTA.replace('é', "\\u00e9"));
        assert_eq!(line.with_text("x"), Line::new(DELTA).with_text("x"));
    }

    #[test]
    fn swapping_an_id_leaves_texts_alone() {
        let line = r#"{"id":"s","text":"say \"s\"","s":1}"#;
        assert_eq!(replace_id(line, "s", "t"), r#"{"id":"t","text":"say \"s\"","t":1}"#);
    }
}
