//! `check` as a command: what it finds, how it ends, and that it leaves nothing.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use assert_cmd::assert::Assert;
use predicates::prelude::PredicateBooleanExt;
use predicates::str::contains;

use super::config::wrapper;
use crate::support::{Options, script, signal_pid, until};

const MOCK: &str = env!("CARGO_BIN_EXE_mock-claude");

fn check(folder: &Path, args: &[&str]) -> Assert {
    let address = if args.contains(&"--listen") { &[][..] } else { &["--listen", "127.0.0.1:0"] };
    let assert = wrapper(folder, &[&["check"], address, args].concat()).assert();
    is_clean(folder);
    assert
}

/// No process whose home is `folder`, and no file but those of the test.
fn is_clean(folder: &Path) {
    let home = folder.to_str().unwrap();
    assert_eq!(process_tree::with_environment("HOME", |value| value == home), []);
    let left: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(left.iter().all(|name| name == "cli" || name == "ccw.toml"), "{left:?}");
}

#[test]
fn all_is_well_with_a_cli_that_answers() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ccw.toml");
    std::fs::write(&file, "max-turns = 7\nmax-idle = 14400\napi-key = 's3cret'").unwrap();
    let readable = |mode| std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
    readable(0o600);
    let mut command = wrapper(folder.path(), &["check", "--listen=127.0.0.1:0", "--config=ccw.toml", "--cli", MOCK]);
    let assert = command.env("CCW_SLOTS", "2").assert().code(0).stderr("");
    let said = String::from_utf8(assert.get_output().stdout.clone()).unwrap();
    is_clean(folder.path());
    let mut settings = insta::Settings::clone_current();
    settings.add_filter(r"\d+(\.\d)? s\b", "[seconds]");
    settings.add_filter(&regex(MOCK), "[mock-claude]");
    settings.add_filter(&regex(folder.path().to_str().unwrap()), "[folder]");
    settings.add_filter("cc-openai-wrapper-[0-9]+", "cc-openai-wrapper-[uid]");
    settings.add_filter(r#"claude-haiku-[0-9-]+: ".*""#, "[model]: [reply]");
    settings.bind(|| insta::assert_snapshot!(said));
    readable(0o604);
    check(folder.path(), &["--cli", MOCK, "--config", "ccw.toml"])
        .code(0)
        .stdout(contains("note  options  every user of this machine can read the key in ccw.toml"));
}

fn regex(path: &str) -> String {
    path.replace('.', "\\.")
}

#[test]
fn a_cli_that_is_missing_is_said_with_where_it_was_looked_for() {
    let folder = tempfile::tempdir().unwrap();
    check(folder.path(), &["--cli", "no-such-cli"])
        .code(1)
        .stdout(contains("WRONG cli      `no-such-cli` is not in PATH, which is /usr/bin:/bin").and(contains("--cli")));
    check(folder.path(), &["--cli", "/nowhere/claude"]).code(1).stdout(contains("/nowhere/claude does not exist"));
    std::fs::write(folder.path().join("cli"), "text").unwrap();
    check(folder.path(), &["--cli", "./cli"]).code(1).stdout(contains("chmod +x"));
}

#[test]
fn a_cli_that_exits_is_said_with_its_last_words() {
    let folder = tempfile::tempdir().unwrap();
    let cli = folder.path().join("cli");
    script(&cli, "echo 'no licence' >&2; exit 3");
    check(folder.path(), &["--cli", "./cli"])
        .code(1)
        .stdout(contains("./cli --version exited with code 3: no licence"));
    script(&cli, "[ \"$1\" = --version ] && echo 1.0 && exit; echo 'no licence' >&2; exit 3");
    let start = contains("ok    cli      ./cli, 1.0").and(contains("WRONG start")).and(contains("no licence"));
    check(folder.path(), &["--cli", "./cli"]).code(1).stdout(start);
}

#[test]
fn a_cli_that_is_another_program_or_too_old_is_said_to_be_one() {
    let folder = tempfile::tempdir().unwrap();
    let cli = folder.path().join("cli");
    script(&cli, "echo rubbish; cat >/dev/null");
    let soon = ["--cli", "./cli", "--start-timeout", "0.3"];
    check(folder.path(), &soon)
        .code(1)
        .stdout(contains("note  cli      this is not a version").and(contains("initialize")));
    script(&cli, "[ \"$1\" = --version ] && echo 1.0 && exit; echo 'error: unknown option --tools' >&2; exit 1");
    check(folder.path(), &["--cli", "./cli"]).code(1).stdout(contains("the CLI is too old for this server"));
}

#[test]
fn a_cli_that_hangs_is_given_up_and_ended() {
    let folder = tempfile::tempdir().unwrap();
    let cli = folder.path().join("cli");
    let soon = ["--cli", "./cli", "--start-timeout", "0.3"];
    script(&cli, "setsid sleep 1000 & sleep 1000");
    check(folder.path(), &soon).code(1).stdout(contains("./cli --version did not exit within 0.3 s"));
    script(&cli, "[ \"$1\" = --version ] && echo 1.0 && exit; setsid sleep 1000 & sleep 1000");
    check(folder.path(), &soon).code(1).stdout(contains("no answer to initialize within 0.3 s"));
    let silent = ["--cli", MOCK, "--cli-arg=--mock-fault=hang", "--silence-timeout", "0.3"];
    check(folder.path(), &silent).code(1).stdout(contains("ok    start").and(contains("WRONG turn")));
}

#[test]
fn an_address_in_use_is_noted_or_wrong_by_who_has_it() {
    let folder = tempfile::tempdir().unwrap();
    let server = Options::new().start();
    let address = server.address.to_string();
    check(folder.path(), &["--listen", &address, "--cli", MOCK])
        .code(0)
        .stdout(contains(format!("note  address  {address} is already in use by cc-openai-wrapper")));
    assert_eq!(server.ask("hello").status, 200, "the server goes on");
    server.stop();
    let other = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = other.local_addr().unwrap().to_string();
    check(folder.path(), &["--listen", &address, "--cli", MOCK])
        .code(1)
        .stdout(contains(format!("WRONG address  {address} is in use by another program")).and(contains("ok    turn")));
}

#[test]
fn wrong_options_are_a_usage_error_and_a_wrong_folder_is_not() {
    let folder = tempfile::tempdir().unwrap();
    check(folder.path(), &["--slots", "0"]).code(2).stdout("");
    check(folder.path(), &["--api-key-file", "none.toml"])
        .code(1)
        .stdout(contains("WRONG keys     none.toml: cannot be read"));
    check(folder.path(), &["--cli", MOCK, "--runtime-dir", "/proc/nowhere"])
        .code(1)
        .stdout(contains("WRONG folder").and(contains("--runtime-dir")).and(contains("skip  turn")));
}

#[test]
fn an_interrupted_check_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    script(&folder.path().join("cli"), "[ \"$1\" = --version ] && echo 1.0 && exit; setsid sleep 1000 & sleep 1000");
    let home = folder.path().to_str().unwrap();
    #[expect(clippy::disallowed_methods, reason = "it is waited for below, whatever happens")]
    let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_sut"))
        .args(["wrapper", "check", "--listen=127.0.0.1:0", "--cli=./cli"])
        .current_dir(folder.path())
        .env("HOME", folder.path())
        .env("TMPDIR", folder.path())
        .env_remove("XDG_RUNTIME_DIR")
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    // The check, the keeper, the shell, and two that sleep.
    until("the CLI runs", || process_tree::with_environment("HOME", |value| value == home).len() == 5);
    signal_pid(child.id().try_into().unwrap(), rustix::process::Signal::INT);
    assert_eq!(child.wait().unwrap().code(), Some(1));
    until("everything is gone", || process_tree::with_environment("HOME", |value| value == home).is_empty());
    until("the folder is gone", || std::fs::read_dir(folder.path()).unwrap().count() == 1);
}
