//! The stats channel: one line asks, one JSON line answers, over a server's stdin and stdout.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use serde::de::DeserializeOwned;
use thiserror::Error;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{ChildStdin, ChildStdout};
use tokio::time::timeout;

use leakgate_session::channel::{Listening, PROFILE, Profiled, Restarted};
use leakgate_session::stats::Stats;

/// How long an answer may take. A restart of all slots waits for running turns.
const ANSWER_DEADLINE: Duration = Duration::from_secs(30);
/// How long the end of a profile may take: dhat reads the debug information of the whole program for its stacks, which takes
/// seconds on an idle machine and minutes on a busy one.
const PROFILE_DEADLINE: Duration = Duration::from_mins(5);
/// The longest answer accepted, in bytes.
const MAX_LINE: u64 = 1 << 20;

/// Why there was no answer.
#[derive(Debug, Error)]
pub(super) enum ChannelError {
    /// The server closed it.
    #[error("it closed its stdout")]
    Closed,
    /// Nothing came.
    #[error("no answer within {} s", .0.as_secs())]
    Deadline(Duration),
    /// Something else came.
    #[error("it answered what is not expected: {line}")]
    Unexpected {
        /// The answer.
        line: String,
    },
    /// It is not the build with a profiler in it.
    #[error("it has no profiler of its heap: only sut-heap has one")]
    Unprofiled,
}

/// The harness's end.
#[derive(Debug)]
pub(super) struct Channel {
    requests: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
    line: String,
}

impl Channel {
    /// A channel over a server's stdin and stdout.
    pub(super) fn new((requests, answers): (ChildStdin, ChildStdout)) -> Self {
        Self { requests: Some(requests), answers: BufReader::new(answers), line: String::with_capacity(4096) }
    }

    /// Waits for the first line.
    pub(super) async fn read_address(&mut self) -> Result<SocketAddr, ChannelError> {
        self.answer::<Listening>().await.map(|line| line.listening)
    }

    /// Asks for the stats.
    pub(super) async fn stats(&mut self) -> Result<Stats, ChannelError> {
        self.ask("stats\n").await
    }

    /// Asks for a restart of every slot.
    pub(super) async fn restart(&mut self) -> Result<(), ChannelError> {
        self.ask::<Restarted>("restart\n").await.map(|_| ())
    }

    /// Has a profile of stacks begin, which will be written to `path` at its end.
    pub(super) async fn begin_profile(&mut self, path: &Path) -> Result<(), ChannelError> {
        self.profile(&format!("{PROFILE} {}\n", path.display()), true).await
    }

    /// Has it end, and be written.
    pub(super) async fn end_profile(&mut self) -> Result<(), ChannelError> {
        self.profile(&format!("{PROFILE}\n"), false).await
    }

    async fn profile(&mut self, request: &str, wanted: bool) -> Result<(), ChannelError> {
        let is_on = self.ask_within::<Profiled>(request, PROFILE_DEADLINE).await?.profiled;
        if is_on == wanted { Ok(()) } else { Err(ChannelError::Unprofiled) }
    }

    /// Tells the server to stop.
    pub(super) async fn close(&mut self) {
        if let Some(mut requests) = self.requests.take() {
            // A server that has closed its stdin is stopping already.
            let _ = requests.write_all(b"stop\n").await;
        }
    }

    async fn ask<T: DeserializeOwned>(&mut self, request: &str) -> Result<T, ChannelError> {
        self.ask_within(request, ANSWER_DEADLINE).await
    }

    async fn ask_within<T: DeserializeOwned>(&mut self, request: &str, time: Duration) -> Result<T, ChannelError> {
        let requests = self.requests.as_mut().ok_or(ChannelError::Closed)?;
        requests.write_all(request.as_bytes()).await.map_err(|_| ChannelError::Closed)?;
        timeout(time, self.answer()).await.map_err(|_| ChannelError::Deadline(time))?
    }

    async fn answer<T: DeserializeOwned>(&mut self) -> Result<T, ChannelError> {
        // The buffer is reused: the harness itself must not grow with the number of readings.
        self.line.clear();
        let read = (&mut self.answers).take(MAX_LINE).read_line(&mut self.line).await;
        if !matches!(read, Ok(1..)) {
            return Err(ChannelError::Closed);
        }
        serde_json::from_str(&self.line)
            .map_err(|_| ChannelError::Unexpected { line: self.line.trim_end().chars().take(200).collect() })
    }
}
