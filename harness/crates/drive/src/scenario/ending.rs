//! How a target ends, and what is left of it then: no process, no file.
//!
//! Killed, a server can clean up nothing itself: its keepers end their trees, and the next server sweeps its folder. So
//! after a kill nothing may run, and after a second server in the same folders nothing may lie there.

use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::drive::Assignment;
use crate::load::Load;
use crate::load::endpoint::Endpoint;
use crate::orphans;
use crate::probe::{Probe, files};
use crate::target::{Stopped, Target};

/// How a server is ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// It is told to stop.
    Stopped,
    /// SIGKILL in the middle of a turn; then a second one starts in its folders, and is told to stop.
    Killed,
}

/// What is left of a target.
#[derive(Debug, Default)]
pub(super) struct Ended {
    /// The command lines of the processes that had to be ended after the stop.
    pub(super) orphans: Vec<String>,
    /// The same after the kill, where there was one.
    pub(super) by_kill: Option<Vec<String>>,
    /// Files that nobody removed, without those that a real CLI keeps in its HOME.
    pub(super) left: Vec<PathBuf>,
    /// Why the end was no good end.
    pub(super) failure: Option<String>,
}

/// How long a server may take to be in the middle of a turn, and to start again.
const PATIENCE: Duration = Duration::from_secs(35);
/// More than are ended before the kill.
const REQUESTS: u64 = 100_000;

/// Ends the target, and what it left running. `kept_at_home` paths in HOME belong to a real CLI.
pub(super) async fn end(target: Target, probe: &mut Probe, assignment: &Assignment, kept_at_home: usize) -> Ended {
    let (stopped, mut ended) = match assignment.scenario.ending {
        Ending::Stopped => stop(target, probe).await,
        Ending::Killed => kill(target, probe, assignment).await,
    };
    let Some(stopped) = stopped else { return ended };
    let root = stopped.folder.path();
    ended.left = files::below(root);
    if assignment.api.is_some() {
        let home = at_home(root);
        // What a CLI that was killed has named after its pid, it could not remove. Before the kill they were counted.
        let killed = assignment.scenario.ending == Ending::Killed;
        let is_excused = |path: &PathBuf| killed && files::named_after(root, path).is_some();
        ended.left.retain(|path| !home.contains(path) && !is_excused(path));
        ended.left.extend(home.into_iter().skip(kept_at_home));
    }
    ended
}

/// Everything in the HOME of a target with this folder, without the files that are named after a process.
pub(super) fn at_home(folder: &Path) -> Vec<PathBuf> {
    let home = folder.join("home");
    let is_kept = |path: &PathBuf| path.starts_with(&home) && files::named_after(folder, path).is_none();
    files::below(folder).into_iter().filter(is_kept).collect()
}

async fn stop(target: Target, probe: &mut Probe) -> (Option<Stopped>, Ended) {
    let stopped = target.stop().await;
    let orphans = orphans::clear(probe).await;
    let failure = match stopped.status {
        Some(status) if status.success() => None,
        Some(status) => Some(format!("the server stopped with {status}")),
        None => Some("the server did not stop when it was told to, and was killed".to_owned()),
    };
    let failure = failure.map(|what| format!("{what}\n{}", stopped.stderr).trim_end().to_owned());
    (Some(stopped), Ended { orphans, failure, ..Ended::default() })
}

async fn kill(mut target: Target, probe: &mut Probe, assignment: &Assignment) -> (Option<Stopped>, Ended) {
    // What becomes of these requests is nobody's business: their server is killed.
    let mut load = Load::new(Endpoint::ours(target.address()), Arc::clone(&assignment.script), assignment.shape());
    let busy = timeout(PATIENCE, async {
        tokio::select! {
            () = load.batch(REQUESTS) => false,
            is_busy = until_busy(&mut target) => is_busy,
        }
    });
    let was_busy = busy.await.unwrap_or(false);
    let killed = target.kill().await;
    drop(load);
    let by_kill = Some(orphans::clear(probe).await);
    let failure = if killed.status.and_then(|status| status.signal()) != Some(9) {
        Some(format!("the server was gone before it could be killed: {:?}\n{}", killed.status, killed.stderr))
    } else if !was_busy {
        Some("no turn was running when the server was killed".to_owned())
    } else {
        None
    };
    let second = match Target::start_in(&assignment.launch, killed.folder).await {
        Ok(second) => second,
        Err(error) => {
            let failure = Some(format!("after the kill no other server started in its folders: {error}"));
            return (None, Ended { by_kill, failure, ..Ended::default() });
        }
    };
    let mut second_probe = Probe::new(second.pid(), second.folder(), &assignment.cli).ok();
    let (stopped, ended) = match &mut second_probe {
        Some(probe) => stop(second, probe).await,
        None => stop(second, probe).await,
    };
    (stopped, Ended { by_kill, failure: failure.or(ended.failure), ..ended })
}

async fn until_busy(target: &mut Target) -> bool {
    loop {
        match target.stats().await {
            Ok(stats) if stats.pool.busy > 0 => return true,
            Ok(_) => sleep(Duration::from_millis(2)).await,
            Err(_) => return false,
        }
    }
}
