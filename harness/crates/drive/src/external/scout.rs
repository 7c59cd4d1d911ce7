//! Looks at the processes below a server far more often than a probe does, and only at what they run: a CLI that answers a
//! single prompt may live for a few milliseconds.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use process_tree;

use super::cli_check::CliCheck;
use crate::probe::tree::{Scope, cgroup_pids};

/// A process that is younger than this may still become another program at any moment.
const YOUNG: Duration = Duration::from_millis(100);
/// How often an older one is looked at again.
const AGAIN: Duration = Duration::from_millis(50);

/// How closely it looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pace {
    /// At the one request that proves which CLI is started: nothing is measured then.
    Proof,
    /// Beside the load, whose processor it must not take.
    Load,
}

/// A thread that looks until it is dropped.
#[derive(Debug)]
pub(super) struct Scout {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Scout {
    /// Starts to look at the processes of `scope`.
    pub(super) fn start(scope: Scope, check: Arc<Mutex<CliCheck>>, pace: Pace) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let work = move || look(&scope, &check, pace, &stopped);
        // Without a thread there is still what the probe sees.
        let thread = thread::Builder::new().name("scout".to_owned()).spawn(work).ok();
        Self { stop, thread }
    }
}

impl Drop for Scout {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // It ends within one look.
            let _ = thread.join();
        }
    }
}

/// What was seen until now, whoever saw it.
pub(super) fn lock(check: &Mutex<CliCheck>) -> MutexGuard<'_, CliCheck> {
    check.lock().unwrap_or_else(PoisonError::into_inner)
}

fn look(scope: &Scope, check: &Mutex<CliCheck>, pace: Pace, stop: &AtomicBool) {
    let mut seen: BTreeMap<u32, (Instant, Option<Instant>)> = BTreeMap::new();
    while !stop.load(Ordering::Relaxed) {
        let start = Instant::now();
        let pids = pids(scope);
        seen.retain(|pid, _| pids.contains(pid));
        for pid in pids {
            let (first, last) = seen.entry(pid).or_insert((start, None));
            if start - *first < YOUNG || last.is_none_or(|last| start - last >= AGAIN) {
                *last = Some(start);
                lock(check).see(pid);
            }
        }
        lock(check).review();
        let (pause, rest) = match pace {
            Pace::Proof => (Duration::from_micros(200), 1),
            Pace::Load => (Duration::from_millis(1), 9),
        };
        // Until then, or until it is told to stop.
        thread::park_timeout(pause.max(start.elapsed() * rest));
    }
}

fn pids(scope: &Scope) -> Vec<u32> {
    match scope {
        Scope::Cgroup(folder) => cgroup_pids(folder),
        Scope::Marked(root, _) | Scope::Tree(root) => {
            let below = process_tree::descendants(root.cast_signed()).into_iter().map(i32::unsigned_abs);
            std::iter::once(*root).chain(below).collect()
        }
    }
}
