//! A stand-in for the Messages API on loopback, for a real CLI that may reach nothing else.
//!
//! ```text
//! scenario  what is asked for: a word in the prompt or an option      answer  one answer, as events: made up or told again
//! tape      the API's side of a recorded session                       sse     an answer on the wire, streamed or whole
//! ```
//!
//! It answers `POST /v1/messages`, streamed and whole, and `POST /v1/messages/count_tokens`; everything else that a CLI may
//! ask for is a 404 of the API's shape, and is told to whoever started it. It checks no key.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{Method, StatusCode, Uri};
use axum::response::Response;
use axum::routing::post;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

pub mod answer;
pub mod scenario;
pub mod sse;
pub mod tape;

use answer::{Answer, AnswerMaker};
use tape::Tape;

/// The longest request accepted, in bytes.
const MAX_BODY: usize = 64 << 20;
/// How many requests for something else are told apart.
const MAX_UNKNOWN: usize = 50;

/// Where answers come from.
#[derive(Debug)]
pub enum Source {
    /// Made for each request.
    Made(AnswerMaker),
    /// Told again from a recording, one after the other.
    Recorded(Mutex<Tape>),
}

/// A running API. Dropping it closes it.
#[derive(Debug)]
pub struct FakeApi {
    address: SocketAddr,
    shared: Arc<Shared>,
    _server: JoinSet<()>,
}

#[derive(Debug)]
struct Shared {
    source: Source,
    /// The `retry-after` of a refusal that a client should try again, in seconds.
    retry_after: u64,
    unknown: Mutex<BTreeMap<String, u64>>,
    report: fn(&str),
}

impl FakeApi {
    /// Serves on `listener`. `report` is told, once each, what is asked for besides messages.
    pub fn start(listener: TcpListener, source: Source, retry_after: u64, report: fn(&str)) -> std::io::Result<Self> {
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared { source, retry_after, unknown: Mutex::default(), report });
        let router = Router::new()
            .route("/v1/messages", post(answer_messages))
            .route("/v1/messages/count_tokens", post(count_tokens))
            .fallback(reject_unknown)
            .layer(DefaultBodyLimit::max(MAX_BODY))
            .with_state(Arc::clone(&shared));
        let mut server = JoinSet::new();
        server.spawn(async move {
            // It ends when it is dropped, and not before: axum waits out what `accept` refuses.
            let _ = axum::serve(listener, router).await;
        });
        Ok(Self { address, shared, _server: server })
    }

    /// What a CLI takes as `ANTHROPIC_BASE_URL`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What was asked for besides messages, and how often.
    #[must_use]
    pub fn unknown_requests(&self) -> Vec<String> {
        let unknown = self.shared.unknown.lock().unwrap_or_else(PoisonError::into_inner);
        unknown.iter().map(|(what, times)| format!("{what} ({times} times)")).collect()
    }
}

async fn answer_messages(State(shared): State<Arc<Shared>>, body: Bytes) -> Response {
    let Ok(request) = serde_json::from_slice::<Value>(&body) else {
        return sse::error_response(400, "the body is no JSON", 0);
    };
    let answer = match &shared.source {
        Source::Made(maker) => {
            let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            maker.make_answer(&request, since_1970)
        }
        Source::Recorded(tape) => tape.lock().unwrap_or_else(PoisonError::into_inner).next(&request),
    };
    match answer {
        Answer::Refused { status, words } => sse::error_response(status, &words, shared.retry_after),
        Answer::Reply { pieces, end } if request["stream"] == true => sse::stream_response(pieces, end),
        Answer::Reply { pieces, end } => sse::whole_response(pieces, end).await,
    }
}

/// An estimate that is good enough for a CLI: four bytes a token.
async fn count_tokens(body: Bytes) -> Response {
    sse::json_response(StatusCode::OK, &json!({"input_tokens": body.len() / 4}))
}

async fn reject_unknown(State(shared): State<Arc<Shared>>, method: Method, uri: Uri) -> Response {
    let what = format!("{method} {}", uri.path());
    let mut unknown = shared.unknown.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(times) = unknown.get_mut(&what) {
        *times += 1;
    } else if unknown.len() < MAX_UNKNOWN {
        (shared.report)(&what);
        unknown.insert(what.clone(), 1);
    }
    sse::error_response(404, &format!("there is no {what}"), 0)
}
