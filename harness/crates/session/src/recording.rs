//! Recorded sessions: what one process of the real CLI read, wrote and ended with.
//!
//! A recording is JSON Lines. Line 1 is the [`Header`]; every later line is one [`Event`]: `ms` since the spawn, and one
//! of `in`, `out`, `err` (a line without its newline) or `exit`. The bundled ones are compiled in, so that an installed
//! program needs no files. Knows nothing of the protocol inside the lines.

use std::collections::BTreeMap;
use std::path::Path;

use include_dir::{Dir, File, include_dir};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

static BUNDLED: Dir<'static> = include_dir!("$CARGO_MANIFEST_DIR/../../recordings");

/// The version of the file format that this build reads.
pub const FORMAT: u32 = 1;

/// One recorded process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// Line 1.
    pub header: Header,
    /// The later lines, in order.
    pub events: Vec<Event>,
}

/// Describes the recorded process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// [`FORMAT`].
    pub session: u32,
    /// The recording's name, which is also its file's.
    pub name: String,
    /// One sentence on what happens in it.
    pub about: String,
    /// The CLI's version.
    pub cli: String,
    /// The CLI's arguments, without the program.
    pub args: Vec<String>,
    /// Variables that were set beyond the recorder's defaults.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Kinds of what is usually scrubbed that were left in.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kept: Vec<String>,
}

/// One line that passed, or the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Milliseconds since the spawn.
    pub ms: u64,
    /// The line, or the end of the process.
    pub payload: Payload,
    /// How the line differs from what passed.
    pub flaws: Flaws,
}

/// Differences between a recorded line and the original bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flaws {
    /// The line was longer than the recorder's limit: its whole length in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cut: Option<u64>,
    /// Bytes that are no UTF-8 became U+FFFD.
    #[serde(default, skip_serializing_if = "is_false")]
    pub lossy: bool,
    /// There was no newline after it.
    #[serde(default, skip_serializing_if = "is_false")]
    pub open: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde wants it so")]
fn is_false(value: &bool) -> bool {
    !*value
}

/// The content of an [`Event`]; lines come without their newline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Payload {
    /// A line that the client wrote to stdin.
    In(String),
    /// A line from stdout.
    Out(String),
    /// A line from stderr.
    Err(String),
    /// The process is gone.
    Exit {
        /// How it ended.
        end: End,
        /// The cause of the end, in words.
        after: String,
        /// How much of each kind was scrubbed.
        removed: BTreeMap<String, u64>,
    },
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// The process exited with this code.
    Code(i32),
    /// This signal killed it.
    Signal(i32),
}

/// A bundled recording.
#[derive(Debug, Clone, Copy)]
pub struct BundledRecording {
    /// The CLI's version, which is the folder.
    pub version: &'static str,
    /// The file's name without its ending.
    pub name: &'static str,
    /// Its content is not touched before it is asked for: a mock that plays one must not page in all the others.
    file: &'static File<'static>,
}

/// Why a recording cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RecordingError {
    /// No bundled recording has this name.
    #[error("no recording is called `{spec}`; name a .jsonl file or one of: {known}")]
    Unknown {
        /// The requested name.
        spec: String,
        /// The names of the bundled recordings.
        known: String,
    },
    /// The file cannot be read.
    #[error("cannot read the recording {path}: {source}; check the path, or name a bundled recording")]
    Unreadable {
        /// The file.
        path: String,
        /// Why not.
        source: std::io::Error,
    },
    /// A line is not what the format says.
    #[error("{file}:{line}: {wrong}; mend the line or record the session again")]
    Malformed {
        /// The file, or `VERSION/NAME`.
        file: String,
        /// The line's number, from 1.
        line: usize,
        /// The problem.
        wrong: String,
    },
}

/// The bundled recordings, ordered by version and name.
pub fn list_bundled() -> Vec<BundledRecording> {
    let mut all: Vec<BundledRecording> = BUNDLED.dirs().flat_map(Dir::files).filter_map(to_bundled).collect();
    all.sort_by_key(|entry| (version_key(entry.version), entry.name));
    all
}

/// The bundled recording of this version and name.
pub fn find_bundled(version: &str, name: &str) -> Option<BundledRecording> {
    BUNDLED.get_file(format!("{version}/{name}.jsonl")).and_then(to_bundled)
}

/// Reads the recording that `spec` means: the path of a `.jsonl` file, `NAME` (its newest version) or `VERSION/NAME`.
pub fn load(spec: &str) -> Result<Session, RecordingError> {
    if Path::new(spec).extension().is_some_and(|ending| ending == "jsonl") {
        let text = std::fs::read_to_string(spec)
            .map_err(|source| RecordingError::Unreadable { path: spec.to_owned(), source })?;
        return parse(spec, &text);
    }
    let found = match spec.split_once('/') {
        Some((version, name)) => find_bundled(version, name),
        None => list_bundled().into_iter().rev().find(|entry| entry.name == spec),
    };
    found.map_or_else(|| Err(unknown_recording(spec)), |entry| entry.parse())
}

/// Parses a recording; `file` names it in errors.
pub fn parse(file: &str, text: &str) -> Result<Session, RecordingError> {
    let malformed = |line, wrong| RecordingError::Malformed { file: file.to_owned(), line, wrong };
    let mut lines = text.lines().enumerate().map(|(index, line)| (index + 1, line));
    let (_, first) = lines.next().ok_or_else(|| malformed(1, "the file is empty".to_owned()))?;
    let header: Header =
        serde_json::from_str(first).map_err(|error| malformed(1, format!("this is no session header ({error})")))?;
    if header.session != FORMAT {
        let wrong = format!("format {} is not known, this build reads format {FORMAT}", header.session);
        return Err(malformed(1, wrong));
    }
    let mut events: Vec<Event> = Vec::new();
    for (number, line) in lines {
        if matches!(events.last(), Some(Event { payload: Payload::Exit { .. }, .. })) {
            return Err(malformed(number, "nothing may follow the exit".to_owned()));
        }
        events.push(Event::parse(line).map_err(|wrong| malformed(number, wrong))?);
    }
    Ok(Session { header, events })
}

impl BundledRecording {
    /// The file's content.
    pub fn text(&self) -> &'static str {
        self.file.contents_utf8().unwrap_or_default()
    }

    /// Parses it.
    pub fn parse(&self) -> Result<Session, RecordingError> {
        parse(&format!("{}/{}", self.version, self.name), self.text())
    }
}

impl Payload {
    /// The line that passed.
    #[must_use]
    pub fn text(&self) -> &str {
        match self {
            Self::In(line) | Self::Out(line) | Self::Err(line) => line,
            Self::Exit { .. } => "",
        }
    }
}

impl Event {
    /// Reads a line of the file; the error says what is wrong with it.
    pub fn parse(line: &str) -> Result<Self, String> {
        let raw: RawEvent = serde_json::from_str(line).map_err(|error| format!("this is no event ({error})"))?;
        let (after, removed) = (raw.after.unwrap_or_default(), raw.removed);
        let found: Vec<Payload> = [
            raw.input.map(Payload::In),
            raw.out.map(Payload::Out),
            raw.err.map(Payload::Err),
            raw.exit.map(|end| Payload::Exit { end, after, removed }),
        ]
        .into_iter()
        .flatten()
        .collect();
        match <[Payload; 1]>::try_from(found) {
            Ok([payload]) => Ok(Self { ms: raw.ms, payload, flaws: raw.flaws }),
            Err(found) => Err(format!("an event has one of in, out, err and exit, this one has {}", found.len())),
        }
    }

    /// The event as a line of the file.
    #[must_use]
    pub fn to_line(&self) -> String {
        let mut fields = Map::new();
        fields.insert("ms".to_owned(), self.ms.into());
        match &self.payload {
            Payload::In(line) => drop(fields.insert("in".to_owned(), line.as_str().into())),
            Payload::Out(line) => drop(fields.insert("out".to_owned(), line.as_str().into())),
            Payload::Err(line) => drop(fields.insert("err".to_owned(), line.as_str().into())),
            Payload::Exit { end, after, removed } => {
                fields.insert("exit".to_owned(), json!(end));
                fields.insert("after".to_owned(), after.as_str().into());
                if !removed.is_empty() {
                    fields.insert("removed".to_owned(), json!(removed));
                }
            }
        }
        if let Value::Object(flaws) = json!(self.flaws) {
            fields.extend(flaws);
        }
        Value::Object(fields).to_string()
    }
}

impl Session {
    /// The session as a file.
    #[must_use]
    pub fn to_jsonl(&self) -> String {
        let lines = std::iter::once(json!(self.header).to_string()).chain(self.events.iter().map(Event::to_line));
        lines.map(|line| line + "\n").collect()
    }

    /// How the recorded process ended, if the recording goes that far.
    pub fn end(&self) -> Option<End> {
        self.events.iter().find_map(|event| match event.payload {
            Payload::Exit { end, .. } => Some(end),
            _ => None,
        })
    }
}

/// An event as it is written in the file.
#[derive(Deserialize)]
struct RawEvent {
    ms: u64,
    #[serde(rename = "in")]
    input: Option<String>,
    out: Option<String>,
    err: Option<String>,
    exit: Option<End>,
    after: Option<String>,
    #[serde(default)]
    removed: BTreeMap<String, u64>,
    #[serde(flatten)]
    flaws: Flaws,
}

fn to_bundled(file: &'static File<'static>) -> Option<BundledRecording> {
    let path = file.path();
    Some(BundledRecording { version: path.parent()?.to_str()?, name: path.file_stem()?.to_str()?, file })
}

fn unknown_recording(spec: &str) -> RecordingError {
    let known: Vec<String> = list_bundled().iter().map(|entry| format!("{}/{}", entry.version, entry.name)).collect();
    RecordingError::Unknown { spec: spec.to_owned(), known: known.join(", ") }
}

/// Orders versions by number: 2.1.330 comes after 2.1.19.
fn version_key(version: &str) -> Vec<u64> {
    version.split('.').map(|part| part.parse().unwrap_or(0)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str = r#"{"session":1,"name":"n","about":"a","cli":"1.0","args":[],"env":{}}"#;

    fn error(text: &str) -> String {
        parse("f.jsonl", text).expect_err("must not parse").to_string()
    }

    #[test]
    fn every_bundled_recording_parses_and_has_an_end() {
        assert!(list_bundled().len() > 30);
        for entry in list_bundled() {
            let session = entry.parse().expect("bundled recordings are well-formed");
            assert_eq!((session.header.cli.as_str(), session.header.name.as_str()), (entry.version, entry.name));
            assert!(session.end().is_some(), "{}", entry.name);
        }
    }

    #[test]
    fn a_bare_name_means_the_newest_version() {
        assert_eq!(load("ten-turns").expect("bundled").header.cli, "2.1.330");
        assert_eq!(load("2.1.19/ten-turns").expect("bundled").header.cli, "2.1.19");
    }

    #[test]
    fn an_unknown_name_lists_what_exists() {
        let message = load("no-such").expect_err("unknown").to_string();
        assert!(message.contains("`no-such`") && message.contains("2.1.19/ten-turns"), "{message}");
    }

    #[test]
    fn errors_name_the_file_the_line_and_the_fault() {
        assert_eq!(error(""), "f.jsonl:1: the file is empty; mend the line or record the session again");
        assert!(error("{}").starts_with("f.jsonl:1: this is no session header (missing field"));
        assert!(error(&HEADER.replace(":1,", ":2,")).contains("format 2 is not known, this build reads format 1"));
        assert!(error(&format!("{HEADER}\n{{\"ms\":1}}")).contains(":2: an event has one of in, out, err and exit"));
        assert!(error(&format!("{HEADER}\n{{\"ms\":1,\"in\":\"\",\"out\":\"\"}}")).contains("this one has 2"));
        let after_exit = "{\"ms\":1,\"exit\":{\"code\":0}}\n{\"ms\":2,\"out\":\"\"}";
        assert!(error(&format!("{HEADER}\n{after_exit}")).contains(":3: nothing may follow the exit"));
    }
}
