//! What a request asks for and what it is answered, whichever of OpenAI's APIs it came by. Pure.
//!
//! ```text
//! prompt    an ChatRequest → the text of a turn                  exchange  turns → an Answer: reads, checks, asks again
//! validator  what a reply has to be, and whether it is    stream_filter   what of a running reply may be passed on
//! json      JSON in a reply; schemas                      calls     calls of functions in a reply
//! ```
//!
//! The CLI has neither structured output nor functions that can be set for one turn, so both are asked for in words and
//! held against what comes back. A reply that is not what was wanted is never passed on as if it were: it is asked for
//! once more, with the validator's words, and then it is an error.

use crate::openai::reading::{Flaw, Misread};
use crate::turn::Usage;

mod calls;
pub mod exchange;
mod json;
mod prompt;
mod stream_filter;
mod validator;

#[cfg(test)]
mod tests;

/// What a request asks for.
#[derive(Debug, Clone, PartialEq)]
pub struct ChatRequest {
    /// The model's name as the client wrote it; none for the server's own.
    pub model: Option<String>,
    /// The conversation, oldest entry first.
    pub conversation: Vec<Entry>,
    /// What the reply has to be.
    pub reply_format: ReplyFormat,
    /// The reply's text ends before the first of these.
    pub stop: Vec<String>,
    /// The client sees the reply piece by piece.
    pub streamed: bool,
    /// Parameters that were given and can't be honoured, by their names.
    pub ignored: Vec<String>,
}

/// One entry of a conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Who says it.
    pub speaker: Speaker,
    /// Who that is among several of the same role.
    pub name: Option<String>,
    /// What is said.
    pub text: String,
    /// The functions that the model called, for [`Speaker::Assistant`].
    pub calls: Vec<Call>,
}

impl Entry {
    /// A text without more.
    #[must_use]
    pub fn new(speaker: Speaker, text: impl Into<String>) -> Self {
        Self { speaker, name: None, text: text.into(), calls: Vec::new() }
    }
}

/// A request that can't be answered as it is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Invalid {
    /// What is wrong, in words that tell the next step.
    pub message: String,
    /// Where, for example `messages[0].content[1]`.
    pub param: String,
    /// How it is wrong.
    pub flaw: Flaw,
}

impl Invalid {
    /// What is wrong with the value of `param`.
    pub fn new(param: impl Into<String>, message: impl Into<String>) -> Self {
        Self { message: message.into(), param: param.into(), flaw: Flaw::Value }
    }

    /// `param` is missing; why it is needed.
    pub fn missing(param: impl Into<String>, message: impl Into<String>) -> Self {
        Self { flaw: Flaw::Missing, ..Self::new(param, message) }
    }

    /// `param` is of the wrong type.
    pub fn of_type(param: impl Into<String>, message: impl Into<String>) -> Self {
        Self { flaw: Flaw::Type, ..Self::new(param, message) }
    }
}

impl From<Misread> for Invalid {
    fn from(Misread { flaw, param, message }: Misread) -> Self {
        Self { message, param, flaw }
    }
}

/// Who says an [`Entry`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Speaker {
    /// Instructions.
    System,
    /// The one who asks.
    User,
    /// The model, earlier in the conversation.
    Assistant,
    /// A function that the model called.
    Tool {
        /// The call's id.
        call: String,
    },
}

/// A call of a function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// `call_…`.
    pub id: String,
    /// The function's name.
    pub name: String,
    /// Its arguments, a JSON object as text.
    pub arguments: String,
}

/// What a reply has to be.
#[derive(Debug, Clone, PartialEq)]
pub enum ReplyFormat {
    /// Any text.
    Text,
    /// JSON.
    Json(JsonFormat),
    /// Text, or calls of functions.
    Tools {
        /// The functions.
        tools: Vec<Tool>,
        /// Which of them.
        choice: Choice,
        /// Whether there may be more than one call.
        parallel: bool,
        /// What the reply has to be when it is no call; none for any text.
        format: Option<JsonFormat>,
    },
}

/// What JSON is wanted.
#[derive(Debug, Clone, PartialEq)]
pub struct JsonFormat {
    /// What it has to be an instance of; none for any object.
    pub schema: Option<serde_json::Value>,
    /// A reply that is none, even when asked again, is passed on as it is, and marked.
    pub lenient: bool,
    /// Where the request says so, for an error about the schema.
    pub param: &'static str,
}

impl ReplyFormat {
    /// What a reply that is no call has to be; none for any text.
    #[must_use]
    pub fn format(&self) -> Option<&JsonFormat> {
        match self {
            Self::Text => None,
            Self::Json(format) => Some(format),
            Self::Tools { format, .. } => format.as_ref(),
        }
    }
}

/// A function that the model can call.
#[derive(Debug, Clone, PartialEq)]
pub struct Tool {
    /// Its name.
    pub name: String,
    /// What it does.
    pub description: Option<String>,
    /// The JSON Schema of its arguments; none for no arguments.
    pub parameters: Option<serde_json::Value>,
    /// Where the request says so, for an error about the schema.
    pub param: String,
}

/// Whether functions are called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Choice {
    /// The model decides.
    Auto,
    /// At least one of them.
    Required,
    /// This one.
    Named(String),
}

/// What comes of an [`ChatRequest`], piece by piece. After `Done` nothing follows.
#[derive(Debug, Clone, PartialEq)]
pub enum AnswerEvent {
    /// A piece of the text, in order; only if the ask is streamed.
    Text(String),
    /// The end: all of it. The text is exactly the concatenation of the pieces, if there were any; calls come here only.
    Done(Answer),
}

/// A reply that is what was wanted.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// The whole text; empty when there are only calls.
    pub text: String,
    /// Calls of functions, in order.
    pub calls: Vec<Call>,
    /// Why it ends.
    pub finish: Finish,
    /// The CLI's own count over all turns that it took.
    pub usage: Usage,
    /// The model that the CLI named, for example `claude-haiku-5-5`.
    pub model: Option<String>,
    /// What is wrong with the text, when it was wanted as JSON, is none, and is passed on all the same.
    pub schema_error: Option<String>,
}

/// Why a reply ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finish {
    /// The model had said everything, or a stop sequence came.
    Stop,
    /// A token limit cut it.
    Length,
    /// The model refused.
    ContentFilter,
    /// Functions are to be called.
    Calls,
}
