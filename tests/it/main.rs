//! One integration binary for the whole workspace.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking; clippy's own exception covers the test functions but not their helpers"
)]

mod judge;
mod layering;
mod load;
mod mock;
mod probe;
mod report;
mod runs;
