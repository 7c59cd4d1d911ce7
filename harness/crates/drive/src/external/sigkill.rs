//! A second, short life, which SIGKILL ends: what is left of its tree then, nobody will ever end.

use super::assignment::ExternalAssignment;
use super::cli_check::OwnCli;
use super::server::Server;
use crate::orphans;
use crate::probe::listener;
use crate::target::{Ended, TargetError};

/// Starts it, asks a little, kills it, and notes in `ended` what is left.
pub(super) async fn check(assignment: &ExternalAssignment, ended: &mut Ended) {
    match left_by_sigkill(assignment).await {
        Ok(left) => ended.by_kill = Some(left),
        Err(error @ TargetError::OwnCli { .. }) => ended.failure = Some(error.to_string()),
        Err(error) => {
            let first = error.to_string().lines().next().unwrap_or_default().to_owned();
            let what = format!("what SIGKILL leaves was not counted, for it did not start again: {first}");
            ended.unmeasured.push(what);
        }
    }
}

/// The commands that were left, and are ended now.
async fn left_by_sigkill(assignment: &ExternalAssignment) -> Result<Vec<String>, TargetError> {
    let (server, mut watch) = Server::start(&assignment.settings, &assignment.mock).await?;
    let mut load = assignment.load(assignment.shape());
    let asked = 2 * assignment.settings.load.concurrency;
    let own = |own: OwnCli| TargetError::OwnCli { what: own.message(asked) };
    watch.watch_during(load.run_batch(asked)).await.map_err(own)?;
    load.close().await;
    let tree = watch.read_tree();
    let answers = listener::listening_process(&tree, assignment.settings.url.address).unwrap_or(server.pid());
    // The folder stays until the orphans are cleared: they are found by their environment, which names it.
    let folder = server.kill(answers).await;
    let left = orphans::clear_tree(&mut watch.probe).await;
    drop(folder);
    Ok(left)
}
