//! When an invoker is replaced, and how failures are answered. Pure.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::config::Config;

/// From this share of a limit on, a standby is started while the old invoker goes on serving. A start takes 0.3 to
/// 1.1 s, a turn seldom less: one fifth of ten turns is time enough.
pub const STANDBY_AT: f64 = 0.8;

/// The limits at which an invoker is replaced.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limits {
    /// Turns served.
    pub turns: u32,
    /// Tokens in the conversation.
    pub tokens: u64,
    /// Time since the start.
    pub age: Duration,
    /// Time since the last turn.
    pub idle: Duration,
    /// RSS of the process tree, in bytes.
    pub rss: u64,
}

impl From<&Config> for Limits {
    fn from(config: &Config) -> Self {
        Self {
            turns: config.max_turns,
            tokens: config.max_context_tokens,
            age: config.max_age,
            idle: config.max_idle,
            rss: config.max_cli_rss_mb.saturating_mul(1_000_000),
        }
    }
}

/// What an invoker has used of its limits.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Wear {
    /// Turns started.
    pub turns: u32,
    /// Tokens in the conversation.
    pub tokens: u64,
    /// When it was started.
    pub started: Instant,
    /// When its last turn ended, or it became ready.
    pub idle_since: Instant,
    /// RSS of the process tree, in bytes.
    pub rss: u64,
}

impl Wear {
    /// The share of the limit that is used most, 1 being the limit, and that limit's name.
    #[must_use]
    pub fn share(&self, limits: &Limits, now: Instant) -> (f64, &'static str) {
        #[expect(clippy::cast_precision_loss, reason = "a share needs no more digits than an f64 has")]
        let of = |used: u64, limit: u64| used as f64 / limit.max(1) as f64;
        let time = |since: Instant, limit: Duration| now.saturating_duration_since(since).div_duration_f64(limit);
        [
            (of(self.turns.into(), limits.turns.into()), "turns"),
            (of(self.tokens, limits.tokens), "tokens"),
            (of(self.rss, limits.rss), "memory"),
            (time(self.started, limits.age), "age"),
            (time(self.idle_since, limits.idle), "idle"),
        ]
        .into_iter()
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .unwrap_or((0.0, "turns"))
    }

    /// When time alone brings [`Wear::share`] to [`STANDBY_AT`] or to 1, whichever comes next.
    #[must_use]
    pub fn next_change(&self, limits: &Limits, now: Instant) -> Option<Instant> {
        [(self.started, limits.age), (self.idle_since, limits.idle)]
            .into_iter()
            .flat_map(|(since, limit)| [since + limit.mul_f64(STANDBY_AT), since + limit])
            .filter(|at| *at > now)
            .min()
    }
}

/// How long to wait before the next start: full jitter (a uniform part of a doubling ceiling), so that several
/// servers on one machine do not start in step. The first failure after a turn that worked costs nothing: one crash
/// is no reason to let requests wait.
///
/// Source: M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
#[must_use]
pub fn backoff(failures_in_a_row: u32, rng: &mut fastrand::Rng) -> Duration {
    let Some(doublings) = failures_in_a_row.checked_sub(2) else { return Duration::ZERO };
    let ceiling = BACKOFF_FIRST.saturating_mul(2_u32.saturating_pow(doublings)).min(BACKOFF_MOST);
    ceiling.mul_f64(rng.f64())
}

const BACKOFF_FIRST: Duration = Duration::from_millis(500);
const BACKOFF_MOST: Duration = Duration::from_secs(30);

/// Counts failures in a sliding window.
#[derive(Debug, Clone)]
pub struct Intensity {
    most: usize,
    window: Duration,
    failures: VecDeque<Instant>,
}

impl Intensity {
    /// More than `most` failures within `window` are too many.
    #[must_use]
    pub fn new(most: usize, window: Duration) -> Self {
        // All the memory that it will ever need.
        Self { most, window, failures: VecDeque::with_capacity(most + 2) }
    }

    /// Notes a failure; true: that was one too many.
    #[must_use]
    pub fn failed(&mut self, now: Instant) -> bool {
        self.failures.push_back(now);
        while self.failures.front().is_some_and(|at| now.saturating_duration_since(*at) > self.window) {
            self.failures.pop_front();
        }
        let too_many = self.failures.len() > self.most;
        if too_many {
            // The newest ones decide from here on.
            self.failures.pop_front();
        }
        too_many
    }

    /// Forgets all failures.
    pub fn clear(&mut self) {
        self.failures.clear();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMITS: Limits = Limits {
        turns: 10,
        tokens: 1000,
        age: Duration::from_secs(1000),
        idle: Duration::from_secs(100),
        rss: 1_000_000,
    };

    #[test]
    fn the_limit_that_is_nearest_names_the_reason() {
        let now = Instant::now();
        let fresh = Wear { turns: 0, tokens: 0, started: now, idle_since: now, rss: 0 };
        let share = |wear: Wear, after: u64| wear.share(&LIMITS, now + Duration::from_secs(after));
        assert_eq!(share(Wear { turns: 8, tokens: 799, ..fresh }, 0), (0.8, "turns"));
        assert_eq!(share(Wear { turns: 8, tokens: 900, ..fresh }, 0), (0.9, "tokens"));
        assert_eq!(share(Wear { rss: 2_000_000, ..fresh }, 0), (2.0, "memory"));
        assert_eq!(share(fresh, 90), (0.9, "idle"));
        assert_eq!(share(Wear { idle_since: now + Duration::from_secs(950), ..fresh }, 950), (0.95, "age"));
    }

    #[test]
    fn the_first_failure_waits_for_nothing_and_later_ones_longer_and_longer() {
        let mut rng = fastrand::Rng::with_seed(1);
        assert_eq!(backoff(1, &mut rng), Duration::ZERO);
        let longest = |n: u32, rng: &mut fastrand::Rng| (0..1000).map(|_| backoff(n, rng)).max().unwrap();
        let waits: Vec<Duration> = (2..10).map(|n| longest(n, &mut rng)).collect();
        assert!(waits.is_sorted() || waits.iter().rev().take(2).all(|w| *w > Duration::from_secs(29)), "{waits:?}");
        assert!(waits.iter().all(|w| *w <= BACKOFF_MOST));
        assert!(waits[0] > Duration::from_millis(450) && waits[0] <= BACKOFF_FIRST);
    }

    proptest! {
        #[test]
        fn intensity_is_exceeded_exactly_when_more_than_most_lie_in_the_window(gaps in prop::collection::vec(0_u64..20, 1..60)) {
            let start = Instant::now();
            let mut intensity = Intensity::new(5, Duration::from_mins(1));
            let mut at = Vec::new();
            for gap in gaps {
                let now = at.last().copied().unwrap_or(start) + Duration::from_secs(gap);
                at.push(now);
                let recent = at.iter().filter(|t| now.duration_since(**t) <= Duration::from_mins(1)).count();
                prop_assert_eq!(intensity.failed(now), recent > 5);
            }
        }
    }
}
