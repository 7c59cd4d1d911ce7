//! Detects the kind of a server before anything is measured: which requests it accepts, and when it restarts its CLI.

use super::settings::{Restart, Settings};
use super::target::{ExternalTarget, ratio};
use crate::load::{Counts, Load};
use leakgate_judge::sample::{GrowthUnit, Outcome};

/// So many requests without a restart: it restarts nothing, as far as can be seen.
const LEARNING: u64 = 200;
/// So many restarts that were asked for without one that was seen: they don't happen.
const ASKED_IN_VAIN: u32 = 5;
/// Of the turns, so many with a new CLI process each: it starts one for each request. One for every two would be half.
const ONE_EACH: f64 = 0.75;
/// Turns after which that can be told.
const TURNS_TO_TELL: u64 = 30;

impl ExternalTarget {
    /// One request of each form but the plain one, which was the first. A form that the server refuses is left out of the
    /// load and named.
    pub(super) async fn send_first_requests(&mut self, load: &mut Load) -> Result<(), Outcome> {
        let mut shape = self.assignment.shape();
        if shape.streamed > 0.0 && !self.accepts_form("streamed", 1.0, 0.0).await? {
            shape.streamed = 0.0;
        }
        if shape.json > 0.0 && !self.accepts_form("JSON", 0.0, 1.0).await? {
            shape.json = 0.0;
        }
        load.reshape(shape);
        Ok(())
    }

    async fn accepts_form(&mut self, form: &str, streamed: f64, json: f64) -> Result<bool, Outcome> {
        let Err(problem) = self.ask_once(streamed, json).await? else { return Ok(true) };
        self.left_out.push(format!("{form} requests were left out, for the first one failed: {problem}"));
        Ok(false)
    }

    /// Whether it is known what a step of the run is, and the warm-up is over. Called once before each batch of load.
    pub(super) fn is_detected(&mut self, counts: &Counts, is_cut_short: bool) -> Result<bool, Outcome> {
        let batches = self.learning;
        self.learning += 1;
        let Settings { load, restart, warm_up, .. } = self.settings();
        let (restarts, turns) = (self.watch.restart_count(), counts.requests);
        let patience = match restart {
            Restart::Turns(Some(each)) => LEARNING.max(3 * each * load.concurrency),
            _ => LEARNING,
        };
        // With fewer turns, a server that restarts every few turns can't be told from one that starts a CLI for each.
        if restarts >= *warm_up && turns >= TURNS_TO_TELL {
            let one_each = ratio(restarts, turns) >= ONE_EACH && matches!(restart, Restart::Turns(None));
            self.per = if one_each { GrowthUnit::Turn } else { GrowthUnit::Restart };
            self.turns_per_step = if one_each { 1.0 } else { ratio(turns, restarts) };
            return Ok(true);
        }
        match restart {
            Restart::Turns(None) if restarts == 0 && turns >= patience => {
                self.per = GrowthUnit::Turn;
                Ok(true)
            }
            Restart::Turns(Some(_)) if restarts == 0 && turns >= patience => {
                let seen = self.nothing_seen(turns);
                Err(self.failure(seen))
            }
            Restart::Http { .. } | Restart::Signal(_) if restarts == 0 && batches >= ASKED_IN_VAIN => {
                let seen = self.nothing_seen(turns);
                Err(self.failure(format!("{batches} restarts were asked for, and none was seen: {seen}")))
            }
            _ => Ok(is_cut_short),
        }
    }
}
