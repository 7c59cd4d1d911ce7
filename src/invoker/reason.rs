//! Why an invoker is stopped or replaced.

use serde::Serialize;

/// Why a slot gets a new invoker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum RestartReason {
    /// `max_turns` was reached.
    Turns,
    /// `max_context_tokens` was reached.
    Tokens,
    /// `max_age` was reached.
    Age,
    /// `max_idle` was reached.
    Idle,
    /// `max_cli_rss_mb` was reached.
    Memory,
    /// The CLI could not prove that it forgot the last request.
    Isolation,
    /// An operator asked for it.
    Admin,
    /// The old invoker failed.
    Recovery,
}

impl RestartReason {
    /// Every reason.
    pub const ALL: [Self; 8] =
        [Self::Turns, Self::Tokens, Self::Age, Self::Idle, Self::Memory, Self::Isolation, Self::Admin, Self::Recovery];

    /// Its name on the health page, in metrics and in the log.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Turns => "turns",
            Self::Tokens => "tokens",
            Self::Age => "age",
            Self::Idle => "idle",
            Self::Memory => "memory",
            Self::Isolation => "isolation",
            Self::Admin => "admin",
            Self::Recovery => "recovery",
        }
    }
}

/// Why an invoker is stopped as planned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopReason {
    /// A new invoker takes its slot.
    Restart(RestartReason),
    /// The server stops.
    Shutdown,
    /// The server stops, and was told not to wait.
    Kill,
    /// Its handle was dropped.
    Dropped,
}

impl StopReason {
    /// Its name in the log.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Restart(reason) => reason.as_str(),
            Self::Shutdown => "stopping",
            Self::Kill => "killed",
            Self::Dropped => "dropped",
        }
    }
}
