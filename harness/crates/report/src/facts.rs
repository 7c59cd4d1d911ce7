//! The facts of a run that every format tells, worded once; each format only arranges them.

use super::text::{format_date, group_digits, sanitize};
use leakgate_judge::sample::suite::Part;
use leakgate_judge::sample::{Environment, LatencyOf, Metric, Run, TargetRun};
use leakgate_judge::text::truncate;
use leakgate_judge::verdict::target::TargetVerdict;
use leakgate_judge::verdict::words::{format_amount, format_bytes, format_rate, metric_name, to_f64};
use leakgate_judge::verdict::{Class, ControlVerdict, Finding, MetricVerdict, ProofVerdict, Verdict};

/// Characters of a target's name in a label: that of somebody else's server is its whole command.
const MAX_LABEL_CHARS: usize = 64;

/// A run and its verdict, a part for each target.
#[derive(Debug)]
pub(super) struct Facts<'a> {
    pub(super) verdict: &'a Verdict,
    pub(super) run: &'a Run,
    pub(super) targets: Vec<Target<'a>>,
}

/// One scenario against one target.
#[derive(Debug)]
pub(super) struct Target<'a> {
    pub(super) judged: &'a TargetVerdict,
    pub(super) measured: &'a TargetRun,
    pub(super) rows: Vec<&'a MetricVerdict>,
    /// The scenario's name.
    pub(super) scenario: String,
    /// The target's name, short enough for a label.
    pub(super) label: String,
    /// Its seed, where the run has several.
    pub(super) seed: Option<u64>,
    /// 1, or more for what was measured again.
    pub(super) attempt: usize,
}

/// A metric as a row of a table.
#[derive(Debug)]
pub(super) struct Cells {
    pub(super) metric: &'static str,
    pub(super) first: String,
    pub(super) last: String,
    pub(super) growth: String,
    /// The smallest leak that would have been caught.
    pub(super) catches: String,
}

impl<'a> Facts<'a> {
    pub(super) fn new(verdict: &'a Verdict, run: &'a Run) -> Self {
        let mut targets: Vec<Target<'a>> = Vec::new();
        for (at, (measured, judged)) in run.targets.iter().zip(&verdict.targets).enumerate() {
            let (scenario, label) = (sanitize(&judged.scenario), truncate(&sanitize(&judged.target), MAX_LABEL_CHARS));
            let seed = measured.seed;
            let same = |other: &&Target| other.scenario == scenario && other.label == label && other.seed == seed;
            let attempt = targets.iter().filter(same).count() + 1;
            let rows = verdict.metrics.iter().filter(|row| row.run == at).collect();
            targets.push(Target { judged, measured, rows, scenario, label, seed, attempt });
        }
        Self { verdict, run, targets }
    }

    /// `18 of 18 planted leaks caught`, or that it was not tried.
    pub(super) fn controls_summary(&self) -> String {
        if self.verdict.controls.is_empty() {
            return "Controls were skipped, so nothing shows that this gate detects leaks.".to_owned();
        }
        let planted = || self.verdict.controls.iter().filter(|control| !control.planted.is_empty());
        let caught = planted().filter(|control| control.caught).count();
        format!("{caught} of {} planted leaks caught", planted().count())
    }
}

impl Target<'_> {
    /// `restarts on sut`, and which seed and attempt, where there are several.
    pub(super) fn name(&self) -> String {
        self.among_others(format!("{} on {}", self.scenario, sanitize(&self.judged.target)))
    }

    /// The same, but no longer than a label may be.
    pub(super) fn short_name(&self) -> String {
        self.among_others(format!("{} on {}", self.scenario, self.label))
    }

    /// Whether its label says less than its name.
    pub(super) fn is_shortened(&self) -> bool {
        self.label != sanitize(&self.judged.target)
    }

    fn among_others(&self, name: String) -> String {
        let name = self.seed.map(|seed| format!("{name}, seed {seed}")).unwrap_or(name);
        if self.attempt == 1 { name } else { format!("{name}, attempt {}", self.attempt) }
    }

    /// The unit by which growth is judged: `restart` or `turn`.
    pub(super) fn per(&self) -> &'static str {
        self.measured.plan.growth_unit().name()
    }

    /// `351 restarts, 1,392 requests, 6.9 s`.
    pub(super) fn exercise_summary(&self) -> String {
        let proof = &self.judged.proof;
        let (restarts, requests) = (group_digits(proof.restarts), group_digits(proof.requests));
        format!("{restarts} restarts, {requests} requests, {:.1} s", self.judged.seconds)
    }

    /// The most invokers that were alive at once, and how many may be.
    pub(super) fn most_alive(&self) -> String {
        let seen = self.measured.bounds;
        let allowed = self.judged.live_invokers_allowed.map_or("unlimited".to_owned(), |allowed| allowed.to_string());
        match self.measured.plan.outside {
            Some(_) => format!("peak CLI processes: {} (allowed: {allowed})", seen.cli_processes_max),
            None => format!(
                "peak live invokers: {} (system: {}, allowed: {allowed})",
                seen.live_invokers_max, seen.cli_processes_max
            ),
        }
    }

    /// The most memory of the server, and of its tree, with their caps.
    pub(super) fn most_memory(&self) -> (String, String) {
        let (seen, plan) = (self.measured.bounds, &self.measured.plan);
        let text = |mb: f64, cap: u64| match cap {
            0 => format!("{mb:.1} MB"),
            _ => format!("{mb:.1} MB (cap {cap} MB)"),
        };
        (text(seen.server_rss_max_mb, plan.server_rss_cap_mb), text(seen.tree_rss_max_mb, plan.tree_rss_cap_mb))
    }

    /// How long requests took that a restart touched, and the others, where it was watched.
    pub(super) fn latencies(&self) -> Option<[(&'static str, LatencyOf); 2]> {
        let latency = self.measured.latency?;
        Some([("during a restart", latency.during), ("otherwise", latency.between)])
    }
}

/// The row as text.
pub(super) fn row_cells(row: &MetricVerdict) -> Cells {
    let reading = |value: Option<u64>| value.map_or("-".to_owned(), |value| format_amount(row.name, to_f64(value)));
    Cells {
        metric: metric_name(row.name),
        first: reading(row.first),
        last: reading(row.last.or(row.max)),
        growth: row.growth_per_restart.map_or("-".to_owned(), |growth| format_rate(row.name, growth)),
        catches: smallest_detectable(row),
    }
}

/// `1 in 300` reads better than `0.0033` for what is counted in ones.
fn smallest_detectable(row: &MetricVerdict) -> String {
    match row.smallest_detectable {
        _ if row.class == Class::Cap && row.verdict == Finding::Shown => "-".to_owned(),
        _ if row.class == Class::Cap => "over its cap".to_owned(),
        None => "-".to_owned(),
        Some(rate) if row.unit == "bytes" || rate >= 1.0 => format_amount(row.name, rate),
        Some(rate) => format!("1 in {:.0}", (1.0 / rate).floor()),
    }
}

/// Proof of the load, in sentences.
pub(super) fn proof_lines(proof: &ProofVerdict) -> Vec<String> {
    let mut lines = vec![
        format!(
            "{} restarts, {} turns, {} requests ({} errors), {} checkpoints, {} replayed",
            group_digits(proof.restarts),
            group_digits(proof.turns),
            group_digits(proof.requests),
            group_digits(proof.errors),
            group_digits(proof.checkpoints),
            format_bytes(to_f64(proof.bytes_replayed)),
        ),
        format!("{} requests lost, {} replies mixed up", group_digits(proof.lost), group_digits(proof.mixed_up)),
    ];
    if proof.unmarked > 0 {
        lines.push(format!(
            "{} replies carried no mark of their request, so a mix-up among them would go unnoticed",
            group_digits(proof.unmarked)
        ));
    }
    let kinds = proof.kinds.counts_by_name().into_iter().filter(|(count, _)| *count > 0);
    let kinds: Vec<String> = kinds.map(|(count, name)| format!("{} {name}", group_digits(count))).collect();
    if !kinds.is_empty() {
        lines.push(format!("Replies without text, which the API allows: {}", kinds.join(", ")));
    }
    lines
}

/// The result of a control, in a word.
pub(super) fn control_word(control: &ControlVerdict) -> &'static str {
    match (control.planted.is_empty(), control.passed) {
        (false, true) => "caught",
        (false, false) => "missed",
        (true, true) => "clean",
        (true, false) => "failed",
    }
}

/// Its name, and the shard that it ran in where there are several.
pub(super) fn control_name(control: &ControlVerdict) -> String {
    let shard = control.shard.map(|shard| format!(" in shard {shard}")).unwrap_or_default();
    format!("{}{shard}", sanitize(&control.name))
}

/// A shard of a suite.
#[derive(Debug)]
pub(super) struct Shard {
    /// `2 of 4`.
    pub(super) name: String,
    /// Its units.
    pub(super) units: String,
    /// Where and when it ran, or that it is missing.
    pub(super) ran: String,
}

/// The shards of the suite that the run is made of; none where it is no suite in shards.
pub(super) fn suite_shards(verdict: &Verdict) -> Vec<Shard> {
    let Some(suite) = &verdict.suite else { return Vec::new() };
    let ran = |part: &Part| {
        let file = part.file.as_deref().map(|file| format!(", from {}", sanitize(file))).unwrap_or_default();
        let refused = part.refused.as_deref().map(|why| format!("; refused: {}", sanitize(why))).unwrap_or_default();
        format!(
            "{}, {}{file}{refused}",
            sanitize(&part.machine_description()),
            format_date(part.environment.started_unix)
        )
    };
    let shard = |number: u64, ran: String| {
        let units: Vec<String> = suite.units_of(number).map(|unit| sanitize(&unit.name())).collect();
        let units = if units.is_empty() { "no unit".to_owned() } else { units.join(", ") };
        (number, Shard { name: format!("{number} of {}", suite.shards), units, ran })
    };
    let mut found: Vec<(u64, Shard)> = suite.parts.iter().map(|part| shard(part.shard, ran(part))).collect();
    let is_missing = |number: &u64| suite.merged && suite.parts_of(*number).next().is_none();
    found.extend(suite.shard_numbers().filter(is_missing).map(|number| shard(number, "missing".to_owned())));
    found.sort_by_key(|(number, _)| *number);
    found.into_iter().map(|(_, shard)| shard).collect()
}

/// Leaks that no run of this kind detects.
pub(super) const MISSED: &str = "Steady leaks smaller than the last column of the tables. An intermittent leak of a count, with \
     probability p at each of N restarts, is detected with 95 % confidence if p is at least 3/N. An intermittent leak of the \
     heap, of at least three times the last column, does not pass; it may be called SATURATING instead of LEAK.";

/// The claims about false alarms.
pub(super) fn false_alarms(verdict: &Verdict) -> impl Iterator<Item = String> {
    verdict.false_alarms.iter().map(|claim| format!("False alarms, {}: {}.", class_name(claim.class), claim.bound))
}

fn class_name(class: Class) -> &'static str {
    match class {
        Class::Exact => "counts",
        Class::Heap => "heap",
        Class::Noisy => "anon_pss",
        Class::Total => "totals",
        Class::Cap => "caps",
    }
}

/// Where and with what it was measured: names and values.
pub(super) fn environment_fields(env: &Environment, seed: u64) -> Vec<(&'static str, String)> {
    let rustc = env.rustc.strip_prefix("rustc ").unwrap_or(&env.rustc);
    let mut parts = vec![
        ("leakgate", env.leakgate.clone()),
        ("commit", env.commit.clone().unwrap_or_else(|| "unknown".to_owned())),
        ("rustc", rustc.to_owned()),
        ("kernel", env.kernel.clone()),
        ("CLI", env.cli_versions.join(" ")),
        ("CPUs", env.cpus.to_string()),
        ("allocator", env.allocator.clone().unwrap_or_default()),
        ("seed", seed.to_string()),
    ];
    parts.retain(|(_, value)| !value.is_empty());
    parts
}

/// The rows that are to be looked at: neither passed nor only shown.
pub(super) fn alarming_rows<'a>(target: &Target<'a>) -> impl Iterator<Item = &'a MetricVerdict> {
    target.rows.iter().copied().filter(|row| row.verdict > Finding::Pass)
}

/// Metrics whose growth a profile of the heap explains, from the best to the last resort.
pub(super) const EXPLAINED_BY_SITES: [Metric; 3] = [Metric::HeapBytes, Metric::HeapBlocks, Metric::AnonPss];
