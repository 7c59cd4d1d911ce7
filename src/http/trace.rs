//! One request's id, its one log line, and its panic.

use std::any::Any;
use std::collections::hash_map::RandomState;
use std::fmt;
use std::hash::{BuildHasher, Hasher};
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Instant;

use axum::body::{Body, HttpBody};
use axum::extract::Request;
use axum::http::{HeaderName, HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::FutureExt;
use hyper::body::{Frame, SizeHint};

use super::error::ApiError;
use super::keys::{Caller, KeyName};

/// Names a request in its reply, in the completion's id and in the log. Unique within a process by its counter, and
/// among processes by a random half; it is no secret.
#[derive(Debug, Clone, Copy)]
pub(super) struct RequestId(u64, u64);

impl RequestId {
    fn new() -> Self {
        static PROCESS: LazyLock<RandomState> = LazyLock::new(RandomState::new);
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let mut hasher = PROCESS.build_hasher();
        hasher.write_u64(count);
        Self(hasher.finish(), count)
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}{:08x}", self.0, self.1)
    }
}

/// Runs a request with an id. A panic of its handler is an error of this request and of no other.
pub(super) async fn follow(mut request: Request, next: Next) -> Response {
    let id = RequestId::new();
    request.extensions_mut().insert(id);
    let caller = Caller::default();
    request.extensions_mut().insert(caller.clone());
    let mut line = Line::new(id, caller, &request);
    let mut response = match AssertUnwindSafe(next.run(request)).catch_unwind().await {
        Ok(response) => response,
        Err(panic) => {
            tracing::error!(%id, panic = words(&*panic), "a handler panicked");
            ApiError::internal().into_response()
        }
    };
    if let Ok(value) = HeaderValue::from_str(&id.to_string()) {
        response.headers_mut().insert(HeaderName::from_static("x-request-id"), value);
    }
    line.status = Some(response.status());
    response.map(|body| Body::new(Until { body, _end: line }))
}

fn words(panic: &(dyn Any + Send)) -> &str {
    panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("?")
}

/// The log line of a request, written when its reply has been handed over or given up. It never holds a body.
struct Line {
    id: RequestId,
    /// Whose key it has, once that is known.
    caller: Caller,
    method: Method,
    path: String,
    started: Instant,
    /// None: the client went away before there was a reply.
    status: Option<StatusCode>,
}

impl Line {
    fn new(id: RequestId, caller: Caller, request: &Request) -> Self {
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        Self { id, caller, method, path, started: Instant::now(), status: None }
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        let Self { id, caller, method, path, started, status } = self;
        let key = caller.name().map(KeyName::as_str);
        let ms = started.elapsed().as_millis();
        if let Some(status) = status {
            tracing::info!(%id, key, %method, ?path, status = status.as_u16(), ms, "request");
        } else {
            tracing::info!(%id, key, %method, ?path, ms, "the client went away before the reply");
        }
    }
}

/// A body that drops `_end` when it is dropped itself: when all of it was handed over, or nobody wants it any more.
pub(super) struct Until<T> {
    pub(super) body: Body,
    pub(super) _end: T,
}

impl<T: Unpin> HttpBody for Until<T> {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
