//! The small parent of each CLI process, which ends its whole tree.
//!
//! Killing a process or its group is not enough: tools and MCP servers put themselves into sessions of their own and
//! outlive both. The keeper is a *child subreaper*: whatever is orphaned below it becomes its own child, so it can go
//! on killing until the kernel says that no child is left (`ECHILD`), and that is the only proof it accepts.
//!
//! The keeper ends the tree when the CLI exits, when the server dies in any way (it watches the server's pidfd), and on
//! SIGQUIT; it forwards SIGTERM to the CLI. Then it relays the CLI's exit status: its code, or 128 + its signal.
//!
//! The keeper is a process and not a thread of the server, so that a SIGKILL of the server leaves nothing behind.

use std::ffi::OsString;
use std::io::Read;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, WaitOptions, getpid, getppid, pidfd_open, wait};
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGQUIT, SIGTERM};

use crate::descriptors;

/// The verb under which a program has to call [`main`].
pub const VERB: &str = "keep";

/// The keeper's own exit codes; every other code is the CLI's.
pub mod exit {
    /// The keeper could not do its work: the reason is on stderr.
    pub const KEEPER: u8 = 125;
    /// The CLI is there and can't be executed.
    pub const NOT_EXECUTABLE: u8 = 126;
    /// There is no such CLI.
    pub const NOT_FOUND: u8 = 127;
}

/// Interval between two rounds of SIGKILL. A SIGKILL takes effect within this, unless the process hangs in the kernel, and
/// then shorter intervals would only use up CPU time.
const KILL_INTERVAL: Duration = Duration::from_millis(5);

/// Rounds of SIGSTOP before the first SIGKILL. A tree that keeps forking would outrun the kill; a stopped one cannot fork.
const MAX_STOP_PASSES: usize = 32;

/// The keeper's command line.
struct Task {
    parent: Pid,
    scratch: PathBuf,
    command: Vec<OsString>,
}

/// Runs the keeper: `[--open-files LIMIT] --parent PID --scratch FOLDER -- CLI ARGS…`. Ends with the CLI's exit status, once no process
/// of its tree is left.
pub fn main(args: impl Iterator<Item = OsString>) -> ExitCode {
    let result = parse_args(args).and_then(|task| {
        let (code, task) = keep_tree(task)?;
        remove_scratch(&task);
        Ok(code)
    });
    result.map_or_else(
        |(code, message)| {
            write_to_stderr(&message);
            ExitCode::from(code)
        },
        ExitCode::from,
    )
}

type Failure = (u8, String);

fn failure(what: &str, error: impl std::fmt::Display) -> Failure {
    (exit::KEEPER, format!("{what}: {error}"))
}

/// Writes to the pipe of the CLI's stderr, whose end the server quotes in its error.
fn write_to_stderr(message: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stderr(), "{message}");
}

fn parse_args(mut args: impl Iterator<Item = OsString>) -> Result<Task, Failure> {
    let usage = || {
        (
            exit::KEEPER,
            "usage: keep [--open-files LIMIT] --parent PID --scratch FOLDER -- CLI [ARG …]; only the server calls it"
                .to_owned(),
        )
    };
    let (mut parent, mut scratch) = (None, None);
    while let Some(flag) = args.next() {
        match flag.to_str() {
            Some("--parent") => {
                let pid = args.next().and_then(|p| p.to_str()?.parse().ok());
                parent = pid.and_then(Pid::from_raw);
            }
            // The soft limit that the CLI is to have, where it is not the server's.
            Some("--open-files") => {
                let limit = args.next().and_then(|limit| limit.to_str()?.parse().ok()).ok_or_else(usage)?;
                descriptors::lower_limit(limit).map_err(|error| failure("limiting open files", error))?;
            }
            Some("--scratch") => scratch = args.next().map(PathBuf::from),
            Some("--") => break,
            _ => return Err(usage()),
        }
    }
    let command: Vec<OsString> = args.collect();
    match (parent, scratch) {
        (Some(parent), Some(scratch)) if !command.is_empty() => Ok(Task { parent, scratch, command }),
        _ => Err(usage()),
    }
}

fn keep_tree(task: Task) -> Result<(u8, Task), Failure> {
    rustix::process::set_child_subreaper(Some(getpid())).map_err(|e| failure("becoming a child subreaper", e))?;
    // The name that `ps` and `top` show; without it they would say `exe`.
    let _ = rustix::thread::set_name(c"ccw-keeper");
    let parent = watch_parent(task.parent)?;
    let signals = Signals::register().map_err(|e| failure("registering signal handlers", e))?;
    // Only this one folder: if the server's own is gone, nothing must bring it back.
    std::fs::create_dir(&task.scratch).map_err(|e| failure(&format!("creating {}", task.scratch.display()), e))?;
    let cli = match start_cli(&task) {
        Ok(cli) => cli,
        Err(error) => {
            remove_scratch(&task);
            return Err(error);
        }
    };
    // After the start, because the CLI inherits these descriptors.
    close_own_stdio();
    let status = wait_for_end(cli, &parent, &signals)?;
    end_tree(&signals);
    Ok((status, task))
}

/// A pidfd of the server. The server may die before this opens it, and its pid may be reused by then; but if the server is
/// still our parent *afterwards*, the pidfd is the right one.
fn watch_parent(parent: Pid) -> Result<OwnedFd, Failure> {
    let pidfd = pidfd_open(parent, PidfdFlags::empty()).map_err(|e| failure("watching the server", e))?;
    if getppid() == Some(parent) { Ok(pidfd) } else { Err(failure("watching the server", "it is gone already")) }
}

/// Starts the CLI on our own stdin, stdout and stderr.
fn start_cli(task: &Task) -> Result<Pid, Failure> {
    let (program, args) = task.command.split_first().ok_or_else(|| failure("starting the CLI", "no command"))?;
    #[expect(clippy::disallowed_methods, reason = "the keeper is the owner that ends the whole tree")]
    let mut command = Command::new(program);
    // Its sockets as well as its temporary files: a CLI that is killed removes neither.
    command.args(args).env("TMPDIR", &task.scratch).env("XDG_RUNTIME_DIR", &task.scratch);
    match process_tree::spawn_when_not_busy(&mut command) {
        Ok(child) => {
            // Reaped by `reap_children`, which waits for every child and not only for this one.
            let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
            pid.ok_or_else(|| failure("starting the CLI", "the system gave no pid"))
        }
        Err(error) => {
            let code = match error.kind() {
                std::io::ErrorKind::NotFound => exit::NOT_FOUND,
                std::io::ErrorKind::PermissionDenied => exit::NOT_EXECUTABLE,
                _ if error.raw_os_error() == Some(Errno::NOEXEC.raw_os_error()) => exit::NOT_EXECUTABLE,
                _ => exit::KEEPER,
            };
            Err((code, format!("cannot start {}: {error}", program.to_string_lossy())))
        }
    }
}

/// Leaves the pipes to the CLI alone, so that the server sees their end when the CLI closes them.
fn close_own_stdio() {
    let null = std::fs::File::options().read(true).write(true).open("/dev/null");
    if let Ok(null) = null {
        let _ = rustix::stdio::dup2_stdin(&null);
        let _ = rustix::stdio::dup2_stdout(&null);
        let _ = rustix::stdio::dup2_stderr(&null);
    }
}

/// Waits until the CLI has exited or has to be killed; gives its exit status.
fn wait_for_end(cli: Pid, parent: &OwnedFd, signals: &Signals) -> Result<u8, Failure> {
    loop {
        let mut fds = [PollFd::new(&signals.wake, PollFlags::IN), PollFd::new(parent, PollFlags::IN)];
        match poll(&mut fds, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(failure("waiting", error)),
        }
        let server_is_gone = !fds[1].revents().is_empty();
        // Before the reaping: a SIGCHLD that comes after it wakes the next poll.
        signals.drain_wake();
        if let Reaped { cli: Some(status), .. } = reap_children(Some(cli)) {
            return Ok(status);
        }
        if server_is_gone || signals.quit.load(Ordering::SeqCst) {
            return Ok(128 + 9);
        }
        if signals.terminate.swap(false, Ordering::SeqCst) {
            let _ = rustix::process::kill_process(cli, Signal::TERM);
        }
    }
}

struct Reaped {
    /// The CLI's exit status, if it was among them.
    cli: Option<u8>,
    /// The kernel says that there is no child at all.
    none_left: bool,
}

/// Reaps every child that has ended.
fn reap_children(cli: Option<Pid>) -> Reaped {
    let mut reaped = Reaped { cli: None, none_left: false };
    loop {
        match wait(WaitOptions::NOHANG) {
            Ok(Some((pid, status))) if Some(pid) == cli => {
                let code = status.exit_status().or_else(|| status.terminating_signal().map(|s| 128 + s));
                reaped.cli = Some(code.and_then(|c| u8::try_from(c).ok()).unwrap_or(exit::KEEPER));
            }
            Ok(Some(_)) | Err(Errno::INTR) => {}
            Ok(None) => return reaped,
            Err(_) => return Reaped { none_left: true, ..reaped },
        }
    }
}

/// Kills until the kernel says that nothing is left.
fn end_tree(signals: &Signals) {
    if reap_children(None).none_left {
        return;
    }
    stop_descendants();
    while !reap_children(None).none_left {
        for pid in process_tree::descendants(getpid().as_raw_nonzero().get()) {
            process_tree::signal_if(pid, Signal::KILL, || is_descendant(pid));
        }
        let pause = Timespec { tv_sec: 0, tv_nsec: i64::from(KILL_INTERVAL.subsec_nanos()) };
        let _ = poll(&mut [PollFd::new(&signals.wake, PollFlags::IN)], Some(&pause));
        signals.drain_wake();
    }
}

/// Stops every descendant, again and again until a look finds no new one: a stopped process cannot fork.
fn stop_descendants() {
    let mut stopped = std::collections::HashSet::new();
    for _ in 0..MAX_STOP_PASSES {
        let running: Vec<i32> = process_tree::descendants(getpid().as_raw_nonzero().get())
            .into_iter()
            .filter(|pid| !stopped.contains(pid))
            .collect();
        if running.is_empty() {
            return;
        }
        for pid in running {
            process_tree::signal_if(pid, Signal::STOP, || is_descendant(pid));
            stopped.insert(pid);
        }
    }
}

fn is_descendant(mut pid: i32) -> bool {
    let own = getpid().as_raw_nonzero().get();
    while pid > 1 {
        match process_tree::parent(pid) {
            Some(parent) if parent == own => return true,
            Some(parent) => pid = parent,
            None => return false,
        }
    }
    false
}

fn remove_scratch(task: &Task) {
    let _ = std::fs::remove_dir_all(&task.scratch);
    if getppid() != Some(task.parent) {
        // The server is gone: the last keeper to leave removes the folders that all of them shared.
        for shared in task.scratch.ancestors().skip(1).take(2) {
            let _ = std::fs::remove_dir(shared);
        }
    }
}

/// The signals that matter, as flags and one pipe that wakes `poll`.
struct Signals {
    wake: UnixStream,
    terminate: Arc<AtomicBool>,
    quit: Arc<AtomicBool>,
}

impl Signals {
    fn register() -> std::io::Result<Self> {
        let (wake, write) = UnixStream::pair()?;
        wake.set_nonblocking(true)?;
        let (terminate, quit) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        // When the server dies while a process of this group is stopped, the kernel sends SIGHUP to all of the group.
        // A handler rather than SIG_IGN, because the CLI would inherit that.
        for signal in [SIGHUP, SIGINT] {
            signal_hook::flag::register(signal, Arc::new(AtomicBool::new(false)))?;
        }
        signal_hook::flag::register(SIGTERM, Arc::clone(&terminate))?;
        signal_hook::flag::register(SIGQUIT, Arc::clone(&quit))?;
        // After the flags: handlers run in the order of registration, and the woken loop must see the flag.
        for signal in [SIGCHLD, SIGTERM, SIGQUIT] {
            signal_hook::low_level::pipe::register(signal, write.try_clone()?)?;
        }
        Ok(Self { wake, terminate, quit })
    }

    fn drain_wake(&self) {
        let mut bytes = [0; 64];
        while matches!((&self.wake).read(&mut bytes), Ok(n) if n > 0) {}
    }
}
