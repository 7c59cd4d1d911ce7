//! The private folder that names each running server by pid and start time.
//!
//! ```text
//! RUNTIME/PID-STARTTIME/        one server
//! RUNTIME/PID-STARTTIME/N/      the temporary files of its invoker N; the keeper makes and removes it
//! RUNTIME/PID-STARTTIME/NAME    a file that all of its invokers read
//! ```
//!
//! A keeper ends its CLI's tree even when the server is killed. Only when the keeper is killed as well can something
//! be left, and then the next start finds the folder of a server that is gone, ends what carries its mark, and
//! removes it.

use std::collections::BTreeSet;
use std::fs::{DirBuilder, Metadata, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::process::{Pid, Signal};

use process_tree::ProcessId;

/// The variable that marks every process below a server. Its value is `INSTANCE.N`: the server's folder, a dot, and
/// the number of the invoker.
pub const MARK: &str = "CCW_INVOKER";

/// Why there is no runtime folder.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// The folder can't be made or read.
    #[error("cannot use the runtime folder {}: {source}; choose another with --runtime-dir", path.display())]
    Io {
        /// Which folder.
        path: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
    /// The folder could be filled by somebody else.
    #[error("the runtime folder {} {what}; or choose another with --runtime-dir", path.display())]
    NotPrivate {
        /// Which folder.
        path: PathBuf,
        /// How it is not, and what to do.
        what: String,
    },
    /// `/proc` does not show this process.
    #[error("cannot read /proc/{0}/stat: is /proc mounted?")]
    NoProc(i32),
}

/// The folder of this server. Dropping it removes what is left of it.
#[derive(Debug)]
pub struct RuntimeFolder {
    path: PathBuf,
    instance: String,
    /// The private files in the folder, with their contents.
    files: Vec<(PathBuf, String)>,
}

impl RuntimeFolder {
    /// Clears what servers that are gone have left in `root` (or in the user's own runtime folder), and makes the folder
    /// of this one.
    pub fn create(root: Option<&Path>) -> Result<Self, RuntimeError> {
        let root = root.map_or_else(default_root, Path::to_path_buf);
        ensure_private_folder(&root)?;
        let swept = sweep_dead_servers(&root);
        if swept > 0 {
            tracing::warn!(processes = swept, "ended processes that a killed server had left");
        }
        let pid = rustix::process::getpid().as_raw_nonzero().get();
        let own = ProcessId::of(pid).ok_or(RuntimeError::NoProc(pid))?;
        let mut n = 0_u32;
        loop {
            let instance = format!("{}-{}-{n}", own.pid, own.start_time);
            let path = root.join(&instance);
            match DirBuilder::new().mode(0o700).create(&path) {
                Ok(()) => return Ok(Self { path, instance, files: Vec::new() }),
                // One process can run several servers (tests do): each gets a folder of its own.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => n += 1,
                // Another server was the last in `root`, and has removed it in this instant.
                Err(error) if error.kind() == io::ErrorKind::NotFound => ensure_private_folder(&root)?,
                Err(source) => return Err(RuntimeError::Io { path, source }),
            }
        }
    }

    /// The folder for the temporary files of one invoker; the keeper makes it.
    #[must_use]
    pub fn scratch(&self, invoker: u64) -> PathBuf {
        self.path.join(invoker.to_string())
    }

    /// Writes a file that only this user can read; it goes with the folder.
    pub fn write_private_file(&mut self, name: &str, contents: &str) -> Result<PathBuf, RuntimeError> {
        let path = self.path.join(name);
        create_private_file(&path, contents)?;
        self.files.push((path.clone(), contents.to_owned()));
        Ok(path)
    }

    /// Makes the folder and its files again if they are gone: a job that cleans /tmp must not keep a server from starting its
    /// next CLI.
    pub fn restore_files(&self) -> Result<(), RuntimeError> {
        if !self.path.is_dir() {
            self.path.parent().map_or(Ok(()), ensure_private_folder)?;
            ensure_private_folder(&self.path)?;
            tracing::warn!(folder = %self.path.display(), "the runtime folder was gone; made it again");
        }
        for (path, contents) in self.files.iter().filter(|(path, _)| !path.exists()) {
            match create_private_file(path, contents) {
                // Another invoker that starts in this instant was faster.
                Err(RuntimeError::Io { source, .. }) if source.kind() == io::ErrorKind::AlreadyExists => {}
                written => written?,
            }
        }
        Ok(())
    }

    /// The value of [`MARK`] for everything below one invoker.
    #[must_use]
    pub fn mark(&self, invoker: u64) -> String {
        format!("{}.{invoker}", self.instance)
    }

    /// Kills the processes of an invoker whose keeper is gone; returns how many.
    pub fn end_leftovers(&self, invoker: u64, keeper: Option<i32>) -> usize {
        let mark = self.mark(invoker);
        let ended = kill_marked(|value| value == mark);
        reap_orphans(&ended, keeper);
        // The keeper would have removed it.
        let _ = std::fs::remove_dir_all(self.scratch(invoker));
        ended.len()
    }
}

impl Drop for RuntimeFolder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.path);
        // Fails while other servers have theirs in it.
        let _ = self.path.parent().map(std::fs::remove_dir);
    }
}

fn default_root() -> PathBuf {
    let uid = rustix::process::getuid().as_raw();
    std::env::var_os("XDG_RUNTIME_DIR").map_or_else(
        || std::env::temp_dir().join(format!("cc-openai-wrapper-{uid}")),
        |folder| PathBuf::from(folder).join("cc-openai-wrapper"),
    )
}

fn create_private_file(path: &Path, contents: &str) -> Result<(), RuntimeError> {
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    let written = file.and_then(|mut file| file.write_all(contents.as_bytes()));
    written.map_err(|source| RuntimeError::Io { path: path.to_path_buf(), source })
}

fn ensure_private_folder(path: &Path) -> Result<(), RuntimeError> {
    let io = |source| RuntimeError::Io { path: path.to_path_buf(), source };
    DirBuilder::new().mode(0o700).recursive(true).create(path).map_err(io)?;
    let metadata: Metadata = std::fs::symlink_metadata(path).map_err(io)?;
    let (own, mode) = (rustix::process::getuid().as_raw(), metadata.mode() & 0o7777);
    let what = if !metadata.is_dir() {
        "is no folder (a link is none either); remove it".to_owned()
    } else if metadata.uid() != own {
        format!("belongs to user {}, and this is user {own}; remove it", metadata.uid())
    } else if mode & 0o022 != 0 {
        format!("can be written to by others (mode {mode:o}); chmod 700 it")
    } else {
        return Ok(());
    };
    Err(RuntimeError::NotPrivate { path: path.to_path_buf(), what })
}

/// Kills the marked processes of servers that are gone and removes their folders; returns how many processes.
fn sweep_dead_servers(root: &Path) -> usize {
    let Ok(entries) = std::fs::read_dir(root) else { return 0 };
    let mut ended = 0;
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if owner_of_folder(&name).is_some_and(|server| !server.is_running()) {
            let mark = format!("{name}.");
            ended += kill_marked(|value| value.starts_with(&mark)).len();
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
    ended
}

/// The server that a folder belongs to.
fn owner_of_folder(name: &str) -> Option<ProcessId> {
    let mut parts = name.split('-');
    let (pid, start_time) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    Some(ProcessId { pid, start_time })
}

/// Rounds of kills: a tree that keeps forking may need several.
const MAX_PASSES: usize = 100;

/// Kills every process whose mark `matches`.
fn kill_marked(matches: impl Fn(&str) -> bool) -> BTreeSet<ProcessId> {
    let mut ended = BTreeSet::new();
    for _ in 0..MAX_PASSES {
        let marked = process_tree::with_environment(MARK, &matches);
        if marked.is_empty() {
            break;
        }
        ended.extend(marked.into_iter().filter(|process| kill_process(*process)));
        std::thread::sleep(PASS_INTERVAL);
    }
    ended
}

/// Interval between two rounds. A SIGKILL takes effect within this.
const PASS_INTERVAL: std::time::Duration = std::time::Duration::from_millis(2);

/// Where a server is child subreaper, the orphans of a killed keeper have become its children: those that were ended
/// just now, and those of the keeper's process group that had ended before. A process that was killed has no environment
/// any more before it can be reaped, so this looks more than once.
fn reap_orphans(ended: &BTreeSet<ProcessId>, keeper: Option<i32>) {
    let is_orphan = |pid: i32| {
        let was_kept = Some(pid) != keeper && keeper.is_some() && process_tree::group(pid) == keeper;
        was_kept || ProcessId::of(pid).is_some_and(|process| ended.contains(&process))
    };
    for _ in 0..MAX_PASSES {
        let children = process_tree::children(rustix::process::getpid().as_raw_nonzero().get());
        let orphans: Vec<Pid> = children.into_iter().filter(|pid| is_orphan(*pid)).filter_map(Pid::from_raw).collect();
        if orphans.is_empty() {
            return;
        }
        for orphan in orphans {
            let _ = rustix::process::waitpid(Some(orphan), rustix::process::WaitOptions::NOHANG);
        }
        std::thread::sleep(PASS_INTERVAL);
    }
}

fn kill_process(process: ProcessId) -> bool {
    process_tree::signal_if(process.pid, Signal::KILL, || process.is_running())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_removed_with_its_owner_and_a_second_server_gets_its_own() {
        let root = tempfile::tempdir().unwrap();
        let first = RuntimeFolder::create(Some(root.path())).unwrap();
        let second = RuntimeFolder::create(Some(root.path())).unwrap();
        assert_ne!(first.mark(1), second.mark(1));
        drop(first);
        assert_eq!(std::fs::read_dir(root.path()).unwrap().count(), 1);
        drop(second);
        assert!(!root.path().exists());
    }

    #[test]
    fn a_kept_file_is_private_and_goes_with_the_folder() {
        let root = tempfile::tempdir().unwrap();
        let mut folder = RuntimeFolder::create(Some(root.path())).unwrap();
        let path = folder.write_private_file("system-prompt", "Answer.").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "Answer.");
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert!(
            matches!(folder.write_private_file("system-prompt", ""), Err(RuntimeError::Io { .. })),
            "never over another"
        );
        drop(folder);
        assert!(!root.path().exists());
    }

    #[test]
    fn a_folder_that_was_removed_comes_back_private_and_with_its_files() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path().join("runtime");
        let mut folder = RuntimeFolder::create(Some(&root)).unwrap();
        let path = folder.write_private_file("system-prompt", "Answer.").unwrap();
        for removed in [&root, &folder.path, &path] {
            if removed.is_dir() {
                std::fs::remove_dir_all(removed).unwrap();
            } else {
                std::fs::remove_file(removed).unwrap();
            }
            folder.restore_files().unwrap();
            assert_eq!(std::fs::read_to_string(&path).unwrap(), "Answer.", "{} was removed", removed.display());
            for private in [&root, &folder.path] {
                assert_eq!(std::fs::metadata(private).unwrap().mode() & 0o777, 0o700);
            }
        }
        std::fs::remove_dir_all(&root).unwrap();
        std::fs::write(&root, "in the way").unwrap();
        assert!(folder.restore_files().unwrap_err().to_string().contains("--runtime-dir"));
    }

    #[test]
    fn what_a_dead_server_left_is_swept_and_strangers_are_not() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("999999999-1-0")).unwrap();
        std::fs::create_dir(root.path().join("notes")).unwrap();
        let own = RuntimeFolder::create(Some(root.path())).unwrap();
        assert!(!root.path().join("999999999-1-0").exists());
        assert!(root.path().join("notes").exists());
        drop(own);
    }

    #[test]
    fn a_folder_that_others_can_write_to_is_refused() {
        use std::os::unix::fs::PermissionsExt;
        let root = tempfile::tempdir().unwrap();
        std::fs::set_permissions(root.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
        let refused = |path: &Path| RuntimeFolder::create(Some(path)).unwrap_err().to_string();
        assert!(refused(root.path()).contains("can be written to by others (mode 777); chmod 700 it"));
        let link = root.path().join("link");
        std::os::unix::fs::symlink(root.path(), &link).unwrap();
        assert!(refused(&link).contains("is no folder (a link is none either)"));
    }
}
