//! What a restart costs for ever, in lines.

use std::fmt;

use super::Page;
use crate::report::facts::Target;
use crate::report::kept::{places, things};

/// Places in the code that are told; the rest is in the other formats.
const PLACES: usize = 5;

/// A few lines for a target that keeps something; none otherwise.
pub(super) fn draw(page: &mut Page, target: &Target) -> fmt::Result {
    let kept = things(target);
    if !kept.things.is_empty() {
        page.heading(format_args!("Kept at each {}", target.per()))?;
    }
    for line in kept.things.iter().chain(&kept.own) {
        page.item(line)?;
    }
    let places = places(target);
    if !places.is_empty() {
        page.heading("Where the heap grew")?;
    }
    for (number, place) in (1..).zip(places.iter().take(PLACES)) {
        let line = place.line.as_deref().map(|line| format!("{line} in ")).unwrap_or_default();
        page.item(format_args!("{number}. {line}{}: {}", place.function, place.growth))?;
    }
    let rest = places.len().saturating_sub(PLACES);
    if rest > 0 { page.item(format_args!("and {rest} more")) } else { Ok(()) }
}
