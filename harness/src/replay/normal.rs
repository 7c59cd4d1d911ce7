//! One message without what differs from process to process: ids, times, costs, counts, paths, versions, prose.
//!
//! What is left is what a reader of the protocol lives by: which keys there are, of which types, and the values that
//! decide something or carry the model's words.

use serde_json::{Map, Value};

/// Keys whose strings say what a message is, or are the model's own.
const TOLD: [&str; 26] = [
    "type",
    "subtype",
    "role",
    "status",
    "state",
    "session_state",
    "text",
    "thinking",
    "partial_json",
    "result",
    "stop_reason",
    "terminal_reason",
    "error",
    "error_type",
    "api_error_type",
    "behavior",
    "message",
    "tool_name",
    "name",
    "trigger",
    "permissionMode",
    "apiKeySource",
    "tokenSource",
    "command",
    "ruleContent",
    "toolName",
];
/// Keys whose numbers decide something.
const COUNTED: [&str; 8] = [
    "index",
    "num_turns",
    "api_error_status",
    "error_status",
    "attempt",
    "max_retries",
    "result_index",
    "queued_turn_count",
];
/// Lists of what a CLI offers, whose entries have names of its own.
const OFFERED: [&str; 5] = ["commands", "agents", "models", "skills", "plugins"];

/// The message of a line, on one line.
#[must_use]
pub fn message(line: &str) -> String {
    match serde_json::from_str::<Value>(line) {
        Ok(value) => normal("", value, true).to_string(),
        Err(_) => format!("no JSON: {line}"),
    }
}

fn normal(key: &str, value: Value, told: bool) -> Value {
    match value {
        Value::String(text) if told && TOLD.contains(&key) => Value::String(text),
        Value::String(_) => "…".into(),
        Value::Number(number) if COUNTED.contains(&key) => Value::Number(number),
        Value::Number(_) => 0.into(),
        Value::Array(items) => {
            let told = told && !OFFERED.contains(&key);
            let mut items: Vec<Value> = items.into_iter().map(|item| normal(key, item, told)).collect();
            items.dedup();
            Value::Array(items)
        }
        Value::Object(entries) => {
            let mut entries: Vec<(String, Value)> = entries.into_iter().collect();
            entries.sort_by(|a, b| rank(&a.0).cmp(&rank(&b.0)));
            let entries = entries.into_iter().map(|(key, value)| {
                let value = normal(&key, value, told);
                (key, value)
            });
            Value::Object(entries.collect::<Map<_, _>>())
        }
        other => other,
    }
}

/// What a message is comes first, so that a difference shows what it is in; then the alphabet.
fn rank(key: &str) -> (bool, bool, &str) {
    (key != "type", key != "subtype", key)
}

#[cfg(test)]
mod tests {
    use super::message;

    #[test]
    fn ids_times_and_costs_do_not_differ_and_words_do() {
        let line = |id: &str, cost: &str, text: &str| {
            format!(r#"{{"result":"{text}","uuid":"{id}","type":"result","total_cost_usd":{cost},"num_turns":1}}"#)
        };
        assert_eq!(message(&line("a", "0.1", "x")), message(&line("b", "0.25", "x")));
        assert_ne!(message(&line("a", "0.1", "x")), message(&line("a", "0.1", "y")));
        assert!(message(&line("a", "0.1", "x")).starts_with(r#"{"type":"result","num_turns":1,"#));
    }

    #[test]
    fn a_new_key_and_another_type_differ() {
        assert_ne!(message(r#"{"type":"a"}"#), message(r#"{"type":"a","b":null}"#));
        assert_ne!(message(r#"{"type":"a","b":1}"#), message(r#"{"type":"a","b":"1"}"#));
        assert_eq!(message(r#"{"commands":[{"name":"a"},{"name":"b"}]}"#), message(r#"{"commands":[{"name":"c"}]}"#));
    }
}
