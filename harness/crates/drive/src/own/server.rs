//! Our server as a process: starting it, asking it, stopping it.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::process::{Child, Command};
use tokio::time::timeout;

use super::channel::{Channel, ChannelError};
use crate::orphans;
use crate::secrets;
use crate::target::TargetError;
use crate::target::folder::Folder;
use crate::target::tail::Tail;
use leakgate_session::stats::Stats;

/// How long a server may take until it listens.
const START_DEADLINE: Duration = Duration::from_secs(30);
/// How long a server may take to stop; longer than its own ladder for a CLI that ignores everything.
const STOP_DEADLINE: Duration = Duration::from_secs(15);

/// Variables of the caller that must not reach a target: they would change what is measured.
const WITHHELD: [&str; 6] = ["CCW_", "CLAUDE", "ANTHROPIC_", "MOCK_CLAUDE_", "MALLOC_", "GLIBC_TUNABLES"];

/// A program to start, with its arguments and environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Launch {
    /// The program.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<OsString>,
    /// Variables of its environment, beside those that every target gets.
    pub env: Vec<(&'static str, String)>,
}

/// A running server. Dropping it kills the server; whatever the server started is then on its own.
#[derive(Debug)]
pub(super) struct Server {
    child: Child,
    pid: u32,
    address: SocketAddr,
    channel: Channel,
    stderr: Tail,
    folder: Folder,
}

/// The remains of a stopped server.
#[derive(Debug)]
pub(super) struct Stopped {
    /// Its exit status; none when it had to be killed.
    pub(super) status: Option<ExitStatus>,
    /// The end of its stderr.
    pub(super) stderr: String,
    /// The folders that it was given, still there.
    pub(super) folder: Folder,
}

impl Server {
    /// Starts the server and waits until it listens.
    pub(super) async fn start(launch: &Launch) -> Result<Self, TargetError> {
        let folder = Folder::new().map_err(|source| TargetError::Folder { source })?;
        Self::start_in(launch, folder).await
    }

    /// The same in folders that another server had.
    pub(super) async fn start_in(launch: &Launch, folder: Folder) -> Result<Self, TargetError> {
        let mut child = orphans::spawn(&mut build_command(launch, &folder))
            .map_err(|source| TargetError::Spawn { program: launch.program.clone(), source })?;
        let stderr = Tail::drain(child.stderr.take());
        let lost = |what: &str| TargetError::Start { what: what.to_owned(), stderr: String::new() };
        let pid = child.id().ok_or_else(|| lost("it ended at once"))?;
        let pipes = child.stdin.take().zip(child.stdout.take());
        let mut channel = Channel::new(pipes.ok_or_else(|| lost("its pipes are missing"))?);
        match timeout(START_DEADLINE, channel.read_address()).await {
            Ok(Ok(address)) => Ok(Self { child, pid, address, channel, stderr, folder }),
            Ok(Err(error)) => {
                // Its last words and its status come right after the end of its stdout.
                let status = timeout(Duration::from_secs(2), child.wait()).await;
                let what = match status {
                    Ok(Ok(status)) => format!("it ended with {status}"),
                    _ => error.to_string(),
                };
                Err(TargetError::Start { what, stderr: stderr.end().await })
            }
            Err(_) => {
                let what = format!("it did not listen within {} s", START_DEADLINE.as_secs());
                Err(TargetError::Start { what, stderr: stderr.now() })
            }
        }
    }

    /// The server's pid.
    pub(super) fn pid(&self) -> u32 {
        self.pid
    }

    /// Where it listens.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The folder that holds all the folders that it was given.
    pub(super) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The end of its stderr until now.
    pub(super) fn stderr(&self) -> String {
        self.stderr.now()
    }

    /// Reads the stats from the server's channel.
    pub(super) async fn stats(&mut self) -> Result<Stats, TargetError> {
        let answer = self.channel.stats().await;
        self.explain_error(answer)
    }

    /// Has every slot's invoker replaced, so that all are equally fresh.
    pub(super) async fn restart(&mut self) -> Result<(), TargetError> {
        let answer = self.channel.restart().await;
        self.explain_error(answer)
    }

    /// Has a profile of its heap begin, by stacks, which is written to `path` at its end.
    pub(super) async fn begin_profile(&mut self, path: &Path) -> Result<(), TargetError> {
        let answer = self.channel.begin_profile(path).await;
        self.explain_error(answer)
    }

    /// Has the profile end; it is written when this returns.
    pub(super) async fn end_profile(&mut self) -> Result<(), TargetError> {
        let answer = self.channel.end_profile().await;
        self.explain_error(answer)
    }

    /// Tells the server to stop and waits for it; kills it when it does not.
    pub(super) async fn stop(mut self) -> Stopped {
        self.channel.close().await;
        let status = timeout(STOP_DEADLINE, self.child.wait()).await;
        let status = if let Ok(Ok(status)) = status {
            Some(status)
        } else {
            // Killing fails only for a process that is gone already.
            let _ = self.child.kill().await;
            None
        };
        Stopped { status, stderr: self.stderr.end().await, folder: self.folder }
    }

    /// Kills the server and waits for its end.
    pub(super) async fn kill(mut self) -> Stopped {
        // Killing fails only for a process that is gone already.
        let _ = self.child.start_kill();
        let status = self.child.wait().await.ok();
        Stopped { status, stderr: self.stderr.end().await, folder: self.folder }
    }

    fn explain_error<T>(&mut self, answer: Result<T, ChannelError>) -> Result<T, TargetError> {
        answer.map_err(|error| {
            let what = match self.child.try_wait() {
                Ok(Some(status)) => format!("it ended with {status}"),
                _ => error.to_string(),
            };
            TargetError::Gone { what, stderr: self.stderr.now() }
        })
    }
}

fn build_command(launch: &Launch, folder: &Folder) -> Command {
    #[expect(clippy::disallowed_methods, reason = "Server owns the process: it stops, kills and reaps it")]
    let mut command = Command::new(&launch.program);
    command.args(&launch.args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    for (name, _) in std::env::vars_os() {
        if WITHHELD.iter().any(|prefix| name.to_string_lossy().starts_with(prefix)) {
            command.env_remove(name);
        }
    }
    // The program that is started as its CLI may be anything that is called mock-claude.
    for name in secrets::secret_variables() {
        command.env_remove(name);
    }
    // After the removals: these are set by the run, whatever the caller had.
    command.envs(folder.env());
    command.envs(launch.env.iter().map(|(name, value)| (name, value)));
    command
}
