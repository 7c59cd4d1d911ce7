//! The keys that clients may send, and what each is allowed: `--api-key`, and the file of `--api-key-file`.
//!
//! ```toml
//! [[key]]
//! name = "nightly"
//! key = "…"
//! concurrency = 4
//! queue = 50
//! requests-per-minute = 120
//! admin = true
//! ```
//!
//! The routes below `/admin/` need an admin key. With a key file, only its keys with `admin = true` are admin keys. With
//! `--api-key` alone, that key is one. Without keys, every program on this machine may use these routes.

use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::document::{Document, FileError, kind_of};
use super::secret::Secret;

/// The name of the key of `--api-key`.
pub const SINGLE: &str = "default";

/// How many requests of a key with `concurrency` may wait if its `queue` is not set.
pub const DEFAULT_QUEUE: u32 = 100;

/// The longest name, in bytes: it is a label in the log and in the metrics.
const MAX_NAME_BYTES: usize = 64;

/// A key that clients may send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// The key's name in the log.
    pub name: String,
    /// The bearer token.
    pub key: Secret,
    /// The key's limits.
    pub limits: KeyLimits,
    /// Whether the key may use the routes below `/admin/`.
    pub admin: bool,
}

/// Limits of a key; unlimited by default.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct KeyLimits {
    /// How many of its requests are served at the same time, and how many more may wait for that.
    pub concurrency: Option<(NonZeroU32, u32)>,
    /// How many requests it may send in any minute.
    pub requests_per_minute: Option<NonZeroU32>,
}

/// Every key that clients may send.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Keyring {
    /// The key of `--api-key` first, then those of the file in their order.
    pub keys: Vec<Key>,
    /// The key file, if every user of this machine can read it.
    pub shown_by: Option<PathBuf>,
}

/// Reads the file, once; `single` is the key of `--api-key`, which no key of the file may repeat.
pub(super) fn read_keys(path: &Path, single: Option<&Secret>) -> Result<Keyring, FileError> {
    let document = Document::read(path, "--api-key-file")?;
    let mut found: Vec<(usize, Key)> = Vec::new();
    for (field, value) in document.parse_table()? {
        let DeValue::Array(tables) = value.get_ref() else {
            return Err(
                document.error_at(field.span().start, "unexpected entry; write one `[[key]]` table for each key")
            );
        };
        if field.get_ref() != "key" {
            return Err(
                document.error_at(field.span().start, "unexpected entry; write one `[[key]]` table for each key")
            );
        }
        for table in tables {
            let DeValue::Table(fields) = table.get_ref() else {
                return Err(document.error_at(
                    table.span().start,
                    "`key` must be an array of tables; write one `[[key]]` table for each key",
                ));
            };
            let at = table.span().start;
            let key = Entry { document: &document, at, fields }.read_key()?;
            check_new(&document, at, &key, &found, single)?;
            found.push((document.line_of(at), key));
        }
    }
    if found.is_empty() {
        return Err(document.error("contains no keys; add a `[[key]]` table with a `name` and a `key`"));
    }
    let keys = found.into_iter().map(|(_, key)| key).collect();
    Ok(Keyring { keys, shown_by: document.readable_by_others.then(|| path.to_owned()) })
}

/// Names and keys are told apart; a key in a name's place must not be shown either, so only lines are named.
fn check_new(
    document: &Document,
    at: usize,
    key: &Key,
    found: &[(usize, Key)],
    single: Option<&Secret>,
) -> Result<(), FileError> {
    let complain = |message: String| Err(document.error_at(at, message));
    if let Some((line, _)) = found.iter().find(|(_, other)| other.name == key.name) {
        return complain(format!("this key has the same name as the one in line {line}"));
    }
    if let Some((line, _)) = found.iter().find(|(_, other)| other.key == key.key) {
        return complain(format!("this key is the same as the one in line {line}"));
    }
    if single.is_some() && key.name == SINGLE {
        return complain(format!("the name `{SINGLE}` is reserved for the key of --api-key; choose another"));
    }
    if single == Some(&key.key) {
        return complain("this key is the same as the one of --api-key".to_owned());
    }
    Ok(())
}

/// One `[[key]]`.
struct Entry<'a> {
    document: &'a Document,
    at: usize,
    fields: &'a DeTable<'a>,
}

impl Entry<'_> {
    fn read_key(&self) -> Result<Key, FileError> {
        const KNOWN: [&str; 6] = ["name", "key", "concurrency", "queue", "requests-per-minute", "admin"];
        if let Some((field, _)) = self.fields.iter().find(|(field, _)| !KNOWN.contains(&with_dashes(field).as_str())) {
            let message = format!("unknown field; the fields of a key are {}", KNOWN.join(", "));
            return Err(self.document.error_at(field.span().start, message));
        }
        let (at, name) = self.read_text("name")?;
        if name.is_empty() || name.len() > MAX_NAME_BYTES || !name.chars().all(is_plain) {
            let message = format!("`name` must be 1 to {MAX_NAME_BYTES} letters, digits, `.`, `_` or `-`");
            return Err(self.document.error_at(at, message));
        }
        let (at, key) = self.read_text("key")?;
        let key = key.parse().map_err(|error| self.document.error_at(at, format!("`key`: {error}")))?;
        let queue = self.read_number("queue", 0)?;
        let concurrency = self.read_number("concurrency", 1)?.and_then(|(_, most)| NonZeroU32::new(most));
        let concurrency = match (concurrency, queue) {
            (Some(most), queue) => Some((most, queue.map_or(DEFAULT_QUEUE, |(_, queue)| queue))),
            (None, None) => None,
            (None, Some((at, _))) => {
                return Err(self.document.error_at(at, "`queue` has no effect without `concurrency`; set both"));
            }
        };
        let requests_per_minute =
            self.read_number("requests-per-minute", 1)?.and_then(|(_, most)| NonZeroU32::new(most));
        let admin = self.read_flag("admin")?;
        Ok(Key { name, key, limits: KeyLimits { concurrency, requests_per_minute }, admin })
    }

    fn find_field(&self, name: &str) -> Option<&Spanned<DeValue<'_>>> {
        self.fields.iter().find(|(field, _)| with_dashes(field) == name).map(|(_, value)| value)
    }

    fn read_text(&self, name: &str) -> Result<(usize, String), FileError> {
        match self.find_field(name).map(|value| (value.span().start, value.get_ref())) {
            Some((at, DeValue::String(text))) => Ok((at, text.clone().into_owned())),
            Some((at, other)) => {
                Err(self.document.error_at(at, format!("`{name}` must be a string in quotes, not {}", kind_of(other))))
            }
            None => Err(self.document.error_at(self.at, format!("this key has no `{name}`"))),
        }
    }

    /// False where it is not set.
    fn read_flag(&self, name: &str) -> Result<bool, FileError> {
        match self.find_field(name).map(|value| (value.span().start, value.get_ref())) {
            Some((_, DeValue::Boolean(on))) => Ok(*on),
            Some((at, other)) => {
                Err(self.document.error_at(at, format!("`{name}` must be true or false, not {}", kind_of(other))))
            }
            None => Ok(false),
        }
    }

    fn read_number(&self, name: &str, least: u32) -> Result<Option<(usize, u32)>, FileError> {
        let Some(value) = self.find_field(name) else { return Ok(None) };
        let number = match value.get_ref() {
            DeValue::Integer(digits) => u32::from_str_radix(digits.as_str(), digits.radix()).ok(),
            _ => None,
        };
        let at = value.span().start;
        let complain =
            || self.document.error_at(at, format!("`{name}` must be a whole number from {least} to {}", u32::MAX));
        number.filter(|number| *number >= least).map(|number| Some((at, number))).ok_or_else(complain)
    }
}

fn with_dashes(field: &Spanned<std::borrow::Cow<'_, str>>) -> String {
    field.get_ref().replace('_', "-")
}

fn is_plain(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-')
}
