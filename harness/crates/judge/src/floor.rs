//! How much a heap may grow before its growth counts: the same floors judge a run and choose the sites of a profile.

/// Growth counts from `least` units in the whole interval and `per_restart` units per restart on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Floor {
    /// Units in the whole interval, however long it is.
    pub least: f64,
    /// Units per restart.
    pub per_restart: f64,
    /// Growth of fewer units in the judged interval may come from a first use (a lazily made static), so a longer run has
    /// to confirm it before it is called a leak.
    pub sure: f64,
}

/// Blocks. Two at least, because a lazily made static in the second interval is one block and no leak; and what a thread
/// or a lock allocates at its first use can be two (on a busy machine two came after the warm-up in one of 40 runs). One
/// block in 100 restarts must still be seen, whichever of them it is: over the 264 restarts from T to 4T that are two or
/// three. Settled readings had no jitter at all (without settling it was 2 blocks).
pub(crate) const BLOCKS: Floor = Floor { least: 2.0, per_restart: 0.0065, sure: 3.0 };

/// Bytes. A machine word per restart is the smallest thing that a push-only vector can keep, and doubling such a vector
/// between 2T and 4T adds 8 to 16 bytes per restart. Under 1 KiB in all is one small buffer that grew late.
pub(crate) const BYTES: Floor = Floor { least: 1024.0, per_restart: 8.0, sure: 0.0 };

impl Floor {
    /// The growth over `restarts` from which on it counts.
    #[must_use]
    pub fn over(self, restarts: f64) -> f64 {
        self.least.max(self.per_restart * restarts)
    }
}
