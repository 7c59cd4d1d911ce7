//! The types between a request and an invoker: prompt, events, completion, error.
//!
//! This module knows nothing of HTTP, processes or the CLI's JSON.

use std::time::Duration;

/// One user message for the CLI.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prompt {
    /// The whole text of the user message, system and earlier messages included.
    pub text: String,
    /// The CLI's name of the model; `None` is the model that the CLI was started with.
    pub model: Option<String>,
    /// The client gets the reply in pieces. Without this, no part of the reply reaches it before the end, so a turn that
    /// fails in the middle can be retried.
    pub streamed: bool,
}

/// A model that the CLI offers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Model {
    /// The name for `set_model`, for example `haiku`.
    pub name: String,
    /// The full id that it stands for, where the CLI tells it, for example `claude-haiku-5-5`.
    pub id: Option<String>,
}

/// An event of a running turn. `Done` or `Failed` is the last one.
#[derive(Debug, Clone, PartialEq)]
pub enum TurnEvent {
    /// A piece of the reply's text, in order. Only for a [`Prompt`] that is streamed.
    Text(String),
    /// The turn ended well.
    Done(Completion),
    /// The turn ended badly.
    Failed(TurnError),
}

/// A turn that ended well.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Completion {
    /// The reply's whole text: exactly the concatenation of a streamed turn's [`TurnEvent::Text`]s.
    pub text: String,
    /// The model that the CLI named, for example `claude-haiku-5-5`.
    pub model: Option<String>,
    /// The API's reason, for example `end_turn` or `max_tokens`.
    pub stop_reason: Option<String>,
    /// The CLI's own count, in tokens.
    pub usage: Usage,
}

/// Token counts as the CLI reports them with a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Input tokens that were not cached.
    pub input: u64,
    /// Input tokens written to the prompt cache.
    pub cache_creation: u64,
    /// Input tokens read from the prompt cache.
    pub cache_read: u64,
    /// Output tokens, thinking included.
    pub output: u64,
}

impl Usage {
    /// Everything that the model read, cached or not, in tokens.
    #[must_use]
    pub fn prompt(&self) -> u64 {
        self.input + self.cache_creation + self.cache_read
    }

    /// The sum, count by count.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            input: self.input + other.input,
            cache_creation: self.cache_creation + other.cache_creation,
            cache_read: self.cache_read + other.cache_read,
            output: self.output + other.output,
        }
    }

    /// Size of the conversation after this turn, in tokens.
    #[must_use]
    pub fn context(&self) -> u64 {
        self.prompt() + self.output
    }
}

/// Why a request got no reply. Every accepted request ends in a [`Completion`], in one of these, or by its client
/// going away.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TurnError {
    /// The API behind the CLI refused the turn; the CLI reports it as a result that looks like a success.
    #[error("the API answered {}: {message}", status.map_or_else(|| "with an error".to_owned(), |s| s.to_string()))]
    Api {
        /// The API's HTTP status, where the CLI told it.
        status: Option<u16>,
        /// The CLI's words.
        message: String,
        /// How long to wait before the next try, where the CLI told it.
        retry_after: Option<Duration>,
    },
    /// The CLI's process ended or broke its protocol in the middle of the turn.
    #[error("the CLI failed during the turn: {0}")]
    Cli(String),
    /// The CLI does not switch to the model that the turn wants; nothing was asked of any other.
    #[error("the CLI does not take the model {model:?}: {words}")]
    UnknownModel {
        /// The model, as the CLI was asked for it.
        model: String,
        /// The CLI's words.
        words: String,
    },
    /// A deadline passed; the turn was interrupted.
    #[error("the turn was given up after {}: {what}", crate::turn::format_seconds(*.after))]
    Deadline {
        /// Which deadline.
        what: &'static str,
        /// Its length.
        after: Duration,
    },
    /// The queue is full: this request was never accepted.
    #[error("the queue is full: {waiting} {} waiting already", if *.waiting == 1 { "request is" } else { "requests are" })]
    QueueFull {
        /// How many wait.
        waiting: usize,
    },
    /// The request waited for a free slot as long as it may.
    #[error("no slot became free within {}", crate::turn::format_seconds(*.0))]
    QueueTimeout(Duration),
    /// No CLI can be started; a probe tries again.
    #[error("the CLI is offline: {reason}")]
    Offline {
        /// The failure, with the next step.
        reason: String,
        /// When the next probe is due.
        retry_after: Duration,
    },
    /// The account's quota is used up until a known time.
    #[error("the account's rate limit is reached; it resets in {}", crate::turn::format_seconds(*.retry_after))]
    RateLimited {
        /// Until then.
        retry_after: Duration,
    },
    /// The server is stopping.
    #[error("the server is stopping")]
    Stopping,
}

/// A duration as people read it: `2 s`, `0.5 s`.
pub(crate) fn format_seconds(d: Duration) -> String {
    let s = d.as_secs_f64();
    if d.subsec_millis() == 0 { format!("{s:.0} s") } else { format!("{s:.1} s") }
}
