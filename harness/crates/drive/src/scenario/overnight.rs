//! The night in which the original bug showed: 7,000 requests, an invoker replaced every eight turns.

use super::{Scenario, restarts};

/// 7,000 requests from the ten-turn recording through 8 connections: at least 875 restarts.
#[must_use]
pub fn scenario() -> Scenario {
    Scenario {
        name: "overnight",
        about: "7,000 requests through 8 connections, restarted every 8 turns",
        max_turns: 8,
        connections: 8,
        // With the 50 of the warm-up: 7,000 requests at 8 turns each.
        restarts: 825,
        requests: 7_000,
        ..restarts::scenario()
    }
}
