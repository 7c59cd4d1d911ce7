//! Says what is wrong with a recording: its format, secrets that are left, and what `mock-claude` makes of it.

use std::path::Path;

use clap::ValueEnum;

use super::{Label, Turn, replay, turns};
use crate::recording::{self, Session, What};
use crate::scrub::{Kind, Scrubber, Stream};

/// What a check has found.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Checked {
    /// What is wrong, each with its place and what to do; empty for a good recording.
    pub wrong: Vec<String>,
    /// What was checked, in words; empty where nothing could be.
    pub summary: String,
}

/// Checks the text of a recording; `file` names it in findings, and `mock` plays it.
pub fn check(file: &str, text: &str, mock: &Path) -> Checked {
    let session = match recording::parse(file, text) {
        Ok(session) => session,
        Err(error) => return Checked { wrong: vec![error.to_string()], ..Checked::default() },
    };
    let mut wrong = flaws(file, &session);
    wrong.extend(left(file, &session));
    let turns = turns(&session);
    wrong.extend(unasked(file, &session, &turns));
    let results = turns.iter().filter(|turn| turn.result.is_some()).count();
    let mut summary = format!("{} turns, {results} results", turns.len());
    match replay::replay(file, &session, mock) {
        Ok(lines) => summary = format!("{summary}, {lines} lines replayed by mock-claude"),
        Err(error) => wrong.push(error.to_string()),
    }
    Checked { wrong, summary }
}

fn flaws(file: &str, session: &Session) -> Vec<String> {
    let (mut wrong, mut before) = (Vec::new(), 0);
    for (line, event) in (2..).zip(&session.events) {
        if event.ms < before {
            wrong.push(format!(
                "{file}:{line}: it is earlier ({} ms) than the line before it; sort the lines",
                event.ms
            ));
        }
        if let Some(whole) = event.flaws.cut {
            wrong.push(format!(
                "{file}:{line}: a line of {whole} bytes is cut, so it cannot be replayed; trim its turn away"
            ));
        }
        before = before.max(event.ms);
    }
    if !matches!(session.events.last(), Some(last) if matches!(last.what, What::Exit { .. })) {
        let last = session.events.len() + 1;
        wrong.push(format!(
            "{file}:{last}: the recording ends without an exit; `leakgate recordings trim` gives it one"
        ));
    }
    wrong
}

/// Results that answer no message: a line of the client is missing before them.
fn unasked(file: &str, session: &Session, turns: &[Turn]) -> Vec<String> {
    let is_result =
        |what: &What| matches!(what, What::Out(line) if Label::of(line).is_some_and(|l| l.kind == "result"));
    let results = session.events.iter().enumerate().filter(|(_, event)| is_result(&event.what));
    let unasked = results.filter(|(index, _)| !turns.iter().any(|turn| turn.result == Some(*index)));
    let told = unasked.map(|(index, _)| {
        format!("{file}:{}: this result answers no message of the client; put the message back before it", index + 2)
    });
    told.collect()
}

/// What should have been scrubbed and was not, unless the header says that it was left in on purpose.
fn left(file: &str, session: &Session) -> Vec<String> {
    let kept: Vec<Kind> = session.header.kept.iter().filter_map(|name| Kind::from_str(name, false).ok()).collect();
    let mut scrubber = Scrubber::for_check(&kept);
    scrubber.at(1);
    scrubber.text(&session.header.about);
    scrubber.arguments(&session.header.args);
    for (name, value) in &session.header.env {
        scrubber.value(name, value);
    }
    let mut stream = Stream::new(scrubber);
    for event in &session.events {
        if stream.push(event.clone()).is_none() {
            return vec![format!("{file}: a text in pieces is too large to be searched for secrets; trim it")];
        }
    }
    stream.finish();
    let mut places = stream.scrubber().places().to_vec();
    places.sort_unstable();
    places.dedup();
    let told = places.iter().map(|(line, kind)| {
        format!("{file}:{line}: {kind} is left in it; take it out by hand, or record again without `--keep {kind}`")
    });
    told.collect()
}
