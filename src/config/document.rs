//! A TOML file of the operator, of limited size. Every error names file and line.
//!
//! The file may contain keys, so errors never quote it, except for the names of its fields.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use toml::de::{DeTable, DeValue};

/// Largest file, in bytes.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// An error in a file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}{}: {message}", path.display(), line.map(|line| format!(":{line}")).unwrap_or_default())]
pub struct FileError {
    /// The file.
    pub path: PathBuf,
    /// The line, where there is one; the first is 1.
    pub line: Option<usize>,
    /// The problem and what to do.
    pub message: String,
}

/// A file that has been read.
pub(super) struct Document {
    path: PathBuf,
    text: String,
    /// Whether every user of this machine can read it.
    pub(super) readable_by_others: bool,
}

impl Document {
    /// Reads the file that `flag` names.
    pub(super) fn read(path: &Path, flag: &str) -> Result<Self, FileError> {
        let fail = |message: String| FileError { path: path.to_owned(), line: None, message };
        let unreadable = |error| fail(format!("cannot be read: {error}; {flag} needs a TOML file"));
        let file = File::open(path).map_err(unreadable)?;
        let readable_by_others = file.metadata().map_err(unreadable)?.mode() & 0o004 != 0;
        let mut bytes = Vec::new();
        file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes).map_err(unreadable)?;
        if bytes.len() as u64 > MAX_FILE_BYTES {
            return Err(fail(format!("is larger than {MAX_FILE_BYTES} bytes; {flag} needs a TOML file")));
        }
        let text = String::from_utf8(bytes).map_err(|_| fail(format!("is not UTF-8; {flag} needs a TOML file")))?;
        Ok(Self { path: path.to_owned(), text, readable_by_others })
    }

    /// Its entries, each with its place in the text.
    pub(super) fn parse_table(&self) -> Result<DeTable<'_>, FileError> {
        // The error's own text would show the line, and with it perhaps a key.
        let not_toml = |error: toml::de::Error| {
            self.error_at(error.span().map_or(0, |span| span.start), format!("is not valid TOML: {}", error.message()))
        };
        DeTable::parse(&self.text).map(toml::Spanned::into_inner).map_err(not_toml)
    }

    /// An error at the byte `at`.
    pub(super) fn error_at(&self, at: usize, message: impl Into<String>) -> FileError {
        FileError { path: self.path.clone(), line: Some(self.line_of(at)), message: message.into() }
    }

    /// An error about the whole file.
    pub(super) fn error(&self, message: impl Into<String>) -> FileError {
        FileError { path: self.path.clone(), line: None, message: message.into() }
    }

    /// The line of the byte `at`; the first is 1.
    pub(super) fn line_of(&self, at: usize) -> usize {
        1 + self.text.bytes().take(at).filter(|byte| *byte == b'\n').count()
    }
}

/// The type of a value, for messages.
pub(super) fn kind_of(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a decimal number",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "an array",
        DeValue::Table(_) => "a table",
    }
}
