//! Reads a target from the outside, from what the kernel shows: nothing here asks the target.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::probe::memory::Memory;
use crate::probe::tree::{Member, Watcher};
use crate::sample::Signal;

pub mod fds;
pub mod files;
pub mod memory;
pub mod tree;

/// Watches one target: its server process, the tree below it and the folders that it was given.
#[derive(Debug)]
pub struct Probe {
    server: u32,
    folder: PathBuf,
    cli: PathBuf,
    watcher: Watcher,
}

/// One look at the tree: what the kernel showed of each of its processes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tree {
    /// The server, its descendants and its strays, by pid.
    pub members: Vec<Member>,
    /// How many of them are CLI processes.
    pub cli_processes: u64,
}

/// The memory of a tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TreeMemory {
    /// The server's own.
    pub server: Memory,
    /// The sum of all its processes, the server included.
    pub tree: Memory,
}

impl Probe {
    /// Watches the process `server`, which was given `folder` and starts `cli`.
    pub fn new(server: u32, folder: &Path, cli: &Path) -> Result<Self, sysinfo::Error> {
        let watcher = Watcher::new(server, folder)?;
        Ok(Self { server, folder: folder.to_owned(), cli: cli.to_owned(), watcher })
    }

    /// Looks at the tree.
    pub fn tree(&mut self) -> Tree {
        let members = self.watcher.look();
        // A CLI that has forked and not yet run what it wants to run looks like two.
        let clis: BTreeMap<u32, u32> =
            members.iter().filter(|m| !m.zombie && m.runs(&self.cli)).map(|m| (m.id.pid, m.parent)).collect();
        let cli_processes = clis.values().filter(|parent| !clis.contains_key(parent)).count() as u64;
        Tree { members, cli_processes }
    }

    /// Every signal that can be counted from the outside, except memory. A server that is gone has none of its own.
    pub fn counts(&mut self) -> BTreeMap<Signal, u64> {
        let tree = self.tree();
        let zombies = tree.members.iter().filter(|m| m.zombie).count() as u64;
        let fds = fds::of(self.server).unwrap_or_default();
        BTreeMap::from([
            (Signal::Processes, tree.members.len() as u64 - zombies),
            (Signal::Zombies, zombies),
            (Signal::FdsPipe, fds.pipes),
            (Signal::FdsSocket, fds.sockets),
            (Signal::FdsFile, fds.files),
            (Signal::FdsAnon, fds.anonymous),
            (Signal::Threads, tree::threads(self.server).unwrap_or(0)),
            (Signal::Files, files::below(&self.folder).len() as u64),
        ])
    }

    /// The memory of `tree`'s processes. One that ended since the look has none.
    #[must_use]
    pub fn memory(&self, tree: &Tree) -> TreeMemory {
        let mut sum = TreeMemory::default();
        for member in tree.members.iter().filter(|m| !m.zombie) {
            let memory = memory::of(member.id.pid).unwrap_or_default();
            if member.id.pid == self.server {
                sum.server = memory;
            }
            sum.tree = sum.tree + memory;
        }
        sum
    }

    /// The processes of the tree that are alive although the server is gone.
    pub fn orphans(&mut self) -> Vec<Member> {
        let mut members = self.watcher.look();
        members.retain(|m| !m.zombie && m.id.pid != self.server);
        members
    }
}
