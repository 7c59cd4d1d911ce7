//! A connection's socket with deadlines for what hyper has none, or not the right one.
//!
//! hyper's `header_read_timeout` starts when it begins to wait for a header, and that is when the last reply has ended:
//! set to the 5 s that a half-open header may last, it would also close every connection that a client keeps idle for
//! 5 s, with the client's next request perhaps on its way. So hyper's is set to the longer idle time, and the deadline
//! for a header is here: it starts with the header's first byte.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep, sleep_until};

use super::Timeouts;

/// Where a connection is between requests. Only its own task writes it.
#[derive(Debug, Clone)]
pub(super) struct Phase(Arc<AtomicU8>);

impl Phase {
    /// Nothing has been read yet.
    const NEW: u8 = 0;
    /// A header is awaited, or a part of it has come.
    const HEADER: u8 = 1;
    const REQUEST: u8 = 2;
    const IDLE: u8 = 3;

    /// That of a connection that was just accepted.
    pub(super) fn new() -> Self {
        Self(Arc::new(AtomicU8::new(Self::NEW)))
    }

    /// A header has been read whole; what comes back ends the request when it is dropped.
    pub(super) fn begin_request(&self) -> RequestEnd {
        self.0.store(Self::REQUEST, Ordering::Relaxed);
        RequestEnd(self.clone())
    }

    /// No request's header has been read yet.
    pub(super) fn is_new(&self) -> bool {
        self.is(Self::NEW) || self.is(Self::HEADER)
    }

    /// Whether the client was polled for a header and has sent none, or a part of one.
    pub(super) fn is_half_open(&self) -> bool {
        self.is(Self::HEADER)
    }

    fn is(&self, phase: u8) -> bool {
        self.0.load(Ordering::Relaxed) == phase
    }
}

/// Dropped at the end of a request's reply.
pub(super) struct RequestEnd(Phase);

impl Drop for RequestEnd {
    fn drop(&mut self) {
        self.0.0.store(Phase::IDLE, Ordering::Relaxed);
    }
}

/// A socket whose client has to send a header in time, and to take what is written.
pub(super) struct TimedStream {
    socket: TcpStream,
    limits: Timeouts,
    phase: Phase,
    header: Pin<Box<Sleep>>,
    /// Running while a write waits.
    write: Option<Pin<Box<Sleep>>>,
}

impl TimedStream {
    /// The clock of the first header starts now.
    pub(super) fn new(socket: TcpStream, limits: Timeouts, phase: Phase) -> Self {
        let header = Box::pin(sleep(limits.header));
        Self { socket, limits, phase, header, write: None }
    }

    /// Passes a write's outcome on; fails once writes have waited too long without one succeeding.
    fn limit_write<T>(
        write: &mut Option<Pin<Box<Sleep>>>,
        limit: Duration,
        context: &mut Context<'_>,
        outcome: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if outcome.is_ready() {
            *write = None;
            return outcome;
        }
        let deadline = write.get_or_insert_with(|| Box::pin(sleep(limit)));
        deadline.as_mut().poll(context).map(|()| Err(timed_out("the client did not read in time")))
    }
}

fn timed_out(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, what)
}

impl AsyncRead for TimedStream {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        match Pin::new(&mut self.socket).poll_read(context, buf) {
            Poll::Ready(outcome) => {
                if self.phase.is(Phase::IDLE) && buf.filled().len() > before {
                    self.phase.0.store(Phase::HEADER, Ordering::Relaxed);
                    self.header = Box::pin(sleep_until(Instant::now() + self.limits.header));
                }
                Poll::Ready(outcome)
            }
            Poll::Pending if self.phase.is_new() => {
                self.phase.0.store(Phase::HEADER, Ordering::Relaxed);
                self.header.as_mut().poll(context).map(|()| Err(timed_out("the header did not arrive in time")))
            }
            Poll::Pending => Poll::Pending,
        }
    }
}

impl AsyncWrite for TimedStream {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        let outcome = Pin::new(&mut this.socket).poll_write(context, buf);
        Self::limit_write(&mut this.write, this.limits.write, context, outcome)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        let outcome = Pin::new(&mut this.socket).poll_write_vectored(context, bufs);
        Self::limit_write(&mut this.write, this.limits.write, context, outcome)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(context)
    }
}
