//! From heap profiles to the lines of code that keep memory.
//!
//! Nothing here starts, waits or measures: profiles come in as text ([`dhat`]), growing sites go out ([`growth`]), and
//! what is drawn of them is text again ([`fold`]). How the profiles are made is `harness/src/scenario/profile.rs`.

pub mod dhat;
pub mod fold;
pub mod frame;
pub mod growth;
pub mod profile;

use crate::sample::{Frame, Site};

/// Identifies a site in every process and every build of the same sources: its first frame in the code under
/// test, or the first of all where there is none. An address or a hash is no part of it.
#[must_use]
pub fn site_key(site: &Site) -> Option<&Frame> {
    site.own.and_then(|own| site.frames.get(own)).or_else(|| site.frames.first())
}
