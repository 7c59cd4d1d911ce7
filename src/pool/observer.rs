//! The public observer of the pool's life: logs, metrics and outside checks hang on it.

use std::time::Duration;

use crate::invoker::reason::RestartReason;
use crate::pool::status::PoolState;

/// Something that happened to an invoker or to the pool.
#[derive(Debug, Clone, PartialEq)]
pub enum LifeEvent {
    /// A CLI process was asked for.
    Started {
        /// The invoker's number; the first is 1.
        invoker: u64,
        /// The slot that it starts for.
        slot: usize,
        /// It will take the slot over from an invoker that still serves.
        standby: bool,
    },
    /// It answered `initialize`.
    Ready {
        /// The invoker's number.
        invoker: u64,
        /// From the start until then.
        took: Duration,
        /// RSS of its process tree, in bytes.
        rss: u64,
    },
    /// A slot has a new invoker: one restart.
    Switched {
        /// The slot's number; the first is 0.
        slot: usize,
        /// The invoker that served before.
        old: u64,
        /// The one that serves now.
        new: u64,
        /// Why.
        reason: RestartReason,
        /// RSS of the old invoker's process tree when it was told to stop, in bytes.
        memory_before: u64,
        /// RSS of the new invoker's process tree when it had become ready, in bytes.
        memory_after: u64,
        /// How long nobody could be given the slot's turns; zero where a standby took it over.
        vacant: Duration,
    },
    /// Its process tree is empty.
    Stopped {
        /// The invoker's number.
        invoker: u64,
        /// Why it stopped, in words.
        reason: String,
        /// It failed, rather than being stopped as planned.
        failed: bool,
        /// Turns that it served.
        turns: u32,
        /// From its start until now.
        lived: Duration,
    },
    /// The pool's state changed.
    State {
        /// The new state.
        state: PoolState,
        /// Why, when the state is `Offline`.
        reason: Option<String>,
    },
}

/// Watches the pool's life. Called from the pool's own task: it must return at once.
pub trait Observer: Send + Sync + 'static {
    /// Called once for each event, in order.
    fn event(&self, event: &LifeEvent);
}

/// Writes every event to the log.
#[derive(Debug, Clone, Copy, Default)]
pub struct Log;

impl Observer for Log {
    fn event(&self, event: &LifeEvent) {
        match event {
            LifeEvent::Started { invoker, slot, standby } => tracing::info!(invoker, slot, standby, "invoker started"),
            LifeEvent::Ready { invoker, took, rss } => tracing::info!(invoker, ?took, rss, "invoker ready"),
            LifeEvent::Switched { slot, old, new, reason, memory_before, memory_after, vacant } => {
                tracing::info!(
                    slot,
                    old,
                    new,
                    reason = reason.as_str(),
                    memory_before,
                    memory_after,
                    ?vacant,
                    "slot switched to a new invoker"
                );
            }
            LifeEvent::Stopped { invoker, reason, failed: false, turns, lived } => {
                tracing::info!(invoker, reason, turns, ?lived, "invoker gone");
            }
            LifeEvent::Stopped { invoker, reason, failed: true, turns, lived } => {
                tracing::warn!(invoker, reason, turns, ?lived, "invoker failed and is gone");
            }
            LifeEvent::State { state: PoolState::Offline, reason } => {
                tracing::error!(reason, "offline: requests are refused until a probe finds the CLI well");
            }
            LifeEvent::State { state, .. } => tracing::info!(?state, "pool state changed"),
        }
    }
}
