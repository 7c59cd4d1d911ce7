//! How a target ends, and what is left of it then: no process, no file.
//!
//! Killed, a server can clean up nothing itself: its keepers end their trees, and the next server sweeps its folder. So
//! after a kill nothing may run, and after a second server in the same folders nothing may lie there.

use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::OwnTarget;
use super::server::{Launch, Server, Stopped};
use crate::load::Load;
use crate::orphans;
use crate::probe::{Probe, files};
use crate::scenario::Ending;
use crate::target::{Ended, Target};
use leakgate_mock::fake_api::FakeApi;

/// How long a server may take to be in the middle of a turn, and to start again.
const PATIENCE: Duration = Duration::from_secs(35);
/// More than are ended before the kill.
const REQUESTS: u64 = 100_000;

/// Ends the server as its scenario says, and what it left running. `failure` is why the run is no good before that, `ended`
/// what was read of it.
pub(super) async fn end(mut target: OwnTarget, failure: Option<String>, ended: Ended) -> Ended {
    let ending = target.assignment.scenario.ending;
    // A load of its own: the one of the run is closed, and its requests were counted.
    let load = target.open_load();
    let OwnTarget { server, launch, assignment, .. } = target;
    let end = match ending {
        Ending::Stopped => stop(server, &mut target.probe).await,
        Ending::Killed => kill(server, &mut target.probe, load, &launch, &assignment.cli).await,
    };
    let unknown = target.api.iter().flat_map(FakeApi::unknown_requests).map(|what| format!("the CLI asked for {what}"));
    let mut left = Vec::new();
    if let Some(stopped) = &end.stopped {
        let root = stopped.folder.path();
        left = files::list_below(root);
        if target.api.is_some() {
            let home = files_in_home(root);
            // A CLI that was killed could not remove the files that it names after its pid. Before the kill they were counted.
            let is_excused = |path: &PathBuf| ending == Ending::Killed && files::pid_in_name(root, path).is_some();
            left.retain(|path| !home.contains(path) && !is_excused(path));
            left.extend(home.into_iter().skip(target.files_in_home));
        }
    }
    Ended {
        notes: unknown.collect(),
        orphans: Some(end.orphans),
        by_kill: end.by_kill,
        left: Some(left),
        failure: failure.or(end.failure),
        ..ended
    }
}

/// Everything in the HOME of a server with this folder, without the files that are named after a process.
pub(super) fn files_in_home(folder: &Path) -> Vec<PathBuf> {
    let home = folder.join("home");
    let is_kept = |path: &PathBuf| path.starts_with(&home) && files::pid_in_name(folder, path).is_none();
    files::list_below(folder).into_iter().filter(is_kept).collect()
}

/// The leftovers of a server.
#[derive(Debug, Default)]
struct End {
    /// None where the second server did not start.
    stopped: Option<Stopped>,
    /// The command lines of the processes that had to be ended after the stop.
    orphans: Vec<String>,
    /// The same after the kill, where there was one.
    by_kill: Option<Vec<String>>,
    /// Why the end was no good end.
    failure: Option<String>,
}

async fn stop(server: Server, probe: &mut Probe) -> End {
    let stopped = server.stop().await;
    let orphans = orphans::clear_tree(probe).await;
    let failure = match stopped.status {
        Some(status) if status.success() => None,
        Some(status) => Some(format!("the server stopped with {status}")),
        None => Some("the server did not stop when it was told to, and was killed".to_owned()),
    };
    let failure = failure.map(|what| format!("{what}\n{}", stopped.stderr).trim_end().to_owned());
    End { stopped: Some(stopped), orphans, by_kill: None, failure }
}

async fn kill(mut server: Server, probe: &mut Probe, mut load: Load, launch: &Launch, cli: &Path) -> End {
    // How these requests end is not counted: their server is killed.
    let busy = timeout(PATIENCE, async {
        tokio::select! {
            () = load.run_batch(REQUESTS) => false,
            is_busy = until_busy(&mut server) => is_busy,
        }
    });
    let was_busy = busy.await.unwrap_or(false);
    let killed = server.kill().await;
    drop(load);
    let by_kill = Some(orphans::clear_tree(probe).await);
    let failure = if killed.status.and_then(|status| status.signal()) != Some(9) {
        Some(format!("the server was gone before it could be killed: {:?}\n{}", killed.status, killed.stderr))
    } else if !was_busy {
        Some("no turn was running when the server was killed".to_owned())
    } else {
        None
    };
    // In the same folders, because the next start has to sweep what the killed server left.
    let second = match Server::start_in(launch, killed.folder).await {
        Ok(second) => second,
        Err(error) => {
            let failure = Some(format!("after the kill no other server started in its folders: {error}"));
            return End { by_kill, failure, ..End::default() };
        }
    };
    let mut second_probe = Probe::new(second.pid(), second.folder(), cli).ok();
    let end = match &mut second_probe {
        Some(probe) => stop(second, probe).await,
        None => stop(second, probe).await,
    };
    End { by_kill, failure: failure.or(end.failure), ..end }
}

async fn until_busy(server: &mut Server) -> bool {
    loop {
        match server.stats().await {
            Ok(stats) if stats.pool.busy > 0 => return true,
            Ok(_) => sleep(Duration::from_millis(2)).await,
            Err(_) => return false,
        }
    }
}
