//! The log, and everything else that this process writes to stderr.
//!
//! Serving and stopping never wait for the reader of stderr. Lines go into a bounded queue, and one thread of its own writes
//! them; only that thread waits for a full pipe, a stopped terminal or a slow disk. A line that finds the queue full, or
//! that can't be written (the reader is gone, the disk is full), is lost and counted ([`lost_lines`]); once lines can be
//! written again, a line in the gap says how many were lost. At the end of the process the rest of the queue has
//! [`EXIT_FLUSH_TIMEOUT`] to be written.
//!
//! Why not `tracing-appender`: its thread drops a line that can't be written without counting it, its queue counts lines
//! and not bytes, and its guard prints to stdout and stderr at the end, where that may block or panic.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::io;
use std::io::{IsTerminal, Write};
use std::panic::PanicHookInfo;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use tracing::{Level, Subscriber};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry};

mod filter;
mod queue;
mod stderr;

pub use filter::LogFilter;
use queue::LineQueue;
use stderr::Stderr;

/// How long the process waits at its end until the last lines are written. A healthy reader takes milliseconds.
pub const EXIT_FLUSH_TIMEOUT: Duration = Duration::from_secs(2);

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// One readable line an event.
    Text,
    /// One JSON object a line.
    Json,
}

/// The process has one stderr, and `tracing` one subscriber.
static QUEUE: OnceLock<LineQueue> = OnceLock::new();

/// Lines that were lost since the start, because the queue was full or because they could not be written.
#[must_use]
pub fn lost_lines() -> u64 {
    QUEUE.get().map_or(0, LineQueue::lost_lines)
}

/// Lines that are logged are written as long as this lives. Dropping it waits for the last of them, [`EXIT_FLUSH_TIMEOUT`] at most.
#[derive(Debug)]
pub struct LogGuard(());

impl Drop for LogGuard {
    fn drop(&mut self) {
        if let Some(queue) = QUEUE.get() {
            queue.flush(EXIT_FLUSH_TIMEOUT);
        }
    }
}

/// Sends what is logged from now on, panics included, through a queue to stderr. To be called once.
pub fn start(filter: &LogFilter, format: LogFormat) -> io::Result<LogGuard> {
    let queue = QUEUE.get_or_init(LineQueue::default);
    let ansi = io::stderr().is_terminal();
    // It writes until the process ends: what it waits for may never come.
    let write = move || queue.write_to(&mut Stderr, |lost| loss_note(format, ansi, lost));
    std::thread::Builder::new().name("log".to_owned()).spawn(write)?;
    tracing_subscriber::registry().with(filter.targets()).with(format_layer(format, ansi, move || queue)).init();
    std::panic::set_hook(Box::new(move |info| log_panic(queue, info)));
    Ok(LogGuard(()))
}

fn format_layer<S, W, M>(format: LogFormat, ansi: bool, writer: M) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: Write,
    M: Fn() -> W + Send + Sync + 'static,
{
    // Its own complaints would go to stderr past the queue, and panic where stderr is closed.
    let layer = tracing_subscriber::fmt::layer().with_writer(writer).with_ansi(ansi).log_internal_errors(false);
    match format {
        LogFormat::Text => layer.boxed(),
        LogFormat::Json => layer.json().boxed(),
    }
}

/// The line in place of lost lines. The filter does not apply to it.
fn loss_note(format: LogFormat, ansi: bool, lost: u64) -> Vec<u8> {
    let line = Arc::new(Mutex::new(Vec::new()));
    let written = Arc::clone(&line);
    let subscriber = Registry::default().with(format_layer(format, ansi, move || Shared(Arc::clone(&written))));
    tracing::subscriber::with_default(subscriber, || {
        tracing::warn!(lines = lost, "log lines were lost here: they could not be written, or not soon enough");
    });
    std::mem::take(&mut *line.lock().unwrap_or_else(PoisonError::into_inner))
}

/// Collects what is written.
struct Shared(Arc<Mutex<Vec<u8>>>);

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The standard hook writes to stderr itself, and waits for its reader.
fn log_panic(queue: &LineQueue, info: &PanicHookInfo<'_>) {
    let message = info.payload_as_str().unwrap_or("(no text)");
    let location = info.location().map(ToString::to_string);
    let backtrace = Some(Backtrace::capture()).filter(|trace| trace.status() == BacktraceStatus::Captured);
    let backtrace = backtrace.map(|trace| trace.to_string());
    if tracing::enabled!(Level::ERROR) {
        let thread = std::thread::current().name().map(str::to_owned);
        tracing::error!(thread, location, backtrace, "panicked: {message}");
    } else {
        // A panic is not silent, even where the log is off.
        queue.push(format!("panicked at {}: {message}\n", location.unwrap_or_default()).as_bytes());
    }
}

/// Writes a message to stderr, past the log. Gives up after [`EXIT_FLUSH_TIMEOUT`].
pub fn notify(message: &str) {
    let line = format!("cc-openai-wrapper: {message}\n");
    run_with_flush_timeout(move || {
        // stderr is closed: there is no other place for the message.
        let _ = Stderr.write_all(line.as_bytes());
    });
}

/// Runs `write` on a thread of its own and waits for it, but no longer than [`EXIT_FLUSH_TIMEOUT`]: a pipe without a reader can
/// block it for ever.
pub fn run_with_flush_timeout(write: impl FnOnce() + Send + 'static) {
    let (done, wait) = std::sync::mpsc::sync_channel(1);
    let writer = std::thread::Builder::new().spawn(move || {
        write();
        // Nobody waits any more if it took too long.
        let _ = done.send(());
    });
    if writer.is_ok() {
        // Too late, or the writer panicked: either way there is nothing more to wait for.
        let _ = wait.recv_timeout(EXIT_FLUSH_TIMEOUT);
    }
}

/// The logged part of one prompt or reply, in bytes. Even if JSON escapes each byte to six, the queue has room for two.
pub const MAX_LOGGED_BODY: usize = 256 * 1024;

/// The text as it is logged: its beginning, and how long it was, if it is longer than [`MAX_LOGGED_BODY`].
#[must_use]
pub fn shorten(text: &str) -> std::borrow::Cow<'_, str> {
    if text.len() <= MAX_LOGGED_BODY {
        return text.into();
    }
    let end = text.floor_char_boundary(MAX_LOGGED_BODY);
    format!("{}… (the first {end} of {} bytes)", &text[..end], text.len()).into()
}

#[cfg(test)]
mod tests;
