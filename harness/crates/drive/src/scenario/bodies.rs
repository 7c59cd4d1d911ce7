//! Large bodies, many at a time: what they take is bounded in sum, and given back.

use super::{Scenario, restarts};

/// The size that each prompt is filled up to, in bytes.
const FILLER: usize = 3_000_000;

/// Twelve bodies of 3 MB at the same time, of which the server has room for five.
#[must_use]
pub fn scenario() -> Scenario {
    Scenario {
        name: "bodies",
        about: "12 bodies of 3 MB at a time, and room for 5 of them",
        connections: 12,
        filler: FILLER,
        // 16 MB have room for five bodies of 3 MB: the others have to wait.
        server_flags: vec!["--max-body-bytes=4000000".to_owned(), "--max-bodies-bytes=16000000".to_owned()],
        ..restarts::scenario()
    }
}
