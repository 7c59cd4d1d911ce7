//! Memory as the system sees it: noisy, so only a growth that lasts is a leak.
//!
//! Mann-Kendall and least squares raise false alarms on leak-free servers nearly always here (75 to 100 % of runs).
//! Instead: the last half of T restarts in K = 4 equal windows, the median of each, and the three rates between
//! neighbours, r = (median₂ − median₁) / window. A leak when the least of them is over b and the last is at least half
//! of the first; growing but slowing is saturating. Four medians without any trend lie in rising order one time in 24, so
//! a growth of a few pages in each window is saturating as well, until a run of twice the restarts shows it again: its
//! windows take twice as much of a leak, and no more of chance.
//!
//! The three rates decide whether a metric is LEAK. A PASS needs more: growth over the whole judged half, steps and
//! late leaks included, must not be above the smallest leak that the run claims to catch. Else a longer run is asked.
//!
//! The bounds are calibrated for our own server. The tolerance for another one comes from its run: what its length, its
//! noise and its warm-up allow, unless somebody chose a number. Where the noise is too large to claim anything useful, a
//! longer run is asked as well.
//!
//! Judged on the tree's anonymous proportional memory only; RSS is shown, because page cache and
//! shared pages move it.

use super::windows::Windows;
use super::words::{format_bytes, to_f64};
use super::{Class, Finding, MetricVerdict};
use crate::sample::{MAX_DOUBLINGS, Metric, TargetRun, TracePoint};

/// Windows in the last half.
pub(crate) const WINDOWS: usize = 4;

/// Readings that each window needs: the median of three still shrugs off one wild reading.
pub(crate) const MIN_POINTS_PER_WINDOW: usize = 3;

/// The bound for runs of at least `from` restarts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bound {
    /// T: restarts or turns.
    pub from: u64,
    /// b: no least rise up to this is a leak; one above it is, where two runs show it. In bytes for each of them.
    pub b: f64,
    /// The smallest steady leak that was seen in every trial of a run this long or shorter, in the same unit; between b and
    /// this it is a matter of luck.
    pub seen: f64,
}

/// The bounds by T, the longest first. b is a little less than a page of 4,096 bytes in each window of a run of T restarts
/// after a warm-up of 50. (`reports/reference/power`, which a test holds against this)
pub const BOUNDS: [Bound; 3] = [
    Bound { from: 1200, b: 24.0, seen: 64.0 },
    Bound { from: 600, b: 48.0, seen: 256.0 },
    Bound { from: 300, b: 90.0, seen: 256.0 },
];

/// A least rise of so many bounds is a leak at once, about as many pages in each window. The largest that a leak-free run
/// showed was two, and the medians of its windows lie up to 15 pages apart, so that each is above the one before it by five
/// at the very most.
pub const SURE: f64 = 8.0;

/// Memory that rose from each window to the next, and by so many bounds on the whole, is looked at again even where one
/// window shows little of it.
const NEAR: f64 = 2.0;

/// Growth per window that a server that is not ours may have, in bytes: an arena or a slab in four of them. The sound servers
/// in Python and bash gained 23 kB in the least of their windows, and 147 kB in the whole judged half. (`reports/METHODOLOGY.md`)
const OUTSIDE_FLOOR: f64 = 256e3;

/// The share of its growth before the judged half that a window of such a server may gain: a runtime that took 20 MB while
/// it warmed up has not taken everything yet. A steady leak gains a quarter of it in each window.
const OUTSIDE_SLOWED: f64 = 1.0 / 12.0;

/// The most that this allows a window, in bytes: what the sound Node example gained, which grows for 390 restarts.
const MAX_OUTSIDE_WARM_UP_GROWTH: f64 = 4e6;

/// A rise of so many bytes in each window is a leak at once: twice the least rise of any sound server.
const OUTSIDE_SURE: f64 = 8e6;

/// The most that a tolerance may be that nobody chose, in bytes for each restart or turn. Where the noise is larger the run
/// is too short.
pub(crate) const MAX_OUTSIDE_TOLERANCE: f64 = 256e3;

/// The leak-free runs that the bounds were held against, each at T = 300, 600 and 1,200; every scenario took its turn
/// (`reports/reference/power`).
pub const CLEAN_RUNS: u64 = 100;

/// The bound for T restarts: that of the largest T in [`BOUNDS`] that was reached. Below the table b grows with 1/T²,
/// faster than a page a window does, because a server is warming up there; it was not calibrated.
pub fn bound_for(restarts: f64) -> Bound {
    let [.., shortest] = BOUNDS;
    BOUNDS.into_iter().find(|bound| restarts >= to_f64(bound.from)).unwrap_or_else(|| {
        let wider = (to_f64(shortest.from) / restarts.max(1.0)).powi(2);
        Bound { from: 0, b: shortest.b * wider, seen: shortest.seen * wider }
    })
}

/// One of the windows that `judge_memory` compares.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Window {
    /// The restarts or turns before it.
    pub from: f64,
    /// The last restart or turn in it.
    pub to: f64,
    /// The median of its readings, in bytes.
    pub median: f64,
}

/// The windows by which [`Metric::AnonPss`] was judged, in order; absent where it was not.
pub fn windows_of(run: &TargetRun) -> Option<[Window; WINDOWS]> {
    if is_profiled(run) {
        return None;
    }
    let Windows { medians, length, .. } = Windows::of(run, |point| point.anon_pss).ok()?;
    // The first half of the run, which is not judged, is as long as the four windows.
    let mut from = 4.0 * length;
    Some(medians.map(|median| {
        let window = Window { from, to: from + length, median };
        from = window.to;
        window
    }))
}

/// The least of the three rises between neighbouring windows, in bytes for each restart or turn, had the run ended after
/// `steps` of them: what a bound is calibrated by. Absent where it is too short for that, or under dhat.
pub fn least_rise(run: &TargetRun, steps: u64) -> Option<f64> {
    let mut shorter = run.clone();
    shorter.trace.retain(|point| point.steps(run.plan.growth_unit()) <= steps);
    let reached = shorter.trace.last()?.steps(run.plan.growth_unit());
    if is_profiled(run) || to_f64(reached) < NEARLY * to_f64(steps) {
        return None;
    }
    let rates = Windows::of(&shorter, |point| point.anon_pss).ok()?.growth_rates();
    rates.into_iter().reduce(f64::min)
}

/// A run that has come so far of a length has that length.
const NEARLY: f64 = 0.95;

/// Judges [`Metric::AnonPss`]. Absent for a target under dhat, whose own bookkeeping is what grows there.
pub(crate) fn judge_memory(run: &TargetRun) -> Option<MetricVerdict> {
    if is_profiled(run) {
        return None;
    }
    let mut row = MetricVerdict::new(run, Metric::AnonPss, Class::Noisy);
    row.first = run.trace.first().map(|point| point.anon_pss);
    row.last = run.trace.last().map(|point| point.anon_pss);
    row.max = run.trace.iter().map(|point| point.anon_pss).max();
    let total = run.trace.last().map_or(0.0, |point| to_f64(point.steps(run.plan.growth_unit())));
    let bound = bound_for(total);
    (row.verdict, row.reason) = match Windows::of(run, |point| point.anon_pss) {
        Err(why) => {
            row.tolerance = bound.b;
            (Finding::Inconclusive, why)
        }
        Ok(windows) => {
            let limits = Limits::of(run, windows, bound);
            row.tolerance = limits.tolerance;
            row.growth_per_restart = Some(windows.growth);
            row.smallest_detectable = Some(limits.catches);
            decide_trend(windows, limits, Attempt::of(run), run.plan.growth_unit().name())
        }
    };
    Some(row)
}

/// The target carries dhat: its checkpoints have a heap.
pub fn is_profiled(run: &TargetRun) -> bool {
    let heap = [Metric::HeapBlocks, Metric::HeapBytes];
    run.checkpoints.iter().any(|point| heap.iter().any(|metric| point.values.contains_key(metric)))
}

/// The server's own process accounts for at least half of what the tree grew by: then it is the server's memory, and
/// what its exact heap says about it counts.
pub(super) fn is_the_servers_own(run: &TargetRun) -> bool {
    let grown = |of: fn(&TracePoint) -> u64| Windows::of(run, of).map_or(0.0, Windows::overall_rate);
    let tree = grown(|point| point.anon_pss);
    tree > 0.0 && grown(|point| point.server_rss) >= tree / 2.0
}

/// Limits that follow from the length and the noise of a run, in bytes per restart or turn.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Limits {
    /// Growth up to this is no leak.
    tolerance: f64,
    /// A least rise above it is a leak, where as many runs show it as the rule asks for.
    least: f64,
    /// A least rise above it is a leak at once.
    sure: f64,
    /// The smallest steady leak that the run claims to catch.
    catches: f64,
    /// The most that this may be, or the run is too noisy for its length.
    wanted: f64,
}

impl Limits {
    fn of(run: &TargetRun, windows: Windows, bound: Bound) -> Self {
        let length = windows.length;
        // What two readings may differ by says nothing about a rate until it lasts for a whole window.
        let calibrated = bound.b.max(to_f64(run.plan.memory_noise_mb) * 1e6 / length);
        let noise = windows.swing.max(windows.scatter) / length;
        let claim = |tolerance: f64| bound.seen.max(2.0 * tolerance);
        let limits = |tolerance: f64, most: f64| {
            let least = tolerance.max(noise);
            // A leak of that much rises by more than `least` in each window, whatever the noise takes from it.
            Self { tolerance, least, sure: least, catches: claim(tolerance).max(least + noise), wanted: claim(most) }
        };
        match run.plan.outside.as_ref().map(|outside| outside.memory_floor) {
            None => Self {
                tolerance: calibrated,
                least: calibrated,
                sure: SURE * calibrated,
                // Wild readings of our own server are single ones, which no median minds.
                catches: claim(calibrated).max(calibrated + windows.swing / length),
                wanted: f64::INFINITY,
            },
            Some(Some(chosen)) => {
                let chosen = calibrated.max(to_f64(chosen));
                limits(chosen, chosen)
            }
            Some(None) => {
                let warm_up = (windows.warm_up * OUTSIDE_SLOWED).min(MAX_OUTSIDE_WARM_UP_GROWTH) / length;
                let quiet = calibrated.max(OUTSIDE_FLOOR / length).max(warm_up.min(MAX_OUTSIDE_TOLERANCE));
                let limits = limits(quiet.max(noise), quiet.max(MAX_OUTSIDE_TOLERANCE));
                Self { sure: (OUTSIDE_SURE / length).max(2.0 * limits.least), ..limits }
            }
        }
    }
}

/// The position of a run among the repetitions of its scenario, each with twice the restarts of the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Attempt {
    First,
    Again,
    Last,
}

impl Attempt {
    fn of(run: &TargetRun) -> Self {
        let outside = run.plan.outside.as_ref().map(|outside| outside.memory_floor);
        match (run.plan.doubled, outside) {
            // A bound that somebody chose has room in it.
            (_, Some(Some(_))) | (MAX_DOUBLINGS.., _) => Self::Last,
            // A runtime with a garbage collector may grow for hundreds of restarts before it first collects.
            (0, _) | (_, Some(None)) => Self::First,
            _ => Self::Again,
        }
    }

    /// Whether a run of twice the restarts has to show a growth as well.
    fn cannot_tell(self, slowest: f64, overall: f64, limits: Limits) -> bool {
        let b = limits.least;
        let is_growing = slowest > 0.0 && overall > NEAR * b;
        match self {
            Self::First => slowest <= limits.sure && (slowest > b || is_growing),
            Self::Again => slowest <= b && is_growing,
            Self::Last => false,
        }
    }
}

/// Decides by the rates. Growth above what the run claims to catch never passes, whatever its shape: steps and a leak that
/// began late leave windows without a rise.
fn decide_trend(windows: Windows, limits: Limits, look: Attempt, per: &str) -> (Finding, String) {
    let Limits { tolerance, least, catches, wanted, .. } = limits;
    let rates = windows.growth_rates();
    let [first, .., last] = rates;
    let slowest = rates.iter().copied().fold(f64::INFINITY, f64::min);
    let [bound, claim, at_first, at_end, smallest, grown] =
        [tolerance, catches, first, last, slowest, windows.growth].map(format_bytes);
    if slowest > least && last < first / 2.0 {
        (Finding::Saturating, format!("anon_pss grew by {at_first} per {per} at first and by {at_end} at last"))
    } else if look.cannot_tell(slowest, windows.overall_rate(), limits) {
        let why = format!("in one window by {smallest} (bound {bound}): a longer run has to confirm it");
        (Finding::Saturating, format!("anon_pss grew by {grown} per {per}, {why}"))
    } else if slowest > least {
        (Finding::Leak, format!("anon_pss grew by {grown} per {per} without slowing (bound {bound})"))
    } else if windows.growth > catches {
        let why =
            format!("more than the smallest detectable leak ({claim}), but not steadily (in one window by {smallest})");
        (Finding::Saturating, format!("anon_pss grew by {grown} per {per}, {why}"))
    } else if catches > wanted {
        let needed = (windows.total * catches / wanted).ceil();
        let why = format!("the smallest detectable leak is {claim} per {per}, not {}", format_bytes(wanted));
        (
            Finding::Saturating,
            format!("anon_pss is too noisy for a run this short (about {needed:.0} {per}s needed): {why}"),
        )
    } else {
        (Finding::Pass, format!("anon_pss does not grow steadily (in one window by {smallest} per {per})"))
    }
}
