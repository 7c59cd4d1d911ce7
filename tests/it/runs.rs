//! Runs made up for tests: healthy ones, to break in one place.

use std::collections::BTreeMap;

use leakgate_judge::sample::{
    Bounds, Checkpoint, Control, Environment, FORMAT, Outcome, Plan, Proof, Run, Signal, TargetRun, TracePoint,
};

/// Restarts of the healthy runs, counted from the target's start.
pub(crate) const RESTARTS: u64 = 350;

/// A healthy run of one scenario on both of our targets, with two controls that do what they should.
pub(crate) fn healthy() -> Run {
    let mut caught = sut();
    caught.scenario = "control".into();
    set_last(&mut caught, Signal::FdsPipe, 12 + 300);
    Run {
        format: FORMAT,
        seed: 7,
        environment: environment(),
        controls: vec![
            Control { name: "fd".into(), planted: vec![Signal::FdsPipe, Signal::FdsAnon], run: caught, shard: None },
            Control { name: "clean".into(), planted: vec![], run: sut(), shard: None },
        ],
        targets: vec![sut(), sut_heap()],
        suite: None,
    }
}

/// The wrapper on the system allocator: flat, with two checkpoints and a trace.
pub(crate) fn sut() -> TargetRun {
    let values = [
        (Signal::LiveInvokers, 1),
        (Signal::CliProcesses, 1),
        (Signal::FdsPipe, 12),
        (Signal::FdsSocket, 2),
        (Signal::FdsFile, 3),
        (Signal::FdsAnon, 9),
        (Signal::Threads, 5),
        (Signal::Tasks, 4),
        (Signal::Processes, 3),
        (Signal::Zombies, 0),
        (Signal::Files, 8),
    ];
    target("sut", &[50, RESTARTS], &values, trace(RESTARTS, |_| 40_000_000))
}

/// The wrapper under dhat: flat, with three checkpoints.
pub(crate) fn sut_heap() -> TargetRun {
    let values =
        [(Signal::LiveInvokers, 1), (Signal::HeapBlocks, 900), (Signal::HeapBytes, 200_000), (Signal::Tasks, 4)];
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

/// Sets the signal at the last checkpoint.
pub(crate) fn set_last(run: &mut TargetRun, signal: Signal, value: u64) {
    run.checkpoints.last_mut().unwrap().values.insert(signal, value);
}

/// Sets the signal at every checkpoint, in order.
pub(crate) fn set(run: &mut TargetRun, signal: Signal, values: &[u64]) {
    assert_eq!(run.checkpoints.len(), values.len());
    for (point, &value) in run.checkpoints.iter_mut().zip(values) {
        point.values.insert(signal, value);
    }
}

/// `sut_heap` with other checkpoints, blocks and bytes.
pub(crate) fn heap(readings: &[(u64, u64, u64)]) -> TargetRun {
    let restarts: Vec<u64> = readings.iter().map(|reading| reading.0).collect();
    let mut run = target("sut-heap", &restarts, &[], Vec::new());
    for (point, &(_, blocks, bytes)) in run.checkpoints.iter_mut().zip(readings) {
        point.values = BTreeMap::from([(Signal::HeapBlocks, blocks), (Signal::HeapBytes, bytes)]);
    }
    run
}

/// A run with these targets and the controls of [`healthy`].
pub(crate) fn with(targets: Vec<TargetRun>) -> Run {
    Run { targets, ..healthy() }
}

fn target(name: &str, at: &[u64], values: &[(Signal, u64)], trace: Vec<TracePoint>) -> TargetRun {
    let values: BTreeMap<Signal, u64> = values.iter().copied().collect();
    let last = at.last().copied().unwrap_or_default();
    let checkpoint = |&restarts: &u64| Checkpoint { restarts, requests: restarts * 10, values: values.clone() };
    let totals = [Signal::Orphans, Signal::FilesLeft, Signal::Lost, Signal::MixedUp];
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
        totals: totals.into_iter().map(|signal| (signal, 0)).collect(),
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
