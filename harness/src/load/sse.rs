//! Server-sent events of a streamed completion, put together from whatever pieces the network gives.

use serde::Deserialize;

/// The longest event accepted, in bytes.
const MAX_EVENT: usize = 1 << 20;

/// What has come of a stream.
#[derive(Debug, Default)]
pub struct Stream {
    pending: Vec<u8>,
    /// The text of all pieces.
    pub text: String,
    /// How many pieces carried text.
    pub pieces: u32,
    /// The server said `[DONE]`.
    pub done: bool,
    /// The server reported an error, or broke the format.
    pub error: Option<String>,
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
}

#[derive(Deserialize, Default)]
struct Delta {
    content: Option<String>,
}

impl Stream {
    /// Takes the next bytes of the body.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.pending.extend_from_slice(bytes);
        let mut start = 0;
        while let Some(length) = self.pending[start..].windows(2).position(|pair| pair == b"\n\n") {
            let event = String::from_utf8_lossy(&self.pending[start..start + length]).into_owned();
            start += length + 2;
            self.event(&event);
        }
        self.pending.drain(..start);
        if self.pending.len() > MAX_EVENT {
            self.fail(format!("an event is longer than {MAX_EVENT} bytes"));
            self.pending.clear();
        }
    }

    fn event(&mut self, event: &str) {
        for data in event.lines().filter_map(|line| line.strip_prefix("data:")).map(str::trim_start) {
            if self.done {
                self.fail("it goes on after [DONE]".to_owned());
            } else if data == "[DONE]" {
                self.done = true;
            } else {
                self.chunk(data);
            }
        }
    }

    fn chunk(&mut self, data: &str) {
        match serde_json::from_str::<Chunk>(data) {
            Ok(Chunk { error: Some(error), .. }) => self.fail(error.to_string()),
            Ok(chunk) => {
                for content in chunk.choices.into_iter().filter_map(|choice| choice.delta.content) {
                    self.pieces += u32::from(!content.is_empty());
                    self.text.push_str(&content);
                }
            }
            Err(error) => self.fail(format!("a chunk is not JSON: {error}")),
        }
    }

    fn fail(&mut self, error: String) {
        self.error.get_or_insert(error);
    }
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
                (stream.text.as_str(), stream.pieces, stream.done),
                ("Grüße!", 2, true),
                "pieces of {size} bytes"
            );
            assert_eq!(stream.error, None);
        }
    }

    #[test]
    fn an_error_event_is_an_error() {
        let mut stream = Stream::default();
        stream.feed(b"data: {\"error\":{\"message\":\"the CLI failed\"}}\n\n");
        assert!(stream.error.unwrap().contains("the CLI failed"));
    }
}
