//! Leaked resources of a target, in lines.

use std::fmt;

use super::Page;
use crate::facts::Target;
use crate::leaked::leaked_resources;

/// A few lines for a target that keeps something; none otherwise.
pub(super) fn draw_leaked(page: &mut Page, target: &Target) -> fmt::Result {
    let kept = leaked_resources(target);
    if !kept.things.is_empty() {
        page.write_heading(format_args!("Leaked at each {}", target.per()))?;
    }
    for line in kept.things.iter().chain(&kept.own) {
        page.write_item(line)?;
    }
    Ok(())
}
