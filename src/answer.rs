//! A request for a reply and its answer, independent of which of OpenAI's APIs it came through. Pure.
//!
//! ```text
//! prompt     a ChatRequest → the text of a turn      exchange       turns → an Answer: parses, validates, retries
//! validator  validates replies                       stream_filter  withholds streamed text that may be a call
//! json       JSON in a reply; JSON Schemas           calls          function calls in a reply
//! ```
//!
//! The CLI cannot set structured output or functions for a single turn. So both are requested in the prompt, and every reply
//! is validated. An invalid reply is never returned as if it were valid: the turn is retried once, with the validator's
//! messages in the prompt, and then it is an error.

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

/// A request for a reply.
#[derive(Debug, Clone, PartialEq)]
pub struct ChatRequest {
    /// The model's name as the client wrote it; none for the server's default.
    pub model: Option<String>,
    /// The conversation, oldest entry first.
    pub conversation: Vec<Entry>,
    /// The format that the reply must have.
    pub reply_format: ReplyFormat,
    /// Stop sequences: the reply's text ends before the first of them.
    pub stop: Vec<String>,
    /// Whether the reply is streamed to the client.
    pub streamed: bool,
    /// Names of the parameters that were given and are not supported.
    pub ignored: Vec<String>,
}

/// A message of a conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The author's role.
    pub speaker: Speaker,
    /// The author's name among several of the same role.
    pub name: Option<String>,
    /// The message's text.
    pub text: String,
    /// The functions that the model called, for [`Speaker::Assistant`].
    pub calls: Vec<Call>,
}

impl Entry {
    /// A message without a name and without calls.
    #[must_use]
    pub fn new(speaker: Speaker, text: impl Into<String>) -> Self {
        Self { speaker, name: None, text: text.into(), calls: Vec::new() }
    }
}

/// A request that is rejected because of one of its parameters.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Invalid {
    /// The problem and the next step, for people.
    pub message: String,
    /// JSON path of the parameter, for example `messages[0].content[1]`.
    pub param: String,
    /// The kind of error.
    pub flaw: Flaw,
}

impl Invalid {
    /// An error about the value of `param`.
    pub fn new(param: impl Into<String>, message: impl Into<String>) -> Self {
        Self { message: message.into(), param: param.into(), flaw: Flaw::Value }
    }

    /// An error about the missing `param`.
    pub fn missing(param: impl Into<String>, message: impl Into<String>) -> Self {
        Self { flaw: Flaw::Missing, ..Self::new(param, message) }
    }

    /// An error about the type of `param`.
    pub fn of_type(param: impl Into<String>, message: impl Into<String>) -> Self {
        Self { flaw: Flaw::Type, ..Self::new(param, message) }
    }
}

impl From<Misread> for Invalid {
    fn from(Misread { flaw, param, message }: Misread) -> Self {
        Self { message, param, flaw }
    }
}

/// Role of an [`Entry`]'s author.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Speaker {
    /// Instructions.
    System,
    /// The user.
    User,
    /// The model, earlier in the conversation.
    Assistant,
    /// A function that the model called.
    Tool {
        /// The call's id.
        call: String,
    },
}

/// A function call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// `call_…`.
    pub id: String,
    /// The function's name.
    pub name: String,
    /// Its arguments, a JSON object as text.
    pub arguments: String,
}

/// The format that a reply must have.
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
        /// Whether the model must call one.
        choice: Choice,
        /// Whether one reply may have several calls.
        parallel: bool,
        /// Format of a reply without calls; none for any text.
        format: Option<JsonFormat>,
    },
}

/// The JSON that a reply must be.
#[derive(Debug, Clone, PartialEq)]
pub struct JsonFormat {
    /// JSON Schema of the reply; none for any object.
    pub schema: Option<serde_json::Value>,
    /// Whether a reply that is invalid also on the retry is returned all the same, with `schema_error`.
    pub lenient: bool,
    /// JSON path of the schema in the request, for errors.
    pub param: &'static str,
}

impl ReplyFormat {
    /// Format of a reply without calls; none for any text.
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
    /// A description for the model.
    pub description: Option<String>,
    /// The JSON Schema of its arguments; none for no arguments.
    pub parameters: Option<serde_json::Value>,
    /// JSON path of the schema in the request, for errors.
    pub param: String,
}

/// Which functions the model must call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Choice {
    /// The model decides.
    Auto,
    /// At least one of them.
    Required,
    /// The one with this name.
    Named(String),
}

/// An event of an answer in progress. `Done` is the last one.
#[derive(Debug, Clone, PartialEq)]
pub enum AnswerEvent {
    /// The next piece of the text; only if the request is streamed.
    Text(String),
    /// The complete answer. Its text is the concatenation of the pieces, if there were any. Calls are never streamed.
    Done(Answer),
}

/// A valid reply.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// The complete text; empty if there are only calls.
    pub text: String,
    /// Calls of functions, in order.
    pub calls: Vec<Call>,
    /// Why it ends.
    pub finish: Finish,
    /// The CLI's own count over all turns that it took.
    pub usage: Usage,
    /// The model that the CLI named, for example `claude-haiku-5-5`.
    pub model: Option<String>,
    /// Why the text does not match the requested JSON, if it is returned all the same.
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
