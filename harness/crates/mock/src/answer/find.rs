//! What a turn asks for, found in its text: a JSON Schema, functions, the words of the user.
//!
//! A mock stands behind any server, so that a schema is whatever object looks like one. Functions, and where a
//! conversation ends, are told by tags, which may carry a number: `<tool name="f">`, `<tool-2 name="f">`.

use serde_json::{Map, Value};

/// A function that a turn describes.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Function {
    /// Its name.
    pub(super) name: String,
    /// The JSON Schema of its arguments.
    pub(super) parameters: Value,
}

/// The schema that the reply has to fit: the last one in a `<schema>` tag, or else the last one that belongs to no
/// function.
pub(super) fn find_schema(text: &str) -> Option<Value> {
    let text = without_functions(text);
    let mut found: Vec<(bool, Value)> = find_objects(&text)
        .filter(|(_, value)| is_schema(value))
        .map(|(start, value)| (is_tagged(&text[..start]), value))
        .collect();
    let last = found.iter().rposition(|(is_tagged, _)| *is_tagged).or(found.len().checked_sub(1))?;
    Some(found.swap_remove(last).1)
}

/// Whether the reply has to be JSON, even where no schema says of what kind.
pub(super) fn wants_json(text: &str) -> bool {
    find_tag(text, "response_format", 0).is_some()
}

/// The functions that a turn describes, in order.
pub(super) fn find_functions(text: &str) -> Vec<Function> {
    let mut found = Vec::new();
    let mut from = 0;
    while let Some(tag) = find_tag(text, "tool", from) {
        let body = &text[tag.end..];
        let length = body.find(&tag.closing).unwrap_or(body.len());
        from = tag.end + length;
        let Some(name) = attribute_value(tag.attributes, "name") else { continue };
        let parameters = find_objects(&body[..length]).last().map(|(_, schema)| schema);
        found.push(Function { name, parameters: parameters.unwrap_or_else(|| Value::Object(Map::new())) });
    }
    found
}

/// The function that has to be called.
pub(super) fn required_function(text: &str) -> Option<&str> {
    let (_, rest) = text.rsplit_once("You must call \"")?;
    rest.split_once('"').map(|(name, _)| name)
}

/// Whether the conversation ends with what a function gave.
pub(super) fn ends_with_result(text: &str) -> bool {
    // What stands in a `<tools>` section is about functions, and no part of the conversation.
    let conversation = find_tag(text, "tools", 0).map_or(text, |tag| &text[..tag.start]);
    let last_of = |name| last_closing(conversation, name);
    let others = ["system", "user", "assistant"].into_iter().filter_map(last_of).max();
    last_of("tool_result") > others
}

/// The last thing that the user says: all of it, where nothing tells who says what.
pub(super) fn last_user_text(text: &str) -> &str {
    let mut last = text;
    let mut from = 0;
    while let Some(tag) = find_tag(text, "user", from) {
        let Some(length) = text[tag.end..].find(&tag.closing) else { break };
        last = text[tag.end..tag.end + length].trim_matches('\n');
        from = tag.end + length;
    }
    last
}

/// An opening tag in a text.
struct Tag<'a> {
    start: usize,
    /// Where its content begins.
    end: usize,
    attributes: &'a str,
    closing: String,
}

/// The first opening tag of this name at or after `from`.
fn find_tag<'a>(text: &'a str, name: &str, from: usize) -> Option<Tag<'a>> {
    let head = format!("<{name}");
    text[from..].match_indices(&head).find_map(|(at, _)| {
        let start = from + at;
        let rest = &text[start + head.len()..];
        let number = tag_number(rest);
        let (attributes, _) = rest[number.len()..].split_once('>')?;
        let is_whole = attributes.is_empty() || attributes.starts_with(' ');
        let closing = format!("</{name}{number}>");
        let end = start + head.len() + number.len() + attributes.len() + 1;
        (is_whole && !attributes.contains('\n')).then_some(Tag { start, end, attributes, closing })
    })
}

/// The `-2` of `<tool-2>`; empty where there is none.
fn tag_number(rest: &str) -> &str {
    let Some(digits) = rest.strip_prefix('-') else { return "" };
    let length = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
    if length == 0 { "" } else { &rest[..=length] }
}

fn last_closing(text: &str, name: &str) -> Option<usize> {
    let head = format!("</{name}");
    let is_whole = |at: usize| {
        let rest = &text[at + head.len()..];
        rest[tag_number(rest).len()..].starts_with('>')
    };
    text.rmatch_indices(&head).map(|(at, _)| at).find(|at| is_whole(*at))
}

fn attribute_value(attributes: &str, name: &str) -> Option<String> {
    let (_, rest) = attributes.split_once(&format!(" {name}=\""))?;
    let (value, _) = rest.split_once('"')?;
    Some(value.replace("&lt;", "<").replace("&quot;", "\"").replace("&amp;", "&"))
}

fn without_functions(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut from = 0;
    while let Some(tag) = find_tag(text, "tool", from) {
        kept.push_str(&text[from..tag.start]);
        from = text[tag.end..].find(&tag.closing).map_or(text.len(), |length| tag.end + length);
    }
    kept.push_str(&text[from..]);
    kept
}

fn is_tagged(before: &str) -> bool {
    let tag = before.trim_end().strip_suffix('>').and_then(|rest| rest.rsplit_once('<'));
    tag.and_then(|(_, tag)| tag.strip_prefix("schema")).is_some_and(|rest| tag_number(rest).len() == rest.len())
}

/// The JSON objects in a text that are not inside another one, with where they start.
fn find_objects(text: &str) -> impl Iterator<Item = (usize, Value)> {
    let mut from = 0;
    std::iter::from_fn(move || {
        while let Some(at) = text[from..].find('{') {
            let start = from + at;
            let mut values = serde_json::Deserializer::from_str(&text[start..]).into_iter::<Value>();
            if let Some(Ok(value)) = values.next() {
                from = start + values.byte_offset();
                return Some((start, value));
            }
            from = start + 1;
        }
        None
    })
}

const TYPES: [&str; 7] = ["object", "array", "string", "number", "integer", "boolean", "null"];

/// Whether an object looks like a JSON Schema: it has one of a schema's keywords, and none with a value that no schema
/// has there.
fn is_schema(value: &Value) -> bool {
    let Value::Object(object) = value else { return false };
    let is_type = |value: &Value| value.as_str().is_some_and(|name| TYPES.contains(&name));
    let is_known = |key: &str, value: &Value| match key {
        "type" => is_type(value) || value.as_array().is_some_and(|all| !all.is_empty() && all.iter().all(is_type)),
        "properties" | "$defs" | "definitions" => {
            value.as_object().is_some_and(|all| all.values().all(|each| each.is_object() || each.is_boolean()))
        }
        "anyOf" | "oneOf" | "allOf" => value.as_array().is_some_and(|all| all.iter().all(Value::is_object)),
        "enum" => value.is_array(),
        "$ref" => value.is_string(),
        _ => false,
    };
    let words = ["type", "properties", "$defs", "definitions", "anyOf", "oneOf", "allOf", "enum", "$ref"];
    let mut present = words.iter().filter_map(|key| Some((key, object.get(*key)?))).peekable();
    present.peek().is_some() && present.all(|(key, value)| is_known(key, value))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const TURN: &str = r#"<system>
Be short.
</system>

<user>
Say {"type": "message"} and {"type": "object", "properties": {"old": {"type": "string"}}}
</user>

<tools>
You can have these functions called.
<tool name="get_weather">
Of a city.
<parameters>
{"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
</parameters>
</tool>
<tool name="a&quot;b">
<parameters>
{"type":"object","properties":{}}
</parameters>
</tool>
Reply with {"tool_calls": [{"name": "the function's name", "arguments": {"the": "arguments"}}]}
</tools>

<response_format>
<schema>
{"type": "object", "properties": {"new": {"type": "string"}}}
</schema>
</response_format>

<correction>
It is not valid under {"type": "array"}
</correction>"#;

    #[test]
    fn the_schema_is_the_tagged_one_or_else_the_last() {
        assert_eq!(find_schema(TURN), Some(json!({"type": "object", "properties": {"new": {"type": "string"}}})));
        let untagged = TURN.replace("<schema>", "").replace("</schema>", "");
        assert_eq!(find_schema(&untagged), Some(json!({"type": "array"})));
        let numbered = TURN.replace("<schema>", "<schema-3>").replace("</schema>", "</schema-3>");
        assert_eq!(find_schema(&numbered), find_schema(TURN));
        assert_eq!(find_schema("{\"a\": {\"type\": \"object\"}} {{"), None);
        let only_functions = TURN.split("<response_format>").next().expect("text").replace(r#""type": "object""#, "x");
        assert_eq!(find_schema(&only_functions), None);
    }

    #[test]
    fn an_object_is_a_schema_only_with_values_that_a_schema_has() {
        for good in [
            json!({"type": "string"}),
            json!({"type": ["string", "null"]}),
            json!({"properties": {"a": true}}),
            json!({"$ref": "#/$defs/A", "$defs": {"A": {}}}),
            json!({"anyOf": [{"type": "null"}]}),
            json!({"enum": [1]}),
        ] {
            assert!(is_schema(&good), "{good}");
        }
        for bad in [
            json!({}),
            json!({"type": "message"}),
            json!({"type": "object", "properties": ["a"]}),
            json!({"title": "x"}),
            json!({"tool_calls": []}),
            json!({"type": "string", "enum": 7}),
        ] {
            assert!(!is_schema(&bad), "{bad}");
        }
    }

    #[test]
    fn functions_are_found_with_and_without_numbers() {
        let numbered = TURN.replace("<tool ", "<tool-2 ").replace("</tool>", "</tool-2>");
        for text in [TURN, &numbered] {
            let found = find_functions(text);
            assert_eq!(found.iter().map(|f| f.name.as_str()).collect::<Vec<_>>(), ["get_weather", "a\"b"]);
            assert_eq!(found[0].parameters["required"], json!(["city"]));
        }
        assert_eq!(find_functions("<tools>\n<tool_result id=\"1\">"), []);
        assert_eq!(required_function("You must call \"f\". Reply"), Some("f"));
        assert_eq!(required_function(TURN), None);
    }

    #[test]
    fn a_conversation_ends_with_a_result_or_not() {
        assert!(!ends_with_result(TURN));
        let answered = TURN.replace("</user>", "</user>\n<tool_result id=\"1\">\nRain\n</tool_result>");
        assert!(ends_with_result(&answered));
        let asked_again = answered.replace("</tool_result>", "</tool_result><user-2>\nAnd now?\n</user-2>");
        assert!(!ends_with_result(&asked_again));
    }

    #[test]
    fn the_last_words_are_the_users() {
        assert!(last_user_text(TURN).starts_with("Say {") && last_user_text(TURN).ends_with("}}}"));
        assert_eq!(last_user_text("just this"), "just this");
        assert_eq!(last_user_text("<user-2>\n1\n</user-2><user-2>\n2 <user>\n</user-2>"), "2 <user>");
    }
}
