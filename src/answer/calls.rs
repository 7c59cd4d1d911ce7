//! Calls of functions in a reply: `{"tool_calls": [{"name": …, "arguments": {…}}]}`, bare, in a Markdown fence or after
//! words; a single call without its list, and a list without its object, are understood too.
//!
//! Arguments are kept as the model wrote them, with white space between values left out: read as a value and written
//! again, a number of more than 64 bits would lose digits.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde_json::Value;
use serde_json::value::RawValue;

use crate::openai::reading::syntax_message;

/// Function calls found in a reply.
#[derive(Debug, PartialEq)]
pub(super) enum Found<'a> {
    /// No calls.
    None,
    /// Calls, and the text before them.
    Calls { words: &'a str, calls: Vec<Called> },
    /// Malformed calls; the reason.
    Broken(String),
}

/// A call as the model wrote it.
#[derive(Debug, PartialEq)]
pub(super) struct Called {
    pub(super) name: String,
    pub(super) arguments: Value,
    /// The arguments as text, with numbers as the model wrote them.
    pub(super) text: String,
}

/// How calls begin, without white space. Only the first one can't be other JSON.
const HEADS: [&str; 3] = [r#"{"tool_calls":"#, r#"{"name":"#, r#"[{"name":"#];

/// Finds calls of known functions.
pub(super) fn find_calls(reply: &str, is_known: impl Fn(&str) -> bool) -> Found<'_> {
    // If the whole reply is JSON, do not search inside it: a string in a valid object may look like a call.
    if let Ok(json) = serde_json::from_str(strip_fence(reply.trim()).trim_end_matches('`').trim_end()) {
        return match read_calls(json, &is_known) {
            Some(Ok(calls)) => Found::Calls { words: "", calls },
            Some(Err(why)) => Found::Broken(why),
            None => Found::None,
        };
    }
    let mut broken = None;
    let mut from = 0;
    while let Some(at) = next_start(reply, from) {
        let (words, json) = (reply[..at].trim_end(), strip_fence(&reply[at..]));
        match serde_json::Deserializer::from_str(json).into_iter::<&RawValue>().next() {
            Some(Ok(json)) => match read_calls(json, &is_known) {
                Some(Ok(calls)) => return Found::Calls { words, calls },
                Some(Err(why)) => broken = broken.or(Some(why)),
                None => {}
            },
            Some(Err(error)) if is_meant(json) => broken = broken.or_else(|| Some(syntax_message(&error))),
            Some(Err(_)) | None => {}
        }
        from = at + 1;
    }
    broken.map_or(Found::None, Found::Broken)
}

/// First byte offset, from `from` on, at which calls begin or may begin once more text has arrived.
pub(super) fn next_start(text: &str, from: usize) -> Option<usize> {
    let candidates = text.get(from..)?.match_indices(['{', '[', '`']);
    candidates.map(|(at, _)| from + at).find(|at| may_begin(&text[*at..]))
}

fn may_begin(text: &str) -> bool {
    let mut json = strip_fence(text).chars().filter(|c| !c.is_whitespace());
    let start: String = json.by_ref().take(HEADS[0].len()).collect();
    HEADS.iter().any(|head| head.starts_with(&start) || start.starts_with(head))
}

fn is_meant(json: &str) -> bool {
    json.chars().filter(|c| !c.is_whitespace()).zip(HEADS[0].chars()).filter(|(a, b)| a == b).count() == HEADS[0].len()
}

/// Removes a Markdown fence, or the part of one that has arrived, from the beginning.
fn strip_fence(text: &str) -> &str {
    if !text.starts_with('`') {
        return text;
    }
    match text.strip_prefix("```") {
        Some(rest) => rest.trim_start_matches(|c: char| c.is_ascii_alphanumeric()).trim_start(),
        None => text.trim_start_matches('`').get(..).filter(|rest| rest.is_empty()).unwrap_or(text),
    }
}

/// Reads JSON as calls; none if it is other JSON.
fn read_calls(json: &RawValue, is_known: impl Fn(&str) -> bool) -> Option<Result<Vec<Called>, String>> {
    let is_call = |json: &RawValue| {
        object_fields(json)
            .is_some_and(|call| call_name(&call).is_some_and(|name| is_known(&name)) && call.contains_key("arguments"))
    };
    let list = match object_fields(json) {
        Some(object) => match object.get("tool_calls") {
            Some(calls) => match array_elements(calls) {
                Some(list) => list,
                None => return Some(Err("`tool_calls` is not a list".to_owned())),
            },
            None if is_call(json) => vec![json],
            None => return None,
        },
        None => array_elements(json).filter(|list| !list.is_empty() && list.iter().all(|json| is_call(json)))?,
    };
    if list.is_empty() {
        return Some(Err("`tool_calls` is empty".to_owned()));
    }
    Some(list.into_iter().map(read_call).collect())
}

/// Fields of an object by name.
type Fields<'a> = BTreeMap<Cow<'a, str>, &'a RawValue>;

fn object_fields(json: &RawValue) -> Option<Fields<'_>> {
    serde_json::from_str(json.get()).ok()
}

fn array_elements(json: &RawValue) -> Option<Vec<&RawValue>> {
    serde_json::from_str(json.get()).ok()
}

fn call_name(call: &Fields<'_>) -> Option<String> {
    serde_json::from_str(call.get("name")?.get()).ok()
}

fn read_call(call: &RawValue) -> Result<Called, String> {
    let call = object_fields(call).ok_or("a call is not an object")?;
    let name = call_name(&call).ok_or("a call has no `name`")?;
    let arguments = call.get("arguments").map_or("{}", |arguments| arguments.get());
    // Models also write arguments as a string, because OpenAI's API does.
    let (kind, text) = match serde_json::from_str::<String>(arguments) {
        Ok(text) => ("are a string that is not JSON", Cow::Owned(text)),
        Err(_) => ("can't be read", Cow::Borrowed(arguments)),
    };
    let arguments = serde_json::from_str(&text)
        .map_err(|error| format!("the arguments of {name:?} {kind}: {}", syntax_message(&error)))?;
    Ok(Called { name, arguments, text: strip_whitespace(&text) })
}

/// JSON without the white space between its values.
fn strip_whitespace(json: &str) -> String {
    let (mut in_string, mut escaped) = (false, false);
    let keep = |c: &char| {
        let keep = in_string || !matches!(c, ' ' | '\t' | '\n' | '\r');
        if *c == '"' && !escaped {
            in_string = !in_string;
        }
        escaped = in_string && *c == '\\' && !escaped;
        keep
    };
    json.chars().filter(keep).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn called(arguments: Value, text: &str) -> Called {
        Called { name: "f".to_owned(), arguments, text: text.to_owned() }
    }

    fn found(reply: &str) -> Found<'_> {
        find_calls(reply, |name| name == "f")
    }

    #[test]
    fn calls_are_found_bare_fenced_after_words_and_without_their_list() {
        let one = |words| Found::Calls { words, calls: vec![called(json!({"a": 1}), r#"{"a":1}"#)] };
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
    #[test]
    fn arguments_keep_every_digit_and_every_character_of_their_strings() {
        let arguments = r#"{"n": 123456789012345678901234567890, "x" :[0.1000000000000000055511151231257827, 1E+2],
            "s": "a  \" b\\", "t": "\u00e9\t { } "}"#;
        let kept = r#"{"n":123456789012345678901234567890,"x":[0.1000000000000000055511151231257827,1E+2],"s":"a  \" b\\","t":"\u00e9\t { } "}"#;
        for given in [arguments.to_owned(), Value::from(arguments).to_string()] {
            let reply = format!(r#"I look. {{"tool_calls": [{{"name": "f", "arguments": {given}}}]}}"#);
            let Found::Calls { calls, .. } = found(&reply) else { panic!("{reply}") };
            assert_eq!(calls[0].text, kept);
            assert_eq!(calls[0].arguments["s"], "a  \" b\\");
        }
    }

    #[test]
    fn arguments_out_of_any_range_or_too_deep_are_broken() {
        let deep = "[".repeat(200) + &"]".repeat(200);
        for arguments in ["{\"a\": 1e999}", &format!("{{\"a\": {deep}}}")] {
            let reply = format!(r#"{{"tool_calls": [{{"name": "f", "arguments": {arguments}}}]}}"#);
            assert!(matches!(found(&reply), Found::Broken(_)), "{reply}");
        }
    }
}
