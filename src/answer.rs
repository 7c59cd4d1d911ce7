//! What a request asks for and what it is answered, whichever of OpenAI's APIs it came by. Pure.

use crate::turn::Usage;

/// What a request asks for.
#[derive(Debug, Clone, PartialEq)]
pub struct Ask {
    /// The model's name as the client wrote it; none for the server's own.
    pub model: Option<String>,
    /// The conversation, oldest entry first.
    pub conversation: Vec<Entry>,
    /// What the reply has to be.
    pub want: Want,
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
    /// What is said.
    pub text: String,
    /// The functions that the model called, for [`Speaker::Assistant`].
    pub calls: Vec<Call>,
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
pub enum Want {
    /// Any text.
    Text,
    /// JSON.
    Json {
        /// What it has to be an instance of; none for any object.
        schema: Option<serde_json::Value>,
        /// A reply that is none, even when asked again, is passed on as it is, and marked.
        lenient: bool,
    },
    /// Text, or calls of functions.
    Tools {
        /// The functions.
        tools: Vec<Tool>,
        /// Which of them.
        choice: Choice,
        /// Whether there may be more than one call.
        parallel: bool,
    },
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

/// What comes of an [`Ask`], piece by piece. After `Done` nothing follows.
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
