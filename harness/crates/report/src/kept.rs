//! What a restart costs for ever: the things that were kept, by name, the places in the code that keep memory, and beside
//! them the one number that a server's own health page shows.

use super::facts::Target;
use super::text::clean;
use leakgate_judge::sample::{Frame, Grown, Metric, Site, Thing};
use leakgate_judge::verdict::Finding;
use leakgate_judge::verdict::words::{bytes, float, rate};

/// The things that a target kept.
#[derive(Debug, Default)]
pub(super) struct Kept {
    /// `+1.00 process claude …`, a line each.
    pub(super) things: Vec<String>,
    /// What the server's own RSS showed of it.
    pub(super) own: Option<String>,
}

/// A place that keeps memory.
#[derive(Debug)]
pub(super) struct Place {
    /// `src/pool.rs:120`, of the first frame in the code under test.
    pub(super) line: Option<String>,
    /// The function there, or else the one that allocates.
    pub(super) function: String,
    /// `+1.00 blocks, +64 B per restart`.
    pub(super) growth: String,
    /// The stack, the allocation first.
    pub(super) frames: Vec<String>,
    /// Which of them is the code under test.
    pub(super) own: Option<usize>,
}

/// Nothing for a target that does not leak.
pub(super) fn things(target: &Target) -> Kept {
    if !target.rows.iter().any(|row| row.verdict == Finding::Leak) {
        return Kept::default();
    }
    let growth = |metric| target.rows.iter().find(|row| row.name == metric).and_then(|row| row.growth_per_restart);
    let mut things = named(target);
    // Of a run that was stored before threads had names.
    let named = target.measured.grown.iter().any(|grown| grown.what == Thing::Thread);
    let threads = growth(Metric::Threads).filter(|&more| more > 0.0 && !named);
    things.extend(threads.map(|more| format!("+{} threads", rate(Metric::Threads, more))));
    let tree = growth(Metric::TreeRss).filter(|&more| more > 0.0);
    things.extend(tree.map(|more| format!("+{} of memory (RSS of the whole tree)", bytes(more))));
    let own = growth(Metric::ServerRss).filter(|_| !things.is_empty()).map(|own| own_rss(target, own));
    Kept { things, own }
}

fn own_rss(target: &Target, own: f64) -> String {
    let trace = &target.measured.trace;
    let (first, last) = (trace.first().map_or(0, |p| p.server_rss), trace.last().map_or(0, |p| p.server_rss));
    let (first, last) = (bytes(float(first)), bytes(float(last)));
    let sign = if own < 0.0 { "" } else { "+" };
    format!(
        "The server's own RSS, which its health page would show, went from {first} to {last} ({sign}{} per {}).",
        bytes(own),
        target.per()
    )
}

/// `+1.00 process claude …; started by the server; since restart 50`, `+2.00 descriptors: pipe to claude …`.
fn named(target: &Target) -> Vec<String> {
    let (run, per) = (target.measured, target.measured.plan.per());
    let (Some(first), Some(last)) = (run.checkpoints.first(), run.checkpoints.last()) else { return Vec::new() };
    let steps = float(last.steps(per).saturating_sub(first.steps(per)).max(1));
    let line = |grown: &Grown| {
        let more = rate(Metric::Processes, float(grown.more) / steps);
        let origin = grown.origin.as_ref().map_or(String::new(), |origin| format!("; started by {}", clean(origin)));
        let since = grown.since.map_or(String::new(), |since| format!("; since {} {since}", per.name()));
        format!("+{more} {} {}{origin}{since}", noun(grown.what), clean(&grown.name))
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

/// Where the heap grew, the fastest first.
pub(super) fn places(target: &Target) -> Vec<Place> {
    target.measured.sites.iter().map(|site| place(site, target.per())).collect()
}

fn place(site: &Site, per: &str) -> Place {
    let own = own(site);
    let shown = own.map(|(_, frame)| frame).or_else(|| site.frames.first());
    Place {
        line: own.and_then(|(_, frame)| line(frame)),
        function: shown.map_or("(no stack)".to_owned(), |frame| clean(&frame.function)),
        growth: format!(
            "{}{} blocks, {}{} per {per}",
            sign(site.blocks_per_restart),
            rate(Metric::HeapBlocks, site.blocks_per_restart),
            sign(site.bytes_per_restart),
            bytes(site.bytes_per_restart),
        ),
        frames: site.frames.iter().map(frame).collect(),
        own: own.map(|(at, _)| at),
    }
}

fn sign(growth: f64) -> &'static str {
    if growth < 0.0 { "" } else { "+" }
}

/// The first frame in the code under test, with its position.
pub(super) fn own(site: &Site) -> Option<(usize, &Frame)> {
    let at = site.own?;
    site.frames.get(at).map(|frame| (at, frame))
}

fn line(frame: &Frame) -> Option<String> {
    let file = clean(frame.file.as_deref()?);
    Some(frame.line.map_or(file.clone(), |line| format!("{file}:{line}")))
}

fn frame(frame: &Frame) -> String {
    let function = clean(&frame.function);
    line(frame).map_or(function.clone(), |line| format!("{function} ({line})"))
}
