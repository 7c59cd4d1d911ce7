//! Shards put together to one run: what one process would have stored, and where each part comes from.
//!
//! Nothing is judged here and nothing is thrown away unseen: what is missing, doubled or foreign stands in
//! [`crate::sample::suite::Suite::parts`], and the verdict says what comes of it.

use std::collections::BTreeSet;

use thiserror::Error;

use crate::sample::suite::{Part, Suite, Unit};
use crate::sample::{Environment, Run};

/// Why there is nothing to merge.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum MergeError {
    /// No file was given.
    #[error("there is no shard to merge")]
    Nothing,
    /// A run of its own.
    #[error(
        "{file} is not a shard: it was made without --shard, so `leakgate judge` and `leakgate report` take it as it is"
    )]
    NotAShard {
        /// The file.
        file: String,
    },
    /// Merged already.
    #[error("{file} was merged already: give the shards themselves, all at once")]
    Merged {
        /// The file.
        file: String,
    },
}

/// One file.
struct ShardFile {
    file: String,
    run: Run,
    suite: Suite,
}

/// Merges shards, in any order. Shards of another suite or build than the majority are refused, and of a duplicate shard
/// the first is taken.
pub fn merge_shards(runs: Vec<(String, Run)>) -> Result<Run, MergeError> {
    let mut given = runs.into_iter().map(ShardFile::new).collect::<Result<Vec<_>, _>>()?;
    given.sort_by_key(|given| given.suite.parts.first().map(|part| part.shard));
    let reference = majority_shard(&given).ok_or(MergeError::Nothing)?;
    let mut suite = Suite { merged: true, parts: Vec::new(), ..reference.suite.clone() };
    let mut merged = Run { targets: Vec::new(), controls: Vec::new(), suite: None, ..reference.run.clone() };
    let refusals: Vec<Option<String>> = given.iter().map(|other| refusal_reason(reference, other)).collect();
    for (ShardFile { file, run, suite: own }, refused) in given.into_iter().zip(refusals) {
        let Some(shard) = own.parts.first().map(|part| part.shard) else { continue };
        let is_first = suite.parts_of(shard).next().is_none();
        if is_first && refused.is_none() {
            let controls = run.controls.into_iter();
            merged.controls.extend(controls.map(|control| crate::sample::Control { shard: Some(shard), ..control }));
            merged.targets.extend(run.targets);
        }
        suite.parts.push(Part { shard, environment: run.environment, file: Some(file), refused });
    }
    let place = |target: &_, run: &Run| suite.units.iter().position(|unit| unit.matches(target, run));
    let mut targets: Vec<_> = merged.targets.iter().map(|target| (place(target, &merged), target.clone())).collect();
    targets.sort_by_key(|(place, _)| *place);
    merged.targets = targets.into_iter().map(|(_, target)| target).collect();
    merged.environment = merged_environment(&suite, merged.environment);
    merged.suite = Some(suite);
    Ok(merged)
}

impl ShardFile {
    fn new((file, run): (String, Run)) -> Result<Self, MergeError> {
        match run.suite.clone() {
            Some(suite) if suite.merged => Err(MergeError::Merged { file }),
            Some(suite) if suite.parts.len() == 1 => Ok(Self { file, run, suite }),
            _ => Err(MergeError::NotAShard { file }),
        }
    }
}

/// The one that most of the others agree with; of several, the first.
fn majority_shard(given: &[ShardFile]) -> Option<&ShardFile> {
    let agreeing = |one: &&ShardFile| given.iter().filter(|other| suite_difference(one, other).is_none()).count();
    // `max_by_key` returns the last of equal maxima: in reverse order the first file wins a tie.
    given.iter().rev().max_by_key(agreeing)
}

/// Why a file is no shard of the reference's suite.
fn refusal_reason(reference: &ShardFile, other: &ShardFile) -> Option<String> {
    suite_difference(reference, other).or_else(|| foreign_target(other))
}

/// The first property in which two files differ although shards of one suite share it.
fn suite_difference(one: &ShardFile, other: &ShardFile) -> Option<String> {
    let (ours, theirs) = (&one.run.environment, &other.run.environment);
    let commit = |env: &Environment| env.commit.clone().unwrap_or_else(|| "none".to_owned());
    let pairs = |suite: &Suite| suite.units.iter().map(Unit::name).collect::<Vec<_>>().join(", ");
    let options = |suite: &Suite| if suite.options.is_empty() { "none".to_owned() } else { suite.options.join(" ") };
    let of = |suite: &Suite| suite.units.iter().map(|unit| unit.shard.to_string()).collect::<Vec<_>>().join(" ");
    [
        ("the leakgate that made it", theirs.leakgate.clone(), ours.leakgate.clone()),
        ("its commit", commit(theirs), commit(ours)),
        ("its compiler", theirs.rustc.clone(), ours.rustc.clone()),
        ("the number of shards", other.suite.shards.to_string(), one.suite.shards.to_string()),
        ("what its suite runs", pairs(&other.suite), pairs(&one.suite)),
        ("the options of its suite", options(&other.suite), options(&one.suite)),
        ("how its suite was divided", of(&other.suite), of(&one.suite)),
    ]
    .into_iter()
    .find(|(_, theirs, ours)| theirs != ours)
    .map(|(what, theirs, ours)| format!("{what} is {theirs}, and that of the others {ours}"))
}

/// Something in a shard that falls to another.
fn foreign_target(given: &ShardFile) -> Option<String> {
    let part = given.suite.parts.first()?;
    let is_own = |target| given.suite.units_of(part.shard).any(|unit| unit.matches(target, &given.run));
    let stray = given.run.targets.iter().find(|target| !is_own(target))?;
    Some(format!("it holds {} on {}, which does not fall to it", stray.scenario, stray.target))
}

/// Of the whole: the command without its shard, the earliest start, every version. Differences are stored with each part.
fn merged_environment(suite: &Suite, first: Environment) -> Environment {
    let parts = || suite.parts.iter().filter(|part| part.refused.is_none()).map(|part| &part.environment);
    let versions: BTreeSet<String> = parts().flat_map(|env| env.cli_versions.iter().cloned()).collect();
    Environment {
        command: without_shard(&first.command),
        started_unix: parts().map(|env| env.started_unix).min().unwrap_or(first.started_unix),
        cli_versions: versions.into_iter().collect(),
        ..first
    }
}

/// The command that runs the whole suite.
fn without_shard(command: &str) -> String {
    let Some(words) = shlex::split(command) else { return command.to_owned() };
    let mut kept = Vec::new();
    let mut words = words.into_iter();
    while let Some(word) = words.next() {
        if word == "--shard" {
            words.next();
        } else if !word.starts_with("--shard=") {
            kept.push(word);
        }
    }
    shlex::try_join(kept.iter().map(String::as_str)).unwrap_or_else(|_| command.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_of_the_whole_has_no_shard() {
        let whole = "leakgate run restarts --seeds 2 --out 'my reports'";
        assert_eq!(without_shard("leakgate run restarts --shard 2/4 --seeds 2 --out 'my reports'"), whole);
        assert_eq!(without_shard("leakgate run restarts --seeds 2 --shard=auto/4 --out 'my reports'"), whole);
        assert_eq!(without_shard(whole), whole);
    }
}
