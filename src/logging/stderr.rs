//! The file descriptor 2, past the lock of the standard library: a thread that waits for the reader must not hold it.

use std::io;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

/// Writes to the file descriptor 2, and waits where that is full, even if it does not block.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stderr;

impl io::Write for Stderr {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            match rustix::io::write(rustix::stdio::stderr(), bytes) {
                Err(Errno::INTR) => {}
                // Somebody who shares the pipe or the terminal has made it non-blocking.
                Err(Errno::AGAIN) => {
                    let stderr = rustix::stdio::stderr();
                    match poll(&mut [PollFd::new(&stderr, PollFlags::OUT)], None) {
                        Ok(_) | Err(Errno::INTR) => {}
                        Err(error) => return Err(error.into()),
                    }
                }
                written => return Ok(written?),
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
