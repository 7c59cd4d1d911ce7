//! The processes of one target: its descendants, and those that no longer are.
//!
//! A process leaves its tree when its parent ends; it then belongs to the nearest subreaper above. That is leakgate,
//! once it has adopted orphans, and otherwise one of its ancestors. Such a process is recognized by having been seen in the tree
//! before, or by its environment, which names the run's private folder.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use procfs::process::Process;
use sysinfo::{ProcessRefreshKind, ProcessStatus, ProcessesToUpdate, System};

/// A process, told from every other one that had or will have its pid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Identity {
    /// Its pid.
    pub pid: u32,
    /// When it started, in clock ticks since the boot.
    pub started: u64,
}

/// A process of a target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Which process.
    pub id: Identity,
    /// Its parent's pid.
    pub parent: u32,
    /// Whether it has ended and is not reaped yet.
    pub zombie: bool,
    /// Its command line, or its name where that is empty.
    pub command: Vec<String>,
}

impl Member {
    /// Whether this is a process of a program with one of these file names, started by itself or by an interpreter.
    #[must_use]
    pub fn runs_any_of(&self, names: &[String]) -> bool {
        let is_named = |word: &String| {
            let file = Path::new(word).file_name().and_then(|name| name.to_str());
            file.is_some_and(|file| names.iter().any(|name| name == file))
        };
        !self.zombie && self.command.iter().take(2).any(is_named)
    }
}

/// Which processes are a target's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// This process, those below it, and those that were once or whose environment names this folder.
    Marked(u32, PathBuf),
    /// This process, those below it, and those that were once.
    Tree(u32),
    /// All processes of this control group and of those below it.
    Cgroup(PathBuf),
}

/// Finds a target's processes, again and again.
#[derive(Debug)]
pub struct Watcher {
    scope: Scope,
    adopts: bool,
    system: System,
    seen: BTreeSet<Identity>,
}

impl Watcher {
    /// Watches the processes of `scope`.
    pub fn new(scope: Scope) -> Result<Self, sysinfo::Error> {
        let adopts = rustix::process::child_subreaper().is_ok_and(|adopts| adopts.is_some());
        Ok(Self { scope, adopts, system: System::new()?, seen: BTreeSet::new() })
    }

    /// The target's processes at this moment, by pid.
    pub fn find_members(&mut self) -> Vec<Member> {
        // Threads are no processes of a tree, and reading those of everybody on the machine takes as long as all the rest.
        let listed = ProcessRefreshKind::nothing().without_tasks();
        self.system.refresh_processes_specifics(ProcessesToUpdate::All, true, listed);
        let mut children: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
        for (pid, process) in self.system.processes() {
            let parent = process.parent().map_or(0, sysinfo::Pid::as_u32);
            children.entry(parent).or_default().push(pid.as_u32());
        }
        let mut open = self.root_pids(&children);
        let mut found = BTreeMap::new();
        while let Some(pid) = open.pop() {
            if found.contains_key(&pid) {
                continue;
            }
            open.extend(children.get(&pid).into_iter().flatten());
            if let Some(member) = self.read_member(pid) {
                found.insert(pid, member);
            }
        }
        if self.adopts {
            // An orphan that has ended is leakgate's to reap, as it would be init's, and is no zombie of the target.
            let (root, own) = (self.root_pid(), std::process::id());
            found.retain(|&pid, member| !(member.zombie && member.parent == own && Some(pid) != root));
        }
        self.seen = found.values().map(|m| m.id).collect();
        found.into_values().collect()
    }

    fn root_pid(&self) -> Option<u32> {
        match &self.scope {
            Scope::Marked(root, _) | Scope::Tree(root) => Some(*root),
            Scope::Cgroup(_) => None,
        }
    }

    /// Where the target's trees begin: at the server, at every process seen before, and at every one that carries the
    /// mark among the children of whoever adopts orphans.
    fn root_pids(&self, children: &BTreeMap<u32, Vec<u32>>) -> Vec<u32> {
        let root = match &self.scope {
            Scope::Marked(root, _) | Scope::Tree(root) => *root,
            Scope::Cgroup(folder) => return cgroup_pids(folder),
        };
        let mut roots = vec![root];
        roots.extend(self.seen.iter().filter(|id| identity(id.pid) == Some(**id)).map(|id| id.pid));
        if let Scope::Marked(_, folder) = &self.scope {
            let mark = folder.as_os_str().as_encoded_bytes();
            for adopter in self.adopter_pids() {
                roots.extend(children.get(&adopter).into_iter().flatten().filter(|pid| is_marked(**pid, mark)));
            }
        }
        roots
    }

    /// Leakgate's process, and its ancestors where it does not adopt orphans itself.
    fn adopter_pids(&self) -> Vec<u32> {
        let mut adopters = vec![std::process::id()];
        while let Some(&last) = adopters.last().filter(|_| !self.adopts) {
            let parent = self.system.process(sysinfo::Pid::from_u32(last)).and_then(sysinfo::Process::parent);
            match parent.map(sysinfo::Pid::as_u32) {
                Some(parent) if !adopters.contains(&parent) => adopters.push(parent),
                _ => break,
            }
        }
        adopters
    }

    fn read_member(&self, pid: u32) -> Option<Member> {
        let process = self.system.process(sysinfo::Pid::from_u32(pid))?;
        let id = identity(pid)?;
        let command = command_line(pid).unwrap_or_else(|| vec![process.name().to_string_lossy().into_owned()]);
        let zombie = matches!(process.status(), ProcessStatus::Zombie | ProcessStatus::Dead);
        Some(Member { id, parent: process.parent().map_or(0, sysinfo::Pid::as_u32), zombie, command })
    }
}

fn is_marked(pid: u32, mark: &[u8]) -> bool {
    fs::read(format!("/proc/{pid}/environ")).is_ok_and(|environ| environ.windows(mark.len()).any(|bytes| bytes == mark))
}

/// The processes of a control group and of all below it.
#[must_use]
pub fn cgroup_pids(folder: &Path) -> Vec<u32> {
    let mut found = Vec::new();
    let mut open = vec![folder.to_owned()];
    while let Some(folder) = open.pop() {
        let listed = fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
        found.extend(listed.lines().filter_map(|pid| pid.parse::<u32>().ok()));
        let inside = fs::read_dir(&folder).into_iter().flatten().flatten();
        open.extend(inside.map(|entry| entry.path()).filter(|path| path.is_dir() && !path.is_symlink()));
    }
    found
}

/// The process that has `pid` now.
#[must_use]
pub fn identity(pid: u32) -> Option<Identity> {
    let stat = Process::new(pid.try_into().ok()?).ok()?.stat().ok()?;
    Some(Identity { pid, started: stat.starttime })
}

/// The number of threads of the process `pid`.
#[must_use]
pub fn count_threads(pid: u32) -> Option<u64> {
    Process::new(pid.try_into().ok()?).ok()?.stat().ok()?.num_threads.try_into().ok()
}

/// The names of the threads of the process `pid`, as it gave them; a thread that ended meanwhile has none.
#[must_use]
pub(crate) fn thread_names(pid: u32) -> Vec<String> {
    let listed = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    listed
        .filter_map(|task| fs::read_to_string(task.path().join("comm")).ok())
        .map(|name| name.trim_end().to_owned())
        .collect()
}

fn command_line(pid: u32) -> Option<Vec<String>> {
    let line = Process::new(pid.try_into().ok()?).ok()?.cmdline().ok()?;
    (!line.is_empty()).then_some(line)
}
