//! The gate: three hundred restarts of our own wrapper, on both allocators, judged like any other run.

use std::path::PathBuf;
use std::sync::Arc;

use leakgate::control::Control;
use leakgate::programs::Programs;
use leakgate::run::{Kind, Request};
use leakgate_drive::event::Silent;
use leakgate_drive::scenario::Scenario;
use leakgate_judge::sample::Metric;
use leakgate_judge::verdict::{self, Finding, Verdict};

async fn measure(kind: Kind) -> Verdict {
    measure_scenario(Scenario::by_name("restarts").unwrap(), kind, None).await
}

async fn measure_scenario(scenario: Scenario, kind: Kind, plant: Option<&str>) -> Verdict {
    let request = Request {
        scenarios: vec![scenario],
        controls: false,
        plant: plant.map(|name| Control::from_plant_option(name).unwrap()),
        seed: 1,
        programs: Programs {
            sut: PathBuf::from(env!("CARGO_BIN_EXE_sut")),
            sut_heap: PathBuf::from(env!("CARGO_BIN_EXE_sut-heap")),
            mock: PathBuf::from(env!("CARGO_BIN_EXE_mock-claude")),
        },
        cli: None,
        target: Some(kind),
        external: None,
        profiles: None,
    };
    let run = request.plan().unwrap().run(Arc::new(Silent)).await;
    let first = run.targets.iter().filter(|run| run.plan.doubled == 0);
    assert_eq!(first.count(), 1, "a leak was repeated: {:?}", verdict::judge(&run).summary);
    verdict::judge(&run)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leak_that_looks_like_a_cache_in_a_short_run_is_found_by_a_longer_one() {
    // One block in the second interval and one in the third, of twice the length: so does a cache that fills.
    let short = Scenario { warm_up: 4, restarts: 36, ..Scenario::by_name("restarts").unwrap() };
    let verdict = measure_scenario(short, Kind::SutHeap, Some("heap-block,every=22,from=15")).await;
    assert_eq!(verdict.verdict, Finding::Leak, "{}", verdict.summary);
    let blocks = verdict.metrics.iter().filter(|row| row.name == Metric::HeapBlocks).map(|row| row.verdict);
    let blocks: Vec<Finding> = blocks.collect();
    assert!(blocks.len() > 1 && blocks[0] == Finding::Shown && blocks.ends_with(&[Finding::Leak]), "{blocks:?}");
}

fn passes(verdict: &Verdict, needed: &[Metric]) {
    assert_eq!(verdict.verdict, Finding::Pass, "{} {:?}", verdict.summary, verdict.invalid);
    assert!(verdict.proof.restarts >= 350, "{:?}", verdict.proof);
    assert_eq!((verdict.proof.errors, verdict.proof.lost, verdict.proof.mixed_up), (0, 0, 0));
    assert!(verdict.bounds.live_invokers_max <= 2, "{:?}", verdict.bounds);
    for metric in needed {
        let row = verdict.metrics.iter().find(|row| row.name == *metric);
        assert!(row.is_some_and(|row| row.verdict == Finding::Pass), "{metric:?}: {row:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_hundred_restarts_leave_processes_descriptors_and_memory_as_they_were() {
    let verdict = measure(Kind::Sut).await;
    let needed = [
        Metric::LiveInvokers,
        Metric::Processes,
        Metric::Zombies,
        Metric::FdsPipe,
        Metric::FdsSocket,
        Metric::FdsFile,
        Metric::FdsAnon,
        Metric::Threads,
        Metric::Tasks,
        Metric::Files,
        Metric::AnonPss,
        Metric::ServerRss,
        Metric::Orphans,
        Metric::FilesLeft,
    ];
    passes(&verdict, &needed);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_hundred_restarts_leave_every_heap_block_and_byte_as_they_were() {
    let verdict = measure(Kind::SutHeap).await;
    passes(&verdict, &[Metric::HeapBlocks, Metric::HeapBytes, Metric::Tasks, Metric::Orphans]);
    for row in verdict.metrics.iter().filter(|row| matches!(row.name, Metric::HeapBlocks | Metric::HeapBytes)) {
        assert_eq!(row.first, row.last, "{}", row.reason);
    }
}

/// Under dhat every exact metric is read, the heap among them. The warm-up is the scenario's own: whatever a worker
/// thread keeps from its first reply that was asked for again has to be there before the first reading.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn json_of_a_schema_and_calls_of_functions_leave_every_count_and_the_heap_as_they_were() {
    for name in ["structured", "tools"] {
        let scenario = Scenario { restarts: 60, ..Scenario::by_name(name).unwrap() };
        let verdict = measure_scenario(scenario, Kind::SutHeap, None).await;
        assert_eq!(verdict.verdict, Finding::Pass, "{} {:?}", verdict.summary, verdict.invalid);
        assert_eq!((verdict.proof.errors, verdict.proof.lost, verdict.proof.mixed_up), (0, 0, 0), "{name}");
        assert!(verdict.proof.turns > verdict.proof.requests, "none was asked for again: {:?}", verdict.proof);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leaks_show_under_json_of_a_schema_and_calls_of_functions_too() {
    for (name, kind, plant, metric) in [
        ("structured", Kind::SutHeap, "heap-block", Metric::HeapBlocks),
        ("structured", Kind::Sut, "mixed-up", Metric::MixedUp),
        ("tools", Kind::Sut, "fd", Metric::FdsFile),
        ("tools", Kind::Sut, "mixed-up", Metric::MixedUp),
    ] {
        // As few restarts as the controls have: a leak at each of them shows.
        let scenario = Scenario { warm_up: 10, restarts: 60, ..Scenario::by_name(name).unwrap() };
        let verdict = measure_scenario(scenario, kind, Some(plant)).await;
        let row = verdict.metrics.iter().find(|row| row.name == metric);
        assert!(row.is_some_and(|row| row.verdict == Finding::Leak), "{name} {plant}: {row:?}");
    }
}
