//! A real CLI runs where it can reach nothing, or not at all; and a server that is killed leaves nothing.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use assert_cmd::Command;
use leakgate_judge::sample::{Metric, Run};
use predicates::str::contains;
use tempfile::TempDir;

use crate::support::script;

const LEAKGATE: &str = env!("CARGO_BIN_EXE_leakgate");

fn leakgate(folder: &TempDir, args: &[&str]) -> Command {
    let mut command = Command::new(LEAKGATE);
    let out = folder.path().join("out");
    command.args(["run", "--no-controls", "--target", "sut", "--seed", "7", "--out"]).arg(out).args(args);
    command.env("TMPDIR", folder.path()).env_remove("CARGO").timeout(Duration::from_mins(3));
    command
}

/// What is taken for a real CLI: it writes down what it sees, tells a version, and fails otherwise.
fn real_cli(folder: &TempDir) -> (PathBuf, PathBuf) {
    let (cli, seen) = (folder.path().join("claude"), folder.path().join("seen"));
    let text = "#!/bin/sh\n(cat /proc/self/net/dev; env) >>SEEN\n[ \"$1\" = --version ] && echo '9.9.9 (test)' && exit 0\nexit 3\n";
    script(&cli, &text.replace("SEEN", &seen.display().to_string()));
    (cli, seen)
}

#[test]
fn a_real_cli_without_isolation_is_refused_and_not_even_asked_for_its_version() {
    let folder = tempfile::tempdir().unwrap();
    let (cli, seen) = real_cli(&folder);
    let cli = cli.display().to_string();
    leakgate(&folder, &["--cli", &cli]).assert().code(2).stderr(contains("add --offline"));
    assert!(!seen.exists(), "it was run");
    leakgate(&folder, &["crashes", "--cli", &cli, "--offline"]).assert().code(2);
    leakgate(&folder, &["--cli", "no-such-program", "--offline"])
        .assert()
        .code(2)
        .stderr(contains("harness/cli/install"));
}

#[test]
fn a_real_cli_sees_loopback_alone_and_no_key_of_the_callers() {
    let folder = tempfile::tempdir().unwrap();
    let (cli, seen) = real_cli(&folder);
    let cli = cli.display().to_string();
    let mut command = leakgate(&folder, &["real", "--cli", &cli, "--offline"]);
    command.env("ANTHROPIC_API_KEY", "callers-own-key").env("CLAUDE_CODE_OAUTH_TOKEN", "callers-own-token");
    let ended = command.assert();
    if !seen.exists() {
        // No namespaces here: then nothing was run, and that is told.
        ended.code(2).stderr(contains("cannot isolate"));
        return;
    }
    ended.code(4).stdout(contains("9.9.9 (real)"));
    let seen = fs::read_to_string(seen).unwrap();
    let interfaces: Vec<&str> =
        seen.lines().filter_map(|line| line.split_once(':')).map(|(name, _)| name.trim()).collect();
    let interfaces: Vec<&&str> = interfaces.iter().filter(|name| !name.contains('=') && !name.contains('|')).collect();
    assert!(interfaces.len() > 1 && interfaces.iter().all(|name| **name == "lo"), "{interfaces:?}");
    assert!(!seen.contains("callers-own"), "{seen}");
    assert!(seen.contains("ANTHROPIC_BASE_URL=http://127.0.0.1:") && seen.contains("DISABLE_TELEMETRY=1"));
    let homes = seen.lines().filter(|line| line.starts_with("HOME="));
    assert!(homes.into_iter().all(|home| home.contains(folder.path().to_str().unwrap())));
}

#[test]
fn where_it_cannot_isolate_it_refuses_to_start() {
    let folder = tempfile::tempdir().unwrap();
    let (cli, seen) = real_cli(&folder);
    // A user namespace in which there may be no network namespace.
    let mut command = Command::new("unshare");
    let inner = "echo 0 >/proc/sys/user/max_net_namespaces && exec \"$@\"";
    command.args(["-Ur", "sh", "-c", inner, "sh", LEAKGATE, "run", "real", "--offline", "--cli"]).arg(&cli);
    command.arg("--out").arg(folder.path().join("out")).env("TMPDIR", folder.path()).env_remove("CARGO");
    let ended = command.timeout(Duration::from_mins(1)).assert().failure();
    let said = String::from_utf8_lossy(&ended.get_output().stderr).into_owned();
    let has_no_user_namespaces = said.contains("unshare: unshare failed");
    assert!(said.contains("cannot isolate") || has_no_user_namespaces, "{said}");
    assert!(!seen.exists(), "it was run");
}

#[test]
fn a_server_that_is_killed_in_the_middle_of_a_turn_leaves_nothing_and_latencies_are_told() {
    let folder = tempfile::tempdir().unwrap();
    leakgate(&folder, &["real", "--restarts", "24"]).assert().code(0).stdout(contains("during a restart"));
    let run: Run = serde_json::from_slice(&fs::read(folder.path().join("out/run.json")).unwrap()).unwrap();
    let target = &run.targets[0];
    assert_eq!((target.totals[&Metric::LeftByKill], target.totals[&Metric::FilesLeft]), (0, 0));
    let latency = target.latency.unwrap();
    assert_eq!(latency.during.requests + latency.between.requests, target.proof.requests);
    assert!(latency.during.requests > 0 && latency.during.p50_ms <= latency.during.max_ms, "{latency:?}");
    leakgate(&folder, &["real", "--plant", "orphan", "--restarts", "4"])
        .assert()
        .code(1)
        .stdout(contains("left_by_kill: 1 process"));
}
