//! Bytes of one stream, as lines.

use std::time::Instant;

use super::queue::Queue;
use crate::recording::Flaws;

/// Longer lines are recorded up to here: the largest that was ever seen of the CLI is a hundred times smaller.
pub(super) const MAX_LINE_BYTES: usize = 8 * 1024 * 1024;

/// Kept beyond [`MAX_LINE_BYTES`], so that a secret on the edge is recognised before the line is cut.
pub(super) const CUT_MARGIN_BYTES: usize = 16 * 1024;

/// Which stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Channel {
    In,
    Out,
    Err,
}

/// A line as it passed.
#[derive(Debug)]
pub(super) struct CapturedLine {
    pub(super) channel: Channel,
    pub(super) at: Instant,
    pub(super) bytes: Vec<u8>,
    pub(super) flaws: Flaws,
}

/// Collects the lines of one stream. Dropped, it hands on what had no newline.
pub(super) struct LineSplitter<'a> {
    channel: Channel,
    queue: &'a Queue,
    line: Vec<u8>,
    length: usize,
}

impl<'a> LineSplitter<'a> {
    pub(super) fn new(channel: Channel, queue: &'a Queue) -> Self {
        Self { channel, queue, line: Vec::new(), length: 0 }
    }

    /// Takes what was read just now.
    pub(super) fn push_bytes(&mut self, mut bytes: &[u8]) {
        while let Some(end) = memchr::memchr(b'\n', bytes) {
            self.append_bytes(&bytes[..end]);
            self.finish_line(false);
            bytes = &bytes[end + 1..];
        }
        self.append_bytes(bytes);
    }

    fn append_bytes(&mut self, bytes: &[u8]) {
        let room = (MAX_LINE_BYTES + CUT_MARGIN_BYTES).saturating_sub(self.line.len());
        self.line.extend_from_slice(&bytes[..bytes.len().min(room)]);
        self.length += bytes.len();
    }

    fn finish_line(&mut self, open: bool) {
        let (bytes, length) = (std::mem::take(&mut self.line), std::mem::take(&mut self.length));
        let cut = (length > MAX_LINE_BYTES).then_some(length as u64);
        let flaws = Flaws { cut, lossy: false, open };
        self.queue.push(CapturedLine { channel: self.channel, at: Instant::now(), bytes, flaws });
    }
}

impl Drop for LineSplitter<'_> {
    fn drop(&mut self) {
        if self.length > 0 {
            self.finish_line(true);
        }
    }
}
