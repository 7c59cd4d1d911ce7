//! Streamed replies, and clients that leave in the middle of them.

use super::{Scenario, restarts};

/// Every request streams, and a fifth of the clients leave.
#[must_use]
pub fn scenario() -> Scenario {
    Scenario {
        name: "streams",
        about: "streamed replies, a fifth of the clients leaving mid-stream",
        connections: 4,
        streamed: 1.0,
        leaving: 0.2,
        ..restarts::scenario()
    }
}
