//! The memory that the bodies of all requests share.
//!
//! Each connection has an *allowance*, a few kB that are set aside for it, so that small bodies never wait. The rest is
//! shared, and is taken as bytes arrive:
//!
//! 1. A body's *first part* ([`FIRST_PART`]) is had for the asking while there is plenty: first parts together leave the
//!    longest body its room. So whoever has sent little has no claim to more.
//! 2. A body that outgrows it makes a *claim*: what may still come of it. Claims are served in the order in which they were
//!    made. A younger one gets room only if what all older ones still need stays free, so the oldest can always finish, and
//!    bodies that wait for each other are impossible.
//! 3. A body that can be taken whole at once, and is not large, is ([`EXPRESS`]). From then on it needs nothing more.
//! 4. A slow body loses its claim: nothing is kept free for it any more, and it goes on only as long as there is room. While
//!    another one waits, a slow body loses its place as well (`body.rs`). So whoever sends slowly holds no more than what has
//!    arrived, and that not for long.
//!
//! The memory in use never exceeds the budget, because a connection has one request at a time.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::timeout;

/// Fraction of the budget that is set aside for allowances: one in this many.
const ALLOWANCES: u64 = 8;

/// No allowance is larger, in bytes.
const MAX_ALLOWANCE: u64 = 64 * 1024;

/// As much of a body can arrive without a claim, in bytes.
const FIRST_PART: u64 = 256 * 1024;

/// A body that still needs no more than this passes by older claims if all of it finds room at once, in bytes.
const EXPRESS: u64 = 64 * 1024;

/// All sizes are in bytes.
#[derive(Debug)]
pub(super) struct BodyBudget {
    allowance: u64,
    state: Mutex<State>,
    /// Notified when memory may have become free.
    changed: Notify,
}

#[derive(Debug)]
struct State {
    free: u64,
    /// Bytes left for first parts.
    first_parts: u64,
    /// Bytes that each body with a claim may still need, by the order of the claims.
    claims: BTreeMap<u64, u64>,
    next_claim: u64,
    waiting: usize,
}

/// Why a body gets no more memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoRoom {
    /// Nothing became free in time.
    TimedOut,
    /// The body was slow, and others have taken the memory.
    TooSlow,
}

impl BodyBudget {
    /// `total` for all bodies, of which the longest may have `most`; `connections` can be open at once.
    pub(super) fn new(total: u64, most: u64, connections: NonZeroUsize) -> Arc<Self> {
        // The longest body has to fit beside all allowances.
        let aside = (total / ALLOWANCES).min(total.saturating_sub(most));
        let allowance = (aside / connections.get() as u64).min(MAX_ALLOWANCE);
        let free = total - allowance * connections.get() as u64;
        let first_parts = free.saturating_sub(most);
        let state = State { free, first_parts, claims: BTreeMap::new(), next_claim: 0, waiting: 0 };
        Arc::new(Self { allowance, state: Mutex::new(state), changed: Notify::new() })
    }

    /// Whether a body waits for memory.
    pub(super) fn is_wanted(&self) -> bool {
        self.lock().waiting > 0
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(test)]
    fn free(&self) -> u64 {
        self.lock().free
    }
}

impl State {
    /// Gives `bytes` to a body that still needs `rest`, these included: all of it, if that is no more than [`EXPRESS`].
    fn take(&mut self, bytes: u64, rest: u64, claim: Option<u64>) -> bool {
        let promised: u64 = match claim {
            _ if rest <= EXPRESS => 0,
            Some(claim) => self.claims.range(..claim).map(|(_, need)| need).sum(),
            None => self.claims.values().sum(),
        };
        if self.free < bytes.saturating_add(promised) {
            return false;
        }
        self.free -= bytes;
        if let Some(need) = claim.and_then(|claim| self.claims.get_mut(&claim)) {
            *need = rest - bytes;
        }
        true
    }
}

/// A body's part of the budget; dropping it gives it back.
#[derive(Debug)]
pub(super) struct BodyPermit {
    budget: Arc<BodyBudget>,
    /// Beyond the allowance.
    held: u64,
    /// As much of that was had as a first part.
    first_part: u64,
    claim: Option<u64>,
    was_slow: bool,
}

impl BodyPermit {
    /// Holds the allowance of its connection.
    pub(super) fn new(budget: &Arc<BodyBudget>) -> Self {
        Self { budget: Arc::clone(budget), held: 0, first_part: 0, claim: None, was_slow: false }
    }

    /// Bytes that this permit covers.
    pub(super) fn covered(&self) -> u64 {
        self.budget.allowance + self.held
    }

    /// Makes it cover `size`, of `most` at the end; waits for room, `patience` at most.
    pub(super) async fn grow(&mut self, size: u64, most: u64, patience: Duration) -> Result<(), NoRoom> {
        let Some(bytes) = size.checked_sub(self.covered()).filter(|bytes| *bytes > 0) else { return Ok(()) };
        let rest = most.saturating_sub(self.covered()).max(bytes);
        let bytes = if rest <= EXPRESS { rest } else { bytes };
        if self.take(bytes, rest) {
            return Ok(());
        }
        if self.was_slow {
            return Err(NoRoom::TooSlow);
        }
        let budget = Arc::clone(&self.budget);
        let _waiting = Waiting::begin(&budget);
        let room = async {
            let mut changed = pin!(budget.changed.notified());
            loop {
                changed.as_mut().enable();
                if self.take(bytes, rest) {
                    return;
                }
                changed.as_mut().await;
                changed.set(budget.changed.notified());
            }
        };
        timeout(patience, room).await.map_err(|_elapsed| NoRoom::TimedOut)
    }

    fn take(&mut self, bytes: u64, rest: u64) -> bool {
        let mut state = self.budget.lock();
        let promised: u64 = state.claims.values().sum();
        let is_first = self.claim.is_none() && !self.was_slow && self.held + bytes <= FIRST_PART;
        if is_first && bytes <= state.first_parts && state.free >= bytes.saturating_add(promised) {
            state.free -= bytes;
            state.first_parts -= bytes;
            self.held += bytes;
            self.first_part += bytes;
            return true;
        }
        if self.claim.is_none() && !self.was_slow && rest > EXPRESS {
            let claim = state.next_claim;
            state.next_claim += 1;
            state.claims.insert(claim, rest);
            self.claim = Some(claim);
        }
        let taken = state.take(bytes, rest, self.claim);
        self.held += if taken { bytes } else { 0 };
        taken
    }

    /// Gives up the claim of a body that arrives too slowly.
    pub(super) fn lose_claim(&mut self) {
        self.was_slow = true;
        self.end_claim();
    }

    /// All of the body has come: `size`.
    pub(super) fn complete(&mut self, size: u64) {
        let needless = self.covered().saturating_sub(size).min(self.held);
        self.held -= needless;
        let first_part = std::mem::take(&mut self.first_part);
        {
            let mut state = self.budget.lock();
            state.free += needless;
            // It needs nothing more, and will give back what it holds.
            state.first_parts += first_part;
        }
        self.end_claim();
        self.budget.changed.notify_waiters();
    }

    fn end_claim(&mut self) {
        if let Some(claim) = self.claim.take() {
            self.budget.lock().claims.remove(&claim);
            self.budget.changed.notify_waiters();
        }
    }
}

impl Drop for BodyPermit {
    fn drop(&mut self) {
        self.complete(0);
    }
}

/// Counts a body that waits for memory, until it is dropped.
struct Waiting<'a>(&'a BodyBudget);

impl<'a> Waiting<'a> {
    fn begin(budget: &'a BodyBudget) -> Self {
        budget.lock().waiting += 1;
        Self(budget)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.lock().waiting -= 1;
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    const MB: u64 = 1 << 20;
    const PATIENCE: Duration = Duration::from_secs(20);

    /// 64 MB, of which a body may have 16, and 1024 connections with 8 kB each.
    fn budget() -> Arc<BodyBudget> {
        BodyBudget::new(64 * MB, 16 * MB, 1024.try_into().unwrap())
    }

    /// Whether a body can grow without waiting.
    fn grows(permit: &mut BodyPermit, size: u64, most: u64) -> bool {
        permit.grow(size, most, PATIENCE).now_or_never().is_some_and(|grown| grown.is_ok())
    }

    #[tokio::test]
    async fn what_is_declared_and_has_not_arrived_takes_nothing() {
        let budget = budget();
        let mut slow: Vec<_> = (0..1000).map(|_| BodyPermit::new(&budget)).collect();
        assert!(slow.iter_mut().all(|body| grows(body, 1, 16 * MB)));
        assert_eq!(budget.free(), 56 * MB);
        assert!(grows(&mut BodyPermit::new(&budget), 16 * MB, 16 * MB));
    }

    #[tokio::test]
    async fn an_older_claim_comes_first_and_ends_the_wait_of_the_younger_one() {
        let budget = budget();
        let mut old: Vec<_> = (0..3).map(|_| BodyPermit::new(&budget)).collect();
        assert!(old.iter_mut().all(|body| grows(body, MB, 16 * MB)));
        let mut young = BodyPermit::new(&budget);
        assert!(grows(&mut young, 8 * MB, 16 * MB), "what the older ones may need is 48 MB of 56");
        assert!(!grows(&mut young, 9 * MB, 16 * MB));
        assert!(old.iter_mut().all(|body| grows(body, 16 * MB, 16 * MB)), "that was kept for them");
        old[0].complete(16 * MB);
        assert!(!grows(&mut young, 9 * MB, 16 * MB), "it is still held");
        drop(old.remove(0));
        assert!(grows(&mut young, 16 * MB, 16 * MB));
    }

    #[tokio::test]
    async fn what_is_small_is_taken_whole_beside_large_claims() {
        let budget = budget();
        let mut large: Vec<_> = (0..8).map(|_| BodyPermit::new(&budget)).collect();
        for body in &mut large {
            let _ = grows(body, MB, 16 * MB);
        }
        let mut small = BodyPermit::new(&budget);
        assert!(grows(&mut small, 40_000, 40_000));
        let mut medium = BodyPermit::new(&budget);
        assert!(!grows(&mut medium, 100_000, 100_000), "it has its turn after the others");
    }

    #[tokio::test]
    async fn a_slow_body_keeps_nothing_free_and_goes_on_only_where_there_is_room() {
        let budget = budget();
        let mut slow: Vec<_> = (0..3).map(|_| BodyPermit::new(&budget)).collect();
        assert!(slow.iter_mut().all(|body| grows(body, 16 * MB - 1, 16 * MB)));
        let mut fast = BodyPermit::new(&budget);
        assert!(grows(&mut fast, 8 * MB, 16 * MB));
        slow.iter_mut().for_each(BodyPermit::lose_claim);
        assert!(grows(&mut slow[0], 16 * MB, 16 * MB));
        let rest = budget.free() + fast.covered();
        assert!(grows(&mut fast, rest, 16 * MB));
        assert_eq!(budget.free(), 0);
        assert_eq!(slow[1].grow(16 * MB, 16 * MB, PATIENCE).now_or_never(), Some(Err(NoRoom::TooSlow)));
    }

    #[tokio::test]
    async fn bodies_that_all_want_more_than_there_is_finish_one_after_the_other() {
        let budget = budget();
        let arrive = |n: u64| {
            let budget = Arc::clone(&budget);
            async move {
                let most = (n % 16 + 1) * MB;
                let mut body = BodyPermit::new(&budget);
                for size in (1..=most / 65_536).map(|step| step * 65_536) {
                    body.grow(size, most, PATIENCE).await.unwrap();
                    tokio::task::yield_now().await;
                }
                body.complete(most);
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let all = futures_util::future::join_all((0..100).map(arrive));
        timeout(PATIENCE, all).await.expect("none waits for ever");
        assert_eq!(budget.free(), 56 * MB);
        assert!(!budget.is_wanted() && budget.lock().claims.is_empty());
    }

    #[tokio::test]
    async fn whoever_finds_no_room_in_time_is_told_and_leaves_nothing() {
        let budget = budget();
        let mut held: Vec<_> = (0..4).map(|_| BodyPermit::new(&budget)).collect();
        assert!(held.iter_mut().all(|body| grows(body, 14 * MB, 14 * MB + 1)));
        let mut late = BodyPermit::new(&budget);
        assert_eq!(late.grow(MB, MB, Duration::from_millis(20)).await, Err(NoRoom::TimedOut));
        drop(late);
        drop(held);
        assert_eq!(budget.free(), 56 * MB);
        assert!(!budget.is_wanted());
    }

    #[test]
    fn the_longest_body_fits_beside_the_allowances_of_all_connections() {
        for (total, most, connections) in [(1024, 1024, 1), (64 * MB, 64 * MB, 1024), (MB, 1024, 1), (MB + 5, MB, 7)] {
            let budget = BodyBudget::new(total, most, connections.try_into().unwrap());
            assert!(budget.free() >= most.min(total) && budget.allowance <= MAX_ALLOWANCE);
            assert_eq!(budget.free() + budget.allowance * connections as u64, total);
        }
    }
}
