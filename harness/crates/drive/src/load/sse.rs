//! Server-sent events of a streamed completion, put together from whatever pieces the network gives.

use serde::Deserialize;
use serde_json::Value;

use crate::load::reply::Reply;
use crate::load::reply_format::{Call, ExactReply};

/// The longest event accepted, in bytes.
const MAX_EVENT_BYTES: usize = 1 << 20;
/// More calls are not accepted.
const MAX_CALLS: usize = 100;

/// A streamed reply as far as it has arrived.
#[derive(Debug, Default)]
pub struct Stream {
    pending: Vec<u8>,
    /// The reply so far, of a stream that is read strictly.
    pub said: ExactReply,
    /// The same of a lenient one, in whatever form it came.
    pub reply: Reply,
    /// How many pieces carried text or arguments.
    pub pieces: u32,
    /// The server said `[DONE]`.
    pub done: bool,
    /// The server reported an error, or broke the format.
    pub error: Option<String>,
    lenient: bool,
}

#[derive(Deserialize)]
struct Chunk {
    #[serde(default)]
    choices: Vec<Choice>,
    error: Option<serde_json::Value>,
}

#[derive(Deserialize)]
struct Choice {
    #[serde(default)]
    delta: Delta,
    finish_reason: Option<String>,
}

#[derive(Deserialize, Default)]
struct Delta {
    content: Option<String>,
    tool_calls: Option<Vec<CallDelta>>,
}

#[derive(Deserialize)]
struct CallDelta {
    index: usize,
    id: Option<String>,
    function: Option<FunctionDelta>,
}

#[derive(Deserialize)]
struct FunctionDelta {
    name: Option<String>,
    arguments: Option<String>,
}

impl Stream {
    /// A stream that has not begun. A lenient one may be of any form that the API allows; it also ends with its
    /// `finish_reason`, and may repeat it.
    #[must_use]
    pub fn new(lenient: bool) -> Self {
        Self { lenient, ..Self::default() }
    }

    /// Whether it has come to its end.
    #[must_use]
    pub(crate) fn has_ended(&self) -> bool {
        self.done || (self.lenient && self.reply.has_finished())
    }

    /// Takes the next bytes of the body.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.pending.extend_from_slice(bytes);
        let mut start = 0;
        while let Some((length, end)) = blank_line(&self.pending[start..]) {
            let event = String::from_utf8_lossy(&self.pending[start..start + length]).into_owned();
            start += length + end;
            self.handle_event(&event);
        }
        self.pending.drain(..start);
        if self.pending.len() > MAX_EVENT_BYTES {
            self.set_error(format!("an event is longer than {MAX_EVENT_BYTES} bytes"));
            self.pending.clear();
        }
    }

    /// Takes what came after the last blank line: some servers leave the very last one out.
    pub fn end(&mut self) {
        if self.lenient && !self.done {
            let rest = std::mem::take(&mut self.pending);
            self.handle_event(&String::from_utf8_lossy(&rest));
        }
    }

    fn handle_event(&mut self, event: &str) {
        let lines: Vec<&str> =
            event.lines().filter_map(|line| line.strip_prefix("data:")).map(str::trim_start).collect();
        let is_error = |line: &str| line.strip_prefix("event:").is_some_and(|name| name.trim() == "error");
        if self.lenient && event.lines().any(is_error) {
            return self.set_error(lines.join("\n"));
        }
        // The lines of one event are one text; some servers put several events into it instead.
        let whole = lines.join("\n");
        if self.lenient && lines.len() > 1 && serde_json::from_str::<Value>(&whole).is_ok() {
            return self.handle_data(&whole);
        }
        for data in lines {
            self.handle_data(data);
        }
    }

    fn handle_data(&mut self, data: &str) {
        if self.done {
            self.set_error("it goes on after [DONE]".to_owned());
        } else if data == "[DONE]" {
            self.done = true;
        } else if self.lenient {
            self.handle_lenient_chunk(data);
        } else {
            self.handle_chunk(data);
        }
    }

    fn handle_lenient_chunk(&mut self, data: &str) {
        match serde_json::from_str::<Value>(data) {
            Err(error) => self.set_error(format!("a chunk is not JSON: {error}")),
            Ok(chunk) => match chunk.get("error").filter(|error| !error.is_null()) {
                Some(error) => self.set_error(error.to_string()),
                None => self.pieces += u32::from(self.reply.add_chunk(&chunk) > 0),
            },
        }
    }

    fn handle_chunk(&mut self, data: &str) {
        match serde_json::from_str::<Chunk>(data) {
            Ok(Chunk { error: Some(error), .. }) => self.set_error(error.to_string()),
            Ok(chunk) => chunk.choices.into_iter().for_each(|choice| self.add_choice(choice)),
            Err(error) => self.set_error(format!("a chunk is not JSON: {error}")),
        }
    }

    fn add_choice(&mut self, choice: Choice) {
        if self.said.finish.is_some() {
            self.set_error("it goes on after its finish_reason".to_owned());
        }
        if let Some(content) = choice.delta.content {
            self.pieces += u32::from(!content.is_empty());
            self.said.text.push_str(&content);
        }
        for delta in choice.delta.tool_calls.into_iter().flatten() {
            self.add_call_delta(delta);
        }
        self.said.finish = choice.finish_reason.or(self.said.finish.take());
    }

    fn add_call_delta(&mut self, delta: CallDelta) {
        let calls = &mut self.said.calls;
        if delta.index == calls.len() && delta.index < MAX_CALLS {
            calls.push(Call::default());
        }
        let Some(call) = calls.get_mut(delta.index) else {
            return self.set_error(format!("a call has the index {} and is not the next one", delta.index));
        };
        call.id.push_str(delta.id.as_deref().unwrap_or_default());
        if let Some(function) = delta.function {
            call.name.push_str(function.name.as_deref().unwrap_or_default());
            call.arguments.push_str(function.arguments.as_deref().unwrap_or_default());
            self.pieces += u32::from(function.arguments.is_some_and(|piece| !piece.is_empty()));
        }
    }

    fn set_error(&mut self, error: String) {
        self.error.get_or_insert(error);
    }
}

/// The first blank line: how much is before it, and how long it is. Some servers end their lines as HTTP does.
fn blank_line(bytes: &[u8]) -> Option<(usize, usize)> {
    let find = |end: &[u8]| bytes.windows(end.len()).position(|window| window == end).map(|at| (at, end.len()));
    find(b"\n\n").into_iter().chain(find(b"\r\n\r\n")).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &str = concat!(
        "data: {\"choices\":[{\"delta\":{\"role\":\"assistant\"}}]}\n\n",
        ": keep-alive\n\n",
        "data: {\"choices\":[{\"delta\":{\"content\":\"Grüße\"}}]}\n\n",
        "data: {\"choices\":[{\"delta\":{\"content\":\"!\"},\"finish_reason\":\"stop\"}]}\n\n",
        "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":1}}\n\n",
        "data: [DONE]\n\n"
    );

    #[test]
    fn any_cut_of_the_bytes_gives_the_same_text() {
        for size in 1..BODY.len() {
            let mut stream = Stream::default();
            BODY.as_bytes().chunks(size).for_each(|bytes| stream.feed(bytes));
            assert_eq!(
                (stream.said.text.as_str(), stream.pieces, stream.done),
                ("Grüße!", 2, true),
                "pieces of {size} bytes"
            );
            assert_eq!((stream.error, stream.said.finish.as_deref()), (None, Some("stop")));
        }
    }

    #[test]
    fn lines_may_end_as_those_of_http() {
        let mut stream = Stream::default();
        stream.feed(BODY.replace('\n', "\r\n").as_bytes());
        assert_eq!((stream.said.text.as_str(), stream.done, stream.error), ("Grüße!", true, None));
    }

    #[test]
    fn calls_are_put_together_by_their_index() {
        let event = |delta: serde_json::Value, finish: Option<&str>| {
            let choice = serde_json::json!({"index": 0, "delta": delta, "finish_reason": finish});
            format!("data: {}\n\n", serde_json::json!({"choices": [choice]}))
        };
        let call = |delta: serde_json::Value| event(serde_json::json!({"tool_calls": [delta]}), None);
        let mut stream = Stream::default();
        for event in [
            call(
                serde_json::json!({"index": 0, "id": "a", "type": "function", "function": {"name": "f", "arguments": ""}}),
            ),
            call(serde_json::json!({"index": 0, "function": {"arguments": "{\"x\""}})),
            call(
                serde_json::json!({"index": 1, "id": "b", "type": "function", "function": {"name": "g", "arguments": "{}"}}),
            ),
            call(serde_json::json!({"index": 0, "function": {"arguments": ":1}"}})),
            event(serde_json::json!({}), Some("tool_calls")),
            "data: [DONE]\n\n".to_owned(),
        ] {
            stream.feed(event.as_bytes());
        }
        let call = |id: &str, name: &str, arguments: &str| Call {
            id: id.to_owned(),
            name: name.to_owned(),
            arguments: arguments.to_owned(),
        };
        assert_eq!(stream.error, None);
        assert_eq!(stream.said.calls, [call("a", "f", "{\"x\":1}"), call("b", "g", "{}")]);
        assert_eq!((stream.said.finish.as_deref(), stream.pieces, stream.done), (Some("tool_calls"), 3, true));
        stream = Stream::default();
        stream.feed(event(serde_json::json!({"tool_calls": [{"index": 1}]}), None).as_bytes());
        assert!(stream.error.is_some_and(|error| error.contains("index 1")));
    }

    #[test]
    fn an_error_event_is_an_error() {
        let mut stream = Stream::default();
        stream.feed(b"data: {\"error\":{\"message\":\"the CLI failed\"}}\n\n");
        assert!(stream.error.unwrap().contains("the CLI failed"));
    }

    fn lenient(body: &str) -> Stream {
        let mut stream = Stream::new(true);
        body.as_bytes().chunks(7).for_each(|bytes| stream.feed(bytes));
        stream.end();
        stream
    }

    #[test]
    fn a_lenient_stream_takes_every_kind_of_reply() {
        use crate::load::reply::Kind;
        for (delta, kind) in [
            (r#"{"role":"assistant","refusal":"I can't."}"#, Kind::Refusal),
            (r#"{"tool_calls":[{"index":1,"id":"a","function":{"name":"f","arguments":"{}"}}]}"#, Kind::ToolCalls),
            (r#"{"function_call":{"name":"f","arguments":"{}"}}"#, Kind::FunctionCall),
            (r#"{"content":null,"refusal":null}"#, Kind::Empty),
        ] {
            let stream = lenient(&format!(
                "data: {{\"choices\":[{{\"index\":0,\"delta\":{delta}}}]}}\n\n\
                 data: {{\"choices\":[{{\"index\":0,\"delta\":{{}},\"finish_reason\":\"stop\"}}]}}\n\n\
                 data: {{\"choices\":[],\"usage\":{{\"total_tokens\":2}}}}\n\ndata: [DONE]\n\n"
            ));
            assert_eq!((stream.error.as_deref(), stream.done, stream.reply.kind()), (None, true, kind), "{delta}");
        }
    }

    #[test]
    fn a_lenient_stream_may_lack_its_last_blank_line_and_break_its_json_into_lines() {
        let stream = lenient("data: {\"choices\":\ndata: [{\"delta\":{\"content\":\"hi\"}}]}\n\ndata: [DONE]");
        assert_eq!((stream.error.as_deref(), stream.done), (None, true));
        assert_eq!(stream.reply.strings().collect::<Vec<_>>(), ["hi"]);
    }

    #[test]
    fn an_error_in_a_lenient_stream_is_an_error_in_either_form() {
        for body in ["data: {\"error\":{\"message\":\"no\"}}\n\n", "event: error\ndata: {\"message\":\"no\"}\n\n"] {
            assert!(lenient(body).error.unwrap().contains("no"), "{body}");
        }
        let cut = lenient("data: {\"choices\":[{\"delta\":{\"content\":\"hi\"}}]}\n\n");
        assert!(cut.error.is_none() && !cut.has_ended());
    }
}
