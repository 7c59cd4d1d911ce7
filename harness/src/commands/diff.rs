//! `leakgate diff`: what grew between two runs or two profiles.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::commands::{Failure, print};
use leakgate_judge::attribution::dhat;
use leakgate_judge::attribution::profile::{FORMAT, Profile};
use leakgate_judge::diff::{Document, compare};
use leakgate_judge::exit::Exit;
use leakgate_judge::store;
use leakgate_report::diff::render;

/// Options of `diff`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The earlier run.json, profile.json or dhat-heap.json.
    #[arg(value_name = "A")]
    before: PathBuf,

    /// The later one, of the same kind.
    #[arg(value_name = "B")]
    after: PathBuf,

    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Compares and prints. The exit code is 0 however large the difference: `leakgate judge` tells whether a run leaks.
pub fn run(args: &Args) -> Result<Exit, Failure> {
    let (before, after) = (read_document(&args.before)?, read_document(&args.after)?);
    let diff = compare(&before, &after).map_err(|error| Failure::usage(&error))?;
    if args.json {
        let text = serde_json::to_string_pretty(&diff).map_err(|error| Failure::harness(&error))?;
        print(&format!("{text}\n"))?;
        return Ok(Exit::Pass);
    }
    print(&format!("{}\n{}\n", title_line("A", &args.before, &before), title_line("B", &args.after, &after)))?;
    print(&render(&diff))?;
    Ok(Exit::Pass)
}

fn title_line(letter: &str, path: &Path, document: &Document) -> String {
    let commit = document.environment().and_then(|environment| environment.commit.as_deref());
    let commit = commit.map_or(String::new(), |commit| format!(" (commit {commit})"));
    format!("{letter}: {}{commit}", path.display())
}

/// Reads a file of any of the three kinds, which are told apart by the keys that only one of them has.
fn read_document(path: &Path) -> Result<Document, Failure> {
    let wrong = |what: &str| Failure::usage(&format!("{}: {what}", path.display()));
    let text = fs::read(path).map_err(|error| wrong(&format!("cannot be read: {error}")))?;
    let value: Value = serde_json::from_slice(&text)
        .map_err(|error| wrong(&format!("is no JSON ({error}); was it cut short, or is it another file?")))?;
    if value.get("dhatFileVersion").is_some() {
        return dhat::read(&text).map(Document::Heap).map_err(|error| wrong(&error.to_string()));
    }
    if value.get("targets").is_some() {
        let run = store::load(path).map_err(|error| Failure::usage(&error))?;
        return Ok(Document::Run(Box::new(run)));
    }
    if value.get("windows").is_none() {
        return Err(wrong("is no run.json, no profile.json and no dhat-heap.json"));
    }
    match value.get("format").and_then(Value::as_u64) {
        Some(found) if found == u64::from(FORMAT) => {
            let profile: Profile =
                serde_json::from_value(value).map_err(|error| wrong(&format!("is no profile.json: {error}")))?;
            Ok(Document::Profile(Box::new(profile)))
        }
        found => Err(wrong(&format!(
            "has format {}, and this build reads format {FORMAT}; profile again",
            found.map_or("none".to_owned(), |found| found.to_string())
        ))),
    }
}
