//! Chat completions.

use serde_json::Value;

use super::content::content_text;
use super::params;
use crate::answer::{self, Answer, Call, ChatRequest, Entry, Finish, Invalid, JsonFormat, ReplyFormat, Speaker, Tool};
use crate::openai::chat::{
    ChatCompletion, ChatCompletionRequest, Choice, Chunk, ChunkChoice, ChunkUsage, Delta, FinishReason, FunctionCall,
    FunctionDelta, Message, PromptTokensDetails, ReplyMessage, ResponseFormat, Role, ToolCall, ToolCallDelta,
    ToolDefinition, Usage,
};
use crate::turn;

mod results;

#[cfg(test)]
mod tests;

/// Server version in each reply.
const FINGERPRINT: &str = concat!("ccw-", env!("CARGO_PKG_VERSION"));

/// Translates a request.
pub fn chat_request(request: ChatCompletionRequest) -> Result<ChatRequest, Invalid> {
    if request.n.is_some_and(|n| n != 1) {
        return Err(Invalid::new("n", "only one choice is supported: remove `n`, or set it to 1"));
    }
    let streamed = request.stream.unwrap_or(false);
    if request.stream_options.is_some() && !streamed {
        return Err(Invalid::new(
            "stream_options",
            "`stream_options` needs `stream: true`: set it, or remove `stream_options`",
        ));
    }
    params::check_model(request.model.as_deref())?;
    let conversation = read_conversation(request.messages)?;
    let ignored = params::ignored_params(&request.rest)?;
    let format = request.response_format.map(read_format).transpose()?.flatten();
    let tools = read_tools(request.tools.unwrap_or_default())?;
    let reply_format = match (tools.is_empty(), read_choice(request.tool_choice.as_ref())?) {
        (true, Some(answer::Choice::Named(_) | answer::Choice::Required)) => {
            return Err(Invalid::new("tool_choice", "`tool_choice` needs `tools`"));
        }
        (false, Some(choice)) => {
            params::tools_format(tools, choice, request.parallel_tool_calls.unwrap_or(true), format)?
        }
        (true, _) | (_, None) => format.map_or(ReplyFormat::Text, ReplyFormat::Json),
    };
    Ok(params::without_stops_for_json(ChatRequest {
        model: request.model,
        conversation,
        reply_format,
        stop: params::read_stops(request.stop.as_ref())?,
        streamed,
        ignored,
    }))
}

fn read_conversation(messages: Vec<Message>) -> Result<Vec<Entry>, Invalid> {
    if messages.is_empty() {
        return Err(Invalid::new("messages", "`messages` is empty: send at least one message"));
    }
    let mut conversation = Vec::with_capacity(messages.len());
    for (index, message) in messages.into_iter().enumerate() {
        conversation.push(read_message(&format!("messages[{index}]"), message)?);
    }
    if conversation.iter().all(|entry| entry.text.trim().is_empty() && entry.calls.is_empty()) {
        return Err(Invalid::new("messages", "the messages contain no text"));
    }
    results::check_results(&conversation)?;
    Ok(conversation)
}

fn read_message(place: &str, message: Message) -> Result<Entry, Invalid> {
    let Message { role, name, content, refusal, tool_calls, tool_call_id } = message;
    let calls = tool_calls.unwrap_or_default();
    if role != Role::Assistant && !calls.is_empty() {
        return Err(Invalid::new(format!("{place}.tool_calls"), "only assistant messages can have `tool_calls`"));
    }
    let text = match content {
        Some(content) => content_text(&format!("{place}.content"), content, &["text"])?,
        None if !calls.is_empty() => String::new(),
        None => refusal.ok_or_else(|| {
            let param = format!("{place}.content");
            let message = format!("`{param}` is missing or null");
            Invalid::missing(param, message)
        })?,
    };
    let speaker = match role {
        Role::System | Role::Developer => Speaker::System,
        Role::User => Speaker::User,
        Role::Assistant => Speaker::Assistant,
        Role::Tool => {
            let missing = "a tool message needs the id of the call that it answers";
            let call = tool_call_id.ok_or_else(|| Invalid::missing(format!("{place}.tool_call_id"), missing))?;
            Speaker::Tool { call }
        }
    };
    let calls = calls.into_iter().map(|ToolCall { id, function: FunctionCall { name, arguments }, .. }| {
        let arguments = if arguments.is_empty() { "{}".to_owned() } else { arguments };
        Call { id, name, arguments }
    });
    Ok(Entry { speaker, name, text, calls: calls.collect() })
}

fn read_format(given: ResponseFormat) -> Result<Option<JsonFormat>, Invalid> {
    const SCHEMA: &str = "response_format.json_schema.schema";
    match given.kind.as_str() {
        "text" => Ok(None),
        "json_object" => Ok(Some(JsonFormat { schema: None, lenient: false, param: "response_format" })),
        "json_schema" => {
            let Some(given) = given.json_schema else {
                let message = "the type `json_schema` needs a `json_schema`";
                return Err(Invalid::missing("response_format.json_schema", message));
            };
            params::check_schema_name("response_format.json_schema.name", given.name.as_deref())?;
            let Some(schema) = given.schema else {
                return Err(Invalid::missing(SCHEMA, "`json_schema` needs a `schema`"));
            };
            Ok(Some(JsonFormat { schema: Some(schema), lenient: given.strict == Some(false), param: SCHEMA }))
        }
        other => {
            let message = format!("unknown format {other:?}: use `text`, `json_object` or `json_schema`");
            Err(Invalid::new("response_format.type", message))
        }
    }
}

fn read_tools(given: Vec<ToolDefinition>) -> Result<Vec<Tool>, Invalid> {
    let tools = given.into_iter().enumerate().map(|(index, ToolDefinition { kind, function })| {
        let place = format!("tools[{index}]");
        if kind != "function" {
            let message = format!("tools of type {kind:?} are not supported: use functions");
            return Err(Invalid::new(format!("{place}.type"), message));
        }
        let missing = || Invalid::missing(format!("{place}.function"), "this tool has no `function`");
        let function = function.ok_or_else(missing)?;
        let parameters = function.parameters.filter(|schema| !schema.is_null());
        let param = format!("{place}.function.parameters");
        Ok(Tool { name: function.name, description: function.description, parameters, param })
    });
    tools.collect()
}

/// Reads `tool_choice`; none if no function may be called.
fn read_choice(given: Option<&Value>) -> Result<Option<answer::Choice>, Invalid> {
    let named = |choice: &Value| choice.pointer("/function/name").and_then(Value::as_str).map(str::to_owned);
    Ok(match given.unwrap_or(&Value::Null) {
        Value::Null => Some(answer::Choice::Auto),
        Value::String(word) if word == "auto" => Some(answer::Choice::Auto),
        Value::String(word) if word == "required" => Some(answer::Choice::Required),
        Value::String(word) if word == "none" => None,
        other => Some(answer::Choice::Named(named(other).ok_or_else(no_choice)?)),
    })
}

fn no_choice() -> Invalid {
    let message =
        r#"`tool_choice` must be "none", "auto", "required" or {"type": "function", "function": {"name": "…"}}"#;
    Invalid::new("tool_choice", message)
}

/// Fields that all chunks of a reply share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// `chatcmpl-…`.
    pub id: String,
    /// When the request arrived, in unix seconds.
    pub created: u64,
    /// The model that the request named.
    pub model: String,
    /// Whether a streamed reply carries token counts.
    pub include_usage: bool,
}

impl Reply {
    /// The reply as a single object.
    #[must_use]
    pub fn to_completion(self, answer: Answer) -> ChatCompletion {
        let content = (!answer.text.is_empty() || answer.calls.is_empty()).then_some(answer.text);
        let tool_calls = answer.calls.into_iter().map(|Call { id, name, arguments }| ToolCall {
            id,
            kind: "function".to_owned(),
            function: FunctionCall { name, arguments },
        });
        ChatCompletion {
            id: self.id,
            object: "chat.completion",
            created: self.created,
            model: self.model,
            choices: [Choice {
                index: 0,
                finish_reason: finish_reason(answer.finish),
                message: ReplyMessage {
                    role: "assistant",
                    content,
                    refusal: None,
                    tool_calls: tool_calls.collect(),
                    annotations: [],
                },
                logprobs: None,
            }],
            usage: usage_of(answer.usage),
            system_fingerprint: FINGERPRINT,
            schema_error: answer.schema_error,
        }
    }

    /// The first chunk, with the role and no text.
    #[must_use]
    pub fn first_chunk(&self) -> Chunk<'_> {
        self.new_chunk(Delta { role: Some("assistant"), content: Some(""), tool_calls: Vec::new() }, None)
    }

    /// A chunk with a piece of the text.
    #[must_use]
    pub fn text_chunk<'a>(&'a self, text: &'a str) -> Chunk<'a> {
        self.new_chunk(Delta { content: Some(text), ..Delta::default() }, None)
    }

    /// The chunks of all calls: for each, the function's name and then its arguments.
    pub fn call_chunks<'a>(&'a self, answer: &'a Answer) -> impl Iterator<Item = Chunk<'a>> {
        answer.calls.iter().enumerate().flat_map(|(index, call)| {
            let who = ToolCallDelta {
                index,
                id: Some(&call.id),
                kind: Some("function"),
                function: FunctionDelta { name: Some(&call.name), arguments: "" },
            };
            let function = FunctionDelta { name: None, arguments: &call.arguments };
            let with = ToolCallDelta { index, id: None, kind: None, function };
            [who, with].map(|delta| self.new_chunk(Delta { tool_calls: vec![delta], ..Delta::default() }, None))
        })
    }

    /// The chunk with the finish reason.
    #[must_use]
    pub fn finish_chunk(&self, answer: &Answer) -> Chunk<'_> {
        let closing = self.new_chunk(Delta::default(), Some(finish_reason(answer.finish)));
        Chunk { schema_error: answer.schema_error.clone(), ..closing }
    }

    /// The chunk with the token counts, if the request asked for it.
    #[must_use]
    pub fn usage_chunk(&self, answer: &Answer) -> Option<Chunk<'_>> {
        self.include_usage.then(|| Chunk {
            choices: Vec::new(),
            usage: ChunkUsage::Counts(usage_of(answer.usage)),
            ..self.first_chunk()
        })
    }

    fn new_chunk<'a>(&'a self, delta: Delta<'a>, finish_reason: Option<FinishReason>) -> Chunk<'a> {
        Chunk {
            id: &self.id,
            object: "chat.completion.chunk",
            created: self.created,
            model: &self.model,
            choices: vec![ChunkChoice { index: 0, delta, logprobs: None, finish_reason }],
            usage: if self.include_usage { ChunkUsage::NotYet } else { ChunkUsage::NotAskedFor },
            system_fingerprint: FINGERPRINT,
            schema_error: None,
        }
    }
}

fn finish_reason(finish: Finish) -> FinishReason {
    match finish {
        Finish::Stop => FinishReason::Stop,
        Finish::Length => FinishReason::Length,
        Finish::ContentFilter => FinishReason::ContentFilter,
        Finish::Calls => FinishReason::ToolCalls,
    }
}

fn usage_of(usage: turn::Usage) -> Usage {
    Usage {
        prompt_tokens: usage.prompt(),
        completion_tokens: usage.output,
        total_tokens: usage.context(),
        prompt_tokens_details: PromptTokensDetails { cached_tokens: usage.cache_read },
    }
}
