//! Tracing of one request: its id, its access log line, its metrics, and its panics.
//!
//! All of it is settled when the reply has ended: sent completely, or abandoned because its client left. A client that
//! leaves counts as status 499, which is never sent. That happens before the reply, when the handler's future is dropped,
//! and in the middle of it, when the body is dropped before its end. If the server drops them itself, at its stop deadline
//! ([`AbortFlag`]), the status is 503.

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
use super::keys::KeyName;
use crate::metrics::{CLIENT_LEFT, Metrics, OTHER};
use crate::text::prefix;
use crate::turn::{Completion, Usage};

/// Identifies a request in its reply's header, in the completion's id and in the log. A counter makes it unique within a
/// process and a random half among processes. Not a secret.
#[derive(Debug, Clone, Copy)]
pub(super) struct RequestId(u64, u64);

/// Header that carries the [`RequestId`] in a reply. A client may send an id of its own in it.
pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// OpenAI's header for an id that the client chooses.
const CLIENT_REQUEST_ID: HeaderName = HeaderName::from_static("x-client-request-id");

/// A longer client id is not logged, in bytes.
const MAX_CLIENT_ID_BYTES: usize = 128;

/// Logged paths are cut here, in characters.
const MAX_PATH_CHARS: usize = 256;

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

/// Facts about a request that are learnt while it is answered, for its access log line. An extension of every request.
///
/// Clones share their state, so that a body that is still being sent after its handler has returned can add to it.
#[derive(Debug, Clone, Default)]
pub(super) struct RequestNotes(Arc<Mutex<Facts>>);

#[derive(Debug, Default)]
struct Facts {
    /// The name of the key that the client sent.
    key: Option<KeyName>,
    turns: u32,
    model: Option<String>,
    usage: Usage,
    error: Option<&'static str>,
}

impl RequestNotes {
    fn lock(&self) -> MutexGuard<'_, Facts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Passes the key's name from the auth layer out to this one, which runs before the key is known.
    pub(super) fn set_key(&self, name: KeyName) {
        self.lock().key = Some(name);
    }

    /// Counts a turn that is requested from the pool.
    pub(super) fn add_turn(&self, model: Option<&str>) {
        let mut facts = self.lock();
        facts.turns = facts.turns.saturating_add(1);
        if let Some(model) = model {
            facts.model = Some(model.to_owned());
        }
    }

    /// Adds the tokens and the model of a turn that succeeded.
    pub(super) fn add_completion(&self, completion: &Completion) {
        let mut facts = self.lock();
        facts.usage = facts.usage.plus(completion.usage);
        if completion.model.is_some() {
            facts.model.clone_from(&completion.model);
        }
    }

    /// Records the code of the error that the request or one of its turns ended with.
    pub(super) fn set_error(&self, code: &'static str) {
        self.lock().error = Some(code);
    }
}

/// Middleware: runs a request with an id, and turns a panic of its handler into a 500 for this request alone.
pub(super) async fn trace_request(State(metrics): State<Arc<Metrics>>, mut request: Request, next: Next) -> Response {
    let id = RequestId::new();
    let notes = RequestNotes::default();
    request.extensions_mut().insert(id);
    request.extensions_mut().insert(notes.clone());
    let mut entry = AccessLogEntry::new(id, notes, &request, metrics);
    let is_head = request.method() == Method::HEAD;
    let mut response = match AssertUnwindSafe(next.run(request)).catch_unwind().await {
        Ok(response) => response,
        Err(panic) => {
            tracing::error!(%id, panic = panic_message(&*panic), "a request handler panicked");
            ApiError::internal().into_response()
        }
    };
    if let Ok(value) = HeaderValue::from_str(&id.to_string()) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    if let Some(ErrorCode(code)) = response.extensions().get() {
        entry.notes.set_error(code);
    }
    entry.status = Some(response.status());
    let content_type = response.headers().get(CONTENT_TYPE);
    entry.streamed = content_type.is_some_and(|kind| kind.as_bytes().starts_with(b"text/event"));
    // hyper never polls the body of a reply to HEAD, nor an empty one, so `poll_frame` would not see their end.
    entry.end = if is_head || response.body().is_end_stream() { BodyEnd::Complete } else { BodyEnd::Dropped };
    response.map(|body| Body::new(LoggedBody { body, entry }))
}

fn panic_message(panic: &(dyn Any + Send)) -> &str {
    panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("?")
}

/// The id that the client gave its request, if it is safe to log.
fn client_id(headers: &HeaderMap) -> Option<String> {
    let given = [CLIENT_REQUEST_ID, REQUEST_ID].iter().find_map(|name| headers.get(name))?.as_bytes();
    let fits = (1..=MAX_CLIENT_ID_BYTES).contains(&given.len()) && given.iter().all(u8::is_ascii_graphic);
    fits.then(|| String::from_utf8_lossy(given).into_owned())
}

/// Set once the server itself abandons a connection. An extension of the connection's requests, so that they are not
/// logged as if their clients had left.
#[derive(Debug, Clone, Default)]
pub(super) struct AbortFlag(Arc<AtomicBool>);

impl AbortFlag {
    pub(super) fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// How a reply's body has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum BodyEnd {
    /// All of it was handed to hyper.
    Complete,
    /// The body was dropped early, by a client that left or a server that stopped.
    Dropped,
    /// The body failed: a defect of this server.
    Failed,
}

/// The access log line of a request, written on drop: when its reply has been sent or abandoned. Never contains bodies.
struct AccessLogEntry {
    id: RequestId,
    notes: RequestNotes,
    abort: AbortFlag,
    client_id: Option<String>,
    method: Method,
    path: String,
    route: &'static str,
    started: Instant,
    metrics: Arc<Metrics>,
    /// None until the handler has returned.
    status: Option<StatusCode>,
    streamed: bool,
    end: BodyEnd,
}

impl AccessLogEntry {
    fn new(id: RequestId, notes: RequestNotes, request: &Request, metrics: Arc<Metrics>) -> Self {
        let template = request.extensions().get::<MatchedPath>();
        Self {
            id,
            notes,
            abort: request.extensions().get::<AbortFlag>().cloned().unwrap_or_default(),
            client_id: client_id(request.headers()),
            method: request.method().clone(),
            path: prefix(request.uri().path(), MAX_PATH_CHARS).to_owned(),
            route: template.map_or(OTHER, |path| metrics.route_label(path.as_str())),
            started: Instant::now(),
            metrics,
            status: None,
            streamed: false,
            end: BodyEnd::Dropped,
        }
    }

    /// The status that is logged and counted, and the line's message.
    fn outcome(&self) -> (&str, &'static str) {
        match (&self.status, self.end) {
            (None, _) | (Some(_), BodyEnd::Dropped) if self.abort.is_set() => {
                ("503", "the server stopped before the reply was complete")
            }
            (None, _) => (CLIENT_LEFT, "the client disconnected before the reply"),
            (Some(_), BodyEnd::Dropped) => (CLIENT_LEFT, "the client disconnected during the reply"),
            (Some(_), BodyEnd::Failed) => ("500", "the reply failed before it was complete"),
            (Some(status), BodyEnd::Complete) => (status.as_str(), "request"),
        }
    }
}

impl Drop for AccessLogEntry {
    fn drop(&mut self) {
        let took = self.started.elapsed();
        let (status, message) = self.outcome();
        self.metrics.record_request(self.route, status, took);
        let facts = self.notes.lock();
        let has_turns = facts.turns > 0;
        tracing::info!(
            id = %self.id,
            key = facts.key.as_ref().map(KeyName::as_str),
            client_id = self.client_id.as_deref(),
            method = %self.method,
            path = %self.path.escape_debug(),
            status = status.parse::<u16>().unwrap_or_default(),
            ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
            error = facts.error,
            streamed = has_turns.then_some(self.streamed),
            model = facts.model.as_deref(),
            turns = has_turns.then_some(facts.turns),
            tokens_in = has_turns.then_some(facts.usage.prompt()),
            tokens_out = has_turns.then_some(facts.usage.output),
            "{message}"
        );
    }
}

/// A reply's body. Its end, or its drop, is the end of the request.
struct LoggedBody {
    body: Body,
    entry: AccessLogEntry,
}

impl HttpBody for LoggedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = &mut *self;
        // A streamed reply runs handler code in here, after the handler's own `catch_unwind` is gone.
        let polled = catch_unwind(AssertUnwindSafe(|| Pin::new(&mut this.body).poll_frame(context)));
        let polled = polled.unwrap_or_else(|panic| {
            tracing::error!(id = %this.entry.id, panic = panic_message(&*panic), "a reply panicked while it was sent");
            Poll::Ready(Some(Err(axum::Error::new("the reply failed before it was complete"))))
        });
        match &polled {
            Poll::Ready(None) => this.entry.end = BodyEnd::Complete,
            Poll::Ready(Some(Err(_))) => this.entry.end = BodyEnd::Failed,
            // hyper does not poll again once the body says that it has ended.
            Poll::Ready(Some(Ok(_))) if this.body.is_end_stream() => this.entry.end = BodyEnd::Complete,
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

/// A body that owns a auth: `_guard` is dropped with it, once all of it was sent or the client has left.
pub(super) struct GuardedBody<T> {
    pub(super) body: Body,
    pub(super) _guard: T,
}

impl<T: Unpin> HttpBody for GuardedBody<T> {
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
