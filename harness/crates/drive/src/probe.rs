//! Reads a target from the outside, from what the kernel shows: nothing here asks the target.

use std::collections::BTreeMap;
use std::ops::Add;
use std::path::{Path, PathBuf};

use crate::probe::details::Details;
use crate::probe::fds::Fds;
use crate::probe::memory::Memory;
use crate::probe::tree::{Identity, Member, Scope, Watcher};
use leakgate_judge::sample::{Metric, TracePoint};

pub mod details;
pub mod fds;
pub mod files;
pub mod listener;
pub mod memory;
pub mod tree;

/// Watches one target: its server process, the tree below it and the folders that it was given.
#[derive(Debug)]
pub struct Probe {
    server: u32,
    whole: bool,
    folder: Option<PathBuf>,
    cli: Vec<String>,
    watcher: Watcher,
}

/// One look at the tree: what the kernel showed of each of its processes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tree {
    /// The server, its descendants and its orphans, by pid.
    pub members: Vec<Member>,
    /// The CLI processes among them: an interpreter or a script that waits for one is part of it.
    pub cli: Vec<Identity>,
}

impl Tree {
    /// The files in `folder`, without what a process of this tree holds for itself while it runs.
    fn files_at_rest(&self, folder: &Path) -> Vec<PathBuf> {
        files::list_at_rest(folder, |pid| self.members.iter().any(|member| member.id.pid == pid))
    }
}

/// The memory of a tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TreeMemory {
    /// The server's own.
    pub server: Memory,
    /// The sum of all its processes, the server included.
    pub tree: Memory,
}

impl TreeMemory {
    /// A reading of the trace after so many restarts and requests.
    #[must_use]
    pub fn trace_point(&self, restarts: u64, requests: u64) -> TracePoint {
        TracePoint {
            restarts,
            requests,
            anon_pss: self.tree.anon_pss,
            tree_rss: self.tree.rss,
            server_rss: self.server.rss,
        }
    }
}

/// Whether the process `pid` has one of `above` among its ancestors.
fn is_below(members: &[Member], pid: u32, above: &[Identity]) -> bool {
    let parent = |pid: u32| members.iter().find(|m| m.id.pid == pid).map(|m| m.parent);
    let ancestors = std::iter::successors(parent(pid), |&pid| parent(pid)).take(members.len());
    ancestors.into_iter().any(|pid| above.iter().any(|id| id.pid == pid))
}

impl Probe {
    /// Watches the process `server` of ours, which was given `folder` and starts `cli`: descriptors and threads are
    /// those of this one process.
    pub fn new(server: u32, folder: &Path, cli: &Path) -> Result<Self, sysinfo::Error> {
        let watcher = Watcher::new(Scope::Marked(server, folder.to_owned()))?;
        let cli = cli.file_name().map(|name| name.to_string_lossy().into_owned()).into_iter().collect();
        Ok(Self { server, whole: false, folder: Some(folder.to_owned()), cli, watcher })
    }

    /// Watches a server that may be several processes: descriptors and threads are summed over all that are no CLI
    /// process and below none. `server` is the one whose memory it would show itself; `cli` are file names.
    pub fn new_external(
        server: u32,
        scope: Scope,
        folder: Option<PathBuf>,
        cli: Vec<String>,
    ) -> Result<Self, sysinfo::Error> {
        Ok(Self { server, whole: true, folder, cli, watcher: Watcher::new(scope)? })
    }

    /// The process that answers is another one than was thought.
    pub(crate) fn set_server(&mut self, server: u32) {
        self.server = server;
    }

    /// Looks at the tree.
    pub fn read_tree(&mut self) -> Tree {
        let members = self.watcher.find_members();
        let cli: Vec<Identity> = members.iter().filter(|m| m.runs_any_of(&self.cli)).map(|m| m.id).collect();
        let nested = |id: &Identity| is_below(&members, id.pid, &cli);
        let cli = cli.iter().copied().filter(|id| !nested(id)).collect();
        Tree { members, cli }
    }

    /// The processes whose descriptors and threads count.
    #[must_use]
    pub fn server_pids(&self, tree: &Tree) -> Vec<u32> {
        if !self.whole {
            return vec![self.server];
        }
        let pids = tree.members.iter().filter(|m| !m.zombie).map(|m| m.id).filter(|id| !tree.cli.contains(id));
        pids.map(|id| id.pid).filter(|&pid| !is_below(&tree.members, pid, &tree.cli)).collect()
    }

    /// Every metric that can be counted from the outside, except memory. A server that is gone has none of its own.
    pub fn read_counts(&mut self) -> BTreeMap<Metric, u64> {
        let tree = self.read_tree();
        let zombies = tree.members.iter().filter(|m| m.zombie).count() as u64;
        let servers = self.server_pids(&tree);
        let fds = servers.iter().filter_map(|&pid| fds::count_fds(pid)).fold(Fds::default(), Fds::add);
        let files = self.folder.as_ref().map(|folder| (Metric::Files, tree.files_at_rest(folder).len() as u64));
        BTreeMap::from([
            (Metric::CliProcesses, tree.cli.len() as u64),
            (Metric::Processes, tree.members.len() as u64 - zombies),
            (Metric::Zombies, zombies),
            (Metric::FdsPipe, fds.pipes),
            (Metric::FdsSocket, fds.sockets),
            (Metric::FdsFile, fds.files),
            (Metric::FdsAnon, fds.anonymous),
            (Metric::Threads, servers.iter().filter_map(|&pid| tree::count_threads(pid)).sum()),
        ])
        .into_iter()
        .chain(files)
        .collect()
    }

    /// Names the counted things of `tree`; `tasks` is what the server tells of those, by the line that spawned them.
    #[must_use]
    pub fn read_details(&self, tree: &Tree, tasks: BTreeMap<String, u64>) -> Details {
        Details::read(&self.server_pids(tree), tree, self.folder.as_deref(), tasks)
    }

    /// The memory of `tree`'s processes. A process that has ended since then counts as zero.
    #[must_use]
    pub fn read_memory(&self, tree: &Tree) -> TreeMemory {
        let mut sum = TreeMemory::default();
        for member in tree.members.iter().filter(|m| !m.zombie) {
            let memory = memory::read_memory(member.id.pid).unwrap_or_default();
            if member.id.pid == self.server {
                sum.server = memory;
            }
            sum.tree = sum.tree + memory;
        }
        sum
    }

    /// The processes of the tree that are alive although the server is gone.
    pub fn find_orphans(&mut self) -> Vec<Member> {
        let mut members = self.watcher.find_members();
        members.retain(|m| !m.zombie && m.id.pid != self.server);
        members
    }
}
