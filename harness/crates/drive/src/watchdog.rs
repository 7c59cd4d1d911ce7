//! Cleans up after a leakgate that is killed, from a second process.
//!
//! Nothing can be done by a process that gets SIGKILL, and what it started would go on: a server, its CLIs, their files. So
//! a small process stands beside leakgate, in a process group of its own. Through a pipe it is told of each folder that a
//! target is given; the pipe ends when leakgate does, in whatever way. Then the watchdog kills every process whose
//! environment names such a folder, with all below it, and removes the folder. A process that has left the tree and
//! has another environment by then is not found.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{self, BufRead, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command, ExitCode, Stdio};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use process_tree;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use tempfile::TempDir;

use crate::orphans;
use crate::probe::tree::{Identity, identity};

/// The hidden verb of the second process.
pub const VERB: &str = "guard";

/// The variable that names a target's folder to the target, and so marks its processes.
pub const MARK: &str = "LEAKGATE_FOLDER";

/// Upper bound on killing processes that keep starting others.
const KILL_DEADLINE: Duration = Duration::from_secs(10);
/// A process that is just ending may still write into its folder, so removing it is tried so often.
const MAX_REMOVE_TRIES: u32 = 300;
const REMOVE_RETRY_INTERVAL: Duration = Duration::from_millis(10);

/// The pipe to the watchdog.
static PIPE: Mutex<Option<ChildStdin>> = Mutex::new(None);

/// A temporary folder. Dropping this removes it; the watchdog does so if leakgate is killed before.
#[derive(Debug)]
pub struct WatchedFolder(TempDir);

impl WatchedFolder {
    /// Makes the folder, which nobody else can read.
    pub fn new(prefix: &str) -> io::Result<Self> {
        let folder = tempfile::Builder::new().prefix(prefix).tempdir()?;
        notify(b'+', folder.path());
        Ok(Self(folder))
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for WatchedFolder {
    fn drop(&mut self) {
        remove_folder(self.path());
        notify(b'-', self.path());
    }
}

/// Starts the watchdog, a child of this process that ends after it.
pub fn spawn() -> io::Result<()> {
    #[expect(clippy::disallowed_methods, reason = "it ends when its stdin does, and whoever adopts orphans reaps it")]
    let mut command = Command::new(std::env::current_exe()?);
    // Its own group, because whoever kills the group of leakgate means leakgate.
    command.arg(VERB).process_group(0).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    *pipe() = command.spawn()?.stdin.take();
    Ok(())
}

/// Runs the watchdog: reads folders from stdin until leakgate has ended, and then cleans up what it left.
#[must_use]
pub fn run() -> ExitCode {
    // A signal to the whole session reaches leakgate too; the watchdog has to outlive it, and waits for the end of the pipe.
    for signal in [SIGHUP, SIGINT, SIGTERM] {
        let _ = signal_hook::flag::register(signal, Arc::new(AtomicBool::new(false)));
    }
    let mut folders = BTreeSet::new();
    for told in io::stdin().lock().split(0).map_while(Result::ok) {
        match told.split_first() {
            Some((b'+', folder)) => folders.insert(PathBuf::from(OsString::from_vec(folder.to_vec()))),
            Some((_, folder)) => folders.remove(Path::new(OsStr::from_bytes(folder))),
            None => false,
        };
    }
    for folder in &folders {
        let start = Instant::now();
        while start.elapsed() < KILL_DEADLINE {
            let left = marked_processes(folder);
            if left.is_empty() {
                break;
            }
            orphans::kill_and_wait(&left);
        }
        remove_folder(folder);
    }
    ExitCode::SUCCESS
}

/// The processes that were given this folder, and all below them.
fn marked_processes(folder: &Path) -> Vec<Identity> {
    let marked = process_tree::with_environment(MARK, |value| Path::new(value) == folder);
    let below = marked.iter().flat_map(|id| process_tree::descendants(id.pid));
    let all: BTreeSet<i32> = marked.iter().map(|id| id.pid).chain(below).collect();
    all.into_iter().filter_map(|pid| identity(pid.try_into().ok()?)).collect()
}

fn remove_folder(folder: &Path) {
    for _ in 0..MAX_REMOVE_TRIES {
        if fs::remove_dir_all(folder).is_ok() || !folder.exists() {
            return;
        }
        thread::sleep(REMOVE_RETRY_INTERVAL);
    }
}

/// Tells the watchdog of a folder. Does nothing where none runs.
fn notify(what: u8, folder: &Path) {
    if let Some(guard) = pipe().as_mut() {
        let _ = guard.write_all(&[&[what], folder.as_os_str().as_bytes(), &[0]].concat());
    }
}

fn pipe() -> MutexGuard<'static, Option<ChildStdin>> {
    PIPE.lock().unwrap_or_else(PoisonError::into_inner)
}
