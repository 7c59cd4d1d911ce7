//! Facts about the translation, for any text.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{Invalid, Reply, prompt};
use crate::openai::ChatRequest;
use crate::turn::{Completion, Usage};

fn request(body: Value) -> ChatRequest {
    serde_json::from_value(body).unwrap()
}

fn prompt_of(messages: &Value) -> String {
    prompt(request(json!({ "messages": messages }))).unwrap().text
}

fn refused(body: Value) -> Invalid {
    prompt(request(body)).unwrap_err()
}

fn reply(include_usage: bool) -> Reply {
    Reply { id: "chatcmpl-1".into(), created: 7, model: "gpt-4o".into(), include_usage }
}

fn value(it: impl serde::Serialize) -> Value {
    serde_json::from_str(&serde_json::to_string(&it).unwrap()).unwrap()
}

#[test]
fn a_lone_user_message_is_passed_on_as_it_is() {
    assert_eq!(prompt_of(&json!([{"role": "user", "content": "  Hello\n"}])), "  Hello\n");
}

#[test]
fn a_conversation_becomes_sections_in_order() {
    let text = prompt_of(&json!([
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Hello."},
        {"role": "developer", "content": "In French."},
        {"role": "user", "content": [{"type": "text", "text": "Who"}, {"type": "text", "text": "are you?"}]},
    ]));
    assert_eq!(text, "System: Be brief.\n\nUser: Hi\n\nAssistant: Hello.\n\nSystem: In French.\n\nUser: Who\nare you?");
}

#[test]
fn a_message_that_looks_like_a_command_of_the_cli_stays_text() {
    assert_eq!(prompt_of(&json!([{"role": "user", "content": "/clear"}])), "User: /clear");
    assert_eq!(prompt_of(&json!([{"role": "user", "content": " \n/x"}])), "User:  \n/x");
    assert_eq!(prompt_of(&json!([{"role": "user", "content": "1/2"}])), "1/2");
}

#[test]
fn what_cannot_be_passed_on_is_refused_with_its_place() {
    let image = json!([{"role": "system", "content": "x"}, {"role": "user", "content": [
        {"type": "text", "text": "see"}, {"type": "image_url", "image_url": {"url": "data:"}}]}]);
    let error = refused(json!({ "messages": image }));
    assert_eq!(error.param, "messages[1].content[1]");
    assert!(error.message.contains("image_url"), "{error}");

    let no_text = json!([{"role": "user", "content": [{"type": "text"}]}]);
    assert_eq!(refused(json!({ "messages": no_text })).param, "messages[0].content[0].text");
    assert_eq!(refused(json!({"messages": []})).param, "messages");
    assert_eq!(refused(json!({"messages": [{"role": "user", "content": " "}]})).param, "messages");
    assert_eq!(refused(json!({"n": 2, "messages": [{"role": "user", "content": "x"}]})).param, "n");
    assert_eq!(refused(json!({"n": 0, "messages": [{"role": "user", "content": "x"}]})).param, "n");
}

#[test]
fn unknown_fields_are_passed_over() {
    let body = json!({"temperature": 0.2, "n": null, "stream": null, "stream_options": null, "metadata": {"a": [1]},
        "messages": [{"role": "user", "content": "x", "name": "bob"}]});
    assert_eq!(prompt(request(body)).unwrap().text, "x");
}

#[test]
fn a_whole_reply_has_the_fields_that_clients_read() {
    let usage = Usage { input: 3, cache_creation: 4, cache_read: 5, output: 6 };
    let completion = Completion { text: "Hi".into(), stop_reason: Some("end_turn".into()), usage, model: None };
    assert_eq!(
        value(reply(false).whole(completion)),
        json!({
            "id": "chatcmpl-1", "object": "chat.completion", "created": 7, "model": "gpt-4o",
            "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hi", "refusal": null},
                "logprobs": null, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 12, "completion_tokens": 6, "total_tokens": 18,
                "prompt_tokens_details": {"cached_tokens": 5}},
        })
    );
}

#[test]
fn stop_reasons_have_openai_names() {
    for (reason, expected) in [
        (Some("end_turn"), "stop"),
        (Some("stop_sequence"), "stop"),
        (Some("max_tokens"), "length"),
        (Some("model_context_window_exceeded"), "length"),
        (Some("refusal"), "content_filter"),
        (Some("something_new"), "stop"),
        (None, "stop"),
    ] {
        let completion = Completion { stop_reason: reason.map(str::to_owned), ..Completion::default() };
        assert_eq!(value(reply(false).closing(&completion))["choices"][0]["finish_reason"], expected);
        assert_eq!(value(reply(false).whole(completion))["choices"][0]["finish_reason"], expected);
    }
}

#[test]
fn usage_is_in_every_chunk_when_asked_for_and_in_none_otherwise() {
    let done = Completion::default();
    let (with, without) = (reply(true), reply(false));
    assert_eq!(value(with.opening())["usage"], Value::Null);
    assert!(value(with.opening()).as_object().unwrap().contains_key("usage"));
    assert!(!value(without.opening()).as_object().unwrap().contains_key("usage"));
    let counts = value(with.counts(&done).unwrap());
    assert_eq!(counts["choices"], json!([]));
    assert_eq!(counts["usage"]["total_tokens"], 0);
    assert!(without.counts(&done).is_none());
}

proptest! {
    #[test]
    fn chunks_put_together_are_the_whole_text(pieces in prop::collection::vec(any::<String>(), 0..8)) {
        let reply = reply(true);
        let text = pieces.concat();
        let done = Completion { text: text.clone(), ..Completion::default() };
        let mut joined = String::new();
        let chunks = std::iter::once(reply.opening())
            .chain(pieces.iter().map(|piece| reply.piece(piece)))
            .chain([reply.closing(&done)]);
        for chunk in chunks {
            let line = serde_json::to_string(&chunk).unwrap();
            prop_assert!(!line.contains('\n'), "an event is one line");
            let chunk: Value = serde_json::from_str(&line).unwrap();
            joined.push_str(chunk["choices"][0]["delta"]["content"].as_str().unwrap_or_default());
        }
        prop_assert_eq!(&joined, &text);
        let whole = value(reply.whole(done));
        prop_assert_eq!(&whole["choices"][0]["message"]["content"], &text);
    }

    #[test]
    fn every_text_survives(text in any::<String>(), system in any::<String>()) {
        prop_assume!(!text.trim().is_empty());
        let alone = prompt_of(&json!([{"role": "user", "content": text}]));
        let marked = format!("User: {text}");
        prop_assert!(alone == text || alone == marked);
        let two = prompt_of(&json!([{"role": "system", "content": system}, {"role": "user", "content": text}]));
        prop_assert_eq!(two, format!("System: {system}\n\nUser: {text}"));
    }

    #[test]
    fn parts_and_a_string_say_the_same(text in any::<String>()) {
        prop_assume!(!text.trim().is_empty());
        let parts = prompt_of(&json!([{"role": "user", "content": [{"type": "text", "text": text}]}]));
        prop_assert_eq!(parts, prompt_of(&json!([{"role": "user", "content": text}])));
    }
}
