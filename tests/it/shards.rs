//! Suites in shards: what is put together is what was cut, and nothing that is missing goes unseen.

use std::fs;
use std::path::PathBuf;

use clap::ValueEnum;
use leakgate_judge::sample::suite::{Part, Suite, Unit};
use leakgate_judge::sample::{Metric, Outcome, Run, TargetRun};
use leakgate_judge::suite::assign_shards;
use leakgate_judge::suite::merge::{MergeError, merge_shards};
use leakgate_judge::verdict::{Finding, Verdict, judge};
use leakgate_report::{self, Format};
use predicates::str::contains;
use proptest::prelude::*;
use proptest::sample::select;

use crate::commands::Bench;
use crate::runs::{healthy, set_last, sut, sut_heap};

/// What can befall a unit.
#[derive(Debug, Clone, Copy)]
enum Fate {
    Sound,
    Leaks,
    Loses,
    Fails,
    LeaksTwice,
}

/// What one process stores that runs every unit.
fn whole(fates: &[Fate], seeds: u64) -> Run {
    let mut targets = Vec::new();
    for (at, fate) in fates.iter().enumerate() {
        let at = at as u64;
        let (scenario, seed) = (format!("scenario-{}", at / seeds), 1 + at % seeds);
        let unit = |run: TargetRun| TargetRun { scenario: scenario.clone(), seed: (seeds > 1).then_some(seed), ..run };
        let (mut first, second) = (unit(sut()), unit(sut_heap()));
        match fate {
            Fate::Sound => {}
            Fate::Leaks | Fate::LeaksTwice => set_last(&mut first, Metric::Threads, 90),
            Fate::Loses => *first.totals.get_mut(&Metric::Lost).unwrap() = 2,
            Fate::Fails => first.outcome = Outcome::Failed { what: "it did not start".into() },
        }
        targets.push(first.clone());
        targets.extend(matches!(fate, Fate::LeaksTwice).then_some(first));
        targets.push(second);
    }
    let mut run = Run { targets, seed: 1, ..healthy() };
    run.environment.commit = Some("0123456789ab".into());
    run
}

/// What each shard of the same suite stores.
fn shards(whole: &Run, units: u64, seeds: u64, of: u64) -> Vec<(String, Run)> {
    let costs: Vec<u64> = (0..units).map(|at| 1 + at % 3).collect();
    let numbers = assign_shards(&costs, of);
    let unit = |(at, shard): (u64, &u64)| Unit {
        scenario: format!("scenario-{}", at / seeds),
        seed: 1 + at % seeds,
        shard: *shard,
    };
    let units: Vec<Unit> = (0..).zip(&numbers).map(unit).collect();
    let shard = |number: u64| {
        let is_own = |target: &TargetRun| units.iter().any(|unit| unit.shard == number && unit.matches(target, whole));
        let targets: Vec<TargetRun> = whole.targets.iter().filter(|target| is_own(target)).cloned().collect();
        let mut environment = whole.environment.clone();
        environment.command = format!("{} --shard {number}/{of}", environment.command);
        environment.started_unix += number - 1;
        let controls = if targets.is_empty() { Vec::new() } else { whole.controls.clone() };
        let part = Part { shard: number, environment: environment.clone(), file: None, refused: None };
        let suite = Suite { shards: of, units: units.clone(), options: Vec::new(), merged: false, parts: vec![part] };
        (format!("shard-{number}.json"), Run { environment, controls, targets, suite: Some(suite), ..whole.clone() })
    };
    (1..=of).map(shard).collect()
}

/// A verdict without what tells where it comes from: the controls of each shard, and the shards.
fn without_shards(mut verdict: Verdict) -> Verdict {
    verdict.suite = None;
    let mut seen = std::collections::BTreeSet::new();
    verdict.controls.retain(|control| seen.insert(control.name.clone()));
    verdict.controls.iter_mut().for_each(|control| control.shard = None);
    verdict
}

fn invalid(run: &Run) -> String {
    let verdict = judge(run);
    assert_eq!(verdict.verdict, Finding::Invalid, "{}", verdict.summary);
    assert_eq!(verdict.exit() as u8, 4);
    verdict.invalid.join("\n")
}

/// Something that makes another shard of one.
type Change = fn(&mut Run);

/// Two scenarios with two seeds in three shards.
fn cut() -> Vec<(String, Run)> {
    shards(&whole(&[Fate::Sound; 4], 2), 4, 2, 3)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// In whatever order the files come, and wherever each unit ran.
    #[test]
    fn the_verdict_of_merged_shards_is_that_of_the_whole(
        fates in prop::collection::vec(
            select(vec![Fate::Sound, Fate::Sound, Fate::Sound, Fate::Leaks, Fate::Loses, Fate::Fails, Fate::LeaksTwice]),
            1..7,
        ),
        seeds in 1_u64..4,
        of in 1_u64..6,
        turn in any::<prop::sample::Index>(),
    ) {
        let run = whole(&fates, seeds);
        let mut shards = shards(&run, fates.len() as u64, seeds, of);
        shards.rotate_left(turn.index(usize::try_from(of).unwrap()));
        let merged = merge_shards(shards).unwrap();
        prop_assert_eq!(&merged.targets, &run.targets);
        prop_assert_eq!(&merged.environment, &run.environment);
        let together = judge(&merged);
        prop_assert_eq!(without_shards(together), judge(&run));
    }
}

#[test]
fn a_missing_shard_is_named_with_what_falls_to_it() {
    let mut shards = cut();
    shards.remove(1);
    let says = invalid(&merge_shards(shards).unwrap());
    assert_eq!(says, "shard 2 of 3 is missing: scenario-0 with seed 2");
}

#[test]
fn a_shard_that_is_missing_is_missed_even_where_nothing_falls_to_it() {
    let mut shards = shards(&whole(&[Fate::Sound; 2], 1), 2, 1, 3);
    assert_eq!(shards.remove(2).1.targets, []);
    assert_eq!(invalid(&merge_shards(shards).unwrap()), "shard 3 of 3 is missing: it has no units");
}

#[test]
fn a_leak_is_told_beside_what_is_missing() {
    let run = whole(&[Fate::Leaks, Fate::Sound, Fate::Sound], 1);
    let mut shards = shards(&run, 3, 1, 3);
    shards.retain(|(_, run)| run.targets.iter().any(|target| target.scenario == "scenario-0"));
    let merged = merge_shards(shards).unwrap();
    invalid(&merged);
    assert!(judge(&merged).warnings.contains(&"the shards that are present leak: scenario-0 on sut".to_owned()));
}

#[test]
fn a_shard_that_is_there_twice_is_named_with_its_files() {
    let mut shards = cut();
    shards.push(("again.json".into(), shards[0].1.clone()));
    let merged = merge_shards(shards).unwrap();
    assert_eq!(merged.targets.len(), 8, "none is counted twice");
    assert_eq!(invalid(&merged), "shard 1 of 3 is present 2 times: shard-1.json, again.json");
}

#[test]
fn a_shard_of_another_suite_or_build_is_named_with_what_differs() {
    let changes: [(Change, &str); 6] = [
        (|run| run.environment.commit = Some("fedcba987654".into()), "its commit is fedcba987654"),
        (|run| run.environment.leakgate = "0.2.0".into(), "the leakgate that made it is 0.2.0"),
        (|run| run.environment.rustc = "rustc 1.96.0".into(), "its compiler is rustc 1.96.0"),
        (|run| run.suite.as_mut().unwrap().options.push("--restarts 8".into()), "its suite is --restarts 8"),
        (|run| run.suite.as_mut().unwrap().shards = 4, "the number of shards is 4"),
        (|run| run.suite.as_mut().unwrap().units[3].seed = 9, "scenario-1 with seed 9"),
    ];
    for (change, says) in changes {
        let mut shards = cut();
        change(&mut shards[0].1);
        let found = invalid(&merge_shards(shards).unwrap());
        assert!(found.starts_with("shard-1.json (shard 1 of 3) is not of this suite: "), "{found}");
        assert!(found.contains(says) && found.contains("shard 1 of 3 is missing"), "{found}");
    }
}

#[test]
fn a_shard_that_measured_less_or_more_than_falls_to_it_is_no_shard() {
    let mut shards = cut();
    let of_others = shards[1].1.targets[0].clone();
    shards[0].1.targets.clear();
    shards[2].1.targets.push(of_others);
    let says = invalid(&merge_shards(shards).unwrap());
    assert!(says.contains("shard 1 of 3 did not measure all of its units: scenario-1 with seed 1"), "{says}");
    assert!(says.contains("it holds scenario-0 on sut, which does not fall to it"), "{says}");
}

#[test]
fn a_shard_whose_gate_is_blind_blinds_the_whole() {
    let mut shards = cut();
    set_last(&mut shards[1].1.controls[0].run, Metric::FdsPipe, 12);
    let says = invalid(&merge_shards(shards).unwrap());
    assert!(says.starts_with("control fd was missed in shard 2: "), "{says}");
    let mut shards = cut();
    shards[1].1.controls.clear();
    assert_eq!(invalid(&merge_shards(shards).unwrap()), "shard 2 of 3 ran no controls, but others did");
}

#[test]
fn machines_that_differ_and_sources_without_a_name_are_told() {
    let mut shards = cut();
    let part = |run: &mut Run, cpus| run.environment.cpus = cpus;
    part(&mut shards[2].1, 64);
    for (_, run) in &mut shards {
        run.environment.commit = Some("0123456789ab+changes".into());
    }
    let verdict = judge(&merge_shards(shards).unwrap());
    assert_eq!(verdict.verdict, Finding::Pass, "{:?}", verdict.invalid);
    let warnings = verdict.warnings.join("\n");
    assert!(warnings.contains("CPUs: shard 1, 2; kernel 6.8.0-45-generic, 64 CPUs: shard 3)"), "{warnings}");
    assert!(warnings.contains("no clean commit"), "{warnings}");
}

#[test]
fn a_shard_with_nothing_to_do_passes_and_says_so() {
    let (_, run) = shards(&whole(&[Fate::Sound], 1), 1, 1, 2).remove(1);
    let verdict = judge(&run);
    assert_eq!((verdict.verdict, verdict.summary.as_str()), (Finding::Pass, "nothing was to be measured here"));
    assert!(verdict.warnings[0].contains("shard 2 of 2, with 0 of the suite's 1 units"), "{:?}", verdict.warnings);
    for &format in Format::value_variants() {
        leakgate_report::render(format, &verdict, &run).unwrap();
    }
    let xml = leakgate_report::render(Format::Junit, &verdict, &run).unwrap();
    assert!(!xml.contains("<error") && !xml.contains("<failure"), "{xml}");
}

#[test]
fn a_missed_control_is_invalid_also_where_nothing_was_to_be_measured() {
    let (_, mut run) = shards(&whole(&[Fate::Sound], 1), 1, 1, 2).remove(1);
    run.controls = healthy().controls;
    set_last(&mut run.controls[0].run, Metric::FdsPipe, 12);
    let verdict = judge(&run);
    assert_eq!(verdict.verdict, Finding::Invalid);
    assert!(verdict.summary.contains("control fd was missed"), "{}", verdict.summary);
}

#[test]
fn what_is_no_shard_is_not_merged() {
    let own = ("own.json".to_owned(), healthy());
    assert_eq!(merge_shards(vec![own]), Err(MergeError::NotAShard { file: "own.json".into() }));
    let merged = merge_shards(cut()).unwrap();
    assert_eq!(merge_shards(vec![("all.json".into(), merged)]), Err(MergeError::Merged { file: "all.json".into() }));
    assert_eq!(merge_shards(Vec::new()), Err(MergeError::Nothing));
}

#[test]
fn every_report_tells_the_shards_and_the_seeds() {
    let mut shards = cut();
    shards[2].1.environment.kernel = "6.12.1".into();
    let lost = shards.remove(1);
    assert_eq!(lost.1.targets.len(), 2);
    let run = merge_shards(shards).unwrap();
    let verdict = judge(&run);
    let text = |format| leakgate_report::render(format, &verdict, &run).unwrap();
    for (format, says) in [
        (
            Format::Terminal,
            vec!["shard 2 of 3 is missing", "Scenario scenario-0 on sut, seed 1", "\nShards\n  1 of 3:"],
        ),
        (Format::Markdown, vec!["shard 2 of 3 is missing", "| 2 of 3 | scenario-0 with seed 2 | missing |", "6.12.1"]),
        (Format::Html, vec!["shard 2 of 3 is missing", "<h2>Shards</h2>", "6.12.1"]),
        (Format::Junit, vec!["the suite proves something", "shard 2 of 3 is missing"]),
        (Format::Sarif, vec!["shard 2 of 3 is missing"]),
        (Format::Openmetrics, vec!["leakgate_run_exit_code 4", "seed=\"1\"", "shard=\"3\""]),
        (Format::Bencher, vec!["scenario-0 on sut, seed 1/threads"]),
        (Format::Json, vec!["\"shards\": 3", "shard 2 of 3 is missing"]),
    ] {
        let text = text(format);
        for word in says {
            assert!(text.contains(word), "{word} is not in {format:?}:\n{text}");
        }
    }
    let terminal = text(Format::Terminal);
    let part = terminal.split("\nShards\n").nth(1).unwrap().split("\n\n").next().unwrap();
    insta::assert_snapshot!(part);
}

/// Real runs: two scenarios with two seeds in three shards and one that has nothing to do.
#[test]
fn shards_of_a_real_suite_are_judged_as_one_run() {
    let bench = Bench::new();
    let out = bench.path().join("out");
    let path = |name: &str| out.join(name).display().to_string();
    let suite = ["run", "restarts", "tools", "--seeds", "2", "--restarts", "4", "--target", "sut", "--no-controls"];
    for index in 0..5 {
        let mut command = bench.leakgate(&suite);
        command.args(["--shard", "auto/5", "--out", &path("all")]).env("JOB_COMPLETION_INDEX", index.to_string());
        let ended = command.assert().code(0);
        if index == 4 {
            ended.stdout(contains("nothing was to be measured here"));
        }
    }
    let merge = |args: &[&str]| bench.leakgate(&["merge"]).args(args).args(["--out", &path("whole")]).assert();
    merge(&[&path("all")]).code(0).stdout(contains("PASS")).stdout(contains("1 of 5: "));
    let read = |name: &str| fs::read(out.join(name)).unwrap();
    let verdict: Verdict = serde_json::from_slice(&read("whole/verdict.json")).unwrap();
    let run: Run = serde_json::from_slice(&read("whole/run.json")).unwrap();
    assert_eq!(judge(&run), verdict);
    let units: Vec<(&str, Option<u64>)> = run.targets.iter().map(|run| (run.scenario.as_str(), run.seed)).collect();
    assert_eq!(units, [("restarts", Some(1)), ("restarts", Some(2)), ("tools", Some(1)), ("tools", Some(2))]);
    assert!(!run.environment.command.contains("--shard"), "{}", run.environment.command);

    let four: Vec<PathBuf> = (1..=4).map(|number| out.join(format!("all/shard-{number}-of-5"))).collect();
    let four: Vec<String> = four.iter().map(|path| path.display().to_string()).collect();
    let four: Vec<&str> = four.iter().map(String::as_str).collect();
    merge(&four).code(4).stdout(contains("shard 5 of 5 is missing"));
    let again = path("all/shard-1-of-5/run.json");
    merge(&[&path("all"), &again]).code(4).stdout(contains("shard 1 of 5 is present 2 times"));
    bench.leakgate(&["judge", &path("whole/run.json")]).assert().code(4);
    merge(&[&path("nothing")]).code(2).stderr(contains("cannot read"));
    fs::write(&again, "{").unwrap();
    merge(&[&path("all")]).code(2).stderr(contains("shard-1-of-5/run.json is not a run.json"));
    bench.is_clean();
}

#[test]
fn a_shard_that_nobody_can_run_is_told_before_anything_runs() {
    let bench = Bench::new();
    let refused = |args: &[&str], says: &str| {
        let out = bench.path().join("out").display().to_string();
        let mut command = bench.leakgate(&["run", "--out", &out]);
        command.args(args).env_remove("JOB_COMPLETION_INDEX");
        command.assert().code(2).stderr(contains(says));
    };
    refused(&["--shard", "3/2", "--seed", "1"], "there is no shard 3 of 2");
    refused(&["--shard", "auto/2", "--seed", "1"], "completionMode: Indexed");
    refused(&["--shard", "1/2"], "the same seeds");
    refused(&["--shard", "1/2", "--server", "x", "--url", "http://127.0.0.1:1"], "cannot be used with");
    refused(&["restarts", "restarts", "--seeds", "2"], "named twice");
    assert!(!bench.path().join("out").exists());
}
