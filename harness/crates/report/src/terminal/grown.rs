//! What a restart costs for ever, in lines.

use std::fmt;

use super::Page;
use crate::facts::Target;
use crate::kept::things;

/// A few lines for a target that keeps something; none otherwise.
pub(super) fn draw(page: &mut Page, target: &Target) -> fmt::Result {
    let kept = things(target);
    if !kept.things.is_empty() {
        page.heading(format_args!("Leaked at each {}", target.per()))?;
    }
    for line in kept.things.iter().chain(&kept.own) {
        page.item(line)?;
    }
    Ok(())
}
