//! A server that is not ours, as a process: starting, readiness, restarts, the stop.
//!
//! It gets the caller's environment without what may open an account, and a CLI below it that is not the mock after all finds
//! no way to the API.

use std::ffi::OsString;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hyper::Method;
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};

use super::cli_check::CliCheck;
use super::http::ask;
use super::settings::{Home, Mock, Origin, Restart, Settings, Started};
use super::watch::Watch;
use crate::orphans;
use crate::probe::Probe;
use crate::probe::tree::Scope;
use crate::real_cli;
use crate::target::TargetError;
use crate::target::folder::Folder;
use crate::target::tail::Tail;
use crate::watchdog::WatchedFolder;

/// Between two questions whether it is ready.
const PAUSE: Duration = Duration::from_millis(50);
/// How long an answer about readiness or idleness may take.
const ANSWER: Duration = Duration::from_secs(5);
/// How long a restart by request may take.
const RESTART: Duration = Duration::from_mins(1);

/// A server that answers. Dropping it kills a server that leakgate started.
#[derive(Debug)]
pub(super) struct Server {
    settings: Arc<Settings>,
    pid: u32,
    own: Option<Own>,
}

/// The resources of a server that leakgate started.
#[derive(Debug)]
struct Own {
    child: Child,
    stdout: Tail,
    stderr: Tail,
    folder: Folder,
    withheld: Vec<OsString>,
    /// Holds the mock under the CLI's name, for the PATH.
    _programs: WatchedFolder,
}

/// The remains of a server that leakgate stopped.
#[derive(Debug)]
pub(super) struct Stopped {
    /// Whether it ended by itself after SIGTERM.
    pub(super) in_time: bool,
    /// The folders that it was given, still there.
    pub(super) folder: Folder,
    /// The end of what it output.
    pub(super) output: String,
}

impl Server {
    /// Starts it, or finds it, and waits until it is ready. Its processes are watched from the start.
    pub(super) async fn start(settings: &Arc<Settings>, mock: &Path) -> Result<(Self, Watch), TargetError> {
        let (pid, own) = match &settings.origin {
            Origin::Started(started) => {
                let own = Own::start(started, settings, mock)?;
                (own.child.id().unwrap_or_default(), Some(own))
            }
            Origin::Process(pid) => (*pid, None),
            Origin::Cgroup(_) => (0, None),
        };
        let mut server = Self { settings: Arc::clone(settings), pid, own };
        let has_to_be_mock = settings.mock == Mock::Mock;
        let check = has_to_be_mock.then(|| (server.scope(), CliCheck::new(mock, &settings.cli, pid)));
        let mut watch = Watch::new(server.probe()?, server.counter(), check);
        server.until_ready(&mut watch).await?;
        Ok((server, watch))
    }

    async fn until_ready(&mut self, watch: &mut Watch) -> Result<(), TargetError> {
        let start = Instant::now();
        let settings = Arc::clone(&self.settings);
        let path = settings.ready.as_deref();
        loop {
            let (url, key) = (&settings.url, settings.load.key.as_deref());
            let question = async {
                let answer = ask(url, &Method::GET, path.unwrap_or("/"), key, ANSWER).await;
                if answer.is_err() {
                    sleep(PAUSE).await;
                }
                answer
            };
            let answer = watch.watch_during(question).await;
            let answer = answer.map_err(|own| TargetError::OwnCli { what: own.message(0) })?;
            let problem = match answer {
                Ok((status, _)) if path.is_none() || status.is_success() => return Ok(()),
                Ok((status, _)) => format!("{} answers {status}", url.path(path.unwrap_or("/"))),
                Err(problem) => problem,
            };
            if let Some(what) = self.describe_exit() {
                let what = format!("{what} before it was ready{}", self.withheld_note());
                return Err(TargetError::Start { what, stderr: self.take_last_output().await });
            }
            if start.elapsed() > settings.start_deadline {
                let seconds = settings.start_deadline.as_secs();
                let withheld = self.withheld_note();
                let what = format!("it was not ready at http://{} within {seconds} s: {problem}{withheld}", url.host);
                return Err(TargetError::Start { what, stderr: self.last_output() });
            }
            sleep(PAUSE).await;
        }
    }

    /// Which variables of the caller it did not get.
    pub(super) fn withheld(&self) -> Option<String> {
        let withheld = &self.own.as_ref()?.withheld;
        let names = || withheld.iter().map(|name| name.to_string_lossy()).collect::<Vec<_>>().join(", ");
        (!withheld.is_empty()).then(|| {
            format!(
                "of your environment these were withheld from the server: {} (--keep-env NAME lets one through)",
                names()
            )
        })
    }

    /// The same at the end of a sentence.
    pub(super) fn withheld_note(&self) -> String {
        self.withheld().map_or(String::new(), |withheld| format!("; {withheld}"))
    }

    /// The process that leakgate started or was told of; 0 for a control group.
    pub(super) fn pid(&self) -> u32 {
        self.pid
    }

    /// Where the mock counts its processes, if it plays the CLI.
    fn counter(&self) -> Option<PathBuf> {
        self.own.as_ref().map(|own| own.folder.counter())
    }

    fn scope(&self) -> Scope {
        match (&self.settings.origin, &self.own) {
            (Origin::Cgroup(path), _) => Scope::Cgroup(path.clone()),
            (_, Some(own)) => Scope::Marked(self.pid, own.folder.path().to_owned()),
            _ => Scope::Tree(self.pid),
        }
    }

    fn probe(&self) -> Result<Probe, TargetError> {
        let cli = self.settings.cli.clone();
        let folder = self.own.as_ref().map(|own| own.folder.path().to_owned());
        Probe::new_external(self.pid, self.scope(), folder, cli)
            .map_err(|error| TargetError::Probe { what: error.to_string() })
    }

    /// How it ended, if it has.
    pub(super) fn describe_exit(&mut self) -> Option<String> {
        match &mut self.own {
            Some(own) => own.child.try_wait().ok().flatten().map(|status| format!("it ended with {status}")),
            None if self.pid != 0 && !Path::new("/proc").join(self.pid.to_string()).exists() => {
                Some(format!("the process {} is gone", self.pid))
            }
            None => None,
        }
    }

    /// The end of what it has output.
    pub(super) fn last_output(&self) -> String {
        self.own.as_ref().map(|own| last_output(own.stderr.now(), own.stdout.now())).unwrap_or_default()
    }

    async fn take_last_output(&mut self) -> String {
        match self.own.take() {
            Some(own) => last_output(own.stderr.end().await, own.stdout.end().await),
            None => String::new(),
        }
    }

    /// Has it restart its CLI, where it does not do so by itself. `answers` is the process that answers.
    pub(super) async fn restart(&self, answers: u32) -> Result<(), String> {
        match &self.settings.restart {
            Restart::Turns(_) => Ok(()),
            Restart::Http { method, path } => {
                let key = self.settings.load.key.as_deref();
                let (status, body) = ask(&self.settings.url, method, path, key, RESTART).await?;
                let words = String::from_utf8_lossy(&body).chars().take(200).collect::<String>();
                if status.is_success() { Ok(()) } else { Err(format!("{method} {path} answers {status}: {words}")) }
            }
            Restart::Signal(signal) => send_signal(answers, *signal),
        }
    }

    /// Whether it says that it is idle; also when it is not asked.
    pub(super) async fn is_idle(&self) -> Result<bool, String> {
        let Some(idle) = &self.settings.idle else { return Ok(true) };
        let key = self.settings.load.key.as_deref();
        let (status, body) = ask(&self.settings.url, &Method::GET, &idle.path, key, ANSWER).await?;
        let value: serde_json::Value = serde_json::from_slice(&body)
            .map_err(|error| format!("{} answers {status}, and no JSON ({error})", idle.path))?;
        match value.pointer(&idle.pointer) {
            Some(found) => Ok(*found == idle.equals),
            None => Err(format!("{} has nothing at {} in its JSON", idle.path, idle.pointer)),
        }
    }

    /// Tells it to stop and waits; kills it when it does not. None for one that leakgate did not start.
    pub(super) async fn stop(self) -> Option<Stopped> {
        let mut own = self.own?;
        // One that has ended already needs no signal.
        let _ = send_signal(self.pid, Signal::TERM);
        let in_time = timeout(self.settings.stop_deadline, own.child.wait()).await.is_ok();
        let _ = own.child.kill().await;
        let output = last_output(own.stderr.end().await, own.stdout.end().await);
        Some(Stopped { in_time, folder: own.folder, output })
    }

    /// Kills it with SIGKILL, and the process that answers as well, if that is another one.
    pub(super) async fn kill(mut self, answers: u32) -> Option<Folder> {
        let mut own = self.own.take()?;
        let _ = send_signal(answers, Signal::KILL);
        let _ = own.child.kill().await;
        Some(own.folder)
    }
}

impl Own {
    fn start(started: &Started, settings: &Settings, mock: &Path) -> Result<Self, TargetError> {
        let folder = Folder::new().map_err(|source| TargetError::Folder { source })?;
        let programs = WatchedFolder::new("leakgate-bin-").map_err(|source| TargetError::Folder { source })?;
        let mut path = std::env::var_os("PATH").unwrap_or_default();
        let withheld = settings.withheld();
        if settings.mock == Mock::Mock {
            symlink(mock, programs.path().join("claude")).map_err(|source| TargetError::Folder { source })?;
            let mut first = programs.path().as_os_str().to_owned();
            first.push(":");
            first.push(path);
            path = first;
        }
        let program = started.command.first().cloned().unwrap_or_default();
        #[expect(clippy::disallowed_methods, reason = "Server owns it: it stops, kills and reaps it")]
        let mut command = Command::new(&program);
        command
            .args(started.command.iter().skip(1))
            .current_dir(&started.directory)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // A run that is dropped must not leave its server.
            .kill_on_drop(true)
            .env("PATH", path)
            .env("MOCK_CLAUDE_ECHO_MARK", "true");
        for name in &withheld {
            command.env_remove(name);
        }
        if settings.mock == Mock::Mock {
            command.envs(
                real_cli::dead_end_variables()
                    .into_iter()
                    .filter(|(name, _)| !started.keep_env.iter().any(|kept| kept == name)),
            );
        }
        let keep = started.home == Home::Keep;
        command.envs(folder.env().filter(|(name, _)| !(keep && *name == "HOME")));
        // Last: what the settings name reaches the server, whatever was withheld.
        command.envs(&started.environment);
        let mut child =
            orphans::spawn(&mut command).map_err(|source| TargetError::Spawn { program: program.into(), source })?;
        let (stdout, stderr) = (Tail::drain(child.stdout.take()), Tail::drain(child.stderr.take()));
        Ok(Self { child, stdout, stderr, folder, withheld, _programs: programs })
    }
}

fn last_output(stderr: String, stdout: String) -> String {
    if stderr.trim().is_empty() { stdout } else { stderr }
}

fn send_signal(pid: u32, signal: Signal) -> Result<(), String> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or("there is no process to signal")?;
    kill_process(pid, signal).map_err(|error| format!("cannot send {signal:?} to the process {pid:?}: {error}"))
}
