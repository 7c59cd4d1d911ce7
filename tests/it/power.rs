//! `leakgate power`: trials that are kept, gone on with, and told.

use assert_cmd::Command;
use predicates::prelude::PredicateBooleanExt;
use predicates::str::contains;

use crate::commands::Bench;

/// `leakgate power` into this folder.
fn power(bench: &Bench, args: &[&str]) -> Command {
    let mut command = bench.leakgate(&["power", "--out"]);
    command.arg(bench.path()).args(args);
    command
}

#[test]
fn trials_are_kept_and_only_missing_ones_are_run() {
    let bench = Bench::new();
    let kept = || std::fs::read_to_string(bench.path().join("trials.jsonl")).unwrap();
    power(&bench, &["orphan-once", "--trials", "1"])
        .assert()
        .code(0)
        .stdout(contains("| one process that outlives the server | 100 | 1 of 1 | 2.5 to 100.0 % |"));
    let first = kept();
    power(&bench, &["orphan-once", "--trials", "2", "--jobs", "2"]).assert().code(0).stdout(contains("2 of 2"));
    assert!(kept().starts_with(&first) && kept().lines().count() == 2, "{}", kept());
    power(&bench, &["--no-run"]).assert().code(0).stdout(contains("2 of 2"));
    let table: serde_json::Value =
        serde_json::from_slice(&std::fs::read(bench.path().join("power.json")).unwrap()).unwrap();
    assert_eq!((&table["leaks"][0]["caught"]["seen"], &table["clean"]), (&2.into(), &serde_json::json!([])));
}

#[test]
fn a_gate_that_sees_less_than_it_promises_ends_with_4_and_says_what() {
    let bench = Bench::new();
    power(&bench, &["orphan-once", "--trials", "1"]).assert().code(0);
    let file = bench.path().join("trials.jsonl");
    let blind = std::fs::read_to_string(&file).unwrap().replace("[\"orphans\"]", "[]").replace("LEAK", "PASS");
    std::fs::write(&file, blind).unwrap();
    power(&bench, &["--no-run"])
        .assert()
        .code(4)
        .stdout(contains("0 of 1").and(contains("orphan-once: caught 0 of 1, promised 100 of 100")));
}

#[test]
fn a_wrong_case_and_an_empty_folder_are_told_what_to_do() {
    let bench = Bench::new();
    power(&bench, &["fd-101"]).assert().code(2).stderr(contains("\"fd-101\"").and(contains("fd-100, ")));
    power(&bench, &["--no-run"]).assert().code(2).stderr(contains("leave out --no-run"));
    power(&bench, &["--list"]).assert().code(0).stdout(contains("fd-100").and(contains("nothing planted")));
}
