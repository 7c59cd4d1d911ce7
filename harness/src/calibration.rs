//! How good the gate is: leaks of falling size, planted again and again, and many runs with none.
//!
//! Each trial is measured and judged exactly as `leakgate run` would, in a fresh process, and kept as one line of
//! `trials.jsonl` as soon as it has ended: whoever ends this half-way goes on later. [`table`] makes of the lines how often
//! each leak was caught and how often nothing was, with intervals, and the bound on memory that they amount to.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;

use crate::programs::Programs;
use crate::run::{Request, RunError};
use cases::{Case, TrialPlan};
use leakgate_drive::event::Silent;
use leakgate_judge::sample::{Metric, Run, TargetRun};
use leakgate_judge::verdict::{self, Finding, target, trend};

pub mod cases;
pub mod interval;
pub mod markdown;
pub mod table;
pub mod trial_log;

/// One run of one case.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Trial {
    /// The case's name.
    pub case: String,
    /// Which of its trials, from 0.
    pub trial: u64,
    /// The scenario.
    pub scenario: String,
    /// The seed of the load.
    pub seed: u64,
    /// The commit of the working folder.
    pub commit: Option<String>,
    /// The planted leak, in the syntax of `--plant`.
    pub plant: Option<String>,
    /// The verdict of the run.
    pub finding: Finding,
    /// The metrics that were called a leak.
    pub called: Vec<Metric>,
    /// Growth of the planted metric for each restart, in its units.
    pub growth: Option<f64>,
    /// Restarts, all repetitions together.
    pub restarts: u64,
    /// How often the restarts were doubled, because it was saturating.
    pub doubled: u64,
    /// The least rise of anonymous memory between two windows, in bytes for each restart, had the run ended after so many.
    pub rises: Vec<(u64, f64)>,
    /// Why it proves nothing, if it does not.
    pub problem: Option<String>,
    /// How long it took, in seconds.
    pub seconds: f64,
}

/// The trials that are still to be run.
#[derive(Debug)]
pub struct TrialQueue {
    remaining: VecDeque<(Case, u64)>,
    programs: Programs,
    seed: u64,
    commit: Option<String>,
}

impl TrialQueue {
    /// Every trial that is not among `done`, in rounds: each case comes up as soon as any, so that whoever stops early has
    /// a little of each. They are trials of this commit.
    #[must_use]
    pub fn new(cases: &[Case], done: &[Trial], programs: Programs, seed: u64, commit: Option<String>) -> Self {
        let is_done = |case: &Case, trial| done.iter().any(|kept| kept.case == case.name && kept.trial == trial);
        let mut remaining: Vec<(Case, u64)> = cases
            .iter()
            .flat_map(|case| (0..case.trials).map(move |trial| (case.clone(), trial)))
            .filter(|(case, trial)| !is_done(case, *trial))
            .collect();
        // Where a trial stands among its case's own, in thousandths.
        remaining.sort_by_key(|(case, trial)| trial * 1000 / case.trials.max(1));
        Self { remaining: remaining.into(), programs, seed, commit }
    }

    /// The number of trials that are left.
    #[must_use]
    pub fn len(&self) -> usize {
        self.remaining.len()
    }

    /// Nothing is left.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.remaining.is_empty()
    }

    /// Runs everything, so many `at_once`, and hands each trial over as it ends; an error of `keep` ends it.
    pub async fn run<E: From<RunError>>(
        mut self,
        at_once: usize,
        mut keep: impl FnMut(Trial) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut running = JoinSet::new();
        loop {
            while running.len() < at_once {
                let Some((case, trial)) = self.remaining.pop_front() else { break };
                let plan = case.plan_trial(trial, self.seed);
                let program = build_request(&plan, &self.programs).plan()?;
                let commit = self.commit.clone();
                running.spawn(async move {
                    let start = Instant::now();
                    let run = program.run(Arc::new(Silent)).await;
                    summarize_run(&case, trial, commit, &plan, &run, start.elapsed().as_secs_f64())
                });
            }
            match running.join_next().await {
                Some(Ok(trial)) => keep(trial)?,
                // A defect of ours in one trial: it is missing from the table, which says so.
                Some(Err(_)) => {}
                None => return Ok(()),
            }
        }
    }
}

fn build_request(plan: &TrialPlan, programs: &Programs) -> Request {
    Request {
        scenarios: vec![plan.scenario.clone()],
        controls: false,
        plant: plan.plant.clone(),
        seed: plan.seed,
        programs: programs.clone(),
        cli: None,
        target: Some(plan.target),
        external: None,
        profiles: None,
    }
}

/// Reduces a run to the record of its trial.
fn summarize_run(case: &Case, trial: u64, commit: Option<String>, plan: &TrialPlan, run: &Run, seconds: f64) -> Trial {
    let verdict = verdict::judge(run);
    let leaks = verdict.metrics.iter().filter(|row| row.verdict == Finding::Leak);
    let planted = verdict.metrics.iter().rev().find(|row| case.metrics.contains(&row.name));
    Trial {
        case: case.name.to_owned(),
        trial,
        scenario: plan.scenario.name.to_owned(),
        seed: plan.seed,
        commit,
        plant: plan.plant.as_ref().map(|control| control.change.plant.as_deref().unwrap_or(control.name).to_owned()),
        finding: verdict.verdict,
        called: leaks.map(|row| row.name).collect(),
        growth: planted.and_then(|row| row.growth_per_restart),
        restarts: verdict.proof.restarts,
        doubled: run.targets.iter().map(|run| run.plan.doubled).max().unwrap_or(0),
        rises: run.targets.first().map(least_rises).unwrap_or_default(),
        problem: verdict.invalid.first().cloned(),
        seconds,
    }
}

/// The least rise at each length for which there is a bound, as far as the run goes.
fn least_rises(run: &TargetRun) -> Vec<(u64, f64)> {
    let reached = run.plan.restarts;
    let lengths = trend::BOUNDS.into_iter().rev().map(|bound| bound.from).filter(|&length| length <= reached);
    let rise = |length| trend::least_rise(run, run.plan.warm_up + length).map(|rise| (length, rise));
    if target::judge_target(run).0.invalid.is_empty() { lengths.filter_map(rise).collect() } else { Vec::new() }
}
