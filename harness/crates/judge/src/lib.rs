//! Samples of a run ([`sample`]), and the verdict on it ([`verdict`]).
//!
//! Pure: no processes and no clock; [`store`] alone reads and writes files.
//!
//! # Map
//!
//! From top to bottom; a module uses only those below it (`tests/it/layering.rs` reads this table).
//!
//! | file | has |
//! | --- | --- |
//! | `harness/crates/judge/src/diff.rs` | what grew between two runs or two profiles |
//! | `harness/crates/judge/src/store.rs` | `run.json`: how a run is kept |
//! | `harness/crates/judge/src/verdict.rs` | the rules, a file each in `verdict/` |
//! | `harness/crates/judge/src/suite.rs` | large suites: which unit falls to which shard, and shards merged to one run |
//! | `harness/crates/judge/src/attribution.rs` | from heap profiles to the lines that keep memory |
//! | `harness/crates/judge/src/floor.rs` | how much growth of a heap counts |
//! | `harness/crates/judge/src/sample.rs` | what is measured |
//! | `harness/crates/judge/src/exception.rs` | what an exception or a budget needs |
//! | `harness/crates/judge/src/statistics.rs`, `harness/crates/judge/src/text.rs` | helpers that other packages use as well |
//! | `harness/crates/judge/src/exit.rs` | the exit codes |

pub mod attribution;
pub mod diff;
pub mod exception;
pub mod exit;
pub mod floor;
pub mod sample;
pub mod statistics;
pub mod store;
pub mod suite;
pub mod text;
pub mod verdict;
