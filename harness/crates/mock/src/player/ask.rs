//! What the CLI asks of its caller: control requests of its own, and their answers.

use serde_json::{Value, json};

use super::{Player, Stop};

/// What became of a request of the CLI.
#[derive(Debug)]
pub(super) enum RequestOutcome {
    /// This was answered.
    With(Value),
    /// The caller answered with an error.
    Error(String),
    /// Stdin has ended: no answer will come.
    Closed,
    /// The caller has interrupted the turn.
    Interrupted,
}

impl RequestOutcome {
    /// The answer; an empty object where there is none.
    pub(super) fn into_value(self) -> Value {
        match self {
            Self::With(value) => value,
            _ => json!({}),
        }
    }
}

impl Player {
    /// Sends a request; its answer is waited for by [`Self::await_answer`].
    pub(super) fn send_request(&mut self, request: &Value) -> Result<String, Stop> {
        let id = self.fresh_id();
        self.out.push_line(&json!({"type": "control_request", "request_id": id, "request": request}).to_string())?;
        self.asked.insert(id.clone());
        Ok(id)
    }

    /// Waits for the answer to a request; in the middle of a turn an interrupt ends that.
    pub(super) fn await_answer(&mut self, id: &str) -> Result<RequestOutcome, Stop> {
        self.out.flush()?;
        let outcome = loop {
            if let Some(said) = self.answers.remove(id) {
                break said.map_or_else(RequestOutcome::Error, RequestOutcome::With);
            }
            if self.interrupt.is_some() {
                self.out.push_line(&json!({"type": "control_cancel_request", "request_id": id}).to_string())?;
                break RequestOutcome::Interrupted;
            }
            if self.closed {
                break RequestOutcome::Closed;
            }
            let inbound = self.inbox.wait();
            self.handle_inbound(inbound)?;
            self.out.flush()?;
        };
        self.asked.remove(id);
        Ok(outcome)
    }

    /// An id that no recording has.
    pub(super) fn fresh_id(&mut self) -> String {
        self.ids += 1;
        format!("00000000-0000-4000-b000-{:012}", self.ids)
    }

    /// Says something that no recording has, with an id and the session's.
    pub(super) fn say_new(&mut self, mut message: Value) -> Result<(), Stop> {
        message["uuid"] = self.fresh_id().into();
        message["session_id"] = self.session_id().into();
        Ok(self.out.push_line(&message.to_string())?)
    }

    /// Says in what state the session is, where that is asked for.
    pub(super) fn report_state(&mut self, state: &str) -> Result<(), Stop> {
        let Some(for_sdk) = self.options.call.states.filter(|_| self.dialect.knows_sdks()) else { return Ok(()) };
        let mut message = json!({"type": "system", "subtype": "session_state_changed", "state": state});
        if for_sdk {
            message["sdk_host_only"] = true.into();
        }
        self.say_new(message)
    }

    /// The id of the session: the recording's, until something has changed it.
    pub(super) fn session_id(&self) -> String {
        self.session.clone().unwrap_or_else(|| "00000000-0000-4000-8000-000000000001".to_owned())
    }
}
