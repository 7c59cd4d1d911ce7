//! Readings of a process tree from `/proc`, and the two steps with processes that are easy to get wrong.
//!
//! Nothing here waits: the owner of a process does that. Every function treats a process that ended in the meantime as
//! absent, because that can happen at any instant.

use procfs::process::Process;

mod signal;
mod spawn;

pub use rustix::process::Signal;
pub use signal::signal_if;
pub use spawn::spawn_when_not_busy;

/// Identifies a process for as long as the machine runs: a pid alone comes back to life as somebody else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ProcessId {
    /// The process id.
    pub pid: i32,
    /// When it was started, in clock ticks since boot (`/proc/PID/stat`, field 22).
    pub start_time: u64,
}

impl ProcessId {
    /// The process that has this pid now.
    #[must_use]
    pub fn of(pid: i32) -> Option<Self> {
        let stat = Process::new(pid).ok()?.stat().ok()?;
        Some(Self { pid, start_time: stat.starttime })
    }

    /// Whether it still runs. A zombie does not.
    #[must_use]
    pub fn is_running(self) -> bool {
        let stat = Process::new(self.pid).and_then(|p| p.stat());
        stat.is_ok_and(|s| s.starttime == self.start_time && s.state != 'Z' && s.state != 'X')
    }
}

/// The processes that `pid` has started and that have not been reaped, zombies included.
#[must_use]
pub fn children(pid: i32) -> Vec<i32> {
    let Ok(tasks) = Process::new(pid).and_then(|p| p.tasks()) else { return Vec::new() };
    tasks.flatten().filter_map(|task| task.children().ok()).flatten().filter_map(|c| i32::try_from(c).ok()).collect()
}

/// Everything below `pid`, parents before children.
#[must_use]
pub fn descendants(pid: i32) -> Vec<i32> {
    let mut found = children(pid);
    let mut next = 0;
    while let Some(&parent) = found.get(next) {
        found.extend(children(parent));
        next += 1;
    }
    found
}

/// Whether this process was started to ignore signal `number`, as `nohup` does with SIGHUP.
#[must_use]
pub fn is_ignored(number: i32) -> bool {
    let status = Process::myself().and_then(|process| process.status());
    status.is_ok_and(|status| status.sigign >> (number - 1) & 1 == 1)
}

/// The pid of a process's parent.
#[must_use]
pub fn parent(pid: i32) -> Option<i32> {
    Some(Process::new(pid).ok()?.stat().ok()?.ppid)
}

/// The process group of a process.
#[must_use]
pub fn group(pid: i32) -> Option<i32> {
    Some(Process::new(pid).ok()?.stat().ok()?.pgrp)
}

/// Resident memory of one process, in bytes (`/proc/PID/statm`).
#[must_use]
pub fn rss(pid: i32) -> u64 {
    let pages = Process::new(pid).and_then(|p| p.statm()).map_or(0, |m| m.resident);
    pages * procfs::page_size()
}

/// Resident memory of `pid` and everything below it, in bytes. Pages that several of them share count once for each.
#[must_use]
pub fn tree_rss(pid: i32) -> u64 {
    rss(pid) + descendants(pid).into_iter().map(rss).sum::<u64>()
}

/// Processes that this user may look at and whose environment has `name` with a value that `matches`.
#[must_use]
pub fn with_environment(name: &str, matches: impl Fn(&str) -> bool) -> Vec<ProcessId> {
    let Ok(all) = procfs::process::all_processes() else { return Vec::new() };
    all.flatten()
        .filter(|process| {
            let environment = process.environ().unwrap_or_default();
            environment.get(std::ffi::OsStr::new(name)).and_then(|v| v.to_str()).is_some_and(&matches)
        })
        .filter_map(|process| ProcessId::of(process.pid()))
        .collect()
}
