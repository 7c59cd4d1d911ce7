//! Runs made up for tests: healthy ones, to break in one place.

use std::collections::BTreeMap;

use leakgate_judge::sample::{
    Bounds, Checkpoint, Control, Environment, FORMAT, Metric, Outcome, Plan, Proof, Run, TargetRun, TracePoint,
};

/// Restarts of the healthy runs, counted from the target's start.
pub(crate) const RESTARTS: u64 = 350;

/// A healthy run of one scenario on both of our targets, with two controls that do what they should.
pub(crate) fn healthy() -> Run {
    let mut caught = sut();
    caught.scenario = "control".into();
    set_last(&mut caught, Metric::FdsPipe, 12 + 300);
    Run {
        format: FORMAT,
        seed: 7,
        environment: environment(),
        controls: vec![
            Control { name: "fd".into(), planted: vec![Metric::FdsPipe, Metric::FdsAnon], run: caught, shard: None },
            Control { name: "clean".into(), planted: vec![], run: sut(), shard: None },
        ],
        targets: vec![sut(), sut_heap()],
        suite: None,
    }
}

/// The wrapper on the system allocator: flat, with two checkpoints and a trace.
pub(crate) fn sut() -> TargetRun {
    let values = [
        (Metric::LiveInvokers, 1),
        (Metric::CliProcesses, 1),
        (Metric::FdsPipe, 12),
        (Metric::FdsSocket, 2),
        (Metric::FdsFile, 3),
        (Metric::FdsAnon, 9),
        (Metric::Threads, 5),
        (Metric::Tasks, 4),
        (Metric::Processes, 3),
        (Metric::Zombies, 0),
        (Metric::Files, 8),
    ];
    target("sut", &[50, RESTARTS], &values, trace(RESTARTS, |_| 40_000_000))
}

/// The wrapper under dhat: flat, with three checkpoints.
pub(crate) fn sut_heap() -> TargetRun {
    let values =
        [(Metric::LiveInvokers, 1), (Metric::HeapBlocks, 900), (Metric::HeapBytes, 200_000), (Metric::Tasks, 4)];
    // dhat's own memory grows; nobody is to judge it.
    target("sut-heap", &[100, 200, 400], &values, trace(400, |restarts| 90_000_000 + restarts * 4_000))
}

/// A trace with a reading at every second restart; `memory` gives its bytes.
pub(crate) fn trace(restarts: u64, memory: impl Fn(u64) -> u64) -> Vec<TracePoint> {
    (0..=restarts)
        .step_by(2)
        .map(|at| TracePoint {
            restarts: at,
            requests: at * 10,
            anon_pss: memory(at),
            tree_rss: memory(at) + 30_000_000,
            server_rss: 20_000_000,
        })
        .collect()
}

/// Sets the metric at the last checkpoint.
pub(crate) fn set_last(run: &mut TargetRun, metric: Metric, value: u64) {
    run.checkpoints.last_mut().unwrap().values.insert(metric, value);
}

/// Sets the metric at every checkpoint, in order.
pub(crate) fn set(run: &mut TargetRun, metric: Metric, values: &[u64]) {
    assert_eq!(run.checkpoints.len(), values.len());
    for (point, &value) in run.checkpoints.iter_mut().zip(values) {
        point.values.insert(metric, value);
    }
}

/// `sut_heap` with other checkpoints, blocks and bytes.
pub(crate) fn heap(readings: &[(u64, u64, u64)]) -> TargetRun {
    let restarts: Vec<u64> = readings.iter().map(|reading| reading.0).collect();
    let mut run = target("sut-heap", &restarts, &[], Vec::new());
    for (point, &(_, blocks, bytes)) in run.checkpoints.iter_mut().zip(readings) {
        point.values = BTreeMap::from([(Metric::HeapBlocks, blocks), (Metric::HeapBytes, bytes)]);
    }
    run
}

/// A run with these targets and the controls of [`healthy`].
pub(crate) fn with(targets: Vec<TargetRun>) -> Run {
    Run { targets, ..healthy() }
}

fn target(name: &str, at: &[u64], values: &[(Metric, u64)], trace: Vec<TracePoint>) -> TargetRun {
    let values: BTreeMap<Metric, u64> = values.iter().copied().collect();
    let last = at.last().copied().unwrap_or_default();
    let checkpoint = |&restarts: &u64| Checkpoint { restarts, requests: restarts * 10, values: values.clone() };
    let totals = [Metric::Orphans, Metric::FilesLeft, Metric::Lost, Metric::MixedUp];
    TargetRun {
        scenario: "restarts".into(),
        target: name.into(),
        seed: None,
        plan: Plan {
            slots: 1,
            warm_up: 50,
            restarts: 300,
            connections: 4,
            max_turns: 10,
            server_rss_cap_mb: 150,
            tree_rss_cap_mb: 400,
            memory_noise_mb: 0,
            doubled: 0,
            errors_allowed: 0.0,
            exceptions: Vec::new(),
            outside: None,
        },
        outcome: Outcome::Completed,
        checkpoints: at.iter().map(checkpoint).collect(),
        trace,
        totals: totals.into_iter().map(|metric| (metric, 0)).collect(),
        proof: Proof {
            restarts: last,
            turns: last * 10,
            requests: last * 10,
            checkpoints: at.len() as u64,
            bytes_replayed: last * 21_000,
            ..Proof::default()
        },
        bounds: Bounds { live_invokers_max: 2, cli_processes_max: 2, tree_rss_max_mb: 70.0, server_rss_max_mb: 20.0 },
        latency: None,
        seconds: 61.25,
        grown: Vec::new(),
        sites: Vec::new(),
        notes: Vec::new(),
    }
}

fn environment() -> Environment {
    Environment {
        command: "leakgate run restarts --seed 7".into(),
        started_unix: 1_709_251_199,
        leakgate: "0.1.0".into(),
        commit: Some("0123456789ab+changes".into()),
        rustc: "rustc 1.95.0 (f2d3ce0bd 2026-03-21)".into(),
        kernel: "6.8.0-45-generic".into(),
        cli_versions: vec!["2.1.19".into(), "2.1.330".into()],
        cpus: 2,
        allocator: None,
    }
}
