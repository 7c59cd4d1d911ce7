//! Processes that outlived their server: leakgate adopts them, ends them and reaps them.
//!
//! On any other machine init reaps an orphan that ends. Leakgate is the child subreaper, so here it has to: an orphan that it
//! left unreaped would be counted as a zombie of the server. Its own children must be left to those who wait for them, so
//! each is started through [`spawn`] or [`output`], which note it under the same lock that the reaper holds.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::process::{Command, Output, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use process_tree;
use procfs::process::Process;
use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions, getpid, waitpid};

use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{sleep, timeout};

use crate::probe::Probe;
use crate::probe::tree::{Identity, identity};

/// How long a tree may take to be gone after its server.
const CLEAR_DEADLINE: Duration = Duration::from_secs(2);
/// How long a killed process may take to be gone.
const KILL_DEADLINE: Duration = Duration::from_secs(5);

/// A signal that is lost delays a reaping by no more than this.
const REAP_INTERVAL: Duration = Duration::from_millis(200);

/// Leakgate's own children, which others wait for.
static OWN: Mutex<BTreeSet<Identity>> = Mutex::new(BTreeSet::new());

/// Makes this process the parent of every descendant whose own parent ends, so that none can hide.
pub fn adopt_orphans() -> Result<(), Errno> {
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))
}

/// Starts a child that its owner waits for: the reaper of orphans leaves it alone.
pub fn spawn(command: &mut tokio::process::Command) -> io::Result<tokio::process::Child> {
    let mut own = own_children();
    let child = command.spawn()?;
    own.extend(child.id().and_then(identity));
    Ok(child)
}

/// The same for one that is waited for at once, and whose output is what is wanted of it.
pub fn output(command: &mut Command) -> io::Result<Output> {
    let child = {
        let mut own = own_children();
        let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        own.extend(identity(child.id()));
        child
    };
    child.wait_with_output()
}

/// Reaps orphans as init would, for as long as it is polled: each as soon as it has ended.
pub async fn reap_orphans() -> io::Result<()> {
    let mut ended = signal(SignalKind::child())?;
    loop {
        reap_once();
        // The time is over, or a child has ended.
        let _ = timeout(REAP_INTERVAL, ended.recv()).await;
    }
}

/// Reaps every child that has ended and is not leakgate's own.
fn reap_once() {
    // Nothing can be started meanwhile, so that what is not noted yet is nobody's.
    let mut own = own_children();
    own.retain(|id| identity(id.pid) == Some(*id));
    for pid in process_tree::children(getpid().as_raw_nonzero().get()) {
        let is_own = identity(pid.unsigned_abs()).is_none_or(|id| own.contains(&id));
        if let Some(pid) = Pid::from_raw(pid).filter(|_| !is_own) {
            // One that runs on is not touched, and one that is gone already needs nothing.
            let _ = waitpid(Some(pid), WaitOptions::NOHANG);
        }
    }
}

fn own_children() -> MutexGuard<'static, BTreeSet<Identity>> {
    OWN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits until the tree is gone, and ends what is not. Returns the command lines of those that had to be ended.
pub async fn clear_tree(probe: &mut Probe) -> Vec<String> {
    let start = Instant::now();
    let mut left = probe.find_orphans();
    while !left.is_empty() && start.elapsed() < CLEAR_DEADLINE {
        sleep(Duration::from_millis(10)).await;
        left = probe.find_orphans();
    }
    let ids: Vec<_> = left.iter().map(|member| member.id).collect();
    if !ids.is_empty() {
        // Waiting for a killed process blocks the thread; what survives even that is named by the count below.
        let _ = tokio::task::spawn_blocking(move || kill_and_wait(&ids)).await;
    }
    left.into_iter().map(|member| member.command.join(" ")).collect()
}

/// Kills `processes` and waits until they are gone, reaping those that are leakgate's children by now. Returns those
/// that are still there.
pub fn kill_and_wait(processes: &[Identity]) -> Vec<Identity> {
    let mut left = processes.to_vec();
    let deadline = Instant::now() + KILL_DEADLINE;
    loop {
        left.retain(|id| !try_kill(*id));
        if left.is_empty() || Instant::now() > deadline {
            return left;
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// Kills one process; true once nothing is left of it.
fn try_kill(id: Identity) -> bool {
    let Some(pid) = i32::try_from(id.pid).ok().and_then(Pid::from_raw) else { return true };
    if !process_tree::signal_if(pid.as_raw_nonzero().get(), Signal::KILL, || identity(id.pid) == Some(id)) {
        return true;
    }
    // Killed, or a zombie already: reaped here if it is ours.
    match waitpid(Some(pid), WaitOptions::NOHANG) {
        Ok(status) => status.is_some(),
        // Not ours to reap: its own parent does it, sooner or later.
        Err(_) => has_ended(id),
    }
}

fn has_ended(id: Identity) -> bool {
    let stat = i32::try_from(id.pid).ok().and_then(|pid| Process::new(pid).ok()).and_then(|p| p.stat().ok());
    stat.is_none_or(|stat| stat.starttime != id.started || stat.state == 'Z')
}

/// Kills and reaps every process below this one. Only for a program that has adopted its orphans and is about to end:
/// then all of them are what its targets left.
pub fn kill_descendants() {
    let deadline = Instant::now() + KILL_DEADLINE;
    loop {
        let below = descendants_of(std::process::id());
        if below.is_empty() || Instant::now() > deadline {
            return;
        }
        for id in below {
            try_kill(id);
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// The descendants of `root`, by parent links.
fn descendants_of(root: u32) -> Vec<Identity> {
    let mut children: BTreeMap<u32, Vec<Identity>> = BTreeMap::new();
    for stat in procfs::process::all_processes().into_iter().flatten().flatten().filter_map(|p| p.stat().ok()) {
        if let (Ok(pid), Ok(parent)) = (u32::try_from(stat.pid), u32::try_from(stat.ppid)) {
            children.entry(parent).or_default().push(Identity { pid, started: stat.starttime });
        }
    }
    let mut found = Vec::new();
    let mut open = vec![root];
    while let Some(parent) = open.pop() {
        for id in children.remove(&parent).unwrap_or_default() {
            open.push(id.pid);
            found.push(id);
        }
    }
    found
}
