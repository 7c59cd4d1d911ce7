//! `leakgate power`: how small a leak this gate catches, and how often it cries wolf.

use std::collections::BTreeSet;
use std::path::PathBuf;

use thiserror::Error;

use crate::calibration;
use crate::calibration::cases::Case;
use crate::calibration::markdown::render_markdown;
use crate::calibration::table::Calibration;
use crate::calibration::trial_log::{TrialLog, TrialLogError};
use crate::calibration::{Trial, TrialQueue};
use crate::commands::run::check_output_folder;
use crate::commands::{Failure, print, print_stored, run_supervised};
use crate::environment;
use crate::programs::Programs;
use crate::run::RunError;
use leakgate_judge::exit::Exit;
use leakgate_judge::store;

/// Options of `power`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only these cases; all, if none is named.
    #[arg(value_name = "CASE")]
    cases: Vec<String>,

    /// The folder for trials.jsonl, power.json and power.md. Trials that are in it already are not run again.
    #[arg(long, value_name = "DIR", default_value = "reports/latest-power")]
    out: PathBuf,

    /// How often each leak is planted.
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    trials: u64,

    /// How many runs have nothing planted, on each target and as long again on one.
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u64).range(0..=10_000))]
    clean: u64,

    /// Trials that run at the same time.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=64))]
    jobs: u64,

    /// The seed of the first trial; each one after it has the next.
    #[arg(long, value_name = "S", default_value_t = 1)]
    seed: u64,

    /// Run nothing: tell what the trials in the folder say.
    #[arg(long)]
    no_run: bool,

    /// List the cases and run nothing.
    #[arg(long, conflicts_with = "no_run")]
    list: bool,
}

/// What ends the trials early.
#[derive(Debug, Error)]
enum TrialsError {
    #[error(transparent)]
    Plan(#[from] RunError),
    #[error(transparent)]
    TrialLog(#[from] TrialLogError),
}

/// Runs what is missing, and tells what all of it says. 4 when the gate sees less than it promises, or cries wolf.
pub fn run(args: &Args) -> Result<Exit, Failure> {
    let cases = select_cases(args)?;
    if args.list {
        return list_cases(&cases);
    }
    check_output_folder("--out", &args.out, ["power.json", "power.md", calibration::trial_log::FILE_NAME])?;
    let (mut log, mut trials) = TrialLog::open(&args.out).map_err(|error| Failure::harness(&error))?;
    if !args.no_run {
        let commit = environment::head_commit();
        check_same_build(&trials, commit.as_deref(), args)?;
        let programs = Programs::find().map_err(|error| Failure::harness(&error))?;
        let queue = TrialQueue::new(&cases, &trials, programs, args.seed, commit);
        run_trials(args, queue, &mut log, &mut trials)?;
    }
    if trials.is_empty() {
        return Err(Failure::usage(&format!("there are no trials in {}: leave out --no-run", args.out.display())));
    }
    trials.sort_by(|a, b| (&a.case, a.trial).cmp(&(&b.case, b.trial)));
    let power = Calibration::from_trials(&cases, &trials, environment::describe(BTreeSet::new(), args.seed));
    let (data, text) = (args.out.join("power.json"), args.out.join("power.md"));
    store::save_json(&data, &power).map_err(|error| Failure::harness(&error))?;
    store::save_text(&text, &render_markdown(&power)).map_err(|error| Failure::harness(&error))?;
    let broken = power.broken_promises();
    let mut report = vec![render_markdown(&power), format!("\nStored: {}, {}\n", data.display(), text.display())];
    if !broken.is_empty() {
        report.push(format!("Not kept:\n  {}\n", broken.join("\n  ")));
    }
    print_stored(&report.concat(), &format!("the table is in {}", text.display()));
    Ok(if broken.is_empty() { Exit::Pass } else { Exit::Invalid })
}

fn select_cases(args: &Args) -> Result<Vec<Case>, Failure> {
    let all = Case::all(args.trials, args.clean);
    if let Some(wrong) = args.cases.iter().find(|name| !all.iter().any(|case| case.name == name.as_str())) {
        let known: Vec<&str> = all.iter().map(|case| case.name).collect();
        return Err(Failure::usage(&format!("no case is called {wrong:?}; choose from: {}", known.join(", "))));
    }
    Ok(all
        .into_iter()
        .filter(|case| args.cases.is_empty() || args.cases.iter().any(|name| name == case.name))
        .collect())
}

fn list_cases(cases: &[Case]) -> Result<Exit, Failure> {
    for case in cases {
        let what = if case.leak.is_empty() { "nothing planted" } else { case.leak };
        print(&format!("{:<16} {:>4} × {:>4} restarts  {what}\n", case.name, case.trials, case.restarts))?;
    }
    Ok(Exit::Pass)
}

/// A table of two builds would speak of neither.
fn check_same_build(trials: &[Trial], here: Option<&str>, args: &Args) -> Result<(), Failure> {
    match trials.iter().find(|trial| trial.commit.as_deref() != here) {
        None => Ok(()),
        Some(other) => Err(Failure::usage(&format!(
            "{} holds trials of commit {}, and this is {}: choose another folder with --out, or --no-run to tell what is \
             there",
            args.out.display(),
            other.commit.as_deref().unwrap_or("unknown"),
            here.unwrap_or("unknown")
        ))),
    }
}

fn run_trials(args: &Args, queue: TrialQueue, log: &mut TrialLog, trials: &mut Vec<Trial>) -> Result<(), Failure> {
    let all = trials.len() + queue.len();
    let jobs = usize::try_from(args.jobs).unwrap_or(1);
    let keep = |trial: Trial| -> Result<(), TrialsError> {
        log.append(&trial)?;
        print_progress(&trial, trials.len() + 1, all);
        trials.push(trial);
        Ok(())
    };
    run_supervised(queue.run(jobs, keep))?.map_err(|error| match error {
        TrialsError::Plan(error) => Failure::usage(&error),
        TrialsError::TrialLog(error) => Failure::harness(&error),
    })
}

fn print_progress(trial: &Trial, done: usize, all: usize) {
    use std::io::Write;
    // Nobody is left to be told that stderr is closed.
    let _ = writeln!(
        std::io::stderr(),
        "{done}/{all} {} {}: {} in {:.1} s",
        trial.case,
        trial.trial,
        trial.finding,
        trial.seconds
    );
}
