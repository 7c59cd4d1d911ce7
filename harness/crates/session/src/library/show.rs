//! A recording for people: what was called, what passed, how long it took, what was scrubbed.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::{Label, Turn, turns};
use crate::recording::{End, Session, What};

/// The overview as text.
pub fn overview(session: &Session) -> String {
    let turns = turns(session);
    let mut text = head(session, turns.len());
    if !turns.is_empty() {
        text += "\n turn   asked at  first line      result       bytes  ending\n";
    }
    for (number, turn) in (1..).zip(&turns) {
        text += &row(session, number, turn);
    }
    text += "\nmessages\n";
    for ((channel, name), count) in messages(session) {
        let _ = writeln!(text, "  {channel:<3} {count:>6}  {name}");
    }
    text + &tail(session)
}

fn head(session: &Session, turns: usize) -> String {
    let header = &session.header;
    let variables: Vec<String> = header.env.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let length = session.events.last().map_or(0, |event| event.ms);
    let (name, about, cli, arguments) = (&header.name, &header.about, &header.cli, header.args.join(" "));
    let mut text = format!("{name}: {about}\n\nversion    {cli}\narguments  {arguments}\n");
    if !variables.is_empty() {
        let _ = writeln!(text, "variables  {}", variables.join(" "));
    }
    let _ = writeln!(text, "length     {length} ms, {turns} turns");
    text
}

fn row(session: &Session, number: usize, turn: &Turn) -> String {
    let events = &session.events;
    let after = |index: Option<usize>| {
        index.map_or_else(
            || "-".to_owned(),
            |index| format!("{} ms", events[index].ms.saturating_sub(events[turn.asked].ms)),
        )
    };
    let bytes: usize = turn.first.zip(turn.result).map_or(0, |(first, last)| {
        events[first..=last]
            .iter()
            .filter(|event| matches!(event.what, What::Out(_)))
            .map(|e| e.what.text().len())
            .sum()
    });
    let ending = turn.result.and_then(|result| Label::of(events[result].what.text()));
    let ending = ending.and_then(|label| label.subtype).unwrap_or_else(|| "no result".to_owned());
    let asked = format!("{} ms", events[turn.asked].ms);
    format!("{number:>5} {asked:>10} {:>11} {:>11} {bytes:>11}  {ending}\n", after(turn.first), after(turn.result))
}

fn messages(session: &Session) -> BTreeMap<(&'static str, String), usize> {
    let mut counts = BTreeMap::new();
    for event in &session.events {
        let channel = match event.what {
            What::In(_) => "in",
            What::Out(_) => "out",
            What::Err(_) => "err",
            What::Exit { .. } => continue,
        };
        let name = Label::of(event.what.text()).map_or_else(|| "text".to_owned(), |label| label.name());
        *counts.entry((channel, name)).or_default() += 1;
    }
    counts
}

fn tail(session: &Session) -> String {
    let mut text = match session.events.last().map(|event| &event.what) {
        Some(What::Exit { end, after, removed }) => {
            let end = match end {
                End::Code(code) => format!("code {code}"),
                End::Signal(signal) => format!("signal {signal}"),
            };
            let removed: Vec<String> = removed.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
            let removed = if removed.is_empty() { "not told".to_owned() } else { removed.join(", ") };
            format!("\nended      with {end} after: {after}\nremoved    {removed}\n")
        }
        _ => "\nended      not recorded\n".to_owned(),
    };
    if !session.header.kept.is_empty() {
        let _ = writeln!(text, "left in    {}", session.header.kept.join(", "));
    }
    text
}
