//! Where in a request something stands.

use std::fmt;

use crate::text::prefix;

/// Longest field name in a path, in characters: the client can choose it.
const MAX_NAME_CHARS: usize = 64;

/// A path: on the stack while the parts around it are read.
#[derive(Debug, Clone, Copy)]
pub(super) enum JsonPath<'a> {
    /// Where reading began; empty for the whole body.
    Root(&'a str),
    /// This field of an object.
    Field(&'a JsonPath<'a>, &'a str),
    /// This element of a list.
    Element(&'a JsonPath<'a>, usize),
}

impl fmt::Display for JsonPath<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root(path) => f.write_str(path),
            Self::Field(Self::Root(""), name) => f.write_str(prefix(name, MAX_NAME_CHARS)),
            Self::Field(object, name) => write!(f, "{object}.{}", prefix(name, MAX_NAME_CHARS)),
            Self::Element(list, index) => write!(f, "{list}[{index}]"),
        }
    }
}
