//! A recording for people: what was called, what passed, how long it took, what was scrubbed.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::{MessageKind, Turn, find_turns};
use crate::recording::{End, Payload, Session};

/// The overview as text.
pub fn render_overview(session: &Session) -> String {
    let turns = find_turns(session);
    let mut text = render_header(session, turns.len());
    if !turns.is_empty() {
        text += "\n turn   asked at  first line      result       bytes  ending\n";
    }
    for (number, turn) in (1..).zip(&turns) {
        text += &render_turn(session, number, turn);
    }
    text += "\nmessages\n";
    for ((channel, name), count) in count_messages(session) {
        let _ = writeln!(text, "  {channel:<3} {count:>6}  {name}");
    }
    text + &render_ending(session)
}

fn render_header(session: &Session, turns: usize) -> String {
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

fn render_turn(session: &Session, number: usize, turn: &Turn) -> String {
    let events = &session.events;
    let after = |index: Option<usize>| {
        index.map_or_else(
            || "-".to_owned(),
            |index| format!("{} ms", events[index].ms.saturating_sub(events[turn.prompt].ms)),
        )
    };
    let bytes: usize = turn.first.zip(turn.result).map_or(0, |(first, last)| {
        events[first..=last]
            .iter()
            .filter(|event| matches!(event.payload, Payload::Out(_)))
            .map(|e| e.payload.text().len())
            .sum()
    });
    let ending = turn.result.and_then(|result| MessageKind::parse(events[result].payload.text()));
    let ending = ending.and_then(|label| label.subtype).unwrap_or_else(|| "no result".to_owned());
    let asked = format!("{} ms", events[turn.prompt].ms);
    format!("{number:>5} {asked:>10} {:>11} {:>11} {bytes:>11}  {ending}\n", after(turn.first), after(turn.result))
}

fn count_messages(session: &Session) -> BTreeMap<(&'static str, String), usize> {
    let mut counts = BTreeMap::new();
    for event in &session.events {
        let channel = match event.payload {
            Payload::In(_) => "in",
            Payload::Out(_) => "out",
            Payload::Err(_) => "err",
            Payload::Exit { .. } => continue,
        };
        let name = MessageKind::parse(event.payload.text()).map_or_else(|| "text".to_owned(), |label| label.name());
        *counts.entry((channel, name)).or_default() += 1;
    }
    counts
}

fn render_ending(session: &Session) -> String {
    let mut text = match session.events.last().map(|event| &event.payload) {
        Some(Payload::Exit { end, after, removed }) => {
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
