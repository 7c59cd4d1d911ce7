//! No PASS beside a growth that the run claims to catch, and no claim that its noise does not allow.
#![expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "series are computed as floats and stored as counts; all are positive and far below 2^53"
)]

use leakgate_judge::sample::{Exception, GrowthUnit, Metric, Outside, TargetRun};
use leakgate_judge::verdict::{Finding, MetricVerdict, judge};
use proptest::prelude::*;

use super::properties::jitter;
use super::{alone, row};
use crate::runs::{healthy, set_last, sut, trace, with};

const MIB: u64 = 1 << 20;

/// Whose memory bound it is.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Bound {
    /// Calibrated, for our own server.
    Ours,
    /// From the run's own length, noise and warm-up.
    Derived,
    /// `memory-per-restart-kb`.
    Chosen(u64),
}

fn outside(memory_floor: Option<u64>) -> Outside {
    Outside {
        per: GrowthUnit::Restart,
        cli_processes_allowed: None,
        memory_floor,
        exceptions: vec![],
        unmeasured: vec![],
    }
}

/// A run of so many restarts with this memory after each.
fn run(bound: Bound, restarts: u64, of: impl Fn(u64) -> u64) -> TargetRun {
    let mut run = sut();
    run.trace = trace(restarts, of);
    run.plan.outside = match bound {
        Bound::Ours => None,
        Bound::Derived => Some(outside(None)),
        Bound::Chosen(bytes) => Some(outside(Some(bytes))),
    };
    for (point, at) in run.checkpoints.iter_mut().zip([restarts / 6, restarts]) {
        (point.restarts, point.requests) = (at, at * 10);
    }
    run
}

fn memory(run: TargetRun) -> MetricVerdict {
    row(&alone(run), Metric::AnonPss).clone()
}

/// The verdict on a run and, as long as it asks for one, on another of twice the restarts, as `leakgate run` does it.
fn until_it_decides(bound: Bound, restarts: u64, of: impl Fn(u64, u64) -> u64) -> (Finding, u64) {
    let mut runs = Vec::new();
    for doubled in 0_u64.. {
        let mut longer = run(bound, 20 + (restarts << doubled), |at| of(doubled, at));
        longer.plan.doubled = doubled;
        runs.push(longer);
        let verdict = judge(&with(runs.clone()));
        if verdict.verdict != Finding::Saturating {
            return (verdict.verdict, doubled);
        }
    }
    unreachable!("a run that was doubled twice is never saturating")
}

/// 30 MiB at every 30th restart, 1 MiB from restart 91 on, one step of 500 MB, and a series that doubles.
const SHAPES: [fn(u64) -> u64; 5] = [
    |at| at / 30 * 30 * MIB,
    |at| at.saturating_sub(90) * MIB,
    |at| if at < 110 { 0 } else { 500_000_000 },
    |at| if at < 116 { 0 } else { 500_000_000 },
    |at| 1_000 << (at / 6),
];

#[test]
fn growth_above_the_claim_never_passes_whatever_its_shape() {
    for shape in SHAPES {
        for bound in [Bound::Ours, Bound::Derived, Bound::Chosen(256_000)] {
            for doubled in [0, 1, 2] {
                let mut run = run(bound, 120, |at| 14_000_000 + shape(at));
                run.plan.doubled = doubled;
                let verdict = alone(run);
                let memory = row(&verdict, Metric::AnonPss);
                let undecided = if doubled == 2 { Finding::Inconclusive } else { Finding::Saturating };
                assert!(memory.verdict == undecided || memory.verdict == Finding::Leak, "{bound:?}: {memory:?}");
                assert!(memory.growth_per_restart > memory.smallest_detectable, "{memory:?}");
                assert!(!verdict.summary.starts_with("no leak"), "{}", verdict.summary);
            }
        }
    }
}

#[test]
fn a_longer_run_tells_a_leak_in_steps_from_one_step_that_ended() {
    let stairs = |_, at: u64| 14_000_000 + at / 30 * 30 * MIB;
    let late = |_, at: u64| 14_000_000 + at.saturating_sub(90) * MIB;
    let once = |_, at: u64| if at < 110 { 14_000_000 } else { 80_000_000 };
    for bound in [Bound::Ours, Bound::Derived, Bound::Chosen(256_000)] {
        assert_eq!(until_it_decides(bound, 100, stairs).0, Finding::Leak, "{bound:?}");
        assert_eq!(until_it_decides(bound, 100, late).0, Finding::Leak, "{bound:?}");
        assert_eq!(until_it_decides(bound, 100, once), (Finding::Pass, 1), "{bound:?}");
    }
}

#[test]
fn a_step_in_the_first_half_is_a_warm_up() {
    for bound in [Bound::Ours, Bound::Derived, Bound::Chosen(256_000)] {
        let memory = memory(run(bound, 120, |at| if at < 50 { 14_000_000 } else { 300_000_000 }));
        assert_eq!(memory.verdict, Finding::Pass, "{bound:?}: {memory:?}");
    }
}

#[test]
fn a_quiet_server_is_held_to_a_tight_bound() {
    // An arena of 1 MiB in the judged half, and what else the sound examples in Python take.
    let sound = |at: u64| 13_600_000 + at * 400 + if at < 90 { 0 } else { MIB };
    let quiet = memory(run(Bound::Derived, 120, sound));
    assert_eq!(quiet.verdict, Finding::Pass, "{quiet:?}");
    assert!(quiet.smallest_detectable.unwrap() < 36_000.0, "{quiet:?}");
    for rate in [40_000, 100_000, 200_000] {
        let (found, _) = until_it_decides(Bound::Derived, 100, |_, at| sound(at) + rate * at);
        assert_eq!(found, Finding::Leak, "{rate}");
    }
}

#[test]
fn what_is_kept_of_each_request_is_a_leak_at_once() {
    let mut run = run(Bound::Derived, 340, |at| 12_900_000 + at * 200_000);
    run.plan.outside.as_mut().unwrap().per = GrowthUnit::Turn;
    // The trace counts ten requests for each restart; here each restart is a request.
    run.trace.iter_mut().for_each(|point| point.requests = point.restarts);
    assert_eq!(memory(run).verdict, Finding::Leak);
}

/// Restarts, and the MB of the sound Node example after them: it collects for the first time near restart 390.
const NODE: [(u64, f64); 22] = [
    (0, 38.5),
    (2, 40.6),
    (4, 41.5),
    (7, 42.7),
    (9, 47.5),
    (12, 49.6),
    (16, 53.2),
    (20, 55.5),
    (33, 57.4),
    (45, 59.0),
    (57, 60.0),
    (69, 64.1),
    (81, 70.8),
    (87, 74.8),
    (111, 77.9),
    (159, 82.5),
    (195, 86.8),
    (249, 91.0),
    (309, 96.2),
    (387, 102.5),
    (393, 91.4),
    (494, 82.4),
];

fn node(at: u64) -> u64 {
    let after = NODE.iter().position(|&(restarts, _)| restarts > at);
    let Some(after) = after else { return 82_400_000 };
    let ((from, low), (to, high)) = (NODE[after - 1], NODE[after]);
    // It sinks in one step and climbs in many.
    let share = if high < low { 0.0 } else { (at - from) as f64 / (to - from) as f64 };
    ((low + (high - low) * share) * 1e6) as u64
}

#[test]
fn a_sound_runtime_that_has_not_collected_yet_passes() {
    for restarts in [40, 60, 80, 100, 120, 160, 200, 300, 400, 800] {
        let (found, doubled) = until_it_decides(Bound::Derived, restarts, |_, at| node(at));
        assert_eq!(found, Finding::Pass, "{restarts} restarts, doubled {doubled} times");
    }
}

#[test]
fn a_leak_below_the_noise_does_not_pass_and_noise_alone_does_not_leak() {
    let noise = |size: f64, seed: u64, at: u64| (20e6 + size / 2.0 * (1.0 + jitter(seed, at))) as u64;
    for seed in 0..40 {
        for bound in [Bound::Derived, Bound::Chosen(256_000)] {
            let leaking = memory(run(bound, 120, |at| noise(30e6, seed, at) + at * 600_000));
            assert_ne!(leaking.verdict, Finding::Pass, "{bound:?}, seed {seed}: {leaking:?}");
            for size in [1e6, 10e6, 30e6, 60e6] {
                let of = |doubled, at| noise(size, 1_000 * (doubled + 1) + seed, at);
                let found = until_it_decides(bound, 100, of).0;
                assert_ne!(found, Finding::Leak, "{bound:?}, {size} bytes, seed {seed}");
                assert!(found == Finding::Pass || size > 9e6, "{bound:?}, {size} bytes, seed {seed}");
            }
        }
    }
}

#[test]
fn the_claim_follows_the_noise() {
    let claim = |size: f64| {
        let of = |at| (20e6 + size * (1.0 + jitter(7, at))) as u64;
        memory(run(Bound::Derived, 120, of)).smallest_detectable.unwrap()
    };
    assert!(claim(0.0) < 36_000.0 && claim(1e6) > 60_000.0 && claim(15e6) > 900_000.0, "{}", claim(1e6));
    let noisy = memory(run(Bound::Derived, 120, |at| (50e6 + 15e6 * jitter(7, at)) as u64));
    assert!(
        noisy.reason.contains("too noisy for a run this short") && noisy.reason.contains("not 512.0 kB"),
        "{noisy:?}"
    );
}

#[test]
fn a_chosen_bound_is_taken_as_it_is() {
    let growing = |bytes| memory(run(Bound::Chosen(bytes), 120, |at| 14_000_000 + at * 200_000));
    assert_eq!((growing(1_000_000).verdict, growing(1_000_000).tolerance), (Finding::Pass, 1e6));
    assert_eq!((growing(150_000).verdict, growing(150_000).tolerance), (Finding::Leak, 150e3));
}

#[test]
fn memory_that_sinks_first_and_then_grows_is_counted_from_its_lowest() {
    let bathtub = |at: u64| if at < 80 { 60_000_000 } else { 40_000_000 + (at - 80) * 500_000 };
    let memory = memory(run(Bound::Derived, 120, bathtub));
    assert_ne!(memory.verdict, Finding::Pass, "{memory:?}");
    assert!(memory.growth_per_restart.unwrap() > 100_000.0, "{memory:?}");
}

#[test]
fn a_run_that_was_cut_short_speaks_for_no_longer_one() {
    let first = run(Bound::Derived, 120, |at| 14_000_000 + at / 30 * 30 * MIB);
    let flat = |restarts| {
        let mut longer = run(Bound::Derived, restarts, |_| 14_000_000);
        longer.plan.doubled = 1;
        longer
    };
    assert_eq!(judge(&with(vec![first.clone(), flat(240)])).verdict, Finding::Pass);
    assert_eq!(judge(&with(vec![first, flat(100)])).verdict, Finding::Saturating);
}

#[test]
fn growth_that_an_exception_allows_asks_for_no_longer_run() {
    let with_allowance = |allow| {
        let mut run = run(Bound::Derived, 120, |at| if at < 110 { 14_000_000 } else { 54_000_000 });
        let (reason, owner, expires) = ("a cache".to_owned(), "ops".to_owned(), "2999-12-31".to_owned());
        run.plan.exceptions = vec![Exception { metric: Metric::AnonPss, allow, reason, owner, expires }];
        alone(run).verdict
    };
    assert_eq!([50_000_000, 30_000_000].map(with_allowance), [Finding::Pass, Finding::Saturating]);
}

/// Steps up and down, slopes and flat stretches, between a few bytes and hundreds of megabytes.
fn walk() -> impl Strategy<Value = Vec<u64>> {
    let step = prop_oneof![
        6 => Just(0_i64),
        3 => -300_000..300_000_i64,
        2 => 0..2_000_000_i64,
        1 => -50_000_000..50_000_000_i64,
        1 => 0..600_000_000_i64,
    ];
    let part = (step, 1..40_usize, any::<bool>());
    proptest::collection::vec(part, 1..12).prop_map(|parts| {
        let mut level = 40_000_000_i64;
        let mut readings = Vec::new();
        for (step, length, is_slope) in parts {
            for at in 0..length {
                level = (level + if is_slope || at == 0 { step } else { 0 }).max(1);
                readings.push(level.unsigned_abs());
            }
        }
        // Two checkpoints need two readings at least, and the end three.
        readings.extend(std::iter::repeat_n(level.unsigned_abs(), 4));
        readings
    })
}

fn bound() -> impl Strategy<Value = Bound> {
    prop_oneof![Just(Bound::Ours), Just(Bound::Derived), (0..2_000_000_u64).prop_map(Bound::Chosen)]
}

fn median(mut values: Vec<u64>) -> f64 {
    values.sort_unstable();
    let middle = values.len() / 2;
    if values.len() % 2 == 1 {
        values[middle] as f64
    } else {
        f64::midpoint(values[middle - 1] as f64, values[middle] as f64)
    }
}

proptest! {
    #[test]
    fn no_row_passes_with_a_growth_above_its_claim(mut any in super::properties::run(), walk in walk(), bound in bound(), doubled in 0..4_u64) {
        let mut walking = run(bound, 2 * (walk.len() as u64 - 1), |at| walk[at as usize / 2]);
        walking.plan.doubled = doubled;
        any.targets.push(walking);
        for row in judge(&any).metrics.iter().filter(|row| row.verdict == Finding::Pass) {
            let (Some(growth), Some(claim)) = (row.growth_per_restart, row.smallest_detectable) else { continue };
            prop_assert!(growth <= claim, "{row:?}");
        }
    }

    /// By what is in the series, whatever the row says: from the first quarter of the judged half to the last three readings.
    #[test]
    fn a_memory_that_passes_did_not_gain_more_than_the_claim_for_each_restart(walk in walk(), bound in bound(), doubled in 0..4_u64) {
        let restarts = 2 * (walk.len() as u64 - 1);
        let mut run = run(bound, restarts, |at| walk[at as usize / 2]);
        run.plan.doubled = doubled;
        let memory = memory(run);
        prop_assume!(memory.verdict == Finding::Pass);
        let first = (0..walk.len()).filter(|at| (restarts / 2 + 1..=restarts * 5 / 8).contains(&(2 * *at as u64)));
        let gained = median(walk[walk.len() - 3..].to_vec()) - median(first.map(|at| walk[at]).collect());
        prop_assert!(gained / (restarts as f64 / 2.0) <= memory.smallest_detectable.unwrap(), "{gained}: {memory:?}");
    }
}

/// Every other row too: what grew is not beside a claim that is smaller, in a healthy run and in one with a leak of each.
#[test]
fn counts_and_heaps_that_pass_do_not_grow_by_what_they_claim() {
    for metric in leakgate_judge::sample::Metric::COUNTED {
        let mut grown = healthy();
        let value = grown.targets[0].checkpoints[0].values[&metric] + 1;
        set_last(&mut grown.targets[0], metric, value);
        for row in judge(&grown).metrics.iter().filter(|row| row.verdict == Finding::Pass) {
            let is_below =
                row.growth_per_restart.zip(row.smallest_detectable).is_none_or(|(grown, claim)| grown <= claim);
            assert!(is_below && row.name != metric || row.target != "sut", "{row:?}");
        }
    }
}
