//! JSON of a schema: some of it in a Markdown fence, some of it wrong at first, so that the server asks again.

use super::{Scenario, restarts};
use crate::load::reply_format::{Kind, Mix};

/// Every request asks for JSON of a schema, half of them as a stream.
#[must_use]
pub fn scenario() -> Scenario {
    Scenario {
        name: "structured",
        about: "JSON of a schema, of which a quarter is fenced and a fifth wrong at first",
        mix: Mix { kind: Kind::Json, fenced: 0.25, wrong: 0.2 },
        streamed: 0.5,
        ..restarts::scenario()
    }
}
