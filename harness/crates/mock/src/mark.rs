//! The caller's mark, woven into a reply: whoever gets somebody else's reply, or a cut one, can see it.
//!
//! A user message that holds `[[mark:HEX]]` is answered with the recorded text in which every delta starts with
//! `⟦HEX⟧` and the last one ends with `⟦/HEX⟧`. The `assistant` texts and the `result` carry the same whole.

use std::collections::HashMap;

use super::line::Kind;
use super::script::{Act, Ending, Turn};

/// The longest mark, in hex digits.
const LONGEST: usize = 32;

/// The first mark in a text, as hex digits.
pub(crate) fn find(text: &str) -> Option<&str> {
    text.split("[[mark:").skip(1).find_map(|rest| {
        let (mark, _) = rest.split_once("]]")?;
        let well_formed = (1..=LONGEST).contains(&mark.len()) && mark.bytes().all(|byte| byte.is_ascii_hexdigit());
        well_formed.then_some(mark)
    })
}

/// A mark that is not this one: each of its digits is another.
pub(super) fn of_another(mark: &str) -> String {
    mark.chars().map(|digit| if digit == '0' { '1' } else { '0' }).collect()
}

/// The texts that a turn's steps carry instead of the recorded ones, by the step's index.
///
/// Without partials the deltas are not sent, so that the mark stands around the whole text. A turn that ends in an API
/// error carries no mark, and one that does not end carries no closing mark.
pub(super) fn weave(turn: &Turn, mark: &str, partials: bool) -> HashMap<usize, String> {
    let mut loom = Loom { open: format!("⟦{mark}⟧"), close: format!("⟦/{mark}⟧"), ..Loom::default() };
    if turn.ending == Ending::Failed {
        return loom.woven;
    }
    let texts: Vec<(usize, Kind, &str)> = turn.steps.iter().enumerate().filter_map(text_step).collect();
    let last_of =
        |kind| texts.iter().rposition(|(_, each, _)| *each == kind).filter(|_| turn.ending == Ending::Answered);
    let (last_delta, last_text) = (last_of(Kind::TextDelta), last_of(Kind::AssistantText));
    for (position, &(step, kind, text)) in texts.iter().enumerate() {
        match kind {
            Kind::TextDelta if partials => loom.delta(step, text, last_delta == Some(position)),
            Kind::AssistantText => loom.whole(step, text, last_text == Some(position)),
            Kind::Result => loom.result(step, text),
            _ => {}
        }
    }
    loom.woven
}

#[derive(Default)]
struct Loom {
    open: String,
    close: String,
    /// The woven deltas of the block that is open.
    block: String,
    /// The last block, as recorded and as woven.
    last: Option<(String, String)>,
    woven: HashMap<usize, String>,
}

impl Loom {
    fn delta(&mut self, step: usize, text: &str, is_last: bool) {
        let woven = self.wrap(text, is_last);
        self.block.push_str(&woven);
        self.woven.insert(step, woven);
    }

    fn whole(&mut self, step: usize, text: &str, is_last: bool) {
        let mut woven = std::mem::take(&mut self.block);
        if woven.is_empty() {
            woven = self.wrap(text, is_last);
        }
        self.last = Some((text.to_owned(), woven.clone()));
        self.woven.insert(step, woven);
    }

    fn result(&mut self, step: usize, text: &str) {
        let woven = match self.last.take() {
            Some((recorded, woven)) if recorded == text => woven,
            _ => self.wrap(text, true),
        };
        self.woven.insert(step, woven);
    }

    fn wrap(&self, text: &str, is_last: bool) -> String {
        format!("{}{text}{}", self.open, if is_last { &self.close } else { "" })
    }
}

fn text_step((index, step): (usize, &super::script::Step)) -> Option<(usize, Kind, &str)> {
    match &step.act {
        Act::Say(line) => line.text().map(|text| (index, line.kind, text)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::find;

    #[test]
    fn a_mark_is_one_to_32_hex_digits() {
        assert_eq!(find("x [[mark:00ff]] y"), Some("00ff"));
        assert_eq!(find("[[mark:]] [[mark:xyz]] [[mark:1]]"), Some("1"));
        assert_eq!(find(&format!("[[mark:{}]]", "a".repeat(33))), None);
        assert_eq!(find("[[mark:12"), None);
    }
}
