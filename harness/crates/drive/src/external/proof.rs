//! The proof, before any load, that the CLI which a server starts is the mock.
//!
//! A server that has started its CLI by the time it is ready is found out before it is asked anything. One that starts it for
//! a request needs a request: a single one, alone, whose CLI finds no key, no login and no way to the API (`server`).

use std::time::Duration;

use procfs::process::Process;
use tokio::time::sleep;

use super::scout::Pace;
use super::settings::{Home, Origin};
use super::target::ExternalTarget;
use crate::load::Shape;
use leakgate_judge::sample::Outcome;

/// So many such requests, where each has started and ended a process that was too quick to be seen.
const TRIES: u32 = 3;
/// Between two looks at a script that may still start the mock.
const PAUSE: Duration = Duration::from_millis(20);

impl ExternalTarget {
    /// Sends the first request and makes sure that what it started is the mock.
    pub(super) async fn prove_mock(&mut self) -> Result<(), Outcome> {
        self.until_scripts_are_resolved().await?;
        // Each try may cost a real turn where the server can find a key.
        let tries = if self.can_spend() { 1 } else { TRIES };
        for _ in 0..tries {
            let (counted, reaped) = (self.watch.mock_count(), self.count_reaped_faults());
            let answer = self.ask_once(0.0, 0.0).await?;
            self.until_scripts_are_resolved().await?;
            let was_started = self.watch.mock_count() > counted;
            self.watch.cli_check(|check| check.conclude(was_started));
            if let Some(own) = self.watch.cli_check(|check| check.own().cloned()).flatten() {
                return Err(self.failure(own.message(self.asked)));
            }
            if let Err(problem) = answer {
                let withheld = self.withheld();
                return Err(self.failure(format!("the first request failed: {problem}{withheld}")));
            }
            let is_known = was_started || self.watch.cli_check(|check| check.saw_mock()).unwrap_or(true);
            if is_known || self.count_reaped_faults() == reaped {
                break;
            }
        }
        self.watch.pace = Pace::Load;
        Ok(())
    }

    /// A single request; the inner error is why it got no reply of its own.
    pub(super) async fn ask_once(&mut self, streamed: f64, json: f64) -> Result<Result<(), String>, Outcome> {
        let shape = Shape { connections: 1, streamed, json, ..self.assignment.shape() };
        let mut load = self.assignment.load(shape);
        self.asked += 1;
        self.watch.watch_during(load.run_batch(1)).await.map_err(|own| self.failure(own.message(self.asked)))?;
        load.close().await;
        let counts = load.counts();
        let problem = || counts.notes.first().cloned().unwrap_or_default();
        Ok(if counts.complete == 1 { Ok(()) } else { Err(problem()) })
    }

    /// Each turns out to be one thing or the other within seconds.
    async fn until_scripts_are_resolved(&mut self) -> Result<(), Outcome> {
        loop {
            self.watch.watch_during(sleep(PAUSE)).await.map_err(|own| self.failure(own.message(self.asked)))?;
            if !self.watch.cli_check(|check| check.is_open()).unwrap_or(false) {
                return Ok(());
            }
        }
    }

    /// Whether a CLI of the server's own could find a key or a login.
    fn can_spend(&self) -> bool {
        match &self.settings().origin {
            Origin::Started(started) => started.home == Home::Keep || !started.keep_env.is_empty(),
            Origin::Process(_) | Origin::Cgroup(_) => true,
        }
    }

    /// A number that rises with each child that the server has started and reaped: the faults of their pages.
    fn count_reaped_faults(&self) -> u64 {
        let stat = i32::try_from(self.answers).ok().and_then(|pid| Process::new(pid).ok()?.stat().ok());
        stat.map_or(0, |stat| stat.cminflt)
    }
}
