//! A key that never shows itself: not in a log, not in an error, not in `--help`.

use std::ffi::OsStr;
use std::fmt;

use clap::builder::TypedValueParser;
use clap::error::ErrorKind;
use clap::{Arg, Command};

/// A longer key is refused, so that keys can be compared at one fixed length.
pub const LONGEST: usize = 1024;

/// A key that clients send. Without `Display` and with an empty `Debug`, so that it can't leak into a message.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Secret(String);

/// Why a text is not a valid key. Does not contain the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoSecret {
    /// An empty key.
    #[error("the key is empty")]
    Empty,
    /// `Authorization: Bearer KEY` can't carry it.
    #[error("the key contains a space or a control character; use letters, digits and punctuation")]
    Unsendable,
    /// Above [`LONGEST`].
    #[error("the key is longer than {LONGEST} bytes")]
    TooLong,
}

impl Secret {
    /// The key itself, to compare it with what a client sent.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

impl std::str::FromStr for Secret {
    type Err = NoSecret;

    fn from_str(text: &str) -> Result<Self, NoSecret> {
        if text.is_empty() {
            Err(NoSecret::Empty)
        } else if text.chars().any(|c| c.is_whitespace() || c.is_control()) {
            Err(NoSecret::Unsendable)
        } else if text.len() > LONGEST {
            Err(NoSecret::TooLong)
        } else {
            Ok(Self(text.to_owned()))
        }
    }
}

/// Reads a [`Secret`] from the command line. clap's own parser would repeat a wrong value in its message.
#[derive(Debug, Clone, Copy)]
pub(super) struct SecretParser;

impl TypedValueParser for SecretParser {
    type Value = Secret;

    fn parse_ref(&self, command: &Command, arg: Option<&Arg>, value: &OsStr) -> Result<Secret, clap::Error> {
        let parsed = value.to_str().ok_or(NoSecret::Unsendable).and_then(str::parse);
        parsed.map_err(|error| {
            let flag = arg.map(|arg| format!("--{}", arg.get_long().unwrap_or_default())).unwrap_or_default();
            let variable = arg.and_then(Arg::get_env).map(|name| format!(" or {}", name.to_string_lossy()));
            let message = format!("{flag}{}: {error}\n", variable.unwrap_or_default());
            clap::Error::raw(ErrorKind::ValueValidation, message).with_cmd(command)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_never_shows_itself_and_a_wrong_one_is_not_repeated() {
        let key: Secret = "s3cret".parse().unwrap();
        assert_eq!(format!("{key:?} {:#?}", Some(&key)), "Secret Some(\n    Secret,\n)");
        for (text, error) in [
            ("", NoSecret::Empty),
            ("two words", NoSecret::Unsendable),
            ("line\n", NoSecret::Unsendable),
            (&"x".repeat(LONGEST + 1), NoSecret::TooLong),
        ] {
            assert_eq!(text.parse::<Secret>(), Err(error));
        }
    }
}
