//! The leak gate: replays recorded sessions against a server, forces restarts, measures everything that a restart can
//! leak, and judges.
//!
//! Measuring writes [`sample`] and knows nothing of verdicts.

pub mod exit;
pub mod load;
pub mod probe;
pub mod sample;
pub mod strays;
pub mod target;
