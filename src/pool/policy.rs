//! Limits, backoff and circuit breaker. Pure.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::config::Config;
use crate::invoker::reason::RestartReason;

/// The used share of a limit at which a standby is started while the old invoker goes on serving. A start takes 0.3 to
/// 1.1 s and a turn seldom less, so the last fifth of ten turns leaves enough time.
pub(crate) const STANDBY_AT: f64 = 0.8;

/// The limits at which an invoker is replaced.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Limits {
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

/// The usage of one invoker, to be compared with its [`Limits`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct LimitUsage {
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

impl LimitUsage {
    /// The share of the limit that is used most, 1 being the limit, and the reason that a restart would have.
    #[must_use]
    pub(crate) fn highest_share(&self, limits: &Limits, now: Instant) -> (f64, RestartReason) {
        #[expect(clippy::cast_precision_loss, reason = "a share needs no more digits than an f64 has")]
        let of = |used: u64, limit: u64| used as f64 / limit.max(1) as f64;
        let time = |since: Instant, limit: Duration| now.saturating_duration_since(since).div_duration_f64(limit);
        [
            (of(self.turns.into(), limits.turns.into()), RestartReason::Turns),
            (of(self.tokens, limits.tokens), RestartReason::Tokens),
            (of(self.rss, limits.rss), RestartReason::Memory),
            (time(self.started, limits.age), RestartReason::Age),
            (time(self.idle_since, limits.idle), RestartReason::Idle),
        ]
        .into_iter()
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .unwrap_or((0.0, RestartReason::Turns))
    }

    /// When time alone brings [`LimitUsage::highest_share`] to [`STANDBY_AT`] or to 1, whichever comes next.
    #[must_use]
    pub(crate) fn next_change(&self, limits: &Limits, now: Instant) -> Option<Instant> {
        [(self.started, limits.age), (self.idle_since, limits.idle)]
            .into_iter()
            .flat_map(|(since, limit)| [since + limit.mul_f64(STANDBY_AT), since + limit])
            .filter(|at| *at > now)
            .min()
    }
}

/// The wait before the next start: full jitter (a uniform share of a doubling ceiling), so that several servers on one
/// machine do not start in step. The first failure after a turn that worked adds no wait, because one crash is no reason to
/// delay requests.
///
/// Source: M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
#[must_use]
pub(crate) fn next_backoff(failures_in_a_row: u32, rng: &mut fastrand::Rng) -> Duration {
    let Some(doublings) = failures_in_a_row.checked_sub(2) else { return Duration::ZERO };
    let ceiling = FIRST_BACKOFF_CEILING.saturating_mul(2_u32.saturating_pow(doublings)).min(MAX_BACKOFF);
    ceiling.mul_f64(rng.f64())
}

const FIRST_BACKOFF_CEILING: Duration = Duration::from_millis(500);
const MAX_BACKOFF: Duration = Duration::from_secs(30);

/// The window moves in steps of one part, so that the breaker's memory does not grow with the number of attempts.
const WINDOW_PARTS: u32 = 12;

/// Opens when too many of the latest attempts failed: more than `max` of them within the window and at least half of all,
/// or more than `max` in a row, however long that takes. A share, because with many clients a few failures come within any
/// window; a number as well, because one failure of one attempt shows nothing.
#[derive(Debug, Clone)]
pub(crate) struct CircuitBreaker {
    max: usize,
    window: Duration,
    /// Recent attempts by the part of the window in which they ended, oldest first.
    parts: VecDeque<Attempts>,
    failures_in_a_row: usize,
}

#[derive(Debug, Clone, Copy)]
struct Attempts {
    since: Instant,
    successes: usize,
    failures: usize,
}

impl CircuitBreaker {
    /// A breaker that has seen nothing.
    #[must_use]
    pub(crate) fn new(max: usize, window: Duration) -> Self {
        // Allocated once, so that failures never change the heap.
        Self { max, window, parts: VecDeque::with_capacity(WINDOW_PARTS as usize + 2), failures_in_a_row: 0 }
    }

    /// Records an attempt that worked.
    pub(crate) fn record_success(&mut self, now: Instant) {
        self.failures_in_a_row = 0;
        self.current_part(now).successes += 1;
    }

    /// Records a failed attempt; returns true if the breaker opens.
    #[must_use]
    pub(crate) fn record_failure(&mut self, now: Instant) -> bool {
        self.failures_in_a_row = self.failures_in_a_row.saturating_add(1);
        self.current_part(now).failures += 1;
        let (successes, failures) = self
            .parts
            .iter()
            .fold((0, 0), |(successes, failures), part| (successes + part.successes, failures + part.failures));
        self.failures_in_a_row > self.max || failures > self.max && failures >= successes
    }

    /// Forgets everything.
    pub(crate) fn reset(&mut self) {
        self.parts.clear();
        self.failures_in_a_row = 0;
    }

    /// The attempts of the current part.
    fn current_part(&mut self, now: Instant) -> &mut Attempts {
        while self.parts.front().is_some_and(|part| now.saturating_duration_since(part.since) > self.window) {
            self.parts.pop_front();
        }
        let is_over = |part: &Attempts| now.saturating_duration_since(part.since) * WINDOW_PARTS >= self.window;
        if self.parts.back().is_none_or(is_over) {
            self.parts.push_back(Attempts { since: now, successes: 0, failures: 0 });
        }
        let current_part = self.parts.len() - 1;
        &mut self.parts[current_part]
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
        let fresh = LimitUsage { turns: 0, tokens: 0, started: now, idle_since: now, rss: 0 };
        let share = |used: LimitUsage, after: u64| used.highest_share(&LIMITS, now + Duration::from_secs(after));
        assert_eq!(share(LimitUsage { turns: 8, tokens: 799, ..fresh }, 0), (0.8, RestartReason::Turns));
        assert_eq!(share(LimitUsage { turns: 8, tokens: 900, ..fresh }, 0), (0.9, RestartReason::Tokens));
        assert_eq!(share(LimitUsage { rss: 2_000_000, ..fresh }, 0), (2.0, RestartReason::Memory));
        assert_eq!(share(fresh, 90), (0.9, RestartReason::Idle));
        assert_eq!(
            share(LimitUsage { idle_since: now + Duration::from_secs(950), ..fresh }, 950),
            (0.95, RestartReason::Age)
        );
    }

    #[test]
    fn the_first_failure_waits_for_nothing_and_later_ones_longer_and_longer() {
        let mut rng = fastrand::Rng::with_seed(1);
        assert_eq!(next_backoff(1, &mut rng), Duration::ZERO);
        let longest = |n: u32, rng: &mut fastrand::Rng| (0..1000).map(|_| next_backoff(n, rng)).max().unwrap();
        let waits: Vec<Duration> = (2..10).map(|n| longest(n, &mut rng)).collect();
        assert!(waits.is_sorted() || waits.iter().rev().take(2).all(|w| *w > Duration::from_secs(29)), "{waits:?}");
        assert!(waits.iter().all(|w| *w <= MAX_BACKOFF));
        assert!(waits[0] > Duration::from_millis(450) && waits[0] <= FIRST_BACKOFF_CEILING);
    }

    const WINDOW: Duration = Duration::from_mins(1);

    #[test]
    fn a_few_failures_among_many_successes_open_nothing_and_half_of_all_does() {
        for (successes, opens) in [(19, false), (2, false), (1, true)] {
            let (mut breaker, now) = (CircuitBreaker::new(5, WINDOW), Instant::now());
            let opened = (0..100).any(|_| {
                (0..successes).for_each(|_| breaker.record_success(now));
                breaker.record_failure(now)
            });
            assert_eq!(opened, opens, "{successes} successes to a failure");
        }
    }

    #[test]
    fn failures_in_a_row_open_however_far_apart_they_are() {
        let (mut breaker, mut now) = (CircuitBreaker::new(5, WINDOW), Instant::now());
        let opened: Vec<bool> = (0..7)
            .map(|_| {
                now += 10 * WINDOW;
                breaker.record_failure(now)
            })
            .collect();
        assert_eq!(opened, [false, false, false, false, false, true, true]);
        breaker.record_success(now);
        assert!(!breaker.record_failure(now + 10 * WINDOW), "a success in between");
    }

    #[test]
    fn attempts_that_have_left_the_window_count_no_more() {
        let (mut breaker, now) = (CircuitBreaker::new(3, WINDOW), Instant::now());
        (0..50).for_each(|_| breaker.record_success(now));
        assert!((0..3).all(|_| !breaker.record_failure(now)));
        let later = now + 2 * WINDOW;
        breaker.record_success(later);
        assert!((0..3).all(|_| !breaker.record_failure(later)), "those before it have left");
        assert!(breaker.record_failure(later), "and so have the successes");
    }

    proptest! {
        #[test]
        fn memory_is_bounded_and_no_success_share_above_half_opens_it_without_a_row(
            attempts in prop::collection::vec((any::<bool>(), 0_u64..20_000), 1..300),
        ) {
            let (mut breaker, mut now) = (CircuitBreaker::new(5, WINDOW), Instant::now());
            let (mut history, mut in_a_row): (Vec<(Instant, bool)>, usize) = (Vec::new(), 0);
            for (works, gap) in attempts {
                now += Duration::from_millis(gap);
                history.push((now, works));
                in_a_row = if works { 0 } else { in_a_row + 1 };
                let opened = if works { breaker.record_success(now); false } else { breaker.record_failure(now) };
                prop_assert!(breaker.parts.len() <= WINDOW_PARTS as usize + 2);
                // What certainly counts, and what can: a part leaves as a whole.
                let count = |window: Duration, works: bool| {
                    history.iter().filter(|(at, w)| now.duration_since(*at) <= window && *w == works).count()
                };
                let (inner, outer) = (WINDOW * (WINDOW_PARTS - 1) / WINDOW_PARTS, WINDOW);
                if opened {
                    prop_assert!(in_a_row > 5 || count(outer, false) > 5 && count(outer, false) >= count(inner, true));
                } else if !works {
                    prop_assert!(in_a_row <= 5 && (count(inner, false) <= 5 || count(inner, false) < count(outer, true)));
                }
            }
        }
    }
}
