//! A night in a few lines for a terminal or a log: what it came to, why, and how it compares. The run's own reports have
//! everything else.

use std::fmt::{self, Write};

use super::text::{format_date, group_digits, sanitize, wrap_words};
use leakgate_history::baseline::Baseline;
use leakgate_history::compare::{Change, Comparison};
use leakgate_history::{Conclusion, Growth, Measured, Night};
use leakgate_judge::sample::Environment;
use leakgate_judge::statistics::median;
use leakgate_judge::verdict::Finding;
use leakgate_judge::verdict::words::{format_amount, format_bytes, format_rate, metric_name};

const WIDTH: usize = 98;

/// The night; `baseline` is the one that it was compared with.
#[must_use]
pub fn render(night: &Night, baseline: Option<&Baseline>) -> String {
    let mut out = String::new();
    // Writing to a String does not fail.
    let _: fmt::Result = write_night(&mut out, night, baseline);
    out
}

fn write_night(out: &mut String, night: &Night, baseline: Option<&Baseline>) -> fmt::Result {
    let headline = format!("{}  night {}: {}", night.conclusion(), night.id, sanitize(&night.sentence()));
    writeln!(out, "{}", wrap_words(&headline, WIDTH, 6))?;
    write_item(out, &environment_line(&night.environment))?;
    let controls = if night.controls == 0 { "left out".to_owned() } else { format!("{} ran", night.controls) };
    write_item(out, &format!("gate: {}; controls: {controls}", night.verdict))?;
    write_targets(out, &night.targets)?;
    write_not_passed(out, &night.targets)?;
    if let Some(comparison) = &night.comparison {
        write_comparison(out, comparison, baseline)?;
    }
    write_remarks(out, night)
}

/// Where and with what, in one line.
pub(super) fn environment_line(env: &Environment) -> String {
    let commit = env.commit.as_deref().unwrap_or("unknown");
    let rustc = env.rustc.split(" (").next().unwrap_or_default();
    let allocator = env.allocator.as_deref().unwrap_or("allocator unknown");
    let (when, kernel, cpus) = (format_date(env.started_unix), &env.kernel, env.cpus);
    sanitize(&format!("{when}, commit {commit}, kernel {kernel}, {cpus} CPUs, {allocator}, {rustc}"))
}

fn write_item(out: &mut String, text: &str) -> fmt::Result {
    writeln!(out, "  {}", wrap_words(text, WIDTH - 2, 4))
}

fn write_targets(out: &mut String, targets: &[Measured]) -> fmt::Result {
    let header = ["verdict", "restarts", "requests", "server", "tree", "p95", "in a restart"];
    writeln!(out, "\n  {:<12}{:<10}{}", "scenario", "target", format_columns(&header))?;
    for target in targets {
        let ms = |ms: Option<f64>| ms.map_or("-".to_owned(), |ms| format!("{ms:.1} ms"));
        let during = target.latency.filter(|latency| latency.during.requests > 0);
        let cells = [
            target.verdict.to_string(),
            group_digits(target.restarts),
            group_digits(target.requests),
            format_bytes(target.server_rss_mb * 1e6),
            format_bytes(target.tree_rss_mb * 1e6),
            ms(target.latency.filter(|latency| latency.between.requests > 0).map(|latency| latency.between.p95_ms)),
            ms(during.map(|latency| latency.during.p95_ms)),
        ];
        let cells = format_columns(&cells.each_ref().map(String::as_str));
        writeln!(out, "  {:<12}{:<10}{cells}", sanitize(&target.scenario), sanitize(&target.target))?;
    }
    Ok(())
}

fn format_columns([verdict, restarts, requests, server, tree, p95, during]: &[&str; 7]) -> String {
    format!("{verdict:<13}{restarts:>9}{requests:>10}{server:>10}{tree:>10}{p95:>10}{during:>14}")
}

fn write_not_passed(out: &mut String, targets: &[Measured]) -> fmt::Result {
    let rows = targets.iter().flat_map(|target| target.metrics.iter().map(move |growth| (target, growth)));
    let mut alarming = rows.filter(|(_, growth)| growth.verdict > Finding::Pass).peekable();
    if alarming.peek().is_some() {
        writeln!(out, "\nNot passed")?;
    }
    for (target, growth) in alarming {
        write_item(out, &format!("{} on {}: {}", target.scenario, target.target, growth_line(growth)))?;
    }
    Ok(())
}

fn growth_line(growth: &Growth) -> String {
    let reading = |value: Option<u64>| {
        value
            .map_or("-".to_owned(), |value| format_amount(growth.metric, leakgate_judge::verdict::words::to_f64(value)))
    };
    let per_restart = growth.per_restart.map_or("-".to_owned(), |value| format_rate(growth.metric, value));
    let (first, last) = (reading(growth.first), reading(growth.last));
    format!("{} {}, {per_restart} per restart (from {first} to {last})", metric_name(growth.metric), growth.verdict)
}

fn write_comparison(out: &mut String, of: &Comparison, baseline: Option<&Baseline>) -> fmt::Result {
    let who = baseline.map_or(String::new(), |baseline| {
        format!(", accepted by {} on {}: {}", baseline.by, format_day(baseline.accepted_unix), baseline.reason)
    });
    writeln!(out, "\nCompared with baseline {}", of.baseline)?;
    let commit = baseline.and_then(|baseline| baseline.environment.commit.as_deref()).unwrap_or("unknown");
    write_item(out, &sanitize(&format!("commit {commit}{who}")))?;
    let word = match of.change {
        Change::None => "PASS",
        Change::Regression => "REGRESSION",
        Change::Unknown => "NOT CONCLUSIVE",
    };
    write_item(out, &format!("{word}: {}", sanitize(&of.reason)))?;
    let (before, after) = (of.baseline_slopes.len(), of.candidate_slopes.len());
    write_item(
        out,
        &format!(
            "{before} + {after} processes, alternating on this machine, of at least {} restarts each:",
            group_digits(of.restarts)
        ),
    )?;
    writeln!(out, "    {:<44}{:>14}{:>14}", "", "baseline", "this build")?;
    let (least, most) = (median_growth(&of.baseline_slopes), median_growth(&of.candidate_slopes));
    writeln!(out, "    {:<44}{least:>14}{most:>14}", "growth of anon_pss per restart, median")?;
    for beside in &of.beside {
        let metric = beside.metric;
        let (before, after) = (metric.amount(beside.baseline), metric.amount(beside.candidate));
        writeln!(out, "    {:<44}{before:>14}{after:>14}", format!("{}, median", metric.name()))?;
    }
    Ok(())
}

fn median_growth(slopes: &[f64]) -> String {
    median(slopes).map_or("-".to_owned(), format_bytes)
}

/// The day alone.
pub(super) fn format_day(unix: u64) -> String {
    format_date(unix).chars().take("YYYY-MM-DD".len()).collect()
}

fn write_remarks(out: &mut String, night: &Night) -> fmt::Result {
    if !night.remarks.is_empty() {
        writeln!(out, "\nRemarks")?;
    }
    for remark in &night.remarks {
        let word = if remark.means == Conclusion::Pass { String::new() } else { format!("{}: ", remark.means) };
        let owner = remark.owner.as_ref().map(|owner| format!(" (owner: {owner})")).unwrap_or_default();
        write_item(out, &format!("{word}{}{owner}", sanitize(&remark.what)))?;
    }
    Ok(())
}
