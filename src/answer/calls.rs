//! Calls of functions in a reply: `{"tool_calls": [{"name": …, "arguments": {…}}]}`, bare, in a Markdown fence or after
//! words; a single call without its list, and a list without its object, are understood too.

use serde_json::{Map, Value};

/// What of calls is in a reply.
#[derive(Debug, PartialEq)]
pub(super) enum Found<'a> {
    /// Nothing.
    None,
    /// These, by name and arguments, after these words.
    Calls { words: &'a str, calls: Vec<(String, Value)> },
    /// Something that was meant to be calls; why it is none.
    Broken(String),
}

/// The beginnings of calls, without white space. Only the first of them is certain to be meant as such.
const HEADS: [&str; 3] = [r#"{"tool_calls":"#, r#"{"name":"#, r#"[{"name":"#];

/// Looks for calls of functions whose names are known.
pub(super) fn find(reply: &str, is_known: impl Fn(&str) -> bool) -> Found<'_> {
    // A reply that is JSON as a whole is calls as a whole, or none: what stands within it is its own matter.
    if let Ok(value) = serde_json::from_str(unfenced(reply.trim()).trim_end_matches('`').trim_end()) {
        return match read(value, &is_known) {
            Some(Ok(calls)) => Found::Calls { words: "", calls },
            Some(Err(why)) => Found::Broken(why),
            None => Found::None,
        };
    }
    let mut broken = None;
    let mut from = 0;
    while let Some(at) = next_start(reply, from) {
        let (words, json) = (reply[..at].trim_end(), unfenced(&reply[at..]));
        match serde_json::Deserializer::from_str(json).into_iter::<Value>().next() {
            Some(Ok(value)) => match read(value, &is_known) {
                Some(Ok(calls)) => return Found::Calls { words, calls },
                Some(Err(why)) => broken = broken.or(Some(why)),
                None => {}
            },
            Some(Err(error)) if is_meant(json) => broken = broken.or_else(|| Some(error.to_string())),
            Some(Err(_)) | None => {}
        }
        from = at + 1;
    }
    broken.map_or(Found::None, Found::Broken)
}

/// The first place from `from` on where calls begin, or may begin once more of the text is there.
pub(super) fn next_start(text: &str, from: usize) -> Option<usize> {
    let candidates = text.get(from..)?.match_indices(['{', '[', '`']);
    candidates.map(|(at, _)| from + at).find(|at| may_begin(&text[*at..]))
}

fn may_begin(text: &str) -> bool {
    let mut json = unfenced(text).chars().filter(|c| !c.is_whitespace());
    let start: String = json.by_ref().take(HEADS[0].len()).collect();
    HEADS.iter().any(|head| head.starts_with(&start) || start.starts_with(head))
}

fn is_meant(json: &str) -> bool {
    json.chars().filter(|c| !c.is_whitespace()).zip(HEADS[0].chars()).filter(|(a, b)| a == b).count() == HEADS[0].len()
}

/// Without the Markdown fence that it begins with, as far as that is there.
fn unfenced(text: &str) -> &str {
    if !text.starts_with('`') {
        return text;
    }
    match text.strip_prefix("```") {
        Some(rest) => rest.trim_start_matches(|c: char| c.is_ascii_alphanumeric()).trim_start(),
        None => text.trim_start_matches('`').get(..).filter(|rest| rest.is_empty()).unwrap_or(text),
    }
}

/// The calls that a value means; none where it is some other JSON.
fn read(value: Value, is_known: impl Fn(&str) -> bool) -> Option<Result<Vec<(String, Value)>, String>> {
    let is_call = |value: &Value| {
        value.get("name").and_then(Value::as_str).is_some_and(&is_known) && value.get("arguments").is_some()
    };
    let list = match value {
        Value::Object(mut object) => match object.remove("tool_calls") {
            Some(Value::Array(list)) => list,
            Some(_) => return Some(Err("`tool_calls` is not a list".to_owned())),
            None => {
                let value = Value::Object(object);
                if !is_call(&value) {
                    return None;
                }
                vec![value]
            }
        },
        Value::Array(list) if !list.is_empty() && list.iter().all(is_call) => list,
        _ => return None,
    };
    if list.is_empty() {
        return Some(Err("`tool_calls` is empty".to_owned()));
    }
    Some(list.into_iter().map(read_call).collect())
}

fn read_call(call: Value) -> Result<(String, Value), String> {
    let Value::Object(mut call) = call else { return Err("a call is not an object".to_owned()) };
    let Some(Value::String(name)) = call.remove("name") else { return Err("a call has no `name`".to_owned()) };
    let arguments = match call.remove("arguments") {
        // As OpenAI's own API writes them.
        Some(Value::String(text)) => serde_json::from_str(&text)
            .map_err(|error| format!("the arguments of {name:?} are a string that is not JSON: {error}"))?,
        Some(arguments) => arguments,
        None => Value::Object(Map::new()),
    };
    Ok((name, arguments))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn found(reply: &str) -> Found<'_> {
        find(reply, |name| name == "f")
    }

    #[test]
    fn calls_are_found_bare_fenced_after_words_and_without_their_list() {
        let one = |words| Found::Calls { words, calls: vec![("f".to_owned(), json!({"a": 1}))] };
        let call = r#"{"name": "f", "arguments": {"a": 1}}"#;
        let whole = format!("{{\n  \"tool_calls\" : [{call}]}}");
        assert_eq!(found(&whole), one(""));
        assert_eq!(found(&format!("```json\n{whole}\n```")), one(""));
        assert_eq!(found(&format!("I'll look [1] it `up`.\n\n{whole}\n\nDone")), one("I'll look [1] it `up`."));
        assert_eq!(found(&format!("Yes.\n```\n{whole}\n```")), one("Yes."));
        assert_eq!(found(call), one(""));
        assert_eq!(found(&format!("[{call}]")), one(""));
        assert_eq!(found(r#"{"tool_calls": [{"name": "f", "arguments": "{\"a\": 1}"}]}"#), one(""));
        assert_eq!(found(&format!(r#"{{"name": "Bob"}} {whole}"#)), one(r#"{"name": "Bob"}"#));
    }

    #[test]
    fn what_was_meant_as_calls_and_is_none_is_broken() {
        for reply in [
            r#"{"tool_calls": [{"name": "f", "arguments": {"a""#,
            r#"{"tool_calls": []}"#,
            r#"{"tool_calls": {}}"#,
            r#"{"tool_calls": [{"arguments": {}}]}"#,
            r#"{"tool_calls": [{"name": "f", "arguments": "{"}]}"#,
            r#"{"tool_calls": [7]}"#,
        ] {
            assert!(matches!(found(reply), Found::Broken(_)), "{reply}");
        }
    }

    #[test]
    fn other_text_and_other_json_are_no_calls() {
        for reply in [
            "",
            "no",
            "{",
            "{\"a\": 1}",
            "[1]",
            "`x`",
            "```json\n{}\n```",
            r#"{"name": "Bob", "age": 7}"#,
            "\"tool_calls\"",
            r#"{"log": [{"name": "f", "arguments": {}}]}"#,
            r#"{"result": {"tool_calls": []}}"#,
            "```json\n[[{\"name\": \"f\", \"arguments\": {}}]]\n```",
        ] {
            assert_eq!(found(reply), Found::None, "{reply}");
        }
    }
}
