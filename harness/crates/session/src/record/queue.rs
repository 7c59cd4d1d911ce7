//! Between the streams and the disk: a bounded queue that gives up rather than hold a byte of the session back for long.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::lines::CapturedLine;

/// Bytes that may wait for the disk.
const MAX_QUEUED_BYTES: usize = 32 * 1024 * 1024;

/// How long the session may be held up by its recording, in all. After that the recording ends.
const MAX_TOTAL_WAIT: Duration = Duration::from_secs(2);

#[derive(Default)]
struct State {
    lines: VecDeque<CapturedLine>,
    bytes: usize,
    waited: Duration,
    closed: bool,
    given_up: bool,
}

/// The queue.
#[derive(Default)]
pub(super) struct Queue {
    state: Mutex<State>,
    changed: Condvar,
}

impl Queue {
    /// Hands a line on; waits for room only as long as patience lasts.
    pub(super) fn push(&self, line: CapturedLine) {
        let size = line.bytes.len() + size_of::<CapturedLine>();
        let mut state = self.lock();
        while state.bytes > 0 && state.bytes + size > MAX_QUEUED_BYTES && !state.given_up {
            let before = Instant::now();
            let left = MAX_TOTAL_WAIT.saturating_sub(state.waited);
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
            state.waited += before.elapsed();
            state.given_up |= state.waited >= MAX_TOTAL_WAIT;
        }
        if state.given_up || state.closed {
            return;
        }
        state.bytes += size;
        state.lines.push_back(line);
        self.changed.notify_all();
    }

    /// The next line; none once the queue is closed and empty.
    pub(super) fn next(&self) -> Option<CapturedLine> {
        let mut state = self.lock();
        loop {
            if let Some(line) = state.lines.pop_front() {
                state.bytes -= line.bytes.len() + size_of::<CapturedLine>();
                self.changed.notify_all();
                return Some(line);
            }
            if state.closed || state.given_up {
                return None;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// No line will follow.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }

    /// Drops all lines from here on, because no writer takes them.
    pub(super) fn give_up(&self) {
        let mut state = self.lock();
        state.given_up = true;
        state.lines.clear();
        state.bytes = 0;
        self.changed.notify_all();
    }

    /// Whether lines were dropped because the disk was too slow.
    pub(super) fn has_given_up(&self) -> bool {
        self.lock().given_up
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
