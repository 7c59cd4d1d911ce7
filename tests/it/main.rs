//! Integration tests: one binary.

mod judge;
mod mock;
mod report;
mod runs;
