//! The standard streams: stdin read by a thread of its own, stdout written in bursts.

use std::io::{BufRead, Write};
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TryRecvError, sync_channel};
use std::time::Duration;

/// Lines read ahead while a turn runs; a full queue stops the reading, as a full pipe would.
const READ_AHEAD: usize = 64;

/// A burst is written once it has this many bytes: a pipe takes 64 KiB, and a reader should see something before that.
const BURST: usize = 16 * 1024;

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
        std::thread::Builder::new().name("stdin".to_owned()).spawn(move || read(&sender))?;
        Ok(Self { lines })
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
    pub(super) fn peek(&self) -> Option<Inbound> {
        match self.lines.try_recv() {
            Ok(line) => Some(Inbound::Line(line)),
            Err(TryRecvError::Disconnected) => Some(Inbound::Closed),
            Err(TryRecvError::Empty) => None,
        }
    }
}

fn read(lines: &SyncSender<Vec<u8>>) {
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

/// Stdout, in bursts.
#[derive(Default)]
pub(super) struct Outbox {
    burst: Vec<u8>,
}

impl Outbox {
    pub(super) fn push(&mut self, line: &str) -> std::io::Result<()> {
        self.burst.extend_from_slice(line.as_bytes());
        self.burst.push(b'\n');
        if self.burst.len() < BURST { Ok(()) } else { self.flush() }
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
        self.burst.shrink_to(2 * BURST);
        Ok(())
    }
}

/// Writes a text to stdout; a reader that is gone is no failure.
pub(super) fn print(text: &str) -> ExitCode {
    drop(std::io::stdout().lock().write_all(text.as_bytes()));
    ExitCode::SUCCESS
}

/// Writes a line to stderr; a reader that is gone is no failure.
pub(super) fn complain(line: &str) {
    drop(writeln!(std::io::stderr().lock(), "{line}"));
}
