//! A reply in the lines of a recorded turn: other words, another end, silence between.

use std::time::Duration;

use serde_json::{Value, json};

use super::answer::{Quota, Reply, Words};
use super::dialect::Dialect;
use super::line::{Kind, Line};
use super::script::{Act, Ending, Step, Turn};

/// The length of a piece of text, in characters: about what the recorded pieces have.
const PIECE: usize = 40;
/// A text has at least so many pieces, if it has so many characters.
const FEWEST: usize = 4;
/// A text has no more pieces: longer ones have longer pieces.
const MOST: usize = 200;

/// The turn in which the reply is played, made from the recorded one; none where no recording has lines for it.
pub(super) fn wrap(reply: &Reply, recorded: Option<&Turn>, dialect: &Dialect) -> Option<Turn> {
    let mut steps = match &reply.words {
        Words::Use(_) => return None,
        Words::Recorded => recorded.or_else(|| dialect.answered())?.steps.clone(),
        Words::Text(text) | Words::Json(text) => {
            let base = recorded.filter(|turn| is_plain(turn)).or_else(|| dialect.answered())?;
            with_text(&base.steps, text)
        }
        Words::Error(status) => dialect.failed(*status)?,
    };
    if let Some(reason) = reply.stop_reason {
        for step in &mut steps {
            stop_with(step, reason);
        }
    }
    let first = steps.iter().position(begins_reply).unwrap_or(steps.len());
    if let Some(quota) = reply.quota {
        let session = lines(&steps).find_map(|line| line.session.clone()).unwrap_or_default();
        steps.insert(first, now(Act::Say(quota_line(quota, &session))));
    }
    let first = first + usize::from(reply.quota.is_some());
    if !reply.slow.is_zero() {
        steps.insert(first, now(Act::Wait(reply.slow)));
    }
    if !reply.drip.is_zero() {
        steps = dripping(steps, reply.drip);
    }
    Some(Turn::new(steps))
}

/// A turn whose text can be any other: one text, in deltas, and nobody asked in between.
fn is_plain(turn: &Turn) -> bool {
    let count = |kind| lines(&turn.steps).filter(|line| line.kind == kind).count();
    turn.ending == Ending::Answered
        && count(Kind::TextDelta) > 0
        && count(Kind::AssistantText) == 1
        && turn.steps.iter().all(|step| matches!(step.act, Act::Say(_) | Act::Complain(_)))
}

/// These steps with another text.
pub(super) fn with_text(steps: &[Step], text: &str) -> Vec<Step> {
    let is_delta = |step: &Step| says(step, |kind| kind == Kind::TextDelta);
    let deltas: Vec<&Step> = steps.iter().filter(|step| is_delta(step)).collect();
    let mut pieces = pieces(text).into_iter().zip(deltas.into_iter().cycle()).map(|(piece, step)| retold(step, piece));
    let mut made = Vec::new();
    for step in steps {
        if is_delta(step) {
            // All of them at the place of the first one.
            made.extend(pieces.by_ref());
        } else if says(step, |kind| matches!(kind, Kind::AssistantText | Kind::Result)) {
            made.push(retold(step, text));
        } else {
            made.push(step.clone());
        }
    }
    made
}

fn retold(step: &Step, text: &str) -> Step {
    let act = match &step.act {
        Act::Say(line) => Act::Say(Line::new(&line.with_text(text))),
        other => other.clone(),
    };
    Step { gap: step.gap, act }
}

/// A text in pieces; an empty one is one piece.
fn pieces(text: &str) -> Vec<&str> {
    let characters = text.chars().count();
    let length = PIECE.min(characters / FEWEST).max(characters.div_ceil(MOST)).max(1);
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

fn dripping(steps: Vec<Step>, drip: Duration) -> Vec<Step> {
    let mut made = Vec::with_capacity(steps.len());
    let mut is_later = false;
    for step in steps {
        let is_delta = says(&step, |kind| kind == Kind::TextDelta);
        if is_delta && is_later {
            made.push(now(Act::Wait(drip)));
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
    *line = line.changed(|json| {
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
    says(step, |kind| kind == Kind::AssistantText || kind.ends_turn() || (kind.is_partial() && kind != Kind::Status))
}

fn says(step: &Step, wanted: impl Fn(Kind) -> bool) -> bool {
    matches!(&step.act, Act::Say(line) if wanted(line.kind))
}

fn lines(steps: &[Step]) -> impl Iterator<Item = &Line> {
    steps.iter().filter_map(|step| match &step.act {
        Act::Say(line) => Some(line),
        _ => None,
    })
}

fn now(act: Act) -> Step {
    Step { gap: Duration::ZERO, act }
}

#[cfg(test)]
mod tests {
    use super::pieces;

    #[test]
    fn a_text_comes_in_several_pieces_but_not_too_many() {
        for (text, count) in [("", 1), ("a", 1), ("äöü", 3), ("12345678", 4), (&"é".repeat(400), 10)] {
            assert_eq!((pieces(text).concat().as_str(), pieces(text).len()), (text, count));
        }
        assert_eq!(pieces(&"x".repeat(1_000_000)).len(), 200);
    }
}
