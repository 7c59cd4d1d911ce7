//! A streamed reply: server-sent events, asked for one by one by a connection that has room for them.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::Body;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderName, HeaderValue};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream;
use serde::Serialize;
use tokio::time::timeout;

use super::answering::Answering;
use super::error::ApiError;
use crate::answer::{Answer, AnswerEvent};

/// How one of OpenAI's APIs writes a stream. Each of these gives whole events.
pub(super) trait Render: Send + 'static {
    /// The beginning, once it is certain that there is a reply.
    fn opening(&mut self) -> Bytes;
    /// A piece of the text.
    fn piece(&mut self, text: &str) -> Bytes;
    /// The end of all of it; every piece of the text was rendered before.
    fn done(&mut self, answer: Answer) -> Bytes;
    /// An end in the middle: a client must not take what it has for the whole reply.
    fn fail(&mut self, error: ApiError) -> Bytes;
}

/// The response to a streamed request.
///
/// A stream's status is fixed by its first byte, and most failures come before any text: a wrong key, a spent quota.
/// So the first event is awaited before the header is sent, as long as a silence may last, and such a failure gets its
/// own status. One that comes later is an event of the stream.
pub(super) async fn respond(
    mut answering: Answering,
    render: impl Render,
    keep_alive: Duration,
) -> Result<Response, ApiError> {
    let first = match timeout(keep_alive, answering.next()).await {
        Ok(event) => Some(event?),
        Err(_silent) => None,
    };
    let ignored = answering.ignored();
    let events = Events { opened: false, first, answering: Some(answering), render, keep_alive };
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
    Ok(Answering::label(ignored, (headers, Body::from_stream(body)).into_response()))
}

/// A reply on its way to the client.
struct Events<R> {
    opened: bool,
    first: Option<AnswerEvent>,
    /// Gone once the reply has ended.
    answering: Option<Answering>,
    render: R,
    keep_alive: Duration,
}

impl<R: Render> Events<R> {
    /// The next bytes of the stream; none after its end.
    async fn next(&mut self) -> Option<Bytes> {
        if !self.opened {
            self.opened = true;
            return Some(self.render.opening());
        }
        let answering = self.answering.as_mut()?;
        let event = match self.first.take() {
            Some(event) => Ok(event),
            None => match timeout(self.keep_alive, answering.next()).await {
                Ok(event) => event,
                Err(_silent) => return Some(Bytes::from_static(b": still working\n\n")),
            },
        };
        Some(match event {
            Ok(AnswerEvent::Text(text)) => self.render.piece(&text),
            Ok(AnswerEvent::Done(answer)) => {
                self.answering = None;
                self.render.done(answer)
            }
            Err(error) => {
                answering.record_error(&error);
                self.answering = None;
                self.render.fail(error)
            }
        })
    }
}

/// One event with data alone. JSON escapes line breaks, so it is always one line.
pub(super) fn event(data: &impl Serialize) -> Bytes {
    let mut event = b"data: ".to_vec();
    // Fails only for a map whose keys aren't strings, and for a `Serialize` that fails; these types have neither.
    if let Err(error) = serde_json::to_writer(&mut event, data) {
        tracing::error!(%error, "an event of the stream could not be written");
    }
    event.extend_from_slice(b"\n\n");
    event.into()
}
