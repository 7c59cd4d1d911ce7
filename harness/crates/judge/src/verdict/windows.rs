//! The judged half of a memory series, cut into windows: their medians, how much was gained, and how much is noise.
//!
//! Growth is what was gained above the lowest window, up to the last window or up to the last readings, whichever is more:
//! a leak that begins late, or one step near the end, moves no median before the last and yet is there.
//!
//! Noise is measured by falls alone, because a leak gives nothing back: a steady one, a staircase or a single step has no
//! fall, and so cannot raise its own tolerance.

use super::trend::{MIN_POINTS_PER_WINDOW, WINDOWS};
use super::words::to_f64;
use crate::sample::{TargetRun, TracePoint};
use crate::statistics;

/// The last half of a run in four windows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Windows {
    /// The median of each, in bytes.
    pub(super) medians: [f64; WINDOWS],
    /// The restarts or turns that each covers.
    pub(super) length: f64,
    /// Restarts or turns of the whole run.
    pub(super) total: f64,
    /// Growth over the judged half, in bytes for each restart or turn.
    pub(super) growth: f64,
    /// Growth from the first readings to the first window, in bytes.
    pub(super) warm_up: f64,
    /// How far the median of a window went down and up again, in bytes.
    pub(super) swing: f64,
    /// How far two medians may be apart by the scatter of their readings, in bytes.
    pub(super) scatter: f64,
}

impl Windows {
    /// Splits the last half of the restarts or turns. Fails, in words, when there is too little to judge by.
    pub(super) fn of(run: &TargetRun, value: impl Fn(&TracePoint) -> u64) -> Result<Self, String> {
        let steps = |point: &TracePoint| to_f64(point.steps(run.plan.growth_unit()));
        let total = run.trace.last().map_or(0.0, steps);
        let length = total / 2.0 / 4.0;
        let judged: Vec<(f64, u64)> =
            run.trace.iter().map(|point| (steps(point), value(point))).filter(|(at, _)| *at > total / 2.0).collect();
        let values = split_windows(&judged, total);
        let fewest = values.iter().map(Vec::len).min().unwrap_or(0);
        if fewest < MIN_POINTS_PER_WINDOW {
            return Err(format!(
                "too short for a trend: a window has {fewest} readings and needs {MIN_POINTS_PER_WINDOW}"
            ));
        }
        let medians = values.map(|window| median_of(&window));
        if medians.contains(&0.0) {
            return Err("anon_pss could not be read: it is 0".to_owned());
        }
        let readings: Vec<u64> = judged.iter().map(|(_, value)| *value).collect();
        let growth = growth_above_lowest(medians, length, &judged);
        let start: Vec<u64> = run.trace.iter().take(MIN_POINTS_PER_WINDOW).map(value).collect();
        let [first, ..] = medians;
        let warm_up = (first - median_of(&start)).max(0.0);
        Ok(Self {
            medians,
            length,
            total,
            growth,
            warm_up,
            swing: measure_swing(&readings),
            scatter: measure_scatter(&readings),
        })
    }

    /// The rises from each window to the next, in bytes for each restart or turn.
    pub(super) fn growth_rates(self) -> [f64; WINDOWS - 1] {
        let [a, b, c, d] = self.medians;
        [b - a, c - b, d - c].map(|rise| rise / self.length)
    }

    /// From the first window's median to the last's, in bytes for each restart or turn.
    pub(super) fn overall_rate(self) -> f64 {
        let [first, .., last] = self.medians;
        (last - first) / (3.0 * self.length)
    }
}

fn split_windows(judged: &[(f64, u64)], total: f64) -> [Vec<u64>; WINDOWS] {
    let mut values: [Vec<u64>; WINDOWS] = Default::default();
    let mut ends = [0.25, 0.5, 0.75, 1.0].map(|share| total / 2.0 * (1.0 + share)).into_iter().zip(&mut values);
    let mut current = ends.next();
    for &(at, value) in judged {
        while current.as_ref().is_some_and(|(end, _)| at > *end) {
            current = ends.next();
        }
        if let Some((_, window)) = &mut current {
            window.push(value);
        }
    }
    values
}

/// Growth above the lowest window, spread over the judged half. The end is the median of the last readings, so
/// that one wild reading is no growth.
fn growth_above_lowest(medians: [f64; WINDOWS], length: f64, judged: &[(f64, u64)]) -> f64 {
    let [before @ .., last] = medians;
    let lowest = before.into_iter().fold(f64::INFINITY, f64::min);
    let by_windows = (last - lowest) / (3.0 * length);
    let (_, end) = judged.split_at(judged.len().saturating_sub(MIN_POINTS_PER_WINDOW));
    let Some((at, _)) = end.get(end.len() / 2) else { return by_windows };
    let values: Vec<u64> = end.iter().map(|(_, value)| *value).collect();
    // From the middle of the first window: a steady leak has the same rate either way.
    let by_end = (median_of(&values) - lowest) / (at - 4.5 * length);
    by_windows.max(by_end)
}

/// Standard errors that a difference of two medians does not exceed by chance: three of them, and a median has 1.25 times
/// the standard error of a mean.
const ERRORS: f64 = 3.0 * 1.25 * std::f64::consts::SQRT_2;

/// Slow noise: the largest fall from one window to a later one, wherever they begin. Memory that only sinks is not noisy,
/// so a rise as large has to be there as well.
fn measure_swing(readings: &[u64]) -> f64 {
    let medians: Vec<f64> = readings.windows(per_window(readings)).map(median_of).collect();
    largest_fall(medians.iter().copied()).min(largest_fall(medians.iter().rev().copied()))
}

/// Fast noise: the root mean square of the falls from each reading to the next is the standard deviation of readings that do
/// not depend on each other, because half of the steps are falls.
fn measure_scatter(readings: &[u64]) -> f64 {
    let steps = readings.iter().zip(readings.iter().skip(1));
    let falls: f64 = steps.map(|(before, after)| to_f64(before.saturating_sub(*after)).powi(2)).sum();
    let steps = count_to_f64(readings.len().saturating_sub(1).max(1));
    ERRORS * (falls / steps).sqrt() / count_to_f64(per_window(readings)).sqrt()
}

fn per_window(readings: &[u64]) -> usize {
    (readings.len() / WINDOWS).max(1)
}

fn count_to_f64(readings: usize) -> f64 {
    to_f64(u64::try_from(readings).unwrap_or(u64::MAX))
}

/// From the highest so far to the lowest after it.
fn largest_fall(values: impl Iterator<Item = f64>) -> f64 {
    let (mut highest, mut fall) = (f64::NEG_INFINITY, 0.0_f64);
    for value in values {
        highest = highest.max(value);
        fall = fall.max(highest - value);
    }
    fall
}

fn median_of(values: &[u64]) -> f64 {
    let values: Vec<f64> = values.iter().copied().map(to_f64).collect();
    statistics::median(&values).unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leak_of_any_shape_has_no_noise() {
        let shapes: [fn(u64) -> u64; 4] = [
            |at| at * 1000,
            |at| at / 20 * 1_000_000,
            |at| if at < 40 { 0 } else { 500_000_000 },
            |at| at.saturating_sub(30) * 5000,
        ];
        for shape in shapes {
            let readings: Vec<u64> = (0..60).map(|at| 20_000_000 + shape(at)).collect();
            assert!(measure_swing(&readings) == 0.0 && measure_scatter(&readings) == 0.0, "{readings:?}");
        }
    }

    #[test]
    fn memory_that_only_sinks_does_not_swing() {
        let sinking: Vec<u64> = (0..60).map(|at| 90_000_000 - at * 100_000).collect();
        assert!(measure_swing(&sinking) == 0.0);
        // From the end to the middle a window of 15 readings falls by 22 MB of the 30.
        let swinging: Vec<u64> = (0..60_u64).map(|at| 20_000_000 + at.abs_diff(30) * 1_000_000).collect();
        assert!((15e6..30e6).contains(&measure_swing(&swinging)), "{}", measure_swing(&swinging));
    }

    #[test]
    fn scatter_is_three_standard_errors_of_the_difference_of_two_medians() {
        // 0 and 2 MB in turn have a standard deviation of 1 MB, and fall by 2 MB at every second step.
        let readings: Vec<u64> = (0..60).map(|at| 1 + at % 2 * 2_000_000).collect();
        let expected = ERRORS * 2e6 * (29.0_f64 / 59.0).sqrt() / 15.0_f64.sqrt();
        assert!((measure_scatter(&readings) - expected).abs() < 1.0, "{}", measure_scatter(&readings));
    }

    #[test]
    fn growth_counts_from_the_lowest_window_to_the_last_readings() {
        let judged = |of: fn(u64) -> u64| (61..=120).map(|at| (to_f64(at), of(at))).collect::<Vec<_>>();
        let steady = judged(|at| at * 1000);
        assert!((growth_above_lowest([68e3, 83e3, 98e3, 113e3], 15.0, &steady) - 1000.0).abs() < 20.0);
        let stepped = judged(|at| if at < 117 { 1 } else { 500_000_000 });
        assert!(growth_above_lowest([1.0; WINDOWS], 15.0, &stepped) > 9e6);
        let one_wild_reading = judged(|at| if at < 120 { 1 } else { 500_000_000 });
        assert!(growth_above_lowest([1.0; WINDOWS], 15.0, &one_wild_reading) == 0.0);
        let sank_first = judged(|_| 90_000_000);
        assert!(growth_above_lowest([90e6, 30e6, 60e6, 90e6], 15.0, &sank_first) > 1e6);
    }
}
