//! Refusals: which status, which words, and whether trying again makes sense.
//!
//! Clients set the rules. OpenAI's retry what carries `x-should-retry: true`, wait for `Retry-After` where there is
//! one, and give up on `x-should-retry: false`.
//!
//! | status | code | when | retry |
//! | --- | --- | --- | --- |
//! | 400 | `invalid_json` | the body is no JSON object | no |
//! | 400 | `invalid_type` | a part of it, named by `param`, is of the wrong type | no |
//! | 400 | `missing_required_parameter` | a part of it, named by `param`, is missing | no |
//! | 400 | `invalid_value` | a part of it, named by `param`, has a value that can't be honoured | no |
//! | 400 | `unreadable_body` | its chunks are malformed | no |
//! | 400 | `unsupported_parameter` | with `--strict-params`: `param` can't be honoured | no |
//! | 401 | `invalid_api_key` | the key is missing or wrong | no |
//! | 401 | `upstream_unauthorized` | the API does not take the CLI's login or key | no |
//! | 403 | `admin_key_required` | an operator's route, and the key is no operator's | no |
//! | 403 | `foreign_host` | without a key: `Host` is the name of another machine | no |
//! | 403 | `foreign_origin` | without a key: a web page of another origin asks | no |
//! | 404 | `model_not_found` | no model has this name | no |
//! | 404 | `response_not_found` | a reply that was given before is asked for again: nothing is kept | no |
//! | 404 | `unknown_url` | there is nothing at this path | no |
//! | 405 | `method_not_allowed` | the path does not take this method; `Allow` tells which | no |
//! | 408 | `request_timeout` | the body did not arrive in time | yes |
//! | 408 | `upstream_error` | the API says so | yes |
//! | 409 | `upstream_error` | the API says so | yes |
//! | 413 | `request_too_large` | the body is larger than `--max-body-bytes` | no |
//! | 415 | `unsupported_type` | the body is not declared as JSON, or is compressed | no |
//! | 422 | `invalid_reply` | the reply is not what was wanted of it, even when asked again | no |
//! | 4xx | `upstream_refused` | any other refusal of the API, with its status | no |
//! | 429 | `rate_limit_exceeded` | the account's quota is used up, or the API says so | after |
//! | 500 | `internal_error` | a defect of this server | no |
//! | 502 | `cli_failed` | the CLI ended or broke its protocol in the middle of the turn | yes |
//! | 502 | `upstream_error` | the API failed, or answered something that makes no sense | yes |
//! | 503 | `offline` | no CLI can be started | after |
//! | 503 | `queue_full` | as many requests wait as may | after |
//! | 503 | `queue_timeout` | no slot became free in time | after |
//! | 503 | `stopping` | the server is stopping | after |
//! | 503 | `too_many_connections` | as many connections are open as may | after |
//! | 503 | `upstream_overloaded` | the API is (its 503 and 529) | after |
//! | 504 | `deadline_exceeded` | the turn took too long, or was silent for too long | yes |
//! | 504 | `upstream_timeout` | the API says so | yes |
//!
//! `after` is a yes with `Retry-After`: a 429 and a 503 always have one, because a client without it comes back after
//! half a second, twice, and gives up. A 502 and a 504 have none: what failed is replaced already, the next try can run
//! at once, and clients pace themselves.
//!
//! Three answers are not made here, and have neither a body nor an id: hyper's own 400, 414 and 431, for a request's
//! first line or header that is not HTTP, has a URL of more than 65,534 bytes, or has more than 100 fields or more bytes
//! than are read. hyper writes them by itself before there is a request, and offers no way to have a say in them.

use std::time::Duration;

use axum::Json;
use axum::http::header::RETRY_AFTER;
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};

use crate::answer::Invalid;
use crate::openai::reading::{Flaw, Misread};
use crate::openai::{ErrorBody, ErrorObject};
use crate::text::ellipsize;
use crate::turn::TurnError;

/// Tells OpenAI's clients whether the same request can succeed later.
pub(super) const SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");

/// When to come back if nothing better is known: a turn or a start takes seconds.
pub(super) const SOON: Duration = Duration::from_secs(5);

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

/// The code of a refusal, for whoever sees only its response.
#[derive(Debug, Clone, Copy)]
pub(super) struct ErrorCode(pub(super) &'static str);

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

    fn retry_after(self, wait: Duration) -> Self {
        Self { retry: Retry::After(wait), ..self }
    }

    /// Names the part of the request that is wrong.
    pub(super) fn with_param(self, param: impl Into<String>) -> Self {
        Self { param: Some(param.into()), ..self }
    }

    /// The body did not come in time.
    pub(super) fn body_timeout(limit: Duration) -> Self {
        let message = format!("the request body did not arrive within {}", crate::turn::format_seconds(limit));
        Self::transient(StatusCode::REQUEST_TIMEOUT, "request_timeout", message)
    }

    /// The body came so slowly that others had to wait for the memory that it held.
    pub(super) fn body_too_slow() -> Self {
        let message = "the request body arrived too slowly while other requests waited for its memory; send it again";
        Self::transient(StatusCode::REQUEST_TIMEOUT, "request_timeout", message)
    }

    /// The key is good, and not for this.
    pub(super) fn not_an_admin(key: &str) -> Self {
        let message =
            format!("the key `{key}` is not an admin key: this route needs a key with `admin = true` in the key file");
        Self::invalid(StatusCode::FORBIDDEN, "admin_key_required", message)
    }

    /// All connections are in use.
    pub(super) fn too_many_connections() -> Self {
        let message = "too many open connections; reuse one, or try again later";
        Self::transient(StatusCode::SERVICE_UNAVAILABLE, "too_many_connections", message).retry_after(SOON)
    }

    /// A key has asked for more than it is allowed; `wait` until it may ask again, if that is known.
    pub(super) fn over_limit(message: String, wait: Option<Duration>) -> Self {
        Self::transient(StatusCode::TOO_MANY_REQUESTS, "rate_limit_exceeded", message).retry_after(wait.unwrap_or(SOON))
    }

    /// A handler panicked: a defect of this server, which the same request probably meets again.
    pub(super) fn internal() -> Self {
        let message = "the server failed to handle this request; see its log";
        Self { kind: "server_error", ..Self::invalid(StatusCode::INTERNAL_SERVER_ERROR, "internal_error", message) }
    }

    /// The turn's events ended without saying how.
    pub(super) fn turn_lost() -> Self {
        crate::pool::lost_turn_error().into()
    }

    /// Its code, as clients read it.
    pub(super) fn code(&self) -> &'static str {
        self.code
    }

    /// There is no such model.
    pub(super) fn unknown_model(asked: &str, list: &[String]) -> Self {
        let (asked, list) = (ellipsize(asked, MAX_MODEL_CHARS), list.join(", "));
        let message = format!(
            "unknown model {asked:?}; available are {list}, and every full name (claude-…). To map the name to a model, start \
             the server with --model-alias {asked}=…"
        );
        Self::invalid(StatusCode::NOT_FOUND, "model_not_found", message).with_param("model")
    }

    /// The reply was not what was wanted, even when asked for again.
    pub(super) fn invalid_reply(errors: &str) -> Self {
        let message = format!(
            "the model's reply did not match the requested format, also on the retry:
{errors}"
        );
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
                    .retry_after(retry_after.unwrap_or(SOON))
            }
            // 529 is the API's own "overloaded"; no client knows it.
            Some(status) if status.as_u16() == 529 || status == StatusCode::SERVICE_UNAVAILABLE => {
                Self::transient(StatusCode::SERVICE_UNAVAILABLE, "upstream_overloaded", message)
                    .retry_after(retry_after.unwrap_or(SOON))
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
            TurnError::UnknownModel { .. } => {
                Self::invalid(StatusCode::NOT_FOUND, "model_not_found", message).with_param("model")
            }
            TurnError::Cli(_) => Self::transient(StatusCode::BAD_GATEWAY, "cli_failed", message),
            TurnError::Deadline { .. } => Self::transient(StatusCode::GATEWAY_TIMEOUT, "deadline_exceeded", message),
            TurnError::QueueFull { .. } => Self::transient(UNAVAILABLE, "queue_full", message).retry_after(SOON),
            TurnError::QueueTimeout(_) => Self::transient(UNAVAILABLE, "queue_timeout", message).retry_after(SOON),
            TurnError::Offline { retry_after, .. } => {
                Self::transient(UNAVAILABLE, "offline", message).retry_after(retry_after)
            }
            TurnError::RateLimited { retry_after } => {
                Self::transient(StatusCode::TOO_MANY_REQUESTS, "rate_limit_exceeded", message).retry_after(retry_after)
            }
            TurnError::Stopping => Self::transient(UNAVAILABLE, "stopping", message).retry_after(SOON),
        }
    }
}

impl From<Invalid> for ApiError {
    fn from(Invalid { flaw, message, param }: Invalid) -> Self {
        Misread { flaw, param, message }.into()
    }
}

/// Longest message, in characters: it can quote the request, and so be as long as a body.
const MAX_MESSAGE_CHARS: usize = 1000;

/// Longest model name in a message, in characters.
const MAX_MODEL_CHARS: usize = 128;

impl From<Misread> for ApiError {
    fn from(Misread { flaw, param, message }: Misread) -> Self {
        let message = ellipsize(&message, MAX_MESSAGE_CHARS);
        let error = match flaw {
            Flaw::Json => Self::invalid(StatusCode::BAD_REQUEST, "invalid_json", message),
            Flaw::Type => Self::invalid(StatusCode::BAD_REQUEST, "invalid_type", message),
            Flaw::Missing => Self::invalid(StatusCode::BAD_REQUEST, "missing_required_parameter", message),
            Flaw::Value => Self::invalid(StatusCode::BAD_REQUEST, "invalid_value", message),
        };
        if param.is_empty() { error } else { error.with_param(ellipsize(&param, MAX_MESSAGE_CHARS)) }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let (status, code, retry) = (self.status, self.code, self.retry);
        let mut response = (status, Json(self.body())).into_response();
        response.extensions_mut().insert(ErrorCode(code));
        let headers = response.headers_mut();
        headers.insert(SHOULD_RETRY, HeaderValue::from_static(if retry == Retry::Never { "false" } else { "true" }));
        if let Retry::After(wait) = retry {
            headers.insert(RETRY_AFTER, HeaderValue::from(whole_seconds(wait)));
        }
        response
    }
}

/// `Retry-After` counts whole seconds; rounded up, so that no client comes too early, and never 0.
pub(super) fn whole_seconds(wait: Duration) -> u64 {
    (wait.as_secs() + u64::from(wait.subsec_nanos() > 0)).max(1)
}
