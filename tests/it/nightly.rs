//! Nights: the command from end to end, and what it prints and draws.

mod command;
mod page;

use leakgate_history::baseline::Baseline;
use leakgate_history::compare::{Change, Comparison, MetricPair};
use leakgate_history::figure::Figure;
use leakgate_history::{Conclusion, Night, Remark};
use leakgate_judge::sample::{Environment, Latency, LatencyOf, Metric, Run};
use leakgate_judge::verdict::judge;
use leakgate_report::night::render;

use crate::runs::{healthy, set_last, trace};

const DAY: u64 = 86_400;
/// 2024-02-29, shortly before midnight.
const BEGAN: u64 = 1_709_251_199;

/// A night of this run, so many days after the first.
fn night(id: i64, day: u64, mut run: Run) -> Night {
    run.environment.started_unix = BEGAN + day * DAY;
    run.environment.allocator = Some("glibc 2.36".into());
    let latency = LatencyOf { requests: 900, p50_ms: 4.0, p95_ms: 9.5, max_ms: 41.0 };
    run.targets[0].latency = Some(Latency { during: latency, between: LatencyOf { p95_ms: 7.5, ..latency } });
    Night {
        id,
        build: Some("0123456789abcdef01234567".into()),
        folder: "reports".into(),
        ..Night::of(&run, &judge(&run))
    }
}

/// A run whose memory grows by this much for each restart, below what the gate calls a leak.
fn growing(bytes: u64) -> Run {
    let mut run = healthy();
    run.targets[0].trace = trace(350, |at| 40_000_000 + at * bytes);
    run
}

fn leaking() -> Run {
    let mut run = healthy();
    set_last(&mut run.targets[0], Metric::FdsPipe, 312);
    run
}

fn baseline() -> Baseline {
    Baseline {
        id: 1,
        night: 1,
        accepted_unix: BEGAN + 3_600,
        by: "ops".into(),
        reason: "the first good one".into(),
        build: "0123456789abcdef01234567".into(),
        environment: night(1, 0, healthy()).environment,
    }
}

fn regressed() -> Comparison {
    let beside = |metric, baseline, candidate| MetricPair { metric, baseline, candidate };
    Comparison {
        baseline: 1,
        scenario: "restarts".into(),
        restarts: 1_250,
        change: Change::Regression,
        reason: "anon_pss grows by 190 B per restart faster than in baseline 1 (scenario restarts, p = 0.004)".into(),
        baseline_slopes: vec![-3.0, 1.0, 2.5, 4.0, 9.0],
        candidate_slopes: vec![180.0, 188.0, 191.5, 195.0, 204.0],
        effect: Some(189.5),
        p: Some(1.0 / 252.0),
        beside: vec![
            beside(Figure::ServerRssMb, 8.9, 9.1),
            beside(Figure::TreeRssMb, 19.9, 20.2),
            beside(Figure::P95Ms, 7.5, 7.25),
        ],
    }
}

/// Nights of a fortnight: one is missing, the kernel changes, one regresses, one leaks, one proves nothing.
fn nights() -> Vec<Night> {
    let mut elsewhere = night(4, 5, growing(70));
    elsewhere.environment.kernel = "6.9.0".into();
    let mut slower = night(5, 6, growing(80));
    slower.environment.kernel = "6.9.0".into();
    slower.comparison = Some(regressed());
    let mut leaky = night(6, 7, leaking());
    leaky.environment.kernel = "6.9.0".into();
    let mut blind = healthy();
    set_last(&mut blind.controls[0].run, Metric::FdsPipe, 12);
    blind.targets.truncate(1);
    let mut blind = night(7, 8, blind);
    blind.environment.kernel = "6.9.0".into();
    let expired = Remark {
        means: Conclusion::Expired,
        what: "the budget for server-rss-mb expired on 2024-02-01: fix its cause".into(),
        owner: Some("ops".into()),
    };
    blind.remarks = vec![expired];
    vec![night(1, 0, growing(20)), night(2, 1, growing(60)), night(3, 2, healthy()), elsewhere, slower, leaky, blind]
}

#[test]
fn a_night_that_passed() {
    let mut passed = night(3, 2, healthy());
    let what = "the exception for files expires on 2024-03-04".into();
    passed.remarks = vec![Remark { means: Conclusion::Pass, what, owner: Some("ops".into()) }];
    let none = Comparison {
        change: Change::None,
        reason: "anon_pss grows no faster than in baseline 1 (p = 0.421)".into(),
        ..regressed()
    };
    passed.comparison = Some(none);
    insta::assert_snapshot!(render(&passed, Some(&baseline())));
}

#[test]
fn a_night_that_regressed_with_a_budget_that_expired() {
    let mut regression = night(5, 6, growing(80));
    regression.comparison = Some(regressed());
    regression.remarks = nights().pop().unwrap().remarks;
    assert_eq!(regression.conclusion(), Conclusion::Regression);
    insta::assert_snapshot!(render(&regression, Some(&baseline())));
}

#[test]
fn a_night_that_leaked() {
    insta::assert_snapshot!(render(&night(6, 7, leaking()), None));
}

#[test]
fn the_worst_of_all_findings_is_what_a_night_comes_to() {
    use Conclusion::{Expired, Invalid, Leak, NotConclusive, OverBudget, Pass, Regression};
    let remark = |means| Remark { means, what: format!("{means}"), owner: None };
    let after = |verdict: Run, change: Option<Change>, remarks: &[Conclusion]| {
        let mut night = night(1, 0, verdict);
        night.comparison = change.map(|change| Comparison { change, ..regressed() });
        night.remarks = remarks.iter().copied().map(remark).collect();
        (night.conclusion(), night.conclusion().exit() as u8)
    };
    assert_eq!(after(healthy(), Some(Change::None), &[Pass]), (Pass, 0));
    assert_eq!(after(healthy(), Some(Change::Unknown), &[Pass]), (NotConclusive, 3));
    assert_eq!(after(healthy(), Some(Change::Unknown), &[Expired, NotConclusive]), (Expired, 2));
    assert_eq!(after(healthy(), None, &[OverBudget, Expired]), (OverBudget, 1));
    assert_eq!(after(healthy(), Some(Change::Regression), &[OverBudget]), (Regression, 1));
    assert_eq!(after(leaking(), Some(Change::Regression), &[Expired]), (Leak, 1));
    let mut blind = healthy();
    set_last(&mut blind.controls[0].run, Metric::FdsPipe, 12);
    assert_eq!(after(blind, Some(Change::Regression), &[OverBudget]), (Invalid, 4));
}

#[test]
fn what_a_night_was_made_with_is_told_from_what_it_was_made_of() {
    let before = night(1, 0, healthy()).environment;
    let newer = Environment { commit: Some("another".into()), started_unix: 1, command: "x".into(), ..before.clone() };
    assert_eq!(leakgate_history::environment_differences(&before, &newer), [""; 0]);
    let elsewhere = Environment { kernel: "7.0".into(), allocator: None, ..before.clone() };
    let differences = leakgate_history::environment_differences(&before, &elsewhere);
    assert_eq!(differences, ["kernel 7.0, before 6.8.0-45-generic", "allocator unknown, before glibc 2.36"]);
}

/// Two builds as they would be measured: `baseline` and `candidate` are bytes for each restart.
fn pairs(baseline: [u64; 5], candidate: [u64; 5]) -> leakgate_history::compare::Pairs {
    let runs = |of: [u64; 5]| of.map(|bytes| growing(bytes).targets.swap_remove(0)).to_vec();
    leakgate_history::compare::Pairs {
        scenario: "restarts".into(),
        environment: Environment::default(),
        baseline: runs(baseline),
        candidate: runs(candidate),
    }
}

#[test]
fn only_a_difference_that_is_sure_and_large_enough_is_a_regression() {
    let change = |baseline, candidate| {
        let comparison = leakgate_history::compare::compare(7, &pairs(baseline, candidate));
        (comparison.change, comparison.effect.unwrap(), comparison.p.unwrap())
    };
    let quiet = [10, 20, 30, 40, 50];
    assert_eq!(change(quiet, [58, 68, 78, 88, 98]).0, Change::Regression);
    assert_eq!(change(quiet, [57, 67, 77, 87, 97]).0, Change::None, "47 bytes are too few to matter");
    assert_eq!(change(quiet, quiet), (Change::None, 0.0, 148.0 / 252.0));
    assert_eq!(change(quiet, [500, 600, 35, 34, 33]).0, Change::None, "two wild processes make nothing sure");
    assert_eq!(change([500, 510, 520, 530, 540], quiet).0, Change::None, "less growth is no regression");
}

#[test]
fn a_process_that_failed_or_is_missing_makes_the_comparison_say_nothing() {
    use leakgate_history::compare::compare;
    let mut broken = pairs([1; 5], [900; 5]);
    broken.baseline[2].outcome = leakgate_judge::sample::Outcome::Failed { what: "it knows no such flag".into() };
    let comparison = compare(7, &broken);
    assert_eq!(comparison.change, Change::Unknown);
    assert!(comparison.reason.contains("process 3 of the baseline's build failed: it knows no such flag"));
    let mut few = pairs([1; 5], [900; 5]);
    few.candidate.pop();
    assert_eq!(compare(7, &few).change, Change::Unknown);
    let mut short = pairs([1; 5], [900; 5]);
    for run in &mut short.candidate {
        run.trace.truncate(9);
    }
    assert!(compare(7, &short).reason.contains("too few restarts"), "{}", compare(7, &short).reason);
}
