//! How long requests take while a restart is under way, beside those between restarts.
//!
//! The server is asked now and then, while load runs, whether it has more invokers than slots. From one answer to the
//! next it may have restarted unseen; such a gap counts as a restart when its count has risen. So a request that a
//! restart touched is never counted as one that none did.

use std::time::{Duration, Instant};

use crate::load::Timing;
use leakgate_judge::sample::{Latency, LatencyOf};

/// How often the server is asked.
pub(super) const PACE: Duration = Duration::from_millis(10);

/// When restarts were under way, and how long each request took.
#[derive(Debug, Default)]
pub(super) struct Latencies {
    /// Spans of time in which a restart was under way, in order; they may touch.
    spans: Vec<(Instant, Instant)>,
    /// The last look: when it was, the restarts until then, and whether one was under way.
    last: Option<(Instant, u64, bool)>,
    during: Vec<u64>,
    between: Vec<u64>,
}

impl Latencies {
    /// A look at the server at `now`, when it had made `restarts` and one was under way or not.
    pub(super) fn note_status(&mut self, now: Instant, restarts: u64, under_way: bool) {
        if let Some((before, count, was_under_way)) = self.last
            && (under_way || was_under_way || count != restarts)
        {
            match self.spans.last_mut() {
                Some((_, end)) if *end == before => *end = now,
                _ => self.spans.push((before, now)),
            }
        }
        self.last = Some((now, restarts, under_way));
    }

    /// Sorts the requests of a batch, all of whose looks have been taken.
    pub(super) fn assign_timings(&mut self, timings: &[Timing]) {
        for timing in timings {
            let touched = self.spans.iter().any(|&(start, end)| timing.start <= end && start <= timing.end);
            let micros = u64::try_from(timing.end.duration_since(timing.start).as_micros()).unwrap_or(u64::MAX);
            if touched { &mut self.during } else { &mut self.between }.push(micros);
        }
        // Spans of an earlier batch can touch no later request.
        self.spans.clear();
    }

    /// The percentiles to store; none without requests.
    pub(super) fn summary(&self) -> Option<Latency> {
        let is_empty = self.during.is_empty() && self.between.is_empty();
        (!is_empty).then(|| Latency { during: of(&self.during), between: of(&self.between) })
    }
}

fn of(micros: &[u64]) -> LatencyOf {
    let mut sorted = micros.to_vec();
    sorted.sort_unstable();
    let at = |percent: usize| {
        // Nearest rank: the smallest value that is not below so many percent of all.
        let rank = (sorted.len() * percent).div_ceil(100).max(1);
        sorted.get(rank - 1).copied().map_or(0.0, milliseconds)
    };
    LatencyOf { requests: sorted.len() as u64, p50_ms: at(50), p95_ms: at(95), max_ms: at(100) }
}

#[expect(clippy::cast_precision_loss, reason = "microseconds of a request stay far below 2^53")]
fn milliseconds(micros: u64) -> f64 {
    micros as f64 / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_that_a_restart_touches_is_told_from_the_others() {
        let start = Instant::now();
        let at = |ms: u64| start + Duration::from_millis(ms);
        let timing = |from, to| Timing { start: at(from), end: at(to) };
        let mut latencies = Latencies::default();
        for (ms, restarts, under_way) in [(0, 0, false), (10, 0, false), (20, 0, true), (30, 1, false), (40, 1, false)]
        {
            latencies.note_status(at(ms), restarts, under_way);
        }
        // A whole restart between two looks shows by its count alone.
        latencies.note_status(at(50), 2, false);
        latencies.assign_timings(&[
            timing(1, 9),
            timing(5, 11),
            timing(25, 26),
            timing(31, 39),
            timing(45, 46),
            timing(51, 60),
        ]);
        let summary = latencies.summary().unwrap();
        assert_eq!(summary.during, LatencyOf { requests: 3, p50_ms: 1.0, p95_ms: 6.0, max_ms: 6.0 });
        assert_eq!(summary.between, LatencyOf { requests: 3, p50_ms: 8.0, p95_ms: 9.0, max_ms: 9.0 });
    }

    #[test]
    fn percentiles_are_of_the_nearest_rank() {
        let micros: Vec<u64> = (1..=100).rev().map(|ms| ms * 1000).collect();
        assert_eq!(of(&micros), LatencyOf { requests: 100, p50_ms: 50.0, p95_ms: 95.0, max_ms: 100.0 });
        assert_eq!(of(&[7000]), LatencyOf { requests: 1, p50_ms: 7.0, p95_ms: 7.0, max_ms: 7.0 });
        assert_eq!(of(&[]).requests, 0);
    }
}
