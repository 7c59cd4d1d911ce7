//! The Responses API, without its stored state.

use std::collections::HashSet;

use serde_json::{Map, Value};

use super::params;
use crate::answer::{Answer, ChatRequest, Choice, Finish, Invalid, JsonFormat, ReplyFormat, Tool};
use crate::openai::reading;
use crate::openai::responses::{
    FunctionTool, IncompleteDetails, InputTokensDetails, OutputItem, OutputPart, OutputTokensDetails, PlainSettings,
    Response, ResponsesRequest, Settings, Status, TextConfig, TextFormat, Usage,
};
use crate::turn;

pub mod events;
mod input;

#[cfg(test)]
mod tests;

/// Translates a request; the settings are those that its reply repeats.
pub fn chat_request(mut request: ResponsesRequest) -> Result<(ChatRequest, Settings), Invalid> {
    refuse_what_is_kept(&request)?;
    params::check_model(request.model.as_deref())?;
    let conversation = input::read_conversation(request.instructions.clone(), std::mem::take(&mut request.input))?;
    let text = request.text.unwrap_or_default();
    let given_tools = request.tools.unwrap_or_default();
    let parallel = request.parallel_tool_calls.unwrap_or(true);
    let (tools, choice) = select_tools(read_tools(&given_tools)?, request.tool_choice.as_ref())?;
    let format = read_format(text.format.as_ref())?;
    let reply_format = match choice {
        Some(choice) if !tools.is_empty() => params::tools_format(tools, choice, parallel, format)?,
        _ => format.map_or(ReplyFormat::Text, ReplyFormat::Json),
    };

    let mut ignored = params::ignored_params(&request.rest)?;
    let mut ignore = |name: &str, given: bool| ignored.extend(given.then(|| name.to_owned()));
    let reasoning = request.reasoning.unwrap_or_default();
    ignore("reasoning", reasoning.values().any(|value| !value.is_null()));
    ignore("text.verbosity", text.verbosity.as_ref().is_some_and(|verbosity| verbosity != "medium"));
    // The other values name parts of items that no reply here has.
    ignore(
        "include",
        request.include.is_some_and(|list| list.iter().any(|what| what == "message.output_text.logprobs")),
    );
    let padded = request.stream_options.and_then(|options| options.include_obfuscation);
    ignore("stream_options.include_obfuscation", padded.unwrap_or(false));

    let settings = Settings {
        instructions: request.instructions,
        metadata: request.metadata.unwrap_or_default(),
        text: TextConfig { format: text.format.or_else(|| Some(plain_text())), ..text },
        tools: given_tools,
        tool_choice: request.tool_choice.filter(|choice| !choice.is_null()).unwrap_or_else(|| "auto".into()),
        parallel_tool_calls: parallel,
        reasoning: with_nulls(reasoning, ["effort", "summary"]),
        plain: plain_settings(request.rest)?,
    };
    let streamed = request.stream.unwrap_or(false);
    Ok((
        ChatRequest { model: request.model, conversation, reply_format, stop: Vec::new(), streamed, ignored },
        settings,
    ))
}

fn refuse_what_is_kept(request: &ResponsesRequest) -> Result<(), Invalid> {
    const WHOLE: &str = "send the whole conversation as `input` with every request, and `store: false`";
    let given = |value: &Option<Value>| value.as_ref().is_some_and(|value| !value.is_null());
    let refuse = |param: &str, message: String| Err(Invalid::new(param, message));
    if request.store == Some(true) {
        return refuse("store", format!("this server does not store responses: {WHOLE}"));
    }
    if request.background == Some(true) {
        return refuse("background", "background responses are not supported: remove `background`".to_owned());
    }
    if given(&request.previous_response_id) {
        return refuse("previous_response_id", format!("this server does not store responses: {WHOLE}"));
    }
    if given(&request.conversation) {
        return refuse("conversation", format!("this server does not store conversations: {WHOLE}"));
    }
    if given(&request.prompt) {
        return refuse(
            "prompt",
            "this server does not store prompts: send the text as `instructions` or `input`".to_owned(),
        );
    }
    Ok(())
}

fn read_tools(given: &[Value]) -> Result<Vec<Tool>, Invalid> {
    let tools = given.iter().enumerate().map(|(index, tool)| {
        let place = format!("tools[{index}]");
        match tool.get("type").and_then(Value::as_str) {
            Some("function") => {}
            Some(kind) => {
                let message = format!("tools of type {kind:?} are not supported: use functions");
                return Err(Invalid::new(format!("{place}.type"), message));
            }
            None if !tool.is_object() => {
                return Err(Invalid::of_type(place.clone(), format!("`{place}` must be an object")));
            }
            None => {
                let message = "this tool has no `type`: set it to `function`";
                return Err(Invalid::missing(format!("{place}.type"), message));
            }
        }
        if tool.get("function").is_some_and(Value::is_object) {
            let message = "in this API, `name` and `parameters` belong next to `type`, not inside `function`";
            return Err(Invalid::new(format!("{place}.function"), message));
        }
        let FunctionTool { name, description, parameters } = reading::read_part(&place, tool.clone())?;
        let parameters = parameters.filter(|schema| !schema.is_null());
        Ok(Tool { name, description, parameters, param: format!("{place}.parameters") })
    });
    tools.collect()
}

/// The functions that may be called; no choice if none may.
fn select_tools(mut tools: Vec<Tool>, given: Option<&Value>) -> Result<(Vec<Tool>, Option<Choice>), Invalid> {
    let choice = match given.unwrap_or(&Value::Null) {
        Value::Null => Choice::Auto,
        Value::String(word) if word == "none" => return Ok((tools, None)),
        Value::String(word) => parse_mode(word)?,
        Value::Object(choice) => {
            match (text_field(choice, "type"), text_field(choice, "name"), text_field(choice, "mode")) {
                (Some("function"), Some(name), _) => Choice::Named(name.to_owned()),
                (Some("allowed_tools"), _, Some(word)) => {
                    tools = allowed_tools(tools, choice.get("tools"))?;
                    parse_mode(word)?
                }
                _ => return Err(no_choice()),
            }
        }
        _ => return Err(no_choice()),
    };
    if tools.is_empty() && choice != Choice::Auto {
        return Err(Invalid::new("tool_choice", "`tool_choice` needs `tools`"));
    }
    Ok((tools, Some(choice)))
}

fn text_field<'a>(map: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
    map.get(name).and_then(Value::as_str)
}

fn parse_mode(word: &str) -> Result<Choice, Invalid> {
    match word {
        "auto" => Ok(Choice::Auto),
        "required" => Ok(Choice::Required),
        _ => Err(no_choice()),
    }
}

fn no_choice() -> Invalid {
    let message = r#"`tool_choice` must be "none", "auto", "required", {"type": "function", "name": "…"} or {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "…"}]}"#;
    Invalid::new("tool_choice", message)
}

fn allowed_tools(mut tools: Vec<Tool>, given: Option<&Value>) -> Result<Vec<Tool>, Invalid> {
    let given = given.and_then(Value::as_array).filter(|given| !given.is_empty()).ok_or_else(no_choice)?;
    let known: HashSet<String> = tools.iter().map(|tool| tool.name.clone()).collect();
    let mut names = HashSet::new();
    for (index, choice) in given.iter().enumerate() {
        let name = choice.get("name").and_then(Value::as_str).ok_or_else(no_choice)?;
        if !known.contains(name) {
            let param = format!("tool_choice.tools[{index}]");
            return Err(Invalid::new(param, format!("`tools` has no function named {name:?}")));
        }
        names.insert(name);
    }
    tools.retain(|tool| names.contains(tool.name.as_str()));
    Ok(tools)
}

fn read_format(given: Option<&TextFormat>) -> Result<Option<JsonFormat>, Invalid> {
    const SCHEMA: &str = "text.format.schema";
    let Some(given) = given else { return Ok(None) };
    match given.kind.as_str() {
        "text" => Ok(None),
        "json_object" => Ok(Some(JsonFormat { schema: None, lenient: false, param: "text.format" })),
        "json_schema" => {
            params::check_schema_name("text.format.name", given.name.as_deref())?;
            match &given.schema {
                Some(schema) => {
                    let schema = Some(schema.clone());
                    Ok(Some(JsonFormat { schema, lenient: given.strict == Some(false), param: SCHEMA }))
                }
                None => Err(Invalid::missing(SCHEMA, "`json_schema` needs a `schema`")),
            }
        }
        other => {
            let message = format!("unknown format {other:?}: use `text`, `json_object` or `json_schema`");
            Err(Invalid::new("text.format.type", message))
        }
    }
}

fn plain_text() -> TextFormat {
    TextFormat { kind: "text".to_owned(), ..TextFormat::default() }
}

fn with_nulls<const N: usize>(mut map: Map<String, Value>, names: [&str; N]) -> Map<String, Value> {
    for name in names {
        map.entry(name).or_insert(Value::Null);
    }
    map
}

fn plain_settings(rest: Map<String, Value>) -> Result<PlainSettings, Invalid> {
    let mut plain: PlainSettings = reading::read_part("", Value::Object(rest))?;
    plain.temperature.get_or_insert(1.0);
    plain.top_p.get_or_insert(1.0);
    plain.top_logprobs.get_or_insert(0);
    plain.truncation.get_or_insert_with(|| "disabled".to_owned());
    Ok(plain)
}

/// Fields that all events of a reply share.
#[derive(Debug, Clone, PartialEq)]
pub struct Reply {
    id: String,
    message_id: String,
    /// The request's id, part of all ids of the reply.
    request: String,
    created_at: u64,
    model: String,
    settings: Settings,
}

impl Reply {
    /// `request` names the request, `created_at` is when it was taken, in unix seconds, and `model` the model that it
    /// named.
    #[must_use]
    pub fn new(request: String, created_at: u64, model: String, settings: Settings) -> Self {
        let (id, message_id) = (format!("resp_{request}"), format!("msg_{request}"));
        Self { id, message_id, request, created_at, model, settings }
    }

    /// The complete reply; `completed_at` is now, in unix seconds.
    #[must_use]
    pub fn to_response<'a>(&'a self, answer: &'a Answer, completed_at: u64) -> Response<'a> {
        let mut output = Vec::with_capacity(answer.calls.len() + 1);
        if !answer.text.is_empty() || answer.calls.is_empty() {
            output.push(self.message_item(status_of(answer.finish), vec![OutputPart::text(&answer.text)]));
        }
        output.extend((0..answer.calls.len()).map(|index| self.call_item(answer, index, Status::Completed)));
        Response {
            status: status_of(answer.finish),
            completed_at: Some(completed_at),
            incomplete_details: incomplete_reason(answer.finish).map(|reason| IncompleteDetails { reason }),
            usage: Some(usage_of(answer.usage)),
            schema_error: answer.schema_error.as_deref(),
            ..self.unfinished_response(Status::Completed, output)
        }
    }

    /// A reply without output or end.
    fn unfinished_response<'a>(&'a self, status: Status, output: Vec<OutputItem<'a>>) -> Response<'a> {
        Response {
            id: &self.id,
            object: "response",
            created_at: self.created_at,
            completed_at: None,
            status,
            error: None,
            incomplete_details: None,
            model: &self.model,
            output,
            usage: None,
            settings: &self.settings,
            background: false,
            store: false,
            previous_response_id: None,
            service_tier: "default",
            schema_error: None,
        }
    }

    fn message_item<'a>(&'a self, status: Status, content: Vec<OutputPart<'a>>) -> OutputItem<'a> {
        OutputItem::Message { id: &self.message_id, status, role: "assistant", content }
    }

    fn call_item<'a>(&self, answer: &'a Answer, index: usize, status: Status) -> OutputItem<'a> {
        let call = &answer.calls[index];
        let arguments = if status == Status::InProgress { "" } else { &call.arguments };
        OutputItem::FunctionCall { id: self.call_id(index), status, call_id: &call.id, name: &call.name, arguments }
    }

    /// Id of a call as an output item. Its result refers to `call_…` instead.
    fn call_id(&self, index: usize) -> String {
        format!("fc_{}{index}", self.request)
    }
}

fn status_of(finish: Finish) -> Status {
    if incomplete_reason(finish).is_some() { Status::Incomplete } else { Status::Completed }
}

fn incomplete_reason(finish: Finish) -> Option<&'static str> {
    match finish {
        Finish::Stop | Finish::Calls => None,
        Finish::Length => Some("max_output_tokens"),
        Finish::ContentFilter => Some("content_filter"),
    }
}

fn usage_of(usage: turn::Usage) -> Usage {
    Usage {
        input_tokens: usage.prompt(),
        input_tokens_details: InputTokensDetails {
            cached_tokens: usage.cache_read,
            cache_write_tokens: usage.cache_creation,
        },
        output_tokens: usage.output,
        output_tokens_details: OutputTokensDetails { reasoning_tokens: 0 },
        total_tokens: usage.context(),
    }
}
