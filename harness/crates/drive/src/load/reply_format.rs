//! Structured replies: JSON of a schema, or function calls. Adds them to a request in OpenAI's format, instructs the mock
//! CLI, and validates the reply.
//!
//! The mock puts the request's mark into every string of the JSON that it makes. A reply is its own if it fits its schema,
//! each mark in it is its own, and the string that was asked for holds one.

use std::sync::LazyLock;

use jsonschema::Validator;
use leakgate_session::mark;
use serde_json::{Value, json};

use crate::load::{RequestOutcome, check};

/// The reply format of a load's requests, and how the mock CLI answers them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Mix {
    /// The format.
    pub kind: Kind,
    /// Share of the replies that come in a Markdown fence.
    pub fenced: f64,
    /// Share of the replies that are wrong the first time.
    pub wrong: f64,
}

/// A reply format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Any text: the recorded one.
    Text,
    /// JSON of a schema, by `response_format`.
    Json,
    /// Calls of functions, by `tools`.
    Calls,
}

/// The reply format of one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplyFormat {
    /// Any text.
    Text,
    /// JSON of a schema.
    Json {
        /// How the CLI answers.
        style: AnswerStyle,
    },
    /// Calls of functions.
    Calls {
        /// How the CLI answers.
        style: AnswerStyle,
        /// A call is asked for by `tool_choice`; otherwise the model decides.
        required: bool,
    },
}

/// How the CLI answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AnswerStyle {
    /// In a Markdown fence.
    pub fenced: bool,
    /// Wrong the first time.
    pub wrong: bool,
}

/// A reply, whole or put together from its pieces.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExactReply {
    /// Its text.
    pub text: String,
    /// Its calls, in order.
    pub calls: Vec<Call>,
    /// Why it ended.
    pub finish: Option<String>,
}

/// A call of a function.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Call {
    /// Its id.
    pub id: String,
    /// The function's name.
    pub name: String,
    /// Its arguments: JSON, as text.
    pub arguments: String,
}

impl Mix {
    /// Requests for a text.
    pub const TEXT: Self = Self { kind: Kind::Text, fenced: 0.0, wrong: 0.0 };
}

impl ReplyFormat {
    /// The directive in the prompt that tells the mock how to answer.
    #[must_use]
    pub fn mock_directive(self) -> String {
        let (kind, style) = match self {
            Self::Text => return String::new(),
            Self::Json { style } => ("schema", style),
            Self::Calls { style, .. } => ("tool", style),
        };
        let fenced = if style.fenced { "+fenced" } else { "" };
        let wrong = if style.wrong { "+wrong-once" } else { "" };
        format!("[[answer:{kind}{fenced}{wrong}]]")
    }

    /// Adds what is asked for to a request's body.
    pub fn add_to_body(self, body: &mut Value) {
        match self {
            Self::Text => {}
            Self::Json { .. } => {
                let named = json!({"name": "record", "strict": true, "schema": *RECORD});
                body["response_format"] = json!({"type": "json_schema", "json_schema": named});
            }
            Self::Calls { required, .. } => {
                body["tools"] = json!([function_tool("keep", &RECORD), function_tool("forget", &NOTHING)]);
                body["tool_choice"] = json!(if required { "required" } else { "auto" });
            }
        }
    }

    /// Judges the reply to the request with `mark`, which must have asked for JSON or calls.
    #[must_use]
    pub fn judge_reply(self, reply: &ExactReply, mark: &str) -> RequestOutcome {
        let wrong = match self {
            Self::Text => Some("a text was asked for".to_owned()),
            Self::Json { .. } => text_error(reply, mark),
            Self::Calls { .. } => calls_error(reply, mark),
        };
        let bytes = reply.text.len() + reply.calls.iter().map(|call| call.arguments.len()).sum::<usize>();
        wrong.map_or(RequestOutcome::Complete(bytes as u64), RequestOutcome::MixedUp)
    }
}

/// A record whose owner is to be the request's mark.
static RECORD: LazyLock<Value> = LazyLock::new(|| {
    let item = json!({
        "type": "object",
        "properties": {"name": {"type": "string"}, "count": {"type": "integer", "minimum": 0}},
        "required": ["name", "count"],
        "additionalProperties": false,
    });
    json!({
        "type": "object",
        "properties": {
            "owner": {"type": "string", "minLength": 1},
            "kind": {"enum": ["person", "place"]},
            "note": {"anyOf": [{"type": "string"}, {"type": "null"}]},
            "items": {"type": "array", "items": {"$ref": "#/$defs/item"}},
        },
        "required": ["owner", "kind", "note", "items"],
        "additionalProperties": false,
        "$defs": {"item": item},
    })
});

static NOTHING: LazyLock<Value> =
    LazyLock::new(|| json!({"type": "object", "properties": {}, "additionalProperties": false}));

/// None only if the schema above were invalid; a test checks it.
static VALIDATOR: LazyLock<Option<Validator>> = LazyLock::new(|| jsonschema::validator_for(&RECORD).ok());

fn function_tool(name: &str, parameters: &Value) -> Value {
    let description = format!("Have the record {name}.");
    json!({"type": "function", "function": {"name": name, "description": description, "parameters": parameters}})
}

fn text_error(reply: &ExactReply, mark: &str) -> Option<String> {
    if !reply.calls.is_empty() {
        return Some(format!("it calls {}, and JSON was asked for", reply.calls[0].name));
    }
    finish_error(reply, "stop").or_else(|| record_error(&reply.text, mark))
}

fn calls_error(reply: &ExactReply, mark: &str) -> Option<String> {
    let [call] = &reply.calls[..] else {
        return Some(format!("it has {} calls instead of one: {}", reply.calls.len(), check::excerpt(&reply.text)));
    };
    if call.name != "keep" || call.id.is_empty() {
        return Some(format!("it calls {:?} with the id {:?}", call.name, call.id));
    }
    if !reply.text.is_empty() {
        return Some(format!("it has words beside its call: {}", check::excerpt(&reply.text)));
    }
    finish_error(reply, "tool_calls").or_else(|| record_error(&call.arguments, mark))
}

fn finish_error(reply: &ExactReply, wanted: &str) -> Option<String> {
    let finish = reply.finish.as_deref();
    (finish != Some(wanted)).then(|| format!("its finish_reason is {finish:?} instead of {wanted:?}"))
}

/// The first problem of a record in the reply to the request with `mark`; none if it is valid.
fn record_error(text: &str, mark: &str) -> Option<String> {
    let record: Value = match serde_json::from_str(text) {
        Ok(record) => record,
        Err(error) => return Some(format!("it is not JSON ({error}): {}", check::excerpt(text))),
    };
    if let Some(foreign) = mark::find_in_reply(text).into_iter().find(|found| *found != mark) {
        return Some(format!("it carries the mark {foreign} of another request"));
    }
    if let Some(error) = VALIDATOR.as_ref().and_then(|validator| validator.iter_errors(&record).next()) {
        return Some(format!("it does not fit its schema ({error}): {}", check::excerpt(text)));
    }
    let owner = record["owner"].as_str().unwrap_or_default();
    (!mark::find_in_reply(owner).contains(&mark)).then(|| format!("it lacks its own mark: {}", check::excerpt(text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MARK: &str = "00c0ffee";
    const JSON: ReplyFormat = ReplyFormat::Json { style: AnswerStyle { fenced: false, wrong: false } };
    const CALLS: ReplyFormat = ReplyFormat::Calls { style: AnswerStyle { fenced: true, wrong: true }, required: true };

    fn record(mark: &str) -> String {
        let owner = format!("⟦{mark}⟧ owner");
        json!({"owner": owner, "kind": "place", "note": null, "items": [{"name": owner, "count": 1}]}).to_string()
    }

    fn said(text: &str) -> ExactReply {
        ExactReply { text: text.to_owned(), calls: Vec::new(), finish: Some("stop".to_owned()) }
    }

    fn called(arguments: &str) -> ExactReply {
        let call = Call { id: "call_1".to_owned(), name: "keep".to_owned(), arguments: arguments.to_owned() };
        ExactReply { text: String::new(), calls: vec![call], finish: Some("tool_calls".to_owned()) }
    }

    #[track_caller]
    fn is_mixed_up(format: ReplyFormat, reply: &ExactReply, why: &str) {
        match format.judge_reply(reply, MARK) {
            RequestOutcome::MixedUp(what) => assert!(what.contains(why), "{what}"),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_record_with_its_own_mark_is_complete() {
        assert!(VALIDATOR.is_some());
        let record = record(MARK);
        assert_eq!(JSON.judge_reply(&said(&record), MARK), RequestOutcome::Complete(record.len() as u64));
        assert_eq!(CALLS.judge_reply(&called(&record), MARK), RequestOutcome::Complete(record.len() as u64));
    }

    #[test]
    fn json_that_is_not_exactly_its_own_is_noticed() {
        is_mixed_up(JSON, &said(&record("deadbeef")), "mark deadbeef of another");
        is_mixed_up(JSON, &said(&record(MARK).replacen(MARK, "deadbeef", 1)), "mark deadbeef of another");
        is_mixed_up(JSON, &said(&record(MARK).replace("⟦00c0ffee⟧", "no")), "lacks its own mark");
        is_mixed_up(JSON, &said(&record(MARK).replacen("⟦00c0ffee⟧", "no", 1)), "lacks its own mark");
        is_mixed_up(JSON, &said(&record(MARK).replace("place", "time")), "does not fit its schema");
        is_mixed_up(JSON, &said(&format!("```json\n{}\n```", record(MARK))), "not JSON");
        is_mixed_up(JSON, &ExactReply { finish: None, ..said(&record(MARK)) }, "finish_reason is None");
        is_mixed_up(JSON, &called(&record(MARK)), "it calls keep");
    }

    #[test]
    fn calls_that_are_not_exactly_their_own_are_noticed() {
        is_mixed_up(CALLS, &said(&record(MARK)), "0 calls instead of one");
        is_mixed_up(CALLS, &called(&record("deadbeef")), "mark deadbeef of another");
        is_mixed_up(CALLS, &called("{"), "not JSON");
        is_mixed_up(CALLS, &ExactReply { text: "So:".to_owned(), ..called(&record(MARK)) }, "words beside its call");
        is_mixed_up(
            CALLS,
            &ExactReply { finish: Some("stop".to_owned()), ..called(&record(MARK)) },
            "instead of \"tool_calls\"",
        );
        let mut nobodys = called(&record(MARK));
        nobodys.calls[0].name = "forget".to_owned();
        is_mixed_up(CALLS, &nobodys, "it calls \"forget\"");
    }

    #[test]
    fn the_mock_is_told_how_to_answer() {
        assert_eq!(
            (ReplyFormat::Text.mock_directive().as_str(), JSON.mock_directive().as_str()),
            ("", "[[answer:schema]]")
        );
        assert_eq!(CALLS.mock_directive(), "[[answer:tool+fenced+wrong-once]]");
    }
}
