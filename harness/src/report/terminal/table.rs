//! The table of one target's signals.

use std::fmt::{self, Write};

use super::Page;
use crate::sample::Per;
use crate::verdict::words::{amount, float, name, rate};
use crate::verdict::{Class, Finding, SignalVerdict};

/// A header and one line a signal; at most 88 columns.
pub(super) fn draw(page: &mut Page, rows: &[&SignalVerdict], per: Per) -> fmt::Result {
    if rows.is_empty() {
        return page.item("no signal could be judged");
    }
    let (per, catches) = (format!("per {}", per.name()), format!("would catch, per {}", per.name()));
    let header = line(["signal", "first", "last", &per], &format!("{:<12}", "verdict"), &catches);
    writeln!(page.out, "{header}")?;
    for row in rows {
        let verdict = page.finding(row.verdict, format!("{:<12}", row.verdict));
        let first = row.first.map_or("-".to_owned(), |value| amount(row.name, float(value)));
        let last = row.last.or(row.max).map_or("-".to_owned(), |value| amount(row.name, float(value)));
        let growth = row.growth_per_restart.map_or("-".to_owned(), |growth| rate(row.name, growth));
        let text = line([name(row.name), &first, &last, &growth], &verdict, &would_catch(row));
        writeln!(page.out, "{text}")?;
    }
    Ok(())
}

/// The verdict comes padded, because its colour has no width.
fn line([signal, first, last, growth]: [&str; 4], verdict: &str, catches: &str) -> String {
    format!("  {signal:<14}{first:>10}{last:>10}{growth:>13}  {verdict}  {catches}").trim_end().to_owned()
}

/// `1 in 300` reads better than `0.0033` for what is counted in ones.
fn would_catch(row: &SignalVerdict) -> String {
    match row.smallest_detectable {
        _ if row.class == Class::Cap && row.verdict == Finding::Shown => "-".to_owned(),
        _ if row.class == Class::Cap => "over its cap".to_owned(),
        None => "-".to_owned(),
        Some(rate) if row.unit == "bytes" || rate >= 1.0 => amount(row.name, rate),
        Some(rate) => format!("1 in {:.0}", (1.0 / rate).floor()),
    }
}
