//! `POST /v1/responses`: what its clients see.

use std::path::PathBuf;

use serde_json::{Value, json};

use crate::support::{Options, Reply, Server, script, until};

const PATH: &str = "/v1/responses";

/// A CLI that gives each of its turns, one a process, the next of some replies, and notes what it was asked.
struct Scripted {
    folder: tempfile::TempDir,
}

impl Scripted {
    /// A reply is what the CLI prints once it has begun the turn, a line each.
    fn new(replies: &[Vec<Value>]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().display();
        for (n, lines) in replies.iter().enumerate() {
            let begun = json!({"type": "system", "subtype": "init"});
            let lines: Vec<String> = std::iter::once(&begun).chain(lines).map(Value::to_string).collect();
            std::fs::write(folder.path().join(format!("reply-{n}")), lines.join("\n") + "\n").unwrap();
        }
        let ready = json!({"type": "control_response",
                           "response": {"subtype": "success", "request_id": "initialize", "response": {}}});
        // A folder can be made only once, so it counts the turns, whichever process has them.
        let text = format!(
            "read -r init; echo '{ready}'; read -r user || exit 0; n=0\n\
             until mkdir {place}/turn-$n 2>/dev/null; do n=$((n+1)); done\n\
             printf '%s\\n' \"$user\" > {place}/turn-$n/user; cat {place}/reply-$n || exit 1\n\
             if [ -e {place}/crash ]; then exit 3; fi; cat > /dev/null"
        );
        script(&folder.path().join("claude"), &text);
        Self { folder }
    }

    fn replying(texts: &[&str]) -> Self {
        Self::new(&texts.iter().map(|text| vec![words(text), result(text)]).collect::<Vec<_>>())
    }

    /// The process ends as soon as it has replied.
    fn crashing(self) -> Self {
        std::fs::write(self.folder.path().join("crash"), "").unwrap();
        self
    }

    fn start(&self) -> Server {
        let cli = self.folder.path().join("claude");
        Options::new().flags(&["--max-turns", "1", "--max-failures", "100"]).cli(&cli).start()
    }

    /// What the CLI was asked in its turns.
    fn asked(&self) -> Vec<String> {
        let user = |n| std::fs::read_to_string(self.folder.path().join(PathBuf::from(format!("turn-{n}/user"))));
        let lines = (0..).map_while(|n| user(n).ok());
        let line = |line: String| serde_json::from_str::<Value>(&line).unwrap();
        lines.map(|text| line(text)["message"]["content"].as_str().unwrap().to_owned()).collect()
    }
}

fn words(text: &str) -> Value {
    json!({"type": "stream_event", "parent_tool_use_id": null,
           "event": {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}}})
}

fn result(text: &str) -> Value {
    json!({"type": "result", "subtype": "success", "is_error": false, "result": text, "stop_reason": "end_turn",
           "usage": {"input_tokens": 3, "cache_creation_input_tokens": 5, "cache_read_input_tokens": 7, "output_tokens": 11}})
}

fn ask(fields: Value) -> Value {
    let mut body = json!({"model": "haiku", "input": "hello"});
    let Value::Object(fields) = fields else { panic!("{fields}") };
    body.as_object_mut().unwrap().extend(fields);
    body
}

/// The events of a stream, each under its own name and number.
#[track_caller]
fn events(reply: &Reply) -> Vec<Value> {
    assert_eq!(reply.status, 200, "{reply:?}");
    let read = |(n, event): (usize, &str)| {
        let (name, data) = event.split_once('\n').unwrap_or_else(|| panic!("{event:?}"));
        let event: Value = serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
        assert_eq!((name.strip_prefix("event: "), &event["sequence_number"]), (event["type"].as_str(), &json!(n)));
        event
    };
    reply.body.trim_end().split("\n\n").enumerate().map(read).collect()
}

fn kinds(events: &[Value]) -> Vec<&str> {
    let mut kinds: Vec<&str> = events.iter().map(|event| event["type"].as_str().unwrap()).collect();
    kinds.dedup();
    kinds
}

fn text(response: &Value) -> &str {
    response["output"][0]["content"][0]["text"].as_str().unwrap()
}

#[test]
fn the_shape_of_a_response_stays_as_it_is() {
    let server = Options::new().start();
    let reply = server.post(PATH, &ask(json!({"instructions": "Be brief.", "temperature": 0.5, "store": false})));
    assert_eq!(reply.header("x-ccw-ignored"), Some("temperature"));
    insta::assert_json_snapshot!("response", reply.json(), {
        ".id" => "[id]", ".created_at" => "[s]", ".completed_at" => "[s]", ".output[0].id" => "[id]",
        ".output[0].content[0].text" => "[text]",
    });
    server.stop();
}

#[test]
fn a_streamed_response_is_the_same_in_pieces() {
    let server = Options::new().start();
    let events = events(&server.post(PATH, &ask(json!({"stream": true}))));
    insta::assert_json_snapshot!("response_events", kinds(&events));
    let (first, last) = (&events[0]["response"], &events[events.len() - 1]["response"]);
    let deltas: String = events.iter().filter_map(|event| event["delta"].as_str()).collect();
    assert!(!deltas.is_empty());
    assert_eq!((text(last), &last["status"]), (deltas.as_str(), &json!("completed")));
    assert_eq!((&first["id"], &first["status"]), (&last["id"], &json!("in_progress")));
    assert!(last["usage"]["output_tokens"].as_u64().unwrap() > 0);
    server.stop();
}

#[test]
fn a_reply_of_a_schema_comes_without_its_fence_and_one_that_does_not_fit_is_asked_for_again() {
    let schema = json!({"type": "object", "required": ["a"], "properties": {"a": {"type": "integer"}}});
    let format = json!({"type": "json_schema", "name": "x", "strict": true, "schema": schema});
    for stream in [false, true] {
        let cli = Scripted::replying(&["Sorry?", "```json\n{\"a\": 7}\n```", "{}", "{}"]);
        let server = cli.start();
        let body = ask(json!({"stream": stream, "text": {"format": format}}));
        let reply = server.post(PATH, &body);
        let whole = if stream { events(&reply).pop().unwrap()["response"].take() } else { reply.json() };
        assert_eq!((text(&whole), &whole["text"]["format"]), ("{\"a\": 7}", &format));
        assert_eq!(whole["usage"]["total_tokens"], 52, "both turns count");
        let never = server.post(PATH, &body);
        assert_eq!((never.status, &never.json()["error"]["code"]), (422, &json!("invalid_reply")));
        assert!(cli.asked()[0].contains("\"required\":[\"a\"]"), "{:?}", cli.asked());
        server.stop();
    }
}

#[test]
fn a_schema_that_is_none_is_refused_with_its_place() {
    let server = Options::new().start();
    let param = |fields: Value| server.post(PATH, &ask(fields)).json()["error"]["param"].clone();
    let broken = json!({"type": "object", "properties": 5});
    let format = json!({"type": "json_schema", "name": "x", "schema": broken});
    assert_eq!(param(json!({"text": {"format": format}})), "text.format.schema");
    let tool = json!({"type": "function", "name": "f", "parameters": broken});
    assert_eq!(param(json!({"tools": [tool]})), "tools[0].parameters");
    server.stop();
}

#[test]
fn a_call_goes_out_as_an_item_and_its_output_comes_back_as_one() {
    let parameters = json!({"type": "object", "properties": {"city": {"type": "string"}}});
    let tool = json!({"type": "function", "name": "weather", "parameters": parameters, "strict": true});
    let called = r#"I look. {"tool_calls": [{"name": "weather", "arguments": {"city": "Oslo"}}]}"#;
    for stream in [false, true] {
        let cli = Scripted::replying(&[called, "It rains."]);
        let server = cli.start();
        let mut input = vec![json!({"role": "user", "content": "Umbrella?"})];
        let next = |input: &[Value]| {
            let reply = server.post(PATH, &ask(json!({"stream": stream, "input": input, "tools": [tool]})));
            if stream { events(&reply).pop().unwrap()["response"].take() } else { reply.json() }
        };
        let first = next(&input);
        let [message, call] = first["output"].as_array().unwrap().as_slice() else { panic!("{first}") };
        assert_eq!(message["content"][0]["text"], "I look.");
        assert_eq!((&call["type"], &call["name"]), (&json!("function_call"), &json!("weather")));
        assert_eq!(call["arguments"], "{\"city\":\"Oslo\"}");
        assert_eq!(first["status"], "completed");
        input.extend([message.clone(), call.clone()]);
        input.push(json!({"type": "function_call_output", "call_id": call["call_id"], "output": "rain, 4 °C"}));
        assert_eq!(text(&next(&input)), "It rains.");
        let asked = cli.asked();
        assert!(asked[0].contains("weather") && !asked[0].contains("rain, 4 °C"), "{asked:?}");
        for part in ["Umbrella?", "I look.", "{\"city\":\"Oslo\"}", "rain, 4 °C", call["call_id"].as_str().unwrap()] {
            assert!(asked[1].contains(part), "{part} is not in {:?}", asked[1]);
        }
        server.stop();
    }
}

#[test]
fn what_this_server_does_not_do_is_refused_before_any_turn() {
    let server = Options::new().start();
    let image = json!([{"role": "user", "content": [{"type": "input_image", "image_url": "data:"}]}]);
    for (fields, param, words) in [
        (json!({"store": true}), "store", "does not store responses"),
        (json!({"background": true}), "background", "not supported"),
        (json!({"previous_response_id": "resp_1"}), "previous_response_id", "does not store responses"),
        (json!({"conversation": {"id": "conv_1"}}), "conversation", "does not store conversations"),
        (json!({"prompt": {"id": "pmpt_1"}}), "prompt", "does not store prompts"),
        (json!({"input": [{"type": "item_reference", "id": "msg_1"}]}), "input[0]", "store: false"),
        (json!({"input": image}), "input[0].content[0]", "input_image"),
        (json!({"input": []}), "input", "no text"),
        (json!({"tools": [{"type": "web_search"}]}), "tools[0].type", "web_search"),
        (json!({"tool_choice": "sometimes"}), "tool_choice", "required"),
        (json!({"text": {"format": {"type": "xml"}}}), "text.format.type", "xml"),
        (json!({"temperature": "hot"}), "temperature", "hot"),
        (json!({"metadata": {"job": 7}}), "metadata.job", "7"),
        (json!({"stream": "yes"}), "stream", "yes"),
    ] {
        let reply = server.post(PATH, &ask(fields));
        let error = &reply.json()["error"];
        assert_eq!((reply.status, error["param"].as_str()), (400, Some(param)), "{reply:?}");
        assert!(error["message"].as_str().unwrap().contains(words), "{error}");
        assert_eq!(reply.header("x-should-retry"), Some("false"));
    }
    for reply in [server.get("/v1/responses/resp_1"), server.delete("/v1/responses/resp_1")] {
        assert_eq!((reply.status, &reply.json()["error"]["code"]), (404, &json!("response_not_found")));
        assert!(reply.body.contains("does not store responses"), "{reply:?}");
    }
    assert_eq!(server.health()["turns"], 0);
    server.stop();
}

#[test]
fn an_error_of_the_api_has_its_own_status_even_for_a_stream() {
    for stream in [false, true] {
        let server = Options::new().mock(&["--mock-recording=2.1.330/api-error-529"]).start();
        let reply = server.post(PATH, &ask(json!({"stream": stream})));
        assert_eq!((reply.status, &reply.json()["error"]["code"]), (503, &json!("upstream_overloaded")), "{reply:?}");
        assert!(reply.header("retry-after").is_some());
        server.stop();
    }
}

#[test]
fn a_crash_in_a_stream_is_an_error_that_clients_raise_and_then_a_failed_response() {
    let cli = Scripted::new(&[vec![words("It ra")]]).crashing();
    let server = cli.start();
    let events = events(&server.post(PATH, &ask(json!({"stream": true}))));
    let [.., delta, error, failed] = events.as_slice() else { panic!("{events:?}") };
    assert_eq!((&delta["type"], &delta["delta"]), (&json!("response.output_text.delta"), &json!("It ra")));
    assert_eq!((&error["type"], &error["code"]), (&json!("error"), &json!("cli_failed")));
    assert_eq!(error["error"]["message"], error["message"]);
    assert_eq!((&failed["type"], &failed["response"]["status"]), (&json!("response.failed"), &json!("failed")));
    assert_eq!(failed["response"]["error"]["code"], "server_error");
    server.stop();
}

#[test]
fn a_client_that_leaves_a_stream_ends_its_turn() {
    let server = Options::new().mock(&["--mock-recording=long-reply", "--mock-pace=recorded"]).start();
    let (stream, read) = server.stream_from(PATH, &ask(json!({"stream": true})), "response.output_text.delta");
    assert!(!read.contains("response.completed"), "{read}");
    assert_eq!(server.health()["invokers"]["busy"], 1);
    drop(stream);
    until("the turn has ended", || server.health()["invokers"]["busy"] == 0);
    assert_eq!(server.post(PATH, &ask(json!({}))).status, 200);
    server.stop();
}
