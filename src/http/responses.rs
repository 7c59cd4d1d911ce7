//! `POST /v1/responses`, complete and streamed. Nothing is stored.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use bytes::Bytes;

use super::error::ApiError;
use super::path::Id;
use super::sse::{self, Render};
use super::trace::{RequestId, RequestNotes};
use super::turn_loop::TurnLoop;
use super::{App, Backend, unix_now};
use crate::answer::{Answer, AnswerEvent};
use crate::openai::responses::{Event, ResponsesRequest};
use crate::translate::responses::events::Events;
use crate::translate::responses::{self, Reply};

/// Answers one request. Its future is dropped when the client goes away, and its turn with it.
pub(super) async fn create_response<B: Backend>(
    State(app): State<Arc<App<B>>>,
    Extension(id): Extension<RequestId>,
    Extension(notes): Extension<RequestNotes>,
    request: Request,
) -> Result<Response, ApiError> {
    let (request, body_permit) = app.bodies.read_json::<ResponsesRequest>(request).await?;
    let (chat_request, settings) = responses::chat_request(request)?;
    let model = chat_request.model.clone().unwrap_or_else(|| app.models.own().to_owned());
    let reply = Reply::new(id.to_string(), unix_now(), model, settings);
    let streamed = chat_request.streamed;
    let turn_loop = TurnLoop::start(&app, id, notes, chat_request, body_permit).await?;
    if streamed {
        sse::stream_response(turn_loop, Events::new(reply), app.limits.keep_alive).await
    } else {
        whole_response(turn_loop, reply).await
    }
}

async fn whole_response(mut turn_loop: TurnLoop, reply: Reply) -> Result<Response, ApiError> {
    loop {
        if let AnswerEvent::Done(answer) = turn_loop.next_event().await? {
            let response = Json(reply.to_response(&answer, unix_now())).into_response();
            return Ok(TurnLoop::add_ignored_header(turn_loop.take_ignored(), response));
        }
    }
}

/// Answers every request for a stored response.
pub(super) async fn not_stored(Id(id): Id) -> ApiError {
    let message = format!("response {id:?} not found: this server does not store responses");
    ApiError::invalid(StatusCode::NOT_FOUND, "response_not_found", message)
}

impl Render for Events {
    fn render_start(&mut self) -> Bytes {
        write_events(&Self::start_events(self))
    }

    fn render_text(&mut self, text: &str) -> Bytes {
        write_events(&Self::text_events(self, text))
    }

    fn render_end(&mut self, answer: Answer) -> Bytes {
        write_events(&Self::end_events(self, &answer, unix_now()))
    }

    fn render_error(&mut self, error: ApiError) -> Bytes {
        write_events(&self.error_events(&error.body().error))
    }
}

/// Each event under its name. There is no `[DONE]` in this API.
fn write_events(events: &[Event<'_>]) -> Bytes {
    let mut bytes = Vec::new();
    for event in events {
        bytes.extend_from_slice(b"event: ");
        bytes.extend_from_slice(event.kind.as_bytes());
        bytes.push(b'\n');
        bytes.extend_from_slice(&sse::write_event(event));
    }
    bytes.into()
}
