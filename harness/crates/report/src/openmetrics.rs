//! Numbers for `node_exporter`'s textfile collector, and for whatever else reads `OpenMetrics`.
//!
//! The collector reads the older text format of Prometheus, which knows no `info` and no `stateset`: so everything is a
//! gauge, which both read. The series are as many as the run has targets, metrics and controls, whatever it measured.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use super::facts::{Facts, Target};
use super::text::sanitize;
use leakgate_judge::verdict::words::to_f64;
use leakgate_judge::verdict::{Finding, MetricVerdict, Verdict};

/// The whole text, with its `# EOF`.
pub(super) fn render_openmetrics(facts: &Facts) -> Result<String, fmt::Error> {
    let mut families = of_run(facts);
    families.extend(of_targets(facts));
    families.extend(of_bounds(facts));
    families.extend(of_metrics(facts));
    families.extend(of_controls(facts.verdict));
    // A family without a series would be a promise that nobody keeps.
    families.retain(|family| !family.series.is_empty());
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Families(families)));
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry)?;
    Ok(text)
}

type Labels = Vec<(&'static str, String)>;

/// A gauge with its series, in order.
#[derive(Debug)]
struct Family {
    name: &'static str,
    help: &'static str,
    series: Vec<(Labels, f64)>,
}

#[derive(Debug)]
struct Families(Vec<Family>);

impl Collector for Families {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        for family in &self.0 {
            let mut metrics = encoder.encode_descriptor(family.name, family.help, None, MetricType::Gauge)?;
            for (labels, value) in &family.series {
                if labels.is_empty() {
                    ConstGauge::new(*value).encode(metrics)?;
                    // A family without labels has one sample, and encoding it takes the encoder.
                    break;
                }
                ConstGauge::new(*value).encode(metrics.encode_family(labels)?)?;
            }
        }
        Ok(())
    }
}

fn gauge_family(name: &'static str, help: &'static str, series: Vec<(Labels, f64)>) -> Family {
    let series = series.into_iter().filter(|(_, value)| value.is_finite()).collect();
    Family { name, help, series }
}

fn of_run(facts: &Facts) -> Vec<Family> {
    let (verdict, env) = (facts.verdict, &facts.verdict.environment);
    let one = |value: f64| vec![(Labels::new(), value)];
    let info: Labels = [
        ("version", env.leakgate.as_str()),
        ("commit", env.commit.as_deref().unwrap_or("unknown")),
        ("kernel", env.kernel.as_str()),
        ("verdict", &verdict.verdict.to_string()),
    ]
    .map(|(name, value)| (name, sanitize(value)))
    .to_vec();
    let proof = &verdict.proof;
    vec![
        gauge_family("leakgate_run_info", "Always 1: what measured, and the verdict in words", vec![(info, 1.0)]),
        gauge_family(
            "leakgate_run_exit_code",
            "0 pass, 1 leak, 3 not conclusive, 4 invalid",
            one(f64::from(verdict.exit() as u8)),
        ),
        gauge_family("leakgate_run_started_timestamp_seconds", "When the run began", one(to_f64(env.started_unix))),
        gauge_family("leakgate_run_restarts", "Restarts of the run", one(to_f64(proof.restarts))),
        gauge_family("leakgate_run_requests", "Requests of the run", one(to_f64(proof.requests))),
        gauge_family("leakgate_run_errors", "Requests of the run that ended in an error", one(to_f64(proof.errors))),
    ]
}

fn of_targets(facts: &Facts) -> Vec<Family> {
    let each = |of: fn(&Target) -> f64| of_each(facts, of);
    vec![
        gauge_family("leakgate_target_restarts", "Restarts of the target", each(|t| to_f64(t.judged.proof.restarts))),
        gauge_family("leakgate_target_requests", "Requests to the target", each(|t| to_f64(t.judged.proof.requests))),
        gauge_family("leakgate_target_seconds", "From the target's start to its end", each(|t| t.judged.seconds)),
        gauge_family(
            "leakgate_target_leaks",
            "1 when the target leaks",
            each(|t| bool_value(t.judged.verdict == Finding::Leak)),
        ),
        gauge_family(
            "leakgate_target_undecided",
            "1 when the run says neither that the target leaks nor that it does not",
            each(|t| bool_value(!matches!(t.judged.verdict, Finding::Leak | Finding::Pass | Finding::Shown))),
        ),
        latency_family(facts),
    ]
}

fn of_bounds(facts: &Facts) -> Vec<Family> {
    let each = |of: fn(&Target) -> f64| of_each(facts, of);
    vec![
        gauge_family(
            "leakgate_target_cli_processes_max",
            "The most CLI processes at any instant, by the system",
            each(|t| to_f64(t.measured.bounds.cli_processes_max)),
        ),
        gauge_family(
            "leakgate_target_server_rss_max_bytes",
            "The most resident memory of the server's process",
            each(|t| t.measured.bounds.server_rss_max_mb * 1e6),
        ),
        gauge_family(
            "leakgate_target_tree_rss_max_bytes",
            "The most resident memory of the server's tree",
            each(|t| t.measured.bounds.tree_rss_max_mb * 1e6),
        ),
    ]
}

fn of_each(facts: &Facts, of: fn(&Target) -> f64) -> Vec<(Labels, f64)> {
    facts.targets.iter().map(|target| (target_labels(target), of(target))).collect()
}

fn latency_family(facts: &Facts) -> Family {
    let mut series = Vec::new();
    for target in &facts.targets {
        for (when, latency) in target.latencies().into_iter().flatten().filter(|(_, latency)| latency.requests > 0) {
            for (quantile, ms) in [("0.5", latency.p50_ms), ("0.95", latency.p95_ms), ("1", latency.max_ms)] {
                let more = [("when", when.to_owned()), ("quantile", quantile.to_owned())];
                series.push((target_labels(target).into_iter().chain(more).collect(), ms / 1e3));
            }
        }
    }
    gauge_family("leakgate_target_latency_seconds", "How long requests took, during a restart and otherwise", series)
}

fn of_metrics(facts: &Facts) -> Vec<Family> {
    let each = |of: fn(&MetricVerdict) -> Option<f64>| {
        let rows = facts.targets.iter().flat_map(|target| target.rows.iter().map(move |row| (target, row)));
        rows.filter_map(|(target, row)| Some((metric_labels(target, row), of(row)?))).collect::<Vec<_>>()
    };
    vec![
        gauge_family(
            "leakgate_signal_leaks",
            "1 when the metric is called a leak",
            each(|row| Some(bool_value(row.verdict == Finding::Leak))),
        ),
        gauge_family(
            "leakgate_signal_undecided",
            "1 when the measurements of the metric do not decide",
            each(|row| Some(bool_value(row.verdict > Finding::Pass && row.verdict != Finding::Leak))),
        ),
        gauge_family(
            "leakgate_signal_growth_per_step",
            "Growth of the metric for each restart or turn, in its unit",
            each(|row| row.growth_per_restart),
        ),
        gauge_family(
            "leakgate_signal_smallest_detectable_per_step",
            "The smallest steady growth that the run would have called a leak",
            each(|row| row.smallest_detectable),
        ),
        gauge_family(
            "leakgate_signal_last",
            "The last reading, in the metric's unit",
            each(|row| row.last.map(to_f64)),
        ),
    ]
}

fn of_controls(verdict: &Verdict) -> Vec<Family> {
    let series = verdict.controls.iter().enumerate().map(|(at, control)| {
        // Twice the same name would be twice the same series.
        let attempt =
            verdict.controls.iter().take(at).filter(|other| sanitize(&other.name) == sanitize(&control.name)).count()
                + 1;
        let shard = control.shard.map(|shard| ("shard", shard.to_string()));
        let labels = [("control", sanitize(&control.name)), ("attempt", attempt.to_string())].into_iter().chain(shard);
        (labels.collect(), bool_value(control.passed))
    });
    vec![gauge_family("leakgate_control_passed", "1 when the gate saw what it should", series.collect())]
}

fn target_labels(target: &Target) -> Labels {
    let seed = target.seed.map(|seed| ("seed", seed.to_string()));
    [("scenario", target.scenario.clone()), ("target", target.label.clone()), ("attempt", target.attempt.to_string())]
        .into_iter()
        .chain(seed)
        .collect()
}

fn metric_labels(target: &Target, row: &MetricVerdict) -> Labels {
    // Dashboards read these names: they keep the word of their first version.
    let own = [("signal", row.name.name().to_owned()), ("unit", row.unit.clone()), ("step", target.per().to_owned())];
    target_labels(target).into_iter().chain(own).collect()
}

fn bool_value(is_true: bool) -> f64 {
    f64::from(u8::from(is_true))
}
