//! A server that is not ours, as a process: starting, readiness, restarts, the stop.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use hyper::Method;
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};

use super::http::ask;
use super::settings::{Home, Mock, Origin, Restart, Settings, Started};
use crate::guard::Guarded;
use crate::probe::Probe;
use crate::probe::tree::Scope;
use crate::target::TargetError;
use crate::target::folder::Folder;
use crate::target::tail::Tail;

/// Between two questions whether it is ready.
const PAUSE: Duration = Duration::from_millis(50);
/// How long an answer about readiness or idleness may take.
const ANSWER: Duration = Duration::from_secs(5);
/// How long a restart by request may take.
const RESTART: Duration = Duration::from_mins(1);

/// A server that answers. Dropping it kills a server that leakgate started.
#[derive(Debug)]
pub(super) struct Server<'a> {
    settings: &'a Settings,
    pid: u32,
    own: Option<Own>,
}

/// What belongs to a server that leakgate started.
#[derive(Debug)]
struct Own {
    child: Child,
    stdout: Tail,
    stderr: Tail,
    folder: Folder,
    /// Holds the mock under the CLI's name, for the PATH.
    _programs: Guarded,
}

/// What a server left that leakgate stopped.
#[derive(Debug)]
pub(super) struct Stopped {
    /// It ended when it was told to.
    pub(super) in_time: bool,
    /// The folders that it was given, still there.
    pub(super) folder: Folder,
    /// The end of what it said.
    pub(super) said: String,
}

impl<'a> Server<'a> {
    /// Starts it, or finds it, and waits until it is ready.
    pub(super) async fn start(settings: &'a Settings, mock: &Path) -> Result<Self, TargetError> {
        let (pid, own) = match &settings.origin {
            Origin::Started(started) => {
                let own = Own::start(started, mock)?;
                (own.child.id().unwrap_or_default(), Some(own))
            }
            Origin::Process(pid) => (*pid, None),
            Origin::Cgroup(_) => (0, None),
        };
        let mut server = Self { settings, pid, own };
        server.until_ready().await?;
        Ok(server)
    }

    async fn until_ready(&mut self) -> Result<(), TargetError> {
        let start = Instant::now();
        let path = self.settings.ready.as_deref();
        loop {
            let (url, key) = (&self.settings.url, self.settings.load.key.as_deref());
            let answer = ask(url, &Method::GET, path.unwrap_or("/"), key, ANSWER).await;
            let problem = match answer {
                Ok((status, _)) if path.is_none() || status.is_success() => return Ok(()),
                Ok((status, _)) => format!("{} answers {status}", url.path(path.unwrap_or("/"))),
                Err(problem) => problem,
            };
            if let Some(what) = self.ended() {
                let what = format!("{what} before it was ready");
                return Err(TargetError::Start { what, stderr: self.last_words().await });
            }
            if start.elapsed() > self.settings.start_deadline {
                let seconds = self.settings.start_deadline.as_secs();
                let what = format!("it was not ready at http://{} within {seconds} s: {problem}", url.host);
                return Err(TargetError::Start { what, stderr: self.said() });
            }
            sleep(PAUSE).await;
        }
    }

    /// The process that leakgate started or was told of; 0 for a control group.
    pub(super) fn pid(&self) -> u32 {
        self.pid
    }

    /// Where the mock counts its processes, if it plays the CLI.
    pub(super) fn counter(&self) -> Option<PathBuf> {
        self.own.as_ref().map(|own| own.folder.counter())
    }

    /// What watches it.
    pub(super) fn probe(&self) -> Result<Probe, TargetError> {
        let cli = self.settings.cli.clone();
        let (scope, folder) = match (&self.settings.origin, &self.own) {
            (Origin::Cgroup(path), _) => (Scope::Cgroup(path.clone()), None),
            (_, Some(own)) => {
                let path = own.folder.path().to_owned();
                (Scope::Marked(self.pid, path.clone()), Some(path))
            }
            _ => (Scope::Tree(self.pid), None),
        };
        Probe::outside(self.pid, scope, folder, cli).map_err(|error| TargetError::Probe { what: error.to_string() })
    }

    /// How it ended, if it has.
    pub(super) fn ended(&mut self) -> Option<String> {
        match &mut self.own {
            Some(own) => own.child.try_wait().ok().flatten().map(|status| format!("it ended with {status}")),
            None if self.pid != 0 && !Path::new("/proc").join(self.pid.to_string()).exists() => {
                Some(format!("the process {} is gone", self.pid))
            }
            None => None,
        }
    }

    /// The end of what it has said.
    pub(super) fn said(&self) -> String {
        self.own.as_ref().map(|own| said(own.stderr.now(), own.stdout.now())).unwrap_or_default()
    }

    async fn last_words(&mut self) -> String {
        match self.own.take() {
            Some(own) => said(own.stderr.end().await, own.stdout.end().await),
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
            Restart::Signal(signal) => send(answers, *signal),
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
        let _ = send(self.pid, Signal::TERM);
        let in_time = timeout(self.settings.stop_deadline, own.child.wait()).await.is_ok();
        let _ = own.child.kill().await;
        let said = said(own.stderr.end().await, own.stdout.end().await);
        Some(Stopped { in_time, folder: own.folder, said })
    }

    /// Kills it with SIGKILL, and the process that answers as well, if that is another one.
    pub(super) async fn kill(mut self, answers: u32) -> Option<Folder> {
        let mut own = self.own.take()?;
        let _ = send(answers, Signal::KILL);
        let _ = own.child.kill().await;
        Some(own.folder)
    }
}

impl Own {
    fn start(started: &Started, mock: &Path) -> Result<Self, TargetError> {
        let folder = Folder::new().map_err(|source| TargetError::Folder { source })?;
        let programs = Guarded::new("leakgate-bin-").map_err(|source| TargetError::Folder { source })?;
        let mut path = std::env::var_os("PATH").unwrap_or_default();
        if started.mock == Mock::Mock {
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
            .kill_on_drop(true)
            .env("PATH", path)
            .env("MOCK_CLAUDE_ECHO_MARK", "true");
        let keep = started.home == Home::Keep;
        command.envs(folder.env().filter(|(name, _)| !(keep && *name == "HOME")));
        command.envs(&started.environment);
        let mut child = command.spawn().map_err(|source| TargetError::Spawn { program: program.into(), source })?;
        let (stdout, stderr) = (Tail::drain(child.stdout.take()), Tail::drain(child.stderr.take()));
        Ok(Self { child, stdout, stderr, folder, _programs: programs })
    }
}

fn said(stderr: String, stdout: String) -> String {
    if stderr.trim().is_empty() { stdout } else { stderr }
}

fn send(pid: u32, signal: Signal) -> Result<(), String> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or("there is no process to signal")?;
    kill_process(pid, signal).map_err(|error| format!("cannot send {signal:?} to the process {pid:?}: {error}"))
}
