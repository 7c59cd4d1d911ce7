//! The cost of a restart: leaked resources by name, the sites in the code that leak memory, and beside them the one number
//! that a server's own health page shows.

use super::facts::Target;
use super::text::sanitize;
use leakgate_judge::sample::{Frame, Grown, Metric, Site, Thing};
use leakgate_judge::verdict::Finding;
use leakgate_judge::verdict::words::{format_bytes, format_rate, to_f64};

/// The resources that a target leaked.
#[derive(Debug, Default)]
pub(super) struct Leaked {
    /// `+1.00 process claude …`, a line each.
    pub(super) things: Vec<String>,
    /// A sentence on the server's own RSS, which may hide the leak.
    pub(super) own: Option<String>,
}

/// A site in the code that leaks memory.
#[derive(Debug)]
pub(super) struct LeakSite {
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
pub(super) fn leaked_resources(target: &Target) -> Leaked {
    if !target.rows.iter().any(|row| row.verdict == Finding::Leak) {
        return Leaked::default();
    }
    let growth = |metric| target.rows.iter().find(|row| row.name == metric).and_then(|row| row.growth_per_restart);
    let mut things = resource_lines(target);
    // Of a run that was stored before threads had names.
    let named = target.measured.grown.iter().any(|grown| grown.what == Thing::Thread);
    let threads = growth(Metric::Threads).filter(|&more| more > 0.0 && !named);
    things.extend(threads.map(|more| format!("+{} threads", format_rate(Metric::Threads, more))));
    let tree = growth(Metric::TreeRss).filter(|&more| more > 0.0);
    things.extend(tree.map(|more| format!("+{} of memory (RSS of the whole tree)", format_bytes(more))));
    let own = growth(Metric::ServerRss).filter(|_| !things.is_empty()).map(|own| own_rss(target, own));
    Leaked { things, own }
}

fn own_rss(target: &Target, own: f64) -> String {
    let trace = &target.measured.trace;
    let (first, last) = (trace.first().map_or(0, |p| p.server_rss), trace.last().map_or(0, |p| p.server_rss));
    let (first, last) = (format_bytes(to_f64(first)), format_bytes(to_f64(last)));
    let sign = if own < 0.0 { "" } else { "+" };
    format!(
        "The server's own RSS, which its health page would show, went from {first} to {last} ({sign}{} per {}).",
        format_bytes(own),
        target.per()
    )
}

/// `+1.00 process claude …; started by the server; since restart 50`, `+2.00 descriptors: pipe to claude …`.
fn resource_lines(target: &Target) -> Vec<String> {
    let (run, per) = (target.measured, target.measured.plan.growth_unit());
    let (Some(first), Some(last)) = (run.checkpoints.first(), run.checkpoints.last()) else { return Vec::new() };
    let steps = to_f64(last.steps(per).saturating_sub(first.steps(per)).max(1));
    let line = |grown: &Grown| {
        let more = format_rate(Metric::Processes, to_f64(grown.more) / steps);
        let origin = grown.origin.as_ref().map_or(String::new(), |origin| format!("; started by {}", sanitize(origin)));
        let since = grown.since.map_or(String::new(), |since| format!("; since {} {since}", per.name()));
        format!("+{more} {} {}{origin}{since}", resource_noun(grown.what), sanitize(&grown.name))
    };
    run.grown.iter().map(line).collect()
}

fn resource_noun(what: Thing) -> &'static str {
    match what {
        Thing::Process => "process",
        Thing::Descriptor => "descriptors:",
        Thing::Thread => "threads called",
        Thing::Task => "tasks spawned at",
        Thing::File => "files:",
    }
}

/// Where the heap grew, the fastest first.
pub(super) fn leak_sites(target: &Target) -> Vec<LeakSite> {
    target.measured.sites.iter().map(|site| leak_site(site, target.per())).collect()
}

fn leak_site(site: &Site, per: &str) -> LeakSite {
    let own = own_frame(site);
    let shown = own.map(|(_, frame)| frame).or_else(|| site.frames.first());
    LeakSite {
        line: own.and_then(|(_, frame)| frame_line(frame)),
        function: shown.map_or("(no stack)".to_owned(), |frame| sanitize(&frame.function)),
        growth: format!(
            "{}{} blocks, {}{} per {per}",
            growth_sign(site.blocks_per_restart),
            format_rate(Metric::HeapBlocks, site.blocks_per_restart),
            growth_sign(site.bytes_per_restart),
            format_bytes(site.bytes_per_restart),
        ),
        frames: site.frames.iter().map(format_frame).collect(),
        own: own.map(|(at, _)| at),
    }
}

fn growth_sign(growth: f64) -> &'static str {
    if growth < 0.0 { "" } else { "+" }
}

/// The first frame in the code under test, with its position.
pub(super) fn own_frame(site: &Site) -> Option<(usize, &Frame)> {
    let at = site.own?;
    site.frames.get(at).map(|frame| (at, frame))
}

fn frame_line(frame: &Frame) -> Option<String> {
    let file = sanitize(frame.file.as_deref()?);
    Some(frame.line.map_or(file.clone(), |line| format!("{file}:{line}")))
}

fn format_frame(frame: &Frame) -> String {
    let function = sanitize(&frame.function);
    frame_line(frame).map_or(function.clone(), |line| format!("{function} ({line})"))
}
