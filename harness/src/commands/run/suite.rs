//! The options of `leakgate run` that make a suite of it: several seeds, and the shard of it that runs here.

use std::collections::BTreeSet;
use std::env;

use crate::commands::Failure;
use leakgate_drive::scenario::Scenario;
use leakgate_judge::sample::Run;
use leakgate_judge::sample::suite::{Part, Suite, Unit};
use leakgate_judge::suite::shard::{INDEX_VARIABLE, Shard, folder_name};
use leakgate_judge::suite::{self, shard};

/// The options.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Large suites")]
#[group(id = "suite")]
pub(super) struct Args {
    /// Repeats the requests, the leaving clients and the faults of the run that had this seed. Several, with commas: each
    /// scenario once with each.
    #[arg(long, value_name = "S,…", value_delimiter = ',')]
    seed: Vec<u64>,

    /// Each scenario with so many seeds: from 1, or from --seed, upwards.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1_000))]
    seeds: Option<u64>,

    /// Run only this part of the suite, into a folder of its own below --out; `leakgate merge` puts the parts together. The
    /// unit is a scenario with a seed. auto/N takes K from `JOB_COMPLETION_INDEX`, which a Kubernetes Indexed Job sets.
    #[arg(long, value_name = "K/N", conflicts_with_all = ["server", "url", "pid", "cgroup", "config"])]
    shard: Option<Shard>,
}

/// The suite that the options describe, and the shard that runs here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ResolvedSuite {
    /// The seeds, at least one.
    pub(super) seeds: Vec<u64>,
    /// The shard that runs here, and of how many.
    shard: Option<(u64, u64)>,
    units: Vec<Unit>,
    options: Vec<String>,
}

impl Args {
    /// Whether there is one seed at most, and no shard: all that a server which is not ours can have.
    pub(super) fn is_plain(&self) -> bool {
        self.shard.is_none() && self.seeds.is_none() && self.seed.len() <= 1
    }

    /// Works them out. `any` is the seed where none is named, and `options` are those that change what is measured.
    pub(super) fn resolve(
        &self,
        scenarios: &[Scenario],
        any: u64,
        options: Vec<String>,
    ) -> Result<ResolvedSuite, Failure> {
        let index = env::var(INDEX_VARIABLE).ok();
        self.resolve_with_index(scenarios, any, options, index.as_deref()).map_err(|error| Failure::usage(&error))
    }

    fn resolve_with_index(
        &self,
        scenarios: &[Scenario],
        any: u64,
        options: Vec<String>,
        index: Option<&str>,
    ) -> Result<ResolvedSuite, String> {
        let seeds = self.resolve_seeds(any)?;
        if let Some(double) =
            first_duplicate(scenarios.iter().map(|scenario| scenario.name)).filter(|_| !self.is_plain())
        {
            return Err(format!(
                "the scenario {double} is named twice; for more of it, give it more seeds (--seeds N)"
            ));
        }
        let of = self.shard.map_or(1, |shard| shard.of);
        let number =
            self.shard.map(|shard| shard.resolve_number(index)).transpose().map_err(|error| error.to_string())?;
        let costs: Vec<(&str, u64)> = scenarios.iter().map(|scenario| (scenario.name, scenario.cost())).collect();
        let units = suite::assign_units(&costs, &seeds, of);
        Ok(ResolvedSuite { seeds, shard: number.map(|number| (number, of)), units, options })
    }

    fn resolve_seeds(&self, any: u64) -> Result<Vec<u64>, String> {
        if let Some(double) = first_duplicate(self.seed.iter()) {
            return Err(format!("the seed {double} is named twice"));
        }
        match (self.seed.as_slice(), self.seeds) {
            ([_, _, ..], Some(_)) => {
                Err("--seeds counts from one seed upwards: name one --seed, or leave --seeds out".to_owned())
            }
            (named, Some(count)) => {
                let first = named.first().copied().unwrap_or(1);
                let last =
                    first.checked_add(count - 1).ok_or("there are no such seeds: --seed is too high for --seeds")?;
                Ok((first..=last).collect())
            }
            ([], None) if self.shard.is_some() => {
                Err("every shard has to have the same seeds: add --seed S, or --seeds N \
                 for several"
                    .to_owned())
            }
            ([], None) => Ok(vec![any]),
            (named, None) => Ok(named.to_vec()),
        }
    }
}

impl ResolvedSuite {
    /// The first seed: that of the controls.
    pub(super) fn first_seed(&self) -> u64 {
        self.seeds.first().copied().unwrap_or_default()
    }

    /// The scenarios of this shard, with their seed where there are several.
    pub(super) fn units_here(&self, scenarios: &[Scenario]) -> Vec<(Scenario, Option<u64>)> {
        let several = self.seeds.len() > 1;
        let is_here = |unit: &&Unit| self.shard.is_none_or(|(number, _)| unit.shard == number);
        let pairs = scenarios.iter().flat_map(|scenario| self.seeds.iter().map(move |&seed| (scenario, seed)));
        let here = pairs.zip(&self.units).filter(|(_, unit)| is_here(unit));
        here.map(|((scenario, seed), _)| (scenario.clone(), several.then_some(seed))).collect()
    }

    /// The name of the folder below --out.
    pub(super) fn folder(&self) -> Option<String> {
        self.shard.map(|(number, of)| folder_name(number, of))
    }

    /// Records in a run of a shard which suite it is a part of.
    pub(super) fn tag_with_suite(&self, mut run: Run) -> Run {
        if let Some((number, shards)) = self.shard {
            run.environment.command = shard::with_shard_number(&run.environment.command, number);
            let part = Part { shard: number, environment: run.environment.clone(), file: None, refused: None };
            let (units, options) = (self.units.clone(), self.options.clone());
            run.suite = Some(Suite { shards, units, options, merged: false, parts: vec![part] });
        }
        run
    }
}

fn first_duplicate<T: Ord + Copy>(all: impl Iterator<Item = T>) -> Option<T> {
    let mut seen = BTreeSet::new();
    all.into_iter().find(|one| !seen.insert(*one))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(seed: &[u64], seeds: Option<u64>, shard: Option<&str>) -> Result<ResolvedSuite, String> {
        let args = Args { seed: seed.to_vec(), seeds, shard: shard.map(|text| text.parse().unwrap()) };
        let scenarios = ["restarts", "bodies"].map(|name| Scenario::by_name(name).unwrap());
        args.resolve_with_index(&scenarios, 99, Vec::new(), None)
    }

    #[test]
    fn seeds_are_named_or_counted() {
        assert_eq!(chosen(&[], None, None).unwrap().seeds, [99]);
        assert_eq!(chosen(&[7], None, None).unwrap().seeds, [7]);
        assert_eq!(chosen(&[7, 3], None, None).unwrap().seeds, [7, 3]);
        assert_eq!(chosen(&[], Some(3), None).unwrap().seeds, [1, 2, 3]);
        assert_eq!(chosen(&[7], Some(3), Some("1/2")).unwrap().seeds, [7, 8, 9]);
    }

    #[test]
    fn seeds_that_no_two_shards_would_agree_on_are_refused() {
        for (seed, seeds, shard, says) in [
            (vec![], None, Some("1/2"), "the same seeds"),
            (vec![3, 3], None, None, "seed 3 is named twice"),
            (vec![3, 4], Some(2), None, "one --seed"),
            (vec![u64::MAX], Some(2), None, "too high"),
        ] {
            let error = chosen(&seed, seeds, shard).unwrap_err();
            assert!(error.contains(says), "{error}");
        }
    }

    #[test]
    fn a_scenario_that_is_named_twice_would_be_one_unit_twice() {
        let args = Args { seed: vec![1], seeds: Some(2), shard: None };
        let scenarios = ["tools", "tools"].map(|name| Scenario::by_name(name).unwrap());
        assert!(args.resolve_with_index(&scenarios, 1, Vec::new(), None).unwrap_err().contains("tools is named twice"));
    }

    #[test]
    fn the_shards_run_every_unit_once() {
        let scenarios = ["restarts", "bodies"].map(|name| Scenario::by_name(name).unwrap());
        let mut all: Vec<(&str, Option<u64>)> = Vec::new();
        for number in 1..=5 {
            let chosen = chosen(&[], Some(2), Some(&format!("{number}/5"))).unwrap();
            all.extend(chosen.units_here(&scenarios).iter().map(|(scenario, seed)| (scenario.name, *seed)));
        }
        all.sort_unstable();
        assert_eq!(all, [("bodies", Some(1)), ("bodies", Some(2)), ("restarts", Some(1)), ("restarts", Some(2))]);
    }
}
