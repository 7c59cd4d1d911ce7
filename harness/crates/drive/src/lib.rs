//! Drives a server through restarts under load and samples it from outside.
//!
//! Knows nothing of verdicts: it writes [`leakgate_judge::sample`] and emits [`event`]s.
//!
//! # Map
//!
//! From top to bottom; a module uses only those below it (`tests/it/layering.rs` reads this table).
//!
//! | file | has |
//! | --- | --- |
//! | `harness/crates/drive/src/external.rs` | a server of any origin as a target: its settings, its life, what is seen of it |
//! | `harness/crates/drive/src/own.rs` | our server as a target: the stats channel, rest, latency; `harness/crates/drive/src/own/profile.rs` profiles its heap |
//! | `harness/crates/drive/src/driver.rs` | the one driver of both: load, sample, checkpoint, stop |
//! | `harness/crates/drive/src/target.rs` | what the driver needs of a server |
//! | `harness/crates/drive/src/assignment.rs` | one server to be driven, and what is asked of it |
//! | `harness/crates/drive/src/scenario.rs` | the plans for our server, and when checkpoints are due |
//! | `harness/crates/drive/src/load.rs` | requests, and the check of every reply |
//! | `harness/crates/drive/src/watchdog.rs` | ends what a killed leakgate would leave |
//! | `harness/crates/drive/src/orphans.rs` | what a server orphaned, counted and ended |
//! | `harness/crates/drive/src/probe.rs` | processes, memory, descriptors, files, read from outside |
//! | `harness/crates/drive/src/real_cli.rs` | the real CLI: where it is, and its environment |
//! | `harness/crates/drive/src/secrets.rs` | which variables of the environment may open an account |
//! | `harness/crates/drive/src/isolation.rs` | a network namespace with loopback alone, in which a real CLI may run |
//! | `harness/crates/drive/src/event.rs` | what the driver reports while it runs |

pub mod assignment;
pub(crate) mod driver;
pub mod event;
pub mod external;
pub mod isolation;
pub mod load;
pub mod orphans;
pub mod own;
pub mod probe;
pub mod real_cli;
pub mod scenario;
pub mod secrets;
pub mod target;
pub mod watchdog;
