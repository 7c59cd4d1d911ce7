//! `leakgate nightly`, `baseline` and `trend` as commands.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command as Process, Stdio};
use std::time::Duration;

use assert_cmd::Command;
use leakgate_history::builds::Builds;
use leakgate_history::compare::{Change, Pairs};
use leakgate_history::history::History;
use leakgate_history::{Conclusion, Night};
use leakgate_judge::store;
use predicates::prelude::*;
use predicates::str::contains;
use rustix::process::Signal;

use super::{leaking, night};
use crate::commands::Bench;
use crate::runs::healthy;
use crate::support::{script, until};

const SUT: &str = env!("CARGO_BIN_EXE_sut");

/// Nights of their own: programs, a history, reports.
struct Nights {
    bench: Bench,
}

impl Nights {
    fn new() -> Self {
        let nights = Self { bench: Bench::new() };
        fs::create_dir(nights.out()).unwrap();
        nights
    }

    /// Everything is in the one folder that [`Bench`] does not take for something left.
    fn out(&self) -> PathBuf {
        self.bench.path().join("out")
    }

    fn history(&self) -> PathBuf {
        self.out().join("history.sqlite")
    }

    fn stored(&self) -> Vec<Night> {
        History::existing(&self.history()).unwrap().nights().unwrap()
    }

    /// Adds a made-up night, whose programs are the real ones unless `programs` says what is in them.
    fn add(&self, mut night: Night, programs: Option<&str>) -> i64 {
        let folder = self.out().join("programs");
        fs::create_dir_all(&folder).unwrap();
        let paths = [SUT, env!("CARGO_BIN_EXE_sut-heap"), env!("CARGO_BIN_EXE_mock-claude")].map(|real| {
            let path = folder.join(Path::new(real).file_name().unwrap());
            let _ = fs::remove_file(&path);
            match programs {
                None => symlink(real, &path).unwrap(),
                Some(text) => script(&path, text),
            }
            path
        });
        let builds = Builds::beside(&self.history());
        night.build = Some(builds.keep(&paths.each_ref().map(PathBuf::as_path)).unwrap());
        History::open(&self.history()).unwrap().add(&night).unwrap()
    }

    /// leakgate beside a `sut` that leaks.
    fn leaking(&self, plant: &str) -> Command {
        let folder = self.out().join("leaking");
        fs::create_dir_all(&folder).unwrap();
        // Its programs are looked for where it really lies.
        fs::hard_link(env!("CARGO_BIN_EXE_leakgate"), folder.join("leakgate"))
            .or_else(|_| fs::copy(env!("CARGO_BIN_EXE_leakgate"), folder.join("leakgate")).map(|_| ()))
            .unwrap();
        script(&folder.join("sut"), &format!("command=$1\nshift\nexec '{SUT}' \"$command\" '--plant={plant}' \"$@\""));
        symlink(env!("CARGO_BIN_EXE_sut-heap"), folder.join("sut-heap")).unwrap();
        symlink(env!("CARGO_BIN_EXE_mock-claude"), folder.join("mock-claude")).unwrap();
        let mut command = Command::new(folder.join("leakgate"));
        command.env("TMPDIR", self.bench.path()).env_remove("CARGO");
        command
    }

    fn plain(&self) -> Command {
        self.bench.leakgate(&[])
    }

    /// A night of the quickest scenario.
    fn night(&self, mut command: Command, name: &str, args: &[&str]) -> Command {
        command.args(["nightly", "restarts", "--seed", "7", "--out"]).arg(self.out().join(name));
        command.arg("--history").arg(self.history()).args(args).timeout(Duration::from_mins(15));
        command.current_dir(self.out());
        command
    }

    fn accept(&self, args: &[&str]) -> Command {
        let mut command = self.plain();
        command.args(["baseline", "accept", "--by", "the tests"]).args(args).arg("--history").arg(self.history());
        command
    }

    fn of_history(&self, args: &[&str]) -> Command {
        let mut command = self.plain();
        command.args(args).arg("--history").arg(self.history());
        command
    }
}

/// Two nights: the first is accepted. The second's build leaks in leaps, with a pause that is longer than one of the gate's
/// windows, so that the gate takes it for memory that comes and stays (in 58 of 60 runs as short as these); the comparison
/// sees it.
#[test]
fn a_leak_that_the_gate_takes_for_none_is_a_regression_beside_the_baseline() {
    let nights = Nights::new();
    let first = nights.night(nights.plain(), "first", &["--restarts", "10"]).assert();
    // Noisy memory may be undecided after so few restarts.
    first.code(predicate::in_iter([0, 3])).stdout(contains("there is no baseline to compare with"));
    nights.accept(&["--reason", "the first"]).assert().code(0).stdout(contains("Baseline 1"));
    // Of 60 restarts the windows are 30 to 60: it leaps within the second and at the end of the third.
    let leaking = nights.leaking("slow,every=13,from=39,bytes=262144");
    let out = nights.night(leaking, "second", &["--restarts", "10", "--no-controls"]);
    let out = { out }.assert().code(1).stdout(contains("REGRESSION")).stdout(contains("faster than in baseline 1"));
    out.stdout(contains("accepted by the tests"));
    let stored = nights.stored();
    assert_eq!(stored.len(), 2);
    assert_eq!(stored[1].comparison.as_ref().map(|found| found.change), Some(Change::Regression));
    let conclusion = stored[1].conclusion();
    assert!(matches!(conclusion, Conclusion::Regression | Conclusion::Leak), "{conclusion}: {:?}", stored[1].summary);
    let pairs: Pairs = serde_json::from_slice(&fs::read(nights.out().join("second/comparison.json")).unwrap()).unwrap();
    assert_eq!((pairs.baseline.len(), pairs.candidate.len()), (5, 5));
    for file in ["run.json", "verdict.json", "report.html", "report.md", "report.txt"] {
        assert!(nights.out().join("second").join(file).is_file(), "{file}");
    }
    let page = fs::read_to_string(nights.out().join("trend.html")).unwrap();
    assert!(page.contains(&conclusion.to_string()) && page.contains("(baseline 1)"), "both nights are on the page");
    nights.bench.is_clean();
}

#[test]
fn an_expired_budget_fails_a_night_and_names_its_owner() {
    let nights = Nights::new();
    let budget = "[[budget]]\nmetric = \"server-rss-mb\"\nlimit = 500\nreason = \"it was so\"\nowner = \"the ops\"\n";
    let config = nights.out().join("leakgate-nightly.toml");
    fs::write(&config, format!("{budget}expires = \"2020-01-31\"\n")).unwrap();
    let args = ["--restarts", "4", "--no-controls"];
    let night = nights.night(nights.plain(), "a", &args);
    let said = contains("expired on 2020-01-31").and(contains("owner: the ops"));
    { night }.assert().code(2).stdout(contains("EXPIRED").and(said)).stderr(contains("expired on 2020-01-31"));
    fs::write(&config, format!("{budget}expires = \"2999-01-31\"\n").replace("500", "1")).unwrap();
    let night = nights.night(nights.plain(), "b", &args);
    { night }.assert().code(1).stdout(contains("OVER BUDGET").and(contains("over the 1.0 MB of the budget")));
    assert_eq!(
        nights.stored().iter().map(Night::conclusion).collect::<Vec<_>>(),
        [Conclusion::Expired, Conclusion::OverBudget]
    );
    fs::write(&config, "[[budget]]\nlimit = 3\n").unwrap();
    { nights.night(nights.plain(), "c", &args) }.assert().code(2).stderr(contains("missing field"));
    assert_eq!(nights.stored().len(), 2);
    nights.bench.is_clean();
}

#[test]
fn the_programs_of_the_baseline_are_not_compared_with_themselves() {
    let nights = Nights::new();
    nights.add(night(0, 0, healthy()), None);
    nights.accept(&["--reason", "the first"]).assert().code(0);
    let out = nights.night(nights.plain(), "a", &["--restarts", "4", "--no-controls"]);
    let same = contains("the same programs as in baseline 1").and(contains("made differently than baseline 1 (kernel"));
    { out }.assert().code(predicate::in_iter([0, 3])).stdout(same);
    nights.bench.is_clean();
}

#[test]
fn a_baseline_that_cannot_be_driven_any_more_is_not_conclusive() {
    let nights = Nights::new();
    nights.add(night(0, 0, healthy()), Some("echo 'I know no such flag' >&2; exit 2"));
    nights.accept(&["--reason", "the first"]).assert().code(0);
    let out = nights.night(nights.plain(), "a", &["--restarts", "4", "--no-controls"]);
    { out }.assert().code(3).stdout(contains("process 1 of the baseline's build failed"));
    fs::remove_dir_all(nights.out().join("builds").join(nights.stored()[0].build.as_ref().unwrap())).unwrap();
    let out = nights.night(nights.plain(), "b", &["--restarts", "4", "--no-controls"]);
    { out }.assert().code(3).stdout(contains("cannot compare with baseline 1"));
    nights.bench.is_clean();
}

#[test]
fn a_broken_history_is_told_before_anything_is_measured() {
    let nights = Nights::new();
    let text = "no database ".repeat(100);
    fs::write(nights.history(), &text).unwrap();
    let out = nights.night(nights.plain(), "a", &[]);
    let said = contains("is no history of leakgate").and(contains("--history"));
    { out }.assert().code(2).stderr(said).stderr(contains("planned").not());
    assert_eq!(fs::read_to_string(nights.history()).unwrap(), text);
    nights.of_history(&["trend"]).assert().code(2).stderr(contains("is no history of leakgate"));
    fs::remove_file(nights.history()).unwrap();
    nights.of_history(&["baseline", "list"]).assert().code(2).stderr(contains("run `leakgate nightly` first"));
    assert!(!nights.history().exists());
}

#[test]
fn an_interrupted_night_leaves_the_history_as_it_was() {
    for (signal, code) in [(Signal::TERM, Some(5)), (Signal::KILL, None)] {
        let nights = Nights::new();
        nights.add(night(0, 0, healthy()), None);
        let before = nights.stored();
        let mut child = started(&nights);
        until("a server runs", || nights.bench.processes().iter().any(|command| command.contains("serve")));
        rustix::process::kill_process(rustix::process::Pid::from_child(&child), signal).unwrap();
        assert_eq!(child.wait().unwrap().code(), code);
        until("nothing runs any more", || nights.bench.processes().is_empty());
        assert!(!nights.out().join("a/verdict.json").exists());
        assert_eq!(nights.stored(), before);
    }
}

fn started(nights: &Nights) -> Child {
    #[expect(clippy::disallowed_methods, reason = "it is waited for by the caller, whatever happens")]
    let mut command = Process::new(env!("CARGO_BIN_EXE_leakgate"));
    command.args(["nightly", "restarts", "--no-controls", "--out"]).arg(nights.out().join("a"));
    command.arg("--history").arg(nights.history()).env("TMPDIR", nights.bench.path()).env_remove("CARGO");
    command.current_dir(nights.out()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

#[test]
fn only_a_night_that_proved_something_and_did_not_leak_is_accepted() {
    let nights = Nights::new();
    nights.add(night(0, 0, leaking()), None);
    nights.accept(&["--reason", "x"]).assert().code(2).stderr(contains("night 1 is a LEAK"));
    let mut blind = healthy();
    crate::runs::set_last(&mut blind.controls[0].run, leakgate_judge::sample::Metric::FdsPipe, 12);
    nights.add(night(0, 1, blind), None);
    nights.accept(&["--reason", "x"]).assert().code(2).stderr(contains("night 2 is INVALID"));
    let mut without = healthy();
    without.controls.clear();
    nights.add(night(0, 2, without), None);
    nights.accept(&["--reason", "x"]).assert().code(2).stderr(contains("ran without controls"));
    nights.accept(&["99", "--reason", "x"]).assert().code(2).stderr(contains("does not have night 99"));
    nights.accept(&["--reason", " "]).assert().code(2).stderr(contains("say something"));
    nights.of_history(&["baseline", "list"]).assert().code(0).stdout(contains("No night has been accepted"));
}

#[test]
fn baselines_are_listed_and_shown_with_who_and_why() {
    let nights = Nights::new();
    nights.add(night(0, 0, healthy()), None);
    nights.add(night(0, 1, healthy()), Some("exit 1"));
    nights.accept(&["1", "--reason", "the first"]).assert().code(0);
    nights.accept(&["2", "--reason", "memory is \u{1b}[2J meant to grow"]).assert().code(0);
    let list = nights.of_history(&["baseline", "list"]).assert().code(0);
    let list = String::from_utf8(list.get_output().stdout.clone()).unwrap();
    assert!(list.lines().next().unwrap().starts_with("    1 ") && list.contains("the tests: the first"), "{list}");
    assert!(list.contains("\n*   2 ") && !list.contains('\u{1b}'), "{list}");
    let kept = contains("baseline 1 is night 1").and(contains("glibc 2.36")).and(contains("programs in "));
    nights.of_history(&["baseline", "show", "1"]).assert().code(0).stdout(kept);
    fs::remove_dir_all(nights.out().join("builds").join(nights.stored()[1].build.as_ref().unwrap())).unwrap();
    nights.of_history(&["baseline", "show"]).assert().code(0).stdout(contains("are not in"));
    nights.of_history(&["baseline", "show", "9"]).assert().code(2).stderr(contains("no such baseline"));
}

#[test]
fn a_stored_run_is_accepted_with_the_programs_that_made_it_and_only_once() {
    let nights = Nights::new();
    let run = nights.out().join("run.json");
    store::save(&run, &healthy()).unwrap();
    let run = run.display().to_string();
    let programs = Path::new(SUT).parent().unwrap().display().to_string();
    nights.accept(&["--run", &run, "--reason", "x"]).assert().code(2).stderr(contains("--programs"));
    assert!(!nights.history().exists() || nights.stored().is_empty());
    nights.accept(&["--run", &run, "--programs", &programs, "--reason", "x"]).assert().code(0);
    nights
        .accept(&["--run", &run, "--programs", &programs, "--reason", "x"])
        .assert()
        .code(2)
        .stderr(contains("night 1 already"));
    assert_eq!(nights.stored().len(), 1);
    nights.of_history(&["trend", "--last", "1"]).assert().code(0).stdout(contains("trend.html"));
}
