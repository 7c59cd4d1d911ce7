//! Facts about the translation, for any text.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{Reply, chat_request};
use crate::answer::{self, Answer, Call, ChatRequest, Finish, Invalid, JsonFormat, ReplyFormat, Speaker};
use crate::openai::chat::ChatCompletionRequest;
use crate::turn::Usage;

fn asked(body: &Value) -> Result<ChatRequest, Invalid> {
    let request: ChatCompletionRequest = serde_json::from_value(body.clone()).unwrap();
    chat_request(request)
}

/// A request with a message and these other fields.
fn with(fields: &Value) -> Value {
    let mut body = json!({"messages": [{"role": "user", "content": "x"}]});
    body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    body
}

fn refused(body: &Value) -> Invalid {
    asked(body).expect_err("refused")
}

fn reply(include_usage: bool) -> Reply {
    Reply { id: "chatcmpl-1".into(), created: 7, model: "gpt-4o".into(), include_usage }
}

fn answer(text: &str) -> Answer {
    let usage = Usage { input: 3, cache_creation: 4, cache_read: 5, output: 6 };
    Answer { text: text.into(), calls: Vec::new(), finish: Finish::Stop, usage, model: None, schema_error: None }
}

fn value(it: impl serde::Serialize) -> Value {
    serde_json::from_str(&serde_json::to_string(&it).unwrap()).unwrap()
}

#[test]
fn a_conversation_keeps_its_order_its_speakers_and_its_calls() {
    let ask = asked(&json!({"messages": [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "name": "bob", "content": "Hi"},
        {"role": "assistant", "content": null, "tool_calls": [
            {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": ""}}]},
        {"role": "tool", "tool_call_id": "call_1", "content": [{"type": "text", "text": "42"}]},
        {"role": "assistant", "refusal": "No."},
        {"role": "developer", "content": "In French."},
        {"role": "user", "content": [{"type": "text", "text": "Who"}, {"type": "text", "text": "are you?"}]},
    ]}))
    .unwrap();
    let said: Vec<_> = ask.conversation.iter().map(|entry| (entry.speaker.clone(), entry.text.as_str())).collect();
    let (system, user, assistant) = (Speaker::System, Speaker::User, Speaker::Assistant);
    assert_eq!(
        said,
        [
            (system.clone(), "Be brief."),
            (user.clone(), "Hi"),
            (assistant.clone(), ""),
            (Speaker::Tool { call: "call_1".into() }, "42"),
            (assistant, "No."),
            (system, "In French."),
            (user, "Who\nare you?"),
        ]
    );
    assert_eq!(ask.conversation[1].name.as_deref(), Some("bob"));
    let call = Call { id: "call_1".into(), name: "f".into(), arguments: "{}".into() };
    assert_eq!(ask.conversation[2].calls, [call]);
}

#[test]
fn what_cannot_be_passed_on_is_refused_with_its_place() {
    let image = json!([{"role": "system", "content": "x"}, {"role": "user", "content": [
        {"type": "text", "text": "see"}, {"type": "image_url", "image_url": {"url": "data:"}}]}]);
    let error = refused(&json!({ "messages": image }));
    assert_eq!(error.param, "messages[1].content[1]");
    assert!(error.message.contains("image_url"), "{error}");

    let no_text = json!([{"role": "user", "content": [{"type": "text"}]}]);
    assert_eq!(refused(&json!({ "messages": no_text })).param, "messages[0].content[0].text");
    assert_eq!(refused(&json!({"messages": []})).param, "messages");
    assert_eq!(refused(&json!({"messages": [{"role": "user", "content": " "}]})).param, "messages");
    assert_eq!(refused(&json!({"n": 2, "messages": [{"role": "user", "content": "x"}]})).param, "n");
    assert_eq!(refused(&json!({"n": 0, "messages": [{"role": "user", "content": "x"}]})).param, "n");
}

#[test]
fn each_wrong_field_is_named() {
    for (fields, param) in [
        (json!({"stop": 7}), "stop"),
        (json!({"stop": ["a", ""]}), "stop"),
        (json!({"stop": ["a", "b", "c", "d", "e"]}), "stop"),
        (json!({"response_format": {"type": "xml"}}), "response_format.type"),
        (json!({"response_format": {"type": "json_schema"}}), "response_format.json_schema"),
        (
            json!({"response_format": {"type": "json_schema", "json_schema": {"name": "x"}}}),
            "response_format.json_schema.schema",
        ),
        (json!({"tools": [{"type": "custom", "custom": {"name": "x"}}]}), "tools[0].type"),
        (json!({"tools": [{"type": "function"}]}), "tools[0].function"),
        (json!({"tools": [{"type": "function", "function": {"name": ""}}]}), "tools[0].function.name"),
        (json!({"tool_choice": "required"}), "tool_choice"),
        (json!({"tool_choice": "sometimes", "tools": [tool("f")]}), "tool_choice"),
        (json!({"tool_choice": {"type": "function", "function": {"name": "g"}}, "tools": [tool("f")]}), "tool_choice"),
        (json!({"tools": [tool("f"), tool("f")]}), "tools[1].function.name"),
        (json!({"functions": [{"name": "f"}]}), "functions"),
        (json!({"modalities": ["text", "audio"]}), "modalities"),
    ] {
        assert_eq!(refused(&with(&fields)).param, param, "{fields}");
    }
    let message = |message: Value| refused(&json!({"messages": [message]})).param;
    assert_eq!(message(json!({"role": "user"})), "messages[0].content");
    assert_eq!(message(json!({"role": "tool", "content": "x"})), "messages[0].tool_call_id");
    let call = json!([{"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]);
    assert_eq!(message(json!({"role": "user", "content": "x", "tool_calls": call})), "messages[0].tool_calls");
}

fn tool(name: &str) -> Value {
    json!({"type": "function", "function": {"name": name, "parameters": {"type": "object"}}})
}

#[test]
fn only_parameters_that_mean_something_are_named() {
    let neutral = json!({"temperature": 1, "top_p": 1.0, "n": 1, "seed": null, "logprobs": false, "metadata": {},
        "presence_penalty": 0, "service_tier": "auto", "store": false, "logit_bias": {}, "modalities": ["text"]});
    assert_eq!(asked(&with(&neutral)).unwrap().ignored, [] as [String; 0]);
    let meant = json!({"temperature": 0.2, "max_tokens": 7, "user": "bob", "seed": 1, "brand\nnew,": {"a": [1]}});
    let mut ignored = asked(&with(&meant)).unwrap().ignored;
    ignored.sort();
    assert_eq!(ignored, ["brand?new?", "max_tokens", "seed", "temperature", "user"]);
}

#[test]
fn what_is_wanted_is_text_json_or_calls() {
    let want = |fields: Value| asked(&with(&fields)).unwrap().reply_format;
    assert_eq!(want(json!({"response_format": {"type": "text"}, "tools": []})), ReplyFormat::Text);
    assert_eq!(want(json!({"tools": [tool("f")], "tool_choice": "none"})), ReplyFormat::Text);
    let any = JsonFormat { schema: None, lenient: false, param: "response_format" };
    assert_eq!(want(json!({"response_format": {"type": "json_object"}})), ReplyFormat::Json(any.clone()));
    for (strict, lenient) in [(json!(true), false), (json!(null), false), (json!(false), true)] {
        let schema = json!({"name": "x", "strict": strict, "schema": {"type": "object"}});
        let format = JsonFormat {
            schema: Some(json!({"type": "object"})),
            lenient,
            param: "response_format.json_schema.schema",
        };
        assert_eq!(
            want(json!({"response_format": {"type": "json_schema", "json_schema": schema}})),
            ReplyFormat::Json(format)
        );
    }
    let both = want(json!({"tools": [tool("f")], "tool_choice": {"type": "function", "function": {"name": "f"}},
        "parallel_tool_calls": false, "response_format": {"type": "json_object"}}));
    let ReplyFormat::Tools { tools, choice, parallel, format } = both else { panic!("{both:?}") };
    assert_eq!((tools.len(), parallel, format), (1, false, Some(any)));
    assert_eq!(choice, answer::Choice::Named("f".into()));
}

#[test]
fn a_stop_sequence_does_not_cut_json() {
    let ask = asked(&with(&json!({"stop": "\n", "response_format": {"type": "json_object"}}))).unwrap();
    assert_eq!((ask.stop.len(), ask.ignored), (0, vec!["stop".to_owned()]));
    assert_eq!(asked(&with(&json!({"stop": "\n"}))).unwrap().stop, ["\n"]);
}

#[test]
fn a_whole_reply_has_the_fields_that_clients_read() {
    let whole = value(reply(false).to_completion(answer("Hi")));
    assert_eq!(
        whole,
        json!({
            "id": "chatcmpl-1", "object": "chat.completion", "created": 7, "model": "gpt-4o",
            "choices": [{"index": 0, "logprobs": null, "finish_reason": "stop",
                "message": {"role": "assistant", "content": "Hi", "refusal": null, "annotations": []}}],
            "usage": {"prompt_tokens": 12, "completion_tokens": 6, "total_tokens": 18,
                "prompt_tokens_details": {"cached_tokens": 5}},
            "system_fingerprint": concat!("ccw-", env!("CARGO_PKG_VERSION")),
        })
    );
}

#[test]
fn calls_are_in_the_whole_and_in_chunks() {
    let call = |id: &str| Call { id: id.into(), name: "f".into(), arguments: "{\"a\":1}".into() };
    let answer = Answer { calls: vec![call("call_1"), call("call_2")], finish: Finish::Calls, ..answer("") };
    let chunks: Vec<Value> = reply(false).call_chunks(&answer).map(value).collect();
    let first = json!([{"index": 0, "id": "call_1", "type": "function", "function": {"name": "f", "arguments": ""}}]);
    assert_eq!(chunks[0]["choices"][0]["delta"]["tool_calls"], first);
    let last = json!([{"index": 1, "function": {"arguments": "{\"a\":1}"}}]);
    assert_eq!((chunks.len(), &chunks[3]["choices"][0]["delta"]["tool_calls"]), (4, &last));
    let whole = value(reply(false).to_completion(answer));
    let choice = &whole["choices"][0];
    assert_eq!((&choice["message"]["content"], &choice["finish_reason"]), (&Value::Null, &json!("tool_calls")));
    let second = json!({"id": "call_2", "type": "function", "function": {"name": "f", "arguments": "{\"a\":1}"}});
    assert_eq!(choice["message"]["tool_calls"][1], second);
}

#[test]
fn finishes_have_openai_names_and_a_bad_reply_its_mark() {
    for (finish, name) in [
        (Finish::Stop, "stop"),
        (Finish::Length, "length"),
        (Finish::ContentFilter, "content_filter"),
        (Finish::Calls, "tool_calls"),
    ] {
        let answer = Answer { finish, ..answer("x") };
        assert_eq!(value(reply(false).finish_chunk(&answer))["choices"][0]["finish_reason"], name);
        assert_eq!(value(reply(false).to_completion(answer))["choices"][0]["finish_reason"], name);
    }
    let bad = Answer { schema_error: Some("no".into()), ..answer("x") };
    assert_eq!(value(reply(false).finish_chunk(&bad))["schema_error"], "no");
    assert_eq!(value(reply(false).to_completion(bad))["schema_error"], "no");
}

#[test]
fn usage_is_in_every_chunk_when_asked_for_and_in_none_otherwise() {
    let done = answer("x");
    let (with, without) = (reply(true), reply(false));
    assert_eq!(value(with.first_chunk())["usage"], Value::Null);
    assert!(value(with.first_chunk()).as_object().unwrap().contains_key("usage"));
    assert!(!value(without.first_chunk()).as_object().unwrap().contains_key("usage"));
    let counts = value(with.usage_chunk(&done).unwrap());
    assert_eq!(counts["choices"], json!([]));
    assert_eq!(counts["usage"]["total_tokens"], 18);
    assert!(without.usage_chunk(&done).is_none());
}

proptest! {
    #[test]
    fn chunks_put_together_are_the_whole_text(pieces in prop::collection::vec(any::<String>(), 0..8)) {
        let reply = reply(true);
        let text = pieces.concat();
        let done = answer(&text);
        let mut joined = String::new();
        let chunks = std::iter::once(reply.first_chunk())
            .chain(pieces.iter().map(|piece| reply.text_chunk(piece)))
            .chain([reply.finish_chunk(&done)]);
        for chunk in chunks {
            let line = serde_json::to_string(&chunk).unwrap();
            prop_assert!(!line.contains('\n'), "an event is one line");
            let chunk: Value = serde_json::from_str(&line).unwrap();
            joined.push_str(chunk["choices"][0]["delta"]["content"].as_str().unwrap_or_default());
        }
        prop_assert_eq!(&joined, &text);
        let whole = value(reply.to_completion(done));
        prop_assert_eq!(&whole["choices"][0]["message"]["content"], &text);
    }

    #[test]
    fn parts_and_a_string_say_the_same(text in any::<String>()) {
        prop_assume!(!text.trim().is_empty());
        let parts = json!({"messages": [{"role": "user", "content": [{"type": "text", "text": text}]}]});
        let asked_in_parts = asked(&parts).unwrap();
        prop_assert_eq!(asked_in_parts, asked(&json!({"messages": [{"role": "user", "content": text}]})).unwrap());
    }
}
