//! dhat in the server under test: counts alone, or a profile of stacks for a while.
//!
//! Profilers follow each other, one at a time, and each knows only what was allocated while it was there. Between two of
//! them nothing is counted, so that they are changed when nothing moves.

use std::path::Path;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use leakgate_session::stats::Heap;

/// The counts need no stacks; four frames are the fewest that dhat takes.
const COUNTING_FRAMES: usize = 4;
/// Deep enough to get from an allocation in a library through the layers of async code to our own.
const MAX_STACK_FRAMES: usize = 30;

/// The profiler that is on. Dropping one with stacks writes its file.
#[derive(Debug)]
pub struct Profiler {
    current: Option<dhat::Profiler>,
}

impl Profiler {
    /// Begins to count blocks and bytes.
    #[must_use]
    pub fn start_counting() -> Self {
        preallocate_parking_table();
        Self { current: Some(counting_profiler()) }
    }

    /// Live blocks and bytes, of those that were allocated since this profiler began.
    #[must_use]
    pub fn heap(&self) -> Heap {
        let stats = dhat::HeapStats::get();
        Heap { blocks: stats.curr_blocks as u64, bytes: stats.curr_bytes as u64 }
    }

    /// Begins a profile of stacks, which is written to `path`.
    pub fn start_stacks(&mut self, path: &Path) {
        // The one before has to be gone: there is never more than one.
        self.current = None;
        self.current = Some(dhat::Profiler::builder().file_name(path).trim_backtraces(Some(MAX_STACK_FRAMES)).build());
    }

    /// Ends it, and counts again.
    pub fn stop_stacks(&mut self) {
        self.current = None;
        self.current = Some(counting_profiler());
    }
}

/// dhat takes a lock for each allocation. The first thread that has to wait for such a lock, which on a quiet machine may
/// be never, makes a table that stays for good: two blocks and 1,056 bytes, which would be called a leak. Waiting for
/// what does not come makes it now.
fn preallocate_parking_table() {
    let nothing = Mutex::new(());
    let _ = Condvar::new().wait_for(&mut nothing.lock(), Duration::from_millis(1));
}

fn counting_profiler() -> dhat::Profiler {
    dhat::Profiler::builder().testing().trim_backtraces(Some(COUNTING_FRAMES)).build()
}
