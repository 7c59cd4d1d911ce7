//! A snapshot of the pool, cheap to take at any time.

use std::time::Duration;

use serde::Serialize;

use crate::invoker::reason::RestartReason;

/// Whether requests are served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum PoolState {
    /// No invoker has become ready yet.
    Starting,
    /// Requests are served, or wait for a slot.
    Ready,
    /// No CLI can be started; requests are refused at once.
    Offline,
    /// The server is stopping.
    Stopping,
}

/// A problem of a pool that is `ready`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Recovery {
    /// No invoker could take a turn for some seconds: requests wait for a start.
    Stalled,
    /// The CLI has failed several times in a row, and no turn has shown since that it works.
    Trial,
}

/// A snapshot of the pool.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PoolStatus {
    /// Whether requests are served.
    pub state: PoolState,
    /// The problem that the pool recovers from, when `state` is `ready`.
    pub recovery: Option<Recovery>,
    /// The failure that opened the circuit, when `state` is `offline`.
    pub offline_reason: Option<String>,
    /// Places for serving invokers.
    pub slots: usize,
    /// Invokers whose process tree is not known to be empty.
    pub live: usize,
    /// The largest `live` since the start, kept at every instant.
    pub high_water: usize,
    /// Invokers that wait to take over a slot.
    pub standby: usize,
    /// Turns that run now.
    pub busy: usize,
    /// Requests that wait for a slot.
    pub waiting: usize,
    /// Nothing runs, waits, starts or stops: every slot has an idle invoker with an empty conversation.
    pub settled: bool,
    /// Invokers started since the start.
    pub started: u64,
    /// Turns ended since the start, well or badly.
    pub turns: u64,
    /// Restarts by reason.
    pub restarts: RestartCounts,
    /// The latest restart, once there was one.
    pub last_restart: Option<LastRestart>,
    /// Until the next probe, when `state` is `offline`.
    pub probe_in: Option<Duration>,
    /// Until the account's quota is renewed, when it is used up; until then requests are refused.
    pub quota_in: Option<Duration>,
}

/// Restarts since the start, by reason. A restart is counted when its slot has switched to the new invoker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct RestartCounts {
    /// `max_turns` was reached.
    pub turns: u64,
    /// `max_context_tokens` was reached.
    pub tokens: u64,
    /// `max_age` was reached.
    pub age: u64,
    /// `max_idle` was reached.
    pub idle: u64,
    /// `max_cli_rss_mb` was reached.
    pub memory: u64,
    /// The CLI could not prove that it forgot the last request.
    pub isolation: u64,
    /// Somebody asked for it.
    pub admin: u64,
    /// The old invoker failed.
    pub recovery: u64,
}

impl RestartCounts {
    /// All of them.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.by_reason().iter().map(|(_, count)| count).sum()
    }

    /// Each count with its reason.
    #[must_use]
    pub fn by_reason(&self) -> [(RestartReason, u64); 8] {
        let mut counts = *self;
        RestartReason::ALL.map(|reason| (reason, *counts.of_mut(reason)))
    }

    /// The count of one reason.
    pub(super) fn of_mut(&mut self, reason: RestartReason) -> &mut u64 {
        match reason {
            RestartReason::Turns => &mut self.turns,
            RestartReason::Tokens => &mut self.tokens,
            RestartReason::Age => &mut self.age,
            RestartReason::Idle => &mut self.idle,
            RestartReason::Memory => &mut self.memory,
            RestartReason::Isolation => &mut self.isolation,
            RestartReason::Admin => &mut self.admin,
            RestartReason::Recovery => &mut self.recovery,
        }
    }
}

/// The latest restart, with the memory of the replaced invoker's tree and of its successor's.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LastRestart {
    /// Why.
    pub reason: RestartReason,
    /// RSS of the old invoker's process tree when it was told to stop, in MB (10^6 bytes).
    pub memory_before_mb: f64,
    /// RSS of the new invoker's process tree when it had become ready, in MB (10^6 bytes).
    pub memory_after_mb: f64,
}
