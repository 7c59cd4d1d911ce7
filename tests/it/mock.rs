//! `mock-claude` against the recordings it plays.

mod answers;
mod behaviour;
mod faults;
mod process;
mod replay;
