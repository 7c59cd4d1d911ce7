//! Reads request bodies: checks their type, bounds each and all of them together, limits time and pace, and parses JSON.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use bytes::Bytes;
use http_body_util::BodyExt;
use serde::de::DeserializeOwned;
use tokio::time::{Instant, timeout};

use super::Timeouts;
use super::budget::{BodyBudget, BodyPermit, NoRoom};
use super::error::ApiError;
use crate::config::Config;
use crate::openai::reading;
use crate::turn::TurnError;

/// Reads bodies into memory that all requests share ([`BodyBudget`]). A request takes its part as its body arrives, and
/// returns it when its reply has ended, because the conversation stays in memory until then.
#[derive(Debug)]
pub(super) struct BodyReader {
    budget: Arc<BodyBudget>,
    /// Longest body.
    max_bytes: u64,
    /// How long a request may wait for memory.
    wait: Duration,
    /// How long a body may take to arrive.
    arrival: Duration,
    /// Window in which a body's pace is measured.
    window: Duration,
}

/// A body that was read before the handler runs. An extension of its request.
#[derive(Clone)]
pub(super) struct PrefetchedBody(Arc<Mutex<Option<Read>>>);

/// A body and its share of the budget.
type Read = (Vec<u8>, BodyPermit);

/// A body is slow if it brings less than this in a window ([`Timeouts::body_window`]), in bytes. With windows of two seconds,
/// one of the longest body would take a quarter of an hour at this rate, and is given up after a minute anyway.
pub(super) const MIN_WINDOW_BYTES: u64 = 32 * 1024;

/// A body's buffer doubles, but grows within these bounds, in bytes.
const GROWTH_BYTES: std::ops::RangeInclusive<u64> = 8 * 1024..=1024 * 1024;

impl BodyReader {
    pub(super) fn new(config: &Config, limits: Timeouts) -> Self {
        Self {
            budget: BodyBudget::new(config.max_bodies_bytes, config.max_body_bytes, config.max_connections),
            max_bytes: config.max_body_bytes,
            wait: config.queue_timeout,
            arrival: limits.body,
            window: limits.body_window,
        }
    }

    /// Reads the body of a request as JSON of type `T`.
    pub(super) async fn read_json<T: DeserializeOwned>(&self, request: Request) -> Result<(T, BodyPermit), ApiError> {
        check_type(request.headers())?;
        let (mut parts, body) = request.into_parts();
        let prefetched = parts.extensions.remove::<PrefetchedBody>();
        let (bytes, permit) = match prefetched.and_then(|PrefetchedBody(prefetched)| prefetched.lock().ok()?.take()) {
            Some(read) => read,
            None => self.read_body(declared_length(&parts.headers), body).await?,
        };
        Ok((reading::read_body(&bytes)?, permit))
    }

    /// Reads the body now and keeps it for [`BodyReader::read_json`].
    pub(super) async fn prefetch(&self, request: Request) -> Result<Request, ApiError> {
        let (mut parts, body) = request.into_parts();
        let read = self.read_body(declared_length(&parts.headers), body).await?;
        parts.extensions.insert(PrefetchedBody(Arc::new(Mutex::new(Some(read)))));
        Ok(Request::from_parts(parts, Body::empty()))
    }

    async fn read_body(&self, declared: Option<u64>, mut body: Body) -> Result<Read, ApiError> {
        // A chunked body declares no length, so it may become as long as the limit.
        let most = declared.unwrap_or(self.max_bytes);
        if most > self.max_bytes {
            return Err(self.too_large());
        }
        let mut permit = BodyPermit::new(&self.budget);
        let mut pace = Pace { left: self.arrival, window: self.window, arrived: 0 };
        // One buffer for the whole body: many small ones that live as long would fragment the heap.
        let mut bytes = Vec::new();
        while let Some(data) = self.next_piece(&mut body, &mut pace, &mut permit).await? {
            let size = (bytes.len() + data.len()) as u64;
            if size > self.max_bytes {
                return Err(self.too_large());
            }
            if size > bytes.capacity() as u64 {
                let step = (bytes.len() as u64).clamp(*GROWTH_BYTES.start(), *GROWTH_BYTES.end());
                let enough = if size <= permit.covered() { permit.covered() } else { bytes.len() as u64 + step };
                let capacity = size.max(enough.min(most));
                self.grow_buffer(&mut bytes, capacity, most.max(size), &mut permit).await?;
                // Nothing was read while this body waited for memory, so the client was not slow.
                pace.begin_window(self.window);
            }
            bytes.extend_from_slice(&data);
        }
        bytes.shrink_to_fit();
        permit.complete(bytes.len() as u64);
        Ok((bytes, permit))
    }

    /// Grows `bytes` to `capacity` once the budget allows it.
    async fn grow_buffer(
        &self,
        bytes: &mut Vec<u8>,
        capacity: u64,
        most: u64,
        permit: &mut BodyPermit,
    ) -> Result<(), ApiError> {
        permit.grow(capacity, most, self.wait).await.map_err(|no_room| match no_room {
            NoRoom::TimedOut => TurnError::QueueTimeout(self.wait).into(),
            NoRoom::TooSlow => ApiError::body_too_slow(),
        })?;
        bytes.reserve_exact(usize::try_from(capacity).unwrap_or(usize::MAX) - bytes.len());
        Ok(())
    }

    /// The next piece of the body; none at its end. Fails if the body takes too long, or delays others.
    async fn next_piece(
        &self,
        body: &mut Body,
        pace: &mut Pace,
        permit: &mut BodyPermit,
    ) -> Result<Option<Bytes>, ApiError> {
        loop {
            let (begun, limit) = (Instant::now(), pace.left.min(pace.window));
            let frame = timeout(limit, body.frame()).await;
            pace.record_elapsed(begun.elapsed());
            let piece = match frame {
                Ok(None) => return Ok(None),
                // A frame without data is a trailer.
                Ok(Some(frame)) => frame.map_err(|error| unreadable_body(&error))?.into_data().ok(),
                Err(_elapsed) => None,
            };
            pace.arrived += piece.as_ref().map_or(0, |data| data.len() as u64);
            if pace.left.is_zero() {
                return Err(ApiError::body_timeout(self.arrival));
            }
            if pace.window.is_zero() {
                if pace.arrived < MIN_WINDOW_BYTES {
                    permit.lose_claim();
                    if self.budget.is_wanted() {
                        return Err(ApiError::body_too_slow());
                    }
                }
                pace.begin_window(self.window);
            }
            if piece.is_some() {
                return Ok(piece);
            }
        }
    }

    fn too_large(&self) -> ApiError {
        let message = format!("the request body exceeds the limit of {} bytes", self.max_bytes);
        ApiError::invalid(StatusCode::PAYLOAD_TOO_LARGE, "request_too_large", message)
    }
}

/// The pace at which a body arrives.
struct Pace {
    /// Time left for the whole body.
    left: Duration,
    /// Time left in the window.
    window: Duration,
    /// Bytes that arrived in the window.
    arrived: u64,
}

impl Pace {
    fn record_elapsed(&mut self, time: Duration) {
        self.left = self.left.saturating_sub(time);
        self.window = self.window.saturating_sub(time);
    }

    fn begin_window(&mut self, window: Duration) {
        (self.window, self.arrived) = (window, 0);
    }
}

fn unreadable_body(error: &axum::Error) -> ApiError {
    let cause = std::error::Error::source(error).map(|source| format!(": {source}")).unwrap_or_default();
    let message = format!("the body could not be read: {error}{cause}");
    ApiError::invalid(StatusCode::BAD_REQUEST, "unreadable_body", message)
}

/// Accepts JSON only. A browser sends this type across origins only after a CORS preflight, which this server never grants.
fn check_type(headers: &HeaderMap) -> Result<(), ApiError> {
    let unsupported = |message| Err(ApiError::invalid(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_type", message));
    let kind = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if kind != "application/json" && !(kind.starts_with("application/") && kind.ends_with("+json")) {
        return unsupported("the body must be JSON: send `Content-Type: application/json`");
    }
    if headers.get(CONTENT_ENCODING).is_some_and(|coding| coding.as_bytes() != b"identity") {
        return unsupported("compressed bodies are not supported: remove `Content-Encoding`");
    }
    Ok(())
}

fn declared_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH).map(HeaderValue::to_str)?.ok()?.parse().ok()
}
