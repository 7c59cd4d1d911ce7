//! Where in a request something stands.

use std::fmt;

use crate::text::prefix;

/// Longest field name in a path, in characters: the client can choose it.
const MAX_NAME_CHARS: usize = 64;

/// A place: on the stack while the parts around it are read.
#[derive(Debug, Clone, Copy)]
pub(super) enum Place<'a> {
    /// Where reading began; empty for the whole body.
    Root(&'a str),
    /// This field of an object.
    Field(&'a Place<'a>, &'a str),
    /// This element of a list.
    Element(&'a Place<'a>, usize),
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root(place) => f.write_str(place),
            Self::Field(Self::Root(""), name) => f.write_str(prefix(name, MAX_NAME_CHARS)),
            Self::Field(object, name) => write!(f, "{object}.{}", prefix(name, MAX_NAME_CHARS)),
            Self::Element(list, index) => write!(f, "{list}[{index}]"),
        }
    }
}
