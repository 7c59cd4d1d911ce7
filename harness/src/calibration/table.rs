//! From trials to what may be said about the gate. Pure.

use serde::{Deserialize, Serialize};

use super::Trial;
use super::cases::Case;
use super::interval::Interval;
use crate::run::Kind;
use leakgate_judge::sample::Environment;
use leakgate_judge::statistics::median;
use leakgate_judge::verdict::Finding;
use leakgate_judge::verdict::trend;

/// The version of `power.json` that this build writes.
pub const FORMAT: u32 = 3;

/// Leak-free runs that a bound on memory has to rest on. (`reports/METHODOLOGY.md`)
pub const MIN_CLEAN_RUNS: u64 = 100;

/// A bound is the largest rise that a leak-free run showed, and half of it more.
pub const SAFETY_FACTOR: f64 = 1.5;

/// Everything that is said.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Calibration {
    /// [`FORMAT`].
    pub format: u32,
    /// Where it was put together.
    pub environment: Environment,
    /// The commits whose trials are in it.
    pub commits: Vec<String>,
    /// Each leak, and how often it was caught.
    pub leaks: Vec<Leak>,
    /// Runs without a leak, and how often one was called.
    pub clean: Vec<Clean>,
    /// All runs with nothing planted together.
    pub false_alarms: Rate,
    /// The bound on memory, by the leak-free runs.
    pub bounds: Vec<Bound>,
}

/// How often something happened.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Rate {
    /// How often it happened.
    pub seen: u64,
    /// Of how many trials.
    pub of: u64,
    /// Its probability: 95 %, exact.
    pub interval: Interval,
}

/// One leak of one size.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Leak {
    /// The case's name.
    pub case: String,
    /// The leak as the table describes it.
    pub leak: String,
    /// `sut` or `sut-heap`.
    pub target: String,
    /// Restarts after the warm-up.
    pub restarts: u64,
    /// Caught: a metric that it was planted in was called a leak.
    pub caught: Rate,
    /// Measured again for twice the restarts or more, because a shorter run could not tell.
    pub again: u64,
    /// Not caught, and called not conclusive: somebody is woken all the same.
    pub not_conclusive: u64,
    /// Not caught, and the run called invalid.
    pub invalid: u64,
    /// In how many of a hundred trials it is promised to be caught; absent where nothing is promised.
    pub promised: Option<u64>,
    /// The middle of the times that a trial took, in seconds.
    pub seconds: f64,
}

/// Runs of one kind with nothing planted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Clean {
    /// The case's name.
    pub case: String,
    /// `sut` or `sut-heap`.
    pub target: String,
    /// The scenarios, which were taken in turn.
    pub scenarios: Vec<String>,
    /// Restarts after the warm-up.
    pub restarts: u64,
    /// Called a leak.
    pub alarms: Rate,
    /// Measured again for twice the restarts or more, because a shorter run could not tell.
    pub again: u64,
    /// Called not conclusive: no leak was called, and no peace given either.
    pub not_conclusive: u64,
    /// Called invalid.
    pub invalid: u64,
    /// Each verdict other than a pass: its trial, and the reason.
    pub oddities: Vec<String>,
    /// The middle of the times that a trial took, in seconds.
    pub seconds: f64,
}

/// The bound on the rise of anonymous memory, at one length of a run.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Bound {
    /// Restarts from which on it holds.
    pub restarts: u64,
    /// Leak-free runs as long as that.
    pub runs: u64,
    /// The largest of their least rises, in bytes for each restart.
    pub largest_rise: f64,
    /// [`SAFETY_FACTOR`] times that: what these runs alone would make the bound. Absent below [`MIN_CLEAN_RUNS`] runs.
    pub calibrated: Option<f64>,
    /// A least rise above this, the bound b, is a leak where a second run, of twice the restarts, shows it as well. In bytes
    /// for each restart.
    pub twice: f64,
    /// One above this is a leak at once, in the same unit.
    pub once: f64,
}

impl Calibration {
    /// The table of all `trials` whose case is among `cases`.
    #[must_use]
    pub fn from_trials(cases: &[Case], trials: &[Trial], environment: Environment) -> Self {
        let all = |case: &Case| trials.iter().filter(|trial| trial.case == case.name).collect::<Vec<_>>();
        let tried: Vec<_> =
            cases.iter().map(|case| (case, all(case))).filter(|(_, trials)| !trials.is_empty()).collect();
        let (clean, leaks): (Vec<_>, Vec<_>) = tried.into_iter().partition(|(case, _)| case.leak.is_empty());
        let quiet: Vec<&Trial> = clean.iter().flat_map(|(_, trials)| trials).copied().collect();
        let mut commits: Vec<String> = trials.iter().filter_map(|trial| trial.commit.clone()).collect();
        commits.sort();
        commits.dedup();
        Self {
            format: FORMAT,
            environment,
            commits,
            leaks: leaks.iter().map(|(case, trials)| summarize_leak(case, trials)).collect(),
            clean: clean.iter().map(|(case, trials)| summarize_clean(case, trials)).collect(),
            false_alarms: rate_of(&quiet, |trial| trial.finding == Finding::Leak),
            bounds: calibrate_bounds(&quiet),
        }
    }

    /// A message for each promise that the trials do not bear out.
    #[must_use]
    pub fn broken_promises(&self) -> Vec<String> {
        let missed = self.leaks.iter().filter(|leak| leak.misses_promise()).map(|leak| {
            format!(
                "{}: caught {} of {}, promised {} of 100",
                leak.case,
                leak.caught.seen,
                leak.caught.of,
                leak.promised.unwrap_or(0)
            )
        });
        let alarms = self.clean.iter().filter(|clean| clean.alarms.seen > 0).map(|clean| {
            format!("{}: {} of {} clean runs were called a leak", clean.case, clean.alarms.seen, clean.alarms.of)
        });
        let wide = self.bounds.iter().filter(|bound| bound.calibrated.unwrap_or(bound.largest_rise) > bound.once);
        let wide = wide.map(|bound| {
            format!(
                "memory at {} restarts: a clean run rose by {:.0} B a restart, and {:.0} B are called a leak at once",
                bound.restarts, bound.largest_rise, bound.once
            )
        });
        missed.chain(alarms).chain(wide).collect()
    }
}

impl Leak {
    fn misses_promise(&self) -> bool {
        self.promised.is_some_and(|promised| self.caught.seen * 100 < promised * self.caught.of)
    }
}

fn summarize_leak(case: &Case, trials: &[&Trial]) -> Leak {
    let caught = |trial: &Trial| trial.called.iter().any(|metric| case.metrics.contains(metric));
    let missed: Vec<&Trial> = trials.iter().copied().filter(|trial| !caught(trial)).collect();
    Leak {
        case: case.name.to_owned(),
        leak: case.leak.to_owned(),
        target: target_name(case).to_owned(),
        restarts: case.restarts,
        caught: rate_of(trials, caught),
        again: count_trials(trials, was_doubled),
        not_conclusive: count_trials(&missed, is_not_conclusive),
        invalid: count_trials(&missed, |trial| trial.finding == Finding::Invalid),
        promised: case.promised,
        seconds: median_seconds(trials),
    }
}

fn summarize_clean(case: &Case, trials: &[&Trial]) -> Clean {
    let odd = trials.iter().filter(|trial| !matches!(trial.finding, Finding::Pass | Finding::Shown)).map(|trial| {
        let called: Vec<_> = trial.called.iter().map(|metric| metric.name()).collect();
        let why = trial.problem.as_deref().map_or_else(|| called.join(", "), str::to_owned);
        format!("trial {}, {}: {} {why}", trial.trial, trial.scenario, trial.finding).trim_end().to_owned()
    });
    Clean {
        case: case.name.to_owned(),
        target: target_name(case).to_owned(),
        scenarios: case.scenarios.iter().map(|scenario| scenario.name.to_owned()).collect(),
        restarts: case.restarts,
        alarms: rate_of(trials, |trial| trial.finding == Finding::Leak),
        again: count_trials(trials, was_doubled),
        not_conclusive: count_trials(trials, is_not_conclusive),
        invalid: count_trials(trials, |trial| trial.finding == Finding::Invalid),
        oddities: odd.collect(),
        seconds: median_seconds(trials),
    }
}

fn target_name(case: &Case) -> &'static str {
    match case.target {
        Kind::Sut => "sut",
        Kind::SutHeap => "sut-heap",
    }
}

fn was_doubled(trial: &Trial) -> bool {
    trial.doubled > 0
}

fn is_not_conclusive(trial: &Trial) -> bool {
    matches!(trial.finding, Finding::Inconclusive | Finding::Saturating | Finding::Retention)
}

fn calibrate_bounds(clean: &[&Trial]) -> Vec<Bound> {
    let at = |trend::Bound { from: restarts, b: twice, .. }| {
        let rises: Vec<f64> =
            clean.iter().flat_map(|trial| &trial.rises).filter(|rise| rise.0 == restarts).map(|rise| rise.1).collect();
        let largest_rise = rises.iter().copied().reduce(f64::max)?;
        let runs = rises.len() as u64;
        let calibrated = (runs >= MIN_CLEAN_RUNS).then_some(SAFETY_FACTOR * largest_rise);
        Some(Bound { restarts, runs, largest_rise, calibrated, twice, once: trend::SURE * twice })
    };
    trend::BOUNDS.into_iter().rev().filter_map(at).collect()
}

fn count_trials(trials: &[&Trial], of: impl Fn(&Trial) -> bool) -> u64 {
    trials.iter().filter(|trial| of(trial)).count() as u64
}

fn rate_of(trials: &[&Trial], of: impl Fn(&Trial) -> bool) -> Rate {
    let (seen, of) = (count_trials(trials, of), trials.len() as u64);
    Rate { seen, of, interval: Interval::clopper_pearson(seen, of) }
}

fn median_seconds(trials: &[&Trial]) -> f64 {
    let seconds: Vec<f64> = trials.iter().map(|trial| trial.seconds).collect();
    median(&seconds).unwrap_or(0.0)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use leakgate_judge::sample::Metric;

    /// A trial of an fd leak.
    pub(crate) fn trial(case: &str, trial: u64, caught: bool) -> Trial {
        Trial {
            case: case.to_owned(),
            trial,
            scenario: "restarts".to_owned(),
            seed: 1 + trial,
            commit: Some("0123456789ab".to_owned()),
            plant: None,
            finding: if caught { Finding::Leak } else { Finding::Pass },
            called: if caught { vec![Metric::FdsFile] } else { Vec::new() },
            growth: None,
            restarts: 351,
            doubled: 0,
            rises: Vec::new(),
            problem: None,
            seconds: 7.0,
        }
    }

    fn table(trials: &[Trial]) -> Calibration {
        Calibration::from_trials(&Case::all(20, 200), trials, Environment::default())
    }

    #[test]
    fn a_leak_is_caught_only_where_its_own_signal_was_called() {
        let mut trials: Vec<Trial> = (0..20).map(|at| trial("fd-100", at, true)).collect();
        trials[3].called = vec![Metric::Threads];
        trials[4] = Trial { finding: Finding::Saturating, called: vec![], ..trials[4].clone() };
        let power = table(&trials);
        let [leak] = &power.leaks[..] else { panic!("{:?}", power.leaks) };
        assert_eq!((leak.caught.seen, leak.caught.of, leak.not_conclusive), (18, 20, 1));
        assert_eq!(power.broken_promises(), ["fd-100: caught 18 of 20, promised 100 of 100"]);
    }

    #[test]
    fn nineteen_of_twenty_keep_the_promise_of_95_percent_and_eighteen_do_not() {
        let caught = |many: u64| {
            (0..20).map(move |at| Trial { called: vec![Metric::HeapBlocks], ..trial("block-100", at, at < many) })
        };
        let called = |many| {
            caught(many)
                .map(|trial| if trial.finding == Finding::Pass { Trial { called: vec![], ..trial } } else { trial })
        };
        assert_eq!(table(&called(19).collect::<Vec<_>>()).broken_promises(), [""; 0]);
        assert_eq!(table(&called(18).collect::<Vec<_>>()).broken_promises().len(), 1);
    }

    #[test]
    fn a_false_alarm_is_counted_over_all_clean_runs_and_named() {
        let mut trials: Vec<Trial> = (0..100).map(|at| trial("clean", at, false)).collect();
        trials.extend((0..100).map(|at| trial("clean-heap", at, at == 7)));
        let power = table(&trials);
        assert_eq!((power.false_alarms.seen, power.false_alarms.of), (1, 200));
        assert_eq!(power.clean[1].oddities, ["trial 7, restarts: LEAK fds_file"]);
        assert_eq!(power.broken_promises(), ["clean-heap: 1 of 100 clean runs were called a leak"]);
    }

    #[test]
    fn the_bound_rests_on_a_hundred_clean_runs_and_on_no_planted_one() {
        let rising = |case, at: u64, rise| Trial { rises: vec![(300, rise)], ..trial(case, at, false) };
        let mut trials: Vec<Trial> = (0..99).map(|at| rising("clean", at, 100.0)).collect();
        trials.push(Trial { called: vec![Metric::AnonPss], ..rising("memory-4KiB", 0, 4096.0) });
        assert_eq!(table(&trials).bounds[0].calibrated, None);
        trials.push(rising("clean", 99, 110.0));
        let [bound] = table(&trials).bounds[..] else { panic!() };
        assert_eq!((bound.runs, bound.largest_rise, bound.calibrated), (100, 110.0, Some(165.0)));
        assert_eq!(table(&trials).broken_promises(), [""; 0]);
        // No alarm yet, but too near to one.
        assert!(bound.once > 1.5 * 110.0 && bound.once < 1.5 * 500.0);
        trials.push(rising("clean", 100, 500.0));
        assert_eq!(table(&trials).broken_promises().len(), 1);
    }
}
