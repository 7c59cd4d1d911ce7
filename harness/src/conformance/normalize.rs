//! One message without what differs from process to process: ids, times, costs, counts, paths, versions, prose.
//!
//! The rest is what a client of the protocol depends on: the keys, their types, and the values that
//! decide something or carry the model's words.

use serde_json::{Map, Value};

/// Keys whose strings say what a message is, or are the model's own.
const MEANINGFUL_STRINGS: [&str; 26] = [
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
const MEANINGFUL_NUMBERS: [&str; 8] = [
    "index",
    "num_turns",
    "api_error_status",
    "error_status",
    "attempt",
    "max_retries",
    "result_index",
    "queued_turn_count",
];
/// Keys that depend on the machine: the CLI leaves them out where it has no plugins and no path for a socket. The
/// categories of its context are counted by the API, and left out where they are empty.
const MACHINE_KEYS: [&str; 3] = ["plugins", "messaging_socket_path", "categories"];
/// Lists of what a CLI offers, whose entries have names of its own.
const NAME_LISTS: [&str; 4] = ["commands", "agents", "models", "skills"];

/// The message of a line: a line for each value in it, all beginning with what the message is, so that a difference shows
/// what it is in.
#[must_use]
pub fn normalize_message(line: &str) -> String {
    let Ok(value) = serde_json::from_str::<Value>(line) else { return format!("no JSON: {line}") };
    let title = message_title(&value);
    let mut lines = Vec::new();
    flatten_value("", &normalize_value("", value, true), &mut |path, value| {
        lines.push(format!("{title} {path} {value}"));
    });
    lines.dedup();
    lines.join("\n")
}

fn message_title(message: &Value) -> String {
    let words = [&message["type"], &message["subtype"], &message["event"]["type"], &message["response"]["subtype"]];
    words.into_iter().filter_map(Value::as_str).collect::<Vec<_>>().join("/")
}

fn flatten_value(path: &str, value: &Value, line: &mut impl FnMut(&str, &Value)) {
    match value {
        Value::Object(entries) if !entries.is_empty() => {
            entries.iter().for_each(|(key, value)| flatten_value(&format!("{path}.{key}"), value, line));
        }
        Value::Array(items) if !items.is_empty() => {
            for item in items {
                flatten_value(&format!("{path}[]"), item, line);
            }
        }
        other => line(path, other),
    }
}

fn normalize_value(key: &str, value: Value, told: bool) -> Value {
    match value {
        Value::String(text) if told && MEANINGFUL_STRINGS.contains(&key) => Value::String(without_address(&text)),
        Value::String(_) => "…".into(),
        Value::Number(number) if MEANINGFUL_NUMBERS.contains(&key) => Value::Number(number),
        Value::Number(_) => 0.into(),
        Value::Array(items) => {
            let told = told && !NAME_LISTS.contains(&key);
            let mut items: Vec<Value> = items.into_iter().map(|item| normalize_value(key, item, told)).collect();
            items.dedup();
            Value::Array(items)
        }
        Value::Object(entries) => {
            let mut entries: Vec<(String, Value)> =
                entries.into_iter().filter(|(key, _)| !MACHINE_KEYS.contains(&key.as_str())).collect();
            entries.sort_by(|a, b| a.0.cmp(&b.0));
            let entries = entries.into_iter().map(|(key, value)| {
                let value = normalize_value(&key, value, told);
                (key, value)
            });
            Value::Object(entries.collect::<Map<_, _>>())
        }
        other => other,
    }
}

/// A text in which the API's address on loopback is everybody's.
pub(super) fn without_address(text: &str) -> String {
    let mut parts = text.split("127.0.0.1:");
    let mut said = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        said.push_str("gateway.example");
        said.push_str(part.trim_start_matches(|letter: char| letter.is_ascii_digit()));
    }
    said
}

#[cfg(test)]
mod tests {
    use super::{normalize_message, without_address};

    #[test]
    fn ids_times_and_costs_do_not_differ_and_words_do() {
        let line = |id: &str, cost: &str, text: &str| {
            format!(r#"{{"result":"{text}","uuid":"{id}","type":"result","total_cost_usd":{cost},"num_turns":1}}"#)
        };
        assert_eq!(normalize_message(&line("a", "0.1", "x")), normalize_message(&line("b", "0.25", "x")));
        assert_ne!(normalize_message(&line("a", "0.1", "x")), normalize_message(&line("a", "0.1", "y")));
        assert!(normalize_message(&line("a", "0.1", "x")).starts_with("result .num_turns 1\nresult .result \"x\"\n"));
    }

    #[test]
    fn the_address_of_the_api_is_everybodys() {
        assert_eq!(without_address("at (127.0.0.1:40789). 127.0.0.1:1"), "at (gateway.example). gateway.example");
        assert_eq!(without_address("1 of 2"), "1 of 2");
    }

    #[test]
    fn a_new_key_and_another_type_differ() {
        assert_ne!(normalize_message(r#"{"type":"a"}"#), normalize_message(r#"{"type":"a","b":null}"#));
        assert_ne!(normalize_message(r#"{"type":"a","b":1}"#), normalize_message(r#"{"type":"a","b":"1"}"#));
        assert_eq!(
            normalize_message(r#"{"commands":[{"name":"a"},{"name":"b"}]}"#),
            normalize_message(r#"{"commands":[{"name":"c"}]}"#)
        );
    }
}
