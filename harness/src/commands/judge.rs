//! `leakgate judge`: the verdict again, from stored data.

use std::path::PathBuf;

use crate::commands::{Failure, print_stored};
use leakgate_judge::exit::Exit;
use leakgate_judge::store;
use leakgate_judge::verdict;
use leakgate_report::terminal::{MAX_WIDTH, Style, render};

/// Advice where stdout cannot be written.
const STDOUT_ADVICE: &str = "the exit code is that of the verdict";

/// Options of `judge`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The `run.json` of each run.
    #[arg(required = true, value_name = "RUN.json")]
    runs: Vec<PathBuf>,
}

/// Judges each run; the exit code is that of the worst.
pub fn run(args: &Args) -> Result<Exit, Failure> {
    let mut worst: Option<verdict::Verdict> = None;
    for path in &args.runs {
        let run = store::load(path).map_err(|error| Failure::usage(&error))?;
        let verdict = verdict::judge(&run);
        if args.runs.len() > 1 {
            print_stored(&format!("{}\n", path.display()), STDOUT_ADVICE);
        }
        print_stored(&render(&verdict, &run, Style { width: MAX_WIDTH, colour: true }), STDOUT_ADVICE);
        if worst.as_ref().is_none_or(|worst| worst.verdict < verdict.verdict) {
            worst = Some(verdict);
        }
    }
    Ok(worst.map_or(Exit::Usage, |verdict| verdict.exit()))
}
