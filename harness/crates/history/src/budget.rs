//! `leakgate-nightly.toml`: limits and known growth. Each entry has a reason, an owner and an expiry date. An expired entry
//! fails the night, so that nothing is tolerated only because it was forgotten.

use std::path::{Path, PathBuf};

use jiff::ToSpan;
use jiff::civil::Date;
use serde::de::{self, IntoDeserializer};
use serde::{Deserialize, Deserializer};

use super::compare::{Comparison, MetricPair};
use super::figure::Figure;
use super::{Conclusion, Remark};
use leakgate_judge::exception::{check_owner, deprecated_keys};
use leakgate_judge::sample::{Exception, Metric, TargetRun};
use leakgate_judge::verdict::MetricVerdict;
use leakgate_judge::verdict::words::{format_rate, metric_name};
use thiserror::Error;

/// The file that is looked for where leakgate is started.
pub const FILE: &str = "leakgate-nightly.toml";
/// So many days before its last one it is mentioned.
const NOTICE_DAYS: i64 = 7;
/// The target whose memory and latency are those of the shipped program; dhat's own are in the other.
const TARGET: &str = "sut";

/// Why the file can't be used.
#[derive(Debug, Error)]
pub enum BudgetError {
    /// The file can't be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is invalid.
    #[error("{}: {}", path.display(), what.trim_end())]
    File {
        /// The file.
        path: PathBuf,
        /// The problem, and what to write instead.
        what: String,
    },
}

/// The file.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    budget: Vec<Budget>,
    exception: Vec<Known>,
    /// Warnings about keys with an old name.
    #[serde(skip)]
    pub deprecated: Vec<String>,
}

/// A limit.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Budget {
    metric: Option<Limited>,
    /// The old name of `metric`.
    signal: Option<Metric>,
    scenario: Option<String>,
    target: Option<String>,
    /// The most: growth per restart of a metric, or the value of a figure.
    limit: Option<f64>,
    /// The most above the baseline's, side by side, in percent of it: of a figure.
    over_baseline_percent: Option<f64>,
    reason: String,
    owner: String,
    expires: String,
}

/// The quantity that a budget limits.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Limited {
    /// The growth of a metric per restart.
    Growth(Metric),
    /// A figure of a target as a whole.
    Value(Figure),
}

impl<'de> Deserialize<'de> for Limited {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        let figure = Figure::ALL.into_iter().find(|figure| figure.key() == name).map(Self::Value);
        let metric = || Metric::deserialize(name.as_str().into_deserializer()).map(Self::Growth);
        figure.map_or_else(metric, Ok).map_err(|error: de::value::Error| {
            let figures = Figure::ALL.map(|figure| format!("`{}`", figure.key())).join(", ");
            de::Error::custom(format!("{error}, {figures}"))
        })
    }
}

/// An exception, and where it holds.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Known {
    #[serde(alias = "signal")]
    metric: Metric,
    scenario: Option<String>,
    allow: u64,
    reason: String,
    owner: String,
    expires: String,
}

impl Config {
    /// Reads the file: the one that is named, else [`FILE`] if there is one, else nothing.
    /// `scenarios` are the names that it may use.
    pub fn find(named: Option<&Path>, scenarios: &[&str]) -> Result<Self, BudgetError> {
        let found = || Some(PathBuf::from(FILE)).filter(|path| path.is_file());
        let Some(path) = named.map(Path::to_owned).or_else(found) else { return Ok(Self::default()) };
        let text = std::fs::read_to_string(&path).map_err(|source| BudgetError::Read { path: path.clone(), source })?;
        let mut config =
            Self::parse(&text, scenarios).map_err(|what| BudgetError::File { path: path.clone(), what })?;
        config.deprecated = deprecated_keys(&path, &text);
        Ok(config)
    }

    /// Understands the text of a file.
    pub fn parse(text: &str, scenarios: &[&str]) -> Result<Self, String> {
        let config: Self = toml::from_str(text).map_err(|error| format!("\n{error}"))?;
        for budget in &config.budget {
            budget.check(scenarios)?;
        }
        for known in &config.exception {
            known.last_day()?;
            check_scenario(&known.description(), known.scenario.as_deref(), scenarios)?;
        }
        Ok(config)
    }

    /// The exceptions that hold for this scenario today. An exception that has expired allows nothing.
    #[must_use]
    pub fn exceptions_for(&self, scenario: &str, today: Date) -> Vec<Exception> {
        let here = |known: &&Known| known.scenario.as_deref().is_none_or(|only| only == scenario);
        let holds = |known: &&Known| known.last_day().is_ok_and(|day| day >= today);
        self.exception.iter().filter(here).filter(holds).map(Known::to_exception).collect()
    }

    /// Remarks on entries that have expired, and on those that expire within a week.
    #[must_use]
    pub fn expiries(&self, today: Date) -> Vec<Remark> {
        let budgets = self.budget.iter().map(|budget| (budget.description(), &budget.owner, budget.last_day()));
        let known = self.exception.iter().map(|known| (known.description(), &known.owner, known.last_day()));
        budgets.chain(known).filter_map(|(what, owner, day)| expiry_remark(&what, owner, day.ok()?, today)).collect()
    }

    /// Holds what was measured against the budgets; those that are over their day are still good for that.
    #[must_use]
    pub fn check(&self, runs: &[TargetRun], rows: &[MetricVerdict], comparison: Option<&Comparison>) -> Vec<Remark> {
        self.budget.iter().flat_map(|budget| budget.judge_budget(runs, rows, comparison)).collect()
    }
}

fn expiry_remark(what: &str, owner: &str, day: Date, today: Date) -> Option<Remark> {
    let notice = day.checked_sub(NOTICE_DAYS.days()).unwrap_or(day);
    let owner = Some(owner.to_owned());
    if day < today {
        let advice = "fix its cause, or extend it with a new date and a reason";
        return Some(Remark { means: Conclusion::Expired, what: format!("{what} expired on {day}: {advice}"), owner });
    }
    let soon = || Remark { means: Conclusion::Pass, what: format!("{what} expires on {day}"), owner };
    (notice <= today).then(soon)
}

fn check_scenario(what: &str, scenario: Option<&str>, known: &[&str]) -> Result<(), String> {
    let Some(wrong) = scenario.filter(|name| !known.contains(name)) else { return Ok(()) };
    Err(format!("{what}: there is no scenario {wrong:?}; choose from {}", known.join(", ")))
}

impl Known {
    fn description(&self) -> String {
        let place = self.scenario.as_ref().map(|scenario| format!(" in {scenario}")).unwrap_or_default();
        format!("the exception for {}{place}", self.metric.name())
    }

    fn last_day(&self) -> Result<Date, String> {
        check_owner(&self.description(), &self.reason, &self.owner, &self.expires)
    }

    fn to_exception(&self) -> Exception {
        Exception {
            metric: self.metric,
            allow: self.allow,
            reason: self.reason.clone(),
            owner: self.owner.clone(),
            expires: self.expires.clone(),
        }
    }
}

impl Budget {
    fn limited_quantity(&self) -> Option<Limited> {
        self.metric.or(self.signal.map(Limited::Growth))
    }

    fn description(&self) -> String {
        let of = match self.limited_quantity() {
            Some(Limited::Growth(metric)) => format!("growth of {}", metric.name()),
            Some(Limited::Value(figure)) => figure.key().to_owned(),
            None => "nothing".to_owned(),
        };
        let place = self.scenario.as_ref().map(|scenario| format!(" in {scenario}")).unwrap_or_default();
        format!("the budget for {of}{place}")
    }

    fn last_day(&self) -> Result<Date, String> {
        check_owner(&self.description(), &self.reason, &self.owner, &self.expires)
    }

    fn check(&self, scenarios: &[&str]) -> Result<(), String> {
        let Some(limited) = self.limited_quantity() else {
            return Err(format!("a budget of {} needs a metric", self.owner));
        };
        if self.metric.is_some() && self.signal.is_some() {
            return Err(format!("a budget of {} has both metric and signal, its old name: remove signal", self.owner));
        }
        let is_figure = matches!(limited, Limited::Value(_));
        let what = self.description();
        self.last_day()?;
        check_scenario(&what, self.scenario.as_deref(), scenarios)?;
        if self.target.as_deref().is_some_and(|target| !["sut", "sut-heap"].contains(&target)) {
            return Err(format!("{what}: target is sut or sut-heap"));
        }
        match (self.limit, self.over_baseline_percent) {
            (Some(most), None) if most.is_finite() && most >= 0.0 => Ok(()),
            (None, Some(most)) if most.is_finite() && most >= 0.0 && is_figure => Ok(()),
            (None, Some(_)) if !is_figure => {
                Err(format!("{what}: growth against the baseline is judged without a budget; give it a limit"))
            }
            _ => Err(format!("{what} needs either limit or over-baseline-percent, a number from 0")),
        }
    }

    fn judge_budget(&self, runs: &[TargetRun], rows: &[MetricVerdict], comparison: Option<&Comparison>) -> Vec<Remark> {
        match (self.limited_quantity(), self.limit, self.over_baseline_percent) {
            (Some(Limited::Growth(metric)), Some(limit), _) => self.judge_growth(metric, limit, rows),
            (Some(Limited::Value(figure)), Some(limit), _) => self.judge_values(figure, limit, runs),
            (Some(Limited::Value(figure)), _, Some(percent)) => {
                self.judge_against_baseline(figure, percent, comparison).into_iter().collect()
            }
            _ => Vec::new(),
        }
    }

    fn holds_for(&self, scenario: &str, target: &str, otherwise: Option<&str>) -> bool {
        let only = self.target.as_deref().or(otherwise);
        self.scenario.as_deref().is_none_or(|only| only == scenario) && only.is_none_or(|only| only == target)
    }

    fn judge_growth(&self, metric: Metric, limit: f64, rows: &[MetricVerdict]) -> Vec<Remark> {
        let here = rows.iter().filter(|row| row.name == metric && self.holds_for(&row.scenario, &row.target, None));
        let measured: Vec<_> = here.filter_map(|row| Some((row, row.growth_per_restart?))).collect();
        if measured.is_empty() {
            return vec![self.unchecked_remark("it was not measured in this night")];
        }
        let over = measured.iter().filter(|(_, growth)| *growth > limit);
        let said = |(row, growth): &(&MetricVerdict, f64)| {
            let (growth, limit) = (format_rate(metric, *growth), format_rate(metric, limit));
            let place = format!("{} on {}", row.scenario, row.target);
            self.exceeded_remark(&format!(
                "{} grew by {growth} per restart in {place}, over the {limit}",
                metric_name(metric)
            ))
        };
        over.map(said).collect()
    }

    fn judge_values(&self, figure: Figure, limit: f64, runs: &[TargetRun]) -> Vec<Remark> {
        let here = runs.iter().filter(|run| self.holds_for(&run.scenario, &run.target, Some(TARGET)));
        let measured: Vec<_> = here.filter_map(|run| Some((run, figure.of(run)?))).collect();
        if measured.is_empty() {
            return vec![self.unchecked_remark("it was not measured in this night")];
        }
        let over = measured.iter().filter(|(_, value)| *value > limit);
        let said = |(run, value): &(&TargetRun, f64)| {
            let (value, limit) = (figure.amount(*value), figure.amount(limit));
            let place = format!("{} on {}", run.scenario, run.target);
            self.exceeded_remark(&format!("{}: {value} in {place}, over the {limit}", figure.name()))
        };
        over.map(said).collect()
    }

    /// The two builds ran side by side: a night without a comparison says nothing about this budget, and is not at fault.
    fn judge_against_baseline(&self, figure: Figure, percent: f64, comparison: Option<&Comparison>) -> Option<Remark> {
        let comparison = comparison?;
        if self.scenario.as_ref().is_some_and(|only| *only != comparison.scenario) {
            return Some(
                self.unchecked_remark(&format!("the builds were compared in scenario {}", comparison.scenario)),
            );
        }
        let Some(MetricPair { baseline, candidate, .. }) =
            comparison.beside.iter().find(|beside| beside.metric == figure)
        else {
            return Some(self.unchecked_remark("the comparison did not measure it"));
        };
        let over = *candidate > baseline * (1.0 + percent / 100.0);
        let (now, then) = (figure.amount(*candidate), figure.amount(*baseline));
        over.then(|| {
            self.exceeded_remark(&format!("{}: {now} beside {then}, more than {percent} % over it", figure.name()))
        })
    }

    fn exceeded_remark(&self, what: &str) -> Remark {
        let what = format!("{what} of the budget ({})", self.reason);
        Remark { means: Conclusion::OverBudget, what, owner: Some(self.owner.clone()) }
    }

    fn unchecked_remark(&self, why: &str) -> Remark {
        let what = format!("{} could not be checked: {why}", self.description());
        Remark { means: Conclusion::NotConclusive, what, owner: Some(self.owner.clone()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use leakgate_judge::sample::{Latency, LatencyOf, Plan};
    use leakgate_judge::verdict::{Class, Finding};

    const SCENARIOS: [&str; 2] = ["restarts", "overnight"];
    const WHO: &str = "reason = \"it was so\"\nowner = \"ops\"\n";

    fn config(entries: &[&str]) -> Config {
        Config::parse(&entries.join("\n"), &SCENARIOS).unwrap()
    }

    fn budget(lines: &str, expires: &str) -> String {
        format!("[[budget]]\n{lines}\n{WHO}expires = \"{expires}\"")
    }

    fn day(text: &str) -> Date {
        text.parse().unwrap()
    }

    fn run(server_rss_max_mb: f64, p95_ms: f64) -> TargetRun {
        let plan: Plan = serde_json::from_value(serde_json::json!({"slots": 1, "warm_up": 1, "restarts": 1,
            "connections": 1, "max_turns": 1, "server_rss_cap_mb": 1, "tree_rss_cap_mb": 1, "errors_allowed": 0.0}))
        .unwrap();
        let mut run = TargetRun::new("restarts", "sut", plan);
        run.bounds.server_rss_max_mb = server_rss_max_mb;
        let between = LatencyOf { requests: 9, p50_ms: 1.0, p95_ms, max_ms: p95_ms };
        run.latency = Some(Latency { between, ..Latency::default() });
        run
    }

    fn row(growth: Option<f64>) -> MetricVerdict {
        MetricVerdict {
            run: 0,
            scenario: "restarts".into(),
            target: "sut".into(),
            name: Metric::AnonPss,
            verdict: Finding::Pass,
            class: Class::Noisy,
            unit: "bytes".into(),
            growth_per_restart: growth,
            tolerance: 32.0,
            smallest_detectable: None,
            first: None,
            last: None,
            max: None,
            reason: String::new(),
        }
    }

    fn means(remarks: &[Remark]) -> Vec<Conclusion> {
        remarks.iter().map(|remark| remark.means).collect()
    }

    #[test]
    fn a_budget_holds_until_its_last_day_is_over_and_warns_a_week_before() {
        let config = config(&[&budget("metric = \"server-rss-mb\"\nlimit = 30", "2026-12-10")]);
        assert_eq!(config.expiries(day("2026-12-02")), []);
        assert_eq!(means(&config.expiries(day("2026-12-03"))), [Conclusion::Pass]);
        assert_eq!(means(&config.expiries(day("2026-12-10"))), [Conclusion::Pass]);
        let [expired] = &config.expiries(day("2026-12-11"))[..] else { panic!("nothing has expired") };
        assert_eq!((expired.means, expired.owner.as_deref()), (Conclusion::Expired, Some("ops")));
        assert!(expired.what.contains("expired on 2026-12-10"), "{}", expired.what);
    }

    #[test]
    fn an_exception_allows_until_its_day_and_then_no_more() {
        let text = format!("[[exception]]\nmetric = \"files\"\nallow = 3\n{WHO}expires = \"2026-12-10\"");
        let allowed = |today: &str| config(&[&text]).exceptions_for("restarts", day(today)).len();
        assert_eq!((allowed("2026-12-10"), allowed("2026-12-11")), (1, 0));
        assert_eq!(means(&config(&[&text]).expiries(day("2026-12-11"))), [Conclusion::Expired]);
    }

    #[test]
    fn what_is_over_its_limit_is_named_with_its_owner_and_the_limit_itself_is_not_over() {
        let config = config(&[
            &budget("metric = \"server-rss-mb\"\nlimit = 30", "2026-12-10"),
            &budget("metric = \"p95-ms\"\nscenario = \"restarts\"\nlimit = 12.5", "2026-12-10"),
            &budget("metric = \"anon_pss\"\nlimit = 40", "2026-12-10"),
        ]);
        assert_eq!(config.check(&[run(30.0, 12.5)], &[row(Some(40.0))], None), []);
        let over = config.check(&[run(30.1, 12.6)], &[row(Some(41.0))], None);
        assert_eq!(means(&over), [Conclusion::OverBudget; 3]);
        assert!(over.iter().all(|remark| remark.owner.as_deref() == Some("ops") && remark.what.contains("it was so")));
        assert!(
            over[2].what.contains("grew by 41 B per restart in restarts on sut, over the 40 B"),
            "{}",
            over[2].what
        );
    }

    #[test]
    fn what_was_not_measured_is_not_within_its_budget() {
        let config = config(&[&budget("metric = \"anon_pss\"\nlimit = 40", "2026-12-10")]);
        assert_eq!(means(&config.check(&[], &[row(None)], None)), [Conclusion::NotConclusive]);
        assert_eq!(means(&config.check(&[], &[], None)), [Conclusion::NotConclusive]);
    }

    #[test]
    fn a_share_over_the_baseline_is_judged_by_the_comparison_alone() {
        let config = config(&[&budget("metric = \"p95-ms\"\nover-baseline-percent = 10", "2026-12-10")]);
        let comparison = |candidate| Comparison {
            baseline: 1,
            scenario: "restarts".into(),
            restarts: 9,
            change: super::super::compare::Change::None,
            reason: String::new(),
            baseline_slopes: vec![],
            candidate_slopes: vec![],
            effect: None,
            p: None,
            beside: vec![MetricPair { metric: Figure::P95Ms, baseline: 10.0, candidate }],
        };
        assert_eq!(config.check(&[run(1.0, 99.0)], &[], None), []);
        assert_eq!(config.check(&[], &[], Some(&comparison(11.0))), []);
        assert_eq!(means(&config.check(&[], &[], Some(&comparison(11.1)))), [Conclusion::OverBudget]);
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_what_is_expected() {
        let wrong = |text: &str| Config::parse(text, &SCENARIOS).unwrap_err();
        let said = [
            (budget("limit = 3", "2026-12-10"), "needs a metric"),
            (budget("metric = \"p95-ms\"\nsignal = \"files\"\nlimit = 3", "2026-12-10"), "both metric and signal"),
            (budget("metric = \"p95-ms\"", "2026-12-10"), "either limit or over-baseline-percent"),
            (budget("metric = \"p95-ms\"\nlimit = nan", "2026-12-10"), "a number from 0"),
            (budget("metric = \"files\"\nover-baseline-percent = 3", "2026-12-10"), "give it a limit"),
            (budget("metric = \"p95-ms\"\nlimit = 3", "10.12.2026"), "YYYY-MM-DD"),
            (budget("metric = \"p95-ms\"\nlimit = 3\nscenario = \"restart\"", "2026-12-10"), "choose from restarts"),
            (budget("metric = \"p95-ms\"\nlimit = 3\ntarget = \"x\"", "2026-12-10"), "sut or sut-heap"),
            (budget("metric = \"p95\"\nlimit = 3", "2026-12-10"), "unknown variant"),
            (budget("metric = \"p95-ms\"\nlimits = 3", "2026-12-10"), "unknown field"),
        ];
        for (text, expected) in said {
            let error = wrong(&text);
            assert!(error.contains(expected), "{text}\n{error}");
        }
    }
}
