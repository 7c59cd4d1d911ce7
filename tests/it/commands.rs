//! `leakgate` as a command: what it prints, how it ends, what it leaves.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command as Process, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use assert_cmd::Command;
use leakgate_judge::sample::Metric;
use leakgate_judge::verdict::{Finding, Verdict};
use predicates::prelude::PredicateBooleanExt;
use predicates::str::contains;
use tempfile::TempDir;

const LEAKGATE: &str = env!("CARGO_BIN_EXE_leakgate");

/// A folder of its own for reports and for everything that the targets are given.
pub(crate) struct Bench {
    folder: TempDir,
}

impl Bench {
    pub(crate) fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// `leakgate` with `args`, outside of cargo.
    pub(crate) fn leakgate(&self, args: &[&str]) -> Command {
        let mut command = Command::new(LEAKGATE);
        command.args(args).env("TMPDIR", self.path()).env_remove("CARGO").timeout(Duration::from_mins(3));
        command
    }

    /// The same as `run --out` into this folder, with the fewest restarts that can be judged.
    fn run(&self, args: &[&str]) -> Command {
        let out = self.path().join("out").display().to_string();
        let mut command = self.leakgate(&["run", "--seed", "7", "--target", "sut", "--out", &out]);
        command.args(args);
        command
    }

    fn verdict(&self) -> Verdict {
        serde_json::from_slice(&fs::read(self.path().join("out/verdict.json")).unwrap()).unwrap()
    }

    /// Processes whose environment leads into this folder: everything that a target is or starts.
    pub(crate) fn processes(&self) -> Vec<String> {
        let mark = self.path().join("leakgate-").as_os_str().as_encoded_bytes().to_vec();
        let all = fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path());
        let is_ours = |path: &Path| {
            fs::read(path.join("environ")).is_ok_and(|environ| environ.windows(mark.len()).any(|part| part == mark))
        };
        let command = |path: &Path| fs::read_to_string(path.join("cmdline")).unwrap_or_default().replace('\0', " ");
        all.filter(|path| is_ours(path)).map(|path| command(&path)).collect()
    }

    /// No process and no private folder is left.
    pub(crate) fn is_clean(&self) {
        assert_eq!(self.processes(), [""; 0]);
        let left: Vec<_> = fs::read_dir(self.path()).unwrap().flatten().map(|entry| entry.file_name()).collect();
        assert!(left.iter().all(|name| name == "out" || name == "cli"), "{left:?}");
    }

    /// What calls itself a mock and is none.
    fn broken_cli(&self) -> String {
        fs::create_dir(self.path().join("cli")).unwrap();
        let path = self.path().join("cli/mock-claude");
        fs::write(&path, "#!/bin/sh\necho 'no licence' >&2\nexit 3\n").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path.display().to_string()
    }
}

#[test]
fn a_run_is_stored_and_can_be_judged_again() {
    let bench = Bench::new();
    let report = bench.run(&["--no-controls", "--restarts", "24"]).assert().code(0).stdout(contains("PASS"));
    let verdict = bench.verdict();
    assert_eq!(verdict.verdict, Finding::Pass);
    assert!(verdict.proof.restarts >= 74 && verdict.proof.requests >= 280, "{:?}", verdict.proof);
    report.stderr(contains("restarts on sut: measured"));
    let run = bench.path().join("out/run.json").display().to_string();
    bench.leakgate(&["judge", &run]).assert().code(0).stdout(contains("PASS"));
    bench.is_clean();
}

#[test]
fn the_original_bug_is_a_leak_and_is_named() {
    let bench = Bench::new();
    bench
        .run(&["--plant", "kept-invoker", "--restarts", "24"])
        .assert()
        .code(1)
        .stdout(contains("LEAK  live_invokers grew by 1.00 per restart"))
        .stdout(contains("Leaked at each restart"))
        .stdout(contains("+1.00 process cc-openai-wrapper keep"));
    bench.is_clean();
}

#[test]
fn a_leak_at_every_fifth_restart_is_a_leak() {
    let bench = Bench::new();
    bench.run(&["--plant", "fd,every=5", "--restarts", "24"]).assert().code(1);
    let named: Vec<Metric> =
        bench.verdict().metrics.iter().filter(|row| row.verdict == Finding::Leak).map(|row| row.name).collect();
    assert_eq!(named, [Metric::FdsFile]);
    bench.is_clean();
}

#[test]
fn an_orphan_is_counted_and_then_ended() {
    let bench = Bench::new();
    bench.run(&["--plant", "orphan", "--restarts", "4"]).assert().code(1).stdout(contains("orphans: 1 process"));
    bench.is_clean();
}

#[test]
fn crashes_and_leaving_clients_leave_nothing() {
    let bench = Bench::new();
    bench.run(&["crashes", "streams", "--no-controls", "--restarts", "48", "--slots", "2"]).assert().code(0);
    let verdict = bench.verdict();
    assert!(verdict.proof.errors > 0, "the CLI crashed in the middle of turns: {:?}", verdict.proof);
    bench.is_clean();
}

#[test]
fn a_wrong_word_is_told_the_right_ones() {
    let bench = Bench::new();
    bench.run(&["nights"]).assert().code(2).stderr(contains("overnight"));
    bench.run(&["--plant", "everything"]).assert().code(2).stderr(contains("kept-invoker"));
    bench.run(&["--recording", "no-such"]).assert().code(2).stderr(contains("2.1.330/ten-turns"));
    bench.run(&["--recording", "bad-flag"]).assert().code(2).stderr(contains("choose one that has"));
    bench.run(&["--recording", "/nowhere/x.jsonl"]).assert().code(2).stderr(contains("/nowhere/x.jsonl"));
    bench.leakgate(&["judge", LEAKGATE]).assert().code(2).stderr(contains("is not a run.json"));
    bench.is_clean();
}

#[test]
fn a_cli_that_is_missing_or_broken_is_told_before_or_instead_of_a_verdict() {
    let bench = Bench::new();
    bench.run(&["--cli", "/nowhere/claude"]).assert().code(2).stderr(contains("there is no program /nowhere/claude"));
    bench
        .run(&["--no-controls", "--cli", &bench.broken_cli()])
        .assert()
        .code(4)
        .stdout(contains("INVALID"))
        .stdout(contains("no licence"));
    bench.is_clean();
}

#[test]
fn reports_that_cannot_be_written_are_told_before_anything_runs() {
    let bench = Bench::new();
    fs::write(bench.path().join("out"), "a file").unwrap();
    bench.run(&[]).assert().code(2).stderr(contains("choose another with --out"));
    fs::remove_file(bench.path().join("out")).unwrap();
    for name in ["run.json", "verdict.json", "junit.xml"] {
        fs::create_dir_all(bench.path().join("out").join(name)).unwrap();
        let refused = bench.run(&["--report", "junit"]).assert().code(2);
        refused.stderr(contains(format!("out/{name}: it is a folder")));
        fs::remove_dir(bench.path().join("out").join(name)).unwrap();
    }
    bench.is_clean();
}

/// `leakgate` with its stdout and stderr going wherever `redirected` says.
fn redirected(bench: &Bench, redirected: &str, args: &[&str]) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", &format!("\"$0\" \"$@\" {redirected}"), LEAKGATE]).args(args);
    command.env("TMPDIR", bench.path()).env_remove("CARGO").timeout(Duration::from_mins(3));
    command
}

#[test]
fn a_run_is_stored_and_judged_whether_or_not_its_report_can_be_printed() {
    let bench = Bench::new();
    let out = bench.path().join("out");
    let run = ["run", "--no-controls", "--restarts", "24", "--target", "sut", "--out", out.to_str().unwrap()];
    let leaky = [&run[..], &["--plant", "zombie"]].concat();
    for (to, args, code) in [(">/dev/full", &run[..], 0), (">/dev/full 2>/dev/full", &leaky, 1), (">&- 2>&-", &run, 0)]
    {
        let ended = redirected(&bench, to, args).assert().code(code);
        if to == ">/dev/full" {
            ended.stderr(
                contains("cannot write to stdout").and(contains(out.join("verdict.json").display().to_string())),
            );
        }
        for name in ["run.json", "verdict.json", "report.html", "report.md"] {
            fs::remove_file(out.join(name)).unwrap_or_else(|error| panic!("{to}: {name}: {error}"));
        }
    }
    bench.is_clean();
}

#[test]
fn a_run_whose_reader_has_gone_ends_as_its_verdict_says() {
    let bench = Bench::new();
    let out = bench.path().join("out");
    #[expect(clippy::disallowed_methods, reason = "it is waited for below")]
    let mut child = Process::new(LEAKGATE)
        .args(["run", "--no-controls", "--restarts", "24", "--target", "sut", "--plant", "zombie", "--out"])
        .arg(&out)
        .env("TMPDIR", bench.path())
        .env_remove("CARGO")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop((child.stdout.take(), child.stderr.take()));
    assert_eq!(child.wait().unwrap().code(), Some(1));
    assert_eq!(bench.verdict().verdict, Finding::Leak);
    bench.leakgate(&["judge", out.join("run.json").to_str().unwrap()]).assert().code(1);
    redirected(&bench, ">/dev/full", &["judge", out.join("run.json").to_str().unwrap()]).assert().code(1);
    bench.is_clean();
}

#[test]
fn a_profile_is_stored_whether_or_not_it_can_be_printed() {
    let bench = Bench::new();
    let out = bench.path().join("out");
    let args = ["profile", "--restarts", "8", "--out", out.to_str().unwrap()];
    redirected(&bench, ">/dev/full", &args).assert().code(0).stderr(contains("the profile is in"));
    assert!(out.join("profile.json").is_file() && out.join("dhat-heap.json").is_file());
    bench.is_clean();
}

#[test]
fn a_path_that_is_no_utf_8_works_or_is_refused_before_anything_runs() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let bench = Bench::new();
    let odd = OsStr::from_bytes(b"out-\xff");
    let out = bench.path().join("out").join(odd);
    let mut run = bench.leakgate(&["run", "--no-controls", "--restarts", "24", "--target", "sut", "--out"]);
    run.arg(&out).env("HOME", bench.path().join(odd)).assert().code(0);
    let run: leakgate_judge::sample::Run = serde_json::from_slice(&fs::read(out.join("run.json")).unwrap()).unwrap();
    assert!(run.environment.command.contains(r"out-\xff'"), "{}", run.environment.command);
    let refused = bench.run(&["--no-controls"]).env("TMPDIR", bench.path().join("out").join(odd)).assert().code(2);
    refused.stderr(contains("TMPDIR is"));
    bench.is_clean();
}

#[test]
fn a_folder_that_is_removed_while_the_run_goes_on_is_made_again() {
    let bench = Bench::new();
    let (out, started) = (bench.path().join("out"), Instant::now());
    let mut run = bench.run(&["--no-controls", "--restarts", "24"]);
    let ended = thread::scope(|scope| {
        let ended = scope.spawn(move || run.assert());
        while bench.processes().is_empty() {
            assert!(started.elapsed() < Duration::from_mins(1));
            thread::sleep(Duration::from_millis(5));
        }
        fs::remove_dir(&out).unwrap();
        ended.join().unwrap()
    });
    ended.code(0);
    assert_eq!(bench.verdict().verdict, Finding::Pass);
    bench.is_clean();
}

#[test]
fn a_missing_sibling_is_told_with_the_command_that_builds_it() {
    let bench = Bench::new();
    let alone = bench.path().join("cli");
    fs::copy(LEAKGATE, &alone).unwrap();
    let mut command = Command::new(alone);
    let out = bench.path().join("out");
    command.args(["run", "--out"]).arg(out).env_remove("CARGO").env("TMPDIR", bench.path());
    command.assert().code(5).stderr(contains("-p leakgate --bins"));
}

#[test]
fn an_interrupted_run_leaves_nothing_running() {
    let bench = Bench::new();
    #[expect(clippy::disallowed_methods, reason = "it is waited for below, whatever happens")]
    let mut child = Process::new(LEAKGATE)
        .args(["run", "--plant", "orphan", "--out"])
        .arg(bench.path().join("out"))
        .env("TMPDIR", bench.path())
        .env_remove("CARGO")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let deadline = Instant::now() + Duration::from_secs(30);
    while !bench.processes().iter().any(|command| command.contains("--own-session")) {
        assert!(Instant::now() < deadline, "{:?}", bench.processes());
        thread::sleep(Duration::from_millis(5));
    }
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(5));
    bench.is_clean();
}
