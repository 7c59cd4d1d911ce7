//! `leakgate merge`: the shards of a suite as one run, judged as a whole.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::commands::Failure;
use crate::commands::run::{RUN_FILES, check_output_folder, judge_and_store, report_files};
use leakgate_judge::exit::Exit;
use leakgate_judge::store;
use leakgate_judge::suite::{merge, shard};
use leakgate_report::Format;

/// How deep below a folder shards are looked for: a CI puts each of them into a folder of its own.
const MAX_DEPTH: usize = 3;

/// Options of `merge`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit codes: those of the verdict on the whole (0 pass, 1 leak, 3 not conclusive); 4 invalid, also when a \
                        shard is missing, there twice, or of another suite or build; 2 a file cannot be read or is no shard."
)]
pub struct Args {
    /// The run.json of each shard, its folder, or a folder with all of them (shard-K-of-N/run.json).
    #[arg(required = true, value_name = "SHARD")]
    shards: Vec<PathBuf>,

    /// The folder for run.json and verdict.json of the whole.
    #[arg(long, value_name = "DIR", default_value = "reports/latest")]
    out: PathBuf,

    /// Reports beside run.json, in these formats.
    #[arg(long, value_enum, value_name = "FORMAT", value_delimiter = ',', default_value = "html,markdown")]
    report: Vec<Format>,
}

/// Merges, judges and stores.
pub fn run(args: &Args) -> Result<Exit, Failure> {
    check_output_folder("--out", &args.out, RUN_FILES.into_iter().chain(report_files(&args.report)))?;
    let mut runs = Vec::new();
    for path in find_shards(&args.shards)? {
        let run = store::load(&path).map_err(|error| Failure::usage(&error))?;
        runs.push((path.display().to_string(), run));
    }
    let run = merge::merge_shards(runs).map_err(|error| Failure::usage(&error))?;
    judge_and_store(&run, &args.out, &args.report)
}

/// The files that are meant.
fn find_shards(given: &[PathBuf]) -> Result<Vec<PathBuf>, Failure> {
    let mut found = Vec::new();
    for path in given {
        let before = found.len();
        if path.is_dir() {
            find_shards_below(path, MAX_DEPTH, &mut found)
                .map_err(|error| Failure::usage(&format!("cannot look for shards in {}: {error}", path.display())))?;
        } else {
            found.push(path.clone());
        }
        if found.len() == before {
            return Err(Failure::usage(&format!(
                "there is no shard in {}: `leakgate run --shard K/N --out DIR` puts its run.json into DIR/shard-K-of-N",
                path.display()
            )));
        }
    }
    found.sort();
    Ok(found)
}

/// A folder that is a shard by its name, or whatever shards are below another.
fn find_shards_below(folder: &Path, depth: usize, found: &mut Vec<PathBuf>) -> io::Result<()> {
    let name = folder.canonicalize()?;
    if name.file_name().and_then(|name| name.to_str()).is_some_and(shard::is_shard_folder) {
        // Without its file it is one that did not finish; that it is missing is told by the verdict.
        found.extend(Some(folder.join("run.json")).filter(|file| file.is_file()));
        return Ok(());
    }
    let mut folders: Vec<PathBuf> = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() && depth > 0 {
            folders.push(entry.path());
        }
    }
    folders.iter().try_for_each(|folder| find_shards_below(folder, depth - 1, found))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_are_found_by_the_names_of_their_folders() {
        let root = tempfile::tempdir().unwrap();
        for name in ["leakgate-1/shard-1-of-2", "shard-2-of-2", "whole", "shard-1-of-3"] {
            fs::create_dir_all(root.path().join(name)).unwrap();
        }
        for name in ["leakgate-1/shard-1-of-2", "shard-2-of-2", "whole"] {
            fs::write(root.path().join(name).join("run.json"), "").unwrap();
        }
        let found = find_shards(&[root.path().to_owned()]).unwrap();
        let names = ["leakgate-1/shard-1-of-2/run.json", "shard-2-of-2/run.json"].map(|name| root.path().join(name));
        assert_eq!(found, names);
        assert_eq!(find_shards(&[root.path().join("shard-2-of-2")]).unwrap(), names[1..]);
        assert!(find_shards(&[root.path().join("whole")]).is_err());
    }
}
