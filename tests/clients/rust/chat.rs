//! Chat completions and models.

use async_openai::types::chat::{
    ChatChoice, ChatCompletionMessageToolCalls, CompletionUsage, CreateChatCompletionRequest,
    CreateChatCompletionResponse,
};
use futures_util::StreamExt;
use serde_json::{Value, json};

use crate::told::{Env, Operation, Person, RESULT, Result, city, counted, plain, streamed};

pub(crate) const OPERATIONS: &[(&str, Operation)] = &[
    ("text", |env| Box::pin(text(env))),
    ("usage", |env| Box::pin(text(env))),
    ("conversation", |env| Box::pin(conversation(env))),
    ("stream", |env| Box::pin(stream(env))),
    ("ignored", |env| Box::pin(ignored(env))),
    ("stop", |env| Box::pin(stop(env))),
    ("models", |env| Box::pin(models(env))),
    ("model_unknown", |env| Box::pin(model_unknown(env))),
    ("schema", |env| Box::pin(schema(env))),
    ("schema_stream", |env| Box::pin(schema_stream(env))),
    ("schema_lenient", |env| Box::pin(schema_lenient(env))),
    ("json_object", |env| Box::pin(json_object(env))),
    ("tools", |env| Box::pin(tools(env))),
    ("tools_stream", |env| Box::pin(tools_stream(env))),
    ("tools_required", |env| Box::pin(tools_required(env))),
    ("several", |env| Box::pin(several(env))),
    ("image", |env| Box::pin(image(env))),
];

/// A request of the client's own type, so that what is sent is what the client makes of it.
fn request(env: &Env, more: Value) -> Result<CreateChatCompletionRequest> {
    let mut body = json!({"model": env.given.model, "messages": [{"role": "user", "content": env.given.prompt}]});
    if let (Some(body), Value::Object(more)) = (body.as_object_mut(), more) {
        body.extend(more);
    }
    Ok(serde_json::from_value(body)?)
}

async fn ask(env: &Env, more: Value) -> Result<CreateChatCompletionResponse> {
    Ok(env.client()?.chat().create(request(env, more)?).await?)
}

fn first(reply: &CreateChatCompletionResponse) -> Result<&ChatChoice> {
    Ok(reply.choices.first().ok_or("a reply without a choice")?)
}

fn content(reply: &CreateChatCompletionResponse) -> Result<&str> {
    Ok(first(reply)?.message.content.as_deref().unwrap_or_default())
}

fn usage(usage: Option<&CompletionUsage>) -> String {
    counted(usage.map(|usage| (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens)))
}

async fn told(env: &Env, more: Value) -> Result<String> {
    let reply = ask(env, more).await?;
    let finish = plain(&first(&reply)?.finish_reason)?;
    Ok(format!("{} | {finish} | {}", content(&reply)?, usage(reply.usage.as_ref())))
}

async fn text(env: Env) -> Result<String> {
    told(&env, json!({})).await
}

async fn conversation(env: Env) -> Result<String> {
    let messages = json!([
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "Hello"}, {"type": "text", "text": "there"}]},
        {"role": "assistant", "content": "Hello!"},
        {"role": "user", "content": env.given.prompt, "name": "ada"},
    ]);
    Ok(content(&ask(&env, json!({"messages": messages})).await?)?.to_owned())
}

/// The pieces of a stream, why it ended, and the function calls that it held, put together.
struct Streamed {
    pieces: Vec<String>,
    finish: String,
    usage: String,
    called: Vec<(String, String)>,
}

async fn read_stream(env: &Env, more: Value) -> Result<Streamed> {
    let mut stream = env.client()?.chat().create_stream(request(env, more)?).await?;
    let (mut pieces, mut finish, mut counts) = (Vec::new(), None, None);
    let mut called: Vec<(String, String)> = Vec::new();
    while let Some(chunk) = stream.next().await {
        let chunk = chunk?;
        counts = chunk.usage.or(counts);
        for choice in chunk.choices {
            finish = choice.finish_reason.or(finish);
            if let Some(piece) = choice.delta.content.filter(|piece| !piece.is_empty()) {
                pieces.push(piece);
                env.piece()?;
            }
            for call in choice.delta.tool_calls.unwrap_or_default() {
                let place = call.index as usize;
                called.resize(called.len().max(place + 1), Default::default());
                let function = call.function.ok_or("a call without a function")?;
                called[place].0.push_str(&function.name.unwrap_or_default());
                called[place].1.push_str(&function.arguments.unwrap_or_default());
            }
        }
    }
    Ok(Streamed { pieces, finish: plain(&finish)?, usage: usage(counts.as_ref()), called })
}

async fn stream(env: Env) -> Result<String> {
    let read = read_stream(&env, json!({"stream_options": {"include_usage": true}})).await?;
    Ok(format!("{} | {} | {}", streamed(&read.pieces), read.finish, read.usage))
}

/// The client shows nobody the headers of a reply.
async fn ignored(env: Env) -> Result<String> {
    let reply =
        ask(&env, json!({"temperature": 0.1, "top_p": 0.5, "seed": 7, "max_tokens": 100, "user": "ada"})).await?;
    Ok(content(&reply)?.to_owned())
}

async fn stop(env: Env) -> Result<String> {
    let whole = ask(&env, json!({"stop": ["and", "world"]})).await?;
    let read = read_stream(&env, json!({"stop": "world"})).await?;
    let finish = plain(&first(&whole)?.finish_reason)?;
    Ok(format!("'{}', then '{}' | {finish}", content(&whole)?, read.pieces.concat()))
}

async fn models(env: Env) -> Result<String> {
    let client = env.client()?;
    let mut ids: Vec<String> = client.models().list().await?.data.into_iter().map(|model| model.id).collect();
    ids.sort();
    let one = client.models().retrieve(ids.first().ok_or("no models")?).await?;
    Ok(format!("{} | retrieved {}", ids.join(", "), one.id))
}

async fn model_unknown(env: Env) -> Result<String> {
    Ok(env.client()?.models().retrieve("nope").await?.id)
}

fn shape(strict: bool) -> Value {
    json!({"type": "json_schema", "json_schema": {"name": "Person", "strict": strict, "schema": Person::schema()}})
}

async fn schema(env: Env) -> Result<String> {
    let reply = ask(&env, json!({"response_format": shape(true)})).await?;
    // As the other clients' users learn it from an exception.
    match plain(&first(&reply)?.finish_reason)?.as_str() {
        "stop" => Person::read(content(&reply)?),
        other => Ok(format!("{} | {other}", content(&reply)?)),
    }
}

async fn schema_stream(env: Env) -> Result<String> {
    Person::read(&read_stream(&env, json!({"response_format": shape(true)})).await?.pieces.concat())
}

async fn schema_lenient(env: Env) -> Result<String> {
    Ok(content(&ask(&env, json!({"response_format": shape(false)})).await?)?.to_owned())
}

async fn json_object(mut env: Env) -> Result<String> {
    env.given.prompt.push_str(" in JSON");
    Ok(content(&ask(&env, json!({"response_format": {"type": "json_object"}})).await?)?.to_owned())
}

fn weather() -> Value {
    let function = json!({"name": "get_weather", "description": "The weather in a city", "parameters": city()});
    json!([{"type": "function", "function": function}])
}

fn calls(reply: &CreateChatCompletionResponse) -> Result<Vec<(String, String, String)>> {
    let calls = first(reply)?.message.tool_calls.iter().flatten();
    let told = calls.map(|call| match call {
        ChatCompletionMessageToolCalls::Function(call) => {
            let function = call.function.clone();
            Ok((call.id.clone(), function.name, function.arguments))
        }
        ChatCompletionMessageToolCalls::Custom(_) => Err("a call of no function".into()),
    });
    told.collect()
}

async fn tools(env: Env) -> Result<String> {
    let reply = ask(&env, json!({"tools": weather()})).await?;
    let calls = calls(&reply)?;
    let mut messages =
        vec![json!({"role": "user", "content": env.given.prompt}), serde_json::to_value(&first(&reply)?.message)?];
    messages.extend(calls.iter().map(|(id, ..)| json!({"role": "tool", "tool_call_id": id, "content": RESULT})));
    let second = ask(&env, json!({"messages": messages, "tools": weather()})).await?;
    let told: Vec<String> = calls.iter().map(|(_, name, arguments)| format!("{name}({arguments})")).collect();
    Ok(format!("{} | {} | {}", told.join(", "), plain(&first(&reply)?.finish_reason)?, content(&second)?))
}

async fn tools_stream(env: Env) -> Result<String> {
    let read = read_stream(&env, json!({"tools": weather()})).await?;
    let told: Vec<String> = read.called.iter().map(|(name, arguments)| format!("{name}({arguments})")).collect();
    Ok(format!("{} | {}", told.join(", "), read.finish))
}

async fn tools_required(env: Env) -> Result<String> {
    let named = json!({"type": "function", "function": {"name": "get_weather"}});
    let mut told = Vec::new();
    for (what, choice) in [("required", json!("required")), ("named", named), ("none", json!("none"))] {
        let reply = ask(&env, json!({"tools": weather(), "tool_choice": choice})).await?;
        let called: Vec<String> = calls(&reply)?.into_iter().map(|(_, name, _)| format!("'{name}'")).collect();
        told.push(format!("{what}: [{}]", called.join(", ")));
    }
    Ok(told.join(", "))
}

async fn several(env: Env) -> Result<String> {
    told(&env, json!({"n": 2})).await
}

async fn image(env: Env) -> Result<String> {
    let image = json!({"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw=="}});
    let parts = json!([{"type": "text", "text": env.given.prompt}, image]);
    told(&env, json!({"messages": [{"role": "user", "content": parts}]})).await
}
