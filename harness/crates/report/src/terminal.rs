//! The report for a terminal: the verdict first, then what it rests on. Readable without colour.

mod grown;
mod sites;
mod table;

use std::fmt::{self, Display, Write};

use owo_colors::{OwoColorize, Style as Paint};

use super::facts::{self, Facts, Target};
use super::text::{clean, date, grouped, wrap};
use super::{advice, facts::environment as surroundings};
use leakgate_judge::sample::Run;
use leakgate_judge::verdict::{Finding, Verdict};

/// No line is wider than this, whatever the terminal's width, except for a word that is (a command, a path).
pub const WIDEST: usize = 100;

/// How to draw.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Style {
    /// Columns of the terminal; at most [`WIDEST`] are used. Tables need 88 and do not shrink.
    pub width: usize,
    /// Whether colours may be used; the caller knows the terminal and its user's wishes.
    pub colour: bool,
}

/// The whole report. The same input gives the same text.
pub fn render(verdict: &Verdict, run: &Run, style: Style) -> String {
    let mut page = Page { out: String::new(), style };
    // Writing to a String does not fail.
    let _: fmt::Result = draw(&mut page, verdict, run);
    page.out
}

struct Page {
    out: String,
    style: Style,
}

impl Page {
    /// One paragraph, wrapped: its first line set in by two, the others by four.
    fn item(&mut self, text: impl Display) -> fmt::Result {
        let width = self.style.width.clamp(40, WIDEST) - 2;
        writeln!(self.out, "  {}", wrap(&text.to_string(), width, 4))
    }

    /// One line as it is, set in: a frame of a stack, which no editor finds again once it is broken.
    fn line(&mut self, text: &str) -> fmt::Result {
        let indent = text.len() - text.trim_start().len();
        writeln!(self.out, "       {:indent$}{}", "", clean(text))
    }

    /// A blank line and a heading.
    fn heading(&mut self, text: impl Display) -> fmt::Result {
        let bold = self.paint(&text, Paint::new().bold());
        writeln!(self.out, "\n{bold}")
    }

    fn paint(&self, text: impl Display, paint: Paint) -> String {
        if self.style.colour { text.style(paint).to_string() } else { text.to_string() }
    }

    fn finding(&self, finding: Finding, text: impl Display) -> String {
        self.paint(text, colour(finding))
    }
}

fn colour(finding: Finding) -> Paint {
    match finding {
        Finding::Pass => Paint::new().green(),
        Finding::Shown => Paint::new().dimmed(),
        Finding::Leak | Finding::Invalid => Paint::new().red().bold(),
        Finding::Inconclusive | Finding::Saturating | Finding::Retention => Paint::new().yellow(),
    }
}

fn draw(page: &mut Page, verdict: &Verdict, run: &Run) -> fmt::Result {
    let facts = Facts::new(verdict, run);
    headline(page, verdict)?;
    for target in &facts.targets {
        draw_target(page, target)?;
    }
    controls(page, &facts)?;
    exercised(page, verdict)?;
    bounds(page, &facts)?;
    latency(page, &facts)?;
    missed(page, verdict)?;
    shards(page, verdict)?;
    environment(page, verdict, run)?;
    what_next(page, verdict, run)
}

fn headline(page: &mut Page, verdict: &Verdict) -> fmt::Result {
    let word = verdict.verdict.to_string();
    let width = page.style.width.clamp(40, WIDEST);
    let text = wrap(&format!("{word}  {}", verdict.summary).replacen("  ", " ", 1), width - 1, word.len() + 2);
    let rest = text.strip_prefix(&word).unwrap_or(&text).trim_start();
    let painted = page.finding(verdict.verdict, &word);
    writeln!(page.out, "{painted}  {rest}")?;
    // The headline may have said one of them already.
    for reason in verdict.invalid.iter().filter(|&reason| *reason != verdict.summary) {
        page.item(format_args!("invalid: {reason}"))?;
    }
    for warning in &verdict.warnings {
        page.item(warning)?;
    }
    Ok(())
}

fn draw_target(page: &mut Page, target: &Target) -> fmt::Result {
    let word = page.finding(target.judged.verdict, target.judged.verdict);
    let title = format!("Scenario {}", target.name());
    let title = page.paint(title, Paint::new().bold());
    writeln!(page.out, "\n{title}: {word} after {}", target.exercised())?;
    table::draw(page, target)?;
    grown::draw(page, target)?;
    for row in facts::alarming(target) {
        page.item(format_args!("{}: {}", row.verdict, row.reason))?;
    }
    sites::draw(page, target.measured)
}

fn controls(page: &mut Page, facts: &Facts) -> fmt::Result {
    page.heading("Controls")?;
    page.item(facts.controls())?;
    let controls = &facts.verdict.controls;
    for control in controls {
        if !control.passed {
            let word = page.finding(Finding::Invalid, facts::control_word(control));
            page.item(format_args!("{word} {}: {}", facts::control_name(control), control.reason))?;
        } else if control.planted.is_empty() {
            page.item(format_args!("{}: {}", facts::control_name(control), control.reason))?;
        }
    }
    let mut names: Vec<&str> = Vec::new();
    for control in controls.iter().filter(|control| control.caught) {
        // Each shard has its own.
        if !names.contains(&control.name.as_str()) {
            names.push(&control.name);
        }
    }
    if names.is_empty() { Ok(()) } else { page.item(format_args!("caught: {}", names.join(", "))) }
}

fn exercised(page: &mut Page, verdict: &Verdict) -> fmt::Result {
    page.heading("What was exercised")?;
    facts::proof(&verdict.proof).into_iter().try_for_each(|line| page.item(line))
}

fn bounds(page: &mut Page, facts: &Facts) -> fmt::Result {
    page.heading("Peak values")?;
    for target in &facts.targets {
        let (server, tree) = target.most_memory();
        page.item(format_args!("{}: {}", target.name(), target.most_alive()))?;
        page.item(format_args!("- RSS: server {server}, tree {tree}"))?;
    }
    Ok(())
}

/// How long requests took, where both kinds were seen.
fn latency(page: &mut Page, facts: &Facts) -> fmt::Result {
    let watched = facts.targets.iter().filter_map(|target| target.latency().map(|latency| (target, latency)));
    for (at, (target, latency)) in watched.enumerate() {
        if at == 0 {
            page.heading("Request latency")?;
        }
        page.item(format_args!("{}:", target.name()))?;
        writeln!(page.out, "  {:<24}{:>9}{:>12}{:>12}{:>12}", "", "requests", "p50", "p95", "max")?;
        for (what, of) in latency {
            let [p50, p95, max] = [of.p50_ms, of.p95_ms, of.max_ms].map(|ms| format!("{ms:.1} ms"));
            writeln!(page.out, "  {what:<24}{:>9}{p50:>12}{p95:>12}{max:>12}", grouped(of.requests))?;
        }
    }
    Ok(())
}

fn missed(page: &mut Page, verdict: &Verdict) -> fmt::Result {
    page.heading("What this run cannot detect")?;
    page.item(facts::MISSED)?;
    facts::false_alarms(verdict).try_for_each(|claim| page.item(claim))
}

/// Of a suite in shards, which of them are here, and where each ran.
fn shards(page: &mut Page, verdict: &Verdict) -> fmt::Result {
    let shards = facts::shards(verdict);
    if !shards.is_empty() {
        page.heading("Shards")?;
    }
    shards.iter().try_for_each(|shard| page.item(format_args!("{}: {}; {}", shard.name, shard.units, shard.ran)))
}

fn environment(page: &mut Page, verdict: &Verdict, run: &Run) -> fmt::Result {
    let env = &verdict.environment;
    page.heading("Environment")?;
    let parts = surroundings(env, run.seed).into_iter().map(|(name, value)| match name {
        "CPUs" => format!("{value} CPUs"),
        _ => format!("{name} {value}"),
    });
    let parts: Vec<String> = parts.collect();
    page.item(parts.join(" · "))?;
    page.item(format_args!("{}: {}", date(env.started_unix), env.command))?;
    page.item("kB is 10^3 bytes, MB is 10^6.")
}

fn what_next(page: &mut Page, verdict: &Verdict, run: &Run) -> fmt::Result {
    page.heading("What it means")?;
    page.item(advice::meaning_of(verdict))?;
    let notes = advice::notes(verdict, run);
    if !notes.is_empty() {
        page.heading("Notes")?;
    }
    for note in notes {
        page.item(note)?;
    }
    let steps = advice::next_steps(verdict, run);
    if !steps.is_empty() {
        page.heading("What to do next")?;
    }
    for (number, step) in (1..).zip(steps) {
        page.item(format_args!("{number}. {step}"))?;
    }
    Ok(())
}
