//! Reading a request's body: the right type, not too much by itself nor together with others, not too long, and then
//! JSON with the place of what is wrong.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use http_body_util::BodyExt;
use serde::de::DeserializeOwned;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::Limits;
use super::error::ApiError;
use crate::config::Config;
use crate::openai::reading;
use crate::turn::TurnError;

/// Room for the bodies of all requests together. A request takes its part before its body is read, in the order of
/// arrival, and gives it back when its reply has ended: until then what was in the body is held in one form or another.
#[derive(Debug)]
pub(super) struct Room {
    /// In units of [`UNIT`].
    left: Arc<Semaphore>,
    /// The longest body.
    most: u64,
    /// How long a request may wait for its part.
    wait: Duration,
    /// How long a body may take to arrive.
    arrival: Duration,
}

/// A request's part of the [`Room`]; dropping it gives it back.
#[derive(Debug)]
pub(super) struct Held {
    _part: OwnedSemaphorePermit,
}

/// A body that was read before its handler asked for it: an extension of its request.
#[derive(Clone)]
pub(super) struct Early(Arc<Mutex<Option<Read>>>);

/// A body, and the room that it takes.
type Read = (Vec<u8>, Held);

/// What a semaphore counts has to fit into 32 bits.
const UNIT: u64 = 1024;

impl Room {
    pub(super) fn new(config: &Config, limits: Limits) -> Self {
        let units = usize::try_from(config.max_bodies_bytes.div_ceil(UNIT)).unwrap_or(usize::MAX);
        Self {
            left: Arc::new(Semaphore::new(units.min(Semaphore::MAX_PERMITS))),
            most: config.max_body_bytes,
            wait: config.queue_timeout,
            arrival: limits.body,
        }
    }

    /// The body of a request, as JSON of type `T`.
    pub(super) async fn json<T: DeserializeOwned>(&self, request: Request) -> Result<(T, Held), ApiError> {
        check_type(request.headers())?;
        let (mut parts, body) = request.into_parts();
        let early = parts.extensions.remove::<Early>();
        let (bytes, held) = match early.and_then(|Early(early)| early.lock().ok()?.take()) {
            Some(read) => read,
            None => self.read(declared_length(&parts.headers), body).await?,
        };
        Ok((reading::body(&bytes)?, held))
    }

    /// Reads the body now, for whoever asks for it later.
    pub(super) async fn read_early(&self, request: Request) -> Result<Request, ApiError> {
        let (mut parts, body) = request.into_parts();
        let read = self.read(declared_length(&parts.headers), body).await?;
        parts.extensions.insert(Early(Arc::new(Mutex::new(Some(read)))));
        Ok(Request::from_parts(parts, Body::empty()))
    }

    async fn read(&self, declared: Option<u64>, mut body: Body) -> Result<Read, ApiError> {
        if declared.is_some_and(|length| length > self.most) {
            return Err(self.too_large());
        }
        // One whose length is not known may become as long as any.
        let mut part = self.enter(declared.unwrap_or(self.most)).await?;
        let bytes = timeout(self.arrival, self.collect(declared.unwrap_or(0), &mut body)).await;
        let mut bytes = bytes.map_err(|_elapsed| ApiError::body_timeout(self.arrival))??;
        let needless = part.num_permits().saturating_sub(units(bytes.len() as u64) as usize);
        drop(part.split(needless));
        // One whose length was not known has grown by doubling: what is held is what it takes.
        bytes.shrink_to_fit();
        Ok((bytes, Held { _part: part }))
    }

    async fn enter(&self, bytes: u64) -> Result<OwnedSemaphorePermit, ApiError> {
        match timeout(self.wait, Arc::clone(&self.left).acquire_many_owned(units(bytes))).await {
            Ok(Ok(part)) => Ok(part),
            // Nobody closes the semaphore.
            Ok(Err(_)) => Err(ApiError::internal()),
            Err(_elapsed) => Err(TurnError::QueueTimeout(self.wait).into()),
        }
    }

    /// Into one piece of memory, because many small ones that live as long leave holes between them.
    async fn collect(&self, declared: u64, body: &mut Body) -> Result<Vec<u8>, ApiError> {
        let mut bytes = Vec::with_capacity(usize::try_from(declared).unwrap_or(0));
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| {
                let cause = std::error::Error::source(&error).map(|source| format!(": {source}")).unwrap_or_default();
                let message = format!("the body could not be read: {error}{cause}");
                ApiError::invalid(StatusCode::BAD_REQUEST, "unreadable_body", message)
            })?;
            let Ok(data) = frame.into_data() else { continue };
            if (bytes.len() + data.len()) as u64 > self.most {
                return Err(self.too_large());
            }
            bytes.extend_from_slice(&data);
        }
        Ok(bytes)
    }

    fn too_large(&self) -> ApiError {
        let message = format!("the body is larger than {} bytes, which is the limit", self.most);
        ApiError::invalid(StatusCode::PAYLOAD_TOO_LARGE, "request_too_large", message)
    }
}

fn units(bytes: u64) -> u32 {
    u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX)
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

fn declared_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH).map(HeaderValue::to_str)?.ok()?.parse().ok()
}
