//! A CLI that crashes: every third restart is a recovery.
//!
//! Half of the requests stream. A reply that is not streamed runs again unseen; one that is ends with an error, once a
//! piece of it has been passed on.

use super::{Scenario, restarts};

/// Requests to a CLI of which every third process crashes in the middle of a turn.
#[must_use]
pub fn scenario() -> Scenario {
    Scenario {
        name: "crashes",
        about: "every third restart is a crash of the CLI",
        cli_flags: vec!["--mock-fault=crash@turn=2@every=3".to_owned()],
        // So many crashes in a row would otherwise take the server offline, which is another scenario's matter.
        server_flags: vec!["--max-failures=1000".to_owned()],
        // Every third process crashes: a little less than a third, because the last ones may not come to it.
        recovering: 0.3,
        streamed: 0.5,
        // A stream that breaks after its first piece can't be run again: it ends with an error.
        errors_allowed: 0.15,
        ..restarts::scenario()
    }
}
