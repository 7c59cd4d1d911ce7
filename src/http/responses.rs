//! `POST /v1/responses`, whole and streamed. What other servers keep of it is not here.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use bytes::Bytes;

use super::answering::Answering;
use super::error::ApiError;
use super::path::Id;
use super::sse::{self, Render};
use super::trace::{RequestId, RequestNotes};
use super::{App, Backend, unix_now};
use crate::answer::{Answer, AnswerEvent};
use crate::openai::responses::{Event, ResponsesRequest};
use crate::translate::responses::events::Events;
use crate::translate::responses::{self, Reply};

/// Answers one request. Its future is dropped when the client goes away, and its turn with it.
pub(super) async fn create<B: Backend>(
    State(app): State<Arc<App<B>>>,
    Extension(id): Extension<RequestId>,
    Extension(notes): Extension<RequestNotes>,
    request: Request,
) -> Result<Response, ApiError> {
    let (request, held) = app.room.json::<ResponsesRequest>(request).await?;
    let (ask, settings) = responses::ask(request)?;
    let model = ask.model.clone().unwrap_or_else(|| app.models.own().to_owned());
    let reply = Reply::new(id.to_string(), unix_now(), model, settings);
    let streamed = ask.streamed;
    let answering = Answering::begin(&app, id, notes, ask, held).await?;
    if streamed {
        sse::respond(answering, Events::new(reply), app.limits.keep_alive).await
    } else {
        whole(answering, reply).await
    }
}

async fn whole(mut answering: Answering, reply: Reply) -> Result<Response, ApiError> {
    loop {
        if let AnswerEvent::Done(answer) = answering.next().await? {
            let response = Json(reply.whole(&answer, unix_now())).into_response();
            return Ok(Answering::label(answering.ignored(), response));
        }
    }
}

/// Refuses whoever asks for a reply that was given before.
pub(super) async fn nothing_kept(Id(id): Id) -> ApiError {
    let message = format!("response {id:?} not found: this server does not store responses");
    ApiError::invalid(StatusCode::NOT_FOUND, "response_not_found", message)
}

impl Render for Events {
    fn opening(&mut self) -> Bytes {
        written(&Self::opening(self))
    }

    fn piece(&mut self, text: &str) -> Bytes {
        written(&Self::piece(self, text))
    }

    fn done(&mut self, answer: Answer) -> Bytes {
        written(&Self::done(self, &answer, unix_now()))
    }

    fn fail(&mut self, error: ApiError) -> Bytes {
        written(&self.failed(&error.body().error))
    }
}

/// Each event under its name. There is no `[DONE]` in this API.
fn written(events: &[Event<'_>]) -> Bytes {
    let mut bytes = Vec::new();
    for event in events {
        bytes.extend_from_slice(b"event: ");
        bytes.extend_from_slice(event.kind.as_bytes());
        bytes.push(b'\n');
        bytes.extend_from_slice(&sse::event(event));
    }
    bytes.into()
}
