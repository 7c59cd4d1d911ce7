//! The recording's file: named, scrubbed, written line by line. A disk that fails ends the recording, not the session.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{DirBuilder, File};
use std::io::{BufRead, BufReader, BufWriter, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::RecordOptions;
use super::lines::{CapturedLine, Channel, MAX_LINE_BYTES};
use super::queue::Queue;
use crate::recording::{End, Event, FORMAT, Flaws, Header, Payload};
use crate::scrub::{HostInfo, Scrubber, StreamScrubber};

/// A recording ends here: what is larger was not meant to be one.
const MAX_RECORDING_BYTES: u64 = 512 * 1024 * 1024;

/// Variables that change what the CLI does.
const RECORDED_VARIABLES: [&str; 6] = ["ANTHROPIC_", "CLAUDE", "MOCK_CLAUDE_", "MCP_", "DISABLE_", "API_"];

/// Lines wait until the CLI has told its version, which the header holds; the first turn tells it.
const MAX_BYTES_BEFORE_HEADER: usize = 1024 * 1024;

/// One recording, being written.
pub(super) struct RecordingWriter {
    path: PathBuf,
    file: File,
    stream: StreamScrubber,
    header: Header,
    started: Instant,
    /// The time of the last event: the streams are read side by side, and time does not run backwards in a recording.
    latest: u64,
    /// Lines before the header is written.
    waiting: Option<String>,
    written: u64,
    broken: Option<String>,
}

impl RecordingWriter {
    /// Makes the file, before anything is started. An error says why there is no recording.
    pub(super) fn create(options: &RecordOptions, shim: u32) -> Result<Self, String> {
        let (path, file) = create_file(&options.out, shim).map_err(|error| {
            format!(
                "leakgate: there is no recording: cannot make a file in {}: {error}; the session was passed on unchanged; \
                 choose another folder with --out",
                options.out.display()
            )
        })?;
        let mut scrubber = Scrubber::new(&read_host_info(), &options.keep);
        let header = make_header(options, &path, &mut scrubber);
        Ok(Self {
            path,
            file,
            stream: StreamScrubber::new(scrubber),
            header,
            started: Instant::now(),
            latest: 0,
            waiting: Some(String::new()),
            written: 0,
            broken: None,
        })
    }

    /// Nothing was started, so there is nothing to keep.
    pub(super) fn discard_file(self) {
        let _ = std::fs::remove_file(self.path);
    }

    /// Writes whatever comes until the queue is closed.
    pub(super) fn write_queued(&mut self, queue: &Queue) {
        while let Some(passed) = queue.next() {
            let event = self.make_event(passed);
            match self.stream.push(event) {
                Some(events) => self.write_events(&events),
                None => self.fail("a text in pieces is too large to be scrubbed"),
            }
            if self.broken.is_some() {
                return queue.give_up();
            }
        }
        if queue.has_given_up() {
            self.fail("the disk or the scrubbing could not keep up");
        }
    }

    /// Writes the end. An error says why the recording is not whole.
    pub(super) fn finish(mut self, end: End, after: String) -> Result<(), String> {
        if self.broken.is_none() {
            let rest = self.stream.finish();
            self.write_events(&rest);
        }
        let removed = removed_counts(self.stream.scrubber());
        let ms = self.elapsed_ms(Instant::now());
        let exit = Event { ms, payload: Payload::Exit { end, after, removed }, flaws: Flaws::default() };
        if self.broken.is_none() {
            self.write_events(&[exit]);
            self.write_header();
        }
        if self.broken.is_none() && self.stream.scrubber().has_learned() {
            self.scrub_again();
        }
        if self.broken.is_some() && self.written == 0 {
            // An empty file is no recording.
            let _ = std::fs::remove_file(&self.path);
        }
        match self.broken {
            None => Ok(()),
            Some(why) => Err(format!(
                "leakgate: the recording {} ends early: {why}; the session was passed on unchanged",
                self.path.display()
            )),
        }
    }

    fn elapsed_ms(&mut self, at: Instant) -> u64 {
        let ms = u64::try_from(at.saturating_duration_since(self.started).as_millis()).unwrap_or(u64::MAX);
        self.latest = self.latest.max(ms);
        self.latest
    }

    fn make_event(&mut self, passed: CapturedLine) -> Event {
        let ms = self.elapsed_ms(passed.at);
        let (mut line, lossy) = match String::from_utf8(passed.bytes) {
            Ok(line) => (line, false),
            Err(error) => (String::from_utf8_lossy(error.as_bytes()).into_owned(), true),
        };
        if passed.flaws.cut.is_some() {
            line = self.stream.scrubber().scrub_text(&line);
            line.truncate(line.floor_char_boundary(MAX_LINE_BYTES));
        }
        if self.header.cli == UNKNOWN_VERSION && passed.channel == Channel::Out {
            self.learn_version(&line);
        }
        let payload = match passed.channel {
            Channel::In => Payload::In(line),
            Channel::Out => Payload::Out(line),
            Channel::Err => Payload::Err(line),
        };
        Event { ms, payload, flaws: Flaws { lossy, ..passed.flaws } }
    }

    fn learn_version(&mut self, line: &str) {
        let version = line.contains("claude_code_version").then(|| serde_json::from_str::<Value>(line).ok()).flatten();
        if let Some(version) = version.as_ref().and_then(|line| line.get("claude_code_version")?.as_str()) {
            version.clone_into(&mut self.header.cli);
        }
    }

    fn write_events(&mut self, events: &[Event]) {
        let lines: String = events.iter().map(|event| event.to_line() + "\n").collect();
        match &mut self.waiting {
            Some(waiting) => {
                waiting.push_str(&lines);
                if self.header.cli != UNKNOWN_VERSION || waiting.len() > MAX_BYTES_BEFORE_HEADER {
                    self.write_header();
                }
            }
            None => self.append_text(&lines),
        }
    }

    fn write_header(&mut self) {
        if let Some(waiting) = self.waiting.take() {
            let header = json!(self.header).to_string() + "\n";
            self.append_text(&(header + &waiting));
        }
    }

    fn append_text(&mut self, text: &str) {
        if self.written + text.len() as u64 > MAX_RECORDING_BYTES {
            self.fail("it is larger than 512 MiB");
        } else if let Err(error) = self.file.write_all(text.as_bytes()) {
            // Whole lines only, so that what there is can be read.
            let _ = self.file.set_len(self.written);
            self.fail(&error.to_string());
        } else {
            self.written += text.len() as u64;
        }
    }

    fn fail(&mut self, why: &str) {
        self.broken.get_or_insert_with(|| why.to_owned());
    }

    /// A secret that was recognised late may stand in an earlier line: the file once more, knowing what is known now.
    fn scrub_again(&mut self) {
        if let Err(error) = self.write_again() {
            // Rather no recording than one with a secret that is known to be one.
            let _ = std::fs::remove_file(&self.path);
            self.fail(&format!("it could not be scrubbed a second time ({error}) and was removed"));
        }
    }

    fn write_again(&mut self) -> std::io::Result<()> {
        self.file.seek(SeekFrom::Start(0))?;
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        // It has the same rights: nobody's but ours.
        let mut again = tempfile::NamedTempFile::new_in(folder)?;
        let mut out = BufWriter::new(&mut again);
        for (index, line) in BufReader::new(&self.file).lines().enumerate() {
            let line = line?;
            if index == 0 {
                writeln!(out, "{}", self.stream.scrubber().scrub_text(&line))?;
                continue;
            }
            let event = Event::parse(&line).map_err(std::io::Error::other)?;
            let ready = self.stream.push(event).ok_or_else(|| std::io::Error::other("a text is too large"))?;
            for mut event in ready {
                if let Payload::Exit { removed: count, .. } = &mut event.payload {
                    *count = removed_counts(self.stream.scrubber());
                }
                writeln!(out, "{}", event.to_line())?;
            }
        }
        out.flush()?;
        drop(out);
        again.persist(&self.path).map_err(|error| error.error)?;
        Ok(())
    }
}

/// The version until the CLI has told it.
const UNKNOWN_VERSION: &str = "unknown";

fn removed_counts(scrubber: &Scrubber) -> BTreeMap<String, u64> {
    scrubber.removed_counts().iter().map(|(kind, count)| (kind.to_string(), *count)).collect()
}

/// Makes a file of its own for this session: a wrapper starts many CLIs.
fn create_file(folder: &Path, shim: u32) -> std::io::Result<(PathBuf, File)> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let path = folder.join(format!("session-{}.{:03}-{shim}.jsonl", since.as_secs(), since.subsec_millis()));
    let file = File::options().read(true).write(true).create_new(true).mode(0o600).open(&path)?;
    Ok((path, file))
}

fn make_header(options: &RecordOptions, path: &Path, scrubber: &mut Scrubber) -> Header {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let arguments: Vec<String> =
        options.command.iter().skip(1).map(|word| word.to_string_lossy().into_owned()).collect();
    let env = std::env::vars_os().map(|(name, value)| (to_lossy(&name), to_lossy(&value)));
    let env = env.filter(|(name, _)| RECORDED_VARIABLES.iter().any(|prefix| name.starts_with(prefix)));
    Header {
        session: FORMAT,
        name: stem,
        about: scrubber.scrub_text(&options.about),
        cli: UNKNOWN_VERSION.to_owned(),
        args: scrubber.scrub_arguments(&arguments),
        env: env.map(|(name, value)| (name.clone(), scrubber.scrub_value(&name, &value))).collect(),
        kept: options.keep.iter().map(ToString::to_string).collect(),
    }
}

fn read_host_info() -> HostInfo {
    let variable = |name| std::env::var_os(name).map(|value| to_lossy(&value));
    HostInfo {
        home: variable("HOME"),
        directory: std::env::current_dir().ok().map(|folder| to_lossy(folder.as_os_str())),
        user: variable("USER").or_else(|| variable("LOGNAME")),
        host: rustix::system::uname().nodename().to_str().ok().map(str::to_owned),
        variables: std::env::vars_os().map(|(name, value)| (to_lossy(&name), to_lossy(&value))).collect(),
    }
}

fn to_lossy(text: &OsStr) -> String {
    text.to_string_lossy().into_owned()
}
