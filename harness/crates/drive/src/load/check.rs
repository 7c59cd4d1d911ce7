//! Whether a reply is exactly its own.
//!
//! Marks ([`leakgate_session::mark`]) tell a piece of another request's reply, and a missing end. A changed text shows
//! because the text without the marks has to be one of the recording's.

use crate::load::reply::{Kind, Reply};
use crate::load::reply_format::{ExactReply, ReplyFormat};
use crate::load::script::Script;
use crate::load::{ChatRequest, RequestOutcome};
use leakgate_judge::text::truncate;
use leakgate_session::mark::{MarkError, find_in_reply, strip_marks};

/// Judges what the reply to a request said.
#[must_use]
pub fn judge_exact(reply: &ExactReply, request: &ChatRequest, script: &Script) -> RequestOutcome {
    match request.format {
        ReplyFormat::Text => judge_text(&reply.text, &request.mark, script),
        format => format.judge_reply(reply, &request.mark),
    }
}

/// Judges the reply of a server that is not ours: it may be of any kind and say anything, as long as every mark in it is its
/// own.
#[must_use]
pub fn judge_marks(reply: &Reply, mark: &str) -> RequestOutcome {
    let found: Vec<&str> = reply.strings().flat_map(find_in_reply).map(|name| name.trim_start_matches('/')).collect();
    let bytes = reply.content_bytes() as u64;
    match (found.iter().find(|&&name| name != mark), reply.kind()) {
        (Some(foreign), _) => RequestOutcome::MixedUp(format!("it carries the mark {foreign} of another request")),
        (None, Kind::Text) if found.is_empty() => RequestOutcome::Unmarked(bytes),
        (None, Kind::Text) => RequestOutcome::Complete(bytes),
        (None, kind) => RequestOutcome::NoText(kind, bytes),
    }
}

/// Judges the whole `text` of the reply to the request with `mark`.
#[must_use]
pub fn judge_text(text: &str, mark: &str, script: &Script) -> RequestOutcome {
    RequestOutcome::MixedUp(match strip_marks(text, mark) {
        Ok(text) if script.is_reply(&text) => return RequestOutcome::Complete(text.len() as u64),
        Ok(text) => format!("its text is none of the recording's: {}", excerpt(&text)),
        Err(MarkError::Foreign(other)) => format!("it carries the mark {other} of another request"),
        Err(MarkError::Missing(text)) => format!("it lacks its own mark: {}", excerpt(&text)),
        Err(MarkError::Cut(text)) => format!("it is cut: it ends with {}", excerpt_end(&text)),
        Err(MarkError::Trailing(more)) => format!("it goes on after its end mark: {}", excerpt(&more)),
    })
}

/// The start of `text`, for a message.
#[must_use]
pub fn excerpt(text: &str) -> String {
    format!("{:?}", truncate(text, 120))
}

fn excerpt_end(text: &str) -> String {
    let skipped = text.chars().count().saturating_sub(40);
    let end: String = text.chars().skip(skipped).collect();
    format!("{end:?}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const MARK: &str = "00c0ffee";

    fn check(text: &str) -> RequestOutcome {
        judge_text(text, MARK, &Script::new(vec!["q".to_owned()], vec!["one ⟦two⟧".to_owned(), String::new()]))
    }

    fn is_mixed_up(text: &str, why: &str) {
        match check(text) {
            RequestOutcome::MixedUp(what) => assert!(what.contains(why), "{what}"),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_marked_reply_of_the_recording_is_complete() {
        assert_eq!(check("⟦00c0ffee⟧one ⟦00c0ffee⟧⟦two⟧⟦/00c0ffee⟧"), RequestOutcome::Complete(13));
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
            judge_marks(&Reply::from_completion(&body).unwrap(), MARK)
        };
        let text = |text: &str| said(serde_json::json!({"content": text}));
        assert_eq!(text("Well: ⟦00c0ffee⟧one"), RequestOutcome::Complete(23));
        assert_eq!(text("one"), RequestOutcome::Unmarked(3));
        assert!(matches!(text("⟦00c0ffee⟧one⟦/deadbeef⟧"), RequestOutcome::MixedUp(_)));
        let refused = |refusal: &str| said(serde_json::json!({"content": null, "refusal": refusal}));
        assert_eq!(refused("I can't."), RequestOutcome::NoText(Kind::Refusal, 8));
        assert!(matches!(refused("⟦deadbeef⟧I can't."), RequestOutcome::MixedUp(_)));
        let calls = |mark: &str| {
            let arguments = format!("{{\"owner\": \"⟦{mark}⟧\"}}");
            said(serde_json::json!({"tool_calls": [{"id": "a", "function": {"name": "f", "arguments": arguments}}]}))
        };
        assert!(matches!(calls(MARK), RequestOutcome::NoText(Kind::ToolCalls, _)));
        assert!(matches!(calls("deadbeef"), RequestOutcome::MixedUp(_)));
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
