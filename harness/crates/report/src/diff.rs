//! The output of `leakgate diff`.

use std::fmt::Write;

use super::text::{sanitize, wrap_words};
use leakgate_judge::diff::{Change, Diff, Kind, Row};
use leakgate_judge::verdict::words::{format_bytes, format_count};

const WIDTH: usize = 98;

/// The changes by scope, what grew first.
#[must_use]
pub fn render(diff: &Diff) -> String {
    let mut out = String::new();
    // Writing to a String does not fail.
    let _ = draw_diff(&mut out, diff);
    out
}

fn draw_diff(out: &mut String, diff: &Diff) -> std::fmt::Result {
    for note in &diff.notes {
        writeln!(out, "{}", wrap_words(note, WIDTH, 2))?;
    }
    if diff.rows.is_empty() {
        return writeln!(out, "no difference in {} quantities", diff.same);
    }
    let mut heading = None;
    for row in &diff.rows {
        if heading != Some((&row.scope, row.kind)) {
            heading = Some((&row.scope, row.kind));
            let scope = if row.scope.is_empty() { String::new() } else { format!("{}: ", sanitize(&row.scope)) };
            writeln!(out, "\n{scope}{}", kind_title(row.kind))?;
        }
        writeln!(out, "  {}", sanitize(&row_line(row)))?;
    }
    writeln!(out, "\n{} quantities are the same in both", diff.same)
}

fn kind_title(kind: Kind) -> &'static str {
    match kind {
        Kind::Metric => "metrics",
        Kind::Thing => "leaked resources",
        Kind::Site => "sites",
    }
}

fn row_line(row: &Row) -> String {
    let per = if row.per_restart { " per restart" } else { "" };
    let amounts = format!("{} -> {}{per}", row_amount(row, row.before), row_amount(row, row.after));
    format!("{:<5}{amounts:<36} {}", change_word(row.change), row.name)
}

fn change_word(change: Change) -> &'static str {
    match change {
        Change::New => "new",
        Change::Gone => "gone",
        Change::More => "more",
        Change::Less => "less",
    }
}

fn row_amount(row: &Row, value: Option<f64>) -> String {
    match value {
        None => "-".to_owned(),
        Some(value) if row.unit == "bytes" => format_bytes(value),
        Some(value) => format!("{} {}", format_count(value), row.unit),
    }
}
