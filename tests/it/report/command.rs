//! `leakgate report` as a command.

use std::fs;
use std::path::Path;

use assert_cmd::Command;
use leakgate_judge::sample::Run;
use leakgate_judge::store;
use predicates::prelude::*;
use predicates::str::{contains, starts_with};
use tempfile::TempDir;

use super::formats::{FORMATS, leaking};
use crate::runs::healthy;

fn stored(run: &Run) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    store::save(&folder.path().join("run.json"), run).unwrap();
    folder
}

/// `leakgate report run.json` in this folder.
fn report(folder: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_leakgate"));
    command.current_dir(folder).args(["report", "run.json"]).args(args);
    command
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = entries.collect();
    names.sort_unstable();
    names
}

#[test]
fn without_options_it_prints_what_judge_prints_and_ends_with_0_whatever_the_verdict() {
    let folder = stored(&leaking());
    report(folder.path(), &[]).assert().code(0).stdout(starts_with("LEAK"));
    assert_eq!(names(folder.path()), ["run.json"]);
}

#[test]
fn a_folder_gets_every_format_under_its_own_name() {
    let folder = stored(&healthy());
    report(folder.path(), &["--out", "new/reports"]).assert().code(0).stdout(contains("new/reports/report.html"));
    let mut expected = FORMATS.map(|format| format.file_name().to_owned()).to_vec();
    expected.sort_unstable();
    assert_eq!(names(&folder.path().join("new/reports")), expected);
    let html = fs::read_to_string(folder.path().join("new/reports/report.html")).unwrap();
    assert!(html.starts_with("<!DOCTYPE html>"));
}

#[test]
fn one_format_goes_to_stdout_or_into_a_file() {
    let folder = stored(&healthy());
    report(folder.path(), &["--format", "junit"]).assert().code(0).stdout(starts_with("<?xml"));
    report(folder.path(), &["--format", "markdown", "--out", "-"]).assert().code(0).stdout(starts_with("### "));
    report(folder.path(), &["--format", "sarif", "--out", "a/b.sarif"]).assert().code(0).stdout("");
    assert!(fs::read_to_string(folder.path().join("a/b.sarif")).unwrap().contains("2.1.0"));
    report(folder.path(), &["--format", "html,bencher", "--out", "two"]).assert().code(0);
    assert_eq!(names(&folder.path().join("two")), ["bencher.json", "report.html"]);
}

#[test]
fn what_is_wrong_is_told_with_what_to_do() {
    let folder = stored(&healthy());
    let path = folder.path();
    report(path, &["--format", "pdf"]).assert().code(2).stderr(contains("html").and(contains("pdf")));
    report(path, &["--format", "html,junit"]).assert().code(2).stderr(contains("--out"));
    report(path, &["--out", "run.json/x"]).assert().code(5).stderr(contains("run.json/x"));
    fs::write(path.join("run.json"), "{\"format\": 99}").unwrap();
    report(path, &[]).assert().code(2).stderr(contains("has format 99"));
    fs::write(path.join("run.json"), "<html>").unwrap();
    report(path, &[]).assert().code(2).stderr(contains("is not a run.json"));
    fs::remove_file(path.join("run.json")).unwrap();
    report(path, &[]).assert().code(2).stderr(contains("cannot read run.json"));
    assert_eq!(names(path), Vec::<String>::new());
}
