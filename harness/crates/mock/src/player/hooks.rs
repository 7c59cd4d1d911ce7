//! Hooks: the caller's functions, called before a prompt, around the use of a tool, and at the end of a turn.

use serde_json::{Map, Value, json};

use super::ask::RequestOutcome;
use super::{Player, Stop};
use crate::script::{Act, Turn};

/// What the hooks of one event have answered.
#[derive(Debug, Default)]
pub(super) struct HookDecision {
    /// Refused, for this reason.
    pub(super) denied: Option<String>,
    /// Allowed, so that nobody has to be asked.
    pub(super) allowed: bool,
    /// The turn shall end here.
    pub(super) stops: bool,
    /// The input that the tool gets instead.
    pub(super) input: Option<Value>,
    /// No answer will come any more.
    pub(super) closed: bool,
}

impl Player {
    /// Calls all hooks of an event at once and waits for them; `about` is what its input has beyond the usual.
    pub(super) fn call_hooks(&mut self, event: &str, tool: Option<&str>, about: &Value) -> Result<HookDecision, Stop> {
        let mut decision = HookDecision::default();
        let callbacks = self.client.callbacks(event, tool);
        if callbacks.is_empty() {
            return Ok(decision);
        }
        let tool_use = about.get("tool_use_id").and_then(Value::as_str).map(str::to_owned);
        let mut ids = Vec::new();
        for callback in callbacks {
            let input = self.hook_input(event, about);
            let tool_use = tool_use.clone().unwrap_or_else(|| self.fresh_id());
            let request = json!({
                "subtype": "hook_callback", "callback_id": callback, "input": input, "tool_use_id": tool_use,
            });
            ids.push(self.send_request(&request)?);
        }
        for id in ids {
            let answered = self.await_answer(&id)?;
            decision.closed |= matches!(answered, RequestOutcome::Closed);
            decision.apply_answer(&answered.into_value());
        }
        Ok(decision)
    }

    /// The input of a hook in the keys and with the values that were recorded, and what is known better.
    fn hook_input(&self, event: &str, about: &Value) -> Value {
        let recorded = self.dialect.tool_turn().and_then(|turn| recorded_input(turn, event)).unwrap_or_default();
        let known = |key: &str| match key {
            "session_id" => Some(Value::from(self.session_id())),
            "permission_mode" => Some(Value::from(self.mode.clone())),
            key => about.get(key).cloned(),
        };
        recorded
            .into_iter()
            .map(|(key, value)| (key.clone(), known(&key).unwrap_or(value)))
            .collect::<Map<_, _>>()
            .into()
    }
}

/// The input that a hook of this event had in a recorded turn.
fn recorded_input(turn: &Turn, event: &str) -> Option<Map<String, Value>> {
    turn.steps.iter().find_map(|step| {
        let Act::Say(line) = &step.act else { return None };
        let message: Value = serde_json::from_str(&line.raw).ok()?;
        let input = message.pointer("/request/input")?.as_object()?;
        (input.get("hook_event_name")? == event).then(|| input.clone())
    })
}

impl HookDecision {
    fn apply_answer(&mut self, answer: &Value) {
        let text = |pointer: &str| answer.pointer(pointer).and_then(Value::as_str);
        let decision = text("/hookSpecificOutput/permissionDecision");
        if decision == Some("deny") || text("/decision") == Some("block") {
            let reason = text("/hookSpecificOutput/permissionDecisionReason").or(text("/reason"));
            self.denied = Some(reason.unwrap_or("Blocked by hook").to_owned());
        }
        self.allowed |= decision == Some("allow") || text("/decision") == Some("approve");
        self.stops |= answer.get("continue") == Some(&Value::Bool(false));
        self.input = answer.pointer("/hookSpecificOutput/updatedInput").cloned().or(self.input.take());
    }
}
