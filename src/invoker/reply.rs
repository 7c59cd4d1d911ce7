//! Puts one turn's reply together from the CLI's events. Pure.

use std::time::Duration;

use crate::claude::event::{ControlError, TurnResult};
use crate::turn::{Completion, TurnError, Usage};

/// The reply of the running turn, as far as it has come.
#[derive(Debug, Default)]
pub(crate) struct Reply {
    /// Text of the deltas.
    text: String,
    /// Bytes of `text` that completed blocks have repeated.
    confirmed: usize,
    /// Text of completed blocks beyond that of the deltas.
    rest: String,
    /// A completed block differs from its deltas.
    contradicts: bool,
    model: Option<String>,
    stop_reason: Option<String>,
    /// Until the account's quota is renewed, once the CLI has said that it is used up.
    quota_in: Option<Duration>,
}

/// How a `result` ends a reply.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Finished {
    /// Text that the deltas did not bring.
    pub tail: Option<String>,
    /// The whole.
    pub outcome: Result<Completion, TurnError>,
    /// The turn's tokens.
    pub usage: Usage,
}

/// The text of a `result` is not the text of its turn, so it may be another client's reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the text of a result is not the text of its turn")]
pub(crate) struct ForeignResult;

impl Reply {
    /// Stores the model, if the line names one.
    pub(crate) fn set_model(&mut self, model: Option<String>) {
        self.model = model.or_else(|| self.model.take());
    }

    /// Adds a delta. Returns false if the reply is longer than `limit` bytes and has to be ended.
    #[must_use]
    pub(crate) fn add_delta(&mut self, text: &str, limit: usize) -> bool {
        // Pieces of one block after the whole of another, which had none: their order is lost.
        self.contradicts |= !self.rest.is_empty();
        self.text.push_str(text);
        self.text.len() + self.rest.len() <= limit
    }

    /// Adds the whole text of a block. Returns false if the reply is longer than `limit` bytes and has to be ended.
    #[must_use]
    pub(crate) fn add_block(&mut self, text: &str, limit: usize) -> bool {
        let open = &self.text[self.confirmed..];
        if self.rest.is_empty() && open.starts_with(text) {
            self.confirmed += text.len();
        } else if let Some(rest) = text.strip_prefix(open).filter(|_| self.text.is_empty() || !open.is_empty()) {
            self.confirmed = self.text.len();
            self.rest.push_str(rest);
        } else {
            self.contradicts = true;
        }
        self.text.len() + self.rest.len() <= limit
    }

    /// Stores the API's stop reason.
    pub(crate) fn set_stop_reason(&mut self, reason: String) {
        self.stop_reason = Some(reason);
    }

    /// Stores the time until the used-up quota is renewed.
    pub(crate) fn set_quota_reset(&mut self, resets_in: Duration) {
        self.quota_in = Some(resets_in);
    }

    /// The end. A result of success repeats the text of its turn, or that of the turn's last block; it can also lack its
    /// text or have a part of it, and then the completed blocks are the reply. Any other text is not this turn's.
    pub(crate) fn finish(mut self, result: TurnResult) -> Result<Finished, ForeignResult> {
        let usage = result.usage();
        if !result.is_success() {
            return Ok(Finished { tail: None, outcome: Err(result_error(result, self.quota_in)), usage });
        }
        // Blocks alone do not show that none of them came twice.
        let is_complete = !self.contradicts && self.confirmed == self.text.len() && self.rest.is_empty();
        self.text.push_str(&self.rest);
        let text = self.text.as_str();
        let repeated = result.result.as_deref().unwrap_or_default();
        let is_own = if text.is_empty() {
            // Nothing shows whose an empty reply is, but that the API has ended a message in this turn.
            repeated.is_empty() && self.stop_reason.is_some()
        } else {
            repeated == text || is_complete && (text.starts_with(repeated) || text.ends_with(repeated))
        };
        if !is_own {
            return Err(ForeignResult);
        }
        let tail = Some(self.rest).filter(|rest| !rest.is_empty());
        let stop_reason = result.stop_reason.or(self.stop_reason);
        let completion = Completion { text: self.text, model: self.model, stop_reason, usage };
        Ok(Finished { tail, outcome: Ok(completion), usage })
    }
}

fn result_error(result: TurnResult, quota_in: Option<Duration>) -> TurnError {
    let message = result.result.unwrap_or_else(|| format!("the CLI ended the turn with {:?}", result.subtype));
    if result.subtype == "success" {
        let status = result.api_error_status.or_else(|| parse_status(&message));
        let retry_after = match status {
            Some(429) => quota_in.or(Some(RETRY_AFTER)),
            Some(503 | 529) => Some(RETRY_AFTER),
            _ => None,
        };
        TurnError::Api { status, message, retry_after }
    } else {
        TurnError::Cli(message)
    }
}

/// The error of a turn whose model the CLI refused. For an unknown name, 2.1.330 asks the API first, and the API's error
/// need not be about the model.
#[must_use]
pub(crate) fn model_switch_error(model: String, error: ControlError) -> TurnError {
    let ControlError { words, code } = error;
    let (status, retry_after) = match code.as_deref() {
        Some("rate_limit") => (Some(429), Some(RETRY_AFTER)),
        Some("auth_failed") => (Some(401), None),
        Some("check_server_error" | "check_failed") => (parse_status(&words), None),
        _ => return TurnError::UnknownModel { model, words },
    };
    TurnError::Api { status, message: words, retry_after }
}

/// Reads the status from the message: 2.1.19 has no field for it, only `API Error: 529 {…}`.
fn parse_status(message: &str) -> Option<u16> {
    let words = message.strip_prefix("API Error: ").or_else(|| message.strip_prefix("API error: "))?;
    let status = words.split(' ').next()?.parse().ok()?;
    (400..600).contains(&status).then_some(status)
}

/// A guess: the CLI does not show the API's Retry-After, and has already retried with growing delays itself.
const RETRY_AFTER: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    fn success(text: Option<&str>) -> TurnResult {
        TurnResult { subtype: "success".to_owned(), result: text.map(str::to_owned), ..TurnResult::default() }
    }

    /// A reply of which these pieces and these whole blocks have come.
    fn reply(deltas: &[&str], blocks: &[&str]) -> Reply {
        let mut reply = Reply::default();
        for delta in deltas {
            assert!(reply.add_delta(delta, 1000));
        }
        for block in blocks {
            assert!(reply.add_block(block, 1000));
        }
        reply
    }

    fn finish(reply: Reply, result: TurnResult) -> Finished {
        reply.finish(result).unwrap()
    }

    #[test]
    fn text_that_came_three_times_is_there_once() {
        let finished = finish(reply(&["a", "b"], &["ab"]), success(Some("ab")));
        assert_eq!((finished.tail, finished.outcome.unwrap().text), (None, "ab".to_owned()));
    }

    #[test]
    fn without_deltas_the_blocks_are_the_reply() {
        let finished = finish(reply(&[], &["a", "b"]), success(Some("ab")));
        assert_eq!((finished.tail.as_deref(), finished.outcome.unwrap().text.as_str()), (Some("ab"), "ab"));
    }

    #[test]
    fn a_block_may_go_on_where_its_deltas_stopped() {
        let finished = finish(reply(&["a"], &["ab"]), success(Some("ab")));
        assert_eq!((finished.tail.as_deref(), finished.outcome.unwrap().text.as_str()), (Some("b"), "ab"));
    }

    #[test]
    fn a_result_that_lacks_its_text_or_a_part_of_it_is_completed_from_the_blocks() {
        assert_eq!(reply(&["ab"], &["ab", "ab"]).finish(success(None)), Err(ForeignResult), "a block that came twice");
        assert_eq!(reply(&[], &["ab", "ab"]).finish(success(Some("ab"))), Err(ForeignResult));
        for text in [None, Some(""), Some("a"), Some("b")] {
            let finished = finish(reply(&["a", "b"], &["ab"]), success(text));
            assert_eq!((finished.tail, finished.outcome.unwrap().text), (None, "ab".to_owned()), "{text:?}");
        }
    }

    #[test]
    fn a_result_without_blocks_needs_exactly_the_text_of_the_deltas() {
        assert_eq!(finish(reply(&["a", "b"], &[]), success(Some("ab"))).outcome.unwrap().text, "ab");
        for text in [None, Some(""), Some("a"), Some("b"), Some("abc"), Some("other")] {
            assert_eq!(reply(&["a", "b"], &[]).finish(success(text)), Err(ForeignResult), "{text:?}");
        }
    }

    #[test]
    fn a_result_with_the_text_of_another_turn_never_ends_this_one() {
        let began: [(&[&str], &[&str]); 5] =
            [(&[], &[]), (&["a"], &[]), (&["a"], &["a"]), (&["a", "b"], &["a"]), (&["late", "own"], &["own"])];
        for (deltas, blocks) in began {
            assert_eq!(
                reply(deltas, blocks).finish(success(Some("other"))),
                Err(ForeignResult),
                "{deltas:?} {blocks:?}"
            );
        }
        assert_eq!(reply(&["late", "own"], &["own"]).finish(success(Some("own"))), Err(ForeignResult));
    }

    #[test]
    fn an_empty_reply_is_believed_only_when_the_api_has_ended_a_message() {
        assert_eq!(reply(&[], &[]).finish(success(Some(""))), Err(ForeignResult));
        let mut ended = reply(&[], &[""]);
        ended.set_stop_reason("end_turn".to_owned());
        assert_eq!(finish(ended, success(Some(""))).outcome.unwrap().text, "");
    }

    #[test]
    fn an_api_error_is_never_a_reply() {
        let result =
            TurnResult { is_error: true, api_error_status: Some(529), ..success(Some("API Error: overloaded")) };
        let TurnError::Api { status, retry_after, .. } = finish(Reply::default(), result).outcome.unwrap_err() else {
            panic!()
        };
        assert_eq!((status, retry_after), (Some(529), Some(RETRY_AFTER)));
    }

    #[test]
    fn a_spent_quota_tells_when_it_is_renewed() {
        let refused = || TurnResult { is_error: true, api_error_status: Some(429), ..success(Some("API Error: 429")) };
        let mut reply = Reply::default();
        reply.set_quota_reset(Duration::from_mins(7));
        for (reply, expected) in [(reply, Duration::from_mins(7)), (Reply::default(), RETRY_AFTER)] {
            let Err(TurnError::Api { retry_after, .. }) = finish(reply, refused()).outcome else { panic!() };
            assert_eq!(retry_after, Some(expected));
        }
    }

    #[test]
    fn an_older_cli_tells_the_status_in_its_words() {
        for (words, status) in
            [("API Error: 529 {\"type\":\"error\"}", Some(529)), ("API Error: 7", None), ("no", None)]
        {
            let result = TurnResult { is_error: true, ..success(Some(words)) };
            let Err(TurnError::Api { status: found, .. }) = finish(Reply::default(), result).outcome else {
                panic!("{words}")
            };
            assert_eq!(found, status);
        }
    }

    #[test]
    fn a_model_that_could_not_be_checked_is_not_called_unknown() {
        let refused = |code: Option<&str>, words: &str| {
            model_switch_error("m".to_owned(), ControlError { words: words.to_owned(), code: code.map(str::to_owned) })
        };
        for code in [Some("not_found"), Some("catalog_unknown"), Some("check_rejected"), Some("new"), None] {
            let expected = TurnError::UnknownModel { model: "m".to_owned(), words: "no".to_owned() };
            assert_eq!(refused(code, "no"), expected, "{code:?}");
        }
        let busy = "API error: 529 overloaded · model not changed";
        for (code, words, expected) in [
            ("rate_limit", "API error: 429 slow down", Some(429)),
            ("auth_failed", "Authentication failed.", Some(401)),
            ("check_server_error", busy, Some(529)),
            ("check_failed", "Unable to validate model: the socket was closed", None),
        ] {
            let TurnError::Api { status, .. } = refused(Some(code), words) else { panic!("{code}") };
            assert_eq!(status, expected, "{code}");
        }
    }

    #[test]
    fn a_reply_over_the_limit_is_noticed() {
        let mut reply = Reply::default();
        assert!(reply.add_delta("1234", 4));
        assert!(reply.add_block("1234", 4));
        assert!(!reply.add_delta("5", 4));
        assert!(!Reply::default().add_block("12345", 4));
    }
}
