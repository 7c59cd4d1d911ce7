//! The shapes of OpenAI's API that this server reads and writes.
//!
//! Only shapes: nothing here knows what a prompt or a turn is. Fields that the server does not use are passed over when
//! it reads, and fields that clients rely on are written even when they are null.

use std::fmt;

use serde::de::value::SeqAccessDeserializer;
use serde::de::{Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

/// The body of `POST /v1/chat/completions`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct ChatRequest {
    /// Echoed in the reply; the CLI's model is fixed when it starts.
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
    /// What is said.
    pub content: Content,
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
}

// Written by hand because serde's enums call `"role": 5` a syntax error.
impl<'de> Deserialize<'de> for Role {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match String::deserialize(deserializer)?.as_str() {
            "system" => Ok(Self::System),
            "developer" => Ok(Self::Developer),
            "user" => Ok(Self::User),
            "assistant" => Ok(Self::Assistant),
            other => Err(D::Error::unknown_variant(other, &["system", "developer", "user", "assistant"])),
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
    /// The whole text.
    pub content: String,
    /// Always null: a refusal comes as text with [`FinishReason::ContentFilter`].
    pub refusal: Option<()>,
}

/// Why a reply ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FinishReason {
    /// The model had said everything.
    Stop,
    /// A token limit cut it.
    Length,
    /// The model refused.
    ContentFilter,
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Delta<'a> {
    /// `assistant` in the first chunk.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<&'static str>,
    /// The next piece of the text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content: Option<&'a str>,
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

/// An error as OpenAI's clients expect it: all four fields, always.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ErrorBody {
    /// The error.
    pub error: ErrorObject,
}

/// What is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ErrorObject {
    /// In words that tell the next step.
    pub message: String,
    /// The class of error.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// The part of the request that is wrong, for example `messages[0].content`.
    pub param: Option<String>,
    /// What programs can match on.
    pub code: Option<&'static str>,
}
