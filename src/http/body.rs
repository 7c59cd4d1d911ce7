//! Reading a request's body: the right type, not too much by itself nor together with others, not too long nor too slowly,
//! and then JSON with the place of what is wrong.

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

use super::Limits;
use super::budget::{BodyBudget, BodyPermit, NoRoom};
use super::error::ApiError;
use crate::config::Config;
use crate::openai::reading;
use crate::turn::TurnError;

/// Reads bodies into the memory that all requests share ([`BodyBudget`]). A request takes its part as its body arrives, and
/// gives it back when its reply has ended: until then what was in the body is held in one form or another.
#[derive(Debug)]
pub(super) struct Room {
    budget: Arc<BodyBudget>,
    /// The longest body.
    most: u64,
    /// How long a request may wait for its part.
    wait: Duration,
    /// How long a body may take to arrive.
    arrival: Duration,
    /// How often it is looked at whether a body is slow.
    window: Duration,
}

/// A request's part of the [`Room`]; dropping it gives it back.
#[derive(Debug)]
pub(super) struct Held {
    _permit: BodyPermit,
}

/// A body that was read before its handler asked for it: an extension of its request.
#[derive(Clone)]
pub(super) struct Early(Arc<Mutex<Option<Read>>>);

/// A body, and the room that it takes.
type Read = (Vec<u8>, Held);

/// A body is slow if it brings less than this in a window ([`Limits::body_window`]), in bytes. With windows of two seconds,
/// one of the longest body would take a quarter of an hour at this rate, and is given up after a minute anyway.
pub(super) const SLOW: u64 = 32 * 1024;

/// A body's memory grows by as much again, within these bounds, in bytes.
const STEPS: std::ops::RangeInclusive<u64> = 8 * 1024..=1024 * 1024;

impl Room {
    pub(super) fn new(config: &Config, limits: Limits) -> Self {
        Self {
            budget: BodyBudget::new(config.max_bodies_bytes, config.max_body_bytes, config.max_connections),
            most: config.max_body_bytes,
            wait: config.queue_timeout,
            arrival: limits.body,
            window: limits.body_window,
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
        // One whose length is not known may become as long as any.
        let most = declared.unwrap_or(self.most);
        if most > self.most {
            return Err(self.too_large());
        }
        let mut permit = BodyPermit::new(&self.budget);
        let mut pace = Pace { left: self.arrival, window: self.window, arrived: 0 };
        // Into one piece of memory, because many small ones that live as long leave holes between them.
        let mut bytes = Vec::new();
        while let Some(data) = self.next_piece(&mut body, &mut pace, &mut permit).await? {
            let size = (bytes.len() + data.len()) as u64;
            if size > self.most {
                return Err(self.too_large());
            }
            if size > bytes.capacity() as u64 {
                let step = (bytes.len() as u64).clamp(*STEPS.start(), *STEPS.end());
                let enough = if size <= permit.covered() { permit.covered() } else { bytes.len() as u64 + step };
                let capacity = size.max(enough.min(most));
                self.enlarge(&mut bytes, capacity, most.max(size), &mut permit).await?;
                // The client was not asked for anything meanwhile.
                pace.begin_window(self.window);
            }
            bytes.extend_from_slice(&data);
        }
        bytes.shrink_to_fit();
        permit.complete(bytes.len() as u64);
        Ok((bytes, Held { _permit: permit }))
    }

    /// Gives `bytes` room for `capacity`, once the budget has it.
    async fn enlarge(
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

    /// What arrives next; none at the end. Fails if the body takes too long, or holds others up.
    async fn next_piece(
        &self,
        body: &mut Body,
        pace: &mut Pace,
        permit: &mut BodyPermit,
    ) -> Result<Option<Bytes>, ApiError> {
        loop {
            let (begun, limit) = (Instant::now(), pace.left.min(pace.window));
            let frame = timeout(limit, body.frame()).await;
            pace.spend(begun.elapsed());
            let piece = match frame {
                Ok(None) => return Ok(None),
                // What is no data is a trailer.
                Ok(Some(frame)) => frame.map_err(|error| unreadable(&error))?.into_data().ok(),
                Err(_elapsed) => None,
            };
            pace.arrived += piece.as_ref().map_or(0, |data| data.len() as u64);
            if pace.left.is_zero() {
                return Err(ApiError::body_timeout(self.arrival));
            }
            if pace.window.is_zero() {
                if pace.arrived < SLOW {
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
        let message = format!("the request body exceeds the limit of {} bytes", self.most);
        ApiError::invalid(StatusCode::PAYLOAD_TOO_LARGE, "request_too_large", message)
    }
}

/// How fast a body comes.
struct Pace {
    /// How long it may still take.
    left: Duration,
    /// What is left of the window.
    window: Duration,
    /// Bytes that have come within the window.
    arrived: u64,
}

impl Pace {
    fn spend(&mut self, time: Duration) {
        self.left = self.left.saturating_sub(time);
        self.window = self.window.saturating_sub(time);
    }

    fn begin_window(&mut self, window: Duration) {
        (self.window, self.arrived) = (window, 0);
    }
}

fn unreadable(error: &axum::Error) -> ApiError {
    let cause = std::error::Error::source(error).map(|source| format!(": {source}")).unwrap_or_default();
    let message = format!("the body could not be read: {error}{cause}");
    ApiError::invalid(StatusCode::BAD_REQUEST, "unreadable_body", message)
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
        return unsupported("compressed bodies are not supported: remove `Content-Encoding`");
    }
    Ok(())
}

fn declared_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH).map(HeaderValue::to_str)?.ok()?.parse().ok()
}
