//! Odd requests, and what each of them gets: as OpenAI's own API does where it is known, and always in its shape.

use serde_json::{Value, json};

use super::support::{Client, Reply, Server, Setup, get, post};

const CHAT: &str = "/v1/chat/completions";
const RESPONSES: &str = "/v1/responses";

/// What a request gets.
#[derive(Clone)]
enum Gets {
    /// A reply.
    Reply,
    /// An error with this param, null where there is none, and this code.
    Refusal(Value, &'static str),
}

const TYPE: &str = "invalid_type";
const VALUE: &str = "invalid_value";
const MISSING: &str = "missing_required_parameter";
const JSON: &str = "invalid_json";

const FINE: Gets = Gets::Reply;

fn no(param: &str, code: &'static str) -> Gets {
    Gets::Refusal(param.into(), code)
}

/// `base` with these fields.
fn with(mut base: Value, fields: &Value) -> String {
    base.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    base.to_string()
}

fn chat(fields: &Value) -> String {
    with(json!({"messages": [{"role": "user", "content": "x"}]}), fields)
}

fn says(content: &Value) -> Value {
    json!({"messages": [{"role": "user", "content": content}]})
}

fn tool(name: &str) -> Value {
    json!({"type": "function", "function": {"name": name, "parameters": {"type": "object"}}})
}

fn call(id: &str) -> Value {
    json!({"id": id, "type": "function", "function": {"name": "f", "arguments": "{}"}})
}

fn result(id: &str) -> Value {
    json!({"role": "tool", "tool_call_id": id, "content": "1"})
}

async fn held_against(server: &Server, path: &str, rows: Vec<(String, Gets)>) {
    for (body, gets) in rows {
        let reply = server.exchange(&post(path, "", &body)).await;
        let Gets::Refusal(param, code) = gets else {
            assert_eq!(reply.status, 200, "{body:.200}: {reply:?}");
            continue;
        };
        assert_eq!((reply.status, reply.error_code().as_str()), (400, code), "{body:.200}: {reply:?}");
        let error = &reply.json()["error"];
        assert_eq!(error["param"], param, "{body:.200}: {error}");
        assert_eq!(
            (&error["type"], reply.headers["x-should-retry"].as_str()),
            (&json!("invalid_request_error"), "false")
        );
        is_plain(&reply);
    }
}

/// No word is one of Rust's or of a library's.
fn is_plain(reply: &Reply) {
    let message = reply.json()["error"]["message"].as_str().unwrap().to_owned();
    for word in
        ["struct ", "sequence", "invalid type", "u64", "f64", "expected a", "registry", "resource", "EOF", "variant"]
    {
        assert!(!message.contains(word), "{word:?} in {message}");
    }
}

fn counts_and_flags() -> Vec<(Value, Gets)> {
    vec![
        (json!({"n": 1}), FINE),
        (json!({"n": null}), FINE),
        (json!({"n": 0}), no("n", VALUE)),
        (json!({"n": 2}), no("n", VALUE)),
        (json!({"n": -1}), no("n", VALUE)),
        (json!({"n": "1"}), no("n", TYPE)),
        (json!({"max_tokens": 1}), FINE),
        (json!({"max_tokens": null}), FINE),
        (json!({"max_tokens": 0}), no("max_tokens", VALUE)),
        (json!({"max_tokens": -1}), no("max_tokens", VALUE)),
        (json!({"max_tokens": 1.5}), no("max_tokens", TYPE)),
        (json!({"max_tokens": u64::MAX}), no("max_tokens", VALUE)),
        (json!({"max_tokens": "10"}), no("max_tokens", TYPE)),
        (json!({"max_completion_tokens": 0}), no("max_completion_tokens", VALUE)),
        (json!({"temperature": 2}), FINE),
        (json!({"temperature": "hot"}), no("temperature", TYPE)),
        (json!({"temperature": 3}), no("temperature", VALUE)),
        (json!({"temperature": -0.1}), no("temperature", VALUE)),
        (json!({"top_p": 1.1}), no("top_p", VALUE)),
        (json!({"presence_penalty": -3}), no("presence_penalty", VALUE)),
        (json!({"frequency_penalty": []}), no("frequency_penalty", TYPE)),
        (json!({"top_logprobs": 21}), no("top_logprobs", VALUE)),
        (json!({"logprobs": 1}), no("logprobs", TYPE)),
        (json!({"seed": 1.5}), no("seed", TYPE)),
        (json!({"seed": -7}), FINE),
        (json!({"stream": "yes"}), no("stream", TYPE)),
        (json!({"stream": true, "stream_options": {"include_usage": true}}), FINE),
        (json!({"stream": true, "stream_options": {"include_usage": 1}}), no("stream_options.include_usage", TYPE)),
        (json!({"stream": true, "stream_options": [true]}), no("stream_options", TYPE)),
        (json!({"stream_options": {"include_usage": true}}), no("stream_options", VALUE)),
        (json!({"stream_options": null}), FINE),
        (json!({"metadata": {"a": "b"}}), FINE),
        (json!({"metadata": {"a": 1}}), no("metadata.a", TYPE)),
        (json!({"metadata": ["a"]}), no("metadata", TYPE)),
        (json!({"logit_bias": {"50256": -100}}), FINE),
        (json!({"logit_bias": {"50256": "no"}}), no("logit_bias.50256", TYPE)),
        (json!({"user": "u"}), FINE),
        (json!({"user": 7}), no("user", TYPE)),
        (json!({"store": "yes"}), no("store", TYPE)),
        (json!({"reasoning_effort": 1}), no("reasoning_effort", TYPE)),
        (json!({"model": "haiku"}), FINE),
        (json!({"model": null}), FINE),
        (json!({"model": ""}), no("model", VALUE)),
        (json!({"model": 5}), no("model", TYPE)),
        (json!({"stop": ""}), no("stop", VALUE)),
        (json!({"stop": []}), FINE),
        (json!({"stop": ["a", "b", "c", "d"]}), FINE),
        (json!({"stop": ["a", "b", "c", "d", "e"]}), no("stop", VALUE)),
        (json!({"stop": [1]}), no("stop", VALUE)),
        (json!({"unheard_of": {"a": [1]}}), FINE),
    ]
}

fn messages() -> Vec<(Value, Gets)> {
    let conversation = |messages: Value| json!({ "messages": messages });
    let user = json!({"role": "user", "content": "x"});
    let calls = |ids: &[&str]| {
        let calls: Vec<Value> = ids.iter().map(|id| call(id)).collect();
        json!({"role": "assistant", "content": null, "tool_calls": calls})
    };
    vec![
        (conversation(json!([])), no("messages", VALUE)),
        (conversation(json!({})), no("messages", TYPE)),
        (conversation(json!(null)), no("messages", TYPE)),
        (conversation(json!(["hi"])), no("messages[0]", TYPE)),
        (conversation(json!([["user", "hi"]])), no("messages[0]", TYPE)),
        (conversation(json!([user, null])), no("messages[1]", TYPE)),
        (conversation(json!([{"content": "x"}])), no("messages[0].role", MISSING)),
        (conversation(json!([{"role": "user"}])), no("messages[0].content", MISSING)),
        (conversation(json!([{"role": "robot", "content": "x"}])), no("messages[0].role", VALUE)),
        (conversation(json!([{"role": ["user"], "content": "x"}])), no("messages[0].role", TYPE)),
        (says(&json!(null)), no("messages[0].content", MISSING)),
        (says(&json!([])), no("messages[0].content", VALUE)),
        (says(&json!("")), no("messages", VALUE)),
        (says(&json!({"type": "text", "text": "x"})), no("messages[0].content", TYPE)),
        (says(&json!([{"type": "text", "text": "x"}])), FINE),
        (says(&json!([["text", "x"]])), no("messages[0].content[0]", TYPE)),
        (says(&json!([{"type": "text"}])), no("messages[0].content[0].text", MISSING)),
        (says(&json!([{"text": "x"}])), no("messages[0].content[0].type", MISSING)),
        (says(&json!([{"type": "image_url", "image_url": {"url": "x"}}])), no("messages[0].content[0]", VALUE)),
        (conversation(json!([user, calls(&["a"]), result("a"), user])), FINE),
        (conversation(json!([user, calls(&["a", "b"]), result("b"), result("a")])), FINE),
        (conversation(json!([user, calls(&["a"]), result("a"), calls(&["a"]), result("a")])), FINE),
        (conversation(json!([result("a"), user])), no("messages[0].tool_call_id", VALUE)),
        (conversation(json!([user, calls(&["a"]), result("b")])), no("messages[2].tool_call_id", VALUE)),
        (
            conversation(json!([user, calls(&["a"]), result("a"), user, result("a")])),
            no("messages[4].tool_call_id", VALUE),
        ),
        (conversation(json!([user, calls(&["a"])])), no("messages[1].tool_calls", VALUE)),
        (conversation(json!([user, calls(&["a", "b"]), result("a"), user])), no("messages[1].tool_calls", VALUE)),
        (conversation(json!([user, {"role": "tool", "content": "1"}])), no("messages[1].tool_call_id", MISSING)),
        (
            conversation(json!([user, {"role": "assistant", "tool_calls": [{"function": {"name": "f"}}]}])),
            no("messages[1].tool_calls[0].id", MISSING),
        ),
    ]
}

const SCHEMA: &str = "response_format.json_schema.schema";

fn tools_and_formats() -> Vec<(Value, Gets)> {
    let format = |format: Value| json!({ "response_format": format });
    let schema = |schema: Value| format(json!({"type": "json_schema", "json_schema": schema}));
    let choice = |choice: Value| json!({"tools": [tool("f")], "tool_choice": choice});
    let named = |name: &str| json!({"type": "function", "function": {"name": name}});
    vec![
        (choice(named("g")), no("tool_choice", VALUE)),
        (choice(json!("sometimes")), no("tool_choice", VALUE)),
        (choice(json!(["function", ["f"]])), no("tool_choice", VALUE)),
        (json!({"tool_choice": "auto"}), FINE),
        (json!({"tool_choice": "required"}), no("tool_choice", VALUE)),
        (json!({"tool_choice": named("f")}), no("tool_choice", VALUE)),
        (json!({"tools": []}), FINE),
        (json!({"tools": {}}), no("tools", TYPE)),
        (json!({"tools": [["function", ["f"]]]}), no("tools[0]", TYPE)),
        (json!({"tools": [{"type": "function", "function": ["f"]}]}), no("tools[0].function", TYPE)),
        (json!({"tools": [{"type": "function"}]}), no("tools[0].function", MISSING)),
        (json!({"tools": [{"type": "function", "function": {}}]}), no("tools[0].function.name", MISSING)),
        (json!({"tools": [{"function": {"name": "f"}}]}), no("tools[0].type", MISSING)),
        (json!({"tools": [{"type": "web_search"}]}), no("tools[0].type", VALUE)),
        (json!({"tools": [tool("f"), tool("f")]}), no("tools[1].function.name", VALUE)),
        (json!({"tools": [tool("get weather")]}), no("tools[0].function.name", VALUE)),
        (json!({"tools": [tool("größe")]}), no("tools[0].function.name", VALUE)),
        (json!({"tools": [tool(&"f".repeat(129))]}), no("tools[0].function.name", VALUE)),
        (
            json!({"tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": 7}}}]}),
            no("tools[0].function.parameters", VALUE),
        ),
        (json!({"functions": [{"name": "f"}]}), no("functions", VALUE)),
        (json!({"parallel_tool_calls": "no"}), no("parallel_tool_calls", TYPE)),
        (format(json!("json_object")), no("response_format", TYPE)),
        (format(json!({})), no("response_format.type", MISSING)),
        (format(json!({"type": "xml"})), no("response_format.type", VALUE)),
        (format(json!({"type": "json_schema"})), no("response_format.json_schema", MISSING)),
        (schema(json!(["n"])), no("response_format.json_schema", TYPE)),
        (schema(json!({"name": "n"})), no(SCHEMA, MISSING)),
        (schema(json!({"schema": {}})), no("response_format.json_schema.name", MISSING)),
        (schema(json!({"name": "a b", "schema": {}})), no("response_format.json_schema.name", VALUE)),
        (schema(json!({"name": "n", "schema": "x"})), no(SCHEMA, VALUE)),
        (schema(json!({"name": "n", "schema": {"$ref": "https://else.example/x"}})), no(SCHEMA, VALUE)),
        (schema(json!({"name": "n", "schema": {"$ref": "#/$defs/none"}})), no(SCHEMA, VALUE)),
        (schema(json!({"name": "n", "schema": {"$schema": "https://else.example/x"}})), no(SCHEMA, VALUE)),
    ]
}

#[tokio::test]
async fn an_odd_completion_is_served_or_refused_with_its_place() {
    let server = Setup::echo().start().await;
    let rows = [counts_and_flags(), messages()].concat();
    held_against(&server, CHAT, rows.iter().map(|(fields, gets)| (chat(fields), gets.clone())).collect()).await;
    let rows = tools_and_formats();
    held_against(&server, CHAT, rows.iter().map(|(fields, gets)| (chat(fields), gets.clone())).collect()).await;
}

#[tokio::test]
async fn an_odd_response_is_served_or_refused_with_its_place() {
    let input = |input: Value| json!({ "input": input });
    let format = |format: Value| json!({"text": {"format": format}});
    let call = json!({"type": "function_call", "call_id": "a", "name": "f", "arguments": "{}"});
    let output = |id: &str| json!({"type": "function_call_output", "call_id": id, "output": "1"});
    let rows = [
        (json!({}), FINE),
        (input(json!([])), no("input", VALUE)),
        (input(json!("")), no("input", VALUE)),
        (input(json!(null)), no("input", MISSING)),
        (input(json!(7)), no("input", TYPE)),
        (input(json!({})), no("input", TYPE)),
        (input(json!(["hi"])), no("input[0]", TYPE)),
        (input(json!([["user", "hi"]])), no("input[0]", TYPE)),
        (input(json!([{"role": "user", "content": [["input_text", "hi"]]}])), no("input[0].content[0]", TYPE)),
        (input(json!([{"role": "user", "content": []}])), no("input[0].content", VALUE)),
        (input(json!([{"role": "user"}])), no("input[0].content", MISSING)),
        (input(json!([{"type": "telepathy"}])), no("input[0].type", VALUE)),
        (input(json!([{"type": "item_reference", "id": "msg_1"}])), no("input[0]", VALUE)),
        (input(json!([call, output("a")])), FINE),
        (input(json!([call])), no("input[0].call_id", VALUE)),
        (input(json!([call, output("b")])), no("input[1].call_id", VALUE)),
        (input(json!([call, call, output("a")])), no("input[1].call_id", VALUE)),
        (json!({"instructions": ["x"]}), no("instructions", TYPE)),
        (json!({"model": ""}), no("model", VALUE)),
        (json!({"model": 5}), no("model", TYPE)),
        (json!({"store": false}), FINE),
        (json!({"store": true}), no("store", VALUE)),
        (json!({"previous_response_id": "resp_1"}), no("previous_response_id", VALUE)),
        (json!({"background": true}), no("background", VALUE)),
        (json!({"conversation": "conv_1"}), no("conversation", VALUE)),
        (json!({"include": ["reasoning.encrypted_content"]}), FINE),
        (json!({"include": "x"}), no("include", TYPE)),
        (json!({"include": [1]}), no("include[0]", TYPE)),
        (json!({"stream": "yes"}), no("stream", TYPE)),
        (json!({"stream_options": [true]}), no("stream_options", TYPE)),
        (json!({"max_output_tokens": 0}), no("max_output_tokens", VALUE)),
        (json!({"max_output_tokens": 1.5}), no("max_output_tokens", TYPE)),
        (json!({"temperature": "hot"}), no("temperature", TYPE)),
        (json!({"temperature": 3}), no("temperature", VALUE)),
        (json!({"truncation": 1}), no("truncation", TYPE)),
        (json!({"metadata": {"a": 1}}), no("metadata.a", TYPE)),
        (json!({"user": 7}), no("user", TYPE)),
        (json!({"reasoning": ["low"]}), no("reasoning", TYPE)),
        (json!({"text": []}), no("text", TYPE)),
        (format(json!(["text"])), no("text.format", TYPE)),
        (format(json!({})), no("text.format.type", MISSING)),
        (format(json!({"type": "json_schema", "name": "n"})), no("text.format.schema", MISSING)),
        (format(json!({"type": "json_schema", "schema": {}})), no("text.format.name", MISSING)),
        (format(json!({"type": "json_schema", "name": "n", "schema": {"type": 7}})), no("text.format.schema", VALUE)),
        (json!({"tools": [["function", "f"]]}), no("tools[0]", TYPE)),
        (json!({"tools": [{"name": "f"}]}), no("tools[0].type", MISSING)),
        (json!({"tools": [{"type": "function"}]}), no("tools[0].name", MISSING)),
        (json!({"tools": [{"type": "function", "name": "a b"}]}), no("tools[0].name", VALUE)),
        (json!({"tool_choice": "required"}), no("tool_choice", VALUE)),
    ];
    let server = Setup::echo().start().await;
    let rows = rows.into_iter().map(|(fields, gets)| (with(json!({"input": "x"}), &fields), gets)).collect();
    held_against(&server, RESPONSES, rows).await;
}

#[tokio::test]
async fn what_a_client_says_at_length_is_not_repeated_at_length() {
    let server = Setup::echo().start().await;
    let long = "ä".repeat(100_000);
    for fields in [
        json!({"model": long}),
        json!({"tools": [tool("f")], "tool_choice": {"type": "function", "function": {"name": long}}}),
        json!({"messages": [{"role": long, "content": "x"}]}),
        json!({"messages": [{"role": "user", "content": [{"type": long}]}]}),
        json!({"messages": [{"role": "user", "content": "x"}, result(&long)]}),
        json!({"metadata": {&long: 1}}),
        json!({"response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {"$ref": long}}}}),
    ] {
        let reply = server.complete(&chat(&fields)).await;
        assert!(
            (400..=404).contains(&reply.status) && reply.body.len() < 4096,
            "{} of {reply:.200?}",
            reply.body.len()
        );
    }
}

#[tokio::test]
async fn a_body_that_is_no_json_object_is_refused_by_both_apis() {
    let server = Setup::echo().start().await;
    for path in [CHAT, RESPONSES] {
        let rows = ["", " ", "[]", "[1]", "null", "\"x\"", "{", "{]", "{} {}", "nonsense", "\u{feff}{}"];
        let rows = rows.into_iter().map(|body| (body.to_owned(), Gets::Refusal(Value::Null, JSON)));
        let deep = |open: &str| (open.repeat(10_000), Gets::Refusal(Value::Null, JSON));
        let twice = (r#"{"model": "haiku", "model": "opus"}"#.to_owned(), no("model", VALUE));
        held_against(&server, path, rows.chain([deep("["), deep("{\"a\":"), twice]).collect()).await;
    }
}

#[tokio::test]
async fn an_odd_address_or_method_is_refused_in_the_shape() {
    let server = Setup::echo().start().await;
    let line = |line: &str| format!("{line} HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n");
    for (request, status, code, allow) in [
        (get(CHAT, ""), 405, "method_not_allowed", Some("POST")),
        (line("PUT /v1/responses"), 405, "method_not_allowed", Some("POST")),
        (line("OPTIONS /v1/responses"), 405, "method_not_allowed", Some("POST")),
        (line("POST /v1/models"), 405, "method_not_allowed", Some("GET,HEAD")),
        (line("BREW /health"), 405, "method_not_allowed", Some("GET,HEAD")),
        (get("/v1/chat/completions/", ""), 404, "unknown_url", None),
        (get("/v1/models/", ""), 404, "unknown_url", None),
        (get("/", ""), 404, "unknown_url", None),
        (get("//", ""), 404, "unknown_url", None),
        (line("OPTIONS *"), 404, "unknown_url", None),
        (get("/%", ""), 404, "unknown_url", None),
        (get("/v1/models/%zz", ""), 404, "model_not_found", None),
        (get("/v1/models/%", ""), 404, "model_not_found", None),
        (get("/v1/models/%ff", ""), 400, "invalid_value", None),
        (get("/v1/responses/%ff", ""), 400, "invalid_value", None),
        (get("/v1/responses/%zz", ""), 404, "response_not_found", None),
        (line("POST /v1/responses/%c3%28/cancel"), 400, "invalid_value", None),
    ] {
        let reply = server.exchange(&request).await;
        assert_eq!((reply.status, reply.error_code().as_str()), (status, code), "{request}: {reply:?}");
        assert_eq!(reply.headers.get("allow").map(String::as_str), allow, "{request}");
    }
    let head = server.exchange_head(&line("HEAD /v1/models")).await;
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    let head = server.exchange_head(&line("HEAD /v1/chat/completions")).await;
    assert!(head.starts_with("HTTP/1.1 405 ") && head.contains("allow: POST"), "{head}");
    let tunnel = server.exchange(&line("CONNECT else.example:443")).await;
    assert_eq!((tunnel.status, tunnel.error_code().as_str()), (403, "foreign_host"));
}

#[tokio::test]
async fn a_client_that_asks_first_is_told_to_go_on_and_one_without_a_chance_is_not() {
    let server = Setup::echo().start().await;
    let request = post(CHAT, "expect: 100-continue\r\n", &chat(&json!({})));
    let (head, body) = request.split_once("\r\n\r\n").unwrap();
    let mut client = Client::connect(server.address).await;
    client.send(&format!("{head}\r\n\r\n")).await;
    assert_eq!(client.line().await, "HTTP/1.1 100 Continue");
    assert_eq!(client.line().await, "");
    client.send(body).await;
    assert_eq!(client.receive().await.status, 200);

    let mut client = Client::connect(server.address).await;
    client.send(&format!("{}\r\n\r\n", head.replace("application/json", "text/plain"))).await;
    assert_eq!(client.receive().await.error_code(), "unsupported_type");
}

#[tokio::test]
async fn arguments_and_json_keep_the_models_own_digits() {
    use super::support::{Answer, done};
    const DIGITS: &str = r#"{"n":123456789012345678901234567890,"x":0.1000000000000000055511151231257827}"#;
    let called = format!(r#"{{"tool_calls": [{{"name": "f", "arguments": {DIGITS}}}]}}"#);
    let calls = Setup::scripted(move |_| Answer::Events(vec![done(&called, "")])).start().await;
    let text = Setup::scripted(|_| Answer::Events(vec![done(DIGITS, "")])).start().await;
    let format = json!({"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}}});
    for stream in [false, true] {
        let quoted = Value::from(DIGITS).to_string();
        let reply = calls.complete(&chat(&json!({"stream": stream, "tools": [tool("f")]}))).await;
        assert!(reply.body.contains(&format!(r#""arguments":{quoted}"#)), "{reply:?}");
        let reply = text.complete(&chat(&json!({"stream": stream, "response_format": format}))).await;
        assert!(reply.body.contains(&format!(r#""content":{quoted}"#)), "{reply:?}");
        let function = json!([{"type": "function", "name": "f"}]);
        let body = json!({"input": "x", "stream": stream, "tools": function}).to_string();
        let reply = calls.exchange(&post(RESPONSES, "", &body)).await;
        assert!(reply.body.contains(&format!(r#""arguments":{quoted}"#)), "{reply:?}");
    }
}
