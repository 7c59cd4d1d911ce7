//! `JUnit`'s XML: a suite for each target and one for the controls, a case for each metric and each control.
//!
//! | finding | case |
//! | --- | --- |
//! | PASS | passes |
//! | LEAK | failure |
//! | INCONCLUSIVE, SATURATING, RETENTION | error: the run did not decide, which is no pass either (exit code 3) |
//! | INVALID, a control that is missed | error (exit code 4) |
//! | shown | skipped: nobody judges it |
//!
//! So there is a failure or an error exactly when the verdict is not PASS.

use std::time::Duration;

use quick_junit::{NonSuccessKind, Property, Report, SerializeError, TestCase, TestCaseStatus, TestSuite};

use super::facts::{self, Facts, Target, row_cells};
use super::text::sanitize;
use leakgate_judge::sample::{Control, TargetRun};
use leakgate_judge::verdict::{ControlVerdict, Finding, MetricVerdict, Verdict};

/// The whole file.
pub(super) fn render_junit(facts: &Facts) -> Result<String, SerializeError> {
    let mut report = Report::new("leakgate");
    if facts.targets.is_empty() || facts.verdict.suite.is_some() {
        report.add_test_suite(of_run(facts.verdict));
    }
    report.add_test_suites(facts.targets.iter().map(of_target));
    if !facts.verdict.controls.is_empty() {
        report.add_test_suite(of_controls(facts));
    }
    report.set_time(facts.targets.iter().filter_map(|target| run_duration(target.measured)).sum());
    report.to_string()
}

/// The run as a whole: what is wrong with it may be wrong with none of its targets, such as a shard that is missing.
fn of_run(verdict: &Verdict) -> TestSuite {
    let mut suite = TestSuite::new("leakgate");
    let outcome = match verdict.invalid.as_slice() {
        [] => TestCaseStatus::success(),
        reasons => case_status(Finding::Invalid, &reasons.join("\n")),
    };
    let name = if verdict.suite.is_some() { "the suite proves something" } else { "something was exercised" };
    suite.add_test_case(test_case("leakgate", name, outcome));
    suite
}

fn of_target(target: &Target) -> TestSuite {
    let name = target.short_name();
    let class = format!("leakgate.{name}");
    let mut suite = TestSuite::new(name);
    suite.add_property(Property::new("verdict", target.judged.verdict.to_string()));
    suite.add_property(Property::new("target", sanitize(&target.judged.target)));
    suite.add_property(Property::new("exercised", target.exercise_summary()));
    if let Some(time) = run_duration(target.measured) {
        suite.set_time(time);
    }
    let valid = match target.judged.invalid.as_slice() {
        [] => TestCaseStatus::success(),
        reasons => case_status(Finding::Invalid, &reasons.join("\n")),
    };
    suite.add_test_case(test_case(&class, "the run proves something", valid));
    suite.add_test_cases(target.rows.iter().map(|row| of_metric(&class, row, target.per())));
    suite
}

fn of_metric(class: &str, row: &MetricVerdict, per: &str) -> TestCase {
    let cells = row_cells(row);
    let mut case = test_case(class, cells.metric, case_status(row.verdict, &row.reason));
    let numbers = [
        ("first", cells.first),
        ("last", cells.last),
        ("growth per step", cells.growth),
        ("step", per.to_owned()),
        ("would catch", cells.catches),
    ];
    case.add_properties(numbers.map(|(name, value)| Property::new(name, value)));
    case
}

fn of_controls(facts: &Facts) -> TestSuite {
    let mut suite = TestSuite::new("controls");
    let controls = facts.verdict.controls.iter().zip(&facts.run.controls);
    suite.add_test_cases(controls.map(|(judged, control)| of_control(judged, control)));
    suite
}

fn of_control(judged: &ControlVerdict, control: &Control) -> TestCase {
    let finding = if judged.passed { Finding::Pass } else { Finding::Invalid };
    let reason = format!("{}: {}", facts::control_word(judged), judged.reason);
    let mut case = test_case("leakgate.controls", &facts::control_name(judged), case_status(finding, &reason));
    if let Some(time) = run_duration(&control.run) {
        case.set_time(time);
    }
    case
}

fn test_case(class: &str, name: &str, status: TestCaseStatus) -> TestCase {
    let mut case = TestCase::new(sanitize(name), status);
    case.set_classname(class);
    case
}

fn case_status(finding: Finding, reason: &str) -> TestCaseStatus {
    let mut status = match finding {
        Finding::Pass => return TestCaseStatus::success(),
        Finding::Shown => TestCaseStatus::skipped(),
        Finding::Leak => TestCaseStatus::non_success(NonSuccessKind::Failure),
        Finding::Inconclusive | Finding::Saturating | Finding::Retention | Finding::Invalid => {
            TestCaseStatus::non_success(NonSuccessKind::Error)
        }
    };
    status.set_type(finding.to_string()).set_message(sanitize(reason));
    status
}

/// A stored number need not be a duration.
fn run_duration(run: &TargetRun) -> Option<Duration> {
    Duration::try_from_secs_f64(run.seconds).ok()
}
