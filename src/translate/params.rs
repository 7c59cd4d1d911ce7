//! Parameters that this server does not support: harmless ones are accepted silently, others are reported or rejected.

use serde_json::{Map, Value};

use crate::answer::{ChatRequest, Choice, Invalid, JsonFormat, ReplyFormat, Tool};
use crate::text::prefix;

mod values;

/// Parameters that are rejected, because a reply that ignores them would be wrong: name and next step.
const REFUSED: [(&str, &str); 4] = [
    ("functions", "use `tools`"),
    ("function_call", "use `tool_choice`"),
    ("audio", "remove it"),
    ("web_search_options", "remove it"),
];

/// The names of the parameters that were given, mean something and can't be honoured. One with a value that means
/// nothing is refused all the same: it is a mistake, wherever it is sent.
pub(super) fn ignored_params(rest: &Map<String, Value>) -> Result<Vec<String>, Invalid> {
    values::check_values(rest)?;
    for (name, next) in REFUSED {
        if rest.get(name).is_some_and(|value| !value.is_null()) {
            return Err(Invalid::new(name, format!("`{name}` is not supported: {next}")));
        }
    }
    if rest.get("modalities").is_some_and(|value| !value.is_null() && *value != serde_json::json!(["text"])) {
        return Err(Invalid::new("modalities", "only text output is supported: remove `modalities`"));
    }
    let meant = rest.iter().filter(|(name, value)| !changes_nothing(name, value));
    let mut names: Vec<String> = meant.map(|(name, _)| header_safe(name)).take(MAX_NAMED_PARAMS + 1).collect();
    if names.len() > MAX_NAMED_PARAMS {
        names.truncate(MAX_NAMED_PARAMS);
        names.push("and-more".to_owned());
    }
    Ok(names)
}

/// Whether the value asks for the behaviour that this server has anyway.
fn changes_nothing(name: &str, value: &Value) -> bool {
    match (name, value) {
        (_, Value::Null) | ("modalities", _) => true,
        (_, Value::Array(list)) if list.is_empty() => true,
        (_, Value::Object(map)) if map.is_empty() => true,
        ("temperature" | "top_p", Value::Number(one)) => one.as_f64() == Some(1.0),
        ("presence_penalty" | "frequency_penalty" | "top_logprobs", Value::Number(zero)) => zero.as_f64() == Some(0.0),
        ("logprobs" | "store" | "background", Value::Bool(asked)) => !asked,
        ("service_tier", Value::String(tier)) => matches!(tier.as_str(), "auto" | "default"),
        ("truncation", Value::String(how)) => how == "disabled",
        _ => false,
    }
}

/// How many ignored parameters the header names.
const MAX_NAMED_PARAMS: usize = 32;

/// Longest name of a parameter in a header or a message, in characters.
const MAX_PARAM_CHARS: usize = 64;

/// The client chooses the name of an unknown parameter, and it goes into a header: only printable ASCII without the comma
/// that separates names there.
fn header_safe(name: &str) -> String {
    let name = prefix(name, MAX_PARAM_CHARS);
    name.chars().map(|c| if c.is_ascii_graphic() && c != ',' { c } else { '?' }).collect()
}

/// Reads `stop`: a string, or an array of up to four.
pub(super) fn read_stops(stop: Option<&Value>) -> Result<Vec<String>, Invalid> {
    let wrong =
        || Invalid::new("stop", "`stop` must be a string or an array of up to 4 strings, of 1 to 256 bytes each");
    let stops = match stop {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::String(one)) => vec![one.clone()],
        Some(Value::Array(list)) => {
            let strings = list.iter().map(|stop| stop.as_str().map(str::to_owned).ok_or_else(wrong));
            strings.collect::<Result<Vec<_>, _>>()?
        }
        Some(_) => return Err(wrong()),
    };
    if stops.len() > 4 || stops.iter().any(|stop| stop.is_empty() || stop.len() > 256) {
        Err(wrong())
    } else {
        Ok(stops)
    }
}

/// Checks a model's name; none stands for the server's default.
pub(super) fn check_model(name: Option<&str>) -> Result<(), Invalid> {
    if name.is_some_and(|name| name.trim().is_empty()) {
        return Err(Invalid::new("model", "`model` is empty: name a model, or remove it for the server's default"));
    }
    Ok(())
}

/// Checks the required name of a schema.
pub(super) fn check_schema_name(param: &str, name: Option<&str>) -> Result<(), Invalid> {
    let name = name.ok_or_else(|| Invalid::missing(param, "`json_schema` needs a `name`"))?;
    if is_name(name, 64) {
        return Ok(());
    }
    Err(Invalid::new(param, "a schema's name must be 1 to 64 letters, digits, `_` or `-` (a-z, A-Z, 0-9)"))
}

/// Whether OpenAI's API accepts `name`.
fn is_name(name: &str, longest: usize) -> bool {
    (1..=longest).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'))
}

/// Longest name of a function: OpenAI accepts 64 characters in one of its APIs and 128 in the other.
const MAX_NAME_CHARS: usize = 128;

/// The most functions in one request: OpenAI's own limit.
const MAX_TOOLS: usize = 128;

/// The reply format of a request with functions.
pub(super) fn tools_format(
    tools: Vec<Tool>,
    choice: Choice,
    parallel: bool,
    format: Option<JsonFormat>,
) -> Result<ReplyFormat, Invalid> {
    if tools.len() > MAX_TOOLS {
        return Err(Invalid::new("tools", format!("at most {MAX_TOOLS} functions are allowed")));
    }
    for (index, tool) in tools.iter().enumerate() {
        let param =
            tool.param.strip_suffix("parameters").map_or_else(|| tool.param.clone(), |place| format!("{place}name"));
        if !is_name(&tool.name, MAX_NAME_CHARS) {
            let message =
                format!("a function's name must be 1 to {MAX_NAME_CHARS} letters, digits, `_` or `-` (a-z, A-Z, 0-9)");
            return Err(Invalid::new(param, message));
        }
        if tools[..index].iter().any(|earlier| earlier.name == tool.name) {
            return Err(Invalid::new(param, format!("two functions are named {:?}", tool.name)));
        }
    }
    if let Choice::Named(name) = &choice
        && !tools.iter().any(|tool| tool.name == *name)
    {
        return Err(Invalid::new("tool_choice", format!("`tools` has no function named {name:?}")));
    }
    Ok(ReplyFormat::Tools { tools, choice, parallel, format })
}

/// Ignores stop sequences for JSON replies: cut at one, a reply would not be JSON.
pub(super) fn without_stops_for_json(mut request: ChatRequest) -> ChatRequest {
    if request.reply_format.format().is_some() && !request.stop.is_empty() {
        request.stop.clear();
        request.ignored.push("stop".to_owned());
    }
    request
}
