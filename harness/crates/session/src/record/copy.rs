//! One stream: reads, notes, writes. Each has a thread of its own, so that none can hold up another.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

use super::lines::LineSplitter;

/// Size of one read: the capacity of a pipe on Linux.
const BUFFER_BYTES: usize = 64 * 1024;

/// Once the CLI is gone, this much may still be in its pipe; a child of it that goes on writing is not listened to.
const MAX_BYTES_AFTER_EXIT: usize = 1024 * 1024;

/// Why a stream came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CopyEnd {
    /// The source has ended.
    EndOfFile,
    /// The reader of the stream is gone.
    NoReader,
    /// The CLI is gone, and nothing is left in the pipe.
    CliExited,
}

/// Passes everything on, until there is an end; `over` becomes readable when the CLI is gone.
pub(super) fn copy_stream(mut from: File, mut to: File, over: &UnixStream, mut lines: LineSplitter<'_>) -> CopyEnd {
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut left = None;
    loop {
        match wait_for_input(&from, &to, over, left.is_some()) {
            Readiness::Read { is_over } => left = left.or_else(|| is_over.then_some(MAX_BYTES_AFTER_EXIT)),
            Readiness::Over if left.is_none() => {
                left = Some(MAX_BYTES_AFTER_EXIT);
                continue;
            }
            Readiness::Over => return CopyEnd::CliExited,
            Readiness::NoReader => return CopyEnd::NoReader,
        }
        if left == Some(0) {
            return CopyEnd::CliExited;
        }
        let read = match from.read(&mut buffer) {
            Ok(0) => return CopyEnd::EndOfFile,
            Ok(read) => read,
            Err(error) if matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::WouldBlock) => continue,
            Err(_) => return CopyEnd::EndOfFile,
        };
        left = left.map(|left| left.saturating_sub(read));
        // Noted before it is passed on: what answers it must come later in the recording.
        lines.push_bytes(&buffer[..read]);
        if write_all(&mut to, &buffer[..read]).is_err() {
            return CopyEnd::NoReader;
        }
    }
}

enum Readiness {
    Read { is_over: bool },
    NoReader,
    Over,
}

/// Waits until there is something to read, or no sense in it.
fn wait_for_input(from: &File, to: &File, over: &UnixStream, was_over: bool) -> Readiness {
    let mut fds = [
        PollFd::from_borrowed_fd(from.as_fd(), PollFlags::IN),
        // Asked for nothing, poll still tells that the reader is gone.
        PollFd::from_borrowed_fd(to.as_fd(), PollFlags::empty()),
        PollFd::from_borrowed_fd(over.as_fd(), PollFlags::IN),
    ];
    loop {
        match poll(&mut fds, None) {
            Err(Errno::INTR) => {}
            Err(_) => return Readiness::Read { is_over: was_over },
            Ok(_) => break,
        }
    }
    if fds[1].revents().intersects(PollFlags::ERR | PollFlags::HUP) {
        Readiness::NoReader
    } else if fds[0].revents().is_empty() {
        Readiness::Over
    } else {
        Readiness::Read { is_over: !fds[2].revents().is_empty() }
    }
}

fn write_all(to: &mut File, mut bytes: &[u8]) -> std::io::Result<()> {
    while !bytes.is_empty() {
        match to.write(bytes) {
            Ok(written) => bytes = &bytes[written..],
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            // Whoever shares the stream has made it non-blocking.
            Err(error) if error.kind() == ErrorKind::WouldBlock => wait_for_room(to.as_fd()),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn wait_for_room(to: BorrowedFd<'_>) {
    let _ = poll(&mut [PollFd::from_borrowed_fd(to, PollFlags::OUT)], None);
}
