//! The report for a terminal: the verdict first, then what it rests on. Readable without colour.

mod grown;
mod sites;
mod table;

use std::fmt::{self, Display, Write};

use owo_colors::{OwoColorize, Style as Paint};

use super::facts::{self, Facts, Target};
use super::text::{format_date, group_digits, sanitize, wrap_words};
use super::{advice, facts::environment_fields as surroundings};
use leakgate_judge::sample::Run;
use leakgate_judge::verdict::{Finding, Verdict};

/// No line is wider than this, whatever the terminal's width, except for a word that is (a command, a path).
pub const MAX_WIDTH: usize = 100;

/// How to draw.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Style {
    /// Columns of the terminal; at most [`MAX_WIDTH`] are used. Tables need 88 and do not shrink.
    pub width: usize,
    /// Whether colours may be used; the caller knows the terminal and its user's wishes.
    pub colour: bool,
}

/// The whole report. The same input gives the same text.
pub fn render(verdict: &Verdict, run: &Run, style: Style) -> String {
    let mut page = Page { out: String::new(), style };
    // Writing to a String does not fail.
    let _: fmt::Result = draw_report(&mut page, verdict, run);
    page.out
}

struct Page {
    out: String,
    style: Style,
}

impl Page {
    /// One paragraph, wrapped: its first line set in by two, the others by four.
    fn write_item(&mut self, text: impl Display) -> fmt::Result {
        let width = self.style.width.clamp(40, MAX_WIDTH) - 2;
        writeln!(self.out, "  {}", wrap_words(&text.to_string(), width, 4))
    }

    /// One line as it is, set in: a frame of a stack, which no editor finds again once it is broken.
    fn write_line(&mut self, text: &str) -> fmt::Result {
        let indent = text.len() - text.trim_start().len();
        writeln!(self.out, "       {:indent$}{}", "", sanitize(text))
    }

    /// A blank line and a heading.
    fn write_heading(&mut self, text: impl Display) -> fmt::Result {
        let bold = self.paint(&text, Paint::new().bold());
        writeln!(self.out, "\n{bold}")
    }

    fn paint(&self, text: impl Display, paint: Paint) -> String {
        if self.style.colour { text.style(paint).to_string() } else { text.to_string() }
    }

    fn finding(&self, finding: Finding, text: impl Display) -> String {
        self.paint(text, finding_style(finding))
    }
}

fn finding_style(finding: Finding) -> Paint {
    match finding {
        Finding::Pass => Paint::new().green(),
        Finding::Shown => Paint::new().dimmed(),
        Finding::Leak | Finding::Invalid => Paint::new().red().bold(),
        Finding::Inconclusive | Finding::Saturating | Finding::Retention => Paint::new().yellow(),
    }
}

fn draw_report(page: &mut Page, verdict: &Verdict, run: &Run) -> fmt::Result {
    let facts = Facts::new(verdict, run);
    draw_headline(page, verdict)?;
    for target in &facts.targets {
        draw_target(page, target)?;
    }
    draw_controls(page, &facts)?;
    draw_exercise(page, verdict)?;
    draw_peaks(page, &facts)?;
    draw_latency(page, &facts)?;
    draw_limits(page, verdict)?;
    draw_shards(page, verdict)?;
    draw_environment(page, verdict, run)?;
    draw_next_steps(page, verdict, run)
}

fn draw_headline(page: &mut Page, verdict: &Verdict) -> fmt::Result {
    let word = verdict.verdict.to_string();
    let width = page.style.width.clamp(40, MAX_WIDTH);
    // Wrapped with one blank after the word; the second is printed later, hence `width - 1`.
    let text = wrap_words(&format!("{word}  {}", verdict.summary).replacen("  ", " ", 1), width - 1, word.len() + 2);
    let rest = text.strip_prefix(&word).unwrap_or(&text).trim_start();
    let painted = page.finding(verdict.verdict, &word);
    writeln!(page.out, "{painted}  {rest}")?;
    // The headline may have said one of them already.
    for reason in verdict.invalid.iter().filter(|&reason| *reason != verdict.summary) {
        page.write_item(format_args!("invalid: {reason}"))?;
    }
    for warning in &verdict.warnings {
        page.write_item(warning)?;
    }
    Ok(())
}

fn draw_target(page: &mut Page, target: &Target) -> fmt::Result {
    let word = page.finding(target.judged.verdict, target.judged.verdict);
    let title = format!("Scenario {}", target.name());
    let title = page.paint(title, Paint::new().bold());
    writeln!(page.out, "\n{title}: {word} after {}", target.exercise_summary())?;
    table::draw_table(page, target)?;
    grown::draw_leaked(page, target)?;
    for row in facts::alarming_rows(target) {
        page.write_item(format_args!("{}: {}", row.verdict, row.reason))?;
    }
    sites::draw_sites(page, target.measured)
}

fn draw_controls(page: &mut Page, facts: &Facts) -> fmt::Result {
    page.write_heading("Controls")?;
    page.write_item(facts.controls_summary())?;
    let controls = &facts.verdict.controls;
    for control in controls {
        if !control.passed {
            let word = page.finding(Finding::Invalid, facts::control_word(control));
            page.write_item(format_args!("{word} {}: {}", facts::control_name(control), control.reason))?;
        } else if control.planted.is_empty() {
            page.write_item(format_args!("{}: {}", facts::control_name(control), control.reason))?;
        }
    }
    let mut names: Vec<&str> = Vec::new();
    for control in controls.iter().filter(|control| control.caught) {
        // Each shard has its own.
        if !names.contains(&control.name.as_str()) {
            names.push(&control.name);
        }
    }
    if names.is_empty() { Ok(()) } else { page.write_item(format_args!("caught: {}", names.join(", "))) }
}

fn draw_exercise(page: &mut Page, verdict: &Verdict) -> fmt::Result {
    page.write_heading("What was exercised")?;
    facts::proof_lines(&verdict.proof).into_iter().try_for_each(|line| page.write_item(line))
}

fn draw_peaks(page: &mut Page, facts: &Facts) -> fmt::Result {
    page.write_heading("Peak values")?;
    for target in &facts.targets {
        let (server, tree) = target.most_memory();
        page.write_item(format_args!("{}: {}", target.name(), target.most_alive()))?;
        page.write_item(format_args!("- RSS: server {server}, tree {tree}"))?;
    }
    Ok(())
}

/// How long requests took, where both kinds were seen.
fn draw_latency(page: &mut Page, facts: &Facts) -> fmt::Result {
    let watched = facts.targets.iter().filter_map(|target| target.latencies().map(|latency| (target, latency)));
    for (at, (target, latency)) in watched.enumerate() {
        if at == 0 {
            page.write_heading("Request latency")?;
        }
        page.write_item(format_args!("{}:", target.name()))?;
        writeln!(page.out, "  {:<24}{:>9}{:>12}{:>12}{:>12}", "", "requests", "p50", "p95", "max")?;
        for (what, of) in latency {
            let [p50, p95, max] = [of.p50_ms, of.p95_ms, of.max_ms].map(|ms| format!("{ms:.1} ms"));
            writeln!(page.out, "  {what:<24}{:>9}{p50:>12}{p95:>12}{max:>12}", group_digits(of.requests))?;
        }
    }
    Ok(())
}

fn draw_limits(page: &mut Page, verdict: &Verdict) -> fmt::Result {
    page.write_heading("What this run cannot detect")?;
    page.write_item(facts::MISSED)?;
    facts::false_alarms(verdict).try_for_each(|claim| page.write_item(claim))
}

/// Of a suite in shards, which of them are here, and where each ran.
fn draw_shards(page: &mut Page, verdict: &Verdict) -> fmt::Result {
    let shards = facts::suite_shards(verdict);
    if !shards.is_empty() {
        page.write_heading("Shards")?;
    }
    shards.iter().try_for_each(|shard| page.write_item(format_args!("{}: {}; {}", shard.name, shard.units, shard.ran)))
}

fn draw_environment(page: &mut Page, verdict: &Verdict, run: &Run) -> fmt::Result {
    let env = &verdict.environment;
    page.write_heading("Environment")?;
    let parts = surroundings(env, run.seed).into_iter().map(|(name, value)| match name {
        "CPUs" => format!("{value} CPUs"),
        _ => format!("{name} {value}"),
    });
    let parts: Vec<String> = parts.collect();
    page.write_item(parts.join(" · "))?;
    page.write_item(format_args!("{}: {}", format_date(env.started_unix), env.command))?;
    page.write_item("kB is 10^3 bytes, MB is 10^6.")
}

fn draw_next_steps(page: &mut Page, verdict: &Verdict, run: &Run) -> fmt::Result {
    page.write_heading("What it means")?;
    page.write_item(advice::explain_verdict(verdict))?;
    let notes = advice::failed_notes(verdict, run);
    if !notes.is_empty() {
        page.write_heading("Notes")?;
    }
    for note in notes {
        page.write_item(note)?;
    }
    let steps = advice::next_steps(verdict, run);
    if !steps.is_empty() {
        page.write_heading("What to do next")?;
    }
    for (number, step) in (1..).zip(steps) {
        page.write_item(format_args!("{number}. {step}"))?;
    }
    Ok(())
}
