//! Pure: an OpenAI request becomes a prompt, and what a turn answers becomes a completion or chunks.
//!
//! A prompt is one text. A lone user message is passed on as it is; a conversation becomes sections in order, each
//! behind its role (`System: …`, `User: …`, `Assistant: …`) with an empty line between them. The marks are plain text:
//! they order a conversation and do not defend one part of it against another.

use crate::openai::{
    ChatCompletion, ChatRequest, Choice, Chunk, ChunkChoice, ChunkUsage, Content, Delta, FinishReason, Message, Part,
    PromptTokensDetails, ReplyMessage, Role, Usage,
};
use crate::turn::{self, Completion, Prompt};

#[cfg(test)]
mod tests;

/// A request that can't be answered as it is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Invalid {
    /// What is wrong, in words that tell the next step.
    pub message: String,
    /// Where, for example `messages[0].content[1]`.
    pub param: String,
}

/// The prompt that a request asks for.
pub fn prompt(request: ChatRequest) -> Result<Prompt, Invalid> {
    if request.n.is_some_and(|n| n != 1) {
        return Err(invalid("n", "only one reply can be given: leave `n` out or set it to 1"));
    }
    if request.messages.is_empty() {
        return Err(invalid("messages", "`messages` is empty: at least one message is needed"));
    }
    let streamed = request.stream.unwrap_or(false);
    let mut sections = Vec::with_capacity(request.messages.len());
    for (index, Message { role, content }) in request.messages.into_iter().enumerate() {
        sections.push((role, text(index, content)?));
    }
    if sections.iter().all(|(_, text)| text.trim().is_empty()) {
        return Err(invalid("messages", "the messages hold no text"));
    }
    Ok(Prompt { text: join(sections), model: None, streamed })
}

fn join(mut sections: Vec<(Role, String)>) -> String {
    // The CLI takes a user message that begins with a slash for a command of its own: `/clear` would answer nothing and
    // reset the conversation. Behind its role it is text like any other.
    if let [(Role::User, text)] = sections.as_mut_slice()
        && !text.trim_start().starts_with('/')
    {
        return std::mem::take(text);
    }
    let mut whole = String::with_capacity(sections.iter().map(|(_, text)| text.len() + 16).sum());
    for (role, text) in &sections {
        if !whole.is_empty() {
            whole.push_str("\n\n");
        }
        whole.push_str(mark(*role));
        whole.push_str(text);
    }
    whole
}

fn mark(role: Role) -> &'static str {
    match role {
        Role::System | Role::Developer => "System: ",
        Role::User => "User: ",
        Role::Assistant => "Assistant: ",
    }
}

fn text(message: usize, content: Content) -> Result<String, Invalid> {
    let parts = match content {
        Content::Text(text) => return Ok(text),
        Content::Parts(parts) => parts,
    };
    let mut whole = String::new();
    for (index, Part { kind, text }) in parts.into_iter().enumerate() {
        let param = || format!("messages[{message}].content[{index}]");
        if kind != "text" {
            return Err(invalid(param(), format!("a part of type {kind:?} can't be passed on: only `text` parts can")));
        }
        let Some(text) = text else {
            return Err(invalid(format!("{}.text", param()), "a `text` part needs a `text`"));
        };
        if index > 0 {
            whole.push('\n');
        }
        whole.push_str(&text);
    }
    Ok(whole)
}

fn invalid(param: impl Into<String>, message: impl Into<String>) -> Invalid {
    Invalid { message: message.into(), param: param.into() }
}

/// What all pieces of one reply share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// `chatcmpl-…`.
    pub id: String,
    /// When the request was taken, in unix seconds.
    pub created: u64,
    /// The model that the request named.
    pub model: String,
    /// Whether a streamed reply carries token counts.
    pub include_usage: bool,
}

impl Reply {
    /// The whole reply at once.
    #[must_use]
    pub fn whole(self, completion: Completion) -> ChatCompletion {
        ChatCompletion {
            id: self.id,
            object: "chat.completion",
            created: self.created,
            model: self.model,
            choices: [Choice {
                index: 0,
                finish_reason: finish_reason(completion.stop_reason.as_deref()),
                message: ReplyMessage { role: "assistant", content: completion.text, refusal: None },
                logprobs: None,
            }],
            usage: usage(completion.usage),
        }
    }

    /// The first chunk: it names the role and has no text.
    #[must_use]
    pub fn opening(&self) -> Chunk<'_> {
        self.chunk(Delta { role: Some("assistant"), content: Some("") }, None)
    }

    /// A chunk with a piece of the text.
    #[must_use]
    pub fn piece<'a>(&'a self, text: &'a str) -> Chunk<'a> {
        self.chunk(Delta { role: None, content: Some(text) }, None)
    }

    /// The chunk that tells why the reply ends.
    #[must_use]
    pub fn closing(&self, completion: &Completion) -> Chunk<'_> {
        self.chunk(Delta::default(), Some(finish_reason(completion.stop_reason.as_deref())))
    }

    /// The chunk with the token counts, where they were asked for.
    #[must_use]
    pub fn counts(&self, completion: &Completion) -> Option<Chunk<'_>> {
        self.include_usage.then(|| Chunk {
            choices: Vec::new(),
            usage: ChunkUsage::Counts(usage(completion.usage)),
            ..self.opening()
        })
    }

    fn chunk<'a>(&'a self, delta: Delta<'a>, finish_reason: Option<FinishReason>) -> Chunk<'a> {
        Chunk {
            id: &self.id,
            object: "chat.completion.chunk",
            created: self.created,
            model: &self.model,
            choices: vec![ChunkChoice { index: 0, delta, logprobs: None, finish_reason }],
            usage: if self.include_usage { ChunkUsage::NotYet } else { ChunkUsage::NotAskedFor },
        }
    }
}

/// OpenAI's word for the API's reason. A reason that is not known ends the reply like any other.
fn finish_reason(stop_reason: Option<&str>) -> FinishReason {
    match stop_reason {
        Some("max_tokens" | "model_context_window_exceeded") => FinishReason::Length,
        Some("refusal") => FinishReason::ContentFilter,
        _ => FinishReason::Stop,
    }
}

fn usage(usage: turn::Usage) -> Usage {
    Usage {
        prompt_tokens: usage.prompt(),
        completion_tokens: usage.output,
        total_tokens: usage.context(),
        prompt_tokens_details: PromptTokensDetails { cached_tokens: usage.cache_read },
    }
}
