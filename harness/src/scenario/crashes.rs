//! A CLI that crashes: every third restart is a recovery.
//!
//! A reply that is not streamed runs again unseen, so hardly an error reaches a client: only with several slots can the
//! second try meet a crash as well.

use super::{Scenario, restarts};

/// Plain requests to a CLI of which every third process crashes in the middle of a turn.
#[must_use]
pub fn scenario() -> Scenario {
    Scenario {
        name: "crashes",
        about: "every third restart is a crash of the CLI",
        cli_flags: vec!["--mock-fault=crash@turn=2@every=3".to_owned()],
        // So many crashes in a row would otherwise take the server offline, which is another scenario's matter.
        server_flags: vec!["--max-failures=1000".to_owned()],
        recovering: 0.3,
        errors_allowed: 0.05,
        ..restarts::scenario()
    }
}
