//! Replays recorded CLI sessions against a server, forces hundreds of restarts, and gives a verdict on what leaks.

pub mod exit;
pub mod mock;
pub mod recording;
pub mod sample;
