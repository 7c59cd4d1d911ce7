//! The shapes of OpenAI's API that this server reads and writes.
//!
//! Only shapes: nothing here knows of prompts or turns. Parameters that this server does not use are kept by name, so that
//! the client can be told; fields that clients rely on are written even when they are null.

use serde::Serialize;

pub mod chat;
pub mod reading;
pub mod responses;

/// The body of `GET /v1/models`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ModelList {
    /// `list`.
    pub object: &'static str,
    /// Every model.
    pub data: Vec<Model>,
}

/// One model, and the body of `GET /v1/models/{id}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Model {
    /// A name that is valid as a request's `model`.
    pub id: String,
    /// `model`.
    pub object: &'static str,
    /// Start of the server, in unix seconds: the CLI reports no date.
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

/// The error of an [`ErrorBody`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ErrorObject {
    /// The problem and the next step, for people.
    pub message: String,
    /// The class of error.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// The part of the request that is wrong, for example `messages[0].content`.
    pub param: Option<String>,
    /// Stable code for programs.
    pub code: Option<&'static str>,
}
