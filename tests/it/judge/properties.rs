//! What holds for every run.
#![expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "series are computed as floats and stored as counts; all are positive and far below 2^53"
)]

use std::collections::BTreeMap;

use leakgate_judge::sample::suite::{Part, Suite, Unit};
use leakgate_judge::sample::{
    Bounds, Checkpoint, Control, Environment, Exception, FORMAT, GrowthUnit, Metric, Outcome, Outside, Plan, Proof,
    ReplyKinds, Run, TargetRun, TracePoint,
};
use leakgate_judge::verdict::{Finding, judge, trend};
use leakgate_report::terminal::{Style, render};
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::Value;

use super::{alone, change, row};
use crate::runs::{healthy, heap, set_last, sut, trace};

const SIGNALS: [Metric; 19] = [
    Metric::LiveInvokers,
    Metric::HeapBlocks,
    Metric::HeapBytes,
    Metric::FdsPipe,
    Metric::FdsSocket,
    Metric::FdsFile,
    Metric::FdsAnon,
    Metric::Threads,
    Metric::Tasks,
    Metric::Processes,
    Metric::Zombies,
    Metric::Files,
    Metric::Orphans,
    Metric::FilesLeft,
    Metric::Lost,
    Metric::MixedUp,
    Metric::AnonPss,
    Metric::TreeRss,
    Metric::ServerRss,
];

/// Small numbers, which collide, and enormous ones, which overflow.
fn number() -> impl Strategy<Value = u64> {
    prop_oneof![6 => 0..5_u64, 3 => 0..2_000_u64, 1 => any::<u64>(), 1 => Just(u64::MAX)]
}

fn real() -> impl Strategy<Value = f64> {
    prop_oneof![0.0..500.0, Just(0.0), Just(-1.0), Just(f64::NAN), Just(f64::INFINITY)]
}

fn values() -> impl Strategy<Value = BTreeMap<Metric, u64>> {
    proptest::collection::btree_map(select(&SIGNALS[..]), number(), 0..19)
}

fn checkpoint() -> impl Strategy<Value = Checkpoint> {
    (number(), number(), values()).prop_map(|(restarts, requests, values)| Checkpoint { restarts, requests, values })
}

fn checkpoints() -> impl Strategy<Value = Vec<Checkpoint>> {
    // Half of them in order, or the rules behind that check would hardly be reached.
    (proptest::collection::vec(checkpoint(), 0..6), any::<bool>()).prop_map(|(mut points, sorted)| {
        if sorted {
            points.sort_by_key(|point| point.restarts);
        }
        points
    })
}

fn trace_of_anything() -> impl Strategy<Value = Vec<TracePoint>> {
    let point = (number(), number(), number(), number(), number()).prop_map(
        |(restarts, requests, anon_pss, tree_rss, server_rss)| TracePoint {
            restarts,
            requests,
            anon_pss,
            tree_rss,
            server_rss,
        },
    );
    (proptest::collection::vec(point, 0..60), any::<bool>()).prop_map(|(mut points, sorted)| {
        if sorted {
            points.sort_by_key(|point| point.restarts);
        }
        points
    })
}

fn plan() -> impl Strategy<Value = Plan> {
    (number(), number(), number(), number(), number(), real()).prop_map(
        |(slots, warm_up, restarts, server, tree, share)| Plan {
            slots,
            warm_up,
            restarts,
            connections: 1,
            max_turns: 1,
            server_rss_cap_mb: server,
            tree_rss_cap_mb: tree,
            memory_noise_mb: tree % 3,
            doubled: slots % 4,
            errors_allowed: share,
            exceptions: Vec::new(),
            outside: None,
        },
    )
}

/// Of a server that is not ours, half of the time.
fn outside() -> impl Strategy<Value = Option<Outside>> {
    let exception = (select(&SIGNALS[..]), number()).prop_map(|(metric, allow)| Exception {
        metric,
        allow,
        reason: "known".into(),
        owner: "us".into(),
        expires: "2030-01-01".into(),
    });
    let exceptions = proptest::collection::vec(exception, 0..2);
    let per = select(vec![GrowthUnit::Restart, GrowthUnit::Turn]);
    proptest::option::of((per, proptest::option::of(number()), proptest::option::of(number()), exceptions).prop_map(
        |(per, cli_processes_allowed, memory_floor, exceptions)| Outside {
            per,
            cli_processes_allowed,
            memory_floor,
            exceptions,
            unmeasured: vec!["something".into()],
        },
    ))
}

fn outcome() -> impl Strategy<Value = Outcome> {
    prop_oneof![
        Just(Outcome::Completed),
        Just(Outcome::NotSettled { moving: "\u{1b}[2J".into() }),
        ".{0,300}".prop_map(|what| Outcome::Failed { what }),
    ]
}

fn proof() -> impl Strategy<Value = Proof> {
    proptest::array::uniform9(number()).prop_map(
        |[restarts, turns, requests, errors, cancelled, lost, mixed_up, checkpoints, bytes_replayed]| Proof {
            restarts,
            turns,
            requests,
            errors,
            cancelled,
            lost,
            mixed_up,
            checkpoints,
            bytes_replayed,
            unmarked: errors,
            kinds: ReplyKinds { refusals: lost, ..ReplyKinds::default() },
        },
    )
}

fn target() -> impl Strategy<Value = TargetRun> {
    let bounds = (number(), number(), real(), real()).prop_map(|(live, processes, tree, server)| Bounds {
        live_invokers_max: live,
        cli_processes_max: processes,
        tree_rss_max_mb: tree,
        server_rss_max_mb: server,
    });
    let series = (checkpoints(), trace_of_anything(), values());
    let plan = (plan(), outside()).prop_map(|(plan, outside)| Plan { outside, ..plan });
    (select(vec!["a", "b"]), plan, outcome(), series, proof(), bounds, real(), proptest::collection::vec(".*", 0..3))
        .prop_map(|(scenario, plan, outcome, (checkpoints, trace, totals), proof, bounds, seconds, notes)| TargetRun {
            scenario: scenario.into(),
            target: "sut".into(),
            seed: None,
            plan,
            outcome,
            checkpoints,
            trace,
            totals,
            grown: Vec::new(),
            sites: Vec::new(),
            proof,
            bounds,
            latency: None,
            seconds,
            notes,
        })
}

pub(crate) fn run() -> impl Strategy<Value = Run> {
    let planted = proptest::collection::vec(select(&SIGNALS[..]), 0..3);
    let control =
        (planted, target()).prop_map(|(planted, run)| Control { name: "any".into(), planted, run, shard: None });
    let controls = proptest::collection::vec(control, 0..2);
    (number(), number(), controls, proptest::collection::vec(target(), 0..3), proptest::option::of(suite())).prop_map(
        |(seed, started_unix, controls, targets, suite)| Run {
            format: FORMAT,
            seed,
            environment: Environment { started_unix, ..Environment::default() },
            controls,
            targets,
            suite,
        },
    )
}

fn suite() -> impl Strategy<Value = Suite> {
    let unit = (select(vec!["a", "b", "c"]), 0_u64..3, 0_u64..4).prop_map(|(scenario, seed, shard)| Unit {
        scenario: scenario.into(),
        seed,
        shard,
    });
    let part = (0_u64..4, proptest::option::of(".*"), proptest::option::of(".*"))
        .prop_map(|(shard, file, refused)| Part { shard, environment: Environment::default(), file, refused });
    let (units, parts) = (proptest::collection::vec(unit, 0..4), proptest::collection::vec(part, 0..4));
    (0_u64..4, units, any::<bool>(), parts).prop_map(|(shards, units, merged, parts)| Suite {
        shards,
        units,
        options: Vec::new(),
        merged,
        parts,
    })
}

/// The same JSON with every object's keys in reverse.
fn reversed(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            let entries: Vec<_> = map.into_iter().collect();
            Value::Object(entries.into_iter().rev().map(|(key, value)| (key, reversed(value))).collect())
        }
        Value::Array(values) => Value::Array(values.into_iter().map(reversed).collect()),
        other => other,
    }
}

/// Restarts of a trace, and the restarts of one of its windows.
fn length() -> impl Strategy<Value = (u64, f64)> {
    select(vec![120_u64, 300, 350, 600, 900, 1_200, 2_000]).prop_map(|restarts| (restarts, restarts as f64 / 8.0))
}

/// A number from −1 to 1 that is different at each restart and the same in each test.
pub(super) fn jitter(seed: u64, at: u64) -> f64 {
    let mut state = (seed ^ at.wrapping_mul(0x9e37_79b9_7f4a_7c15)).wrapping_add(0x9e37_79b9_7f4a_7c15);
    state = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    state = (state ^ (state >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((state ^ (state >> 31)) >> 11) as f64 / (1_u64 << 52) as f64 - 1.0
}

fn memory(restarts: u64, of: impl Fn(u64) -> f64) -> Finding {
    look(0, restarts, of)
}

/// The same for a run whose restarts were doubled so often.
fn look(doubled: u64, restarts: u64, of: impl Fn(u64) -> f64) -> Finding {
    let verdict = change(sut(), |run| {
        run.trace = trace(restarts, |at| (1e8 + of(at)) as u64);
        run.plan.doubled = doubled;
    });
    row(&verdict, Metric::AnonPss).verdict
}

proptest! {
    #[test]
    fn any_run_gets_a_verdict_and_a_report(run in run(), width in 0..300_usize, colour: bool) {
        let verdict = judge(&run);
        prop_assert_ne!(verdict.verdict, Finding::Shown);
        prop_assert!(verdict.verdict != Finding::Invalid || !verdict.invalid.is_empty());
        prop_assert!(!verdict.summary.is_empty());
        let text = render(&verdict, &run, Style { width, colour });
        prop_assert!(text.starts_with(&verdict.verdict.to_string()) || colour);
        // A row that is NaN or infinite would be written as null, and read back as "not computed".
        for row in &verdict.metrics {
            prop_assert!(row.growth_per_restart.is_none_or(f64::is_finite), "{row:?}");
            prop_assert!(row.smallest_detectable.is_none_or(|least| least.is_finite() && least > 0.0), "{row:?}");
        }
    }

    #[test]
    fn the_order_of_keys_in_a_file_does_not_matter(mut run in run()) {
        for target in run.targets.iter_mut().chain(run.controls.iter_mut().map(|control| &mut control.run)) {
            // JSON has no NaN.
            target.plan.errors_allowed = 0.5;
            target.seconds = 1.0;
            (target.bounds.tree_rss_max_mb, target.bounds.server_rss_max_mb) = (1.0, 1.0);
        }
        let other: Run = serde_json::from_value(reversed(serde_json::to_value(&run).unwrap())).unwrap();
        prop_assert_eq!(judge(&run), judge(&other));
    }

    #[test]
    fn a_flat_series_never_leaks(level in proptest::collection::vec(0..1_000_000_u64, 14), restarts in 100..2_000_u64) {
        let mut run = healthy();
        for target in &mut run.targets {
            target.trace = trace(restarts, |_| 1 + level[13]);
            target.plan.tree_rss_cap_mb = 0;
            for point in &mut target.checkpoints {
                point.values.values_mut().zip(&level).for_each(|(value, &level)| *value = level);
            }
        }
        prop_assert_eq!(judge(&run).verdict, Finding::Pass);
    }

    #[test]
    fn any_growth_of_an_exact_signal_is_a_leak(
        metric in select(&leakgate_judge::sample::Metric::COUNTED[..]), by in 1..1_000_000_u64,
    ) {
        let verdict = change(sut(), |run| { let first = run.checkpoints[0].values[&metric]; set_last(run, metric, first + by); });
        prop_assert_eq!(row(&verdict, metric).verdict, Finding::Leak);
    }

    /// Blocks leaked one in `every` restarts, from 1 in 1 to 1 in 100, over 2:1 intervals whose lengths it divides: with
    /// a remainder, one block more or less in the first interval turns the smallest leaks into saturating ones.
    #[test]
    fn a_heap_that_grows_at_a_constant_rate_from_the_floor_on_leaks(every in 1..=100_u64, times in 1..20_u64, each in 1..9_u64) {
        let t = every * times.max(200_u64.div_ceil(every));
        let at = |restarts: u64| (restarts, 900 + restarts / every * each, 10_000);
        let verdict = alone(heap(&[at(t), at(2 * t), at(4 * t)]));
        prop_assert_eq!(row(&verdict, Metric::HeapBlocks).verdict, Finding::Leak);
    }

    #[test]
    fn heap_bytes_that_grow_by_the_floor_leak(bytes in 8..100_000_u64, t in 64..600_u64) {
        let at = |restarts: u64| (restarts, 900, 10_000 + restarts * bytes);
        let verdict = alone(heap(&[at(t), at(2 * t), at(4 * t)]));
        prop_assert_eq!(row(&verdict, Metric::HeapBytes).verdict, Finding::Leak);
    }

    /// A bounded cache that is full by 3T, and one that grows with the logarithm of its use.
    #[test]
    fn a_heap_that_saturates_never_leaks(t in 50..600_u64, full in 1..300_u64, each in 1..2_000_u64, scale in 1.0..1e5_f64) {
        let bounded = |restarts: u64| (restarts, 900 + restarts.min(t * full / 100), 9_000 + restarts.min(t * full / 100) * each);
        let slow = |restarts: u64| { let grown = (scale * (restarts as f64).ln()) as u64; (restarts, 900 + grown, 9_000 + grown) };
        for readings in [[t, 2 * t, 4 * t].map(bounded), [t, 2 * t, 4 * t].map(slow)] {
            let verdict = alone(heap(&readings));
            prop_assert_ne!(row(&verdict, Metric::HeapBlocks).verdict, Finding::Leak);
            prop_assert_ne!(row(&verdict, Metric::HeapBytes).verdict, Finding::Leak);
        }
    }

    /// Medians stay within the jitter J, so the three rises add up to 2J at most, and the least of them to a third of
    /// that: no jitter up to 1.5 × b × window can raise an alarm, whatever its pattern, and none of eight times as much can
    /// without a second run.
    #[test]
    fn a_flat_memory_with_bounded_jitter_passes((restarts, window) in length(), seed: u64) {
        let most = 1.5 * trend::bound_for(restarts as f64).b * window - 1.0;
        prop_assert_eq!(memory(restarts, |at| most * jitter(seed, at)), Finding::Pass);
        prop_assert_ne!(memory(restarts, |at| 8.0 * most * jitter(seed, at)), Finding::Leak);
    }

    #[test]
    fn a_memory_that_grows_by_one_and_a_half_bounds_through_jitter_never_passes_and_leaks_in_a_second_run(
        (restarts, window) in length(), times in 1.5..100.0_f64, seed: u64,
    ) {
        let b = trend::bound_for(restarts as f64).b;
        let of = |at: u64| times * b * at as f64 + b * window / 16.0 * jitter(seed, at);
        let found = [0, 1, 2].map(|doubled| look(doubled, restarts, of));
        let first = if times > 8.5 { Finding::Leak } else { Finding::Saturating };
        prop_assert!(found[0] == first || (7.5..8.5).contains(&times), "{found:?}");
        prop_assert_eq!(&found[1..], [Finding::Leak; 2]);
    }

    /// A·(1 − e^(−n/τ)) with a τ short enough that the rate halves from the first pair of windows to the last.
    #[test]
    fn a_memory_that_saturates_never_leaks((restarts, window) in length(), size in 1e4..1e9_f64, quick in 0.05..0.9_f64) {
        let tau = quick * 2.0 * window / std::f64::consts::LN_2;
        prop_assert_ne!(memory(restarts, |at| size * (1.0 - (-(at as f64) / tau).exp())), Finding::Leak);
    }
}
