//! Processes that outlived their server: leakgate adopts them, ends them and reaps them.

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

use procfs::process::Process;
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, WaitOptions, pidfd_open, pidfd_send_signal, waitpid};

use tokio::time::sleep;

use crate::probe::Probe;
use crate::probe::tree::{Identity, identity};

/// How long a tree may take to be gone after its server.
const CLEAR_DEADLINE: Duration = Duration::from_secs(2);
/// How long a killed process may take to be gone.
const KILL_DEADLINE: Duration = Duration::from_secs(5);

/// Makes this process the parent of every descendant whose own parent ends, so that none can hide.
pub fn adopt() -> Result<(), Errno> {
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))
}

/// Waits until the tree is gone, and ends what is not. Returns the command lines of those that had to be ended.
pub async fn clear(probe: &mut Probe) -> Vec<String> {
    let start = Instant::now();
    let mut left = probe.orphans();
    while !left.is_empty() && start.elapsed() < CLEAR_DEADLINE {
        sleep(Duration::from_millis(10)).await;
        left = probe.orphans();
    }
    let ids: Vec<_> = left.iter().map(|member| member.id).collect();
    if !ids.is_empty() {
        // Waiting for a killed process blocks the thread; what survives even that is named by the count below.
        let _ = tokio::task::spawn_blocking(move || end(&ids)).await;
    }
    left.into_iter().map(|member| member.command.join(" ")).collect()
}

/// Kills `processes` and waits until they are gone, reaping those that are leakgate's children by now. Returns those
/// that are still there.
pub fn end(processes: &[Identity]) -> Vec<Identity> {
    let mut left = processes.to_vec();
    let deadline = Instant::now() + KILL_DEADLINE;
    loop {
        left.retain(|id| !kill(*id));
        if left.is_empty() || Instant::now() > deadline {
            return left;
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// Kills one process; true once nothing is left of it. Between the check and the signal the pidfd holds on to the
/// process, so that a reused pid is never hit.
fn kill(id: Identity) -> bool {
    let Some(pid) = i32::try_from(id.pid).ok().and_then(Pid::from_raw) else { return true };
    let Ok(pidfd) = pidfd_open(pid, PidfdFlags::empty()) else { return true };
    if identity(id.pid) != Some(id) {
        return true;
    }
    // ESRCH: it is a zombie already, and the next line reaps it if it is ours.
    let _ = pidfd_send_signal(&pidfd, Signal::KILL);
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
pub fn end_all() {
    let deadline = Instant::now() + KILL_DEADLINE;
    loop {
        let below = below(std::process::id());
        if below.is_empty() || Instant::now() > deadline {
            return;
        }
        for id in below {
            kill(id);
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// The descendants of `root`, by parent links.
fn below(root: u32) -> Vec<Identity> {
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
