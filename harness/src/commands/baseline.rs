//! `leakgate baseline`: what later nights are compared with. Only an explicit command accepts.

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::commands::trend::DEFAULT_HISTORY;
use crate::commands::{Failure, print, print_stored, trend};
use crate::environment;
use crate::programs::{NAMES, Programs};
use leakgate_history::Night;
use leakgate_history::baseline::{Baseline, refusal_reason};
use leakgate_history::builds::Builds;
use leakgate_history::history::History;
use leakgate_judge::exit::Exit;
use leakgate_judge::store;
use leakgate_judge::verdict;
use leakgate_report::baselines;

/// Options of `baseline`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,

    /// The history.
    #[arg(long, global = true, value_name = "FILE", default_value = DEFAULT_HISTORY)]
    history: PathBuf,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Accept a night: its programs are compared with those of later nights. One with a LEAK, an INVALID one and one
    /// without controls is refused.
    Accept(Accept),
    /// List what was accepted; the one with the star holds.
    List,
    /// Show a baseline: who accepted it, why, where it was measured, and whether its programs are there.
    Show {
        /// Its number; the one that holds without it.
        id: Option<i64>,
    },
}

#[derive(Debug, clap::Args)]
struct Accept {
    /// The night's number; the last one without it.
    #[arg(conflicts_with = "run")]
    night: Option<i64>,

    /// Accept a run that `leakgate run` has stored; it becomes a night of the history.
    #[arg(long, value_name = "RUN.json")]
    run: Option<PathBuf>,

    /// The folder with the programs that made the run; those beside leakgate, where the run was made of the commit that is
    /// checked out.
    #[arg(long, value_name = "DIR", requires = "run")]
    programs: Option<PathBuf>,

    /// Why.
    #[arg(long, value_name = "TEXT", value_parser = parse_text)]
    reason: String,

    /// Who accepts it.
    #[arg(long, value_name = "NAME", env = "USER", value_parser = parse_text)]
    by: String,
}

fn parse_text(given: &str) -> Result<String, &'static str> {
    if given.trim().is_empty() { Err("say something") } else { Ok(given.trim().to_owned()) }
}

/// Accepts, lists or shows.
pub fn run(args: &Args) -> Result<Exit, Failure> {
    let builds = Builds::beside(&args.history);
    match &args.verb {
        Verb::Accept(accept) => {
            let (history, id) = accept_night(accept, &args.history, &builds)?;
            trend::write_latest(&history, &trend::page_path(&args.history))?;
            print_stored(&format!("Baseline {id}: later nights are compared with it\n"), "the baseline is accepted");
        }
        Verb::List => print(&baselines::list(&all_baselines(&open_existing(&args.history)?)?))?,
        Verb::Show { id } => show_baseline(&open_existing(&args.history)?, *id, &builds)?,
    }
    Ok(Exit::Pass)
}

fn open_existing(path: &Path) -> Result<History, Failure> {
    History::existing(path).map_err(|error| Failure::usage(&error))
}

fn all_baselines(history: &History) -> Result<Vec<Baseline>, Failure> {
    history.baselines().map_err(|error| Failure::harness(&error))
}

fn show_baseline(history: &History, id: Option<i64>, builds: &Builds) -> Result<(), Failure> {
    let all = all_baselines(history)?;
    let found = id.map_or_else(|| all.last(), |id| all.iter().find(|baseline| baseline.id == id));
    let Some(baseline) = found else {
        return Err(Failure::usage(&"there is no such baseline: `leakgate baseline list` lists them"));
    };
    let programs = match builds.check(&baseline.build, &NAMES) {
        Ok(()) => format!("in {}", builds.folder(&baseline.build).display()),
        Err(error) => error.to_string(),
    };
    print(&baselines::show(baseline, &programs))
}

fn accept_night(accept: &Accept, path: &Path, builds: &Builds) -> Result<(History, i64), Failure> {
    let (mut history, night) = match &accept.run {
        Some(run) => import_run(run, accept.programs.as_deref(), path, builds)?,
        None => find_night(open_existing(path)?, accept.night)?,
    };
    if let Some(why) = refusal_reason(&night) {
        return Err(Failure::usage(&why));
    }
    let gone = || Failure::usage(&format!("night {} has no programs: accept another", night.id));
    let build = night.build.clone().ok_or_else(gone)?;
    builds.check(&build, &NAMES).map_err(|error| Failure::usage(&error))?;
    let baseline = Baseline {
        id: 0,
        night: night.id,
        accepted_unix: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()),
        by: accept.by.clone(),
        reason: accept.reason.clone(),
        build,
        environment: night.environment,
    };
    let id = history.accept(&baseline).map_err(|error| Failure::harness(&error))?;
    Ok((history, id))
}

fn find_night(history: History, id: Option<i64>) -> Result<(History, Night), Failure> {
    let mut nights = history.nights().map_err(|error| Failure::harness(&error))?;
    let found = match id {
        None => nights.pop(),
        Some(id) => nights.into_iter().find(|night| night.id == id),
    };
    let missing = || {
        let which = id.map_or("any night".to_owned(), |id| format!("night {id}"));
        Failure::usage(&format!("the history does not have {which}: `leakgate trend` writes a page with all of them"))
    };
    Ok((history, found.ok_or_else(missing)?))
}

/// A run as a night of the history. What would be refused does not even get there.
fn import_run(
    path: &Path,
    programs: Option<&Path>,
    history: &Path,
    builds: &Builds,
) -> Result<(History, Night), Failure> {
    let run = store::load(path).map_err(|error| Failure::usage(&error))?;
    let mut night = Night::of(&run, &verdict::judge(&run));
    if let Some(why) = refusal_reason(&night) {
        return Err(Failure::usage(&format!("{}: {why}", path.display())));
    }
    let programs = locate_programs(&night, programs)?;
    let mut opened = super::nightly::open_history(history)?;
    let nights = opened.nights().map_err(|error| Failure::harness(&error))?;
    if let Some(same) = nights.iter().find(|other| other.environment == night.environment) {
        let id = same.id;
        return Err(Failure::usage(&format!("this run is night {id} already: leakgate baseline accept {id} …")));
    }
    night.build = Some(builds.keep(&programs.paths()).map_err(|error| Failure::harness(&error))?);
    night.folder = path.parent().unwrap_or(Path::new(".")).display().to_string();
    night.id = opened.add(&night).map_err(|error| Failure::harness(&error))?;
    Ok((opened, night))
}

/// The programs that made a run. Those beside leakgate are so only where both are surely of the same commit.
fn locate_programs(night: &Night, named: Option<&Path>) -> Result<Programs, Failure> {
    if let Some(folder) = named {
        let programs = Programs::in_folder(folder);
        let missing = programs.paths().into_iter().find(|path| !path.is_file());
        return missing.map_or(Ok(programs.clone()), |path| {
            Err(Failure::usage(&format!("{} is missing: --programs names the folder of the build", path.display())))
        });
    }
    let (made, here) = (night.environment.commit.clone(), environment::head_commit());
    if made.is_none() || made != here || made.as_ref().is_some_and(|commit| commit.ends_with("+changes")) {
        let [made, here] = [made, here].map(|commit| commit.unwrap_or_else(|| "an unknown commit".to_owned()));
        return Err(Failure::usage(&format!(
            "the run was made of {made}, and here is {here}: name the folder with the programs that made it with --programs"
        )));
    }
    Programs::find().map_err(|error| Failure::harness(&error))
}
