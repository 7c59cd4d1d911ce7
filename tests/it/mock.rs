//! `mock-claude` against the recordings it plays.

mod behaviour;
mod faults;
mod process;
mod replay;
