//! `leakgate power`: trials that are kept, gone on with, and told.

use assert_cmd::Command;
use predicates::prelude::PredicateBooleanExt;
use predicates::str::contains;

fn power(out: &std::path::Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_leakgate"));
    command.current_dir(out).args(["power", "--out"]).arg(out).args(args);
    command
}

#[test]
fn trials_are_kept_and_only_missing_ones_are_run() {
    let folder = tempfile::tempdir().unwrap();
    let kept = || std::fs::read_to_string(folder.path().join("trials.jsonl")).unwrap();
    power(folder.path(), &["orphan-once", "--trials", "1"])
        .assert()
        .code(0)
        .stdout(contains("| one process that outlives the server | 100 | 1 of 1 | 2.5 to 100.0 % |"));
    let first = kept();
    power(folder.path(), &["orphan-once", "--trials", "2", "--jobs", "2"]).assert().code(0).stdout(contains("2 of 2"));
    assert!(kept().starts_with(&first) && kept().lines().count() == 2, "{}", kept());
    power(folder.path(), &["--no-run"]).assert().code(0).stdout(contains("2 of 2"));
    let table: serde_json::Value =
        serde_json::from_slice(&std::fs::read(folder.path().join("power.json")).unwrap()).unwrap();
    assert_eq!((&table["leaks"][0]["caught"]["seen"], &table["clean"]), (&2.into(), &serde_json::json!([])));
}

#[test]
fn a_gate_that_sees_less_than_it_promises_ends_with_4_and_says_what() {
    let folder = tempfile::tempdir().unwrap();
    power(folder.path(), &["orphan-once", "--trials", "1"]).assert().code(0);
    let file = folder.path().join("trials.jsonl");
    let blind = std::fs::read_to_string(&file).unwrap().replace("[\"orphans\"]", "[]").replace("LEAK", "PASS");
    std::fs::write(&file, blind).unwrap();
    power(folder.path(), &["--no-run"])
        .assert()
        .code(4)
        .stdout(contains("0 of 1").and(contains("orphan-once: caught 0 of 1, promised 100 of 100")));
}

#[test]
fn a_wrong_case_and_an_empty_folder_are_told_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    power(folder.path(), &["fd-101"]).assert().code(2).stderr(contains("\"fd-101\"").and(contains("fd-100, ")));
    power(folder.path(), &["--no-run"]).assert().code(2).stderr(contains("leave out --no-run"));
    power(folder.path(), &["--list"]).assert().code(0).stdout(contains("fd-100").and(contains("nothing planted")));
}
