//! The shapes of OpenAI's API that this server reads and writes.
//!
//! Only shapes: nothing here knows what a prompt or a turn is. What a request may say and this server has no use for is
//! kept by its name, so that the client can be told; fields that clients rely on are written even when they are null.

use serde::Serialize;

pub mod chat;
pub mod reading;
pub mod responses;

/// The body of `GET /v1/models`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ModelList {
    /// `list`.
    pub object: &'static str,
    /// All of them.
    pub data: Vec<Model>,
}

/// One model, and the body of `GET /v1/models/{id}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Model {
    /// What a request's `model` may be.
    pub id: String,
    /// `model`.
    pub object: &'static str,
    /// When the server was started, in unix seconds: the CLI tells no date.
    pub created: u64,
    /// `anthropic`, or `alias` for a name that stands for another model.
    pub owned_by: &'static str,
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
