//! A second, short life, which SIGKILL ends: what is left of its tree then, nobody will ever end.

use super::assignment::Assignment;
use super::cli_check::OwnCli;
use super::server::Server;
use super::settings::Origin;
use crate::orphans;
use crate::probe::listener;
use crate::target::TargetError;
use leakgate_judge::sample::{Outcome, Signal, TargetRun};

/// How many of them are named.
const NOTED: usize = 5;

/// Starts it, asks a little, kills it, and counts into `run` what is left.
pub(super) async fn killed(assignment: &Assignment, run: &mut TargetRun) {
    let Origin::Started(_) = assignment.settings.origin else { return };
    match left(assignment).await {
        Ok(left) => {
            run.totals.insert(Signal::LeftByKill, left.len() as u64);
            run.notes.extend(left.iter().take(NOTED).map(|command| format!("left after SIGKILL: process {command}")));
        }
        Err(error @ TargetError::OwnCli { .. }) => run.outcome = Outcome::Failed { what: error.to_string() },
        Err(error) => {
            let first = error.to_string().lines().next().unwrap_or_default().to_owned();
            let what = format!("what SIGKILL leaves was not counted, for it did not start again: {first}");
            if let Some(outside) = &mut run.plan.outside {
                outside.unmeasured.push(what);
            }
        }
    }
}

/// The commands that were left, and are ended now.
async fn left(assignment: &Assignment) -> Result<Vec<String>, TargetError> {
    let (server, mut watch) = Server::start(&assignment.settings, &assignment.mock).await?;
    let mut load = assignment.load(assignment.shape());
    let asked = 2 * assignment.settings.load.concurrency;
    let own = |own: OwnCli| TargetError::OwnCli { what: own.message(asked) };
    watch.during(load.batch(asked)).await.map_err(own)?;
    load.close().await;
    let tree = watch.look();
    let answers = listener::of(&tree, assignment.settings.url.address).unwrap_or(server.pid());
    let folder = server.kill(answers).await;
    let left = orphans::clear(&mut watch.probe).await;
    drop(folder);
    Ok(left)
}
