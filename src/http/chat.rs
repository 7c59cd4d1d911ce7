//! `POST /v1/chat/completions`, whole and streamed.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use bytes::Bytes;

use super::error::ApiError;
use super::sse::{self, Render};
use super::trace::{RequestId, RequestNotes};
use super::turn_loop::TurnLoop;
use super::{App, Backend};
use crate::answer::{Answer, AnswerEvent};
use crate::openai::chat::ChatCompletionRequest;
use crate::translate::chat::{self, Reply};

/// Answers one request. Its future is dropped when the client goes away, and its turn with it.
pub(super) async fn create_completion<B: Backend>(
    State(app): State<Arc<App<B>>>,
    Extension(id): Extension<RequestId>,
    Extension(notes): Extension<RequestNotes>,
    request: Request,
) -> Result<Response, ApiError> {
    let (request, body_permit) = app.bodies.read_json::<ChatCompletionRequest>(request).await?;
    let reply = Reply {
        id: format!("chatcmpl-{id}"),
        created: super::unix_now(),
        model: request.model.clone().unwrap_or_else(|| app.models.own().to_owned()),
        include_usage: request.stream_options.and_then(|options| options.include_usage).unwrap_or(false),
    };
    let chat_request = chat::chat_request(request)?;
    let streamed = chat_request.streamed;
    let turn_loop = TurnLoop::start(&app, id, notes, chat_request, body_permit).await?;
    if streamed {
        sse::stream_response(turn_loop, reply, app.limits.keep_alive).await
    } else {
        whole_response(turn_loop, reply).await
    }
}

async fn whole_response(mut turn_loop: TurnLoop, reply: Reply) -> Result<Response, ApiError> {
    loop {
        if let AnswerEvent::Done(answer) = turn_loop.next_event().await? {
            return Ok(TurnLoop::add_ignored_header(
                turn_loop.take_ignored(),
                Json(reply.to_completion(answer)).into_response(),
            ));
        }
    }
}

impl Render for Reply {
    fn render_start(&mut self) -> Bytes {
        sse::write_event(&Self::first_chunk(self))
    }

    fn render_text(&mut self, text: &str) -> Bytes {
        sse::write_event(&Self::text_chunk(self, text))
    }

    fn render_end(&mut self, answer: Answer) -> Bytes {
        let mut bytes = Vec::new();
        for chunk in self.call_chunks(&answer).chain([self.finish_chunk(&answer)]).chain(self.usage_chunk(&answer)) {
            bytes.extend_from_slice(&sse::write_event(&chunk));
        }
        bytes.extend_from_slice(b"data: [DONE]\n\n");
        bytes.into()
    }

    /// No `[DONE]` follows.
    fn render_error(&mut self, error: ApiError) -> Bytes {
        sse::write_event(&error.body())
    }
}
