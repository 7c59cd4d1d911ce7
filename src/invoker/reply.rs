//! Puts one turn's reply together from the CLI's events. Pure.

use std::time::Duration;

use crate::cli::event::{ControlError, TurnResult};
use crate::turn::{Completion, TurnError};

/// The reply of the running turn, as far as it has come.
#[derive(Debug, Default)]
pub struct Reply {
    text: String,
    model: Option<String>,
    stop_reason: Option<String>,
    /// Until the account's quota is renewed, once the CLI has said that it is used up.
    quota_in: Option<Duration>,
}

/// How a `result` ends a reply.
#[derive(Debug, PartialEq)]
pub struct Finished {
    /// Text that the deltas did not bring.
    pub tail: Option<String>,
    /// The whole.
    pub outcome: Result<Completion, TurnError>,
}

impl Reply {
    /// The model that answers.
    pub fn model(&mut self, model: Option<String>) {
        self.model = model.or_else(|| self.model.take());
    }

    /// A piece of text. False: the reply is longer than `limit` bytes and must not go on.
    #[must_use]
    pub fn delta(&mut self, text: &str, limit: usize) -> bool {
        self.text.push_str(text);
        self.text.len() <= limit
    }

    /// The API's stop reason.
    pub fn stop_reason(&mut self, reason: String) {
        self.stop_reason = Some(reason);
    }

    /// The account's quota is used up, until it is renewed.
    pub fn quota_in(&mut self, resets_in: Duration) {
        self.quota_in = Some(resets_in);
    }

    /// Whether no text has come yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    /// The end. A CLI that sends no deltas has its text in the result alone; a result can also lack its text, or have
    /// only that of the last message: then the deltas are the reply.
    #[must_use]
    pub fn finish(mut self, result: TurnResult) -> Finished {
        if !result.is_success() {
            return Finished { tail: None, outcome: Err(refusal(result, self.quota_in)) };
        }
        let usage = result.usage();
        let tail = result.result.as_deref().and_then(|whole| whole.strip_prefix(self.text.as_str()));
        let tail = tail.filter(|t| !t.is_empty()).map(str::to_owned);
        self.text.push_str(tail.as_deref().unwrap_or_default());
        let stop_reason = result.stop_reason.or(self.stop_reason);
        let completion = Completion { text: self.text, model: self.model, stop_reason, usage };
        Finished { tail, outcome: Ok(completion) }
    }
}

fn refusal(result: TurnResult, quota_in: Option<Duration>) -> TurnError {
    let message = result.result.unwrap_or_else(|| format!("the CLI ended the turn with {:?}", result.subtype));
    if result.subtype == "success" {
        let status = result.api_error_status.or_else(|| status_in(&message));
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

/// How a turn ends whose model the CLI refused. For a name that it does not know, 2.1.330 asks the API first; what the
/// API says then need not be about the model.
#[must_use]
pub fn not_switched(model: String, error: ControlError) -> TurnError {
    let ControlError { words, code } = error;
    let (status, retry_after) = match code.as_deref() {
        Some("rate_limit") => (Some(429), Some(RETRY_AFTER)),
        Some("auth_failed") => (Some(401), None),
        Some("check_server_error" | "check_failed") => (status_in(&words), None),
        _ => return TurnError::UnknownModel { model, words },
    };
    TurnError::Api { status, message: words, retry_after }
}

/// Older versions (2.1.19) tell the status in the words alone: `API Error: 529 {…}`.
fn status_in(message: &str) -> Option<u16> {
    let words = message.strip_prefix("API Error: ").or_else(|| message.strip_prefix("API error: "))?;
    let status = words.split(' ').next()?.parse().ok()?;
    (400..600).contains(&status).then_some(status)
}

/// The CLI does not pass the API's own Retry-After on; it has already tried again with growing delays by itself.
const RETRY_AFTER: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    fn success(text: Option<&str>) -> TurnResult {
        TurnResult { subtype: "success".to_owned(), result: text.map(str::to_owned), ..TurnResult::default() }
    }

    fn finish(deltas: &[&str], result: TurnResult) -> Finished {
        let mut reply = Reply::default();
        for delta in deltas {
            assert!(reply.delta(delta, 1000));
        }
        reply.finish(result)
    }

    #[test]
    fn text_that_came_twice_is_there_once() {
        let finished = finish(&["a", "b"], success(Some("ab")));
        assert_eq!((finished.tail, finished.outcome.unwrap().text), (None, "ab".to_owned()));
    }

    #[test]
    fn without_deltas_the_result_is_the_reply() {
        let finished = finish(&[], success(Some("ab")));
        assert_eq!((finished.tail.as_deref(), finished.outcome.unwrap().text.as_str()), (Some("ab"), "ab"));
    }

    #[test]
    fn a_result_without_its_text_is_made_from_the_deltas() {
        for text in [None, Some("a"), Some("other")] {
            let finished = finish(&["a", "b"], success(text));
            assert_eq!((finished.tail, finished.outcome.unwrap().text), (None, "ab".to_owned()));
        }
    }

    #[test]
    fn an_api_error_is_never_a_reply() {
        let result =
            TurnResult { is_error: true, api_error_status: Some(529), ..success(Some("API Error: overloaded")) };
        let TurnError::Api { status, retry_after, .. } = finish(&[], result).outcome.unwrap_err() else { panic!() };
        assert_eq!((status, retry_after), (Some(529), Some(RETRY_AFTER)));
    }

    #[test]
    fn a_spent_quota_tells_when_it_is_renewed() {
        let refused = || TurnResult { is_error: true, api_error_status: Some(429), ..success(Some("API Error: 429")) };
        let mut reply = Reply::default();
        reply.quota_in(Duration::from_mins(7));
        for (reply, expected) in [(reply, Duration::from_mins(7)), (Reply::default(), RETRY_AFTER)] {
            let Err(TurnError::Api { retry_after, .. }) = reply.finish(refused()).outcome else { panic!() };
            assert_eq!(retry_after, Some(expected));
        }
    }

    #[test]
    fn an_older_cli_tells_the_status_in_its_words() {
        for (words, status) in
            [("API Error: 529 {\"type\":\"error\"}", Some(529)), ("API Error: 7", None), ("no", None)]
        {
            let result = TurnResult { is_error: true, ..success(Some(words)) };
            let Err(TurnError::Api { status: found, .. }) = finish(&[], result).outcome else { panic!("{words}") };
            assert_eq!(found, status);
        }
    }

    #[test]
    fn a_model_that_could_not_be_checked_is_not_called_unknown() {
        let refused = |code: Option<&str>, words: &str| {
            not_switched("m".to_owned(), ControlError { words: words.to_owned(), code: code.map(str::to_owned) })
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
        assert!(reply.delta("1234", 4));
        assert!(!reply.delta("5", 4));
    }
}
