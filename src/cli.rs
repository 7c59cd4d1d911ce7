//! How a CLI process is started, and what it is asked to be.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};

use crate::config::Config;
use crate::keeper;
use crate::runtime::MARK;

pub mod codec;
pub mod event;

/// Variables of the server that the CLI must not inherit: our own secret, and the marks of an enclosing CLI.
const REMOVED: [&str; 3] = ["CCW_API_KEY", "CLAUDECODE", "CLAUDE_CODE_ENTRYPOINT"];

/// The system prompt of every conversation; a request's own instructions go into its turn.
const SYSTEM_PROMPT: &str = "You answer requests that reach you through an API. Answer with the reply alone.";

/// What is started for each invoker.
#[derive(Debug, Clone)]
pub struct CliSpec {
    program: PathBuf,
    args: Vec<OsString>,
}

/// A started CLI, under its keeper.
#[derive(Debug)]
pub struct Cli {
    /// The keeper: its exit means that the whole tree is gone.
    pub keeper: Child,
    /// To the CLI.
    pub stdin: ChildStdin,
    /// From the CLI.
    pub stdout: ChildStdout,
    /// From the CLI, and from the keeper when it cannot start it.
    pub stderr: ChildStderr,
}

impl CliSpec {
    /// The command line for `config`.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        let mut args: Vec<OsString> = [
            ["--input-format", "stream-json"].as_slice(),
            &["--output-format", "stream-json"],
            &["--verbose", "--include-partial-messages"],
            &["--model", &config.model],
            &["--system-prompt", SYSTEM_PROMPT],
            &["--tools", ""],
            &["--strict-mcp-config"],
            &["--setting-sources", ""],
            &["--no-session-persistence"],
        ]
        .concat()
        .into_iter()
        .map(OsString::from)
        .collect();
        args.extend(config.cli_args.iter().map(OsString::from));
        Self { program: config.cli.clone(), args }
    }

    /// The command line that asks for the CLI's version.
    #[must_use]
    pub fn version(config: &Config) -> Self {
        Self { program: config.cli.clone(), args: vec!["--version".into()] }
    }

    /// Starts the CLI under a keeper of its own. Its temporary files go to `scratch`; it and everything below it carry
    /// `mark`.
    pub fn spawn(&self, scratch: &Path, mark: &str) -> std::io::Result<Cli> {
        // Ourselves, even when the file was replaced by an update in the meantime.
        #[expect(clippy::disallowed_methods, reason = "the keeper is what ends a tree; it ends itself when we die")]
        let mut command = Command::new("/proc/self/exe");
        command.arg0("cc-openai-wrapper").arg(keeper::VERB);
        command.arg("--parent").arg(std::process::id().to_string());
        command.arg("--scratch").arg(scratch).arg("--").arg(&self.program).args(&self.args);
        command.env(MARK, mark).env("DISABLE_AUTOUPDATER", "1");
        for name in REMOVED {
            command.env_remove(name);
        }
        // A group of its own: Ctrl-C in the server's terminal is for the server alone.
        command.process_group(0).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut keeper = command.spawn()?;
        match (keeper.stdin.take(), keeper.stdout.take(), keeper.stderr.take()) {
            (Some(stdin), Some(stdout), Some(stderr)) => Ok(Cli { keeper, stdin, stdout, stderr }),
            _ => Err(std::io::Error::other("the child has no pipes")),
        }
    }
}
