//! The Responses API.

use async_openai::types::responses::{CreateResponse, FunctionToolCall, OutputItem, Response, ResponseStreamEvent};
use futures_util::StreamExt;
use serde_json::{Value, json};

use crate::told::{Env, Operation, Person, RESULT, Result, city, counted, plain, streamed};

pub(crate) const OPERATIONS: &[(&str, Operation)] = &[
    ("responses", |env| Box::pin(text(env))),
    ("responses_stream", |env| Box::pin(stream(env))),
    ("responses_parse", |env| Box::pin(parse(env))),
    ("responses_parse_stream", |env| Box::pin(parse_stream(env))),
    ("responses_tools", |env| Box::pin(tools(env))),
    ("responses_tools_stream", |env| Box::pin(tools_stream(env))),
    ("responses_stored", |env| Box::pin(stored(env))),
    ("responses_previous", |env| Box::pin(previous(env))),
];

/// A request of the client's own type, so that what is sent is what the client makes of it.
fn request(env: &Env, more: Value) -> Result<CreateResponse> {
    let mut body = json!({"model": env.given.model, "input": env.given.prompt});
    if let (Some(body), Value::Object(more)) = (body.as_object_mut(), more) {
        body.extend(more);
    }
    Ok(serde_json::from_value(body)?)
}

async fn ask(env: &Env, more: Value) -> Result<Response> {
    Ok(env.client()?.responses().create(request(env, more)?).await?)
}

fn ending(reply: &Response) -> Result<String> {
    let usage = reply.usage.as_ref().map(|usage| (usage.input_tokens, usage.output_tokens, usage.total_tokens));
    Ok(format!("{} | {}", plain(&reply.status)?, counted(usage)))
}

async fn told(env: &Env, more: Value) -> Result<String> {
    let reply = ask(env, more).await?;
    Ok(format!("{} | {}", reply.output_text().unwrap_or_default(), ending(&reply)?))
}

async fn text(env: Env) -> Result<String> {
    told(&env, json!({"instructions": "Be brief."})).await
}

/// The pieces of a stream, how many calls it said were done, and the response that ends it.
struct Streamed {
    pieces: Vec<String>,
    done: usize,
    last: Response,
}

async fn read_stream(env: &Env, more: Value) -> Result<Streamed> {
    let mut stream = env.client()?.responses().create_stream(request(env, more)?).await?;
    let (mut pieces, mut done, mut last) = (Vec::new(), 0, None);
    while let Some(event) = stream.next().await {
        match event? {
            ResponseStreamEvent::ResponseOutputTextDelta(event) => {
                pieces.push(event.delta);
                env.piece()?;
            }
            ResponseStreamEvent::ResponseFunctionCallArgumentsDone(_) => done += 1,
            ResponseStreamEvent::ResponseCompleted(event) => last = Some(event.response),
            ResponseStreamEvent::ResponseIncomplete(event) => last = Some(event.response),
            ResponseStreamEvent::ResponseFailed(event) => last = Some(event.response),
            _ => {}
        }
    }
    Ok(Streamed { pieces, done, last: last.ok_or("a stream without an end")? })
}

async fn stream(env: Env) -> Result<String> {
    let read = read_stream(&env, json!({})).await?;
    Ok(format!("{} | {}", streamed(&read.pieces), ending(&read.last)?))
}

fn shape() -> Value {
    json!({"text": {"format": {"type": "json_schema", "name": "Person", "strict": true, "schema": Person::schema()}}})
}

async fn parse(env: Env) -> Result<String> {
    Person::read(&ask(&env, shape()).await?.output_text().unwrap_or_default())
}

async fn parse_stream(env: Env) -> Result<String> {
    Person::read(&read_stream(&env, shape()).await?.pieces.concat())
}

fn weather() -> Value {
    let description = "The weather in a city";
    json!([{"type": "function", "name": "get_weather", "description": description, "strict": true, "parameters": city()}])
}

fn calls(reply: &Response) -> Vec<&FunctionToolCall> {
    let items = reply.output.iter();
    items.filter_map(|item| if let OutputItem::FunctionCall(call) = item { Some(call) } else { None }).collect()
}

fn called(reply: &Response) -> String {
    let told: Vec<String> = calls(reply).iter().map(|call| format!("{}({})", call.name, call.arguments)).collect();
    told.join(", ")
}

async fn tools(env: Env) -> Result<String> {
    let first = ask(&env, json!({"tools": weather()})).await?;
    let mut input = vec![json!({"type": "message", "role": "user", "content": env.given.prompt})];
    for item in &first.output {
        input.push(serde_json::to_value(item)?);
    }
    let answers = calls(&first);
    input.extend(
        answers.iter().map(|c| json!({"type": "function_call_output", "call_id": c.call_id, "output": RESULT})),
    );
    let second = ask(&env, json!({"input": input, "tools": weather()})).await?;
    Ok(format!("{} | {}", called(&first), second.output_text().unwrap_or_default()))
}

async fn tools_stream(env: Env) -> Result<String> {
    let read = read_stream(&env, json!({"tools": weather()})).await?;
    Ok(format!("{} | {} done", called(&read.last), read.done))
}

async fn stored(env: Env) -> Result<String> {
    told(&env, json!({"store": true})).await
}

async fn previous(env: Env) -> Result<String> {
    told(&env, json!({"previous_response_id": "resp_1"})).await
}
