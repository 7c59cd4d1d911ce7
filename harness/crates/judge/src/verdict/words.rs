//! How metrics and amounts read in a sentence. Bytes are counted in powers of ten: kB is 10^3 and MB is 10^6 bytes.

use crate::sample::Metric;

/// The metric's name, as `run.json` and `verdict.json` write it.
pub fn metric_name(metric: Metric) -> &'static str {
    metric.name()
}

/// The unit of the metric.
pub fn metric_unit(metric: Metric) -> &'static str {
    match metric {
        Metric::LiveInvokers => "invokers",
        Metric::HeapBlocks => "blocks",
        Metric::HeapBytes | Metric::AnonPss | Metric::TreeRss | Metric::ServerRss => "bytes",
        Metric::FdsPipe | Metric::FdsSocket | Metric::FdsFile | Metric::FdsAnon => "descriptors",
        Metric::Threads => "threads",
        Metric::Tasks => "tasks",
        Metric::CliProcesses | Metric::Processes | Metric::Zombies | Metric::Orphans | Metric::LeftByKill => {
            "processes"
        }
        Metric::Files | Metric::FilesLeft => "files",
        Metric::Lost => "requests",
        Metric::MixedUp => "replies",
    }
}

/// An amount of the metric, or a rate when it stands before "per restart": `12`, `0.010`, `73.4 MB`.
pub fn format_amount(metric: Metric, value: f64) -> String {
    if metric_unit(metric) == "bytes" { format_bytes(value) } else { format_count(value) }
}

/// Bytes in the largest unit that leaves at least one before the point.
pub fn format_bytes(value: f64) -> String {
    let size = value.abs();
    if size >= 1e9 {
        format!("{:.2} GB", value / 1e9)
    } else if size >= 1e6 {
        format!("{:.1} MB", value / 1e6)
    } else if size >= 1e3 {
        format!("{:.1} kB", value / 1e3)
    } else if size == 0.0 || size >= 10.0 {
        format!("{:.0} B", value + 0.0) // -0 reads as 0
    } else {
        format!("{value:.2} B")
    }
}

/// A number without a unit: whole when it is whole, otherwise with enough digits to see something.
pub fn format_count(value: f64) -> String {
    if value.fract() == 0.0 {
        format!("{}", value + 0.0) // -0 reads as 0
    } else if value.abs() >= 1.0 {
        format!("{value:.2}")
    } else {
        format!("{value:.4}")
    }
}

/// A rate per restart; unlike [`format_count`], a whole one keeps its decimals, so that it reads as a rate.
pub fn format_rate(metric: Metric, value: f64) -> String {
    if metric_unit(metric) == "bytes" {
        format_bytes(value)
    } else if value.abs() >= 1.0 {
        format!("{value:.2}")
    } else if value == 0.0 {
        "0".to_owned()
    } else {
        format!("{value:.4}")
    }
}

/// `1 restart`, `2 restarts`.
pub fn pluralize(number: u64, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}

/// A count as a float, for rates. Counts of a run stay far below 2^53, from where on this would round.
#[expect(clippy::cast_precision_loss, reason = "counts and byte totals of a run stay far below 2^53")]
pub fn to_f64(value: u64) -> f64 {
    value as f64
}
