//! Matches calls with their results, as OpenAI's own API does: an assistant's calls must be followed by exactly one result
//! for each of them.

use std::collections::HashSet;

use crate::answer::{Call, Entry, Invalid, Speaker};

/// Calls of the last message that was not a tool's.
#[derive(Default)]
struct OpenCalls<'a> {
    /// Index of the message with the calls.
    at: usize,
    calls: &'a [Call],
    ids: HashSet<&'a str>,
    answered: HashSet<&'a str>,
}

/// Checks a conversation whose entries have the indices of the request's messages.
pub(super) fn check_results(conversation: &[Entry]) -> Result<(), Invalid> {
    let mut open = OpenCalls::default();
    for (index, entry) in conversation.iter().enumerate() {
        if let Speaker::Tool { call } = &entry.speaker {
            open.add_result(index, call)?;
        } else {
            open.check_complete()?;
            let ids = entry.calls.iter().map(|call| call.id.as_str()).collect();
            open = OpenCalls { at: index, calls: &entry.calls, ids, answered: HashSet::new() };
        }
    }
    open.check_complete()
}

impl<'a> OpenCalls<'a> {
    fn add_result(&mut self, index: usize, call: &'a str) -> Result<(), Invalid> {
        if self.ids.contains(call) {
            self.answered.insert(call);
            return Ok(());
        }
        let message = format!(
            "no call has the `id` {call:?}: a tool message must follow the assistant message with the call that it answers"
        );
        Err(Invalid::new(format!("messages[{index}].tool_call_id"), message))
    }

    fn check_complete(&self) -> Result<(), Invalid> {
        let mut left = self.calls.iter().filter(|call| !self.answered.contains(call.id.as_str()));
        let Some(Call { id, .. }) = left.next() else { return Ok(()) };
        let more = match left.count() {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let message = format!(
            "no tool message answers the call {id:?}{more}: after `tool_calls`, send one tool message for each call"
        );
        Err(Invalid::new(format!("messages[{}].tool_calls", self.at), message))
    }
}
