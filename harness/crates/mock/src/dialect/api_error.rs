//! The API's error with a status that no recording has: a recorded one, retold.

use serde_json::Value;

use crate::script::{Act, Script, Step};

/// The steps of the first turn, which has to be one that failed.
pub(super) fn first_steps(script: &Script) -> Option<Vec<Step>> {
    script.turns.first().map(|turn| turn.steps.clone())
}

/// Retells the steps of a turn that ended in the API's error.
pub(super) fn change_status(mut steps: Vec<Step>, status: u16) -> Vec<Step> {
    // A request that the API finds wrong is not tried again.
    let is_tried_again = status >= 500 || [401, 408, 409, 429].contains(&status);
    steps.retain(|step| is_tried_again || !is_retry(step));
    for step in &mut steps {
        if let Act::Say(line) = &mut step.act {
            *line = line.edit_json(|json| change_line(json, status));
        }
    }
    steps
}

fn is_retry(step: &Step) -> bool {
    matches!(&step.act, Act::Say(line) if line.raw.contains("\"subtype\":\"api_retry\""))
}

fn change_line(json: &mut Value, status: u16) {
    let (kind, message, error) = describe_status(status);
    for key in ["error_status", "api_error_status"] {
        set_value(json.get_mut(key).filter(|value| value.is_number()), status.into());
    }
    set_value(json.get_mut("api_error_type").filter(|value| value.is_string()), kind.into());
    // An older CLI calls every error unknown.
    set_value(json.get_mut("error").filter(|value| value.is_string() && *value != "unknown"), error.into());
    for place in ["/message/content/0/text", "/result"] {
        let Some(words) = json.pointer_mut(place) else { continue };
        let is_json = words.as_str().is_some_and(|words| words.contains("{\"type\":\"error\""));
        let said = if is_json {
            serde_json::json!({"type": "error", "error": {"type": kind, "message": message}}).to_string()
        } else {
            message.to_owned()
        };
        *words = Value::from(format!("API Error: {status} {said}"));
    }
}

fn set_value(place: Option<&mut Value>, value: Value) {
    if let Some(place) = place {
        *place = value;
    }
}

/// The API's type of error, its words, and the CLI's name for it.
fn describe_status(status: u16) -> (&'static str, &'static str, &'static str) {
    match status {
        401 => ("authentication_error", "Invalid API key", "authentication_failed"),
        403 => ("permission_error", "Permission denied", "authentication_failed"),
        404 => ("not_found_error", "Not found", "invalid_request"),
        413 => ("request_too_large", "Request too large", "invalid_request"),
        429 => ("rate_limit_error", "Number of requests has exceeded your rate limit", "rate_limit"),
        529 => ("overloaded_error", "Overloaded", "server_error"),
        400..500 => ("invalid_request_error", "Invalid request", "invalid_request"),
        _ => ("api_error", "Internal server error", "server_error"),
    }
}
