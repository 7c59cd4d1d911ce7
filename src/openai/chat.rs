//! `POST /v1/chat/completions`: what it reads and what it writes.

use std::fmt;

use serde::de::value::SeqAccessDeserializer;
use serde::de::{Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

/// The body of the request.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct ChatCompletionRequest {
    /// The model that shall answer; none for the server's own.
    #[serde(default)]
    pub model: Option<String>,
    /// The conversation, oldest message first.
    pub messages: Vec<Message>,
    /// How many replies are wanted.
    #[serde(default)]
    pub n: Option<u64>,
    /// Whether the reply comes in pieces.
    #[serde(default)]
    pub stream: Option<bool>,
    /// How the pieces come.
    #[serde(default)]
    pub stream_options: Option<StreamOptions>,
    /// Where the reply ends: a string, or up to four.
    #[serde(default)]
    pub stop: Option<Value>,
    /// What the reply has to be.
    #[serde(default)]
    pub response_format: Option<ResponseFormat>,
    /// Functions that the model may call.
    #[serde(default)]
    pub tools: Option<Vec<ToolDefinition>>,
    /// Whether it calls them: a word, or an object that names one.
    #[serde(default)]
    pub tool_choice: Option<Value>,
    /// Whether it may call several at once.
    #[serde(default)]
    pub parallel_tool_calls: Option<bool>,
    /// Everything else, by its name.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

/// What `response_format` says.
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
    /// What it is called.
    #[serde(default)]
    pub name: Option<String>,
    /// What it is for.
    #[serde(default)]
    pub description: Option<String>,
    /// The JSON Schema.
    #[serde(default)]
    pub schema: Option<Value>,
    /// False: a reply that does not fit is passed on as it is.
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
    /// What it does.
    #[serde(default)]
    pub description: Option<String>,
    /// The JSON Schema of its arguments; none for no arguments.
    #[serde(default)]
    pub parameters: Option<Value>,
}

/// What `stream_options` may say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
pub struct StreamOptions {
    /// Whether a chunk with the token counts comes before the end.
    #[serde(default)]
    pub include_usage: Option<bool>,
}

/// One message of the conversation.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Message {
    /// Who says it.
    pub role: Role,
    /// Who it is among several of the same role.
    #[serde(default)]
    pub name: Option<String>,
    /// What is said; an assistant that only calls functions says nothing.
    #[serde(default)]
    pub content: Option<Content>,
    /// What an assistant said instead, when it refused.
    #[serde(default)]
    pub refusal: Option<String>,
    /// The functions that an assistant called.
    #[serde(default)]
    pub tool_calls: Option<Vec<ToolCall>>,
    /// For a tool's result: the call that it belongs to.
    #[serde(default)]
    pub tool_call_id: Option<String>,
}

/// Who says a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Instructions.
    System,
    /// Instructions, under their newer name.
    Developer,
    /// The one who asks.
    User,
    /// The model, earlier in the conversation.
    Assistant,
    /// A function that the model called.
    Tool,
}

/// A call of a function: in a request one of an earlier reply, in a reply a new one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolCall {
    /// Names the call, so that its result can.
    pub id: String,
    /// `function`.
    #[serde(rename = "type", default)]
    pub kind: String,
    /// What is called.
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

/// What a message says.
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
    /// What it is: `text`, `image_url` …
    #[serde(rename = "type")]
    pub kind: String,
    /// Its text, where it has one.
    #[serde(default)]
    pub text: Option<String>,
    /// The words of a `refusal`.
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
    /// When the request was taken, in unix seconds.
    pub created: u64,
    /// The model that the request named.
    pub model: String,
    /// Exactly one.
    pub choices: [Choice; 1],
    /// The CLI's own token counts.
    pub usage: Usage,
    /// The server that answered, by its version.
    pub system_fingerprint: &'static str,
    /// What is wrong with a reply that is passed on although it does not fit its schema.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schema_error: Option<String>,
}

/// The reply of a [`ChatCompletion`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Choice {
    /// 0.
    pub index: u32,
    /// What the model says.
    pub message: ReplyMessage,
    /// Always null: the CLI has none.
    pub logprobs: Option<()>,
    /// Why the reply ends.
    pub finish_reason: FinishReason,
}

/// What the model says.
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
    /// Everything that the model read, cached or not.
    pub prompt_tokens: u64,
    /// Everything that it wrote, thinking included.
    pub completion_tokens: u64,
    /// Their sum.
    pub total_tokens: u64,
    /// Of `prompt_tokens`.
    pub prompt_tokens_details: PromptTokensDetails,
}

/// A closer look at [`Usage::prompt_tokens`].
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
    /// One, or none in the chunk that carries the usage.
    pub choices: Vec<ChunkChoice<'a>>,
    /// Token counts, where they were asked for.
    #[serde(skip_serializing_if = "ChunkUsage::is_not_asked_for")]
    pub usage: ChunkUsage,
    /// The server that answered, by its version.
    pub system_fingerprint: &'static str,
    /// What is wrong with a reply that is passed on although it does not fit its schema; in the closing chunk.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schema_error: Option<String>,
}

/// The piece in a [`Chunk`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ChunkChoice<'a> {
    /// 0.
    pub index: u32,
    /// What is new.
    pub delta: Delta<'a>,
    /// Always null: the CLI has none.
    pub logprobs: Option<()>,
    /// Why the reply ends; null in every chunk but the last one with a choice.
    pub finish_reason: Option<FinishReason>,
}

/// What is new in a [`Chunk`].
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

/// A call of a function in a [`Delta`]: first who is called, then with what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ToolCallDelta<'a> {
    /// The call's place among the calls of the reply.
    pub index: usize,
    /// Names the call; in its first delta.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<&'a str>,
    /// `function`; in its first delta.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<&'static str>,
    /// What is called.
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
