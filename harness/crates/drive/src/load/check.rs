//! Whether a reply is exactly its own.
//!
//! A prompt carries `[[mark:HEX]]`. The mock CLI puts `⟦HEX⟧` before every piece of the reply and `⟦/HEX⟧` after the
//! last one. A piece of somebody else's reply shows by its mark, a missing end by the missing end mark, and anything
//! changed by the text that remains, which has to be one of the recording's.

use crate::load::reply::{Kind, Reply};
use crate::load::script::Script;
use crate::load::want::{Said, Want};
use crate::load::{Ask, Ending};
use leakgate_judge::text::truncate;

const OPEN: char = '⟦';
const CLOSE: char = '⟧';

/// What a prompt carries so that its reply can be told from every other.
#[must_use]
pub(crate) fn marker(mark: &str) -> String {
    format!("[[mark:{mark}]]")
}

/// Judges what the reply to a request said.
#[must_use]
pub fn said(said: &Said, ask: &Ask, script: &Script) -> Ending {
    match ask.want {
        Want::Text => reply(&said.text, &ask.mark, script),
        want => want.judge(said, &ask.mark),
    }
}

/// Judges the reply of a server that is not ours: it may be of any kind and say anything, as long as every mark in it is its
/// own.
#[must_use]
pub fn marked(reply: &Reply, mark: &str) -> Ending {
    let found: Vec<&str> = reply.strings().flat_map(marks).map(|name| name.trim_start_matches('/')).collect();
    let bytes = reply.content_bytes() as u64;
    match (found.iter().find(|&&name| name != mark), reply.kind()) {
        (Some(foreign), _) => Ending::MixedUp(format!("it carries the mark {foreign} of another request")),
        (None, Kind::Text) if found.is_empty() => Ending::Unmarked(bytes),
        (None, Kind::Text) => Ending::Complete(bytes),
        (None, kind) => Ending::NoText(kind, bytes),
    }
}

/// All marks in a text.
#[must_use]
pub fn marks(text: &str) -> Vec<&str> {
    let inside = text.split(OPEN).skip(1).filter_map(|rest| rest.split_once(CLOSE));
    inside.map(|(name, _)| name).filter(|name| is_mark(name)).collect()
}

/// Judges the whole `text` of the reply to the request with `mark`.
#[must_use]
pub fn reply(text: &str, mark: &str, script: &Script) -> Ending {
    let mut stripped = String::with_capacity(text.len());
    let (mut rest, mut own, mut ended) = (text, 0_u32, false);
    while let Some(start) = rest.find(OPEN) {
        let (before, from) = rest.split_at(start);
        stripped.push_str(before);
        let inside = &from[OPEN.len_utf8()..];
        let Some((name, after)) = inside.split_once(CLOSE).filter(|(name, _)| is_mark(name)) else {
            stripped.push(OPEN);
            rest = inside;
            continue;
        };
        if ended {
            return Ending::MixedUp(format!("it goes on after its end mark: {}", shorten(from)));
        }
        match name.strip_prefix('/') {
            None if name == mark => own += 1,
            Some(end) if end == mark => ended = true,
            _ => return Ending::MixedUp(format!("it carries the mark {name} of another request")),
        }
        rest = after;
    }
    stripped.push_str(rest);
    judge(&stripped, own, ended, ended && !rest.is_empty(), script)
}

fn judge(stripped: &str, own: u32, ended: bool, trailing: bool, script: &Script) -> Ending {
    if own == 0 {
        return Ending::MixedUp(format!("it lacks its own mark: {}", shorten(stripped)));
    }
    if !ended {
        return Ending::MixedUp(format!("it is cut: it ends with {}", shorten_front(stripped)));
    }
    if trailing {
        return Ending::MixedUp("it goes on after its end mark".to_owned());
    }
    if !script.is_reply(stripped) {
        return Ending::MixedUp(format!("its text is none of the recording's: {}", shorten(stripped)));
    }
    Ending::Complete(stripped.len() as u64)
}

fn is_mark(name: &str) -> bool {
    let hex = name.strip_prefix('/').unwrap_or(name);
    hex.len() >= 8 && hex.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// The start of `text`, for a message.
#[must_use]
pub fn shorten(text: &str) -> String {
    format!("{:?}", truncate(text, 120))
}

fn shorten_front(text: &str) -> String {
    let skipped = text.chars().count().saturating_sub(40);
    let end: String = text.chars().skip(skipped).collect();
    format!("{end:?}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const MARK: &str = "00c0ffee";

    fn check(text: &str) -> Ending {
        reply(text, MARK, &Script::new(vec!["q".to_owned()], vec!["one ⟦two⟧".to_owned(), String::new()]))
    }

    fn is_mixed_up(text: &str, why: &str) {
        match check(text) {
            Ending::MixedUp(what) => assert!(what.contains(why), "{what}"),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_marked_reply_of_the_recording_is_complete() {
        assert_eq!(check("⟦00c0ffee⟧one ⟦00c0ffee⟧⟦two⟧⟦/00c0ffee⟧"), Ending::Complete(13));
    }

    #[test]
    fn a_foreign_mark_is_noticed() {
        is_mixed_up("⟦00c0ffee⟧one ⟦deadbeef⟧⟦two⟧⟦/00c0ffee⟧", "mark deadbeef of another");
        is_mixed_up("⟦00c0ffee⟧one ⟦two⟧⟦/deadbeef⟧", "mark /deadbeef of another");
    }

    #[test]
    fn a_reply_of_another_server_may_say_anything_but_another_mark() {
        let said = |message: serde_json::Value| {
            let body = serde_json::json!({"choices": [{"message": message, "finish_reason": "stop"}]});
            marked(&Reply::from_completion(&body).unwrap(), MARK)
        };
        let text = |text: &str| said(serde_json::json!({"content": text}));
        assert_eq!(text("Well: ⟦00c0ffee⟧one"), Ending::Complete(23));
        assert_eq!(text("one"), Ending::Unmarked(3));
        assert!(matches!(text("⟦00c0ffee⟧one⟦/deadbeef⟧"), Ending::MixedUp(_)));
        let refused = |refusal: &str| said(serde_json::json!({"content": null, "refusal": refusal}));
        assert_eq!(refused("I can't."), Ending::NoText(Kind::Refusal, 8));
        assert!(matches!(refused("⟦deadbeef⟧I can't."), Ending::MixedUp(_)));
        let calls = |mark: &str| {
            let arguments = format!("{{\"owner\": \"⟦{mark}⟧\"}}");
            said(serde_json::json!({"tool_calls": [{"id": "a", "function": {"name": "f", "arguments": arguments}}]}))
        };
        assert!(matches!(calls(MARK), Ending::NoText(Kind::ToolCalls, _)));
        assert!(matches!(calls("deadbeef"), Ending::MixedUp(_)));
    }

    #[test]
    fn a_missing_mark_is_noticed() {
        is_mixed_up("one ⟦two⟧", "lacks its own mark");
    }

    #[test]
    fn a_cut_reply_is_noticed() {
        is_mixed_up("⟦00c0ffee⟧one ", "cut");
        is_mixed_up("⟦00c0ffee⟧one ⟦00c0", "cut");
    }

    #[test]
    fn a_reply_that_goes_on_is_noticed() {
        is_mixed_up("⟦00c0ffee⟧one ⟦two⟧⟦/00c0ffee⟧⟦00c0ffee⟧one ⟦two⟧⟦/00c0ffee⟧", "goes on");
        is_mixed_up("⟦00c0ffee⟧one ⟦two⟧⟦/00c0ffee⟧more", "goes on");
    }

    #[test]
    fn a_changed_text_is_noticed() {
        is_mixed_up("⟦00c0ffee⟧one twice⟦/00c0ffee⟧", "none of the recording's");
    }
}
