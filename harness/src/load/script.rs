//! What a load says and what it may hear.

use std::collections::HashSet;

/// The prompts that are sent, in turn, and every reply that the recording can give.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Script {
    prompts: Vec<String>,
    replies: HashSet<String>,
}

impl Script {
    /// A script of these prompts and replies.
    #[must_use]
    pub fn new(prompts: Vec<String>, replies: Vec<String>) -> Self {
        Self { prompts, replies: replies.into_iter().collect() }
    }

    /// The prompt of request `number`.
    #[must_use]
    pub fn prompt(&self, number: u64) -> &str {
        let count = self.prompts.len().max(1) as u64;
        let index = usize::try_from(number % count).unwrap_or(0);
        self.prompts.get(index).map_or("Hello", String::as_str)
    }

    /// Whether the recording has a reply with exactly this text.
    #[must_use]
    pub fn is_reply(&self, text: &str) -> bool {
        self.replies.contains(text)
    }
}
