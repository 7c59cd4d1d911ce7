//! A reply of any server, in every form that the chat completions API allows, whole or streamed.
//!
//! A model may refuse, call a function, answer in audio, or say nothing because of a limit or a filter: none of that is a
//! text, and none of it is somebody else's reply. So every string of a reply is kept under its place, wherever the API may
//! put one, and marks are looked for in all of them.

use std::collections::BTreeMap;

use serde_json::Value;

use leakgate_judge::sample::ReplyKinds;

/// The kind of content of a reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Text.
    Text,
    /// `refusal`: the model says that it will not answer.
    Refusal,
    /// `tool_calls`, with or without words beside them.
    ToolCalls,
    /// `function_call`, the older form of a single call.
    FunctionCall,
    /// `audio`.
    Audio,
    /// No content, because of a limit on its length.
    Truncated,
    /// No content, because a filter held it back.
    Filtered,
    /// No content, and no such reason.
    Empty,
}

/// The strings of all choices of a reply.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reply {
    /// By choice and path, for example `0/content` or `0/tool_calls/0/function/arguments`.
    strings: BTreeMap<String, String>,
    finish: Option<String>,
}

impl Reply {
    /// The reply in the body of a whole completion; none where the body is something else.
    #[must_use]
    pub(crate) fn from_completion(body: &Value) -> Option<Self> {
        body.get("choices")?.as_array()?;
        let mut reply = Self::default();
        reply.add_chunk(body);
        Some(reply)
    }

    /// Adds a chunk of a stream. One without choices, as that with the usage, adds nothing. Gives the bytes of text and
    /// arguments that it brought.
    pub(crate) fn add_chunk(&mut self, chunk: &Value) -> usize {
        let before = self.content_bytes();
        for (at, choice) in chunk.get("choices").and_then(Value::as_array).into_iter().flatten().enumerate() {
            let index = item_index(choice, at);
            for part in ["message", "delta"] {
                if let Some(part) = choice.get(part) {
                    self.add_strings(&index, part);
                }
            }
            let finish = choice.get("finish_reason").and_then(Value::as_str);
            self.finish = finish.map(str::to_owned).or(self.finish.take());
        }
        self.content_bytes() - before
    }

    /// Whether a choice has said why it ended.
    #[must_use]
    pub(crate) fn has_finished(&self) -> bool {
        self.finish.is_some()
    }

    /// Every string in it.
    pub fn strings(&self) -> impl Iterator<Item = &str> {
        self.strings.values().map(String::as_str)
    }

    /// Bytes of text, refusals and arguments.
    #[must_use]
    pub(crate) fn content_bytes(&self) -> usize {
        let is_content = |path: &str| {
            ["/content", "/text", "/refusal", "/arguments", "/transcript"].iter().any(|end| path.ends_with(end))
        };
        self.strings.iter().filter(|(path, _)| is_content(path)).map(|(_, text)| text.len()).sum()
    }

    /// The kind of its content. Words beside a refusal or a call belong to it.
    #[must_use]
    pub fn kind(&self) -> Kind {
        let has = |is_such: fn(&str) -> bool| {
            self.strings
                .iter()
                .any(|(place, text)| !text.is_empty() && place.split_once('/').is_some_and(|(_, path)| is_such(path)))
        };
        if has(|path| path == "refusal" || (path.starts_with("content/") && path.ends_with("/refusal"))) {
            Kind::Refusal
        } else if has(|path| path.starts_with("tool_calls/")) {
            Kind::ToolCalls
        } else if has(|path| path.starts_with("function_call/")) {
            Kind::FunctionCall
        } else if has(|path| path.starts_with("audio/")) {
            Kind::Audio
        } else if has(|path| path == "content" || (path.starts_with("content/") && path.ends_with("/text"))) {
            Kind::Text
        } else {
            match self.finish.as_deref() {
                Some("length") => Kind::Truncated,
                Some("content_filter") => Kind::Filtered,
                _ => Kind::Empty,
            }
        }
    }

    fn add_strings(&mut self, place: &str, value: &Value) {
        match value {
            Value::String(text) => self.strings.entry(place.to_owned()).or_default().push_str(text),
            Value::Array(items) => {
                for (at, item) in items.iter().enumerate() {
                    self.add_strings(&format!("{place}/{}", item_index(item, at)), item);
                }
            }
            Value::Object(fields) => {
                for (name, field) in fields {
                    self.add_strings(&format!("{place}/{name}"), field);
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }
}

/// Pieces of a stream name the choice or the call that they belong to; where they don't, it is the one at this place.
fn item_index(item: &Value, at: usize) -> String {
    item.get("index").and_then(Value::as_u64).map_or_else(|| at.to_string(), |index| index.to_string())
}

/// Counts a reply of this kind.
pub(super) fn count_kind(kinds: &mut ReplyKinds, kind: Kind) {
    let count = match kind {
        Kind::Text => return,
        Kind::Refusal => &mut kinds.refusals,
        Kind::ToolCalls => &mut kinds.tool_calls,
        Kind::FunctionCall => &mut kinds.function_calls,
        Kind::Audio => &mut kinds.audio,
        Kind::Truncated => &mut kinds.truncated,
        Kind::Filtered => &mut kinds.filtered,
        Kind::Empty => &mut kinds.empty,
    };
    *count += 1;
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn whole(message: &Value, finish: &str) -> Kind {
        let choice = json!({"index": 0, "message": message, "finish_reason": finish, "logprobs": null});
        Reply::from_completion(&json!({"object": "chat.completion", "choices": [choice]})).unwrap().kind()
    }

    fn streamed(deltas: &[Value], finish: &str) -> Reply {
        let mut reply = Reply::default();
        for delta in deltas {
            reply.add_chunk(&json!({"choices": [{"index": 0, "delta": delta, "finish_reason": null}]}));
        }
        reply.add_chunk(&json!({"choices": [{"index": 0, "delta": {}, "finish_reason": finish}]}));
        reply.add_chunk(&json!({"choices": [], "usage": {"prompt_tokens": 1}}));
        reply
    }

    #[test]
    fn every_form_of_a_whole_reply_is_told_from_the_others() {
        let call = json!([{"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]);
        for (message, finish, kind) in [
            (json!({"role": "assistant", "content": "hello", "refusal": null}), "stop", Kind::Text),
            (json!({"role": "assistant", "content": [{"type": "text", "text": "hello"}]}), "stop", Kind::Text),
            (json!({"role": "assistant", "content": null, "refusal": "I can't."}), "stop", Kind::Refusal),
            (json!({"role": "assistant", "content": "", "refusal": "I can't."}), "content_filter", Kind::Refusal),
            (json!({"role": "assistant", "content": null, "tool_calls": call}), "tool_calls", Kind::ToolCalls),
            (json!({"role": "assistant", "content": "So:", "tool_calls": call}), "tool_calls", Kind::ToolCalls),
            (
                json!({"role": "assistant", "content": null, "function_call": {"name": "f", "arguments": "{}"}}),
                "function_call",
                Kind::FunctionCall,
            ),
            (
                json!({"role": "assistant", "content": null, "audio": {"id": "a", "data": "AA==", "transcript": "hi"}}),
                "stop",
                Kind::Audio,
            ),
            (json!({"role": "assistant", "content": ""}), "length", Kind::Truncated),
            (json!({"role": "assistant", "content": null}), "content_filter", Kind::Filtered),
            (json!({"role": "assistant", "content": "", "tool_calls": []}), "stop", Kind::Empty),
            (json!({"role": "assistant"}), "stop", Kind::Empty),
        ] {
            assert_eq!(whole(&message, finish), kind, "{message}");
        }
    }

    #[test]
    fn every_form_of_a_streamed_reply_is_told_from_the_others() {
        let role = json!({"role": "assistant", "content": ""});
        for (delta, finish, kind) in [
            (json!({"content": "hello"}), "stop", Kind::Text),
            (json!({"refusal": "I can't."}), "stop", Kind::Refusal),
            (
                json!({"tool_calls": [{"index": 0, "id": "a", "function": {"name": "f", "arguments": ""}}]}),
                "tool_calls",
                Kind::ToolCalls,
            ),
            (json!({"function_call": {"name": "f"}}), "function_call", Kind::FunctionCall),
            (json!({"audio": {"id": "a", "data": "AA=="}}), "stop", Kind::Audio),
            (json!({}), "length", Kind::Truncated),
            (json!({"content": null}), "content_filter", Kind::Filtered),
            (json!({}), "stop", Kind::Empty),
        ] {
            let reply = streamed(&[role.clone(), delta.clone()], finish);
            assert!(reply.has_finished());
            assert_eq!(reply.kind(), kind, "{delta}");
        }
    }

    #[test]
    fn pieces_of_several_choices_and_calls_are_kept_apart() {
        let mut reply = Reply::default();
        for (choice, text) in [(0, "⟦00c0"), (1, "⟦dead"), (0, "ffee⟧"), (1, "beef⟧")] {
            reply.add_chunk(&json!({"choices": [{"index": choice, "delta": {"content": text}}]}));
        }
        let call = |index: u64, piece: &str| json!({"choices": [{"index": 0, "delta": {"tool_calls": [{"index": index, "function": {"arguments": piece}}]}}]});
        for (index, piece) in [(0, "{\"a\""), (1, "{\"b\""), (0, ":1}"), (1, ":2}")] {
            reply.add_chunk(&call(index, piece));
        }
        let strings: Vec<&str> = reply.strings().collect();
        assert_eq!(strings, ["⟦00c0ffee⟧", "{\"a\":1}", "{\"b\":2}", "⟦deadbeef⟧"]);
    }

    #[test]
    fn what_is_no_completion_is_none() {
        for body in [json!({}), json!({"choices": null}), json!("text"), json!([1])] {
            assert_eq!(Reply::from_completion(&body), None, "{body}");
        }
        assert_eq!(Reply::from_completion(&json!({"choices": []})).unwrap().kind(), Kind::Empty);
    }
}
