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

use super::error::ApiError;
use super::turn_loop::TurnLoop;
use crate::answer::{Answer, AnswerEvent};

/// How one of OpenAI's APIs writes a stream. Each of these gives whole events.
pub(super) trait Render: Send + 'static {
    /// The beginning, once it is certain that there is a reply.
    fn render_start(&mut self) -> Bytes;
    /// A piece of the text.
    fn render_text(&mut self, text: &str) -> Bytes;
    /// The end of all of it; every piece of the text was rendered before.
    fn render_end(&mut self, answer: Answer) -> Bytes;
    /// An end in the middle: a client must not take what it has for the whole reply.
    fn render_error(&mut self, error: ApiError) -> Bytes;
}

/// The response to a streamed request.
///
/// A stream's status is fixed by its first byte, and most failures come before any text: a wrong key, a spent quota.
/// So the first event is awaited before the header is sent, as long as a silence may last, and such a failure gets its
/// own status. A later failure is an event of the stream.
pub(super) async fn stream_response(
    mut turn_loop: TurnLoop,
    renderer: impl Render,
    keep_alive: Duration,
) -> Result<Response, ApiError> {
    let first = match timeout(keep_alive, turn_loop.next_event()).await {
        Ok(event) => Some(event?),
        Err(_silent) => None,
    };
    let ignored = turn_loop.take_ignored();
    let events = Events { opened: false, first, turn_loop: Some(turn_loop), renderer, keep_alive };
    let body = stream::unfold(events, |mut events| async {
        let bytes = events.next_bytes().await?;
        Some((Ok::<_, Infallible>(bytes), events))
    });
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static("text/event-stream; charset=utf-8")),
        (CACHE_CONTROL, HeaderValue::from_static("no-cache")),
        // Asks nginx not to hold the stream back.
        (HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no")),
    ];
    Ok(TurnLoop::add_ignored_header(ignored, (headers, Body::from_stream(body)).into_response()))
}

/// A reply on its way to the client.
struct Events<R> {
    opened: bool,
    first: Option<AnswerEvent>,
    /// Gone once the reply has ended.
    turn_loop: Option<TurnLoop>,
    renderer: R,
    keep_alive: Duration,
}

impl<R: Render> Events<R> {
    /// The next bytes of the stream; none after its end.
    async fn next_bytes(&mut self) -> Option<Bytes> {
        if !self.opened {
            self.opened = true;
            return Some(self.renderer.render_start());
        }
        let turn_loop = self.turn_loop.as_mut()?;
        let event = match self.first.take() {
            Some(event) => Ok(event),
            None => match timeout(self.keep_alive, turn_loop.next_event()).await {
                Ok(event) => event,
                Err(_silent) => return Some(Bytes::from_static(b": still working\n\n")),
            },
        };
        Some(match event {
            Ok(AnswerEvent::Text(text)) => self.renderer.render_text(&text),
            Ok(AnswerEvent::Done(answer)) => {
                self.turn_loop = None;
                self.renderer.render_end(answer)
            }
            Err(error) => {
                turn_loop.record_error(&error);
                self.turn_loop = None;
                self.renderer.render_error(error)
            }
        })
    }
}

/// One event with data alone. JSON escapes line breaks, so it is always one line.
pub(super) fn write_event(data: &impl Serialize) -> Bytes {
    let mut event = b"data: ".to_vec();
    // Fails only for a map whose keys aren't strings, and for a `Serialize` that fails; these types have neither.
    if let Err(error) = serde_json::to_writer(&mut event, data) {
        tracing::error!(%error, "an event of the stream could not be written");
    }
    event.extend_from_slice(b"\n\n");
    event.into()
}
