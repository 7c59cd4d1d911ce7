//! Proves whether a server that restarts its CLI leaks: it drives, measures and judges.
//!
//! Measuring and judging are separate. What measures writes [`sample::Run`] and knows nothing of verdicts;
//! [`verdict::judge`] reads a `Run`, now or a year later, and knows nothing of processes, clocks or files.
//! [`report`] turns a verdict into text and decides nothing.

pub mod cli;
pub mod control;
pub mod environment;
pub mod event;
pub mod exit;
pub mod load;
pub mod mock;
pub mod plant;
pub mod probe;
pub mod progress;
pub mod recording;
pub mod report;
pub mod run;
pub mod sample;
pub mod scenario;
pub mod siblings;
pub mod store;
pub mod strays;
pub mod sut;
pub mod target;
pub mod verdict;
