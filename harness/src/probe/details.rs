//! What the counted things are: kept beside the counts, so that a growing count can be named.

use std::collections::BTreeMap;

use crate::probe::tree::Member;
use crate::probe::{Tree, fds};
use crate::sample::{Grown, Thing};

/// How many kinds of things are named of each sort.
const NAMED: usize = 5;

/// The open descriptors and the processes at one moment, grouped by what they are.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Details {
    fds: BTreeMap<String, u64>,
    processes: BTreeMap<String, u64>,
}

impl Details {
    /// The descriptors of the processes `servers`, and the processes of their `tree`. A pipe is named by the process
    /// that has its other end.
    #[must_use]
    pub fn read(servers: &[u32], tree: &Tree) -> Self {
        let others = tree.members.iter().filter(|member| !servers.contains(&member.id.pid));
        let ends: BTreeMap<u64, String> = others
            .flat_map(|member| fds::pipes(member.id.pid).into_iter().map(|inode| (inode, named(member))))
            .collect();
        let other_end = |inode: u64| ends.get(&inode).cloned();
        let fds = servers.iter().flat_map(|&pid| fds::named(pid, &other_end));
        Self { fds: count(fds), processes: count(tree.members.iter().map(named)) }
    }

    /// What there is more of than `before`.
    #[must_use]
    pub fn more_than(&self, before: &Self) -> Vec<Grown> {
        let fds = grown(Thing::Descriptor, &before.fds, &self.fds);
        let processes = grown(Thing::Process, &before.processes, &self.processes);
        processes.into_iter().chain(fds).collect()
    }
}

fn named(member: &Member) -> String {
    let state = if member.zombie { "zombie " } else { "" };
    format!("{state}{}", without_numbers(&member.command.join(" ")))
}

/// Pids and counters would tell apart what is of one kind.
fn without_numbers(command: &str) -> String {
    let mut short = String::new();
    for letter in command.chars().take(400) {
        let letter = if letter.is_ascii_digit() { '#' } else { letter };
        if letter != '#' || !short.ends_with('#') {
            short.push(letter);
        }
    }
    short.chars().take(160).collect()
}

fn count(names: impl IntoIterator<Item = String>) -> BTreeMap<String, u64> {
    let mut counted = BTreeMap::new();
    for name in names {
        *counted.entry(name).or_default() += 1;
    }
    counted
}

fn grown(what: Thing, before: &BTreeMap<String, u64>, after: &BTreeMap<String, u64>) -> Vec<Grown> {
    let mut grown: Vec<(u64, &String)> = after
        .iter()
        .filter_map(|(name, count)| Some((count.checked_sub(*before.get(name).unwrap_or(&0))?, name)))
        .filter(|(more, _)| *more > 0)
        .collect();
    grown.sort_by(|a, b| b.cmp(a));
    grown.into_iter().take(NAMED).map(|(more, name)| Grown { what, name: name.clone(), more }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_grew_is_named_the_largest_first() {
        let names = |names: &[&str]| count(names.iter().map(|&name| name.to_owned()));
        let before = Details { fds: names(&["pipe", "socket", "socket"]), processes: names(&["a"]) };
        let after = Details { fds: names(&["pipe", "pipe", "/x", "/x", "socket"]), processes: names(&["a"]) };
        let more = |name: &str, more| Grown { what: Thing::Descriptor, name: name.to_owned(), more };
        assert_eq!(after.more_than(&before), [more("/x", 2), more("pipe", 1)]);
    }
}
