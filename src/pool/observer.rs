//! Public events of the pool, for logs, metrics and external checks.

use std::time::Duration;

use crate::invoker::reason::RestartReason;
use crate::pool::status::PoolState;

/// Something that happened to an invoker or to the pool.
#[derive(Debug, Clone, PartialEq)]
pub enum LifeEvent {
    /// An invoker was started.
    Started {
        /// The invoker's number; the first is 1.
        invoker: u64,
        /// The slot that it starts for.
        slot: usize,
        /// It is a standby: an invoker still serves the slot.
        standby: bool,
    },
    /// An invoker answered `initialize`.
    Ready {
        /// The invoker's number.
        invoker: u64,
        /// Time since its start.
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
        /// RSS of the old invoker's process tree when it left the slot, in bytes.
        memory_before: u64,
        /// RSS of the new invoker's process tree when it had become ready, in bytes.
        memory_after: u64,
        /// How long the slot could take no turn; zero if a standby took over.
        vacant: Duration,
    },
    /// The process tree of an invoker is empty.
    Stopped {
        /// The invoker's number.
        invoker: u64,
        /// The reason for the stop or the error, as text.
        reason: String,
        /// The stop was not planned.
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

/// Receives the events of a pool. Runs on the pool's own task, so it must return at once.
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
                tracing::info!(invoker, reason, turns, ?lived, "invoker stopped");
            }
            LifeEvent::Stopped { invoker, reason, failed: true, turns, lived } => {
                tracing::warn!(invoker, reason, turns, ?lived, "invoker failed");
            }
            LifeEvent::State { state: PoolState::Offline, reason } => {
                tracing::error!(
                    reason,
                    "offline: the CLI cannot be started; requests are refused until a probe succeeds"
                );
            }
            LifeEvent::State { state, .. } => tracing::info!(?state, "pool state changed"),
        }
    }
}
