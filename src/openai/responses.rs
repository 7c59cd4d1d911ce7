//! `POST /v1/responses`: what it reads and what it writes.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::chat::Content;

/// The body of the request.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct ResponsesRequest {
    /// The requested model; none for the server's default.
    #[serde(default)]
    pub model: Option<String>,
    /// The conversation.
    #[serde(default)]
    pub input: Value,
    /// A system message that goes before it.
    #[serde(default)]
    pub instructions: Option<String>,
    /// The requested format of the reply's text.
    #[serde(default)]
    pub text: Option<TextConfig>,
    /// Functions that the model may call.
    #[serde(default)]
    pub tools: Option<Vec<Value>>,
    /// Whether to call them: a mode, or an object that names functions.
    #[serde(default)]
    pub tool_choice: Option<Value>,
    /// Whether one reply may have several calls.
    #[serde(default)]
    pub parallel_tool_calls: Option<bool>,
    /// Options of the model's reasoning.
    #[serde(default)]
    pub reasoning: Option<Map<String, Value>>,
    /// Additional parts to include in the reply.
    #[serde(default)]
    pub include: Option<Vec<String>>,
    /// Labels that the reply repeats.
    #[serde(default)]
    pub metadata: Option<BTreeMap<String, String>>,
    /// Whether to stream the reply.
    #[serde(default)]
    pub stream: Option<bool>,
    /// Options of the stream.
    #[serde(default)]
    pub stream_options: Option<StreamOptions>,
    /// Whether to store the reply; rejected if true.
    #[serde(default)]
    pub store: Option<bool>,
    /// Whether to reply in the background; rejected if true.
    #[serde(default)]
    pub background: Option<bool>,
    /// A stored reply to continue; rejected.
    #[serde(default)]
    pub previous_response_id: Option<Value>,
    /// A stored conversation to continue; rejected.
    #[serde(default)]
    pub conversation: Option<Value>,
    /// A stored prompt; rejected.
    #[serde(default)]
    pub prompt: Option<Value>,
    /// All other parameters, by name.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

/// The value of `text`, in a request and repeated in its reply.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct TextConfig {
    /// The format of the text.
    #[serde(default)]
    pub format: Option<TextFormat>,
    /// How long the text should be.
    #[serde(default)]
    pub verbosity: Option<String>,
}

/// The `format` of a [`TextConfig`].
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct TextFormat {
    /// `text`, `json_object` or `json_schema`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The schema's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// A description for the model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The JSON Schema.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<Value>,
    /// If false, a reply that does not match is returned as it is, with `schema_error`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strict: Option<bool>,
}

/// The value of `stream_options`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
pub struct StreamOptions {
    /// Whether events are padded to hide their lengths.
    #[serde(default)]
    pub include_obfuscation: Option<bool>,
}

/// An input item: a message.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct MessageItem {
    /// `user`, `assistant`, `system` or `developer`.
    pub role: String,
    /// The message's content.
    pub content: Content,
}

/// An input item: a function call of the model.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct FunctionCallItem {
    /// Id of the call; its output repeats it.
    pub call_id: String,
    /// The function.
    pub name: String,
    /// Its arguments, JSON as text.
    #[serde(default)]
    pub arguments: String,
}

/// An input item: the result of a function.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct FunctionCallOutputItem {
    /// The call that it answers.
    pub call_id: String,
    /// The result.
    pub output: Content,
}

/// One of the `tools`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct FunctionTool {
    /// The function's name.
    pub name: String,
    /// A description for the model.
    #[serde(default)]
    pub description: Option<String>,
    /// The JSON Schema of its arguments; none for no arguments.
    #[serde(default)]
    pub parameters: Option<Value>,
}

/// A reply, complete or in progress.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Response<'a> {
    /// `resp_…`.
    pub id: &'a str,
    /// `response`.
    pub object: &'static str,
    /// When the request arrived, in unix seconds.
    pub created_at: u64,
    /// When the reply was complete, in unix seconds; null before that, and for a failed reply.
    pub completed_at: Option<u64>,
    /// Its state.
    pub status: Status,
    /// Why the reply failed.
    pub error: Option<ResponseError<'a>>,
    /// Why the reply is incomplete.
    pub incomplete_details: Option<IncompleteDetails>,
    /// The model that the request named.
    pub model: &'a str,
    /// The model's message and function calls.
    pub output: Vec<OutputItem<'a>>,
    /// The CLI's own token counts; null until the end.
    pub usage: Option<Usage>,
    /// Settings repeated from the request.
    #[serde(flatten)]
    pub settings: &'a Settings,
    /// Always false: background replies are not supported.
    pub background: bool,
    /// Always false: replies are not stored.
    pub store: bool,
    /// Always null: replies are not stored.
    pub previous_response_id: Option<()>,
    /// Always `default`: there is only one.
    pub service_tier: &'static str,
    /// Why a reply does not match its schema, if it is returned all the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schema_error: Option<&'a str>,
}

/// Settings that a reply repeats from its request, with OpenAI's defaults for absent ones.
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

/// The [`Settings`] with plain values.
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

/// State of a [`Response`] or of one of its items.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Not complete yet.
    InProgress,
    /// Complete.
    Completed,
    /// Ended early; see `incomplete_details`.
    Incomplete,
    /// Ended without a result.
    Failed,
}

/// Why a [`Response`] failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct ResponseError<'a> {
    /// One of OpenAI's codes.
    pub code: &'static str,
    /// The problem and the next step, for people.
    pub message: &'a str,
}

/// Why a [`Response`] is incomplete.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct IncompleteDetails {
    /// `max_output_tokens` or `content_filter`.
    pub reason: &'static str,
}

/// A message or a function call of the model.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum OutputItem<'a> {
    /// Text.
    Message {
        /// `msg_…`.
        id: &'a str,
        /// Its state.
        status: Status,
        /// `assistant`.
        role: &'static str,
        /// One part, or none before it begins.
        content: Vec<OutputPart<'a>>,
    },
    /// A function call.
    FunctionCall {
        /// `fc_…`.
        id: String,
        /// Its state.
        status: Status,
        /// Id that its output has to repeat: `call_…`.
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
    /// Text.
    OutputText {
        /// The text so far.
        text: &'a str,
        /// Always empty.
        annotations: [(); 0],
        /// Always empty: the CLI has none.
        logprobs: [(); 0],
    },
}

impl<'a> OutputPart<'a> {
    /// A part with `text`.
    #[must_use]
    pub fn text(text: &'a str) -> Self {
        Self::OutputText { text, annotations: [], logprobs: [] }
    }
}

/// Token counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Usage {
    /// All input tokens, cached or not.
    pub input_tokens: u64,
    /// Of `input_tokens`.
    pub input_tokens_details: InputTokensDetails,
    /// All output tokens, thinking included.
    pub output_tokens: u64,
    /// Of `output_tokens`.
    pub output_tokens_details: OutputTokensDetails,
    /// Their sum.
    pub total_tokens: u64,
}

/// Breakdown of [`Usage::input_tokens`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct InputTokensDetails {
    /// Tokens read from the prompt cache.
    pub cached_tokens: u64,
    /// Tokens written to the prompt cache.
    pub cache_write_tokens: u64,
}

/// Breakdown of [`Usage::output_tokens`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct OutputTokensDetails {
    /// Always 0: the CLI does not count thinking apart.
    pub reasoning_tokens: u64,
}

/// One event of a streamed reply.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Event<'a> {
    /// Event type, for example `response.created`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// Position in the stream, from 0.
    pub sequence_number: u64,
    /// Fields of this event type.
    #[serde(flatten)]
    pub body: EventBody<'a>,
}

/// Fields of an [`Event`] by its type.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum EventBody<'a> {
    /// The state of the whole reply.
    Response {
        /// The reply, item or part as it is now.
        response: Box<Response<'a>>,
    },
    /// An item begins or is complete.
    Item {
        /// Position in the output.
        output_index: usize,
        /// The reply, item or part as it is now.
        item: OutputItem<'a>,
    },
    /// Progress of a message.
    Message {
        /// The message.
        item_id: &'a str,
        /// Position in the output.
        output_index: usize,
        /// 0.
        content_index: usize,
        /// The new part.
        #[serde(flatten)]
        news: MessageNews<'a>,
    },
    /// Progress of a function call.
    Call {
        /// The call.
        item_id: String,
        /// Position in the output.
        output_index: usize,
        /// The new part.
        #[serde(flatten)]
        news: CallNews<'a>,
    },
    /// The reply failed. The fields appear twice: as OpenAI's reference documents them, and below `error`, where OpenAI's
    /// clients look for them.
    Error {
        /// Stable code for programs.
        code: Option<&'a str>,
        /// The problem and the next step, for people.
        message: &'a str,
        /// The part of the request that is wrong.
        param: Option<&'a str>,
        /// The same as an object.
        error: &'a super::ErrorObject,
    },
}

/// The new part of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum MessageNews<'a> {
    /// The message's part begins or is complete.
    Part {
        /// The reply, item or part as it is now.
        part: OutputPart<'a>,
    },
    /// The next piece of text.
    Delta {
        /// The text or arguments.
        delta: &'a str,
        /// Always empty.
        logprobs: [(); 0],
    },
    /// The complete text.
    Text {
        /// The text or arguments.
        text: &'a str,
        /// Always empty.
        logprobs: [(); 0],
    },
}

/// The new part of a function call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum CallNews<'a> {
    /// The next piece of its arguments.
    Delta {
        /// The reply, item or part as it is now.
        delta: &'a str,
    },
    /// All arguments.
    Arguments {
        /// The function.
        name: &'a str,
        /// The text or arguments.
        arguments: &'a str,
    },
}
