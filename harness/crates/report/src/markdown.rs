//! Markdown for a comment on a pull request and for a job's summary: what did not pass in sight, the rest folded.

mod escape;

use std::fmt::{self, Write};

use super::advice;
use super::facts::{self, Facts, Target, cells};
use super::kept::{places, things};
use super::text::{clean, date, grouped};
use escape::{escaped, escaped_around_code, escaped_in_html, fenced};
use leakgate_judge::verdict::{Finding, MetricVerdict};

/// GitHub takes no comment of more than 65,536 characters.
const LONGEST: usize = 60_000;
/// Places in the code with their stacks.
const PLACES: usize = 5;

/// The whole text. One that would be too long for a comment goes without the tables of what passed.
pub(super) fn render(facts: &Facts) -> String {
    let whole = drawn(facts, true);
    if whole.chars().count() <= LONGEST { whole } else { drawn(facts, false) }
}

fn drawn(facts: &Facts, with_passed: bool) -> String {
    let mut out = String::new();
    // Writing to a String does not fail.
    let _: fmt::Result = draw(&mut out, facts, with_passed);
    out
}

fn draw(out: &mut String, facts: &Facts, with_passed: bool) -> fmt::Result {
    headline(out, facts)?;
    alarms(out, facts)?;
    controls(out, facts)?;
    for target in &facts.targets {
        kept(out, target)?;
    }
    next(out, facts)?;
    let shown = |target: &&Target| with_passed || target.judged.verdict > Finding::Pass;
    for target in facts.targets.iter().filter(shown) {
        metrics(out, target)?;
    }
    if !with_passed {
        writeln!(out, "\nThe tables of passed targets are left out to fit the size limit; report.html has them.")?;
    }
    rest(out, facts)?;
    shards(out, facts)?;
    reproduce(out, facts)
}

/// Of a suite in shards, which of them are here, and where each ran.
fn shards(out: &mut String, facts: &Facts) -> fmt::Result {
    let shards = facts::shards(facts.verdict);
    if shards.is_empty() {
        return Ok(());
    }
    writeln!(out, "\n<details><summary>Shards</summary>\n\n| shard | units | ran on |\n| --- | --- | --- |")?;
    for shard in shards {
        writeln!(out, "| {} | {} | {} |", shard.name, escaped(&shard.units), escaped(&shard.ran))?;
    }
    writeln!(out, "\n</details>")
}

fn headline(out: &mut String, facts: &Facts) -> fmt::Result {
    let verdict = facts.verdict;
    writeln!(out, "### {} {}: {}\n", mark(verdict.verdict), verdict.verdict, escaped(&verdict.summary))?;
    writeln!(out, "{}", advice::meaning_of(verdict))?;
    let reasons = verdict.invalid.iter().filter(|&reason| *reason != verdict.summary);
    let lines: Vec<&String> = reasons.chain(&verdict.warnings).collect();
    if !lines.is_empty() {
        writeln!(out)?;
    }
    lines.into_iter().try_for_each(|line| writeln!(out, "- {}", escaped(line)))
}

/// The word is always beside it.
fn mark(finding: Finding) -> &'static str {
    match finding {
        Finding::Pass | Finding::Shown => "✅",
        Finding::Leak => "❌",
        Finding::Invalid => "⛔",
        Finding::Inconclusive | Finding::Saturating | Finding::Retention => "⚠️",
    }
}

/// A table of the metrics that did not pass, over all targets.
fn alarms(out: &mut String, facts: &Facts) -> fmt::Result {
    let alarming: Vec<(&Target, &MetricVerdict)> =
        facts.targets.iter().flat_map(|target| facts::alarming(target).map(move |row| (target, row))).collect();
    if alarming.is_empty() {
        return Ok(());
    }
    writeln!(out, "\n| verdict | metric | first | last | growth | where |\n| --- | --- | ---: | ---: | ---: | --- |")?;
    for (target, row) in alarming {
        let (cells, place) = (cells(row), escaped(&target.name()));
        let (word, metric, per) = (row.verdict, cells.metric, target.per());
        writeln!(
            out,
            "| **{word}** | {metric} | {} | {} | {} per {per} | {place} |",
            cells.first, cells.last, cells.growth
        )?;
    }
    Ok(())
}

fn controls(out: &mut String, facts: &Facts) -> fmt::Result {
    write!(out, "\n**Controls:** {}", facts.controls())?;
    for control in facts.verdict.controls.iter().filter(|control| !control.passed || control.planted.is_empty()) {
        write!(out, "; {}: {}", escaped(&facts::control_name(control)), escaped(&control.reason))?;
    }
    writeln!(out)
}

fn kept(out: &mut String, target: &Target) -> fmt::Result {
    let kept = things(target);
    if !kept.things.is_empty() {
        writeln!(out, "\n**Leaked at each {}** in {}\n", target.per(), escaped(&target.name()))?;
    }
    kept.things.iter().chain(&kept.own).try_for_each(|line| writeln!(out, "- {}", escaped(line)))?;
    let places = places(target);
    if places.is_empty() {
        return Ok(());
    }
    writeln!(out, "\n**Where the heap grew** in {}\n", escaped(&target.name()))?;
    for place in places.iter().take(PLACES) {
        let line = place.line.as_deref().map(|line| format!("{line} in ")).unwrap_or_default();
        let title = escaped_in_html(&format!("{line}{}: {}", place.function, place.growth));
        writeln!(out, "<details><summary>{title}</summary>\n\n{}\n</details>", fenced(&place.frames.join("\n")))?;
    }
    Ok(())
}

fn next(out: &mut String, facts: &Facts) -> fmt::Result {
    let steps = advice::next_steps(facts.verdict, facts.run);
    if steps.is_empty() {
        return Ok(());
    }
    writeln!(out, "\n**What to do next**\n")?;
    (1..).zip(&steps).try_for_each(|(number, step)| writeln!(out, "{number}. {}", escaped_around_code(step)))
}

fn metrics(out: &mut String, target: &Target) -> fmt::Result {
    let (name, exercised, per) = (escaped_in_html(&target.name()), target.exercised(), target.per());
    writeln!(out, "\n<details><summary>{name}: {} after {exercised}</summary>\n", target.judged.verdict)?;
    writeln!(out, "| metric | first | last | per {per} | verdict | smallest detectable, per {per} |")?;
    writeln!(out, "| --- | ---: | ---: | ---: | --- | ---: |")?;
    for row in &target.rows {
        let cells = cells(row);
        let (metric, catches) = (cells.metric, cells.catches);
        let numbers = [cells.first, cells.last, cells.growth].join(" | ");
        writeln!(out, "| {metric} | {numbers} | {} | {catches} |", row.verdict)?;
    }
    let mut lines: Vec<String> =
        facts::alarming(target).map(|row| format!("- {}: {}", row.verdict, escaped(&row.reason))).collect();
    let (server, tree) = target.most_memory();
    lines.push(format!("- {}", target.most_alive()));
    lines.push(format!("- peak RSS: server {server}, tree {tree}"));
    for (when, of) in target.latency().into_iter().flatten() {
        let (requests, p50, p95, max) = (grouped(of.requests), of.p50_ms, of.p95_ms, of.max_ms);
        lines.push(format!("- {requests} requests {when}: p50 {p50:.1} ms, p95 {p95:.1} ms, max {max:.1} ms"));
    }
    writeln!(out, "\n{}\n\n</details>", lines.join("\n"))
}

fn rest(out: &mut String, facts: &Facts) -> fmt::Result {
    writeln!(out, "\n<details><summary>What was exercised, and what this run cannot detect</summary>\n")?;
    facts::proof(&facts.verdict.proof).iter().try_for_each(|line| writeln!(out, "- {line}"))?;
    writeln!(out, "- {}", facts::MISSED)?;
    facts::false_alarms(facts.verdict).try_for_each(|claim| writeln!(out, "- {}", escaped(&claim)))?;
    let notes = advice::notes(facts.verdict, facts.run);
    if !notes.is_empty() {
        writeln!(out, "\nNotes:\n\n{}", fenced(&notes.into_iter().map(clean).collect::<Vec<_>>().join("\n")))?;
    }
    writeln!(out, "\n</details>")
}

fn reproduce(out: &mut String, facts: &Facts) -> fmt::Result {
    let env = &facts.verdict.environment;
    let parts = facts::environment(env, facts.run.seed).into_iter();
    let parts: Vec<String> = parts.map(|(name, value)| format!("{name} {}", escaped(&value))).collect();
    writeln!(out, "\n<details><summary>How to reproduce</summary>\n\n{}", fenced(&clean(&env.command)))?;
    writeln!(out, "\n{} · {}\n\n</details>", date(env.started_unix), parts.join(" · "))
}
