//! Live heap by dhat: exact, but a healthy heap grows for a while, because caches fill and vectors double.
//!
//! Read at cumulative T, 2T and 4T restarts: a leak when growth(2T→4T) ≥ 1.3 × growth(T→2T) and above the floor. A
//! constant leak has ratio 2 there (the second interval is twice as long), a logarithmic cache 1, a full cache 0.
//! A leak that strikes at random has no constant rate: at three times the smallest detectable one, 1,500 simulated runs
//! for each of T = 10 to 600 called it LEAK in 73 to 89 %, SATURATING in nearly all others, and PASS in 0.5 % at most.
//!
//! For intervals of other lengths L1 and L2 the same rule is put on the rates: growth₂ / L2 ≥ 0.65 × growth₁ / L1.

use super::exact::metric_series;
use super::words::{format_rate, to_f64};
use super::{Class, Finding, MetricVerdict, words};
use crate::floor::{BLOCKS, BYTES, Floor};
use crate::sample::{Metric, TargetRun};

/// Readings that the rule needs.
pub(crate) const MIN_CHECKPOINTS: u64 = 3;

/// The least rate of the second interval, as a share of the first's, that is "not slowing down": half of 1.3, because
/// the rule was found with a second interval of twice the length.
pub(crate) const NOT_SLOWING: f64 = 1.3 / 2.0;

/// Three readings, as close to cumulative T, 2T and 4T as the checkpoints allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Three {
    start: (u64, u64),
    middle: (u64, u64),
    end: (u64, u64),
}

/// The readings by which a metric of the heap was judged, as restarts and value: at T, 2T and 4T.
pub fn judged_readings(run: &TargetRun, metric: Metric) -> Option<[(u64, u64); 3]> {
    let Three { start, middle, end } = choose_readings(&metric_series(run, metric)?)?;
    Some([start, middle, end])
}

/// Judges blocks and bytes where the target reports them. The checkpoints must be in order (`validity` sees to it).
pub(crate) fn judge_heap(run: &TargetRun) -> Vec<MetricVerdict> {
    [(Metric::HeapBlocks, BLOCKS), (Metric::HeapBytes, BYTES)]
        .into_iter()
        .filter_map(|(metric, floor)| judge_one(run, metric, floor))
        .collect()
}

fn judge_one(run: &TargetRun, metric: Metric, floor: Floor) -> Option<MetricVerdict> {
    let series = metric_series(run, metric)?;
    let three = choose_readings(&series)?;
    let restarts = to_f64(three.end.0 - three.middle.0);
    let smallest = floor.over(restarts) / restarts;
    let mut row = MetricVerdict::new(run, metric, Class::Heap);
    row.growth_per_restart = Some(growth_between(three.middle, three.end) / restarts);
    row.tolerance = smallest;
    row.smallest_detectable = Some(smallest);
    row.first = series.first().map(|&(_, value)| value);
    row.last = Some(three.end.1);
    row.max = series.iter().map(|&(_, value)| value).max();
    (row.verdict, row.reason) = decide_heap(metric, three, floor);
    Some(row)
}

/// The last reading, the one nearest to half of its restarts, and the one nearest to a quarter of them.
fn choose_readings(series: &[(u64, u64)]) -> Option<Three> {
    let (&end, rest) = series.split_last()?;
    // Not the very first as the middle: something must be left before it.
    let at = nearest_index(rest.get(1..)?, to_f64(end.0) / 2.0)? + 1;
    let middle = *rest.get(at)?;
    let before = rest.get(..at)?;
    let start = *before.get(nearest_index(before, to_f64(end.0) / 4.0)?)?;
    (start.0 < middle.0 && middle.0 < end.0).then_some(Three { start, middle, end })
}

fn nearest_index(series: &[(u64, u64)], restarts: f64) -> Option<usize> {
    let distance = |point: &(u64, u64)| (to_f64(point.0) - restarts).abs();
    series.iter().enumerate().min_by(|a, b| distance(a.1).total_cmp(&distance(b.1))).map(|(at, _)| at)
}

fn growth_between(from: (u64, u64), to: (u64, u64)) -> f64 {
    to_f64(to.1) - to_f64(from.1)
}

fn decide_heap(metric: Metric, three: Three, floor: Floor) -> (Finding, String) {
    let name = words::metric_name(metric);
    let (before, after) = (growth_between(three.start, three.middle), growth_between(three.middle, three.end));
    let (short, long) = (to_f64(three.middle.0 - three.start.0), to_f64(three.end.0 - three.middle.0));
    let per_restart = format_rate(metric, after / long);
    // A heap that shrank in the first interval has rate 0 there, not a debt that the second may fill unseen.
    let keeps_up = after / long >= NOT_SLOWING * before.max(0.0) / short;
    if after >= floor.over(long) && keeps_up {
        let grown =
            format!("{name} grew by {per_restart} per restart after restart {} without slowing", three.middle.0);
        return if after >= floor.sure {
            (Finding::Leak, grown)
        } else {
            (Finding::Saturating, format!("{grown}, which may be a first use"))
        };
    }
    if after > 0.0 && before + after >= floor.over(short + long) {
        let earlier = format_rate(metric, before / short);
        return (
            Finding::Saturating,
            format!("{name} grew by {earlier} per restart at first and then by {per_restart}"),
        );
    }
    if before >= floor.over(short) && !wide_apart(three) && metric == Metric::HeapBytes {
        return (
            Finding::Saturating,
            format!("{name} grew in one step; the checkpoints are too close to see the next"),
        );
    }
    if after > 0.0 {
        return (Finding::Pass, format!("{name} grew by {per_restart} per restart, below its floor"));
    }
    (Finding::Pass, format!("{name} did not grow after restart {}", three.middle.0))
}

/// A vector that only grows doubles at least once between any two readings whose restarts differ by a factor of two;
/// between closer ones it may show nothing.
fn wide_apart(three: Three) -> bool {
    let double = |from: u64, to: u64| from.checked_mul(2).is_some_and(|twice| to >= twice);
    double(three.start.0, three.middle.0) && double(three.middle.0, three.end.0)
}
