//! `POST /v1/chat/completions`: what it reads and what it writes.

use std::fmt;

use serde::de::value::SeqAccessDeserializer;
use serde::de::{Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

/// The body of the request.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct ChatCompletionRequest {
    /// The requested model; none for the server's default.
    #[serde(default)]
    pub model: Option<String>,
    /// The conversation, oldest message first.
    pub messages: Vec<Message>,
    /// Number of replies.
    #[serde(default)]
    pub n: Option<u64>,
    /// Whether to stream the reply.
    #[serde(default)]
    pub stream: Option<bool>,
    /// Options of the stream.
    #[serde(default)]
    pub stream_options: Option<StreamOptions>,
    /// Stop sequences: a string, or an array of up to four.
    #[serde(default)]
    pub stop: Option<Value>,
    /// The requested format of the reply.
    #[serde(default)]
    pub response_format: Option<ResponseFormat>,
    /// Functions that the model may call.
    #[serde(default)]
    pub tools: Option<Vec<ToolDefinition>>,
    /// Whether to call them: a mode, or an object that names a function.
    #[serde(default)]
    pub tool_choice: Option<Value>,
    /// Whether one reply may have several calls.
    #[serde(default)]
    pub parallel_tool_calls: Option<bool>,
    /// All other parameters, by name.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

/// The value of `response_format`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct ResponseFormat {
    /// `text`, `json_object` or `json_schema`.
    #[serde(rename = "type")]
    pub kind: String,
    /// For `json_schema`.
    #[serde(default)]
    pub json_schema: Option<JsonSchema>,
}

/// The schema of a [`ResponseFormat`].
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct JsonSchema {
    /// The schema's name.
    #[serde(default)]
    pub name: Option<String>,
    /// A description for the model.
    #[serde(default)]
    pub description: Option<String>,
    /// The JSON Schema.
    #[serde(default)]
    pub schema: Option<Value>,
    /// If false, a reply that does not match is returned as it is, with `schema_error`.
    #[serde(default)]
    pub strict: Option<bool>,
}

/// One of the `tools`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct ToolDefinition {
    /// `function`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The function.
    #[serde(default)]
    pub function: Option<FunctionDefinition>,
}

/// The function of a [`ToolDefinition`].
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct FunctionDefinition {
    /// Its name.
    pub name: String,
    /// A description for the model.
    #[serde(default)]
    pub description: Option<String>,
    /// The JSON Schema of its arguments; none for no arguments.
    #[serde(default)]
    pub parameters: Option<Value>,
}

/// The value of `stream_options`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
pub struct StreamOptions {
    /// Whether a chunk with the token counts comes before the end.
    #[serde(default)]
    pub include_usage: Option<bool>,
}

/// One message of the conversation.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Message {
    /// The author.
    pub role: Role,
    /// The author's name among several of the same role.
    #[serde(default)]
    pub name: Option<String>,
    /// The content; absent for an assistant message that only has calls.
    #[serde(default)]
    pub content: Option<Content>,
    /// The text of an assistant's refusal, in place of `content`.
    #[serde(default)]
    pub refusal: Option<String>,
    /// The functions that an assistant called.
    #[serde(default)]
    pub tool_calls: Option<Vec<ToolCall>>,
    /// For a tool message: the id of the call that it answers.
    #[serde(default)]
    pub tool_call_id: Option<String>,
}

/// The author of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Instructions.
    System,
    /// Instructions, under the role's newer name.
    Developer,
    /// The user.
    User,
    /// The model, earlier in the conversation.
    Assistant,
    /// A function that the model called.
    Tool,
}

/// A function call: in a request one of an earlier reply, in a reply a new one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolCall {
    /// Id of the call; its result repeats it.
    pub id: String,
    /// `function`.
    #[serde(rename = "type", default)]
    pub kind: String,
    /// The function and its arguments.
    pub function: FunctionCall,
}

/// The function of a [`ToolCall`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FunctionCall {
    /// Its name.
    pub name: String,
    /// Its arguments, JSON as text.
    #[serde(default)]
    pub arguments: String,
}

// Written by hand because serde's enums call `"role": 5` a syntax error.
impl<'de> Deserialize<'de> for Role {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match String::deserialize(deserializer)?.as_str() {
            "system" => Ok(Self::System),
            "developer" => Ok(Self::Developer),
            "user" => Ok(Self::User),
            "assistant" => Ok(Self::Assistant),
            "tool" => Ok(Self::Tool),
            other => Err(D::Error::unknown_variant(other, &["system", "developer", "user", "assistant", "tool"])),
        }
    }
}

/// The content of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// A plain string.
    Text(String),
    /// An array of parts.
    Parts(Vec<Part>),
}

/// One part of a message's content.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Part {
    /// The type: `text`, `image_url` …
    #[serde(rename = "type")]
    pub kind: String,
    /// Its text, where it has one.
    #[serde(default)]
    pub text: Option<String>,
    /// The text of a `refusal`.
    #[serde(default)]
    pub refusal: Option<String>,
}

// Written by hand because an untagged enum says only "did not match any variant", and loses the path to what is wrong.
impl<'de> Deserialize<'de> for Content {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ContentVisitor;

        impl<'de> Visitor<'de> for ContentVisitor {
            type Value = Content;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string or an array of parts")
            }

            fn visit_str<E>(self, text: &str) -> Result<Content, E> {
                Ok(Content::Text(text.to_owned()))
            }

            fn visit_string<E>(self, text: String) -> Result<Content, E> {
                Ok(Content::Text(text))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, parts: A) -> Result<Content, A::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(parts)).map(Content::Parts)
            }
        }

        deserializer.deserialize_any(ContentVisitor)
    }
}

/// A whole reply.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ChatCompletion {
    /// `chatcmpl-…`.
    pub id: String,
    /// `chat.completion`.
    pub object: &'static str,
    /// When the request arrived, in unix seconds.
    pub created: u64,
    /// The model that the request named.
    pub model: String,
    /// Exactly one.
    pub choices: [Choice; 1],
    /// The CLI's own token counts.
    pub usage: Usage,
    /// The server that answered, by its version.
    pub system_fingerprint: &'static str,
    /// Why a reply does not match its schema, if it is returned all the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schema_error: Option<String>,
}

/// The reply of a [`ChatCompletion`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Choice {
    /// 0.
    pub index: u32,
    /// The reply's message.
    pub message: ReplyMessage,
    /// Always null: the CLI has none.
    pub logprobs: Option<()>,
    /// Why the reply ends.
    pub finish_reason: FinishReason,
}

/// The reply's message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ReplyMessage {
    /// `assistant`.
    pub role: &'static str,
    /// The whole text; null when there are only calls.
    pub content: Option<String>,
    /// Always null: a refusal comes as text with [`FinishReason::ContentFilter`].
    pub refusal: Option<()>,
    /// The functions that are to be called.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tool_calls: Vec<ToolCall>,
    /// Always empty.
    pub annotations: [(); 0],
}

/// Why a reply ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FinishReason {
    /// The model had said everything, or a stop sequence came.
    Stop,
    /// A token limit cut it.
    Length,
    /// The model refused.
    ContentFilter,
    /// Functions are to be called.
    ToolCalls,
}

/// Token counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Usage {
    /// All input tokens, cached or not.
    pub prompt_tokens: u64,
    /// All output tokens, thinking included.
    pub completion_tokens: u64,
    /// Their sum.
    pub total_tokens: u64,
    /// Of `prompt_tokens`.
    pub prompt_tokens_details: PromptTokensDetails,
}

/// Breakdown of [`Usage::prompt_tokens`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct PromptTokensDetails {
    /// Tokens read from the prompt cache.
    pub cached_tokens: u64,
}

/// One piece of a streamed reply.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Chunk<'a> {
    /// `chatcmpl-…`, the same in every chunk.
    pub id: &'a str,
    /// `chat.completion.chunk`.
    pub object: &'static str,
    /// The same in every chunk, in unix seconds.
    pub created: u64,
    /// The model that the request named.
    pub model: &'a str,
    /// A single choice; empty in the chunk that carries the usage.
    pub choices: Vec<ChunkChoice<'a>>,
    /// Token counts, if the request asked for them.
    #[serde(skip_serializing_if = "ChunkUsage::is_not_asked_for")]
    pub usage: ChunkUsage,
    /// The server that answered, by its version.
    pub system_fingerprint: &'static str,
    /// Why a reply does not match its schema, if it is returned all the same; in the chunk with the finish reason.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schema_error: Option<String>,
}

/// The piece in a [`Chunk`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ChunkChoice<'a> {
    /// 0.
    pub index: u32,
    /// The new part of the message.
    pub delta: Delta<'a>,
    /// Always null: the CLI has none.
    pub logprobs: Option<()>,
    /// Why the reply ends; null in every chunk but the last one with a choice.
    pub finish_reason: Option<FinishReason>,
}

/// The new part of the message in a [`Chunk`].
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Delta<'a> {
    /// `assistant` in the first chunk.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<&'static str>,
    /// The next piece of the text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content: Option<&'a str>,
    /// Functions that are to be called.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tool_calls: Vec<ToolCallDelta<'a>>,
}

/// A function call in a [`Delta`]: first the name, then the arguments.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ToolCallDelta<'a> {
    /// Index of the call among the calls of the reply.
    pub index: usize,
    /// Id of the call; in its first delta.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<&'a str>,
    /// `function`; in its first delta.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<&'static str>,
    /// The function and its arguments.
    pub function: FunctionDelta<'a>,
}

/// The function of a [`ToolCallDelta`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FunctionDelta<'a> {
    /// Its name; in the first delta.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<&'a str>,
    /// The next piece of its arguments.
    pub arguments: &'a str,
}

/// The `usage` of a [`Chunk`]: with `include_usage` every chunk has one, and it is null until the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum ChunkUsage {
    /// The field is left out.
    NotAskedFor,
    /// Null.
    NotYet,
    /// The counts.
    Counts(Usage),
}

impl ChunkUsage {
    fn is_not_asked_for(&self) -> bool {
        matches!(self, Self::NotAskedFor)
    }
}
