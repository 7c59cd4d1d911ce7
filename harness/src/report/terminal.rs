//! The report for a terminal: the verdict first, then what it rests on. Readable without colour.

mod grown;
mod sites;
mod table;

use std::fmt::{self, Display, Write};

use owo_colors::{OwoColorize, Style as Paint};

use super::advice;
use super::text::{clean, date, grouped, wrap};
use crate::sample::{Per, Run};
use crate::verdict::target::TargetVerdict;
use crate::verdict::words::{bytes, float};
use crate::verdict::{Class, ControlVerdict, Finding, Verdict};

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
        writeln!(self.out, "       {}", clean(text))
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
    headline(page, verdict)?;
    for (at, target) in verdict.targets.iter().enumerate() {
        draw_target(page, verdict, run, at, target)?;
    }
    controls(page, &verdict.controls)?;
    proof(page, verdict)?;
    bounds(page, verdict, run)?;
    latency(page, run)?;
    missed(page, verdict)?;
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

fn draw_target(page: &mut Page, verdict: &Verdict, run: &Run, at: usize, target: &TargetVerdict) -> fmt::Result {
    let (restarts, requests) = (grouped(target.proof.restarts), grouped(target.proof.requests));
    let measured = run.targets.get(at);
    let per = measured.map_or(Per::Restart, |measured| measured.plan.per());
    let title = format!("Scenario {} on {}", target.scenario, target.target);
    let word = page.finding(target.verdict, target.verdict);
    let title = page.paint(title, Paint::new().bold());
    writeln!(page.out, "\n{title}: {word} after {restarts} restarts, {requests} requests, {:.1} s", target.seconds)?;
    let rows: Vec<_> = verdict.signals.iter().filter(|row| row.run == at).collect();
    table::draw(page, &rows, per)?;
    for row in rows.iter().filter(|row| row.verdict > Finding::Pass) {
        page.item(format_args!("{}: {}", row.verdict, row.reason))?;
    }
    let Some(measured) = measured else { return Ok(()) };
    grown::draw(page, measured, &rows)?;
    sites::draw(page, measured)
}

fn controls(page: &mut Page, controls: &[ControlVerdict]) -> fmt::Result {
    page.heading("Can this gate see?")?;
    if controls.is_empty() {
        return page.item("Controls were left out, so this was not proved.");
    }
    let planted = controls.iter().filter(|control| !control.planted.is_empty());
    let (all, caught) = (planted.clone().count(), planted.filter(|control| control.caught).count());
    page.item(format_args!("{caught} of {all} planted leaks caught"))?;
    for control in controls {
        if !control.passed {
            let word = page.finding(Finding::Invalid, if control.planted.is_empty() { "failed" } else { "missed" });
            page.item(format_args!("{word} {}: {}", control.name, control.reason))?;
        } else if control.planted.is_empty() {
            page.item(format_args!("{}: {}", control.name, control.reason))?;
        }
    }
    let names: Vec<&str> =
        controls.iter().filter(|control| control.caught).map(|control| control.name.as_str()).collect();
    if names.is_empty() { Ok(()) } else { page.item(format_args!("caught: {}", names.join(", "))) }
}

fn proof(page: &mut Page, verdict: &Verdict) -> fmt::Result {
    let proof = &verdict.proof;
    page.heading("What was exercised")?;
    page.item(format_args!(
        "{} restarts, {} turns, {} requests ({} errors), {} checkpoints, {} replayed",
        grouped(proof.restarts),
        grouped(proof.turns),
        grouped(proof.requests),
        grouped(proof.errors),
        grouped(proof.checkpoints),
        bytes(float(proof.bytes_replayed)),
    ))?;
    page.item(format_args!("{} requests lost, {} replies mixed up", grouped(proof.lost), grouped(proof.mixed_up)))?;
    if proof.unmarked == 0 {
        return Ok(());
    }
    page.item(format_args!(
        "{} replies carried no mark of their request, so that nobody can tell whether they were mixed up",
        grouped(proof.unmarked)
    ))
}

fn bounds(page: &mut Page, verdict: &Verdict, run: &Run) -> fmt::Result {
    page.heading("Bounds")?;
    for (target, judged) in run.targets.iter().zip(&verdict.targets) {
        let (seen, plan) = (target.bounds, &target.plan);
        let (live, system) = (seen.live_invokers_max, seen.cli_processes_max);
        let allowed = judged.live_invokers_allowed.map_or("any number".to_owned(), |allowed| allowed.to_string());
        let most = match target.plan.outside {
            Some(_) => format!("{system} CLI processes at most (allowed: {allowed})"),
            None => format!("{live} live invokers at most (system: {system}, allowed: {allowed})"),
        };
        page.item(format_args!("{} on {}: {most}", target.scenario, target.target))?;
        page.item(format_args!(
            "- RSS: server {:.1} MB{}, tree {:.1} MB{}",
            seen.server_rss_max_mb,
            cap(plan.server_rss_cap_mb),
            seen.tree_rss_max_mb,
            cap(plan.tree_rss_cap_mb),
        ))?;
    }
    Ok(())
}

/// How long requests took, where both kinds were seen.
fn latency(page: &mut Page, run: &Run) -> fmt::Result {
    let watched = run.targets.iter().filter_map(|target| target.latency.map(|latency| (target, latency)));
    for (at, (target, latency)) in watched.enumerate() {
        if at == 0 {
            page.heading("How long requests took")?;
        }
        page.item(format_args!("{} on {}:", target.scenario, target.target))?;
        writeln!(page.out, "  {:<24}{:>9}{:>12}{:>12}{:>12}", "", "requests", "p50", "p95", "max")?;
        for (what, of) in [("during a restart", latency.during), ("otherwise", latency.between)] {
            let [p50, p95, max] = [of.p50_ms, of.p95_ms, of.max_ms].map(|ms| format!("{ms:.1} ms"));
            writeln!(page.out, "  {what:<24}{:>9}{p50:>12}{p95:>12}{max:>12}", grouped(of.requests))?;
        }
    }
    Ok(())
}

fn cap(mb: u64) -> String {
    if mb == 0 { String::new() } else { format!(" (cap {mb} MB)") }
}

fn missed(page: &mut Page, verdict: &Verdict) -> fmt::Result {
    page.heading("What it could have missed")?;
    page.item(
        "Any steady leak below the last column of the tables. A count that leaks now and then, with probability p at \
         each of N restarts, is seen with 95 % when p is 3/N or more. A heap that leaks now and then, at three times the \
         last column or more, does not pass; it may be called SATURATING instead of LEAK.",
    )?;
    for claim in &verdict.false_alarms {
        page.item(format_args!("False alarms, {}: {}.", class(claim.class), claim.bound))?;
    }
    Ok(())
}

fn class(class: Class) -> &'static str {
    match class {
        Class::Exact => "counts",
        Class::Heap => "heap",
        Class::Noisy => "anon_pss",
        Class::Total => "totals",
        Class::Cap => "caps",
    }
}

fn environment(page: &mut Page, verdict: &Verdict, run: &Run) -> fmt::Result {
    let env = &verdict.environment;
    page.heading("Environment")?;
    let mut parts = vec![
        format!("leakgate {}", env.leakgate),
        format!("commit {}", env.commit.as_deref().unwrap_or("unknown")),
        env.rustc.clone(),
        format!("kernel {}", env.kernel),
        format!("CLI {}", env.cli_versions.join(" ")),
        format!("{} CPUs", env.cpus),
        format!("seed {}", run.seed),
    ];
    parts.retain(|part| !part.is_empty());
    page.item(parts.join(" · "))?;
    page.item(format_args!("{}: {}", date(env.started_unix), env.command))?;
    page.item("kB is 10^3 bytes, MB is 10^6.")
}

fn what_next(page: &mut Page, verdict: &Verdict, run: &Run) -> fmt::Result {
    page.heading("What it means")?;
    page.item(advice::meaning(verdict.verdict))?;
    let notes = advice::notes(verdict, run);
    if !notes.is_empty() {
        page.heading("Notes of the run")?;
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
