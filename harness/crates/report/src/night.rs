//! A night in a few lines for a terminal or a log: what it came to, why, and how it compares. The run's own reports have
//! everything else.

use std::fmt::{self, Write};

use super::text::{clean, date, grouped, wrap};
use leakgate_history::baseline::Baseline;
use leakgate_history::compare::{Change, Comparison};
use leakgate_history::{Conclusion, Growth, Measured, Night};
use leakgate_judge::sample::Environment;
use leakgate_judge::statistics::median;
use leakgate_judge::verdict::Finding;
use leakgate_judge::verdict::words::{amount, bytes, name, rate};

const WIDTH: usize = 98;

/// The night; `baseline` is the one that it was compared with.
#[must_use]
pub fn render(night: &Night, baseline: Option<&Baseline>) -> String {
    let mut out = String::new();
    // Writing to a String does not fail.
    let _: fmt::Result = draw(&mut out, night, baseline);
    out
}

fn draw(out: &mut String, night: &Night, baseline: Option<&Baseline>) -> fmt::Result {
    let headline = format!("{}  night {}: {}", night.conclusion(), night.id, clean(&night.sentence()));
    writeln!(out, "{}", wrap(&headline, WIDTH, 6))?;
    item(out, &place(&night.environment))?;
    let controls = if night.controls == 0 { "left out".to_owned() } else { format!("{} ran", night.controls) };
    item(out, &format!("gate: {}; controls: {controls}", night.verdict))?;
    targets(out, &night.targets)?;
    not_passed(out, &night.targets)?;
    if let Some(comparison) = &night.comparison {
        compared(out, comparison, baseline)?;
    }
    remarks(out, night)
}

/// Where and with what, in one line.
pub(super) fn place(env: &Environment) -> String {
    let commit = env.commit.as_deref().unwrap_or("unknown");
    let rustc = env.rustc.split(" (").next().unwrap_or_default();
    let allocator = env.allocator.as_deref().unwrap_or("allocator unknown");
    let (when, kernel, cpus) = (date(env.started_unix), &env.kernel, env.cpus);
    clean(&format!("{when}, commit {commit}, kernel {kernel}, {cpus} CPUs, {allocator}, {rustc}"))
}

fn item(out: &mut String, text: &str) -> fmt::Result {
    writeln!(out, "  {}", wrap(text, WIDTH - 2, 4))
}

fn targets(out: &mut String, targets: &[Measured]) -> fmt::Result {
    let header = ["verdict", "restarts", "requests", "server", "tree", "p95", "in a restart"];
    writeln!(out, "\n  {:<12}{:<10}{}", "scenario", "target", columns(&header))?;
    for target in targets {
        let ms = |ms: Option<f64>| ms.map_or("-".to_owned(), |ms| format!("{ms:.1} ms"));
        let during = target.latency.filter(|latency| latency.during.requests > 0);
        let cells = [
            target.verdict.to_string(),
            grouped(target.restarts),
            grouped(target.requests),
            bytes(target.server_rss_mb * 1e6),
            bytes(target.tree_rss_mb * 1e6),
            ms(target.latency.filter(|latency| latency.between.requests > 0).map(|latency| latency.between.p95_ms)),
            ms(during.map(|latency| latency.during.p95_ms)),
        ];
        let cells = columns(&cells.each_ref().map(String::as_str));
        writeln!(out, "  {:<12}{:<10}{cells}", clean(&target.scenario), clean(&target.target))?;
    }
    Ok(())
}

fn columns([verdict, restarts, requests, server, tree, p95, during]: &[&str; 7]) -> String {
    format!("{verdict:<13}{restarts:>9}{requests:>10}{server:>10}{tree:>10}{p95:>10}{during:>14}")
}

fn not_passed(out: &mut String, targets: &[Measured]) -> fmt::Result {
    let rows = targets.iter().flat_map(|target| target.metrics.iter().map(move |growth| (target, growth)));
    let mut alarming = rows.filter(|(_, growth)| growth.verdict > Finding::Pass).peekable();
    if alarming.peek().is_some() {
        writeln!(out, "\nNot passed")?;
    }
    for (target, growth) in alarming {
        item(out, &format!("{} on {}: {}", target.scenario, target.target, row(growth)))?;
    }
    Ok(())
}

fn row(growth: &Growth) -> String {
    let reading = |value: Option<u64>| {
        value.map_or("-".to_owned(), |value| amount(growth.metric, leakgate_judge::verdict::words::float(value)))
    };
    let per_restart = growth.per_restart.map_or("-".to_owned(), |value| rate(growth.metric, value));
    let (first, last) = (reading(growth.first), reading(growth.last));
    format!("{} {}, {per_restart} per restart (from {first} to {last})", name(growth.metric), growth.verdict)
}

fn compared(out: &mut String, of: &Comparison, baseline: Option<&Baseline>) -> fmt::Result {
    let who = baseline.map_or(String::new(), |baseline| {
        format!(", accepted by {} on {}: {}", baseline.by, day(baseline.accepted_unix), baseline.reason)
    });
    writeln!(out, "\nCompared with baseline {}", of.baseline)?;
    let commit = baseline.and_then(|baseline| baseline.environment.commit.as_deref()).unwrap_or("unknown");
    item(out, &clean(&format!("commit {commit}{who}")))?;
    let word = match of.change {
        Change::None => "PASS",
        Change::Regression => "REGRESSION",
        Change::Unknown => "NOT CONCLUSIVE",
    };
    item(out, &format!("{word}: {}", clean(&of.reason)))?;
    let (before, after) = (of.baseline_slopes.len(), of.candidate_slopes.len());
    item(
        out,
        &format!(
            "{before} + {after} processes, alternating on this machine, of at least {} restarts each:",
            grouped(of.restarts)
        ),
    )?;
    writeln!(out, "    {:<44}{:>14}{:>14}", "", "baseline", "this build")?;
    let (least, most) = (range(&of.baseline_slopes), range(&of.candidate_slopes));
    writeln!(out, "    {:<44}{least:>14}{most:>14}", "growth of anon_pss per restart, median")?;
    for beside in &of.beside {
        let metric = beside.metric;
        let (before, after) = (metric.amount(beside.baseline), metric.amount(beside.candidate));
        writeln!(out, "    {:<44}{before:>14}{after:>14}", format!("{}, median", metric.name()))?;
    }
    Ok(())
}

fn range(slopes: &[f64]) -> String {
    median(slopes).map_or("-".to_owned(), bytes)
}

/// The day alone.
pub(super) fn day(unix: u64) -> String {
    date(unix).chars().take("YYYY-MM-DD".len()).collect()
}

fn remarks(out: &mut String, night: &Night) -> fmt::Result {
    if !night.remarks.is_empty() {
        writeln!(out, "\nRemarks")?;
    }
    for remark in &night.remarks {
        let word = if remark.means == Conclusion::Pass { String::new() } else { format!("{}: ", remark.means) };
        let owner = remark.owner.as_ref().map(|owner| format!(" (owner: {owner})")).unwrap_or_default();
        item(out, &format!("{word}{}{owner}", clean(&remark.what)))?;
    }
    Ok(())
}
