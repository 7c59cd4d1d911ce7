//! Calls of functions: whole and in pieces, some of them wrong at first, so that the server asks again.

use super::{Scenario, restarts};
use crate::load::reply_format::{Kind, Mix};

/// Every request describes functions, half of them want a stream, and half of them a call for certain.
#[must_use]
pub fn scenario() -> Scenario {
    Scenario {
        name: "tools",
        about: "calls of functions, of which a quarter is fenced and a fifth wrong at first",
        mix: Mix { kind: Kind::Calls, fenced: 0.25, wrong: 0.2 },
        streamed: 0.5,
        ..restarts::scenario()
    }
}
