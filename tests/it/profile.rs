//! From a leak to a line: `leakgate profile`, `run` and `diff` with real processes and a planted leak.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use assert_cmd::Command;
use leakgate_judge::attribution::dhat;
use leakgate_judge::attribution::profile::Profile;
use leakgate_judge::attribution::site_key;
use leakgate_judge::sample::{Frame, Run, Site, Thing};
use predicates::function::function;
use predicates::prelude::PredicateBooleanExt;
use predicates::str::contains;

use crate::commands::Bench;

/// Where the leaks are planted.
const KEPT: &str = "harness/crates/sut/src/plant/leaked.rs";

/// The line of the source that plants this leak, found by what it says.
fn line_of(kind: &str) -> u32 {
    let source =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("crates/sut/src/plant/leaked.rs")).unwrap();
    let at = source.lines().position(|line| line.contains(&format!("Kind::{kind} =>"))).unwrap();
    u32::try_from(at + 1).unwrap()
}

fn place(site: &Site) -> (String, u32) {
    let frame = site_key(site).unwrap();
    (frame.file.clone().unwrap(), frame.line.unwrap())
}

fn profiled(bench: &Bench, name: &str, args: &[&str]) -> (Profile, String, PathBuf) {
    let out = bench.path().join("out").join(name);
    let folder = out.display().to_string();
    let mut command = patient(bench.leakgate(&["profile", "--out", &folder]));
    let printed = command.args(args).assert().code(0).get_output().stdout.clone();
    let profile = serde_json::from_slice(&fs::read(out.join("profile.json")).unwrap()).unwrap();
    (profile, String::from_utf8(printed).unwrap(), out)
}

/// A profile reads the debug information of the whole server four times: on a busy machine that takes minutes.
fn patient(mut command: Command) -> Command {
    command.timeout(Duration::from_mins(15));
    command
}

/// As short as it can be, always the same.
fn with<'a>(args: &[&'a str]) -> Vec<&'a str> {
    [&["--restarts", "10", "--seed", "7"], args].concat()
}

#[test]
fn a_planted_block_is_first_with_its_line_and_everything_is_stored() {
    let bench = Bench::new();
    let (profile, printed, out) = profiled(&bench, "block", &with(&["--plant", "heap-block"]));
    let line = line_of("HeapBlock");
    let site = &profile.sites[0];
    assert_eq!(place(site), (KEPT.to_owned(), line));
    assert_eq!((site.blocks_per_restart, site.bytes_per_restart), (1.0, 64.0), "{printed}");
    assert!(
        printed
            .contains(&format!("1. {KEPT}:{line} in leakgate_sut::plant::leaked::Leaked::take: +1.00 blocks, +64 B"))
    );
    assert!(printed.contains("dh_view.html") && printed.contains("mmap"), "{printed}");
    let read = |name: &str| fs::read_to_string(out.join(name)).unwrap();
    let raw = dhat::read(read("dhat-heap.json").as_bytes()).unwrap();
    let plants = |frame: &Frame| {
        frame.line == Some(line) && frame.file.as_deref().is_some_and(|file| file.ends_with("leaked.rs"))
    };
    let points = raw.stacks.iter().filter(|(stack, _)| stack.iter().any(plants));
    assert_eq!(points.map(|(_, live)| live.blocks).sum::<u64>(), profile.windows.long);
    assert!(read("growth.folded").lines().all(|folded| folded.contains(KEPT)), "{}", read("growth.folded"));
    assert!(read("growth.svg").contains(KEPT));
    bench.is_clean();
}

#[test]
fn a_vector_that_only_grows_is_first_with_its_line_although_it_is_one_block() {
    let bench = Bench::new();
    let (profile, printed, _) = profiled(&bench, "bytes", &with(&["--plant", "heap-bytes"]));
    let site = &profile.sites[0];
    assert_eq!(place(site), (KEPT.to_owned(), line_of("HeapBytes")), "{printed}");
    // It gains 512 bytes at each restart, and grows by doubling.
    assert!((256.0..=1024.0).contains(&site.bytes_per_restart), "{printed}");
    assert!(site.blocks_per_restart < 1.0, "{printed}");
    bench.is_clean();
}

#[test]
fn nothing_grows_where_nothing_is_planted_and_a_leak_is_new_beside_it() {
    let bench = Bench::new();
    let (profile, printed, clean) = profiled(&bench, "clean", &with(&[]));
    assert_eq!(profile.sites, [], "{printed}");
    assert!(printed.starts_with("nothing grows"), "{printed}");
    assert!(!clean.join("growth.svg").exists());
    let (_, _, leak) = profiled(&bench, "leak", &with(&["--plant", "heap-block"]));
    let file = |folder: &Path, name: &str| folder.join(name).display().to_string();
    let (clean_sites, leak_sites) = (file(&clean, "profile.json"), file(&leak, "profile.json"));
    let new = "- -> 64 B per restart";
    bench
        .leakgate(&["diff", &clean_sites, &leak_sites])
        .assert()
        .code(0)
        .stdout(contains(new).and(contains(format!("{KEPT}:{} (", line_of("HeapBlock")))));
    bench.leakgate(&["diff", &leak_sites, &leak_sites]).assert().code(0).stdout(contains("no difference"));
    let json =
        bench.leakgate(&["diff", "--json", &leak_sites, &clean_sites]).assert().code(0).get_output().stdout.clone();
    let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
    assert_eq!(json["rows"][0]["change"], "gone");
    bench
        .leakgate(&["diff", &clean_sites, &file(&leak, "dhat-heap.json")])
        .assert()
        .code(2)
        .stderr(contains("a profile and a heap of dhat's cannot be compared"));
    bench.is_clean();
}

fn stored(bench: &Bench) -> Run {
    serde_json::from_slice(&fs::read(bench.path().join("out/run.json")).unwrap()).unwrap()
}

#[test]
fn a_run_whose_heap_leaks_names_the_line_by_itself() {
    let bench = Bench::new();
    let out = bench.path().join("out").display().to_string();
    let run =
        ["run", "--seed", "7", "--target", "sut-heap", "--restarts", "24", "--plant", "heap-block", "--out", &out];
    let line = line_of("HeapBlock");
    // The line is longer than the terminal is wide, so the report wraps it.
    let grown = format!("1. {KEPT}:{line} in leakgate_sut::plant::leaked::Leaked::take: +1.00 blocks");
    patient(bench.leakgate(&run))
        .assert()
        .code(1)
        .stdout(contains("Where the heap grew"))
        .stdout(function(|report: &str| report.split_whitespace().collect::<Vec<_>>().join(" ").contains(&grown)));
    assert_eq!(place(&stored(&bench).targets[0].sites[0]), (KEPT.to_owned(), line));
    let profile = bench.path().join("out/profile-restarts");
    for name in ["dhat-heap.json", "profile.json", "growth.folded", "growth.svg"] {
        assert!(profile.join(name).exists(), "{name}");
    }
    bench
        .leakgate(&[&run[..], &["--no-profile"]].concat())
        .assert()
        .code(1)
        .stdout(contains("`leakgate profile restarts` names the lines of code that hold the memory"));
    assert_eq!(stored(&bench).targets[0].sites, []);
    assert!(!profile.exists(), "what an earlier run found is gone");
    bench.is_clean();
}

#[test]
fn what_is_kept_is_told_with_who_started_it_and_since_when() {
    for (plant, thing, name, origin) in [
        ("task", Thing::Task, format!("{KEPT}:{}", line_of("Task")), None),
        ("thread", Thing::Thread, "planted".to_owned(), None),
        ("file", Thing::File, "tmp/planted-#".to_owned(), None),
        ("fd", Thing::Descriptor, "/dev/null".to_owned(), None),
    ] {
        let bench = Bench::new();
        let out = bench.path().join("out").display().to_string();
        let run = ["run", "--seed", "7", "--target", "sut", "--restarts", "24", "--plant", plant, "--out", &out];
        bench.leakgate(&run).assert().code(1).stdout(contains(name.as_str()));
        let run = stored(&bench);
        let target = &run.targets[0];
        let grown = target.grown.iter().find(|grown| grown.what == thing).unwrap();
        assert_eq!((&grown.name, &grown.origin), (&name, &origin), "{plant}");
        let (first, last) = (&target.checkpoints[0], target.checkpoints.last().unwrap());
        assert_eq!((grown.more, grown.since), (last.restarts - first.restarts, Some(first.restarts)), "{plant}");
        bench.is_clean();
    }
}

#[test]
fn a_kept_process_is_traced_to_the_server() {
    let bench = Bench::new();
    let out = bench.path().join("out").display().to_string();
    let run = ["run", "--seed", "7", "--target", "sut", "--restarts", "24", "--plant", "kept-invoker", "--out", &out];
    bench.leakgate(&run).assert().code(1).stdout(contains("Leaked at each restart"));
    let run = stored(&bench);
    let cli =
        run.targets[0].grown.iter().find(|grown| grown.origin.as_ref().is_some_and(|o| o.contains(", started by")));
    assert!(cli.is_some_and(|cli| cli.name.contains("mock-claude")), "{:?}", run.targets[0].grown);
    bench.is_clean();
}

/// `cargo test --release --test it -- --ignored --nocapture each_planted_heap_leak`
#[test]
#[ignore = "twenty profiles of each leak take half an hour"]
fn each_planted_heap_leak_is_ranked_first_twenty_times_of_twenty() {
    let runs: u32 = 20;
    for (plant, kind, restarts) in [
        ("heap-block", "HeapBlock", "20"),
        ("heap-bytes", "HeapBytes", "20"),
        ("slow", "Slow", "20"),
        ("heap-block,every=10", "HeapBlock", "60"),
    ] {
        let mut first = 0;
        for seed in 1..=runs {
            let bench = Bench::new();
            let seed = seed.to_string();
            let (profile, printed, _) =
                profiled(&bench, "again", &["--plant", plant, "--restarts", restarts, "--seed", &seed]);
            let right = profile.sites.first().is_some_and(|site| place(site) == (KEPT.to_owned(), line_of(kind)));
            first += u32::from(right && profile.sites.len() == 1);
            if !right {
                println!("{plant}, seed {seed}:\n{printed}");
            }
        }
        println!("{plant}: {first} of {runs} ranked first, and alone");
        assert_eq!(first, runs, "{plant}");
    }
}
