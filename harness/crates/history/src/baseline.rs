//! A baseline: a night that was accepted explicitly, with which later nights are compared.

use super::{Conclusion, Night};
use leakgate_judge::sample::Environment;

/// An accepted night.
#[derive(Debug, Clone, PartialEq)]
pub struct Baseline {
    /// Its number; 0 until it is in the history.
    pub id: i64,
    /// The night's number.
    pub night: i64,
    /// When it was accepted, in seconds since 1970-01-01 UTC.
    pub accepted_unix: u64,
    /// The person who accepted it.
    pub by: String,
    /// Why.
    pub reason: String,
    /// The kept programs: the name of their folder below `builds`.
    pub build: String,
    /// Where and with what the night was made.
    pub environment: Environment,
}

/// Why a night cannot be accepted, and what to do. A night that regressed or is over a budget can be: that it is meant
/// to be so is what an explicit command with a reason is for.
pub fn refusal_reason(night: &Night) -> Option<String> {
    let id = night.id;
    match Conclusion::from(night.verdict) {
        Conclusion::Leak => Some(format!(
            "night {id} is a LEAK ({}): fix it, or add an exception with an owner and an expiry date, and accept \
             the next night",
            night.summary
        )),
        Conclusion::Invalid => {
            Some(format!("night {id} is INVALID ({}): it proves nothing; accept another", night.summary))
        }
        _ if night.controls == 0 => Some(format!(
            "night {id} ran without controls, so nothing shows that its gate detects leaks; accept one that ran with them"
        )),
        _ if night.targets.is_empty() => Some(format!("night {id} measured nothing; accept another")),
        _ => None,
    }
}
