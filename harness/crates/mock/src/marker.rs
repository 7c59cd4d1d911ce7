//! Puts a request's mark ([`leakgate_session::mark`]) into the texts of a recorded turn.
//!
//! Every delta starts with the opening mark, and the last one ends with the closing mark. The `assistant` messages and the
//! `result` repeat the marked text as a whole.

use std::collections::HashMap;

use leakgate_session::mark;

use super::line::Kind;
use super::script::{Act, Ending, Step, Turn};

/// The texts that a turn's steps carry instead of the recorded ones, by the step's index.
///
/// Without partial messages the CLI sends no deltas, and the marks enclose the whole text. A turn that ends in an API error
/// carries no mark; a turn without an end carries no closing mark.
pub(super) fn mark_turn(turn: &Turn, mark: &str, partials: bool) -> HashMap<usize, String> {
    let mut marker = Marker { opening: mark::opening(mark), closing: mark::closing(mark), ..Marker::default() };
    if turn.ending == Ending::Failed {
        return marker.marked;
    }
    let texts: Vec<(usize, Kind, &str)> = turn.steps.iter().enumerate().filter_map(find_text).collect();
    let last_of =
        |kind| texts.iter().rposition(|(_, each, _)| *each == kind).filter(|_| turn.ending == Ending::Answered);
    let (last_delta, last_text) = (last_of(Kind::TextDelta), last_of(Kind::AssistantText));
    for (position, &(step, kind, text)) in texts.iter().enumerate() {
        match kind {
            Kind::TextDelta if partials => marker.mark_delta(step, text, last_delta == Some(position)),
            Kind::AssistantText => marker.mark_message(step, text, last_text == Some(position)),
            Kind::Result => marker.mark_result(step, text),
            _ => {}
        }
    }
    marker.marked
}

#[derive(Default)]
struct Marker {
    opening: String,
    closing: String,
    /// The marked deltas of the open content block.
    block: String,
    /// The last block, as recorded and as marked.
    last: Option<(String, String)>,
    marked: HashMap<usize, String>,
}

impl Marker {
    fn mark_delta(&mut self, step: usize, text: &str, is_last: bool) {
        let marked = self.wrap(text, is_last);
        self.block.push_str(&marked);
        self.marked.insert(step, marked);
    }

    fn mark_message(&mut self, step: usize, text: &str, is_last: bool) {
        let mut marked = std::mem::take(&mut self.block);
        if marked.is_empty() {
            marked = self.wrap(text, is_last);
        }
        self.last = Some((text.to_owned(), marked.clone()));
        self.marked.insert(step, marked);
    }

    fn mark_result(&mut self, step: usize, text: &str) {
        let marked = match self.last.take() {
            Some((recorded, marked)) if recorded == text => marked,
            _ => self.wrap(text, true),
        };
        self.marked.insert(step, marked);
    }

    fn wrap(&self, text: &str, is_last: bool) -> String {
        format!("{}{text}{}", self.opening, if is_last { &self.closing } else { "" })
    }
}

fn find_text((index, step): (usize, &Step)) -> Option<(usize, Kind, &str)> {
    match &step.act {
        Act::Say(line) => line.text().map(|text| (index, line.kind, text)),
        _ => None,
    }
}
