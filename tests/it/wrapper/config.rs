//! Flags, variables and the file, on the real command.

use std::fmt::Write as _;
use std::path::Path;

use assert_cmd::Command;
use predicates::prelude::PredicateBooleanExt;
use predicates::str::contains;

use crate::support::{Options, PATIENCE, script};

/// `cc-openai-wrapper` in a folder of its own, with no variable but those that it needs.
pub(super) fn wrapper(folder: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sut"));
    command.arg("wrapper").args(args).current_dir(folder).timeout(PATIENCE);
    command.env_clear().env("PATH", "/usr/bin:/bin").env("HOME", folder).env("TMPDIR", folder);
    command
}

/// What the command says to each file, with its exit code.
pub(super) fn complaints(flag: &str, files: &[&str]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let mut said = String::new();
    for text in files {
        std::fs::write(folder.path().join("file.toml"), text).unwrap();
        let output = wrapper(folder.path(), &["serve", flag, "file.toml"]).output().unwrap();
        assert!(output.stdout.is_empty());
        let words = String::from_utf8(output.stderr).unwrap();
        writeln!(said, "{text}\n=> {}: {words}", output.status.code().unwrap()).unwrap();
    }
    said
}

#[test]
fn a_flag_goes_before_a_variable_and_a_variable_before_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ccw.toml");
    std::fs::write(&file, "memory-alert-mb = 600\nlog_format = 'text'").unwrap();
    let file = file.to_str().unwrap();
    let alert = |options: Options| {
        let server = options.start();
        let alert = server.health()["memory"]["alert_mb"].as_u64().unwrap();
        server.stop();
        alert
    };
    assert_eq!(alert(Options::new().flags(&["--config", file])), 600);
    assert_eq!(alert(Options::new().env("CCW_CONFIG", Some(file))), 600);
    let both = || Options::new().flags(&["--config", file]).env("CCW_MEMORY_ALERT_MB", Some("700"));
    assert_eq!(alert(both()), 700);
    assert_eq!(alert(both().flags(&["--memory-alert-mb", "800"])), 800);
}

#[test]
fn every_wrong_key_of_a_file_is_said_with_its_place_and_what_is_expected() {
    let said = complaints(
        "--config",
        &[
            "max-turn = 3",
            "slots = 1\n\nzzz = 1",
            "max-turns = \"3\"",
            "max-turns = 0",
            "slots = 0",
            "slots = [1]",
            "queue = 99999999999999999999999999999999999999999",
            "max-age = \"soon\"",
            "max-age = 0",
            "listen = \"8204\"",
            "standby = \"late\"",
            "strict-params = \"yes\"",
            "model-alias = [\"a\"]",
            "cli-arg = [1]",
            "log = \"x=y=z\"",
            "max-line-bytes = 1.5",
            "cli = 1979-05-27",
            "slots = 2\nslots = 3",
            "max-turns = 2\n# once more\nmax_turns = 3",
            "config = \"x\"",
            "[serve]\nslots = 2",
            "slots",
            "slots = \"",
        ],
    );
    insta::assert_snapshot!(said);
}

#[test]
fn options_that_make_no_sense_together_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let mut said = String::new();
    for args in [
        ["--slots=2000"].as_slice(),
        &["--listen=192.0.2.1:0"],
        &["--model-alias=a=b", "--model-alias=a=c"],
        &["--model="],
        &["--model=--debug"],
        &["--model-alias=a="],
        &["--model-alias=a=a"],
        &["--model-alias=a=b", "--model-alias=b=a"],
        &["--model-alias=a=b", "--model-alias=b=opus"],
        &["--model-alias=a=opus", "--model=a"],
        &["--listen=127.0.0.1:99999"],
        &["--listen=localhost:8204"],
        &["--listen=::1:8204"],
        &["--cli-arg=--output-format=json"],
        &["--cli-arg=--model"],
        &["--cli-arg=--resume"],
    ] {
        let output = wrapper(folder.path(), &[&["serve"], args].concat()).output().unwrap();
        let words = String::from_utf8(output.stderr).unwrap();
        writeln!(said, "{}\n=> {}: {words}", args.join(" "), output.status.code().unwrap()).unwrap();
    }
    insta::assert_snapshot!(said);
}

#[test]
fn a_log_filter_that_is_not_known_is_refused_wherever_it_comes_from() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("file.toml"), "slots = 1\nlog = \"warning\"").unwrap();
    let levels = "expected a level (error, warn, info, debug, trace, off)";
    for verb in ["serve", "check"] {
        let refused = |args: &[&str]| wrapper(folder.path(), &[&[verb], args].concat()).assert().code(2);
        for filter in ["warning", "err", "all", "", " ", ",", "info,loud", "cc_openai_wrapper=loud", "info,[x]=debug"] {
            refused(&["--log", filter]).stderr(contains("--log").and(contains(levels)));
        }
        for filter in ["=debug", "cc_openai_wrapper::htp=debug", "hyper=debug"] {
            refused(&["--log", filter]).stderr(contains("is no module that logs; there are cc_openai_wrapper"));
        }
        refused(&["--log", "cc-openai-wrapper=debug"]).stderr(contains("did you mean `cc_openai_wrapper`?"));
        refused(&["--config", "file.toml"]).stderr(contains("file.toml:2").and(contains("did you mean `warn`?")));
        let variable = wrapper(folder.path(), &[verb]).env("CCW_LOG", "warning").assert().code(2);
        variable.stderr(contains("did you mean `warn`?").and(contains("comes from the variable CCW_LOG")));
    }
}

#[test]
fn a_log_filter_chooses_by_level_and_by_module() {
    for (filter, has_requests, has_invokers) in
        [("warn", false, false), ("INFO,", true, true), ("cc_openai_wrapper::http=info", true, false)]
    {
        let (reader, writer) = std::io::pipe().unwrap();
        let server = Options::new().flags(&["--log", filter]).stderr(writer).start();
        server.ask("hello").text();
        server.stop();
        let log = std::io::read_to_string(reader).unwrap();
        assert_eq!(
            (log.contains("\"request\""), log.contains("invoker started")),
            (has_requests, has_invokers),
            "{log}"
        );
    }
}

#[test]
fn a_file_that_is_missing_or_no_text_is_a_usage_error() {
    let folder = tempfile::tempdir().unwrap();
    let serve = |args: &[&str]| wrapper(folder.path(), &[&["serve"], args].concat()).assert().code(2);
    serve(&["--config", "nowhere.toml"]).stderr(contains("nowhere.toml: cannot be read: No such file"));
    serve(&["--config", "/"]).stderr(contains("/: cannot be read"));
    serve(&["--config", "/dev/zero"]).stderr(contains("larger than"));
    std::fs::write(folder.path().join("latin1"), b"cli = '\xe9'").unwrap();
    serve(&["--config", "latin1"]).stderr(contains("latin1: is not UTF-8"));
    serve(&["--config", ""]).stderr(contains("--config"));
}

#[test]
fn a_wrong_variable_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let serve = || wrapper(folder.path(), &["serve"]);
    serve().env("CCW_SLOTS", "x").assert().code(2).stderr(contains("the value comes from the variable CCW_SLOTS"));
    serve().env("CCW_CLI_ARG", "'x").assert().code(2).stderr(contains("CCW_CLI_ARG: unclosed quote"));
    serve().env("CCW_CONFIG", "none.toml").assert().code(2).stderr(contains("none.toml"));
}

#[test]
fn a_variable_that_is_no_option_is_told_and_ignored() {
    let said = "ignoring the unknown variable CCW_SLOT; did you mean CCW_SLOTS?";
    let server = Options::new().env("CCW_SLOT", Some("s3cret")).env("CCW_INVOKER", Some("1-1-0.1")).start();
    assert!(server.log().contains(said), "{}", server.log());
    assert!(!server.log().contains("s3cret") && !server.log().contains("variable CCW_INVOKER"), "{}", server.log());
    server.stop();
    let folder = tempfile::tempdir().unwrap();
    let mut check = wrapper(folder.path(), &["check", "--listen=127.0.0.1:0", "--cli=none"]);
    check
        .env("CCW_SLOT", "2")
        .env("CCW_ZZZ", "2")
        .assert()
        .code(1)
        .stdout(contains(format!("note  options  {said}")).and(contains(
            "note  options  ignoring the unknown variable CCW_ZZZ; `serve --help` lists the known ones",
        )));
}

#[test]
fn an_address_of_the_api_that_the_environment_sets_is_told_without_its_secrets() {
    let url = "http://user:s3cret@127.0.0.1:9/v1?key=s3cret";
    let server = Options::new().env("ANTHROPIC_BASE_URL", Some(url)).start();
    let log = server.log();
    assert!(log.contains("ANTHROPIC_BASE_URL is set") && log.contains("http://127.0.0.1:9/v1"), "{log}");
    assert!(!log.contains("s3cret"), "{log}");
    server.stop();
    let folder = tempfile::tempdir().unwrap();
    let mut check = wrapper(folder.path(), &["check", "--listen=127.0.0.1:0", "--cli=none"]);
    let said = contains("note  account  ANTHROPIC_BASE_URL is set: requests go to http://127.0.0.1:9/v1\n");
    check.env("ANTHROPIC_BASE_URL", url).assert().code(1).stdout(said.and(contains("s3cret").not()));
}

#[test]
fn an_address_that_cannot_be_had_is_said_with_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let serve = |address: &str| wrapper(folder.path(), &["serve", "--api-key=k", "--listen", address]).assert().code(1);
    let other = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = other.local_addr().unwrap().to_string();
    serve(&address)
        .stderr(contains(format!("cannot listen on {address}")).and(contains("another program is listening there")));
    serve("192.0.2.1:0").stderr(contains("no interface of this machine has this address"));
}

#[test]
fn the_variable_of_cli_arg_holds_several_arguments() {
    let folder = tempfile::tempdir().unwrap();
    let cli = folder.path().join("cli");
    let tell = "[ \"$1\" = --version ] && echo 1.0 && exit; for arg in \"$@\"; do last=\"$last<$arg>\"; done; echo \"$last\" >&2; exit 3";
    script(&cli, tell);
    let check = |args: &[&str]| {
        let mut command = wrapper(folder.path(), &["check", "--listen=127.0.0.1:0", "--cli=./cli"]);
        command.args(args).env("CCW_CLI_ARG", "--one 'two words' \"it's\"");
        command.assert().code(1)
    };
    check(&[]).stdout(contains("<--one><two words><it's>"));
    check(&["--cli-arg=--new 'as it is'"]).stdout(contains("<--new 'as it is'>"));
}

/// Ways in which a key can be given that end in a message, in help or in a list of options.
#[test]
fn no_output_shows_a_key() {
    const KEY: &str = "s3cret-s3cret";
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write("open.toml", &format!("api-key = \"{KEY}"));
    write("space.toml", &format!("api-key = \"{KEY} x\""));
    write("number.toml", &format!("slots = \"{KEY}\""));
    write("colon.toml", &format!("api-key: {KEY}"));
    write("list.toml", &format!("api-key = [\"{KEY}\"]"));
    write("right.toml", &format!("api-key = \"{KEY}\"\nslots = 2"));
    write("keys.toml", &format!("[[key]]\nname = \"a\"\nkey = \"{KEY}\""));
    write("twice.toml", &format!("[[key]]\nname = \"a\"\nkey = \"{KEY}\"\n[[key]]\nname = \"b\"\nkey = \"{KEY}\""));
    write("swapped.toml", &format!("[[key]]\nname = \"{KEY}!\"\nkey = \"a\""));
    write("count.toml", &format!("[[key]]\nname = \"a\"\nkey = \"b\"\nconcurrency = \"{KEY}\""));
    write("broken.toml", &format!("[[key]]\nname = \"a\"\nkey = \"{KEY}"));
    let spaced = format!("{KEY} x");
    let misspelt = format!("--api-kee={KEY}");
    let cases: [(&[&str], &str); 18] = [
        (&["serve", "--api-key", &spaced], ""),
        (&["serve", "--api-key", KEY, "--slots", "x"], ""),
        (&["serve", "--api-key", KEY, "--nonsense"], ""),
        (&["serve", &misspelt], ""),
        (&["serve"], &spaced),
        (&["serve", "--help"], KEY),
        (&["serve", "--slots", "x"], KEY),
        (&["serve", "--config", "open.toml"], ""),
        (&["serve", "--config", "space.toml"], ""),
        (&["serve", "--config", "number.toml"], ""),
        (&["serve", "--config", "colon.toml"], ""),
        (&["serve", "--config", "list.toml"], ""),
        (&["serve", "--config", "right.toml", "--slots", "x"], ""),
        (&["serve", "--config", "right.toml", "--help"], ""),
        (&["serve", "--api-key-file", "twice.toml"], KEY),
        (&["serve", "--api-key-file", "swapped.toml"], KEY),
        (&["serve", "--api-key-file", "count.toml"], KEY),
        (&["serve", "--api-key-file", "broken.toml"], KEY),
    ];
    let checks: [(&[&str], &str); 3] = [
        (&["check", "--cli", "none", "--config", "right.toml", "--log", "trace"], ""),
        (&["check", "--cli", "none", "--api-key-file", "keys.toml", "--listen", "0.0.0.0:0"], ""),
        (&["check", "--cli", "none", "--listen", "0.0.0.0:0"], KEY),
    ];
    for (args, variable) in cases.into_iter().chain(checks) {
        let mut command = wrapper(folder.path(), args);
        if !variable.is_empty() {
            command.env("CCW_API_KEY", variable);
        }
        let output = command.output().unwrap();
        let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(!said.is_empty() && !said.contains(KEY), "{args:?} {variable:?}:\n{said}");
        let help = args.contains(&"--help");
        assert_eq!(output.status.success(), help, "{args:?} {variable:?}:\n{said}");
    }
}
