//! `POST /v1/chat/completions`, whole and streamed.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderName, HeaderValue};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use bytes::Bytes;
use futures_util::stream;
use serde::Serialize;
use tokio::time::timeout;

use super::error::ApiError;
use super::trace::RequestId;
use super::{App, Backend, body};
use crate::openai::ChatRequest;
use crate::pool::Turn;
use crate::translate::{self, Reply};
use crate::turn::{Completion, TurnEvent};

/// Answers one request. Its future is dropped when the client goes away, and its turn with it.
pub(super) async fn completions<B: Backend>(
    State(app): State<Arc<App<B>>>,
    Extension(id): Extension<RequestId>,
    request: Request,
) -> Result<Response, ApiError> {
    let mut request: ChatRequest = body::json(request, app.config.max_body_bytes, app.limits).await?;
    let reply = Reply {
        id: format!("chatcmpl-{id}"),
        created: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs(),
        model: request.model.take().unwrap_or_else(|| app.config.model.clone()),
        include_usage: request.stream_options.and_then(|options| options.include_usage).unwrap_or(false),
    };
    let streamed = request.stream.unwrap_or(false);
    let turn = app.backend.turn(translate::prompt(request)?).await?;
    if streamed { streamed_reply(turn, reply, app.limits.keep_alive).await } else { whole_reply(turn, reply).await }
}

async fn whole_reply(mut turn: Turn, reply: Reply) -> Result<Response, ApiError> {
    loop {
        match turn.next().await {
            Some(TurnEvent::Text(_)) => {}
            Some(TurnEvent::Done(completion)) => return Ok(Json(reply.whole(completion)).into_response()),
            Some(TurnEvent::Failed(error)) => return Err(error.into()),
            None => return Err(ApiError::turn_lost()),
        }
    }
}

/// A stream's status is fixed by its first byte, and most failures come before any text: a wrong key, a spent quota.
/// So the first event is awaited before the header is sent, as long as a silence may last, and such a failure gets its
/// own status. One that comes later is an event of the stream.
async fn streamed_reply(mut turn: Turn, reply: Reply, keep_alive: Duration) -> Result<Response, ApiError> {
    let first = match timeout(keep_alive, turn.next()).await {
        Ok(Some(TurnEvent::Failed(error))) => return Err(error.into()),
        Ok(None) => return Err(ApiError::turn_lost()),
        Ok(Some(event)) => Some(event),
        Err(_silent) => None,
    };
    let events = Events { opened: false, first, turn: Some(turn), reply, keep_alive };
    let body = stream::unfold(events, |mut events| async {
        let bytes = events.next().await?;
        Some((Ok::<_, Infallible>(bytes), events))
    });
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static("text/event-stream; charset=utf-8")),
        (CACHE_CONTROL, HeaderValue::from_static("no-cache")),
        // Asks nginx not to hold the stream back.
        (HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no")),
    ];
    Ok((headers, Body::from_stream(body)).into_response())
}

/// A reply on its way to the client. It is asked for bytes only when the connection has room for them.
struct Events {
    opened: bool,
    first: Option<TurnEvent>,
    /// Gone once the turn has ended.
    turn: Option<Turn>,
    reply: Reply,
    keep_alive: Duration,
}

impl Events {
    /// The next bytes of the stream; none after its end.
    async fn next(&mut self) -> Option<Bytes> {
        if !self.opened {
            self.opened = true;
            return Some(sse(&self.reply.opening()));
        }
        loop {
            let turn = self.turn.as_mut()?;
            let event = match self.first.take() {
                Some(event) => Some(event),
                None => match timeout(self.keep_alive, turn.next()).await {
                    Ok(event) => event,
                    Err(_silent) => return Some(Bytes::from_static(b": still working\n\n")),
                },
            };
            match event {
                Some(TurnEvent::Text(text)) if text.is_empty() => {}
                Some(TurnEvent::Text(text)) => return Some(sse(&self.reply.piece(&text))),
                Some(TurnEvent::Done(completion)) => return Some(self.end(&completion)),
                Some(TurnEvent::Failed(error)) => return Some(self.fail(error.into())),
                None => return Some(self.fail(ApiError::turn_lost())),
            }
        }
    }

    fn end(&mut self, completion: &Completion) -> Bytes {
        self.turn = None;
        let mut bytes = Vec::from(sse(&self.reply.closing(completion)));
        if let Some(counts) = self.reply.counts(completion) {
            bytes.extend_from_slice(&sse(&counts));
        }
        bytes.extend_from_slice(b"data: [DONE]\n\n");
        bytes.into()
    }

    /// No `[DONE]` follows: a client must not take what it has for the whole reply.
    fn fail(&mut self, error: ApiError) -> Bytes {
        self.turn = None;
        sse(&error.body())
    }
}

/// One event. JSON escapes line breaks, so it is always one line.
fn sse(data: &impl Serialize) -> Bytes {
    let mut event = b"data: ".to_vec();
    // Fails only for a map whose keys aren't strings, and for a `Serialize` that fails; these types have neither.
    if let Err(error) = serde_json::to_writer(&mut event, data) {
        tracing::error!(%error, "an event of the stream could not be written");
    }
    event.extend_from_slice(b"\n\n");
    event.into()
}
