//! A reply in the lines of a recorded turn: other words, another end, silence between.

use std::time::Duration;

use serde_json::{Value, json};

use super::answer::{Content, Quota, Reply};
use super::dialect::Dialect;
use super::line::{Kind, Line};
use super::script::{Act, Ending, Step, Turn};

/// The length of a piece of text, in characters: about what the recorded pieces have.
const PIECE_CHARS: usize = 40;
/// A text has at least so many pieces, if it has so many characters.
const MIN_PIECES: usize = 4;
/// A text has no more pieces: longer ones have longer pieces.
const MAX_PIECES: usize = 200;

/// The turn in which the reply is played, made from the recorded one; none where no recording has lines for it.
pub(super) fn wrap_reply(reply: &Reply, recorded: Option<&Turn>, dialect: &Dialect) -> Option<Turn> {
    let mut steps = match &reply.content {
        Content::Use(_) => return None,
        Content::Recorded => recorded.or_else(|| dialect.plain_turn())?.steps.clone(),
        Content::Text(text) | Content::Json(text) => {
            let base = recorded.filter(|turn| is_plain(turn)).or_else(|| dialect.plain_turn())?;
            with_text(&base.steps, text)
        }
        Content::Error(status) => dialect.error_steps(*status)?,
    };
    if let Some(reason) = reply.stop_reason {
        for step in &mut steps {
            stop_with(step, reason);
        }
    }
    let first = steps.iter().position(begins_reply).unwrap_or(steps.len());
    if let Some(quota) = reply.quota {
        let session = said_lines(&steps).find_map(|line| line.session.clone()).unwrap_or_default();
        steps.insert(first, immediate(Act::Say(quota_line(quota, &session))));
    }
    let first = first + usize::from(reply.quota.is_some());
    if !reply.first_delay.is_zero() {
        steps.insert(first, immediate(Act::Wait(reply.first_delay)));
    }
    if !reply.piece_delay.is_zero() {
        steps = add_delays(steps, reply.piece_delay);
    }
    Some(Turn::new(steps))
}

/// A turn whose text can be any other: one text, in deltas, and nobody asked in between.
fn is_plain(turn: &Turn) -> bool {
    let count = |kind| said_lines(&turn.steps).filter(|line| line.kind == kind).count();
    turn.ending == Ending::Answered
        && count(Kind::TextDelta) > 0
        && count(Kind::AssistantText) == 1
        && turn.steps.iter().all(|step| matches!(step.act, Act::Say(_) | Act::Complain(_)))
}

/// These steps with another text.
pub(super) fn with_text(steps: &[Step], text: &str) -> Vec<Step> {
    let is_delta = |step: &Step| is_line(step, |kind| kind == Kind::TextDelta);
    let deltas: Vec<&Step> = steps.iter().filter(|step| is_delta(step)).collect();
    let mut pieces =
        split_pieces(text).into_iter().zip(deltas.into_iter().cycle()).map(|(piece, step)| with_line_text(step, piece));
    let mut made = Vec::new();
    for step in steps {
        if is_delta(step) {
            // All of them at the place of the first one.
            made.extend(pieces.by_ref());
        } else if is_line(step, |kind| matches!(kind, Kind::AssistantText | Kind::Result)) {
            made.push(with_line_text(step, text));
        } else {
            made.push(step.clone());
        }
    }
    made
}

fn with_line_text(step: &Step, text: &str) -> Step {
    let act = match &step.act {
        Act::Say(line) => Act::Say(Line::new(&line.with_text(text))),
        other => other.clone(),
    };
    Step { gap: step.gap, act }
}

/// A text in pieces; an empty one is one piece.
fn split_pieces(text: &str) -> Vec<&str> {
    let characters = text.chars().count();
    let length = PIECE_CHARS.min(characters / MIN_PIECES).max(characters.div_ceil(MAX_PIECES)).max(1);
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some((end, _)) = rest.char_indices().nth(length) {
        let (piece, after) = rest.split_at(end);
        pieces.push(piece);
        rest = after;
    }
    pieces.push(rest);
    pieces
}

fn add_delays(steps: Vec<Step>, drip: Duration) -> Vec<Step> {
    let mut made = Vec::with_capacity(steps.len());
    let mut is_later = false;
    for step in steps {
        let is_delta = is_line(&step, |kind| kind == Kind::TextDelta);
        if is_delta && is_later {
            made.push(immediate(Act::Wait(drip)));
        }
        is_later |= is_delta;
        made.push(step);
    }
    made
}

fn stop_with(step: &mut Step, reason: &str) {
    let Act::Say(line) = &mut step.act else { return };
    let key = match line.kind {
        Kind::MessageDelta => "/event/delta/stop_reason",
        Kind::Result => "/stop_reason",
        _ => return,
    };
    *line = line.edit_json(|json| {
        if let Some(found) = json.pointer_mut(key) {
            *found = Value::from(reason);
        }
    });
}

fn quota_line(quota: Quota, session: &str) -> Line {
    let (status, utilization) = if quota.rejected { ("rejected", 1.0) } else { ("allowed_warning", 0.9) };
    let info = json!({
        "status": status,
        "resetsAt": quota.resets_at.as_secs(),
        "rateLimitType": "five_hour",
        "utilization": utilization,
    });
    let uuid = "00000000-0000-4000-a000-000000000001";
    Line::new(
        &json!({"type": "rate_limit_event", "rate_limit_info": info, "uuid": uuid, "session_id": session}).to_string(),
    )
}

fn begins_reply(step: &Step) -> bool {
    is_line(step, |kind| kind == Kind::AssistantText || kind.ends_turn() || (kind.is_partial() && kind != Kind::Status))
}

fn is_line(step: &Step, wanted: impl Fn(Kind) -> bool) -> bool {
    matches!(&step.act, Act::Say(line) if wanted(line.kind))
}

fn said_lines(steps: &[Step]) -> impl Iterator<Item = &Line> {
    steps.iter().filter_map(|step| match &step.act {
        Act::Say(line) => Some(line),
        _ => None,
    })
}

fn immediate(act: Act) -> Step {
    Step { gap: Duration::ZERO, act }
}

#[cfg(test)]
mod tests {
    use super::split_pieces;

    #[test]
    fn a_text_comes_in_several_pieces_but_not_too_many() {
        for (text, count) in [("", 1), ("a", 1), ("äöü", 3), ("12345678", 4), (&"é".repeat(400), 10)] {
            assert_eq!((split_pieces(text).concat().as_str(), split_pieces(text).len()), (text, count));
        }
        assert_eq!(split_pieces(&"x".repeat(1_000_000)).len(), 200);
    }
}
