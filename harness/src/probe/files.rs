//! What lies in the folders that a run gave to its target.

use std::fs;
use std::path::{Path, PathBuf};

/// Where a real CLI keeps backups of its settings: one a minute while it starts again and again, and never more than
/// five. They come by the clock and not by restarts, so what is in there is not counted.
const BACKUPS: &str = "home/.claude/backups";

/// Everything below the first level of `root`, sorted: files, folders, links and sockets. The first level is the run's
/// own (HOME, TMPDIR, runtime folder). What vanishes while it is listed is not there.
#[must_use]
pub fn below(root: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders: Vec<PathBuf> = entries(root);
    let backups = root.join(BACKUPS);
    while let Some(folder) = folders.pop() {
        for path in entries(&folder) {
            if path != backups && fs::symlink_metadata(&path).is_ok_and(|m| m.is_dir()) {
                folders.push(path.clone());
            }
            found.push(path);
        }
    }
    found.sort_unstable();
    found
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}
