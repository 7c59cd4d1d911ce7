//! Two builds of our server side by side: one process of the baseline's, one of the night's, and so on.

use std::collections::BTreeSet;

use super::{Kind, Request, RunError};
use crate::environment;
use crate::programs::Programs;
use leakgate_drive::assignment::Assignment;
use leakgate_drive::event::{Event, Listener};
use leakgate_drive::own::OwnAssignment;
use leakgate_drive::scenario::Scenario;
use leakgate_history::compare::{PROCESSES, Pairs};
use leakgate_judge::sample::{Environment, Outcome, TargetRun};

/// The processes to be driven.
#[derive(Debug)]
pub struct PairedPlan {
    /// Of each pair, the baseline's first.
    pairs: Vec<[OwnAssignment; 2]>,
    scenario: &'static str,
    environment: Environment,
}

impl Request {
    /// Lays out the processes: those of the request's own programs against those of `baseline`. Both builds of a pair get
    /// the same requests; each pair gets others.
    pub fn plan_pairs(&self, scenario: &Scenario, baseline: &Programs) -> Result<PairedPlan, RunError> {
        let mut versions = BTreeSet::new();
        let mut pairs = Vec::new();
        for pair in 0..PROCESSES as u64 {
            let candidate = Self { seed: self.seed.wrapping_add(pair), ..self.clone() };
            let baseline = Self { programs: baseline.clone(), ..candidate.clone() };
            let before = baseline.own_assignment(scenario.clone(), Kind::Sut, false, &mut versions)?;
            let after = candidate.own_assignment(scenario.clone(), Kind::Sut, false, &mut versions)?;
            pairs.push([before, after]);
        }
        let environment = environment::describe(versions, self.seed);
        Ok(PairedPlan { pairs, scenario: scenario.name, environment })
    }
}

impl PairedPlan {
    /// Drives one process after the other. The first that fails ends it: what is left could not be compared any more.
    pub async fn run(self, listener: &dyn Listener) -> Pairs {
        let restarts = self.pairs.iter().flatten().map(|process| process.subject().goal).sum();
        listener.event(Event::Planned { restarts });
        let mut done: [Vec<TargetRun>; 2] = Default::default();
        'pairs: for pair in &self.pairs {
            for (process, side) in pair.iter().zip(&mut done) {
                let run = process.drive(listener).await;
                let failed = run.outcome != Outcome::Completed;
                side.push(run);
                if failed {
                    break 'pairs;
                }
            }
        }
        let [baseline, candidate] = done;
        Pairs { scenario: self.scenario.to_owned(), environment: self.environment, baseline, candidate }
    }
}
