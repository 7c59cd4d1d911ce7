//! The table of one target's metrics.

use std::fmt::{self, Write};

use super::Page;
use crate::facts::{Target, row_cells};

/// A header and one line a metric; at most 88 columns.
pub(super) fn draw_table(page: &mut Page, target: &Target) -> fmt::Result {
    if target.rows.is_empty() {
        return page.write_item("no metric could be judged");
    }
    let (per, catches) = (format!("per {}", target.per()), "smallest detectable");
    let header = format_line(["metric", "first", "last", &per], &format!("{:<12}", "verdict"), catches);
    writeln!(page.out, "{header}")?;
    for row in &target.rows {
        let verdict = page.finding(row.verdict, format!("{:<12}", row.verdict));
        let cells = row_cells(row);
        let text = format_line([cells.metric, &cells.first, &cells.last, &cells.growth], &verdict, &cells.catches);
        writeln!(page.out, "{text}")?;
    }
    Ok(())
}

/// The verdict comes padded, because its colour has no width.
fn format_line([metric, first, last, growth]: [&str; 4], verdict: &str, catches: &str) -> String {
    format!("  {metric:<14}{first:>10}{last:>10}{growth:>13}  {verdict}  {catches}").trim_end().to_owned()
}
