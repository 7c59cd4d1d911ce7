//! The command line and the environment of a CLI process.
//!
//! A client must not be able to make the CLI read files of the server. But it does: for `@/path`, `@./path` and
//! `@"a path"` anywhere in a user message it puts the file (or the folder's listing) in front of the message, with
//! `--tools ""` as well, and without any question (seen on 2.1.19 and 2.1.330). `CLAUDE_CODE_DISABLE_ATTACHMENTS=1`
//! switches that off in both, `@agent-NAME` and `@server:resource` included. A message that begins with a slash is a
//! command of the CLI's; [`event::user_message`] sees to that. A leading `!` or `#` is text.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};

use crate::allocator;
use crate::config::Config;
use crate::descriptors;
use crate::keeper;
use crate::runtime::MARK;

pub mod account;
pub(crate) mod codec;
pub(crate) mod endpoint;
pub mod event;
pub(crate) mod quota;
pub(crate) mod system_prompt;

use account::Account;

/// Variables that a CLI sets for its children. Ours must not inherit them when the server runs inside another CLI.
const NESTING_VARIABLES: [&str; 2] = ["CLAUDECODE", "CLAUDE_CODE_ENTRYPOINT"];

/// Our own variables, secrets among them, begin with this; none is the CLI's business.
const OWN_PREFIX: &str = "CCW_";

/// The system prompt of every conversation; a request's own instructions go into its turn.
const SYSTEM_PROMPT: &str = "You answer requests that reach you through an API. Answer with the reply alone.";

/// The command of each invoker.
#[derive(Debug, Clone)]
pub struct ClaudeCommand {
    program: PathBuf,
    args: Vec<OsString>,
    account: Account,
    /// Variables of the server that the CLI does not inherit.
    withheld: Vec<OsString>,
}

/// A started CLI, under its keeper.
#[derive(Debug)]
pub struct ClaudeProcess {
    /// The keeper: its exit means that the whole tree is gone.
    pub keeper: Child,
    /// To the CLI.
    pub stdin: ChildStdin,
    /// From the CLI.
    pub stdout: ChildStdout,
    /// From the CLI, and from the keeper when it cannot start it.
    pub stderr: ChildStderr,
}

impl ClaudeCommand {
    /// The command line for `config`. The system prompt comes from the file `system_prompt`, where there is one; what
    /// `account` must not see is withheld.
    #[must_use]
    pub fn new(config: &Config, account: Account, system_prompt: Option<&Path>) -> Self {
        let prompt: [OsString; 2] = match system_prompt {
            Some(path) => ["--system-prompt-file".into(), path.into()],
            None => ["--system-prompt".into(), SYSTEM_PROMPT.into()],
        };
        let mut args: Vec<OsString> = [
            ["--input-format", "stream-json"].as_slice(),
            &["--output-format", "stream-json"],
            &["--verbose", "--include-partial-messages"],
            &["--model", &config.model],
            &["--tools", ""],
            &["--strict-mcp-config"],
            &["--setting-sources", ""],
            &["--no-session-persistence"],
        ]
        .concat()
        .into_iter()
        .map(OsString::from)
        .collect();
        args.extend(prompt);
        args.extend(config.cli_args.iter().map(OsString::from));
        let own = std::env::vars_os()
            .map(|(name, _)| name)
            .filter(|name| name.as_encoded_bytes().starts_with(OWN_PREFIX.as_bytes()));
        let allocator = allocator::is_set_up().then_some(allocator::VARIABLE);
        let withheld = account
            .withheld_variables()
            .chain(NESTING_VARIABLES)
            .chain(allocator)
            .map(OsString::from)
            .chain(own)
            .collect();
        Self { program: config.cli.clone(), args, account, withheld }
    }

    /// The account that pays for its turns.
    #[must_use]
    pub fn account(&self) -> Account {
        self.account
    }

    /// The command line that asks for the CLI's version.
    #[must_use]
    pub fn for_version(config: &Config) -> Self {
        Self { args: vec!["--version".into()], ..Self::new(config, Account::Subscription, None) }
    }

    /// Starts the CLI under a keeper of its own. Its temporary files go to `scratch`; it and everything below it carry
    /// `mark`.
    pub fn spawn(&self, scratch: &Path, mark: &str) -> std::io::Result<ClaudeProcess> {
        // Ourselves, even when the file was replaced by an update in the meantime.
        #[expect(clippy::disallowed_methods, reason = "the keeper is what ends a tree; it ends itself when we die")]
        let mut command = Command::new("/proc/self/exe");
        command.arg0("cc-openai-wrapper").arg(keeper::VERB);
        if let Some(limit) = descriptors::inherited_limit() {
            command.arg("--open-files").arg(limit.to_string());
        }
        command.arg("--parent").arg(std::process::id().to_string());
        command.arg("--scratch").arg(scratch).arg("--").arg(&self.program).args(&self.args);
        for name in &self.withheld {
            command.env_remove(name);
        }
        command.env(MARK, mark).env("DISABLE_AUTOUPDATER", "1").env("CLAUDE_CODE_DISABLE_ATTACHMENTS", "1");
        // A group of its own: Ctrl-C in the server's terminal is for the server alone.
        command.process_group(0).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut keeper = command.spawn()?;
        match (keeper.stdin.take(), keeper.stdout.take(), keeper.stderr.take()) {
            (Some(stdin), Some(stdout), Some(stderr)) => Ok(ClaudeProcess { keeper, stdin, stdout, stderr }),
            _ => Err(std::io::Error::other("the child has no pipes")),
        }
    }
}
