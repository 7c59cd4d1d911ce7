//! Where the heap grew: the lines of code, fastest first.

use std::fmt;

use super::Page;
use crate::sites::{site_headline, stack_lines};
use leakgate_judge::sample::TargetRun;

/// Sites of a report; all are in `run.json`.
const MAX_SITES: usize = 5;

/// A few lines for each of the first sites; nothing where no heap was profiled.
pub(super) fn draw_sites(page: &mut Page, run: &TargetRun) -> fmt::Result {
    if run.sites.is_empty() {
        return Ok(());
    }
    page.write_heading("Where the heap grew")?;
    for (number, site) in (1..).zip(run.sites.iter().take(MAX_SITES)) {
        page.write_item(format_args!("{number}. {}", site_headline(site)))?;
        for line in stack_lines(site) {
            page.write_line(&line)?;
        }
    }
    match run.sites.len().saturating_sub(MAX_SITES) {
        0 => Ok(()),
        more => page.write_item(format_args!("and {more} more, in run.json")),
    }
}
