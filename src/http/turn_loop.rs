//! Answers a [`ChatRequest`]: resolves the model, runs the turns, and streams text meanwhile.
//!
//! [`crate::answer::exchange`] decides about replies and retries; this module only runs the turns.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::Response;

use super::budget::BodyPermit;
use super::error::ApiError;
use super::metered::run_metered_turn;
use super::trace::{RequestId, RequestNotes};
use super::{App, Backend};
use crate::answer::exchange::{Exchange, NextStep};
use crate::answer::{AnswerEvent, ChatRequest};
use crate::logging;
use crate::pool::Turn;
use crate::turn::{Prompt, TurnError, TurnEvent};

/// Lists the unsupported parameters of the request.
const IGNORED: HeaderName = HeaderName::from_static("x-ccw-ignored");

/// A request in progress. Dropping it cancels its turn.
pub(super) struct TurnLoop {
    id: RequestId,
    notes: RequestNotes,
    exchange: Exchange,
    now: Now,
    queue: Arc<dyn Fn(Prompt) -> Queued + Send + Sync>,
    /// The end of the reply, held back while the last piece of its text is sent.
    done: Option<AnswerEvent>,
    ignored: Option<HeaderValue>,
    log_bodies: bool,
    _body_permit: BodyPermit,
}

type Queued = Pin<Box<dyn Future<Output = Result<Turn, TurnError>> + Send>>;

/// The state of the current turn.
enum Now {
    /// Waiting for an invoker.
    Queued(Queued),
    /// Waiting for the turn's next event.
    Running(Turn),
    Over,
}

impl TurnLoop {
    /// Waits until an invoker has taken the first turn.
    pub(super) async fn start<B: Backend>(
        app: &App<B>,
        id: RequestId,
        notes: RequestNotes,
        request: ChatRequest,
        body_permit: BodyPermit,
    ) -> Result<Self, ApiError> {
        let known = app.known_models();
        let model = app
            .models
            .resolve(request.model.as_deref(), &known)
            .map_err(|list| ApiError::unknown_model(request.model.as_deref().unwrap_or_default(), &list))?;
        if let Some(first) = request.ignored.first()
            && app.config.strict_params
        {
            let message =
                format!("`{first}` is not supported, and this server rejects such requests (--strict-params)");
            return Err(
                ApiError::invalid(StatusCode::BAD_REQUEST, "unsupported_parameter", message).with_param(first.as_str())
            );
        }
        let ignored = request.ignored.join(", ");
        if !ignored.is_empty() {
            tracing::info!(%id, ignored, "ignoring unsupported parameters");
        }
        let exchange = Exchange::new(request, model, id.to_string())?;
        let (backend, metrics, turn_notes) = (app.backend.clone(), Arc::clone(&app.metrics), notes.clone());
        let queue = move |prompt| {
            Box::pin(run_metered_turn(backend.clone(), Arc::clone(&metrics), turn_notes.clone(), prompt)) as Queued
        };
        let mut turn_loop = Self {
            id,
            notes,
            exchange,
            now: Now::Over,
            queue: Arc::new(queue),
            done: None,
            ignored: HeaderValue::from_str(&ignored).ok().filter(|value| !value.is_empty()),
            log_bodies: app.config.log_bodies,
            _body_permit: body_permit,
        };
        turn_loop.queue_turn(turn_loop.exchange.next_prompt());
        if let Now::Queued(place) = &mut turn_loop.now {
            turn_loop.now = Now::Running(place.await?);
        }
        Ok(turn_loop)
    }

    /// The next event; after `Done` or an error there is none. Cancel-safe.
    pub(super) async fn next_event(&mut self) -> Result<AnswerEvent, ApiError> {
        if let Some(done) = self.done.take() {
            return Ok(done);
        }
        loop {
            let event = match &mut self.now {
                Now::Queued(place) => {
                    self.now = Now::Running(place.await?);
                    continue;
                }
                Now::Running(turn) => turn.next().await,
                Now::Over => None,
            };
            match event {
                Some(TurnEvent::Text(text)) => {
                    let text = self.exchange.filter_text(&text);
                    if !text.is_empty() {
                        return Ok(AnswerEvent::Text(text));
                    }
                }
                Some(TurnEvent::Done(completion)) => {
                    self.now = Now::Over;
                    if self.log_bodies {
                        tracing::info!(id = %self.id, reply = &*logging::shorten(&completion.text), "reply");
                    }
                    match self.exchange.turn_done(completion) {
                        NextStep::Done(tail, answer) if tail.is_empty() => return Ok(AnswerEvent::Done(answer)),
                        NextStep::Done(tail, answer) => {
                            self.done = Some(AnswerEvent::Done(answer));
                            return Ok(AnswerEvent::Text(tail));
                        }
                        NextStep::Retry(prompt) => {
                            tracing::info!(id = %self.id, "the reply does not match the requested format; retrying");
                            self.queue_turn(prompt);
                        }
                        NextStep::Failed(errors) => return Err(ApiError::invalid_reply(&errors)),
                    }
                }
                Some(TurnEvent::Failed(error)) => return Err(error.into()),
                None => return Err(ApiError::turn_lost()),
            }
        }
    }

    /// Adds the header that lists ignored parameters.
    pub(super) fn add_ignored_header(ignored: Option<HeaderValue>, mut response: Response) -> Response {
        if let Some(ignored) = ignored {
            response.headers_mut().insert(IGNORED, ignored);
        }
        response
    }

    /// The header's value for [`TurnLoop::add_ignored_header`].
    pub(super) fn take_ignored(&mut self) -> Option<HeaderValue> {
        self.ignored.take()
    }

    /// Notes an error that comes too late for the response's status, for the access log.
    pub(super) fn record_error(&self, error: &ApiError) {
        self.notes.set_error(error.code());
    }

    fn queue_turn(&mut self, prompt: Prompt) {
        if self.log_bodies {
            tracing::info!(id = %self.id, prompt = &*logging::shorten(&prompt.text), "prompt");
        }
        self.now = Now::Queued((self.queue)(prompt));
    }
}
