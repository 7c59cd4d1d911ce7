//! Verdicts as text. Reporters format and decide nothing: whatever they say stands in the [`crate::verdict::Verdict`].

pub mod advice;
pub mod diff;
pub mod profile;
mod sites;
pub mod terminal;
mod text;
