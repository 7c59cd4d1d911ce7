//! Facts about reading, for the shapes of both APIs.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{Flaw, Misread, read_body, read_part};
use crate::openai::chat::ChatCompletionRequest;
use crate::openai::responses::{FunctionTool, MessageItem, ResponsesRequest};

#[track_caller]
fn misread(text: &str) -> Misread {
    read_body::<ChatCompletionRequest>(text.as_bytes()).unwrap_err()
}

#[track_caller]
fn is(wrong: &Misread, flaw: Flaw, param: &str, message: &str) {
    assert_eq!((wrong.flaw, wrong.param.as_str(), wrong.message.as_str()), (flaw, param, message));
}

#[test]
fn a_list_is_no_object_wherever_there_are_fields() {
    let user = json!({"role": "user", "content": "x"});
    for (chat, param) in [
        (json!({"messages": [["user", "hi"]]}), "messages[0]"),
        (json!({"messages": [user, {"role": "user", "content": [["text", "hi"]]}]}), "messages[1].content[0]"),
        (
            json!({"messages": [{"role": "assistant", "tool_calls": [["1", "function", ["f", "{}"]]]}]}),
            "messages[0].tool_calls[0]",
        ),
        (
            json!({"messages": [{"role": "assistant", "tool_calls": [{"id": "1", "function": ["f", "{}"]}]}]}),
            "messages[0].tool_calls[0].function",
        ),
        (json!({"messages": [user], "stream_options": [true]}), "stream_options"),
        (json!({"messages": [user], "response_format": ["text"]}), "response_format"),
        (
            json!({"messages": [user], "response_format": {"type": "json_schema", "json_schema": ["x"]}}),
            "response_format.json_schema",
        ),
        (json!({"messages": [user], "tools": [["function", ["f"]]]}), "tools[0]"),
        (json!({"messages": [user], "tools": [{"type": "function", "function": ["f"]}]}), "tools[0].function"),
    ] {
        let message = format!("`{param}` must be an object, not an array");
        is(&misread(&chat.to_string()), Flaw::Type, param, &message);
    }
    for (response, param) in [
        (json!({"text": [null, "low"]}), "text"),
        (json!({"text": {"format": ["text"]}}), "text.format"),
        (json!({"stream_options": [true]}), "stream_options"),
        (json!({"reasoning": []}), "reasoning"),
        (json!({"metadata": []}), "metadata"),
    ] {
        let wrong = read_body::<ResponsesRequest>(response.to_string().as_bytes()).unwrap_err();
        is(&wrong, Flaw::Type, param, &format!("`{param}` must be an object, not an array"));
    }
    let wrong = read_part::<MessageItem>("input[0]", json!({"role": "user", "content": [["input_text", "hi"]]}));
    is(&wrong.unwrap_err(), Flaw::Type, "input[0].content[0]", "`input[0].content[0]` must be an object, not an array");
    let wrong = read_part::<FunctionTool>("tools[2]", json!(["f"])).unwrap_err();
    is(&wrong, Flaw::Type, "tools[2]", "`tools[2]` must be an object, not an array");
}

#[test]
fn what_is_wrong_is_said_in_plain_words() {
    for (text, flaw, param, message) in [
        ("{}", Flaw::Missing, "messages", "`messages` is missing"),
        (r#"{"messages": [{}]}"#, Flaw::Missing, "messages[0].role", "`messages[0].role` is missing"),
        (r#"{"messages": {}}"#, Flaw::Type, "messages", "`messages` must be an array, not an object"),
        (r#"{"messages": null}"#, Flaw::Type, "messages", "`messages` must be an array, not null"),
        (
            r#"{"messages": [], "stream": "yes"}"#,
            Flaw::Type,
            "stream",
            "`stream` must be true or false, not the string \"yes\"",
        ),
        (r#"{"messages": [], "model": 5}"#, Flaw::Type, "model", "`model` must be a string, not 5"),
        (r#"{"messages": [], "n": -1}"#, Flaw::Value, "n", "`n` must be a whole number from 0 on, not -1"),
        (r#"{"messages": [], "n": 1.5}"#, Flaw::Type, "n", "`n` must be a whole number from 0 on, not 1.5"),
        (
            r#"{"messages": [{"role": "robot", "content": ""}]}"#,
            Flaw::Value,
            "messages[0].role",
            "`messages[0].role` must be one of `system`, `developer`, `user`, `assistant`, `tool`, not the string \"robot\"",
        ),
        (
            r#"{"messages": [{"role": "user", "content": 5}]}"#,
            Flaw::Type,
            "messages[0].content",
            "`messages[0].content` must be a string or an array of parts, not 5",
        ),
    ] {
        is(&misread(text), flaw, param, message);
    }
}

#[test]
fn what_is_no_json_object_is_told_so() {
    for (bytes, message) in [
        (&b""[..], "the body is empty: send a JSON object"),
        (b" \n", "the body is empty: send a JSON object"),
        (b"[]", "the body must be a JSON object, not an array"),
        (b"null", "the body must be a JSON object, not null"),
        (b"{\"a\": \xff}", "the body is not valid UTF-8: byte 7 is not part of a character"),
        (b"{\"a\"", "the body is not JSON: it ends too early (line 1, column 4)"),
        (b"{\"a\": x}", "the body is not JSON: a value is missing (line 1, column 7)"),
        (b"{} x", "the body is not JSON: there is more text after its end (line 1, column 4)"),
        (b"{a: 1}", "the body is not JSON: a key is not a string in double quotes (line 1, column 2)"),
        (b"{\"a\": 1e999}", "the body is not JSON: a number is too large (line 1, column 11)"),
    ] {
        is(&read_body::<ChatCompletionRequest>(bytes).unwrap_err(), Flaw::Json, "", message);
    }
    let deep = "[".repeat(1_000_000);
    assert!(misread(&deep).message.contains("nested deeper"), "{:?}", misread(&deep));
}

#[test]
fn a_name_that_stands_twice_is_refused_at_its_place() {
    is(&misread(r#"{"n": 1, "n": 1}"#), Flaw::Value, "n", "`n` is set twice: set it once");
    let inner = r#"{"messages": [{"role": "user", "content": "a"}, {"role": "user", "role": "tool"}]}"#;
    is(&misread(inner), Flaw::Value, "messages[1].role", "`messages[1].role` is set twice: set it once");
}

#[test]
fn a_long_name_is_not_repeated_in_full() {
    let name = "x".repeat(10_000);
    let wrong = misread(&format!(r#"{{"{name}": 1, "{name}": 2}}"#));
    assert_eq!(wrong.param.len(), 64);
    let wrong = misread(&format!(r#"{{"messages": "{name}"}}"#));
    assert!(wrong.message.len() < 200, "{}", wrong.message);
}

fn json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 64, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::btree_map(any::<String>(), inner, 0..6).prop_map(Value::from_iter),
        ]
    })
}

proptest! {
    /// Nothing is lost or changed on the way.
    #[test]
    fn any_json_is_read_as_itself(value in json()) {
        let text = value.to_string();
        prop_assert_eq!(super::unique::parse_unique(&text).unwrap(), serde_json::from_str::<Value>(&text).unwrap());
        prop_assert_eq!(read_part::<Value>("", value.clone()).unwrap(), value);
    }

    #[test]
    fn no_body_speaks_of_rust(value in json(), name in prop::sample::select(vec!["messages", "tools", "stream", "model"])) {
        let mut fields = json!({"messages": []});
        fields[name] = value;
        if let Err(wrong) = read_body::<ChatCompletionRequest>(fields.to_string().as_bytes()) {
            for word in ["struct", "sequence", "expected", "u64", "a map", "invalid type"] {
                // What the client itself said is quoted.
                let said = wrong.message.split(", not ").next().unwrap_or_default();
                prop_assert!(!said.contains(word), "{}", wrong.message);
            }
        }
    }
}
