//! What of a running reply may be passed on already: nothing that a stop sequence cuts off, and nothing that turns out to
//! be a call.

use super::calls;

/// Follows a reply as it comes.
#[derive(Debug)]
pub(super) struct Passing {
    stops: Vec<String>,
    /// Calls can come.
    holds_calls: bool,
    text: String,
    /// How much of the text was looked at for calls.
    looked: usize,
    /// How much of the text was passed on.
    passed: usize,
}

impl Passing {
    pub(super) fn new(stops: &[String], holds_calls: bool) -> Self {
        let stops = stops.iter().filter(|stop| !stop.is_empty()).cloned().collect();
        Self { stops, holds_calls, text: String::new(), looked: 0, passed: 0 }
    }

    /// The next piece of the reply; gives what may be passed on now.
    pub(super) fn push(&mut self, piece: &str) -> String {
        self.text.push_str(piece);
        let (cut, _) = self.cut(&self.text);
        let mut end = self.before_stop(cut);
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
    pub(super) fn cut<'a>(&self, text: &'a str) -> (usize, &'a str) {
        let first = self.stops.iter().filter_map(|stop| text.find(stop.as_str())).min();
        let end = match first {
            Some(at) if self.holds_calls && calls::next_start(text, 0).is_some_and(|start| start < at) => text.len(),
            Some(at) => at,
            None => text.len(),
        };
        (end, &text[..end])
    }

    /// What was passed on.
    pub(super) fn passed(&self) -> &str {
        &self.text[..self.passed]
    }

    /// Without an end that may be the beginning of a stop sequence.
    fn before_stop(&self, end: usize) -> usize {
        if end < self.text.len() {
            return end;
        }
        let begins = |at: &usize| self.stops.iter().any(|stop| stop.starts_with(&self.text[*at..]));
        let longest = self.stops.iter().map(String::len).max().unwrap_or(0);
        let from = self.text.len().saturating_sub(longest);
        let mut places = (from..self.text.len()).filter(|at| self.text.is_char_boundary(*at));
        places.find(begins).unwrap_or(end)
    }
}
