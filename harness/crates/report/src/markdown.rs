//! Markdown for a comment on a pull request and for a job's summary: what did not pass in sight, the rest folded.

mod escape;

use std::fmt::{self, Write};

use super::advice;
use super::facts::{self, Facts, Target, row_cells};
use super::leaked::{leak_sites, leaked_resources};
use super::text::{format_date, group_digits, sanitize};
use escape::{escape_around_code, escape_html, escape_markdown, fence_code};
use leakgate_judge::verdict::{Finding, MetricVerdict};

/// GitHub takes no comment of more than 65,536 characters.
const MAX_COMMENT_CHARS: usize = 60_000;
/// Places in the code with their stacks.
const MAX_SITES: usize = 5;

/// The whole text. If it is too long for a comment, the tables of passed targets are left out.
pub(super) fn render_markdown(facts: &Facts) -> String {
    let whole = render_with(facts, true);
    if whole.chars().count() <= MAX_COMMENT_CHARS { whole } else { render_with(facts, false) }
}

fn render_with(facts: &Facts, with_passed: bool) -> String {
    let mut out = String::new();
    // Writing to a String does not fail.
    let _: fmt::Result = write_report(&mut out, facts, with_passed);
    out
}

fn write_report(out: &mut String, facts: &Facts, with_passed: bool) -> fmt::Result {
    write_headline(out, facts)?;
    write_alarms(out, facts)?;
    write_controls(out, facts)?;
    for target in &facts.targets {
        write_leaked(out, target)?;
    }
    write_next_steps(out, facts)?;
    let shown = |target: &&Target| with_passed || target.judged.verdict > Finding::Pass;
    for target in facts.targets.iter().filter(shown) {
        write_metrics(out, target)?;
    }
    if !with_passed {
        writeln!(out, "\nThe tables of passed targets are left out to fit the size limit; report.html has them.")?;
    }
    write_exercise(out, facts)?;
    write_shards(out, facts)?;
    write_reproduction(out, facts)
}

/// Of a suite in shards, which of them are here, and where each ran.
fn write_shards(out: &mut String, facts: &Facts) -> fmt::Result {
    let shards = facts::suite_shards(facts.verdict);
    if shards.is_empty() {
        return Ok(());
    }
    writeln!(out, "\n<details><summary>Shards</summary>\n\n| shard | units | ran on |\n| --- | --- | --- |")?;
    for shard in shards {
        writeln!(out, "| {} | {} | {} |", shard.name, escape_markdown(&shard.units), escape_markdown(&shard.ran))?;
    }
    writeln!(out, "\n</details>")
}

fn write_headline(out: &mut String, facts: &Facts) -> fmt::Result {
    let verdict = facts.verdict;
    writeln!(
        out,
        "### {} {}: {}\n",
        finding_emoji(verdict.verdict),
        verdict.verdict,
        escape_markdown(&verdict.summary)
    )?;
    writeln!(out, "{}", advice::explain_verdict(verdict))?;
    let reasons = verdict.invalid.iter().filter(|&reason| *reason != verdict.summary);
    let lines: Vec<&String> = reasons.chain(&verdict.warnings).collect();
    if !lines.is_empty() {
        writeln!(out)?;
    }
    lines.into_iter().try_for_each(|line| writeln!(out, "- {}", escape_markdown(line)))
}

/// The word is always beside it.
fn finding_emoji(finding: Finding) -> &'static str {
    match finding {
        Finding::Pass | Finding::Shown => "✅",
        Finding::Leak => "❌",
        Finding::Invalid => "⛔",
        Finding::Inconclusive | Finding::Saturating | Finding::Retention => "⚠️",
    }
}

/// A table of the metrics that did not pass, over all targets.
fn write_alarms(out: &mut String, facts: &Facts) -> fmt::Result {
    let alarming: Vec<(&Target, &MetricVerdict)> =
        facts.targets.iter().flat_map(|target| facts::alarming_rows(target).map(move |row| (target, row))).collect();
    if alarming.is_empty() {
        return Ok(());
    }
    writeln!(out, "\n| verdict | metric | first | last | growth | where |\n| --- | --- | ---: | ---: | ---: | --- |")?;
    for (target, row) in alarming {
        let (cells, place) = (row_cells(row), escape_markdown(&target.name()));
        let (word, metric, per) = (row.verdict, cells.metric, target.per());
        writeln!(
            out,
            "| **{word}** | {metric} | {} | {} | {} per {per} | {place} |",
            cells.first, cells.last, cells.growth
        )?;
    }
    Ok(())
}

fn write_controls(out: &mut String, facts: &Facts) -> fmt::Result {
    write!(out, "\n**Controls:** {}", facts.controls_summary())?;
    for control in facts.verdict.controls.iter().filter(|control| !control.passed || control.planted.is_empty()) {
        write!(out, "; {}: {}", escape_markdown(&facts::control_name(control)), escape_markdown(&control.reason))?;
    }
    writeln!(out)
}

fn write_leaked(out: &mut String, target: &Target) -> fmt::Result {
    let kept = leaked_resources(target);
    if !kept.things.is_empty() {
        writeln!(out, "\n**Leaked at each {}** in {}\n", target.per(), escape_markdown(&target.name()))?;
    }
    kept.things.iter().chain(&kept.own).try_for_each(|line| writeln!(out, "- {}", escape_markdown(line)))?;
    let places = leak_sites(target);
    if places.is_empty() {
        return Ok(());
    }
    writeln!(out, "\n**Where the heap grew** in {}\n", escape_markdown(&target.name()))?;
    for place in places.iter().take(MAX_SITES) {
        let line = place.line.as_deref().map(|line| format!("{line} in ")).unwrap_or_default();
        let title = escape_html(&format!("{line}{}: {}", place.function, place.growth));
        writeln!(out, "<details><summary>{title}</summary>\n\n{}\n</details>", fence_code(&place.frames.join("\n")))?;
    }
    Ok(())
}

fn write_next_steps(out: &mut String, facts: &Facts) -> fmt::Result {
    let steps = advice::next_steps(facts.verdict, facts.run);
    if steps.is_empty() {
        return Ok(());
    }
    writeln!(out, "\n**What to do next**\n")?;
    (1..).zip(&steps).try_for_each(|(number, step)| writeln!(out, "{number}. {}", escape_around_code(step)))
}

fn write_metrics(out: &mut String, target: &Target) -> fmt::Result {
    let (name, exercised, per) = (escape_html(&target.name()), target.exercise_summary(), target.per());
    writeln!(out, "\n<details><summary>{name}: {} after {exercised}</summary>\n", target.judged.verdict)?;
    writeln!(out, "| metric | first | last | per {per} | verdict | smallest detectable, per {per} |")?;
    writeln!(out, "| --- | ---: | ---: | ---: | --- | ---: |")?;
    for row in &target.rows {
        let cells = row_cells(row);
        let (metric, catches) = (cells.metric, cells.catches);
        let numbers = [cells.first, cells.last, cells.growth].join(" | ");
        writeln!(out, "| {metric} | {numbers} | {} | {catches} |", row.verdict)?;
    }
    let mut lines: Vec<String> = facts::alarming_rows(target)
        .map(|row| format!("- {}: {}", row.verdict, escape_markdown(&row.reason)))
        .collect();
    let (server, tree) = target.most_memory();
    lines.push(format!("- {}", target.most_alive()));
    lines.push(format!("- peak RSS: server {server}, tree {tree}"));
    for (when, of) in target.latencies().into_iter().flatten() {
        let (requests, p50, p95, max) = (group_digits(of.requests), of.p50_ms, of.p95_ms, of.max_ms);
        lines.push(format!("- {requests} requests {when}: p50 {p50:.1} ms, p95 {p95:.1} ms, max {max:.1} ms"));
    }
    writeln!(out, "\n{}\n\n</details>", lines.join("\n"))
}

fn write_exercise(out: &mut String, facts: &Facts) -> fmt::Result {
    writeln!(out, "\n<details><summary>What was exercised, and what this run cannot detect</summary>\n")?;
    facts::proof_lines(&facts.verdict.proof).iter().try_for_each(|line| writeln!(out, "- {line}"))?;
    writeln!(out, "- {}", facts::MISSED)?;
    facts::false_alarms(facts.verdict).try_for_each(|claim| writeln!(out, "- {}", escape_markdown(&claim)))?;
    let notes = advice::failed_notes(facts.verdict, facts.run);
    if !notes.is_empty() {
        writeln!(out, "\nNotes:\n\n{}", fence_code(&notes.into_iter().map(sanitize).collect::<Vec<_>>().join("\n")))?;
    }
    writeln!(out, "\n</details>")
}

fn write_reproduction(out: &mut String, facts: &Facts) -> fmt::Result {
    let env = &facts.verdict.environment;
    let parts = facts::environment_fields(env, facts.run.seed).into_iter();
    let parts: Vec<String> = parts.map(|(name, value)| format!("{name} {}", escape_markdown(&value))).collect();
    writeln!(out, "\n<details><summary>How to reproduce</summary>\n\n{}", fence_code(&sanitize(&env.command)))?;
    writeln!(out, "\n{} · {}\n\n</details>", format_date(env.started_unix), parts.join(" · "))
}
