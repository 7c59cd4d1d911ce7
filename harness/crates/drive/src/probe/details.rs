//! Names of the counted things, stored beside the counts, so that a growing count can be named.

use std::collections::BTreeMap;
use std::path::Path;

use crate::probe::tree::{self, Member};
use crate::probe::{Tree, fds};
use leakgate_judge::sample::{Grown, Thing};

/// How many kinds of things are named of each sort.
const MAX_NAMES_PER_SORT: usize = 5;
/// How many ancestors of a process are named.
const MAX_ANCESTORS: usize = 4;

/// The named things at one moment, grouped by what they are.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Details {
    counts: BTreeMap<(Thing, String), u64>,
    /// The ancestors of the newest process of each name.
    origins: BTreeMap<String, String>,
}

/// The details at each checkpoint, with the restarts by then.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DetailHistory {
    points: Vec<(u64, Details)>,
}

impl Details {
    /// The descriptors and threads of the processes `servers`, the processes of their `tree`, the files below `folder` and
    /// the `tasks` that the server told of. A pipe is named by the process that has its other end.
    #[must_use]
    pub fn read(servers: &[u32], tree: &Tree, folder: Option<&Path>, tasks: BTreeMap<String, u64>) -> Self {
        let mut details = Self::default();
        let name_of = |member: &Member| display_name(member, folder);
        let others = tree.members.iter().filter(|member| !servers.contains(&member.id.pid));
        let ends: BTreeMap<u64, String> = others
            .flat_map(|member| fds::pipe_inodes(member.id.pid).into_iter().map(|inode| (inode, name_of(member))))
            .collect();
        let other_end = |inode: u64| ends.get(&inode).cloned();
        for member in &tree.members {
            details.add(Thing::Process, name_of(member), 1);
            // By pid, so that the last one is the newest as a rule.
            let origin = parent_chain(member, tree, servers, &name_of);
            details.origins.extend(origin.map(|origin| (name_of(member), origin)));
        }
        for &server in servers {
            for name in fds::fd_names(server, &other_end) {
                details.add(Thing::Descriptor, name, 1);
            }
            for name in tree::thread_names(server) {
                details.add(Thing::Thread, without_numbers(&name), 1);
            }
        }
        for path in folder.iter().flat_map(|folder| tree.files_at_rest(folder)) {
            let inside = folder.and_then(|folder| path.strip_prefix(folder).ok()).unwrap_or(&path);
            details.add(Thing::File, without_numbers(&inside.display().to_string()), 1);
        }
        for (line, alive) in tasks {
            details.add(Thing::Task, line, alive);
        }
        details
    }

    /// Of each name the lower count: what leaks is in every reading.
    #[must_use]
    pub fn min_counts(mut self, other: &Self) -> Self {
        self.counts.retain(|key, count| {
            *count = (*count).min(other.count(key));
            *count > 0
        });
        self
    }

    fn add(&mut self, what: Thing, name: String, count: u64) {
        *self.counts.entry((what, name)).or_default() += count;
    }

    fn count(&self, key: &(Thing, String)) -> u64 {
        self.counts.get(key).copied().unwrap_or(0)
    }
}

impl DetailHistory {
    /// Adds what was there at a checkpoint, after so many restarts.
    pub fn add(&mut self, restarts: u64, details: Details) {
        self.points.push((restarts, details));
    }

    /// Everything that the last checkpoint has more of than the first: of each sort the most numerous first.
    #[must_use]
    pub fn grown_things(&self) -> Vec<Grown> {
        let [(_, first), .., (_, last)] = &self.points[..] else { return Vec::new() };
        let mut grown: Vec<Grown> = last
            .counts
            .iter()
            .filter_map(|(key, count)| {
                let more = count.checked_sub(first.count(key)).filter(|&more| more > 0)?;
                let (what, name) = key.clone();
                let origin = last.origins.get(&name).filter(|_| what == Thing::Process).cloned();
                Some(Grown { what, name, more, origin, since: self.unchanged_until(key) })
            })
            .collect();
        grown.sort_by(|a, b| (a.what, b.more, &a.name).cmp(&(b.what, a.more, &b.name)));
        let mut of_a_sort = BTreeMap::<Thing, usize>::new();
        grown.retain(|grown| {
            let number = of_a_sort.entry(grown.what).or_default();
            *number += 1;
            *number <= MAX_NAMES_PER_SORT
        });
        grown
    }

    /// The restarts at the checkpoint before the first one that had more of it than the very first.
    fn unchanged_until(&self, key: &(Thing, String)) -> Option<u64> {
        let (_, first) = self.points.first()?;
        let at = self.points.iter().position(|(_, details)| details.count(key) > first.count(key))?;
        self.points.get(at.checked_sub(1)?).map(|(restarts, _)| *restarts)
    }
}

/// A process's command line: without numbers and without the path of the run's own `folder`, which are others each time.
fn display_name(member: &Member, folder: Option<&Path>) -> String {
    let state = if member.zombie { "zombie " } else { "" };
    let command = member.command.join(" ");
    let command = match folder {
        Some(folder) => command.replace(&folder.display().to_string(), "{run}"),
        None => command,
    };
    format!("{state}{}", without_numbers(&command))
}

/// The commands above a process: its parent, and so on up to the server; none for the server itself.
fn parent_chain(member: &Member, tree: &Tree, servers: &[u32], name_of: &impl Fn(&Member) -> String) -> Option<String> {
    if servers.contains(&member.id.pid) {
        return None;
    }
    let mut chain = Vec::new();
    let mut parent = member.parent;
    while chain.len() < MAX_ANCESTORS {
        if servers.contains(&parent) {
            chain.push("the server".to_owned());
            break;
        }
        let Some(above) = tree.members.iter().find(|member| member.id.pid == parent) else {
            chain.push("a process that has ended".to_owned());
            break;
        };
        chain.push(name_of(above).chars().take(60).collect());
        parent = above.parent;
    }
    Some(chain.join(", started by "))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::tree::Identity;

    fn details(what: Thing, names: &[&str]) -> Details {
        let mut details = Details::default();
        for &name in names {
            details.add(what, name.to_owned(), 1);
        }
        details
    }

    fn grown_things(points: Vec<(u64, Details)>) -> Vec<(String, u64, Option<u64>)> {
        DetailHistory { points }.grown_things().into_iter().map(|grown| (grown.name, grown.more, grown.since)).collect()
    }

    #[test]
    fn only_what_grew_is_named_the_largest_first() {
        let before = details(Thing::Descriptor, &["pipe", "socket", "socket"]);
        let after = details(Thing::Descriptor, &["pipe", "pipe", "/x", "/x", "socket"]);
        assert_eq!(
            grown_things(vec![(50, before), (350, after)]),
            [("/x".to_owned(), 2, Some(50)), ("pipe".to_owned(), 1, Some(50))]
        );
    }

    #[test]
    fn growth_is_dated_by_the_last_checkpoint_without_it() {
        let at = |names: &[&str]| details(Thing::Task, names);
        let points = vec![(50, at(&["a"])), (200, at(&["a"])), (350, at(&["a", "a", "b"]))];
        assert_eq!(grown_things(points), [("a".to_owned(), 1, Some(200)), ("b".to_owned(), 1, Some(200))]);
        assert_eq!(grown_things(vec![(50, at(&["a"]))]), []);
    }

    #[test]
    fn the_lowest_of_several_readings_has_only_what_all_have() {
        let low = details(Thing::Process, &["a", "a", "b"]).min_counts(&details(Thing::Process, &["a", "c"]));
        assert_eq!(low, details(Thing::Process, &["a"]));
    }

    #[test]
    fn neither_numbers_nor_the_folder_of_the_run_are_part_of_a_name() {
        let command = ["claude", "--home", "/tmp/leakgate-AbC/servers/12-7"].map(str::to_owned).to_vec();
        let member = Member { id: Identity { pid: 9, started: 0 }, parent: 1, zombie: true, command };
        assert_eq!(
            display_name(&member, Some(Path::new("/tmp/leakgate-AbC"))),
            "zombie claude --home {run}/servers/#-#"
        );
    }

    #[test]
    fn a_process_is_traced_up_to_the_server() {
        let member = |pid, parent, command: &str| Member {
            id: Identity { pid, started: 0 },
            parent,
            zombie: false,
            command: vec![command.to_owned()],
        };
        let members = vec![member(1, 0, "sut"), member(2, 1, "keeper"), member(3, 2, "claude"), member(4, 99, "stray")];
        let tree = Tree { members, cli: Vec::new() };
        let origins: Vec<_> = tree
            .members
            .iter()
            .map(|member| parent_chain(member, &tree, &[1], &|member| display_name(member, None)))
            .collect();
        let text = |text: &str| Some(text.to_owned());
        assert_eq!(
            origins,
            [None, text("the server"), text("keeper, started by the server"), text("a process that has ended")]
        );
    }
}
