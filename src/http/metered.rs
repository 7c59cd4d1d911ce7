//! A backend that counts and times what goes through it, and notes it for the request's log line.

use std::sync::Arc;
use std::time::Instant;

use super::Backend;
use super::error::ApiError;
use super::trace::{self, Notes};
use crate::cli::account::Account;
use crate::metrics::{Metrics, Outcome, Wait};
use crate::pool::status::PoolStatus;
use crate::pool::{TreeMemory, Turn, TurnEnd};
use crate::turn::{Model, Prompt, TurnError};

/// `B`, watched.
#[derive(Clone)]
pub(super) struct Metered<B> {
    backend: B,
    metrics: Arc<Metrics>,
}

impl<B: Backend> Metered<B> {
    pub(super) fn new(backend: B, metrics: Arc<Metrics>) -> Self {
        Self { backend, metrics }
    }
}

impl<B: Backend> Backend for Metered<B> {
    async fn turn(&self, prompt: Prompt) -> Result<Turn, TurnError> {
        let notes = trace::notes();
        notes.asked(prompt.model.as_deref());
        let mut waiting = Waiting { outcome: Wait::Left, since: Instant::now(), metrics: &self.metrics };
        let result = self.backend.turn(prompt).await;
        waiting.outcome = if result.is_ok() { Wait::Served } else { Wait::Refused };
        drop(waiting);
        match result {
            Ok(turn) => Ok(turn.witnessed(witness(Arc::clone(&self.metrics), notes))),
            Err(error) => {
                failed(&self.metrics, &notes, &error);
                Err(error)
            }
        }
    }

    fn status(&self) -> PoolStatus {
        self.backend.status()
    }

    fn memory(&self) -> TreeMemory {
        self.backend.memory()
    }

    fn account(&self) -> Account {
        self.backend.account()
    }

    fn models(&self) -> Vec<Model> {
        self.backend.models()
    }

    fn restart(&self) -> impl Future<Output = usize> + Send {
        self.backend.restart()
    }
}

/// Times the wait for an invoker, even of a request whose client leaves and whose future is dropped.
struct Waiting<'a> {
    outcome: Wait,
    since: Instant,
    metrics: &'a Metrics,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.metrics.waited(self.outcome, self.since.elapsed());
    }
}

/// What sees a turn's end; the turn begins now.
fn witness(metrics: Arc<Metrics>, notes: Notes) -> impl FnOnce(TurnEnd<'_>) + Send + 'static {
    let since = Instant::now();
    move |end| {
        let outcome = match end {
            TurnEnd::Done(completion) => {
                metrics.tokens(completion.usage);
                notes.done(completion);
                Outcome::Done
            }
            TurnEnd::Failed(error) => {
                failed(&metrics, &notes, error);
                Outcome::Failed
            }
            TurnEnd::GivenUp => Outcome::GivenUp,
        };
        metrics.turn(outcome, since.elapsed());
    }
}

fn failed(metrics: &Metrics, notes: &Notes, error: &TurnError) {
    metrics.turn_error(error);
    notes.failed(ApiError::from(error.clone()).code());
}
