//! The real CLI behind the server: few restarts, each of them of a process of hundreds of megabytes.
//!
//! With the mock in its place it is a short run of the same shape.

use std::time::Duration;

use super::{Ending, Scenario, restarts};

/// Its name on the command line.
pub const NAME: &str = "real";

/// 50 restarts after 10, eight to ten turns each, with an API that thinks for a while; then the server is killed.
#[must_use]
pub fn scenario() -> Scenario {
    Scenario {
        name: NAME,
        about: "50 restarts of the real CLI (--cli PATH --offline), killed at the end",
        max_turns: 10,
        warm_up: 10,
        restarts: 50,
        streamed: 0.5,
        ending: Ending::Killed,
        // A model takes seconds. This is enough for a standby to be ready before the old process has had its last turn.
        api_delay: Duration::from_millis(150),
        rest: Duration::from_secs(5),
        // A process with one turn and one with ten are so far apart, and a collection of garbage comes when it likes.
        memory_noise_mb: 40,
        invoker_rss_cap_mb: 500,
        ..restarts::scenario()
    }
}
