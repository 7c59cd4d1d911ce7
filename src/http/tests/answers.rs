//! Structured output, functions, models, parameters: what a request may ask for beyond plain text.

use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use serde_json::{Value, json};

use super::support::{Answer, Client, Server, Setup, done, get, post, soon};
use crate::turn::Prompt;

const PATH: &str = "/v1/chat/completions";

/// A server whose turns are answered with these replies in order, the last one again and again; and what it was asked.
async fn replying(replies: &[&str], setup: impl FnOnce(Setup) -> Setup) -> (Server, Arc<Mutex<Vec<Prompt>>>) {
    let prompts = Arc::new(Mutex::new(Vec::new()));
    let (seen, replies) = (Arc::clone(&prompts), replies.iter().map(|&reply| reply.to_owned()).collect::<Vec<_>>());
    let scripted = Setup::scripted(move |prompt| {
        let mut seen = seen.lock().unwrap();
        let reply = replies.get(seen.len()).or(replies.last()).unwrap();
        seen.push(prompt);
        Answer::Events(vec![done(reply, "")])
    });
    (setup(scripted).start().await, prompts)
}

fn body(fields: &Value) -> String {
    let mut body = json!({"messages": [{"role": "user", "content": "x"}]});
    body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    body.to_string()
}

fn integer(strict: &Value, stream: bool) -> String {
    let schema = json!({"type": "object", "required": ["a"], "properties": {"a": {"type": "integer"}}});
    let format = json!({"type": "json_schema", "json_schema": {"name": "x", "strict": strict, "schema": schema}});
    body(&json!({"stream": stream, "response_format": format}))
}

#[tokio::test]
async fn a_reply_of_the_wrong_shape_is_asked_for_again_whole_and_streamed() {
    for stream in [false, true] {
        let (server, prompts) = replying(&["Sorry?", "```json\n{\"a\": 7}\n```"], |setup| setup).await;
        let reply = server.complete(&integer(&json!(true), stream)).await;
        assert_eq!(reply.status, 200);
        let text = if stream {
            let chunks = reply.events().into_iter().filter_map(|event| serde_json::from_str::<Value>(&event).ok());
            chunks.filter_map(|chunk| Some(chunk["choices"][0]["delta"]["content"].as_str()?.to_owned())).collect()
        } else {
            reply.json()["choices"][0]["message"]["content"].as_str().unwrap().to_owned()
        };
        assert_eq!(text, "{\"a\": 7}");
        let prompts = prompts.lock().unwrap();
        assert_eq!(prompts.len(), 2);
        assert!(prompts[1].text.contains("Sorry?") && prompts[1].text.contains("not JSON"), "{}", prompts[1].text);
        assert!(prompts.iter().all(|prompt| !prompt.streamed), "nothing is passed on before it was checked");
    }
}

#[tokio::test]
async fn a_reply_that_never_fits_is_an_error_of_its_own_and_not_tried_again() {
    for stream in [false, true] {
        let (server, prompts) = replying(&["{\"a\": \"no\"}"], |setup| setup).await;
        let reply = server.complete(&integer(&Value::Null, stream)).await;
        assert_eq!((reply.status, reply.error_code().as_str()), (422, "invalid_reply"));
        assert_eq!(reply.headers["x-should-retry"], "false");
        let message = reply.json()["error"]["message"].as_str().unwrap().to_owned();
        assert!(message.contains("`/a`"), "{message}");
        assert_eq!(prompts.lock().unwrap().len(), 2);
    }
}

#[tokio::test]
async fn a_reply_that_need_not_fit_is_passed_on_with_a_mark() {
    let (server, _) = replying(&["no"], |setup| setup).await;
    let reply = server.complete(&integer(&json!(false), false)).await.json();
    assert_eq!(reply["choices"][0]["message"]["content"], "no");
    assert!(reply["schema_error"].as_str().unwrap().contains("not JSON"), "{reply}");
}

#[tokio::test]
async fn a_schema_that_is_none_is_refused_before_any_turn() {
    let (server, prompts) = replying(&["{}"], |setup| setup).await;
    let schema = json!({"$ref": "http://127.0.0.1:9/schema"});
    let format = json!({"type": "json_schema", "json_schema": {"name": "x", "schema": schema}});
    let reply = server.complete(&body(&json!({"response_format": format}))).await;
    assert_eq!(
        (reply.status, reply.json()["error"]["param"].clone()),
        (400, "response_format.json_schema.schema".into())
    );
    assert!(prompts.lock().unwrap().is_empty());
}

#[tokio::test]
async fn comments_fill_the_silence_between_a_reply_and_the_next_one() {
    let setup = Setup::by_hand().limits(|limits| limits.keep_alive = Duration::from_millis(20));
    let mut server = setup.start().await;
    let mut client = Client::connect(server.address).await;
    client.send(&post(PATH, "", &integer(&json!(true), true))).await;
    let first = server.turn().await;
    soon(async { while client.line().await != ": still working" {} }).await;
    first.send(done("no", "")).await.unwrap();
    let second = server.turn().await;
    soon(async { while client.line().await != ": still working" {} }).await;
    second.send(done("{\"a\": 1}", "")).await.unwrap();
    let rest = String::from_utf8(client.rest().await).unwrap();
    assert!(rest.contains("[DONE]"), "{rest}");
}

#[tokio::test]
async fn a_client_that_leaves_between_two_turns_gives_up_the_second() {
    let mut server = Setup::by_hand().start().await;
    let mut client = Client::connect(server.address).await;
    client.send(&post(PATH, "", &integer(&json!(true), false))).await;
    server.turn().await.send(done("no", "")).await.unwrap();
    let second = server.turn().await;
    drop(client);
    soon(second.closed()).await;
}

#[tokio::test]
async fn functions_are_called_whole_and_streamed() {
    let parameters = json!({"type": "object", "required": ["city"], "properties": {"city": {"type": "string"}}});
    let tools = json!([{"type": "function", "function": {"name": "weather", "parameters": parameters}}]);
    let call = r#"{"tool_calls": [{"name": "weather", "arguments": {"city": "Wien"}}]}"#;
    for stream in [false, true] {
        let (server, _) = replying(&[call], |setup| setup).await;
        let reply = server.complete(&body(&json!({"stream": stream, "tools": tools}))).await;
        if stream {
            let events = reply.events();
            let chunks: Vec<Value> = events.iter().filter_map(|event| serde_json::from_str(event).ok()).collect();
            let deltas: Vec<&Value> =
                chunks.iter().map(|chunk| &chunk["choices"][0]["delta"]["tool_calls"][0]).collect();
            assert_eq!(deltas[1]["function"]["name"], "weather");
            assert_eq!(deltas[2]["function"]["arguments"], r#"{"city":"Wien"}"#);
            assert_eq!(chunks[3]["choices"][0]["finish_reason"], "tool_calls");
        } else {
            let choice = &reply.json()["choices"][0];
            assert_eq!(choice["message"]["tool_calls"][0]["function"]["arguments"], r#"{"city":"Wien"}"#);
            assert_eq!(choice["finish_reason"], "tool_calls");
        }
    }
}

#[tokio::test]
async fn what_can_not_be_honoured_is_named_in_a_header_or_refused() {
    for stream in [false, true] {
        let (server, _) = replying(&["x"], |setup| setup).await;
        let reply = server.complete(&body(&json!({"stream": stream, "seed": 7, "temperature": 0.5, "n": 1}))).await;
        assert_eq!(reply.headers["x-ccw-ignored"], "seed, temperature");
        let reply = server.complete(&body(&json!({"stream": stream, "temperature": 1}))).await;
        assert!(!reply.headers.contains_key("x-ccw-ignored"));
    }
    let (server, prompts) = replying(&["x"], |setup| setup.config(|config| config.strict_params = true)).await;
    let reply = server.complete(&body(&json!({"seed": 7}))).await;
    assert_eq!((reply.status, reply.error_code().as_str()), (400, "unsupported_parameter"));
    assert_eq!(reply.json()["error"]["param"], "seed");
    assert!(prompts.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_model_is_the_servers_own_another_one_or_unknown() {
    let (server, prompts) = replying(&["x"], |setup| setup).await;
    for (asked, told) in
        [("haiku", None), ("gpt-4o", None), ("large", Some("opus")), ("claude-x-9", Some("claude-x-9"))]
    {
        let reply = server.complete(&body(&json!({"model": asked}))).await;
        assert_eq!((reply.status, reply.json()["model"].clone()), (200, asked.into()));
        assert_eq!(prompts.lock().unwrap().last().unwrap().model.as_deref(), told, "{asked}");
    }
    let reply = server.complete(&body(&json!({"model": "gpt-5"}))).await;
    assert_eq!((reply.status, reply.error_code().as_str()), (404, "model_not_found"));
    let error = &reply.json()["error"];
    assert_eq!(error["param"], "model");
    assert!(error["message"].as_str().unwrap().contains("haiku, sonnet, opus, gpt-4o, m, large"), "{error}");

    let list = server.exchange(&get("/v1/models", "")).await.json();
    assert_eq!(list["data"][0]["id"], "haiku");
    assert_eq!(server.exchange(&get("/v1/models/large", "")).await.json()["owned_by"], "alias");
    assert_eq!(server.exchange(&get("/v1/models/gpt-5", "")).await.status, 404);
}
