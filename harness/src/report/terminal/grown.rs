//! What a restart costs for ever: the things that were kept, by name, and beside them the one number that a server's own
//! health page shows.

use std::fmt;

use super::Page;
use crate::sample::{Grown, Signal, TargetRun, Thing};
use crate::verdict::words::{bytes, float, rate};
use crate::verdict::{Finding, SignalVerdict};

/// A few lines for a target that keeps something; none otherwise.
pub(super) fn draw(page: &mut Page, run: &TargetRun, rows: &[&SignalVerdict]) -> fmt::Result {
    if !rows.iter().any(|row| row.verdict == Finding::Leak) {
        return Ok(());
    }
    let per = run.plan.per().name();
    let growth = |signal| rows.iter().find(|row| row.name == signal).and_then(|row| row.growth_per_restart);
    let mut lines = named(run);
    // Of a run that was stored before threads had names.
    let named = run.grown.iter().any(|grown| grown.what == Thing::Thread);
    let threads = growth(Signal::Threads).filter(|&more| more > 0.0 && !named);
    lines.extend(threads.map(|more| format!("+{} threads", rate(Signal::Threads, more))));
    let tree = growth(Signal::TreeRss).filter(|&more| more > 0.0);
    lines.extend(tree.map(|more| format!("+{} of memory (RSS of the whole tree)", bytes(more))));
    if lines.is_empty() {
        return Ok(());
    }
    page.heading(format_args!("Kept at each {per}"))?;
    for line in lines {
        page.item(line)?;
    }
    let Some(own) = growth(Signal::ServerRss) else { return Ok(()) };
    let (first, last) = (run.trace.first().map_or(0, |p| p.server_rss), run.trace.last().map_or(0, |p| p.server_rss));
    let (first, last) = (bytes(float(first)), bytes(float(last)));
    let sign = if own < 0.0 { "" } else { "+" };
    page.item(format_args!(
        "The server's own RSS, which its health page would show: {first} at first, {last} at last, {sign}{} per {per}.",
        bytes(own)
    ))
}

/// `+1.00 process claude …; started by the server; since restart 50`, `+2.00 descriptors: pipe to claude …`.
fn named(run: &TargetRun) -> Vec<String> {
    let (Some(first), Some(last)) = (run.checkpoints.first(), run.checkpoints.last()) else { return Vec::new() };
    let per = run.plan.per();
    let steps = float(last.steps(per).saturating_sub(first.steps(per)).max(1));
    let line = |grown: &Grown| {
        let more = rate(Signal::Processes, float(grown.more) / steps);
        let origin = grown.origin.as_ref().map_or(String::new(), |origin| format!("; started by {origin}"));
        let since = grown.since.map_or(String::new(), |since| format!("; since {} {since}", per.name()));
        format!("+{more} {} {}{origin}{since}", noun(grown.what), grown.name)
    };
    run.grown.iter().map(line).collect()
}

fn noun(what: Thing) -> &'static str {
    match what {
        Thing::Process => "process",
        Thing::Descriptor => "descriptors:",
        Thing::Thread => "threads called",
        Thing::Task => "tasks spawned at",
        Thing::File => "files:",
    }
}
