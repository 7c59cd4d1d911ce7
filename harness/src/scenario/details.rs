//! What the counted things are: kept beside the counts, so that a growing count can be named.

use std::collections::BTreeMap;

use crate::probe::Tree;
use crate::probe::fds;

/// How many kinds of things are named of each sort.
const NAMED: usize = 5;

/// The open descriptors and the processes at one moment, grouped by what they are.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Details {
    fds: BTreeMap<String, u64>,
    processes: BTreeMap<String, u64>,
}

impl Details {
    /// Of the server `pid` and its `tree`.
    #[must_use]
    pub fn read(pid: u32, tree: &Tree) -> Self {
        let commands = tree.members.iter().map(|m| {
            let state = if m.zombie { "zombie " } else { "" };
            format!("{state}{}", without_numbers(&m.command.join(" ")))
        });
        Self { fds: count(fds::named(pid)), processes: count(commands) }
    }

    /// What there is more of than `before`, in words.
    #[must_use]
    pub fn more_than(&self, before: &Self) -> Vec<String> {
        let fds = grown("descriptor", &before.fds, &self.fds);
        let processes = grown("process", &before.processes, &self.processes);
        fds.into_iter().chain(processes).collect()
    }
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

fn grown(what: &str, before: &BTreeMap<String, u64>, after: &BTreeMap<String, u64>) -> Vec<String> {
    let mut grown: Vec<(u64, &String)> = after
        .iter()
        .filter_map(|(name, count)| Some((count.checked_sub(*before.get(name).unwrap_or(&0))?, name)))
        .filter(|(more, _)| *more > 0)
        .collect();
    grown.sort_by(|a, b| b.cmp(a));
    grown.into_iter().take(NAMED).map(|(more, name)| format!("{more} more of the {what} {name}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_grew_is_named_the_largest_first() {
        let names = |names: &[&str]| count(names.iter().map(|&name| name.to_owned()));
        let before = Details { fds: names(&["pipe", "socket", "socket"]), processes: names(&["a"]) };
        let after = Details { fds: names(&["pipe", "pipe", "/x", "/x", "socket"]), processes: names(&["a"]) };
        let expected = ["2 more of the descriptor /x", "1 more of the descriptor pipe"];
        assert_eq!(after.more_than(&before), expected);
    }
}
