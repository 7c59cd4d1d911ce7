//! Counts and times turns, and notes them for the request's access log line.

use std::sync::Arc;
use std::time::Instant;

use super::Backend;
use super::error::ApiError;
use super::trace::RequestNotes;
use crate::metrics::{Metrics, Outcome, Wait};
use crate::pool::{Turn, TurnEnd};
use crate::turn::{Prompt, TurnError};

/// Requests a turn from `backend`. Its wait and its outcome go into `metrics` and `notes`.
pub(super) async fn run_metered_turn<B: Backend>(
    backend: B,
    metrics: Arc<Metrics>,
    notes: RequestNotes,
    prompt: Prompt,
) -> Result<Turn, TurnError> {
    notes.add_turn(prompt.model.as_deref());
    let mut wait = WaitTimer { outcome: Wait::Left, since: Instant::now(), metrics: &metrics };
    let result = backend.turn(prompt).await;
    wait.outcome = if result.is_ok() { Wait::Served } else { Wait::Refused };
    drop(wait);
    match result {
        Ok(turn) => Ok(turn.on_end(turn_recorder(metrics, notes))),
        Err(error) => {
            record_failure(&metrics, &notes, &error);
            Err(error)
        }
    }
}

/// Times the wait for an invoker. Records on drop, so that a request whose client leaves while it waits is counted.
struct WaitTimer<'a> {
    outcome: Wait,
    since: Instant,
    metrics: &'a Metrics,
}

impl Drop for WaitTimer<'_> {
    fn drop(&mut self) {
        self.metrics.record_wait(self.outcome, self.since.elapsed());
    }
}

/// Records the end of a turn that begins now.
fn turn_recorder(metrics: Arc<Metrics>, notes: RequestNotes) -> impl FnOnce(TurnEnd<'_>) + Send + 'static {
    let since = Instant::now();
    move |end| {
        let outcome = match end {
            TurnEnd::Done(completion) => {
                metrics.record_tokens(completion.usage);
                notes.add_completion(completion);
                Outcome::Done
            }
            TurnEnd::Failed(error) => {
                record_failure(&metrics, &notes, error);
                Outcome::Failed
            }
            TurnEnd::GivenUp => Outcome::GivenUp,
        };
        metrics.record_turn(outcome, since.elapsed());
    }
}

fn record_failure(metrics: &Metrics, notes: &RequestNotes, error: &TurnError) {
    metrics.record_turn_error(error);
    notes.set_error(ApiError::from(error.clone()).code());
}
