//! Says what is wrong with a recording: its format, secrets that are left, and what `mock-claude` makes of it.

use std::path::Path;

use clap::ValueEnum;

use super::{MessageKind, Turn, find_turns, replay};
use crate::recording::{self, Payload, Session};
use crate::scrub::{Kind, Scrubber, StreamScrubber};

/// The result of a check.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct CheckReport {
    /// Each problem with its file, line and remedy; empty for a good recording.
    pub problems: Vec<String>,
    /// One line about the recording; empty if it could not be parsed.
    pub summary: String,
}

/// Checks the text of a recording; `file` names it in findings, and `mock` plays it.
pub fn check_recording(file: &str, text: &str, mock: &Path) -> CheckReport {
    let session = match recording::parse(file, text) {
        Ok(session) => session,
        Err(error) => return CheckReport { problems: vec![error.to_string()], ..CheckReport::default() },
    };
    let mut problems = find_format_flaws(file, &session);
    problems.extend(find_unscrubbed(file, &session));
    let turns = find_turns(&session);
    problems.extend(find_unasked_results(file, &session, &turns));
    let results = turns.iter().filter(|turn| turn.result.is_some()).count();
    let mut summary = format!("{} turns, {results} results", turns.len());
    match replay::replay_recording(file, &session, mock) {
        Ok(lines) => summary = format!("{summary}, {lines} lines replayed by mock-claude"),
        Err(error) => problems.push(error.to_string()),
    }
    CheckReport { problems, summary }
}

fn find_format_flaws(file: &str, session: &Session) -> Vec<String> {
    let (mut problems, mut before) = (Vec::new(), 0);
    for (line, event) in (2..).zip(&session.events) {
        if event.ms < before {
            problems.push(format!(
                "{file}:{line}: it is earlier ({} ms) than the line before it; sort the lines",
                event.ms
            ));
        }
        if let Some(whole) = event.flaws.cut {
            problems.push(format!(
                "{file}:{line}: a line of {whole} bytes is cut, so it cannot be replayed; trim its turn away"
            ));
        }
        before = before.max(event.ms);
    }
    if !matches!(session.events.last(), Some(last) if matches!(last.payload, Payload::Exit { .. })) {
        let last = session.events.len() + 1;
        problems.push(format!(
            "{file}:{last}: the recording ends without an exit; `leakgate recordings trim` gives it one"
        ));
    }
    problems
}

/// Results that answer no message: a line of the client is missing before them.
fn find_unasked_results(file: &str, session: &Session, turns: &[Turn]) -> Vec<String> {
    let is_result = |payload: &Payload| matches!(payload, Payload::Out(line) if MessageKind::parse(line).is_some_and(|l| l.kind == "result"));
    let results = session.events.iter().enumerate().filter(|(_, event)| is_result(&event.payload));
    let unasked = results.filter(|(index, _)| !turns.iter().any(|turn| turn.result == Some(*index)));
    let told = unasked.map(|(index, _)| {
        format!("{file}:{}: this result answers no message of the client; put the message back before it", index + 2)
    });
    told.collect()
}

/// What should have been scrubbed and was not, unless the header says that it was left in on purpose.
fn find_unscrubbed(file: &str, session: &Session) -> Vec<String> {
    let kept: Vec<Kind> = session.header.kept.iter().filter_map(|name| Kind::from_str(name, false).ok()).collect();
    let mut scrubber = Scrubber::for_check(&kept);
    scrubber.set_line(1);
    scrubber.scrub_text(&session.header.about);
    scrubber.scrub_arguments(&session.header.args);
    for (name, value) in &session.header.env {
        scrubber.scrub_value(name, value);
    }
    let mut stream = StreamScrubber::new(scrubber);
    for event in &session.events {
        if stream.push(event.clone()).is_none() {
            return vec![format!("{file}: a text in pieces is too large to be searched for secrets; trim it")];
        }
    }
    stream.finish();
    let mut findings = stream.scrubber().findings().to_vec();
    findings.sort_unstable();
    findings.dedup();
    let told = findings.iter().map(|(line, kind)| {
        format!("{file}:{line}: {kind} is left in it; take it out by hand, or record again without `--keep {kind}`")
    });
    told.collect()
}
