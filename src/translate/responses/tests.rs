//! Facts about the translation.

use serde_json::{Value, json};

use super::events::Events;
use super::{Reply, chat_request};
use crate::answer::{Answer, Call, ChatRequest, Choice, Entry, Finish, Invalid, ReplyFormat, Speaker};
use crate::openai::ErrorObject;
use crate::openai::responses::{Event, Settings};
use crate::turn::Usage;

fn read(body: Value) -> Result<(ChatRequest, Settings), Invalid> {
    chat_request(serde_json::from_value(body).unwrap())
}

/// A request with these fields beside an input.
fn with(fields: Value) -> Value {
    let Value::Object(fields) = fields else { panic!("{fields}") };
    let mut body = json!({"model": "m", "input": "Hi"});
    body.as_object_mut().unwrap().extend(fields);
    body
}

fn asked(fields: Value) -> ChatRequest {
    read(with(fields)).unwrap().0
}

#[track_caller]
fn refused(fields: Value, param: &str, words: &str) {
    let error = read(with(fields)).unwrap_err();
    assert_eq!(error.param, param, "{error}");
    assert!(error.message.contains(words), "{error}");
}

fn tool(name: &str) -> Value {
    json!({"type": "function", "name": name, "parameters": {"type": "object"}, "strict": true})
}

fn says(speaker: Speaker, text: &str) -> Entry {
    Entry::new(speaker, text)
}

#[test]
fn a_text_is_what_the_user_says_and_instructions_go_before_it() {
    let ask = asked(json!({"instructions": "Be brief.", "stream": true}));
    assert_eq!(ask.conversation, [says(Speaker::System, "Be brief."), says(Speaker::User, "Hi")]);
    assert_eq!((ask.model.as_deref(), ask.streamed, ask.reply_format), (Some("m"), true, ReplyFormat::Text));
    assert!(ask.ignored.is_empty() && ask.stop.is_empty());
}

#[test]
fn items_become_a_conversation_and_calls_belong_to_the_words_before_them() {
    let input = json!([
        {"role": "developer", "content": "In French."},
        {"type": "message", "role": "user", "content": [
            {"type": "input_text", "text": "Who"}, {"type": "input_text", "text": "are you?"}]},
        {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "…", "content": null},
        {"type": "message", "id": "msg_1", "status": "completed", "role": "assistant", "content": [
            {"type": "output_text", "text": "I look.", "annotations": [], "logprobs": []}]},
        {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "look", "arguments": "{\"at\":1}"},
        {"type": "function_call", "call_id": "call_2", "name": "look"},
        {"type": "function_call_output", "call_id": "call_2", "output": [{"type": "input_text", "text": "two"}]},
        {"type": "function_call_output", "call_id": "call_1", "output": "one"},
        {"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]},
    ]);
    let call = |id: &str, arguments: &str| Call { id: id.into(), name: "look".into(), arguments: arguments.into() };
    let calls = vec![call("call_1", "{\"at\":1}"), call("call_2", "{}")];
    assert_eq!(
        asked(json!({"input": input})).conversation,
        [
            says(Speaker::System, "In French."),
            says(Speaker::User, "Who\nare you?"),
            Entry { calls, ..says(Speaker::Assistant, "I look.") },
            says(Speaker::Tool { call: "call_2".into() }, "two"),
            says(Speaker::Tool { call: "call_1".into() }, "one"),
            says(Speaker::Assistant, "No."),
        ]
    );
}

#[test]
fn what_would_have_to_be_kept_is_refused() {
    refused(json!({"store": true}), "store", "`store: false`");
    refused(json!({"background": true}), "background", "remove `background`");
    refused(json!({"previous_response_id": "resp_1"}), "previous_response_id", "whole conversation");
    refused(json!({"conversation": "conv_1"}), "conversation", "whole conversation");
    refused(json!({"prompt": {"id": "pmpt_1"}}), "prompt", "`instructions`");
    refused(json!({"input": [{"type": "item_reference", "id": "msg_1"}]}), "input[0]", "`store: false`");
    refused(json!({"input": [{"id": "msg_1"}]}), "input[0]", "`store: false`");
    let output = json!({"type": "function_call_output", "call_id": "call_1", "output": "one"});
    refused(json!({"input": [output]}), "input[0].call_id", "call_1");
    let other = json!({"type": "function_call", "call_id": "call_2", "name": "f", "arguments": "{}"});
    refused(json!({"input": [other, output]}), "input[1].call_id", "call_1");
    let nothing = json!({"store": false, "background": false, "previous_response_id": null, "conversation": null});
    assert_eq!(asked(nothing).conversation.len(), 1);
}

#[test]
fn what_cannot_be_passed_on_is_refused_with_its_place() {
    let parts = json!([{"role": "user", "content": "a"}, {"role": "user", "content": [
        {"type": "input_text", "text": "see"}, {"type": "input_image", "image_url": "data:"}]}]);
    refused(json!({"input": parts}), "input[1].content[1]", "input_image");
    let file = json!({"type": "function_call_output", "call_id": "c", "output": [{"type": "input_file"}]});
    let call = json!({"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"});
    refused(json!({"input": [call, file]}), "input[1].output[0]", "input_file");
    refused(json!({"input": [{"type": "web_search_call", "id": "ws_1"}]}), "input[0].type", "web_search_call");
    refused(json!({"input": [{"role": "tool", "content": "x"}]}), "input[0].role", "tool");
    refused(json!({"input": [{"role": "user"}]}), "input[0].content", "is missing");
    refused(json!({"input": [{"role": "user", "content": 5}]}), "input[0].content", "not 5");
    refused(json!({"input": [{"role": "user", "content": [{"type": "input_text"}]}]}), "input[0].content[0].text", "");
    refused(
        json!({"input": [{"type": "function_call", "call_id": 1, "name": "f"}]}),
        "input[0].call_id",
        "a string, not 1",
    );
    refused(json!({"input": ["x"]}), "input[0]", "`role`");
    refused(json!({"input": 5}), "input", "a string or an array");
    refused(json!({"input": null}), "input", "missing");
    for empty in [json!(""), json!([]), json!([{"role": "user", "content": " "}])] {
        refused(json!({"input": empty, "instructions": "Be brief."}), "input", "no text");
    }
    refused(json!({"temperature": "hot"}), "temperature", "a number, not the string");
}

#[test]
fn a_format_is_what_the_reply_has_to_be() {
    let format = |format: Value| asked(json!({"text": {"format": format}})).reply_format;
    assert_eq!(format(json!({"type": "text"})), ReplyFormat::Text);
    let ReplyFormat::Json(any) = format(json!({"type": "json_object"})) else { panic!() };
    assert_eq!((any.schema, any.lenient, any.param), (None, false, "text.format"));
    for (strict, lenient) in [(json!(true), false), (json!(null), false), (json!(false), true)] {
        let given = json!({"type": "json_schema", "name": "n", "schema": {"type": "object"}, "strict": strict});
        let ReplyFormat::Json(one) = format(given) else { panic!() };
        assert_eq!(
            (one.schema, one.lenient, one.param),
            (Some(json!({"type": "object"})), lenient, "text.format.schema")
        );
    }
    refused(
        json!({"text": {"format": {"type": "json_schema", "name": "n"}}}),
        "text.format.schema",
        "needs a `schema`",
    );
    refused(json!({"text": {"format": {"type": "grammar"}}}), "text.format.type", "grammar");
}

#[test]
fn tools_are_functions_and_the_choice_tells_which() {
    let tools = |choice: Value| asked(json!({"tools": [tool("a"), tool("b")], "tool_choice": choice})).reply_format;
    let named = |want: ReplyFormat| match want {
        ReplyFormat::Tools { tools, choice, .. } => (tools.into_iter().map(|tool| tool.name).collect(), Some(choice)),
        _ => (Vec::new(), None),
    };
    let both = || vec!["a".to_owned(), "b".to_owned()];
    assert_eq!(named(tools(json!(null))), (both(), Some(Choice::Auto)));
    assert_eq!(named(tools(json!("auto"))), (both(), Some(Choice::Auto)));
    assert_eq!(named(tools(json!("required"))), (both(), Some(Choice::Required)));
    assert_eq!(named(tools(json!({"type": "function", "name": "b"}))), (both(), Some(Choice::Named("b".into()))));
    assert_eq!(tools(json!("none")), ReplyFormat::Text);
    let only = json!({"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "b"}]});
    assert_eq!(named(tools(only)), (vec!["b".to_owned()], Some(Choice::Required)));

    let ReplyFormat::Tools { tools, parallel, format, .. } =
        asked(json!({"tools": [tool("a")], "parallel_tool_calls": false, "text": {"format": {"type": "json_object"}}}))
            .reply_format
    else {
        panic!()
    };
    assert_eq!((tools[0].param.as_str(), parallel, format.is_some()), ("tools[0].parameters", false, true));
}

#[test]
fn tools_and_choices_that_cannot_be_are_refused() {
    refused(json!({"tools": [tool("a"), {"type": "web_search"}]}), "tools[1].type", "web_search");
    refused(json!({"tools": [{"type": "custom", "name": "c"}]}), "tools[0].type", "custom");
    refused(json!({"tools": [{"name": "c"}]}), "tools[0].type", "no `type`");
    refused(json!({"tools": [{"type": "function"}]}), "tools[0].name", "is missing");
    refused(json!({"tools": [{"type": "function", "function": {"name": "f"}}]}), "tools[0].function", "next to `type`");
    for choice in [json!("all"), json!(1), json!({"type": "web_search"}), json!({"type": "allowed_tools"})] {
        refused(json!({"tools": [tool("a")], "tool_choice": choice}), "tool_choice", "allowed_tools");
    }
    let stranger = json!({"type": "function", "name": "z"});
    refused(json!({"tools": [tool("a")], "tool_choice": stranger}), "tool_choice", "\"z\"");
    let strangers = json!({"type": "allowed_tools", "mode": "auto", "tools": [stranger]});
    refused(json!({"tools": [tool("a")], "tool_choice": strangers}), "tool_choice.tools[0]", "\"z\"");
    refused(json!({"tool_choice": "required"}), "tool_choice", "needs `tools`");
    refused(json!({"tools": [], "tool_choice": stranger}), "tool_choice", "needs `tools`");
    assert_eq!(asked(json!({"tools": [], "tool_choice": "auto"})).reply_format, ReplyFormat::Text);
}

#[test]
fn parameters_without_effect_are_named_unless_they_ask_for_what_happens_anyway() {
    let neutral = json!({
        "temperature": 1, "top_p": 1.0, "truncation": "disabled", "parallel_tool_calls": true, "service_tier": "auto",
        "metadata": {"job": "7"}, "reasoning": {"effort": null, "summary": null}, "text": {"verbosity": "medium"},
        "include": ["reasoning.encrypted_content"], "stream_options": {"include_obfuscation": false}, "user": null,
        "top_logprobs": 0, "max_output_tokens": null, "store": false,
    });
    assert_eq!(asked(neutral).ignored, [] as [&str; 0]);
    let mut ignored = asked(json!({
        "temperature": 0.2, "top_p": 0.5, "truncation": "auto", "service_tier": "flex", "max_output_tokens": 10,
        "reasoning": {"effort": "low"}, "text": {"verbosity": "high"}, "include": ["message.output_text.logprobs"],
        "stream_options": {"include_obfuscation": true}, "hue": 1,
    }))
    .ignored;
    ignored.sort();
    let names = [
        "hue",
        "include",
        "max_output_tokens",
        "reasoning",
        "service_tier",
        "stream_options.include_obfuscation",
        "temperature",
        "text.verbosity",
        "top_p",
        "truncation",
    ];
    assert_eq!(ignored, names);
}

fn answer(text: &str, calls: &[(&str, &str)], finish: Finish) -> Answer {
    let calls = calls.iter().enumerate().map(|(n, (name, arguments))| Call {
        id: format!("call_{n}"),
        name: (*name).into(),
        arguments: (*arguments).into(),
    });
    Answer {
        text: text.into(),
        calls: calls.collect(),
        finish,
        usage: Usage { input: 3, cache_creation: 5, cache_read: 7, output: 11 },
        model: None,
        schema_error: None,
    }
}

fn reply(fields: Value) -> Reply {
    Reply::new("1f".into(), 100, "m".into(), read(with(fields)).unwrap().1)
}

fn value(it: impl serde::Serialize) -> Value {
    serde_json::from_str(&serde_json::to_string(&it).unwrap()).unwrap()
}

#[test]
fn a_reply_repeats_what_the_request_said_with_openais_values_for_the_rest() {
    let whole = value(reply(json!({})).to_response(&answer("Hello.", &[], Finish::Stop), 107));
    let expected = json!({
        "id": "resp_1f", "object": "response", "created_at": 100, "completed_at": 107, "status": "completed",
        "error": null, "incomplete_details": null, "instructions": null, "metadata": {}, "model": "m",
        "output": [{"type": "message", "id": "msg_1f", "status": "completed", "role": "assistant", "content": [
            {"type": "output_text", "text": "Hello.", "annotations": [], "logprobs": []}]}],
        "parallel_tool_calls": true, "temperature": 1.0, "top_p": 1.0, "tool_choice": "auto", "tools": [],
        "text": {"format": {"type": "text"}, "verbosity": null}, "truncation": "disabled", "top_logprobs": 0,
        "reasoning": {"effort": null, "summary": null}, "max_output_tokens": null, "max_tool_calls": null,
        "previous_response_id": null, "prompt_cache_key": null, "safety_identifier": null, "user": null,
        "service_tier": "default", "store": false, "background": false,
        "usage": {
            "input_tokens": 15, "input_tokens_details": {"cached_tokens": 7, "cache_write_tokens": 5},
            "output_tokens": 11, "output_tokens_details": {"reasoning_tokens": 0}, "total_tokens": 26,
        },
    });
    assert_eq!(whole, expected);

    let said = json!({
        "instructions": "Be brief.", "metadata": {"job": "7"}, "tools": [tool("a")], "tool_choice": "required",
        "parallel_tool_calls": false, "temperature": 0.5, "max_output_tokens": 9, "user": "u",
        "text": {"format": {"type": "json_schema", "name": "n", "schema": {"type": "object"}, "strict": true}, "verbosity": "low"},
    });
    let whole = value(reply(said.clone()).to_response(&answer("{}", &[], Finish::Stop), 107));
    for (name, value) in said.as_object().unwrap() {
        assert_eq!(whole[name], *value, "{name}");
    }
}

#[test]
fn calls_are_items_and_a_reply_of_calls_alone_has_no_message() {
    let calls = [("look", "{\"at\":1}"), ("look", "{}")];
    let whole = value(reply(json!({})).to_response(&answer("", &calls, Finish::Calls), 107));
    let item = |n: usize, arguments: &str| {
        json!({"type": "function_call", "id": format!("fc_1f{n}"), "call_id": format!("call_{n}"), "name": "look",
               "arguments": arguments, "status": "completed"})
    };
    assert_eq!(whole["output"], json!([item(0, "{\"at\":1}"), item(1, "{}")]));
    let whole = value(reply(json!({})).to_response(&answer("I look.", &calls, Finish::Calls), 107));
    assert_eq!((&whole["output"][0]["type"], &whole["status"]), (&json!("message"), &json!("completed")));
    let whole = value(reply(json!({})).to_response(&answer("", &[], Finish::Stop), 107));
    assert_eq!(whole["output"][0]["content"][0]["text"], "");
}

#[test]
fn a_reply_that_is_cut_short_says_why() {
    for (finish, why) in [(Finish::Length, "max_output_tokens"), (Finish::ContentFilter, "content_filter")] {
        let whole = value(reply(json!({})).to_response(&answer("Hel", &[], finish), 107));
        assert_eq!(whole["status"], "incomplete");
        assert_eq!(whole["incomplete_details"], json!({"reason": why}));
        assert_eq!(whole["output"][0]["status"], "incomplete");
        let mut events = Events::new(reply(json!({})));
        let events = value(events.end_events(&answer("Hel", &[], finish), 107));
        assert_eq!(events.as_array().unwrap().last().unwrap()["type"], "response.incomplete");
    }
}

#[test]
fn a_text_that_is_not_what_was_wanted_is_marked() {
    let marked = Answer { schema_error: Some("- no".into()), ..answer("x", &[], Finish::Stop) };
    assert_eq!(value(reply(json!({})).to_response(&marked, 107))["schema_error"], "- no");
}

/// The events of a whole stream, one after the other.
fn stream(pieces: &[&str], answer: &Answer) -> Vec<Value> {
    let mut events = Events::new(reply(json!({})));
    let mut all = Vec::new();
    let mut add = |events: Vec<Event<'_>>| all.extend(events.into_iter().map(value));
    add(events.start_events());
    for piece in pieces {
        add(events.text_events(piece));
    }
    add(events.end_events(answer, 107));
    for (number, event) in all.iter().enumerate() {
        assert_eq!(event["sequence_number"], number);
    }
    all
}

fn kinds(events: &[Value]) -> Vec<&str> {
    let kinds = events.iter().map(|event| event["type"].as_str().unwrap());
    kinds.map(|kind| kind.strip_prefix("response.").unwrap_or(kind)).collect()
}

const BEGINNING: [&str; 2] = ["created", "in_progress"];
const MESSAGE_BEGINS: [&str; 2] = ["output_item.added", "content_part.added"];
const MESSAGE_ENDS: [&str; 3] = ["output_text.done", "content_part.done", "output_item.done"];
const CALL: [&str; 4] =
    ["output_item.added", "function_call_arguments.delta", "function_call_arguments.done", "output_item.done"];

#[test]
fn a_streamed_text_is_a_message_from_begin_to_end() {
    let answer = answer("Grüße.", &[], Finish::Stop);
    let events = stream(&["Gr", "", "üße"], &answer);
    let delta = ["output_text.delta"; 3];
    let order = [&BEGINNING[..], &MESSAGE_BEGINS, &delta, &MESSAGE_ENDS, &["completed"]].concat();
    assert_eq!(kinds(&events), order);
    let deltas: String = events.iter().filter_map(|event| event["delta"].as_str()).collect();
    assert_eq!(deltas, "Grüße.");
    assert_eq!(events[7]["text"], "Grüße.");
    assert_eq!(
        events[2],
        json!({"type": "response.output_item.added", "sequence_number": 2, "output_index": 0,
               "item": {"type": "message", "id": "msg_1f", "status": "in_progress", "role": "assistant", "content": []}})
    );
    assert_eq!(
        events[4],
        json!({"type": "response.output_text.delta", "sequence_number": 4, "item_id": "msg_1f", "output_index": 0,
               "content_index": 0, "delta": "Gr", "logprobs": []})
    );
    let begun = &events[0]["response"];
    assert_eq!((&begun["status"], &begun["output"]), (&json!("in_progress"), &json!([])));
    assert_eq!((&begun["usage"], &begun["completed_at"]), (&Value::Null, &Value::Null));
    assert_eq!(events[10]["response"], value(reply(json!({})).to_response(&answer, 107)));
    assert_eq!(events[9]["item"], events[10]["response"]["output"][0]);
}

#[test]
fn streamed_calls_follow_the_message_if_there_is_one() {
    let calls = [("look", "{\"at\":1}"), ("look", "{}")];
    for (pieces, text, message) in [(&[][..], "", false), (&["I look."], "I look.", true), (&[], "I look.", true)] {
        let answer = answer(text, &calls, Finish::Calls);
        let events = stream(pieces, &answer);
        let (begin, end) = if message { (&MESSAGE_BEGINS[..], &MESSAGE_ENDS[..]) } else { (&[][..], &[][..]) };
        let delta = &["output_text.delta"][..usize::from(message)];
        assert_eq!(kinds(&events), [&BEGINNING[..], begin, delta, end, &CALL, &CALL, &["completed"]].concat());
        let done: Vec<&Value> = events.iter().filter(|event| event["type"] == "response.output_item.done").collect();
        let whole = &events.last().unwrap()["response"]["output"];
        for (place, event) in done.iter().enumerate() {
            assert_eq!((&event["output_index"], &event["item"]), (&json!(place), &whole[place]));
        }
        assert_eq!(done.len(), whole.as_array().unwrap().len());
    }
}

#[test]
fn an_empty_reply_is_a_message_without_words() {
    let events = stream(&[], &answer("", &[], Finish::Stop));
    assert_eq!(kinds(&events), [&BEGINNING[..], &MESSAGE_BEGINS, &MESSAGE_ENDS, &["completed"]].concat());
}

#[test]
fn a_failure_is_an_error_that_clients_raise_and_then_a_failed_reply() {
    for (kind, word) in [("server_error", "server_error"), ("rate_limit_error", "rate_limit_exceeded")] {
        let mut events = Events::new(reply(json!({})));
        events.start_events();
        events.text_events("Hel");
        let error = ErrorObject { message: "no".into(), kind, param: None, code: Some("cli_failed") };
        let events = value(events.error_events(&error));
        let (raised, failed) = (&events[0], &events[1]);
        assert_eq!(
            *raised,
            json!({"type": "error", "sequence_number": 5, "code": "cli_failed", "message": "no", "param": null,
                   "error": {"type": kind, "code": "cli_failed", "message": "no", "param": null}})
        );
        assert_eq!((&failed["type"], &failed["sequence_number"]), (&json!("response.failed"), &json!(6)));
        assert_eq!(failed["response"]["status"], "failed");
        assert_eq!(failed["response"]["error"], json!({"code": word, "message": "no"}));
    }
}
