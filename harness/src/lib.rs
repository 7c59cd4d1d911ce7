//! Proves whether a server that restarts its CLI leaks: it drives, measures and judges.
//!
//! Measuring and judging are separate. What measures writes [`sample::Run`] and knows nothing of verdicts;
//! [`verdict::judge`] reads a `Run`, now or a year later, and knows nothing of processes, clocks or files.
//! [`report`] turns a verdict into text and decides nothing.

pub mod exit;
pub mod mock;
pub mod recording;
pub mod report;
pub mod sample;
pub mod store;
pub mod verdict;
