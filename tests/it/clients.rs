//! A real client, `async-openai`, against the real server. The clients of other languages are in `tests/clients`.

use async_openai::Client;
use async_openai::config::OpenAIConfig;
use async_openai::error::{ApiErrorResponse, OpenAIError, WrappedError};
use async_openai::types::chat::{
    ChatCompletionMessageToolCalls, CreateChatCompletionRequest, CreateChatCompletionResponse, FinishReason,
};
use futures_util::StreamExt;
use serde_json::{Value, json};

use crate::support::{Options, Server, until};

fn client(server: &Server) -> Client<OpenAIConfig> {
    Client::with_config(OpenAIConfig::new().with_api_base(format!("http://{}/v1", server.address)).with_api_key("none"))
}

/// A request of the client's own type, so that what is sent is what the client makes of it.
fn request(prompt: &str, more: &Value) -> CreateChatCompletionRequest {
    let mut body = json!({"model": "haiku", "messages": [{"role": "user", "content": prompt}]});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    serde_json::from_value(body).unwrap()
}

async fn ask(server: &Server, prompt: &str, more: Value) -> Result<CreateChatCompletionResponse, OpenAIError> {
    client(server).chat().create(request(prompt, &more)).await
}

#[track_caller]
fn refused(result: Result<CreateChatCompletionResponse, OpenAIError>) -> ApiErrorResponse {
    match result {
        Err(OpenAIError::ApiError(error)) => error,
        other => panic!("no error of the API: {other:?}"),
    }
}

fn weather() -> Value {
    let parameters = json!({"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]});
    json!([{"type": "function", "function": {"name": "get_weather", "parameters": parameters}}])
}

fn person() -> Value {
    let properties = json!({"name": {"type": "string"}, "age": {"type": "integer"}});
    let schema = json!({"type": "object", "properties": properties, "required": ["name", "age"]});
    json!({"type": "json_schema", "json_schema": {"name": "person", "strict": true, "schema": schema}})
}

#[tokio::test]
async fn a_whole_reply_is_read_with_its_usage() {
    let server = Options::new().start();
    let reply = ask(&server, "[[answer:echo]] hello", json!({})).await.unwrap();
    assert_eq!(reply.choices[0].message.content.as_deref(), Some("[[answer:echo]] hello"));
    assert_eq!(reply.choices[0].finish_reason, Some(FinishReason::Stop));
    let usage = reply.usage.unwrap();
    assert!(usage.prompt_tokens > 0 && usage.completion_tokens > 0, "{usage:?}");
    assert_eq!(usage.total_tokens, usage.prompt_tokens + usage.completion_tokens);
    server.stop();
}

#[tokio::test]
async fn a_stream_is_read_to_its_usage() {
    let server = Options::new().start();
    let asked = request("[[answer:echo]] hello there", &json!({"stream_options": {"include_usage": true}}));
    let mut stream = client(&server).chat().create_stream(asked).await.unwrap();
    let (mut text, mut finish, mut usage) = (String::new(), None, None);
    while let Some(chunk) = stream.next().await {
        let chunk = chunk.unwrap();
        usage = chunk.usage.or(usage);
        for choice in chunk.choices {
            text.push_str(choice.delta.content.as_deref().unwrap_or_default());
            finish = choice.finish_reason.or(finish);
        }
    }
    assert_eq!((text.as_str(), finish), ("[[answer:echo]] hello there", Some(FinishReason::Stop)));
    let usage = usage.expect("a chunk with the usage");
    assert_eq!(usage.total_tokens, usage.prompt_tokens + usage.completion_tokens);
    server.stop();
}

#[tokio::test]
async fn a_schema_gives_an_instance_of_it() {
    let server = Options::new().start();
    let reply = ask(&server, "[[answer:schema+fenced]] Ada", json!({"response_format": person()})).await.unwrap();
    let person: Value = serde_json::from_str(reply.choices[0].message.content.as_deref().unwrap()).unwrap();
    assert!(person["name"].is_string() && person["age"].is_i64(), "{person}");
    server.stop();
}

#[tokio::test]
async fn a_function_is_called_and_its_answer_read() {
    let server = Options::new().start();
    let question = "[[answer:auto]] the weather in Paris?";
    let first = ask(&server, question, json!({"tools": weather()})).await.unwrap();
    assert_eq!(first.choices[0].finish_reason, Some(FinishReason::ToolCalls));
    let calls = first.choices[0].message.tool_calls.clone().unwrap();
    let [ChatCompletionMessageToolCalls::Function(call)] = &calls[..] else { panic!("{calls:?}") };
    assert_eq!(call.function.name, "get_weather");
    let arguments: Value = serde_json::from_str(&call.function.arguments).unwrap();
    assert!(arguments["city"].is_string(), "{arguments}");

    let conversation = json!([
        {"role": "user", "content": question},
        {"role": "assistant", "tool_calls": calls},
        {"role": "tool", "tool_call_id": call.id, "content": "[[answer:echo]] 21 degrees"},
    ]);
    let second = ask(&server, "", json!({"tools": weather(), "messages": conversation})).await.unwrap();
    assert_eq!(second.choices[0].finish_reason, Some(FinishReason::Stop));
    assert!(second.choices[0].message.content.as_deref().is_some_and(|text| text.contains("weather in Paris")));
    server.stop();
}

#[tokio::test]
async fn models_are_listed_and_each_can_be_looked_up() {
    let server = Options::new().flags(&["--model-alias", "gpt-4o-mini=haiku"]).start();
    let models = client(&server).models().list().await.unwrap();
    let ids: Vec<&str> = models.data.iter().map(|model| model.id.as_str()).collect();
    assert!(ids.contains(&"haiku") && ids.contains(&"gpt-4o-mini"), "{ids:?}");
    for id in ids {
        assert_eq!(client(&server).models().retrieve(id).await.unwrap().id, id);
    }
    server.stop();
}

/// The statuses of all completions so far, in order.
fn statuses(server: &Server) -> Vec<u64> {
    let log = server.log();
    let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines
        .filter(|line| line["fields"]["message"] == "request" && line["fields"]["method"] == "POST")
        .filter_map(|line| line["fields"]["status"].as_u64())
        .collect()
}

/// The client reads an error only if all of its fields have the right types; of an error of the server's it reads the
/// status alone, and keeps the rest as it is. Those it tries three times more.
#[tokio::test]
async fn each_refusal_is_read_as_an_error_of_the_api_and_tried_again_where_that_makes_sense() {
    let server = Options::new().flags(&["--turn-timeout", "0.3"]).start();
    let cases = [
        ("hello", json!({"n": 2}), vec![400], "invalid_value", Some("n")),
        ("hello", json!({"model": "nope"}), vec![404], "model_not_found", Some("model")),
        ("[[answer:wrong-always]] Ada", json!({"response_format": person()}), vec![422], "invalid_reply", None),
        ("[[answer:api-error=500]] hello", json!({}), vec![502; 4], "upstream_error", None),
        ("[[answer:text+slow=60000]] hello", json!({}), vec![504; 4], "deadline_exceeded", None),
    ];
    let mut seen = 0;
    for (prompt, more, wanted, code, param) in cases {
        let mut error = refused(ask(&server, prompt, more).await);
        assert_eq!(u64::from(error.status_code.as_u16()), wanted[0], "{prompt}: {error}");
        if error.status_code.is_server_error() {
            error.api_error = serde_json::from_str::<WrappedError>(&error.api_error.message).unwrap().error;
        }
        assert_eq!(error.api_error.code.as_deref(), Some(code), "{prompt}: {error}");
        assert_eq!(error.api_error.param.as_deref(), param, "{prompt}: {error}");
        assert!(error.api_error.r#type.is_some() && !error.api_error.message.is_empty(), "{prompt}: {error}");
        until("every try is logged", || statuses(&server).len() >= seen + wanted.len());
        assert_eq!(statuses(&server)[seen..], wanted, "{prompt}");
        seen += wanted.len();
    }
    server.stop();
}

#[tokio::test]
async fn a_limit_is_waited_for() {
    let server = Options::new().start();
    assert_eq!(server.ask("[[answer:rate-limit=1]] somebody else").status, 429);
    let reply = ask(&server, "[[answer:echo]] hello", json!({})).await.unwrap();
    assert_eq!(reply.choices[0].message.content.as_deref(), Some("[[answer:echo]] hello"));
    until("every try is logged", || statuses(&server).len() >= 3);
    assert_eq!(statuses(&server), [429, 429, 200], "one try too early, one after Retry-After");
    server.stop();
}

#[tokio::test]
async fn a_wrong_key_is_read_as_an_error_of_the_api() {
    let server = Options::new().flags(&["--api-key", "right"]).start();
    let error = refused(ask(&server, "hello", json!({})).await);
    assert_eq!(error.status_code.as_u16(), 401);
    assert_eq!(error.api_error.code.as_deref(), Some("invalid_api_key"));
    server.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_stream_that_is_dropped_ends_its_turn() {
    let server = Options::new().start();
    let asked = request("[[answer:text+drip=60000]] hello", &json!({}));
    let mut stream = client(&server).chat().create_stream(asked).await.unwrap();
    stream.next().await.unwrap().unwrap();
    assert_eq!(server.health()["invokers"]["busy"], 1);
    drop(stream);
    until("nobody is busy", || server.health()["invokers"]["busy"] == 0);
    let next = ask(&server, "[[answer:echo]] next", json!({})).await.unwrap();
    assert_eq!(next.choices[0].message.content.as_deref(), Some("[[answer:echo]] next"));
    server.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_request_that_is_dropped_in_the_queue_takes_no_turn() {
    let server = Options::new().start();
    let holder = request("[[answer:text+drip=60000]] hello", &json!({}));
    let mut holder = client(&server).chat().create_stream(holder).await.unwrap();
    holder.next().await.unwrap().unwrap();

    let mut queued = Box::pin(ask(&server, "hello", json!({})));
    let mut waited = false;
    while !waited {
        tokio::select! {
            reply = &mut queued => panic!("it did not wait: {reply:?}"),
            () = tokio::task::yield_now() => waited = server.health()["queue"]["waiting"] == 1,
        }
    }
    drop(queued);
    until("nobody waits", || server.health()["queue"]["waiting"] == 0);
    drop(holder);
    until("nobody is busy", || server.health()["invokers"]["busy"] == 0);
    assert_eq!(server.health()["turns"], 1, "only the holder had a turn");
    server.stop();
}
