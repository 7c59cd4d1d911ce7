//! A suite in shards proves something only if every shard is present exactly once, from one suite and one build.
//!
//! A suite that is not whole is INVALID, also where a part of it leaks: what leaks is said in the warnings, and the verdict
//! of the whole is nobody's guess.

use super::{Finding, target};
use crate::sample::Run;
use crate::sample::suite::{MAX_SHARDS, Part, Suite, Unit};

/// Why the run is not the suite, or the shard, that it says it is; empty for one that belongs to none.
pub(super) fn suite_problems(run: &Run) -> Vec<String> {
    let Some(suite) = &run.suite else { return Vec::new() };
    let mut found: Vec<String> = suite.parts.iter().filter_map(|part| refusal_problem(suite, part)).collect();
    if !(1..=MAX_SHARDS).contains(&suite.shards) {
        found.push(format!("its suite claims {} shards: 1 to {MAX_SHARDS} are possible", suite.shards));
    }
    if suite.merged {
        found.extend(suite.shard_numbers().filter_map(|shard| not_once(suite, shard)));
    } else if suite.parts.len() != 1 {
        found.push(format!("it claims to hold {} shards, but was not merged", suite.parts.len()));
    }
    for part in suite.parts.iter().filter(|part| part.refused.is_none()) {
        found.extend(missing_units(run, suite, part));
        found.extend(missing_controls(run, suite, part));
    }
    found.dedup();
    found
}

/// Whether it is a shard to which no unit falls: nothing was to be measured, and nothing was.
pub(super) fn is_empty_shard(run: &Run) -> bool {
    let Some(suite) = &run.suite else { return false };
    let units = suite.parts.iter().flat_map(|part| suite.units_of(part.shard));
    !suite.merged && run.targets.is_empty() && units.count() == 0
}

/// Warnings about its parts.
pub(super) fn suite_warnings(run: &Run) -> Vec<String> {
    let Some(suite) = &run.suite else { return Vec::new() };
    let mut found = Vec::new();
    if let (false, [part]) = (suite.merged, suite.parts.as_slice()) {
        let own = suite.units_of(part.shard).count();
        let (name, all) = (part.name(suite), suite.units.len());
        found.push(format!(
            "this is {name}, with {own} of the suite's {all} units; `leakgate merge` judges all of them together"
        ));
    }
    if suite.merged {
        found.extend(leaks_beside(run, suite));
        found.extend(machine_differences(suite));
        found.extend(uncommitted_changes(suite));
    }
    found
}

fn refusal_problem(suite: &Suite, part: &Part) -> Option<String> {
    let why = part.refused.as_ref()?;
    Some(format!("{} ({}) is not of this suite: {why}", part.file.as_deref().unwrap_or("a run"), part.name(suite)))
}

/// A shard that is missing, with what falls to it, or is there more than once.
fn not_once(suite: &Suite, shard: u64) -> Option<String> {
    let parts: Vec<&Part> = suite.parts_of(shard).collect();
    let of = format!("shard {shard} of {}", suite.shards);
    match parts.as_slice() {
        [_] => None,
        [] => {
            let units: Vec<String> = suite.units_of(shard).map(Unit::name).collect();
            let what = if units.is_empty() { "it has no units".to_owned() } else { units.join(", ") };
            Some(format!("{of} is missing: {what}"))
        }
        several => {
            let files: Vec<&str> = several.iter().filter_map(|part| part.file.as_deref()).collect();
            Some(format!("{of} is present {} times: {}", several.len(), files.join(", ")))
        }
    }
}

fn missing_units(run: &Run, suite: &Suite, part: &Part) -> Option<String> {
    let is_missing = |unit: &&Unit| !run.targets.iter().any(|target| unit.matches(target, run));
    let units: Vec<String> = suite.units_of(part.shard).filter(is_missing).map(Unit::name).collect();
    (!units.is_empty()).then(|| format!("{} did not measure all of its units: {}", part.name(suite), units.join(", ")))
}

/// A shard without controls among shards with them: nothing shows that its gate can see.
fn missing_controls(run: &Run, suite: &Suite, part: &Part) -> Option<String> {
    let has_own = run.controls.iter().any(|control| control.shard == Some(part.shard));
    let needs = suite.merged && !run.controls.is_empty() && suite.units_of(part.shard).next().is_some();
    (needs && !has_own).then(|| format!("{} ran no controls, but others did", part.name(suite)))
}

/// A leak is not hidden by what is missing beside it.
fn leaks_beside(run: &Run, suite: &Suite) -> Option<String> {
    let whole = suite.shard_numbers().all(|shard| not_once(suite, shard).is_none());
    if whole && suite.parts.iter().all(|part| part.refused.is_none()) {
        return None;
    }
    let leaking = run.targets.iter().filter(|run| target::judge_target(run).0.verdict == Finding::Leak);
    let names: Vec<String> = leaking.map(|run| format!("{} on {}", run.scenario, run.target)).collect();
    (!names.is_empty()).then(|| format!("the shards that are present leak: {}", names.join(", ")))
}

/// The shards by machine, where they had several: the noisy metrics depend on it.
fn machine_differences(suite: &Suite) -> Option<String> {
    let mut groups: Vec<(String, Vec<String>)> = Vec::new();
    for part in suite.parts.iter().filter(|part| part.refused.is_none()) {
        let (machine, shard) = (part.machine_description(), part.shard.to_string());
        match groups.iter_mut().find(|(known, _)| *known == machine) {
            Some((_, shards)) => shards.push(shard),
            None => groups.push((machine, vec![shard])),
        }
    }
    let groups_in_words = groups.iter().map(|(machine, shards)| format!("{machine}: shard {}", shards.join(", ")));
    (groups.len() > 1)
        .then(|| format!("the shards ran on different machines ({})", groups_in_words.collect::<Vec<_>>().join("; ")))
}

/// Uncommitted changes have no name: two of them may be different ones.
fn uncommitted_changes(suite: &Suite) -> Option<String> {
    let is_dirty = |part: &Part| part.environment.commit.as_deref().is_none_or(|commit| commit.ends_with("+changes"));
    let any = suite.parts.len() > 1 && suite.parts.iter().any(is_dirty);
    any.then(|| {
        "the shards have no clean commit, so nothing shows that they were built from the same sources".to_owned()
    })
}
