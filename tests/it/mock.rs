//! `mock-claude` against the recordings it plays.

mod answers;
mod behaviour;
mod exchanges;
mod faults;
pub(crate) mod process;
mod replay;
