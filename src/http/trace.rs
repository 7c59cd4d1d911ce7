//! One request's id, its one log line, its place in the metrics, and its panic.
//!
//! All of it is settled when the reply has ended: handed over whole, or given up because its client left. A client that
//! leaves is told apart by status 499, which is never sent: before the reply, when the handler's future is dropped, and
//! in the middle of it, when the body is dropped before its end. The same two, when the server drops them at its stop
//! deadline ([`GivenUp`]), are a 503.

use std::any::Any;
use std::collections::hash_map::RandomState;
use std::fmt;
use std::hash::{BuildHasher, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Instant;

use axum::body::{Body, HttpBody};
use axum::extract::{MatchedPath, Request, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::FutureExt;
use hyper::body::{Frame, SizeHint};

use super::error::{ApiError, ErrorCode};
use super::keys::{Caller, KeyName};
use crate::metrics::{CLIENT_LEFT, Metrics, OTHER};
use crate::turn::{Completion, Usage};

/// Names a request in its reply, in the completion's id and in the log. Unique within a process by its counter, and
/// among processes by a random half; it is no secret.
#[derive(Debug, Clone, Copy)]
pub(super) struct RequestId(u64, u64);

/// Where a reply has its [`RequestId`], and where a client may have an id of its own.
pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// OpenAI's name for a client's own id.
const CLIENT_REQUEST_ID: HeaderName = HeaderName::from_static("x-client-request-id");

/// A client's id that is longer is not logged.
const LONGEST_CLIENT_ID: usize = 128;

/// Of a path, as much is logged.
const LONGEST_PATH: usize = 256;

impl RequestId {
    pub(super) fn new() -> Self {
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

tokio::task_local! {
    /// Of the request whose handler runs, or whose body is asked for its next bytes.
    static NOTES: Notes;
}

/// The notes of the request whose handler runs now.
pub(super) fn notes() -> Notes {
    NOTES.try_with(Notes::clone).unwrap_or_default()
}

/// What is learnt of a request while it is answered, for its log line. Clones share it, so that a body that is still
/// being sent after its handler has ended can add to it.
#[derive(Debug, Clone, Default)]
pub(super) struct Notes(Arc<Mutex<Noted>>);

#[derive(Debug, Default)]
struct Noted {
    turns: u32,
    model: Option<String>,
    usage: Usage,
    error: Option<&'static str>,
}

impl Notes {
    fn noted(&self) -> MutexGuard<'_, Noted> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A turn is asked of the pool.
    pub(super) fn asked(&self, model: Option<&str>) {
        let mut noted = self.noted();
        noted.turns = noted.turns.saturating_add(1);
        if let Some(model) = model {
            noted.model = Some(model.to_owned());
        }
    }

    /// It ended well.
    pub(super) fn done(&self, completion: &Completion) {
        let mut noted = self.noted();
        noted.usage.input += completion.usage.input;
        noted.usage.cache_creation += completion.usage.cache_creation;
        noted.usage.cache_read += completion.usage.cache_read;
        noted.usage.output += completion.usage.output;
        if completion.model.is_some() {
            noted.model.clone_from(&completion.model);
        }
    }

    /// It ended badly: the code of its error.
    pub(super) fn failed(&self, code: &'static str) {
        self.noted().error = Some(code);
    }
}

/// Runs a request with an id. A panic of its handler is an error of this request and of no other.
pub(super) async fn follow(State(metrics): State<Arc<Metrics>>, mut request: Request, next: Next) -> Response {
    let id = RequestId::new();
    request.extensions_mut().insert(id);
    let caller = Caller::default();
    request.extensions_mut().insert(caller.clone());
    let mut line = Line::new(id, caller, &request, metrics);
    let head = request.method() == Method::HEAD;
    let run = NOTES.scope(line.notes.clone(), next.run(request));
    let mut response = match AssertUnwindSafe(run).catch_unwind().await {
        Ok(response) => response,
        Err(panic) => {
            tracing::error!(%id, panic = words(&*panic), "a handler panicked");
            ApiError::internal().into_response()
        }
    };
    if let Ok(value) = HeaderValue::from_str(&id.to_string()) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    if let Some(ErrorCode(code)) = response.extensions().get() {
        line.notes.failed(code);
    }
    line.status = Some(response.status());
    line.streamed = response.headers().get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"text/event"));
    // Nobody reads a body that is not sent.
    line.end = if head || response.body().is_end_stream() { End::Whole } else { End::Cut };
    response.map(|body| Body::new(Followed { body, line }))
}

fn words(panic: &(dyn Any + Send)) -> &str {
    panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("?")
}

/// The id that the client gave its request, if it is one that can stand in a log.
fn client_id(headers: &HeaderMap) -> Option<String> {
    let given = [CLIENT_REQUEST_ID, REQUEST_ID].iter().find_map(|name| headers.get(name))?.as_bytes();
    let fits = (1..=LONGEST_CLIENT_ID).contains(&given.len()) && given.iter().all(u8::is_ascii_graphic);
    fits.then(|| String::from_utf8_lossy(given).into_owned())
}

/// Set once the server itself gives up a connection: an extension of its requests, which then end without their clients'
/// doing.
#[derive(Debug, Clone, Default)]
pub(super) struct GivenUp(Arc<AtomicBool>);

impl GivenUp {
    pub(super) fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// How a reply has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// Everything was handed over.
    Whole,
    /// Nobody wanted it any more, or nobody was left to send it.
    Cut,
    /// A defect of ours cut it.
    Broken,
}

/// The log line of a request, written when its reply has been handed over or given up. It never holds a body.
struct Line {
    id: RequestId,
    /// Whose key it has, once that is known.
    caller: Caller,
    given_up: GivenUp,
    client_id: Option<String>,
    method: Method,
    path: String,
    route: &'static str,
    started: Instant,
    notes: Notes,
    metrics: Arc<Metrics>,
    /// None: there was no reply.
    status: Option<StatusCode>,
    streamed: bool,
    end: End,
}

impl Line {
    fn new(id: RequestId, caller: Caller, request: &Request, metrics: Arc<Metrics>) -> Self {
        let template = request.extensions().get::<MatchedPath>();
        Self {
            id,
            caller,
            given_up: request.extensions().get::<GivenUp>().cloned().unwrap_or_default(),
            client_id: client_id(request.headers()),
            method: request.method().clone(),
            path: request.uri().path().chars().take(LONGEST_PATH).collect(),
            route: template.map_or(OTHER, |path| metrics.route(path.as_str())),
            started: Instant::now(),
            notes: Notes::default(),
            metrics,
            status: None,
            streamed: false,
            end: End::Cut,
        }
    }

    fn verdict(&self) -> (&str, &'static str) {
        match (&self.status, self.end) {
            (None, _) | (Some(_), End::Cut) if self.given_up.0.load(Ordering::Relaxed) => {
                ("503", "the server stopped before the end of the reply")
            }
            (None, _) => (CLIENT_LEFT, "the client left before the reply"),
            (Some(_), End::Cut) => (CLIENT_LEFT, "the client left in the middle of the reply"),
            (Some(_), End::Broken) => ("500", "the reply broke in its middle"),
            (Some(status), End::Whole) => (status.as_str(), "request"),
        }
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        let took = self.started.elapsed();
        let (status, words) = self.verdict();
        self.metrics.request(self.route, status, took);
        let noted = self.notes.noted();
        let asked = noted.turns > 0;
        tracing::info!(
            id = %self.id,
            key = self.caller.name().map(KeyName::as_str),
            client_id = self.client_id.as_deref(),
            method = %self.method,
            path = %self.path.escape_debug(),
            status = status.parse::<u16>().unwrap_or_default(),
            ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
            error = noted.error,
            streamed = asked.then_some(self.streamed),
            model = noted.model.as_deref(),
            turns = asked.then_some(noted.turns),
            tokens_in = asked.then_some(noted.usage.prompt()),
            tokens_out = asked.then_some(noted.usage.output),
            "{words}"
        );
    }
}

/// A body whose end is the end of its request.
struct Followed {
    body: Body,
    line: Line,
}

impl HttpBody for Followed {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = &mut *self;
        // A body can ask for another turn.
        let poll = || Pin::new(&mut this.body).poll_frame(context);
        let polled = catch_unwind(AssertUnwindSafe(|| NOTES.sync_scope(this.line.notes.clone(), poll)));
        let polled = polled.unwrap_or_else(|panic| {
            tracing::error!(id = %this.line.id, panic = words(&*panic), "a reply panicked in its middle");
            Poll::Ready(Some(Err(axum::Error::new("the reply broke in its middle"))))
        });
        match &polled {
            Poll::Ready(None) => this.line.end = End::Whole,
            Poll::Ready(Some(Err(_))) => this.line.end = End::Broken,
            // hyper does not ask again for what it knows to be over.
            Poll::Ready(Some(Ok(_))) if this.body.is_end_stream() => this.line.end = End::Whole,
            Poll::Ready(Some(Ok(_))) | Poll::Pending => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
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
