//! Two pairs of profiles → the sites that grow.
//!
//! **Windows**, one after the other in one process, the second with twice the restarts. Each profile knows only what was
//! allocated while it was on. Memory that is released at some time is live equally often at the end of both, and cancels;
//! leaked memory is there once per restart. Blocks are found by this.
//!
//! **Lives**: two processes, profiled from their start, the second with twice the restarts. A vector that is only pushed
//! to is one block, however much it holds, and grows in leaps; here it is at least twice as large. Bytes without blocks
//! are found by this, and only where both windows show the same site growing: a buffer that grew once did so in one.
//!
//! Growth is decided for a site's [key](super::site_key) and not for each of its stacks: a task that is polled by another worker
//! has another stack, and that is no growth.

use std::collections::BTreeMap;

use super::dhat::{Heap, Live};
use super::frame::is_own;
use crate::floor::{BLOCKS, BYTES};
use crate::sample::{Frame, Site};

/// The heap at the end of a profile.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Window {
    /// The heap.
    pub heap: Heap,
    /// Restarts while the profile was on.
    pub restarts: u64,
}

/// A short profile and one that is longer.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Pair {
    /// The short one.
    pub short: Window,
    /// The long one.
    pub long: Window,
}

/// Stacks, and the bytes that each of them gained between two profiles.
pub type Gains = Vec<(Vec<Frame>, u64)>;

/// The growing sites, and their stacks.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Growth {
    /// The sites, the fastest first: by bytes, then by blocks.
    pub sites: Vec<Site>,
    /// Every stack of these sites that gained bytes, with how many: between two profiles, not for each restart.
    pub stacks: Gains,
}

/// One key's stacks, in both windows and both lives.
#[derive(Debug, Default)]
struct Group<'a> {
    windows: [Live; 2],
    lives: [Live; 2],
    /// Bytes more in the long window, and in the long life, by stack.
    by_stack: BTreeMap<&'a [Frame], [i64; 2]>,
}

/// The sites that grow by the windows and, where they gain no blocks, by the lives.
#[must_use]
pub fn find_growing_sites(windows: &Pair, lives: &Pair) -> Growth {
    let mut groups: BTreeMap<&Frame, Group<'_>> = BTreeMap::new();
    for (which, pair) in [windows, lives].into_iter().enumerate() {
        for (at, (window, sign)) in [(&pair.short, -1), (&pair.long, 1)].into_iter().enumerate() {
            for (stack, live) in &window.heap.stacks {
                let Some(key) = first_own_frame(stack).map(|at| &stack[at]).or_else(|| stack.first()) else { continue };
                let group = groups.entry(key).or_default();
                let sums = if which == 0 { &mut group.windows } else { &mut group.lives };
                sums[at] += *live;
                group.by_stack.entry(stack).or_default()[which] += sign * to_signed(live.bytes);
            }
        }
    }
    let mut found: Vec<(Site, Gains)> = groups
        .values()
        .filter_map(|group| group.growing_site(extra_restarts(windows), extra_restarts(lives)))
        .collect();
    found.sort_by(|(a, _), (b, _)| {
        let speed = |site: &Site| (site.bytes_per_restart, site.blocks_per_restart);
        speed(b).partial_cmp(&speed(a)).unwrap_or(std::cmp::Ordering::Equal).then_with(|| a.frames.cmp(&b.frames))
    });
    let (sites, stacks): (Vec<_>, Vec<_>) = found.into_iter().unzip();
    Growth { sites, stacks: stacks.concat() }
}

/// The first frame of the code under test.
#[must_use]
pub(crate) fn first_own_frame(stack: &[Frame]) -> Option<usize> {
    stack.iter().position(is_own)
}

/// Restarts that the long one has more than the short one.
fn extra_restarts(pair: &Pair) -> f64 {
    to_f64(to_signed(pair.long.restarts.saturating_sub(pair.short.restarts).max(1)))
}

impl Group<'_> {
    /// The site, if it grows; `in_windows` and `in_lives` are the restarts of the differences.
    fn growing_site(&self, in_windows: f64, in_lives: f64) -> Option<(Site, Gains)> {
        let [short, long] = self.windows;
        let blocks = difference(short.blocks, long.blocks);
        let bytes = difference(short.bytes, long.bytes);
        let kept = difference(self.lives[0].bytes, self.lives[1].bytes);
        let (which, site_bytes) = if blocks >= BLOCKS.over(in_windows) {
            (0, bytes / in_windows)
        } else if short.blocks > 0 && bytes >= BYTES.over(in_windows) && kept >= BYTES.over(in_lives) {
            (1, kept / in_lives)
        } else {
            return None;
        };
        let gains: Gains = self
            .by_stack
            .iter()
            .filter_map(|(stack, bytes)| Some((stack.to_vec(), u64::try_from(bytes[which]).ok().filter(|&b| b > 0)?)))
            .collect();
        let frames = gains.iter().max_by_key(|(_, bytes)| *bytes).map(|(stack, _)| stack.clone());
        // A site whose blocks are more and whose bytes are fewer still has a stack.
        let frames = frames.or_else(|| self.by_stack.keys().next().map(|stack| stack.to_vec()))?;
        let own = first_own_frame(&frames);
        let blocks_per_restart = if which == 0 { blocks / in_windows } else { 0.0 };
        Some((Site { frames, own, blocks_per_restart, bytes_per_restart: site_bytes }, gains))
    }
}

fn difference(before: u64, after: u64) -> f64 {
    to_f64(to_signed(after) - to_signed(before))
}

/// A heap has fewer than 2^63 bytes.
fn to_signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[expect(clippy::cast_precision_loss, reason = "blocks and bytes of a heap stay far below 2^53")]
fn to_f64(count: i64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests;
