//! Recorded sessions of the CLI, and the messages between leakgate's programs.
//!
//! Knows nothing of servers, load or verdicts.
//!
//! # Map
//!
//! From top to bottom; a module uses only those below it (`tests/it/layering.rs` reads this table).
//!
//! | file | has |
//! | --- | --- |
//! | `harness/crates/session/src/recording_tools.rs` | what can be done with a recording: check, show, trim |
//! | `harness/crates/session/src/record.rs` | stands in the CLI's place, passes every byte on and records the session |
//! | `harness/crates/session/src/scrub.rs` | takes secrets, ids, names and paths out of what is recorded |
//! | `harness/crates/session/src/recording.rs` | the recordings of the real CLI, and their format |
//! | `harness/crates/session/src/mark.rs` | the mark protocol: whether a reply belongs to its request and is complete |
//! | `harness/crates/session/src/channel.rs` `harness/crates/session/src/stats.rs` | the messages of the stats channel |

pub mod channel;
pub mod mark;
pub mod record;
pub mod recording;
pub mod recording_tools;
pub mod scrub;
pub mod stats;
