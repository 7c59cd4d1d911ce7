//! What of a running reply may be passed on already: nothing that a stop sequence cuts off, and nothing that turns out to
//! be a call.

use super::calls;

/// Follows a reply as it comes.
#[derive(Debug)]
pub(super) struct StreamFilter {
    stops: Vec<String>,
    /// Calls can come.
    holds_calls: bool,
    text: String,
    /// How much of the text was looked at for calls.
    looked: usize,
    /// Where the first stop sequence stands.
    stopped: Option<usize>,
    /// How much of the text was passed on.
    passed: usize,
}

impl StreamFilter {
    pub(super) fn new(stops: &[String], holds_calls: bool) -> Self {
        let stops = stops.iter().filter(|stop| !stop.is_empty()).cloned().collect();
        Self { stops, holds_calls, text: String::new(), looked: 0, stopped: None, passed: 0 }
    }

    /// The next piece of the reply; gives what may be passed on now.
    pub(super) fn push(&mut self, piece: &str) -> String {
        let came = self.text.len();
        self.text.push_str(piece);
        if self.stopped.is_none() {
            // A sequence can begin in what was there before.
            let longest = self.stops.iter().map(String::len).max().unwrap_or(0);
            let from = self.text.floor_char_boundary(came.saturating_sub(longest));
            self.stopped = self.first_stop(&self.text, from);
        }
        let mut end = self.stopped.unwrap_or_else(|| self.before_stop());
        if self.holds_calls {
            let start = calls::next_start(&self.text, self.looked);
            self.looked = start.unwrap_or(self.text.len());
            // White space before calls is not part of the words.
            end = self.text[..end.min(self.looked)].trim_end().len();
        }
        let end = end.max(self.passed);
        let now = self.text[self.passed..end].to_owned();
        self.passed = end;
        now
    }

    /// The reply as it ends: cut at the first stop sequence, unless that stands in a call.
    pub(super) fn cut_at_stop<'a>(&self, text: &'a str) -> &'a str {
        let stands_in_call =
            |at: &usize| self.holds_calls && calls::next_start(text, 0).is_some_and(|start| start < *at);
        self.first_stop(text, 0).filter(|at| !stands_in_call(at)).map_or(text, |at| &text[..at])
    }

    /// A reply that turned out to have no call.
    pub(super) fn cut_words<'a>(&self, text: &'a str) -> &'a str {
        self.first_stop(text, 0).map_or(text, |at| &text[..at])
    }

    /// What was passed on.
    pub(super) fn passed_text(&self) -> &str {
        &self.text[..self.passed]
    }

    /// Where the sequence stands that is complete first: there the model would have stopped.
    fn first_stop(&self, text: &str, from: usize) -> Option<usize> {
        let found = self.stops.iter().filter_map(|stop| {
            let at = from + text[from..].find(stop.as_str())?;
            Some((at + stop.len(), at))
        });
        found.min().map(|(_, at)| at)
    }

    /// The text's length without an end that may be the beginning of a stop sequence.
    fn before_stop(&self) -> usize {
        let begins = |at: &usize| self.stops.iter().any(|stop| stop.starts_with(&self.text[*at..]));
        let longest = self.stops.iter().map(String::len).max().unwrap_or(0);
        let from = self.text.len().saturating_sub(longest);
        let mut places = (from..self.text.len()).filter(|at| self.text.is_char_boundary(*at));
        places.find(begins).unwrap_or(self.text.len())
    }
}
