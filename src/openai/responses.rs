//! `POST /v1/responses`: what it reads and what it writes.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::chat::Content;

/// The body of the request.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct ResponsesRequest {
    /// The model that shall answer; none for the server's own.
    #[serde(default)]
    pub model: Option<String>,
    /// The conversation.
    #[serde(default)]
    pub input: Value,
    /// A system message that goes before it.
    #[serde(default)]
    pub instructions: Option<String>,
    /// What the reply's text has to be.
    #[serde(default)]
    pub text: Option<TextConfig>,
    /// Functions that the model may call.
    #[serde(default)]
    pub tools: Option<Vec<Value>>,
    /// Whether it calls them: a word, or an object that names some.
    #[serde(default)]
    pub tool_choice: Option<Value>,
    /// Whether it may call several at once.
    #[serde(default)]
    pub parallel_tool_calls: Option<bool>,
    /// How the model thinks.
    #[serde(default)]
    pub reasoning: Option<Map<String, Value>>,
    /// What else the reply shall hold.
    #[serde(default)]
    pub include: Option<Vec<String>>,
    /// Handed back with the reply.
    #[serde(default)]
    pub metadata: Option<BTreeMap<String, String>>,
    /// Whether the reply comes in pieces.
    #[serde(default)]
    pub stream: Option<bool>,
    /// How the pieces come.
    #[serde(default)]
    pub stream_options: Option<StreamOptions>,
    /// Whether the reply is kept.
    #[serde(default)]
    pub store: Option<bool>,
    /// Whether the reply is made while nobody waits for it.
    #[serde(default)]
    pub background: Option<bool>,
    /// A kept reply that this one continues.
    #[serde(default)]
    pub previous_response_id: Option<Value>,
    /// A kept conversation that this reply goes on with.
    #[serde(default)]
    pub conversation: Option<Value>,
    /// A kept prompt.
    #[serde(default)]
    pub prompt: Option<Value>,
    /// Everything else, by its name.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

/// What `text` says; in a reply, what it said.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct TextConfig {
    /// What the text has to be.
    #[serde(default)]
    pub format: Option<TextFormat>,
    /// How much of it there shall be.
    #[serde(default)]
    pub verbosity: Option<String>,
}

/// What a [`TextConfig`]'s `format` says.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct TextFormat {
    /// `text`, `json_object` or `json_schema`.
    #[serde(rename = "type")]
    pub kind: String,
    /// What the schema is called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The JSON Schema.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<Value>,
    /// False: a reply that does not fit is passed on as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strict: Option<bool>,
}

/// What `stream_options` may say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
pub struct StreamOptions {
    /// Whether events are padded to hide their lengths.
    #[serde(default)]
    pub include_obfuscation: Option<bool>,
}

/// An item of the input: something that is said.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct MessageItem {
    /// `user`, `assistant`, `system` or `developer`.
    pub role: String,
    /// What is said.
    pub content: Content,
}

/// An item of the input: the model called a function.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct FunctionCallItem {
    /// Names the call.
    pub call_id: String,
    /// The function.
    pub name: String,
    /// Its arguments, JSON as text.
    #[serde(default)]
    pub arguments: String,
}

/// An item of the input: what a function gave back.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct FunctionCallOutputItem {
    /// The call that it answers.
    pub call_id: String,
    /// What it gave back.
    pub output: Content,
}

/// One of the `tools`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct FunctionTool {
    /// The function's name.
    pub name: String,
    /// What it does.
    #[serde(default)]
    pub description: Option<String>,
    /// The JSON Schema of its arguments; none for no arguments.
    #[serde(default)]
    pub parameters: Option<Value>,
}

/// A reply, whole or on its way.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Response<'a> {
    /// `resp_…`.
    pub id: &'a str,
    /// `response`.
    pub object: &'static str,
    /// When the request was taken, in unix seconds.
    pub created_at: u64,
    /// When the reply was there, in unix seconds; null until then, and where it never was.
    pub completed_at: Option<u64>,
    /// How far it is.
    pub status: Status,
    /// Why there is none.
    pub error: Option<ResponseError<'a>>,
    /// Why it is not whole.
    pub incomplete_details: Option<IncompleteDetails>,
    /// The model that the request named.
    pub model: &'a str,
    /// What the model says and calls.
    pub output: Vec<OutputItem<'a>>,
    /// The CLI's own token counts; null until the end.
    pub usage: Option<Usage>,
    /// What the request said.
    #[serde(flatten)]
    pub settings: &'a Settings,
    /// Always false: it is made while the client waits.
    pub background: bool,
    /// Always false: nothing is kept.
    pub store: bool,
    /// Always null: nothing is kept that could be continued.
    pub previous_response_id: Option<()>,
    /// Always `default`: there is only one.
    pub service_tier: &'static str,
    /// What is wrong with a reply that is passed on although it does not fit its schema.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schema_error: Option<&'a str>,
}

/// What a request says and its reply repeats, with OpenAI's values for what the request leaves out.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Settings {
    /// As in the request.
    pub instructions: Option<String>,
    /// As in the request, or empty.
    pub metadata: BTreeMap<String, String>,
    /// As in the request, or `text`.
    pub text: TextConfig,
    /// As in the request.
    pub tools: Vec<Value>,
    /// As in the request, or `auto`.
    pub tool_choice: Value,
    /// As in the request, or true.
    pub parallel_tool_calls: bool,
    /// As in the request, with `effort` and `summary`.
    pub reasoning: Map<String, Value>,
    /// The rest.
    #[serde(flatten)]
    pub plain: PlainSettings,
}

/// Those of the [`Settings`] that are plain values.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct PlainSettings {
    /// As in the request.
    pub max_output_tokens: Option<u64>,
    /// As in the request.
    pub max_tool_calls: Option<u64>,
    /// As in the request.
    pub prompt_cache_key: Option<String>,
    /// As in the request.
    pub safety_identifier: Option<String>,
    /// As in the request, or 1.
    pub temperature: Option<f64>,
    /// As in the request, or 0.
    pub top_logprobs: Option<u64>,
    /// As in the request, or 1.
    pub top_p: Option<f64>,
    /// As in the request, or `disabled`.
    pub truncation: Option<String>,
    /// As in the request.
    pub user: Option<String>,
}

/// How far a [`Response`] or one of its items is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// On its way.
    InProgress,
    /// There, and whole.
    Completed,
    /// There, and cut short.
    Incomplete,
    /// It will never be there.
    Failed,
}

/// Why a [`Response`] failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct ResponseError<'a> {
    /// One of OpenAI's codes.
    pub code: &'static str,
    /// In words that tell the next step.
    pub message: &'a str,
}

/// Why a [`Response`] is incomplete.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct IncompleteDetails {
    /// `max_output_tokens` or `content_filter`.
    pub reason: &'static str,
}

/// Something that the model says or calls.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum OutputItem<'a> {
    /// Words.
    Message {
        /// `msg_…`.
        id: &'a str,
        /// How far it is.
        status: Status,
        /// `assistant`.
        role: &'static str,
        /// One part, or none before it begins.
        content: Vec<OutputPart<'a>>,
    },
    /// A call of a function.
    FunctionCall {
        /// `fc_…`.
        id: String,
        /// How far it is.
        status: Status,
        /// What its output will name: `call_…`.
        call_id: &'a str,
        /// The function.
        name: &'a str,
        /// Its arguments, JSON as text.
        arguments: &'a str,
    },
}

/// A part of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum OutputPart<'a> {
    /// Words.
    OutputText {
        /// All of them so far.
        text: &'a str,
        /// Always empty.
        annotations: [(); 0],
        /// Always empty: the CLI has none.
        logprobs: [(); 0],
    },
}

impl<'a> OutputPart<'a> {
    /// These words.
    #[must_use]
    pub fn text(text: &'a str) -> Self {
        Self::OutputText { text, annotations: [], logprobs: [] }
    }
}

/// Token counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Usage {
    /// Everything that the model read, cached or not.
    pub input_tokens: u64,
    /// Of `input_tokens`.
    pub input_tokens_details: InputTokensDetails,
    /// Everything that it wrote, thinking included.
    pub output_tokens: u64,
    /// Of `output_tokens`.
    pub output_tokens_details: OutputTokensDetails,
    /// Their sum.
    pub total_tokens: u64,
}

/// A closer look at [`Usage::input_tokens`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct InputTokensDetails {
    /// Tokens read from the prompt cache.
    pub cached_tokens: u64,
    /// Tokens written to the prompt cache.
    pub cache_write_tokens: u64,
}

/// A closer look at [`Usage::output_tokens`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct OutputTokensDetails {
    /// Always 0: the CLI does not count thinking apart.
    pub reasoning_tokens: u64,
}

/// One event of a streamed reply.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Event<'a> {
    /// What it is, for example `response.created`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// Its place in the stream, from 0.
    pub sequence_number: u64,
    /// What it tells.
    #[serde(flatten)]
    pub body: EventBody<'a>,
}

/// What an [`Event`] tells.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum EventBody<'a> {
    /// The whole reply, as far as it is.
    Response {
        /// It.
        response: Box<Response<'a>>,
    },
    /// An item begins, or is whole.
    Item {
        /// Its place in the output.
        output_index: usize,
        /// It.
        item: OutputItem<'a>,
    },
    /// Something of a message.
    Message {
        /// The message.
        item_id: &'a str,
        /// Its place in the output.
        output_index: usize,
        /// 0.
        content_index: usize,
        /// What is new of it.
        #[serde(flatten)]
        news: MessageNews<'a>,
    },
    /// Something of a call.
    Call {
        /// The call.
        item_id: String,
        /// Its place in the output.
        output_index: usize,
        /// What is new of it.
        #[serde(flatten)]
        news: CallNews<'a>,
    },
    /// The reply fails. It is written in two ways: as OpenAI's reference has it, and below `error`, where OpenAI's
    /// clients look for it.
    Error {
        /// What programs can match on.
        code: Option<&'a str>,
        /// In words that tell the next step.
        message: &'a str,
        /// The part of the request that is wrong.
        param: Option<&'a str>,
        /// The same as an object.
        error: &'a super::ErrorObject,
    },
}

/// What is new of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum MessageNews<'a> {
    /// Its part begins, or is whole.
    Part {
        /// It.
        part: OutputPart<'a>,
    },
    /// The next words.
    Delta {
        /// They.
        delta: &'a str,
        /// Always empty.
        logprobs: [(); 0],
    },
    /// All words.
    Text {
        /// They.
        text: &'a str,
        /// Always empty.
        logprobs: [(); 0],
    },
}

/// What is new of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum CallNews<'a> {
    /// The next piece of its arguments.
    Delta {
        /// It.
        delta: &'a str,
    },
    /// All arguments.
    Arguments {
        /// The function.
        name: &'a str,
        /// They.
        arguments: &'a str,
    },
}
