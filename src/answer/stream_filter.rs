//! Withholds streamed text that may still turn out to be a stop sequence or a function call.

use super::calls;

/// The text of a reply so far, and how much of it was released.
#[derive(Debug)]
pub(super) struct StreamFilter {
    stops: Vec<String>,
    /// Whether the reply can contain function calls.
    holds_calls: bool,
    text: String,
    /// Bytes of `text` that were searched for calls.
    looked: usize,
    /// Byte offset of the first stop sequence.
    stopped: Option<usize>,
    /// Bytes of `text` that were released.
    passed: usize,
}

impl StreamFilter {
    pub(super) fn new(stops: &[String], holds_calls: bool) -> Self {
        let stops = stops.iter().filter(|stop| !stop.is_empty()).cloned().collect();
        Self { stops, holds_calls, text: String::new(), looked: 0, stopped: None, passed: 0 }
    }

    /// Adds the next piece of the reply, and returns the text that may be released now.
    pub(super) fn push(&mut self, piece: &str) -> String {
        let came = self.text.len();
        self.text.push_str(piece);
        if self.stopped.is_none() {
            // A stop sequence can begin in an earlier piece.
            let longest = self.stops.iter().map(String::len).max().unwrap_or(0);
            let from = self.text.floor_char_boundary(came.saturating_sub(longest));
            self.stopped = self.first_stop(&self.text, from);
        }
        let mut end = self.stopped.unwrap_or_else(|| self.before_stop());
        if self.holds_calls {
            let start = calls::next_start(&self.text, self.looked);
            self.looked = start.unwrap_or(self.text.len());
            // The final text is trimmed before calls, and streamed text must be a prefix of it.
            end = self.text[..end.min(self.looked)].trim_end().len();
        }
        let end = end.max(self.passed);
        let now = self.text[self.passed..end].to_owned();
        self.passed = end;
        now
    }

    /// Cuts a complete reply at the first stop sequence, unless that is inside a call.
    pub(super) fn cut_at_stop<'a>(&self, text: &'a str) -> &'a str {
        let stands_in_call =
            |at: &usize| self.holds_calls && calls::next_start(text, 0).is_some_and(|start| start < *at);
        self.first_stop(text, 0).filter(|at| !stands_in_call(at)).map_or(text, |at| &text[..at])
    }

    /// Cuts a reply without calls at the first stop sequence.
    pub(super) fn cut_words<'a>(&self, text: &'a str) -> &'a str {
        self.first_stop(text, 0).map_or(text, |at| &text[..at])
    }

    /// The text that was released.
    pub(super) fn passed_text(&self) -> &str {
        &self.text[..self.passed]
    }

    /// Byte offset of the stop sequence that is completed first: there the model would have stopped.
    fn first_stop(&self, text: &str, from: usize) -> Option<usize> {
        let found = self.stops.iter().filter_map(|stop| {
            let at = from + text[from..].find(stop.as_str())?;
            Some((at + stop.len(), at))
        });
        found.min().map(|(_, at)| at)
    }

    /// Length of the text without a suffix that may be the beginning of a stop sequence.
    fn before_stop(&self) -> usize {
        let begins = |at: &usize| self.stops.iter().any(|stop| stop.starts_with(&self.text[*at..]));
        let longest = self.stops.iter().map(String::len).max().unwrap_or(0);
        let from = self.text.len().saturating_sub(longest);
        let mut places = (from..self.text.len()).filter(|at| self.text.is_char_boundary(*at));
        places.find(begins).unwrap_or(self.text.len())
    }
}
