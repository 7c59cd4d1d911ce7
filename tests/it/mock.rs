//! `mock-claude` against the recordings it plays.

mod answers;
mod behaviour;
mod exchanges;
mod faults;
mod process;
mod replay;
