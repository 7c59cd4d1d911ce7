//! The queue between the threads that log and the thread that writes.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Limit of the queue, with [`LINE_OVERHEAD`] for each line. The line that is being written does not count.
pub(super) const MAX_QUEUED_BYTES: usize = 4 * 1024 * 1024;

/// Memory of a line beyond its bytes: its entry in the queue and the allocator's header.
const LINE_OVERHEAD: usize = 64;

/// An empty queue keeps room for this many entries.
const IDLE_ENTRIES: usize = 1024;

/// Lines that wait to be written.
#[derive(Debug, Default)]
pub(super) struct LineQueue {
    state: Mutex<State>,
    /// Signalled when an entry is added.
    filled: Condvar,
    /// Signalled when the queue is empty and no line is being written.
    drained: Condvar,
    lost: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    entries: VecDeque<Entry>,
    bytes: usize,
    writing: bool,
}

#[derive(Debug)]
enum Entry {
    Line(Box<[u8]>),
    /// So many lines found no room here.
    Gap(u64),
}

impl LineQueue {
    /// Lines that were lost.
    pub(super) fn lost_lines(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// Adds a line, or counts it as lost if there is no room. Never waits.
    pub(super) fn push(&self, line: &[u8]) {
        let mut state = self.lock();
        let bytes = state.bytes + line.len() + LINE_OVERHEAD;
        if bytes <= MAX_QUEUED_BYTES {
            state.bytes = bytes;
            state.entries.push_back(Entry::Line(line.into()));
        } else {
            self.lost.fetch_add(1, Ordering::Relaxed);
            match state.entries.back_mut() {
                Some(Entry::Gap(lines)) => *lines += 1,
                _ => state.entries.push_back(Entry::Gap(1)),
            }
        }
        drop(state);
        self.filled.notify_one();
    }

    /// Waits until all lines are written or lost, `deadline` at most.
    pub(super) fn flush(&self, deadline: Duration) {
        let busy = |state: &mut State| state.writing || !state.entries.is_empty();
        drop(self.drained.wait_timeout_while(self.lock(), deadline, busy));
    }

    /// Writes each line to `out`, for ever. Where lines were lost it writes `note(how many)`, as soon as that can be written.
    pub(super) fn write_to(&self, out: &mut impl Write, note: impl Fn(u64) -> Vec<u8>) -> ! {
        let mut writer = Writer { out, note, unreported: 0, torn: false };
        loop {
            match self.next_entry() {
                Entry::Line(line) if writer.report_loss() && writer.write_line(&line) => {}
                Entry::Line(_) => {
                    self.lost.fetch_add(1, Ordering::Relaxed);
                    writer.unreported += 1;
                }
                Entry::Gap(lines) => {
                    writer.unreported += lines;
                    writer.report_loss();
                }
            }
        }
    }

    /// The next entry; the one before it has been dealt with.
    fn next_entry(&self) -> Entry {
        let mut state = self.lock();
        state.writing = false;
        loop {
            if let Some(entry) = state.entries.pop_front() {
                if let Entry::Line(line) = &entry {
                    state.bytes -= line.len() + LINE_OVERHEAD;
                }
                state.writing = true;
                return entry;
            }
            // What a burst has needed is not kept.
            state.entries.shrink_to(IDLE_ENTRIES);
            self.drained.notify_all();
            state = self.filled.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A `write` is one line.
impl Write for &LineQueue {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.push(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Writer<'a, W, N> {
    out: &'a mut W,
    note: N,
    /// Lines that were lost since the last note.
    unreported: u64,
    /// A part of the last line was written: a full disk often has room for one.
    torn: bool,
}

impl<W: Write, N: Fn(u64) -> Vec<u8>> Writer<'_, W, N> {
    /// Says how many lines were lost, if any. False: that can't be written either.
    fn report_loss(&mut self) -> bool {
        if self.unreported == 0 {
            return true;
        }
        let note = (self.note)(self.unreported);
        if self.write_line(&note) {
            self.unreported = 0;
        }
        self.unreported == 0
    }

    /// Whether all of `line` was written.
    fn write_line(&mut self, line: &[u8]) -> bool {
        if self.torn {
            self.torn = !matches!(self.out.write(b"\n"), Ok(1));
        }
        let mut left = line;
        while !self.torn && !left.is_empty() {
            match self.out.write(left) {
                Ok(written) if written > 0 => left = &left[written..],
                Ok(_) | Err(_) => {
                    self.torn = left.len() < line.len();
                    return false;
                }
            }
        }
        !self.torn
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, mpsc};

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(20);

    /// A file on a disk with room for so many more bytes.
    #[derive(Clone, Default)]
    struct Disk(Arc<Mutex<(usize, Vec<u8>)>>);

    impl Disk {
        fn set_room(&self, bytes: usize) {
            self.0.lock().unwrap().0 = bytes;
        }

        fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().1.clone()).unwrap()
        }
    }

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let (room, written) = &mut *self.0.lock().unwrap();
            let fits = bytes.len().min(*room);
            if fits == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            *room -= fits;
            written.extend(&bytes[..fits]);
            Ok(fits)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// A queue that is being written to `out`; the thread ends with the tests.
    fn writing_to(mut out: impl Write + Send + 'static) -> Arc<LineQueue> {
        let queue = Arc::new(LineQueue::default());
        let written = Arc::clone(&queue);
        std::thread::spawn(move || written.write_to(&mut out, |lost| format!("lost {lost}\n").into_bytes()));
        queue
    }

    #[test]
    fn a_full_disk_loses_lines_and_the_gap_says_how_many() {
        let disk = Disk::default();
        let queue = writing_to(disk.clone());
        let say = |room: usize, lines: &[&str]| {
            disk.set_room(room);
            for line in lines {
                queue.push(line.as_bytes());
            }
            queue.flush(PATIENCE);
        };
        say(100, &["one\n", "two\n"]);
        // Room for a part of a line alone.
        say(3, &["three\n", "four\n"]);
        say(0, &["five\n"]);
        say(100, &["six\n", "seven\n"]);
        assert_eq!(disk.text(), "one\ntwo\nthr\nlost 3\nsix\nseven\n");
        assert_eq!(queue.lost_lines(), 3);
    }

    /// Takes nothing before it is told.
    struct Stuck(mpsc::Receiver<()>, Disk);

    impl Write for Stuck {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.recv().map_err(|_| io::ErrorKind::BrokenPipe)?;
            self.1.write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_reader_that_does_not_read_costs_lines_and_bounded_memory_and_no_time() {
        let (go_on, stuck) = mpsc::sync_channel(1_000_000);
        let disk = Disk::default();
        disk.set_room(usize::MAX);
        let queue = writing_to(Stuck(stuck, disk.clone()));
        let line = [b"x".repeat(1023), b"\n".to_vec()].concat();
        let count = 3 * MAX_QUEUED_BYTES / line.len();
        queue.push(&line);
        // From here on nothing leaves the queue.
        while !queue.lock().writing {
            std::thread::yield_now();
        }
        for _ in 1..count {
            queue.push(&line);
        }
        assert!(queue.lock().bytes <= MAX_QUEUED_BYTES);
        let lost = queue.lost_lines();
        assert!(lost > 0);
        queue.flush(Duration::from_millis(1));
        // The gap is where the lines are missing: after all that were in the queue, before what comes later.
        for _ in 0..2 * count {
            go_on.send(()).unwrap();
        }
        queue.flush(PATIENCE);
        queue.push(b"later\n");
        queue.flush(PATIENCE);
        let text = disk.text();
        assert!(text.ends_with(&format!("x\nlost {lost}\nlater\n")), "{}", &text[text.len() - 100..]);
        assert_eq!(text.lines().count() as u64, count as u64 - lost + 2);
        assert!(queue.lock().entries.capacity() <= 2 * IDLE_ENTRIES, "a burst's room is given back");
    }

    #[test]
    fn a_line_longer_than_the_queue_is_lost_alone() {
        let disk = Disk::default();
        disk.set_room(usize::MAX);
        let queue = writing_to(disk.clone());
        queue.push(b"before\n");
        queue.push(&vec![b'x'; MAX_QUEUED_BYTES]);
        queue.push(b"after\n");
        queue.flush(PATIENCE);
        assert_eq!(disk.text(), "before\nlost 1\nafter\n");
    }
}
