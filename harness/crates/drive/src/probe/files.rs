//! The files in the folders that a run gave to its target.

use std::fs;
use std::path::{Component, Path, PathBuf};

/// Where a real CLI keeps backups of its settings: one a minute while it starts again and again, and never more than
/// five. They come by the clock and not by restarts, so what is in there is not counted.
const BACKUPS: &str = "home/.claude/backups";

/// Where a real CLI puts files that are named after its pid.
const SESSIONS: &str = "home/.claude/sessions";

/// The folder of our servers, with `SERVER/N/` for invoker N in it.
const SERVERS: &str = "servers";

/// Everything below the first level of `root`, sorted: files, folders, links and sockets. The first level is the run's
/// own (HOME, TMPDIR, runtime folder). A file that vanishes while it is listed is left out.
#[must_use]
pub fn list_below(root: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders: Vec<PathBuf> = list_folder(root);
    let backups = root.join(BACKUPS);
    while let Some(folder) = folders.pop() {
        for path in list_folder(&folder) {
            if path != backups && fs::symlink_metadata(&path).is_ok_and(|m| m.is_dir()) {
                folders.push(path.clone());
            }
            found.push(path);
        }
    }
    found.sort_unstable();
    found
}

/// The same without what a process makes and removes for itself at moments of its own while it `runs`: the content of an
/// invoker's folder, which goes with the folder, and files named after its pid. The folder itself counts, and so do files of
/// a process that is gone.
#[must_use]
pub(crate) fn list_at_rest(root: &Path, runs: impl Fn(u32) -> bool) -> Vec<PathBuf> {
    let mut found = list_below(root);
    found.retain(|path| !is_of_an_invoker(root, path) && !pid_in_name(root, path).is_some_and(&runs));
    found
}

/// The pid that a real CLI has named a file after.
#[must_use]
pub(crate) fn pid_in_name(root: &Path, path: &Path) -> Option<u32> {
    let name = path.strip_prefix(root.join(SESSIONS)).ok()?.to_str()?;
    name.split('.').next()?.parse().ok()
}

/// Whether it lies in the folder of an invoker.
fn is_of_an_invoker(root: &Path, path: &Path) -> bool {
    let Ok(inside) = path.strip_prefix(root.join(SERVERS)) else { return false };
    let mut parts = inside.components();
    let number = |part: Component| part.as_os_str().to_str().is_some_and(|name| name.parse::<u64>().is_ok());
    parts.next().is_some() && parts.next().is_some_and(number) && parts.next().is_some()
}

fn list_folder(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_running_process_holds_for_itself_is_left_out() {
        let root = tempfile::tempdir().unwrap();
        let make = |path: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        };
        for path in [
            "servers/7-1/3/claude-0/probe",
            "servers/7-1/prompt",
            "home/.claude/sessions/12.ab.key",
            "home/.claude.json",
        ] {
            make(path);
        }
        let counted = |runs: bool| -> Vec<String> {
            let found = list_at_rest(root.path(), |pid| pid == 12 && runs);
            found.iter().map(|path| path.strip_prefix(root.path()).unwrap().display().to_string()).collect()
        };
        let mut expected =
            vec!["home/.claude", "home/.claude/sessions", "home/.claude/sessions/12.ab.key", "home/.claude.json"];
        expected.extend(["servers/7-1", "servers/7-1/3", "servers/7-1/prompt"]);
        assert_eq!(counted(false), expected);
        expected.retain(|path| !path.contains("/12."));
        assert_eq!(counted(true), expected);
        assert_eq!(list_below(root.path()).len(), 9);
    }
}
