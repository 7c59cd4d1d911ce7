//! Integration tests: one binary.

mod judge;
mod report;
mod runs;
