//! What a CLI is started with: its environment, its arguments; and when the server refuses to start.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use assert_cmd::Command;
use cc_openai_wrapper::allocator;
use predicates::prelude::PredicateBooleanExt;
use predicates::str::contains;

use crate::support::{Options, PATIENCE, Server, script, until};

/// A CLI that writes down what each of its processes was started with, and then is `mock-claude`.
struct Cli {
    folder: tempfile::TempDir,
}

impl Cli {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (path, mock) = (folder.path().display(), env!("CARGO_BIN_EXE_mock-claude"));
        let text = format!(
            r#"env > {path}/env.$$; printf '%s\n' "$@" > {path}/args.$$
            mkdir {path}/$$; mv {path}/env.$$ {path}/$$/env; mv {path}/args.$$ {path}/$$/args; exec {mock} "$@""#
        );
        script(&folder.path().join("claude"), &text);
        Self { folder }
    }

    fn options(&self) -> Options {
        Options::new().cli(&self.folder.path().join("claude"))
    }

    /// What the `n`th process was given under this name, from 0, once it is there.
    fn given(&self, n: usize, what: &str) -> Vec<String> {
        let mut files = Vec::new();
        until(&format!("process {n} has started"), || {
            let entries = std::fs::read_dir(self.folder.path()).unwrap().flatten();
            files = entries.map(|entry| entry.path().join(what)).filter(|path| path.exists()).collect();
            files.len() > n
        });
        files.sort_by_key(|path| {
            (std::fs::metadata(path).unwrap().mtime(), std::fs::metadata(path).unwrap().mtime_nsec())
        });
        std::fs::read_to_string(&files[n]).unwrap().lines().map(str::to_owned).collect()
    }

    fn environment(&self) -> Vec<String> {
        self.given(0, "env")
    }
}

/// Every variable that says who pays, taken away: the developer's own must not decide a test.
fn unpaid(options: Options) -> Options {
    PAYING.into_iter().fold(options, |options, name| options.env(name, None))
}

const PAYING: [&str; 11] = [
    "ANTHROPIC_API_KEY",
    "ANTHROPIC_AUTH_TOKEN",
    "CLAUDE_CODE_OAUTH_TOKEN",
    "CLAUDE_CODE_USE_ANTHROPIC_AWS",
    "CLAUDE_CODE_USE_ANTHROPIC_GOOGLE_CLOUD",
    "CLAUDE_CODE_USE_BEDROCK",
    "CLAUDE_CODE_USE_FOUNDRY",
    "CLAUDE_CODE_USE_GATEWAY",
    "CLAUDE_CODE_USE_MANTLE",
    "CLAUDE_CODE_USE_VERTEX",
    "CCW_AUTH",
];

#[test]
fn a_subscription_is_never_bypassed_by_a_key_that_lies_about() {
    let cli = Cli::new();
    let options =
        unpaid(cli.options()).env("ANTHROPIC_API_KEY", Some("stray")).env("ANTHROPIC_AUTH_TOKEN", Some("stray"));
    let options =
        options.env("CLAUDE_CODE_USE_BEDROCK", Some("1")).env("ANTHROPIC_CUSTOM_HEADERS", Some("x-api-key: stray"));
    let server = options.env("CLAUDE_CODE_OAUTH_TOKEN", Some("login")).env("OTHER", Some("kept")).start();
    let environment = cli.environment();
    assert!(!environment.iter().any(|line| line.contains("stray") || line.contains("BEDROCK")), "{environment:?}");
    for expected in ["CLAUDE_CODE_OAUTH_TOKEN=login", "OTHER=kept"] {
        assert!(environment.iter().any(|line| line == expected), "{environment:?}");
    }
    assert_eq!(server.health()["auth"], "subscription");
    server.stop();
}

#[test]
fn with_an_api_key_the_key_arrives_and_the_subscription_does_not() {
    let cli = Cli::new();
    let options =
        unpaid(cli.options()).env("ANTHROPIC_API_KEY", Some("paid")).env("CLAUDE_CODE_OAUTH_TOKEN", Some("login"));
    let server = options.flags(&["--auth", "api-key"]).start();
    let environment = cli.environment();
    assert!(environment.iter().any(|line| line == "ANTHROPIC_API_KEY=paid"), "{environment:?}");
    assert!(!environment.iter().any(|line| line.contains("login")), "{environment:?}");
    assert_eq!(server.health()["auth"], "api-key (ANTHROPIC_API_KEY)");
    assert!(
        server.log().contains("api-key (ANTHROPIC_API_KEY)") && !server.log().contains("paid\""),
        "{}",
        server.log()
    );
    server.stop();
}

#[test]
fn the_servers_own_secrets_do_not_reach_the_cli_and_files_are_not_attached() {
    let cli = Cli::new();
    let options = cli.options().env("CCW_API_KEY", Some("own-secret")).env("CCW_LATER", Some("own-secret"));
    let server = options.env("CLAUDE_CODE_DISABLE_ATTACHMENTS", Some("0")).start();
    let environment = cli.environment();
    let own: Vec<_> =
        environment.iter().filter(|line| line.starts_with("CCW_") || line.contains("own-secret")).collect();
    assert!(matches!(own[..], [mark] if mark.starts_with("CCW_INVOKER=")), "{own:?}");
    assert!(environment.iter().any(|line| line == "CLAUDE_CODE_DISABLE_ATTACHMENTS=1"), "{environment:?}");
    server.stop();
}

#[test]
fn the_allocator_is_set_up_for_the_server_alone_and_not_where_somebody_did_it() {
    let with = |cli: &Cli, arenas: Option<&str>| {
        let options = cli.options().env("GLIBC_TUNABLES", None).env("MALLOC_ARENA_MAX", arenas);
        let server = options.start();
        // glibc cuts the value up where it lies as it reads it.
        let environ = std::fs::read(format!("/proc/{}/environ", server.pid())).unwrap();
        let is_set_up = String::from_utf8_lossy(&environ).replace('\0', ":").contains(allocator::SETTINGS);
        let of_cli = cli.environment();
        assert!(!of_cli.iter().any(|line| line.starts_with(allocator::VARIABLE)), "{of_cli:?}");
        server.stop();
        (is_set_up, of_cli.contains(&"MALLOC_ARENA_MAX=4".to_owned()))
    };
    assert_eq!(with(&Cli::new(), None), (true, false));
    assert_eq!(with(&Cli::new(), Some("4")), (false, true));
}

fn refused(flags: &[&str]) -> assert_cmd::assert::Assert {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sut"));
    for name in PAYING {
        command.env_remove(name);
    }
    command.args(["wrapper", "serve", "--listen", "127.0.0.1:0"]).args(flags).timeout(PATIENCE).assert().code(1)
}

#[test]
fn an_api_key_that_is_not_there_is_said_with_what_to_do() {
    refused(&["--auth", "api-key"]).stderr(contains("ANTHROPIC_API_KEY").and(contains("--auth subscription")));
}

#[test]
fn a_system_prompt_file_that_is_of_no_use_is_refused_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("missing.txt").display().to_string();
    refused(&["--system-prompt-file", &missing]).stderr(contains(&missing).and(contains("--system-prompt-file")));
    let empty = folder.path().join("empty.txt");
    std::fs::write(&empty, "").unwrap();
    refused(&["--system-prompt-file", &empty.display().to_string()]).stderr(contains("it is empty"));
}

/// The file that a CLI was given.
fn prompt_file(args: &[String]) -> PathBuf {
    assert!(!args.iter().any(|arg| arg == "--system-prompt" || arg.contains("SECRET")), "{args:?}");
    let flag = args.iter().position(|arg| arg == "--system-prompt-file").unwrap();
    PathBuf::from(&args[flag + 1])
}

fn restart(server: &Server) {
    assert_eq!(server.post("/admin/restart", &serde_json::json!({})).json()["restarted"], 1);
}

#[test]
fn every_restart_has_the_system_prompt_that_the_server_was_started_with() {
    let cli = Cli::new();
    let source = cli.folder.path().join("prompt.txt");
    std::fs::write(&source, "SECRET ünï").unwrap();
    let server = cli.options().flags(&["--system-prompt-file", source.to_str().unwrap()]).start();
    let first = prompt_file(&cli.given(0, "args"));
    server.ask("hello").text();
    std::fs::write(&source, "another").unwrap();
    restart(&server);
    let second = prompt_file(&cli.given(1, "args"));
    assert_eq!(first, second);
    assert_eq!(std::fs::read_to_string(&second).unwrap(), "SECRET ünï");
    assert_eq!(std::fs::metadata(&second).unwrap().mode() & 0o777, 0o600);
    server.ask("hello").text();
    server.stop();
    assert!(!Path::new(&first).exists());
}

#[test]
fn a_cli_that_has_started_is_not_called_unusable_for_its_exit_code() {
    let folder = tempfile::tempdir().unwrap();
    let (cli, exited) = (folder.path().join("claude"), folder.path().join("exited"));
    let ready =
        r#"{"type":"control_response","response":{"subtype":"success","request_id":"initialize","response":{}}}"#;
    let first = format!("read init; echo '{ready}'; read user; exit 127");
    let later = format!("exec {} \"$@\"", env!("CARGO_BIN_EXE_mock-claude"));
    script(&cli, &format!("if mkdir {} 2>/dev/null; then {first}; fi; {later}", exited.display()));
    let server = Options::new().cli(&cli).start();
    // An unusable CLI would take the server offline until the next probe, and the turn with it.
    server.ask("hello").text();
    assert_eq!(server.health()["restarts"]["recovery"], 1);
    server.stop();
}
