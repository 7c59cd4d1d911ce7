//! `leakgate trend`: the page of all nights, from the history.

use std::path::{Path, PathBuf};

use crate::commands::{Failure, print};
use leakgate_history::history::History;
use leakgate_judge::exit::Exit;
use leakgate_judge::store;

/// Where the history is, unless it is told otherwise.
pub(super) const DEFAULT_HISTORY: &str = "reports/nightly/history.sqlite";
/// Nights that a page has room for: a season.
const DEFAULT_NIGHTS: usize = 120;

/// Options of `trend`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The history.
    #[arg(long, value_name = "FILE", default_value = DEFAULT_HISTORY)]
    history: PathBuf,

    /// Where to; trend.html beside the history without it.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,

    /// So many of the latest nights.
    #[arg(long, value_name = "N", default_value_t = DEFAULT_NIGHTS)]
    last: usize,
}

/// Writes it.
pub fn run(args: &Args) -> Result<Exit, Failure> {
    let history = History::existing(&args.history).map_err(|error| Failure::usage(&error))?;
    let path = args.out.clone().unwrap_or_else(|| page_path(&args.history));
    write_page(&history, &path, args.last)?;
    print(&format!("Written: {}\n", path.display()))?;
    Ok(Exit::Pass)
}

/// Where the page of a history is.
pub(super) fn page_path(history: &Path) -> PathBuf {
    history.with_file_name("trend.html")
}

/// Writes the page of the latest nights, as many as there is room for.
pub(super) fn write_latest(history: &History, path: &Path) -> Result<(), Failure> {
    write_page(history, path, DEFAULT_NIGHTS)
}

fn write_page(history: &History, path: &Path, last: usize) -> Result<(), Failure> {
    let failed = |error| Failure::harness(&error);
    let (nights, baselines) = (history.nights().map_err(failed)?, history.baselines().map_err(failed)?);
    let latest = nights.get(nights.len().saturating_sub(last)..).unwrap_or_default();
    let page = leakgate_report::nights(latest, &baselines);
    store::save_text(path, &page).map_err(|error| Failure::harness(&error))
}
