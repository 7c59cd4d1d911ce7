//! From an [`Ask`] to its answer: the model, the turns that it takes, what is passed on meanwhile.
//!
//! What is decided about a reply is decided in [`crate::answer::exchange`]; here the turns are run.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::Response;

use super::body::Held;
use super::error::ApiError;
use super::metered::run_metered_turn;
use super::trace::{RequestId, RequestNotes};
use super::{App, Backend};
use crate::answer::exchange::{Exchange, Next};
use crate::answer::{AnswerEvent, Ask};
use crate::logging;
use crate::pool::Turn;
use crate::turn::{Prompt, TurnError, TurnEvent};

/// Names the parameters that were given and could not be honoured.
const IGNORED: HeaderName = HeaderName::from_static("x-ccw-ignored");

/// A request that is being answered. Dropping it gives up whatever it waits for.
pub(super) struct Answering {
    id: RequestId,
    notes: RequestNotes,
    exchange: Exchange,
    now: Now,
    queue: Arc<dyn Fn(Prompt) -> Queued + Send + Sync>,
    /// The pieces of one event, and then its end.
    done: Option<AnswerEvent>,
    ignored: Option<HeaderValue>,
    log_bodies: bool,
    _held: Held,
}

type Queued = Pin<Box<dyn Future<Output = Result<Turn, TurnError>> + Send>>;

/// What is waited for.
enum Now {
    /// A turn's place.
    Queued(Queued),
    /// A turn's next event.
    Running(Turn),
    Over,
}

impl Answering {
    /// Waits until an invoker has taken the first turn.
    pub(super) async fn begin<B: Backend>(
        app: &App<B>,
        id: RequestId,
        notes: RequestNotes,
        ask: Ask,
        held: Held,
    ) -> Result<Self, ApiError> {
        let known = app.known_models();
        let model = app
            .models
            .resolve(ask.model.as_deref(), &known)
            .map_err(|list| ApiError::unknown_model(ask.model.as_deref().unwrap_or_default(), &list))?;
        if let Some(first) = ask.ignored.first()
            && app.config.strict_params
        {
            let message =
                format!("`{first}` is not supported, and this server rejects such requests (--strict-params)");
            return Err(ApiError::invalid(StatusCode::BAD_REQUEST, "unsupported_parameter", message).at(first.as_str()));
        }
        let ignored = ask.ignored.join(", ");
        if !ignored.is_empty() {
            tracing::info!(%id, ignored, "ignoring unsupported parameters");
        }
        let exchange = Exchange::new(ask, model, id.to_string())?;
        let (backend, metrics, turn_notes) = (app.backend.clone(), Arc::clone(&app.metrics), notes.clone());
        let queue = move |prompt| {
            Box::pin(run_metered_turn(backend.clone(), Arc::clone(&metrics), turn_notes.clone(), prompt)) as Queued
        };
        let mut answering = Self {
            id,
            notes,
            exchange,
            now: Now::Over,
            queue: Arc::new(queue),
            done: None,
            ignored: HeaderValue::from_str(&ignored).ok().filter(|value| !value.is_empty()),
            log_bodies: app.config.log_bodies,
            _held: held,
        };
        answering.ask(answering.exchange.prompt());
        if let Now::Queued(place) = &mut answering.now {
            answering.now = Now::Running(place.await?);
        }
        Ok(answering)
    }

    /// The next event; after `Done` or an error there is none. Cancel-safe.
    pub(super) async fn next(&mut self) -> Result<AnswerEvent, ApiError> {
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
                    let text = self.exchange.piece(&text);
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
                        Next::Done(tail, answer) if tail.is_empty() => return Ok(AnswerEvent::Done(answer)),
                        Next::Done(tail, answer) => {
                            self.done = Some(AnswerEvent::Done(answer));
                            return Ok(AnswerEvent::Text(tail));
                        }
                        Next::Again(prompt) => {
                            tracing::info!(id = %self.id, "the reply does not match the requested format; retrying");
                            self.ask(prompt);
                        }
                        Next::Failed(words) => return Err(ApiError::invalid_reply(&words)),
                    }
                }
                Some(TurnEvent::Failed(error)) => return Err(error.into()),
                None => return Err(ApiError::turn_lost()),
            }
        }
    }

    /// Tells the client in a header what of its request was not honoured.
    pub(super) fn label(ignored: Option<HeaderValue>, mut response: Response) -> Response {
        if let Some(ignored) = ignored {
            response.headers_mut().insert(IGNORED, ignored);
        }
        response
    }

    /// The header's value for [`Answering::label`].
    pub(super) fn ignored(&mut self) -> Option<HeaderValue> {
        self.ignored.take()
    }

    /// Notes an error that comes too late for the response's status, for the access log.
    pub(super) fn record_error(&self, error: &ApiError) {
        self.notes.set_error(error.code());
    }

    fn ask(&mut self, prompt: Prompt) {
        if self.log_bodies {
            tracing::info!(id = %self.id, prompt = &*logging::shorten(&prompt.text), "prompt");
        }
        self.now = Now::Queued((self.queue)(prompt));
    }
}
