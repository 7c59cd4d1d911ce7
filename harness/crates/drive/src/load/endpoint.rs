//! Where a load goes, and how strictly its replies are read.

use std::net::SocketAddr;

/// A chat completions endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Where it listens.
    pub address: SocketAddr,
    /// The value of the `Host` header.
    pub host: String,
    /// The path of the request.
    pub path: String,
    /// The model that is asked for.
    pub model: String,
    /// The bearer token, if it wants one.
    pub key: Option<String>,
    /// How replies are read.
    pub strictness: Strictness,
}

/// How strictly replies are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strictness {
    /// As our server has to answer: each reply is exactly one that the CLI gave to this request.
    Exact,
    /// As somebody else's may answer: whatever the reply carries of marks is its own.
    Marks,
}

impl Endpoint {
    /// Our server at `address`.
    #[must_use]
    pub fn for_own_server(address: SocketAddr) -> Self {
        Self {
            address,
            host: address.to_string(),
            path: "/v1/chat/completions".to_owned(),
            model: "haiku".to_owned(),
            key: None,
            strictness: Strictness::Exact,
        }
    }
}
