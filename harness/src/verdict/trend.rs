//! Memory as the system sees it: noisy, so only a growth that lasts is a leak.
//!
//! Mann-Kendall and least squares raise false alarms on leak-free servers nearly always here (75 to 100 % of runs).
//! Instead: the last half of T restarts in K = 4 equal windows, the median of each, and the three rates between
//! neighbours, r = (median₂ − median₁) / window. A leak when the least of them is over b and the last is at least half
//! of the first; growing but slowing is saturating. Four medians without any trend lie in rising order one time in 24, so
//! a growth of a few pages in each window is saturating as well, until a run of twice the restarts shows it again: its
//! windows take twice as much of a leak, and no more of chance.
//! Judged on the tree's anonymous proportional memory only; RSS is shown, because page cache and
//! shared pages move it.

use super::words::{bytes, float};
use super::{Class, Finding, SignalVerdict};
use crate::sample::{DOUBLED_AT_MOST, Signal, TargetRun, TracePoint};

/// Windows in the last half.
pub const WINDOWS: usize = 4;

/// Readings that each window needs: the median of three still shrugs off one wild reading.
pub const POINTS_PER_WINDOW: usize = 3;

/// What holds from so many restarts on.
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

/// The leak-free runs that the bounds were held against, each at T = 300, 600 and 1,200; every scenario took its turn
/// (`reports/reference/power`).
pub const CLEAN_RUNS: u64 = 100;

/// What holds for T restarts: the bound of the largest T in [`BOUNDS`] that was reached. Below the table b grows with 1/T²,
/// faster than a page a window does, because a server is warming up there; it was not calibrated.
pub fn bound(restarts: f64) -> Bound {
    let [.., shortest] = BOUNDS;
    BOUNDS.into_iter().find(|bound| restarts >= float(bound.from)).unwrap_or_else(|| {
        let wider = (float(shortest.from) / restarts.max(1.0)).powi(2);
        Bound { from: 0, b: shortest.b * wider, seen: shortest.seen * wider }
    })
}

/// The medians of the four windows, and the restarts that each covers.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Windows {
    medians: [f64; WINDOWS],
    length: f64,
}

/// One of the windows that [`judge`] compares.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Window {
    /// The restarts or turns before it.
    pub from: f64,
    /// The last restart or turn in it.
    pub to: f64,
    /// The median of its readings, in bytes.
    pub median: f64,
}

/// The windows by which [`Signal::AnonPss`] was judged, in order; absent where it was not.
pub fn windows_of(run: &TargetRun) -> Option<[Window; WINDOWS]> {
    if is_profiled(run) {
        return None;
    }
    let Windows { medians, length } = windows(run, |point| point.anon_pss).ok()?;
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
    shorter.trace.retain(|point| point.steps(run.plan.per()) <= steps);
    let reached = shorter.trace.last()?.steps(run.plan.per());
    if is_profiled(run) || float(reached) < NEARLY * float(steps) {
        return None;
    }
    let rates = windows(&shorter, |point| point.anon_pss).ok()?.rates();
    rates.into_iter().reduce(f64::min)
}

/// A run that has come so far of a length has that length.
const NEARLY: f64 = 0.95;

/// Judges [`Signal::AnonPss`]. Absent for a target under dhat, whose own bookkeeping is what grows there.
pub fn judge(run: &TargetRun) -> Option<SignalVerdict> {
    if is_profiled(run) {
        return None;
    }
    let mut row = SignalVerdict::new(run, Signal::AnonPss, Class::Noisy);
    row.first = run.trace.first().map(|point| point.anon_pss);
    row.last = run.trace.last().map(|point| point.anon_pss);
    row.max = run.trace.iter().map(|point| point.anon_pss).max();
    let total = run.trace.last().map_or(0.0, |point| float(point.steps(run.plan.per())));
    let bound = bound(total);
    row.tolerance = bound.b.max(run.plan.outside.as_ref().map_or(0.0, |outside| float(outside.memory_floor)));
    (row.verdict, row.reason) = match windows(run, |point| point.anon_pss) {
        Err(why) => (Finding::Inconclusive, why),
        Ok(windows) => {
            // What two readings may differ by says nothing about a rate until it lasts for a whole window.
            row.tolerance = row.tolerance.max(float(run.plan.memory_noise_mb) * 1e6 / windows.length);
            row.growth_per_restart = Some(windows.overall());
            // Twice the tolerance at least, whatever the tolerance is made of.
            row.smallest_detectable = Some(bound.seen.max(2.0 * row.tolerance));
            decide(windows, row.tolerance, Look::of(run), run.plan.per().name())
        }
    };
    Some(row)
}

/// The target carries dhat: its checkpoints have a heap.
pub fn is_profiled(run: &TargetRun) -> bool {
    let heap = [Signal::HeapBlocks, Signal::HeapBytes];
    run.checkpoints.iter().any(|point| heap.iter().any(|signal| point.values.contains_key(signal)))
}

/// The server's own process accounts for at least half of what the tree grew by: then it is the server's memory, and
/// what its exact heap says about it counts.
pub(super) fn is_the_servers_own(run: &TargetRun) -> bool {
    let grown = |of: fn(&TracePoint) -> u64| windows(run, of).map_or(0.0, Windows::overall);
    let tree = grown(|point| point.anon_pss);
    tree > 0.0 && grown(|point| point.server_rss) >= tree / 2.0
}

/// Which of the runs of one scenario this is, each of twice the restarts of the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Look {
    First,
    Again,
    Last,
}

impl Look {
    fn of(run: &TargetRun) -> Self {
        match run.plan.doubled {
            // A server that is not ours has a bound with room in it, and not every one can be started again.
            _ if run.plan.outside.is_some() => Self::Last,
            0 => Self::First,
            doubled if doubled < DOUBLED_AT_MOST => Self::Again,
            _ => Self::Last,
        }
    }

    /// Whether a run of twice the restarts has to show a growth as well.
    fn cannot_tell(self, slowest: f64, overall: f64, b: f64) -> bool {
        let is_growing = slowest > 0.0 && overall > NEAR * b;
        match self {
            Self::First => slowest <= SURE * b && (slowest > b || is_growing),
            Self::Again => slowest <= b && is_growing,
            Self::Last => false,
        }
    }
}

/// What the rates come to.
fn decide(windows: Windows, b: f64, look: Look, per: &str) -> (Finding, String) {
    let rates = windows.rates();
    let [first, .., last] = rates;
    let slowest = rates.iter().copied().fold(f64::INFINITY, f64::min);
    let [bound, at_first, at_end, smallest, overall] = [b, first, last, slowest, windows.overall()].map(bytes);
    if slowest > b && last < first / 2.0 {
        (Finding::Saturating, format!("anon_pss grew by {at_first} per {per} at first and by {at_end} at last"))
    } else if look.cannot_tell(slowest, windows.overall(), b) {
        let why = format!("in one window by {smallest} (bound {bound}): a longer run has to show it as well");
        (Finding::Saturating, format!("anon_pss grew by {overall} per {per}, {why}"))
    } else if slowest > b {
        (Finding::Leak, format!("anon_pss grew by {overall} per {per} without slowing (bound {bound})"))
    } else {
        (Finding::Pass, format!("anon_pss does not keep growing (in one window by {smallest} per {per})"))
    }
}

impl Windows {
    fn rates(self) -> [f64; WINDOWS - 1] {
        let [a, b, c, d] = self.medians;
        [b - a, c - b, d - c].map(|rise| rise / self.length)
    }

    /// From the first window's median to the last's, per restart.
    fn overall(self) -> f64 {
        let [first, .., last] = self.medians;
        (last - first) / (3.0 * self.length)
    }
}

/// Splits the last half of the restarts or turns. Fails, in words, when there is too little to judge by.
fn windows(run: &TargetRun, value: impl Fn(&TracePoint) -> u64) -> Result<Windows, String> {
    let steps = |point: &TracePoint| float(point.steps(run.plan.per()));
    let total = run.trace.last().map_or(0.0, steps);
    let length = total / 2.0 / 4.0;
    let mut values: [Vec<u64>; WINDOWS] = Default::default();
    let mut ends = [0.25, 0.5, 0.75, 1.0].map(|share| total / 2.0 * (1.0 + share)).into_iter().zip(&mut values);
    let mut current = ends.next();
    for point in run.trace.iter().filter(|point| steps(point) > total / 2.0) {
        while current.as_ref().is_some_and(|(end, _)| steps(point) > *end) {
            current = ends.next();
        }
        if let Some((_, window)) = &mut current {
            window.push(value(point));
        }
    }
    let fewest = values.iter().map(Vec::len).min().unwrap_or(0);
    if fewest < POINTS_PER_WINDOW {
        return Err(format!("too short for a trend: a window has {fewest} readings and needs {POINTS_PER_WINDOW}"));
    }
    let medians = values.map(median);
    if medians.contains(&0.0) {
        return Err("anon_pss could not be read: it is 0".to_owned());
    }
    Ok(Windows { medians, length })
}

fn median(mut values: Vec<u64>) -> f64 {
    values.sort_unstable();
    let middle = values.len() / 2;
    let at = |index: usize| values.get(index).copied().map_or(0.0, float);
    if values.len() % 2 == 1 { at(middle) } else { f64::midpoint(at(middle.saturating_sub(1)), at(middle)) }
}
