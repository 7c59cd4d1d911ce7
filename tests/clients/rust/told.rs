//! What the client is given, what it is asked to make, and how what it saw is told in one line.

use std::cell::Cell;
use std::error::Error;
use std::fmt::Write;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use async_openai::Client;
use async_openai::config::OpenAIConfig;
use async_openai::error::OpenAIError;
use async_openai::middleware::ReqwestService;
use async_openai::middleware::retry::OpenAIRetryLayer;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tower::Layer;

/// The line that is told, or what the client raised.
pub(crate) type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Something that the client can do, by its name.
pub(crate) type Operation = fn(Env) -> Pin<Box<dyn Future<Output = Result<String>>>>;

/// Where the server is, and what to ask of it.
#[derive(Deserialize)]
pub(crate) struct Given {
    base: String,
    pub(crate) prompt: String,
    pub(crate) model: String,
    key: String,
    retries: usize,
    /// In seconds.
    timeout: f64,
}

/// One operation's share of the conversation with `tests/clients/run`.
pub(crate) struct Env {
    id: u64,
    pub(crate) given: Given,
    has_begun: Cell<bool>,
}

impl Env {
    pub(crate) fn new(id: u64, given: Given) -> Self {
        Self { id, given, has_begun: Cell::new(false) }
    }

    /// The client, set up as its documentation says: retries and a deadline are middleware.
    pub(crate) fn client(&self) -> Result<Client<OpenAIConfig>> {
        let given = &self.given;
        let config = OpenAIConfig::new().with_api_base(&given.base).with_api_key(&given.key);
        let http = reqwest::Client::builder().timeout(Duration::from_secs_f64(given.timeout)).build()?;
        let service = OpenAIRetryLayer::new(given.retries).layer(ReqwestService::new(http));
        Ok(Client::with_config(config).with_http_service(service))
    }

    /// Tells once that the stream has begun.
    pub(crate) fn piece(&self) -> std::io::Result<()> {
        if self.has_begun.replace(true) { Ok(()) } else { crate::say(&json!({"id": self.id, "piece": true})) }
    }
}

/// What is asked for by a schema.
#[derive(Serialize, Deserialize)]
pub(crate) struct Person {
    name: String,
    age: i64,
    tags: Vec<String>,
}

impl Person {
    pub(crate) fn schema() -> Value {
        let tags = json!({"type": "array", "items": {"type": "string"}});
        let properties = json!({"name": {"type": "string"}, "age": {"type": "integer"}, "tags": tags});
        json!({"type": "object", "properties": properties, "required": ["name", "age", "tags"], "additionalProperties": false})
    }

    /// The client has no types of its user's: it gives text, and the user reads it.
    pub(crate) fn read(text: &str) -> Result<String> {
        Ok(serde_json::to_string(&serde_json::from_str::<Self>(text)?)?)
    }
}

/// What the function that is offered answers.
pub(crate) const RESULT: &str = "[[answer:echo]] 21 degrees";

/// The arguments of the function that is offered.
pub(crate) fn city() -> Value {
    json!({
        "type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"], "additionalProperties": false
    })
}

/// Token counts: that they are there and add up is the point.
pub(crate) fn counted(counts: Option<(u32, u32, u32)>) -> String {
    match counts {
        None => "no usage".into(),
        Some((read, written, total)) if read > 0 && written > 0 && total == read + written => "usage adds up".into(),
        Some(odd) => format!("usage {odd:?}"),
    }
}

/// A stream's text, and whether it came in pieces.
pub(crate) fn streamed(pieces: &[String]) -> String {
    let some = pieces.iter().filter(|piece| !piece.is_empty()).count();
    let how = if some > 1 { "in pieces".into() } else { format!("in {some} piece") };
    format!("{} | {how}", pieces.concat())
}

/// A value as its JSON has it, without quotes.
pub(crate) fn plain(value: &impl Serialize) -> Result<String> {
    Ok(match serde_json::to_value(value)? {
        Value::String(text) => text,
        other => other.to_string(),
    })
}

/// An error as the client's user meets it: its variant, and the fields that programs look at.
pub(crate) fn words(error: &(dyn Error + 'static)) -> String {
    match error.downcast_ref::<OpenAIError>() {
        Some(OpenAIError::ApiError(refusal)) => {
            let mut told = format!("ApiError {}", refusal.status_code.as_u16());
            for field in [&refusal.api_error.code, &refusal.api_error.param].into_iter().flatten() {
                let _ = write!(told, " {field}");
            }
            told
        }
        Some(OpenAIError::Reqwest(error)) if error.is_timeout() => "Reqwest, a timeout".into(),
        Some(OpenAIError::Reqwest(_)) => "Reqwest".into(),
        Some(OpenAIError::JSONDeserialize(..)) => "JSONDeserialize".into(),
        Some(OpenAIError::StreamError(_)) => "StreamError".into(),
        _ => format!("{error}"),
    }
}
