//! Refusals: which status, which words, and whether trying again makes sense.
//!
//! Clients set the rules. OpenAI's retry what carries `x-should-retry: true`, wait for `Retry-After` where there is
//! one, and give up on `x-should-retry: false`.

use std::time::Duration;

use axum::Json;
use axum::http::header::RETRY_AFTER;
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};

use crate::answer::Invalid;
use crate::openai::{ErrorBody, ErrorObject};
use crate::turn::TurnError;

/// Tells OpenAI's clients whether the same request can succeed later.
pub(super) const SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");

/// When to come back if nothing better is known: a turn or a start takes seconds.
const SOON: Duration = Duration::from_secs(5);

/// A request that gets no completion.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ApiError {
    status: StatusCode,
    kind: &'static str,
    code: &'static str,
    message: String,
    param: Option<String>,
    retry: Retry,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Retry {
    /// The same request fails again.
    Never,
    /// At the client's own pace.
    Free,
    /// Not before.
    After(Duration),
}

impl ApiError {
    /// A request that is wrong in itself; trying again changes nothing.
    pub(super) fn invalid(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, kind: "invalid_request_error", code, message: message.into(), param: None, retry: Retry::Never }
    }

    /// A request that may succeed on its next try.
    fn transient(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        let kind = if status == StatusCode::TOO_MANY_REQUESTS { "rate_limit_error" } else { "server_error" };
        Self { kind, retry: Retry::Free, ..Self::invalid(status, code, message) }
    }

    fn after(self, wait: Duration) -> Self {
        Self { retry: Retry::After(wait), ..self }
    }

    /// Names the part of the request that is wrong.
    pub(super) fn at(self, param: impl Into<String>) -> Self {
        Self { param: Some(param.into()), ..self }
    }

    /// The body did not come in time.
    pub(super) fn body_timeout(limit: Duration) -> Self {
        let message = format!("the request body did not arrive within {}", crate::turn::seconds(limit));
        Self::transient(StatusCode::REQUEST_TIMEOUT, "request_timeout", message)
    }

    /// All connections are in use.
    pub(super) fn too_many_connections() -> Self {
        let message = "too many connections are open; reuse one, or come back";
        Self::transient(StatusCode::SERVICE_UNAVAILABLE, "too_many_connections", message).after(SOON)
    }

    /// A handler panicked: a defect of this server, which the same request probably meets again.
    pub(super) fn internal() -> Self {
        let message = "the server failed on this request; its log tells more";
        Self { kind: "server_error", ..Self::invalid(StatusCode::INTERNAL_SERVER_ERROR, "internal_error", message) }
    }

    /// The turn's events ended without saying how.
    pub(super) fn turn_lost() -> Self {
        TurnError::Cli("the turn ended without a result".to_owned()).into()
    }

    /// There is no such model.
    pub(super) fn unknown_model(asked: &str, list: &[String]) -> Self {
        let list = list.join(", ");
        let message = format!(
            "there is no model {asked:?}; there are {list}, and every full name (claude-…). --model-alias {asked}=… gives \
             the name a meaning"
        );
        Self::invalid(StatusCode::NOT_FOUND, "model_not_found", message).at("model")
    }

    /// The reply was not what was wanted, even when asked for again.
    pub(super) fn invalid_reply(words: &str) -> Self {
        let message = format!("the model's reply is not what was asked for, the second one neither:\n{words}");
        Self::invalid(StatusCode::UNPROCESSABLE_ENTITY, "invalid_reply", message)
    }

    /// The error as clients read it.
    pub(super) fn body(self) -> ErrorBody {
        let Self { kind, code, message, param, .. } = self;
        ErrorBody { error: ErrorObject { message, kind, param, code: Some(code) } }
    }

    fn from_upstream(status: Option<u16>, message: String, retry_after: Option<Duration>) -> Self {
        let status = status.and_then(|status| StatusCode::from_u16(status).ok());
        match status {
            Some(StatusCode::TOO_MANY_REQUESTS) => {
                Self::transient(StatusCode::TOO_MANY_REQUESTS, "rate_limit_exceeded", message)
                    .after(retry_after.unwrap_or(SOON))
            }
            // 529 is the API's own "overloaded"; no client knows it.
            Some(status) if status.as_u16() == 529 || status == StatusCode::SERVICE_UNAVAILABLE => {
                Self::transient(StatusCode::SERVICE_UNAVAILABLE, "upstream_overloaded", message)
                    .after(retry_after.unwrap_or(SOON))
            }
            Some(StatusCode::GATEWAY_TIMEOUT) => {
                Self::transient(StatusCode::GATEWAY_TIMEOUT, "upstream_timeout", message)
            }
            Some(status @ (StatusCode::REQUEST_TIMEOUT | StatusCode::CONFLICT)) => {
                Self::transient(status, "upstream_error", message)
            }
            Some(StatusCode::UNAUTHORIZED) => Self::invalid(StatusCode::UNAUTHORIZED, "upstream_unauthorized", message),
            Some(status) if status.is_client_error() => Self::invalid(status, "upstream_refused", message),
            _ => Self::transient(StatusCode::BAD_GATEWAY, "upstream_error", message),
        }
    }
}

impl From<TurnError> for ApiError {
    fn from(error: TurnError) -> Self {
        const UNAVAILABLE: StatusCode = StatusCode::SERVICE_UNAVAILABLE;
        let message = error.to_string();
        match error {
            TurnError::Api { status, retry_after, .. } => Self::from_upstream(status, message, retry_after),
            TurnError::Cli(_) => Self::transient(StatusCode::BAD_GATEWAY, "cli_failed", message),
            TurnError::Deadline { .. } => Self::transient(StatusCode::GATEWAY_TIMEOUT, "deadline_exceeded", message),
            TurnError::QueueFull { .. } => Self::transient(UNAVAILABLE, "queue_full", message).after(SOON),
            TurnError::QueueTimeout(_) => Self::transient(UNAVAILABLE, "queue_timeout", message).after(SOON),
            TurnError::Offline { retry_after, .. } => {
                Self::transient(UNAVAILABLE, "offline", message).after(retry_after)
            }
            TurnError::RateLimited { retry_after } => {
                Self::transient(StatusCode::TOO_MANY_REQUESTS, "rate_limit_exceeded", message).after(retry_after)
            }
            TurnError::Stopping => Self::transient(UNAVAILABLE, "stopping", message).after(SOON),
        }
    }
}

impl From<Invalid> for ApiError {
    fn from(Invalid { message, param }: Invalid) -> Self {
        Self::invalid(StatusCode::BAD_REQUEST, "invalid_value", message).at(param)
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let (status, retry) = (self.status, self.retry);
        let mut response = (status, Json(self.body())).into_response();
        let headers = response.headers_mut();
        headers.insert(SHOULD_RETRY, HeaderValue::from_static(if retry == Retry::Never { "false" } else { "true" }));
        if let Retry::After(wait) = retry {
            headers.insert(RETRY_AFTER, HeaderValue::from(whole_seconds(wait)));
        }
        response
    }
}

/// `Retry-After` counts whole seconds; rounded up, so that nobody comes too early, and never 0.
fn whole_seconds(wait: Duration) -> u64 {
    (wait.as_secs() + u64::from(wait.subsec_nanos() > 0)).max(1)
}
