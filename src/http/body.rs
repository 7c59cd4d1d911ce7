//! Reading a request's body: the right type, not too much, not too long, and then JSON with the place of what is wrong.

use axum::extract::Request;
use axum::http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use super::Limits;
use super::error::ApiError;

/// The body of a request, as JSON of type `T`.
pub(super) async fn json<T: DeserializeOwned>(request: Request, max: u64, limits: Limits) -> Result<T, ApiError> {
    check_type(request.headers())?;
    let bytes = read(request, max, limits).await?;
    parse(&bytes)
}

/// JSON only. This is also what keeps a web page from sending a request without asking the browser's leave first.
fn check_type(headers: &HeaderMap) -> Result<(), ApiError> {
    let unsupported = |message| Err(ApiError::invalid(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_type", message));
    let kind = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if kind != "application/json" && !(kind.starts_with("application/") && kind.ends_with("+json")) {
        return unsupported("the body must be JSON: send `Content-Type: application/json`");
    }
    if headers.get(CONTENT_ENCODING).is_some_and(|coding| coding.as_bytes() != b"identity") {
        return unsupported("a compressed body is not supported: leave `Content-Encoding` out");
    }
    Ok(())
}

/// The body of a request.
pub(super) async fn read(request: Request, max: u64, limits: Limits) -> Result<Bytes, ApiError> {
    let too_large = || {
        let message = format!("the body is larger than {max} bytes, which is the limit");
        ApiError::invalid(StatusCode::PAYLOAD_TOO_LARGE, "request_too_large", message)
    };
    if declared_length(request.headers()).is_some_and(|length| length > max) {
        return Err(too_large());
    }
    let body = Limited::new(request.into_body(), usize::try_from(max).unwrap_or(usize::MAX));
    match timeout(limits.body, body.collect()).await {
        Err(_elapsed) => Err(ApiError::body_timeout(limits.body)),
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large()),
        Ok(Err(error)) => {
            let cause = error.source().map(|source| format!(": {source}")).unwrap_or_default();
            let message = format!("the body could not be read: {error}{cause}");
            Err(ApiError::invalid(StatusCode::BAD_REQUEST, "unreadable_body", message))
        }
    }
}

fn declared_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH).map(HeaderValue::to_str)?.ok()?.parse().ok()
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ApiError> {
    // serde would take an array for the fields of a struct in their order.
    if bytes.trim_ascii_start().first().is_some_and(|&first| first != b'{') {
        return Err(ApiError::invalid(StatusCode::BAD_REQUEST, "invalid_json", "the body is not a JSON object"));
    }
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let (path, error) = (error.path().to_string(), error.into_inner());
        if error.is_data() && path != "." {
            ApiError::invalid(StatusCode::BAD_REQUEST, "invalid_type", format!("`{path}`: {error}")).at(path)
        } else {
            not_json(&error)
        }
    })?;
    deserializer.end().map_err(|error| not_json(&error))?;
    Ok(value)
}

fn not_json(error: &serde_json::Error) -> ApiError {
    let what = if error.is_data() { "the body is not what is expected" } else { "the body is not JSON" };
    ApiError::invalid(StatusCode::BAD_REQUEST, "invalid_json", format!("{what}: {error}"))
}
