//! How long a used-up quota is believed to last. Pure.

use std::time::Duration;

/// The longest window in which the vendor counts: seven days. The rest is for clocks that differ.
/// (`rateLimitType` of the recorded `rate_limit_event`s: `five_hour`, `seven_day`)
const MAX_WINDOW: Duration = Duration::from_hours(7 * 24 + 1);

/// How long requests are held for a reset that cannot be right.
const DOUBTFUL_HOLD: Duration = Duration::from_mins(5);

/// For how long the quota is used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QuotaHold {
    /// Until it is renewed, or has to be tried again.
    pub resets_in: Duration,
    /// The CLI named a time that cannot be right: after `resets_in` a single turn has to show whether the quota is renewed.
    pub is_doubtful: bool,
}

impl QuotaHold {
    /// For a quota that is renewed at `resets_at`; both times count from 1970-01-01 UTC.
    #[must_use]
    pub fn until(resets_at: Duration, now: Duration) -> Self {
        let resets_in = resets_at.saturating_sub(now);
        if resets_in > MAX_WINDOW {
            Self { resets_in: DOUBTFUL_HOLD, is_doubtful: true }
        } else {
            Self { resets_in, is_doubtful: false }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(1_790_000_000);

    fn hold(resets_at: u64) -> (u64, bool) {
        let QuotaHold { resets_in, is_doubtful } = QuotaHold::until(Duration::from_secs(resets_at), NOW);
        (resets_in.as_secs(), is_doubtful)
    }

    #[test]
    fn a_reset_within_the_longest_window_is_believed_and_a_later_one_is_not() {
        let week = 7 * 24 * 3600;
        assert_eq!(hold(NOW.as_secs() + 60), (60, false));
        assert_eq!(hold(NOW.as_secs() + week), (week, false));
        assert_eq!(hold(NOW.as_secs() - 60), (0, false));
        let doubtful = (DOUBTFUL_HOLD.as_secs(), true);
        assert_eq!(hold(NOW.as_secs() + week + 3601), doubtful);
        assert_eq!(hold(NOW.as_secs() * 1000), doubtful, "milliseconds");
        assert_eq!(hold(u64::MAX), doubtful);
    }
}
