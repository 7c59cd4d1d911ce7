//! `POST /v1/chat/completions`, whole and streamed.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use bytes::Bytes;

use super::answering::Answering;
use super::error::ApiError;
use super::sse::{self, Render};
use super::trace::{RequestId, RequestNotes};
use super::{App, Backend};
use crate::answer::{Answer, AnswerEvent};
use crate::openai::chat::ChatRequest;
use crate::translate::chat::{self, Reply};

/// Answers one request. Its future is dropped when the client goes away, and its turn with it.
pub(super) async fn completions<B: Backend>(
    State(app): State<Arc<App<B>>>,
    Extension(id): Extension<RequestId>,
    Extension(notes): Extension<RequestNotes>,
    request: Request,
) -> Result<Response, ApiError> {
    let (request, held) = app.room.json::<ChatRequest>(request).await?;
    let reply = Reply {
        id: format!("chatcmpl-{id}"),
        created: super::unix_now(),
        model: request.model.clone().unwrap_or_else(|| app.models.own().to_owned()),
        include_usage: request.stream_options.and_then(|options| options.include_usage).unwrap_or(false),
    };
    let ask = chat::ask(request)?;
    let streamed = ask.streamed;
    let answering = Answering::begin(&app, id, notes, ask, held).await?;
    if streamed { sse::respond(answering, reply, app.limits.keep_alive).await } else { whole(answering, reply).await }
}

async fn whole(mut answering: Answering, reply: Reply) -> Result<Response, ApiError> {
    loop {
        if let AnswerEvent::Done(answer) = answering.next().await? {
            return Ok(Answering::label(answering.ignored(), Json(reply.whole(answer)).into_response()));
        }
    }
}

impl Render for Reply {
    fn opening(&mut self) -> Bytes {
        sse::event(&Self::opening(self))
    }

    fn piece(&mut self, text: &str) -> Bytes {
        sse::event(&Self::piece(self, text))
    }

    fn done(&mut self, answer: Answer) -> Bytes {
        let mut bytes = Vec::new();
        for chunk in self.calls(&answer).chain([self.closing(&answer)]).chain(self.counts(&answer)) {
            bytes.extend_from_slice(&sse::event(&chunk));
        }
        bytes.extend_from_slice(b"data: [DONE]\n\n");
        bytes.into()
    }

    /// No `[DONE]` follows.
    fn fail(&mut self, error: ApiError) -> Bytes {
        sse::event(&error.body())
    }
}
