//! The standard streams: stdin read by a thread of its own, stdout written in bursts.

use std::io::{BufRead, IsTerminal, Read, Write};
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TryRecvError, sync_channel};
use std::time::Duration;

use serde_json::Value;

use super::call::OutputFormat;

/// Lines read ahead while a turn runs; a full queue stops the reading, as a full pipe would.
const READ_AHEAD: usize = 64;

/// A burst is written once it has this many bytes: a pipe takes 64 KiB, and a reader should see something before that.
const BURST_BYTES: usize = 16 * 1024;

/// How long a single prompt waits for the first byte of stdin.
const MAX_STDIN_WAIT: Duration = Duration::from_secs(3);

/// What a result does not have in another format than lines.
const ONLY_IN_LINES: [&str; 2] = ["begun_message_ids", "model_usage_since_last_result"];

/// What came from stdin.
pub(super) enum Inbound {
    /// A line, without its newline.
    Line(Vec<u8>),
    /// The end: no line will follow.
    Closed,
}

/// Stdin, line by line.
pub(super) struct Inbox {
    lines: Receiver<Vec<u8>>,
}

impl Inbox {
    pub(super) fn open() -> std::io::Result<Self> {
        let (sender, lines) = sync_channel(READ_AHEAD);
        std::thread::Builder::new().name("stdin".to_owned()).spawn(move || read_lines(&sender))?;
        Ok(Self { lines })
    }

    /// One that nothing comes from.
    pub(super) fn empty() -> Self {
        Self { lines: sync_channel(1).1 }
    }

    /// Waits for the next line.
    pub(super) fn wait(&self) -> Inbound {
        self.lines.recv().map_or(Inbound::Closed, Inbound::Line)
    }

    /// Waits for the next line, but no longer than this.
    pub(super) fn wait_for(&self, longest: Duration) -> Option<Inbound> {
        match self.lines.recv_timeout(longest) {
            Ok(line) => Some(Inbound::Line(line)),
            Err(RecvTimeoutError::Disconnected) => Some(Inbound::Closed),
            Err(RecvTimeoutError::Timeout) => None,
        }
    }

    /// The next line, if it is there already.
    pub(super) fn try_next(&self) -> Option<Inbound> {
        match self.lines.try_recv() {
            Ok(line) => Some(Inbound::Line(line)),
            Err(TryRecvError::Disconnected) => Some(Inbound::Closed),
            Err(TryRecvError::Empty) => None,
        }
    }
}

fn read_lines(lines: &SyncSender<Vec<u8>>) {
    let mut stdin = std::io::stdin().lock();
    loop {
        let mut line = Vec::new();
        match stdin.read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => return,
            Ok(_) => line.pop_if(|last| *last == b'\n'),
        };
        if lines.send(line).is_err() {
            return;
        }
    }
}

/// All of stdin, as a part of a single prompt; nothing where it is a terminal. A caller who has `prompt` already is not
/// waited for longer than the CLI waits.
pub(super) fn read_all() -> std::io::Result<String> {
    if std::io::stdin().is_terminal() {
        return Ok(String::new());
    }
    let (sender, parts) = sync_channel(1);
    std::thread::Builder::new().name("stdin".to_owned()).spawn(move || {
        let mut stdin = std::io::stdin().lock();
        let first = stdin.fill_buf().map(<[u8]>::len);
        drop(sender.send(Vec::new()));
        let mut all = Vec::new();
        let read = first.and_then(|_| stdin.read_to_end(&mut all));
        drop(sender.send(read.map(|_| all).unwrap_or_default()));
    })?;
    if parts.recv_timeout(MAX_STDIN_WAIT).is_err() {
        print_error("Warning: no stdin data received in 3s, proceeding without it.");
        return Ok(String::new());
    }
    Ok(String::from_utf8_lossy(&parts.recv().unwrap_or_default()).into_owned())
}

/// Stdout, in bursts.
pub(super) struct Outbox {
    burst: Vec<u8>,
    format: OutputFormat,
    /// Lines that are written at the end, in another format.
    held: Vec<String>,
}

impl Outbox {
    pub(super) fn new(format: OutputFormat) -> Self {
        Self { burst: Vec::new(), format, held: Vec::new() }
    }

    pub(super) fn push_line(&mut self, line: &str) -> std::io::Result<()> {
        match self.format {
            OutputFormat::Lines => self.write(line),
            OutputFormat::Array => {
                self.held.push(line.to_owned());
                Ok(())
            }
            OutputFormat::Text | OutputFormat::Json => {
                if serde_json::from_str::<Value>(line).is_ok_and(|message| message["type"] == "result") {
                    self.held = vec![line.to_owned()];
                }
                Ok(())
            }
        }
    }

    /// Writes what was held back, in its format.
    pub(super) fn finish(&mut self) -> std::io::Result<()> {
        let mut messages: Vec<Value> =
            std::mem::take(&mut self.held).iter().filter_map(|line| serde_json::from_str(line).ok()).collect();
        for message in messages.iter_mut().filter_map(Value::as_object_mut) {
            message.retain(|key, _| !ONLY_IN_LINES.contains(&key.as_str()));
        }
        let last = messages.last();
        match (self.format, last) {
            (OutputFormat::Text, Some(result)) => {
                let text = result["result"].as_str().or(result["subtype"].as_str()).unwrap_or_default().to_owned();
                self.write(&text)?;
            }
            (OutputFormat::Json, Some(result)) => self.write(&result.to_string())?,
            (OutputFormat::Array, Some(_)) => self.write(&Value::from(messages).to_string())?,
            (OutputFormat::Lines, _) | (_, None) => {}
        }
        self.flush()
    }

    fn write(&mut self, line: &str) -> std::io::Result<()> {
        self.burst.extend_from_slice(line.as_bytes());
        self.burst.push(b'\n');
        if self.burst.len() < BURST_BYTES { Ok(()) } else { self.flush() }
    }

    pub(super) fn flush(&mut self) -> std::io::Result<()> {
        if self.burst.is_empty() {
            return Ok(());
        }
        let mut stdout = std::io::stdout().lock();
        stdout.write_all(&self.burst)?;
        stdout.flush()?;
        self.burst.clear();
        // A reply of megabytes must not stay in the memory that --mock-rss accounts for.
        self.burst.shrink_to(2 * BURST_BYTES);
        Ok(())
    }
}

/// Writes a text to stdout; a reader that is gone is no failure.
pub(super) fn print_text(text: &str) -> ExitCode {
    drop(std::io::stdout().lock().write_all(text.as_bytes()));
    ExitCode::SUCCESS
}

/// Writes a line to stderr, in one piece; a reader that is gone is no failure.
pub(super) fn print_error(line: &str) {
    drop(std::io::stderr().lock().write_all(format!("{line}\n").as_bytes()));
}
