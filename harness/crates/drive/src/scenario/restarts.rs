//! The default: as many restarts as possible under plain load.

use std::time::Duration;

use super::{Ending, Scenario};
use crate::load::reply_format::Mix;

/// Plain requests, an invoker replaced every four turns.
#[must_use]
pub fn scenario() -> Scenario {
    Scenario {
        name: "restarts",
        about: "plain requests, as many proactive restarts as possible",
        slots: 1,
        max_turns: 4,
        connections: 2,
        warm_up: 50,
        restarts: 300,
        requests: 0,
        recording: "ten-turns".to_owned(),
        mix: Mix::TEXT,
        filler: 0,
        streamed: 0.0,
        leaving: 0.0,
        deadline: Duration::from_mins(1),
        server_flags: Vec::new(),
        cli_flags: Vec::new(),
        ending: Ending::Stopped,
        // A pool with the mock settles in a few milliseconds.
        rest: Duration::from_millis(200),
        api_delay: Duration::ZERO,
        memory_noise_mb: 0,
        recovering: 0.0,
        errors_allowed: 0.0,
        exceptions: Vec::new(),
        // The server holds 8 to 10 MB and a mock 6 to 7 MB in the reference report: the caps leave room for other machines.
        server_rss_cap_mb: 30,
        invoker_rss_cap_mb: 32,
    }
}
