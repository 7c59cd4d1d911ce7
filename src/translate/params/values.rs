//! Valid values of the parameters that this server does not use.

use serde_json::{Map, Value};

use crate::answer::Invalid;
use crate::openai::reading::describe_value;
use crate::text::prefix;

/// Type and range of a parameter.
enum Kind {
    /// True or false.
    Flag,
    /// A string.
    Text,
    /// A whole number in these bounds.
    Whole(i64, i64),
    /// Any number in these bounds.
    Number(f64, f64),
    /// An object whose values are strings.
    Labels,
    /// An object whose values are numbers.
    Numbers,
}

/// OpenAI's parameters with OpenAI's bounds.
const KINDS: [(&str, Kind); 24] = [
    ("max_tokens", Kind::Whole(1, i64::MAX)),
    ("max_completion_tokens", Kind::Whole(1, i64::MAX)),
    ("max_output_tokens", Kind::Whole(1, i64::MAX)),
    ("max_tool_calls", Kind::Whole(1, i64::MAX)),
    ("temperature", Kind::Number(0.0, 2.0)),
    ("top_p", Kind::Number(0.0, 1.0)),
    ("presence_penalty", Kind::Number(-2.0, 2.0)),
    ("frequency_penalty", Kind::Number(-2.0, 2.0)),
    ("top_logprobs", Kind::Whole(0, 20)),
    ("seed", Kind::Whole(i64::MIN, i64::MAX)),
    ("logprobs", Kind::Flag),
    ("store", Kind::Flag),
    ("background", Kind::Flag),
    ("parallel_tool_calls", Kind::Flag),
    ("metadata", Kind::Labels),
    ("logit_bias", Kind::Numbers),
    ("user", Kind::Text),
    ("safety_identifier", Kind::Text),
    ("prompt_cache_key", Kind::Text),
    ("prompt_cache_retention", Kind::Text),
    ("service_tier", Kind::Text),
    ("reasoning_effort", Kind::Text),
    ("verbosity", Kind::Text),
    ("truncation", Kind::Text),
];

/// Rejects values that OpenAI's APIs would reject, so that mistakes do not stay unnoticed. Null counts as absent.
pub(super) fn check_values(given: &Map<String, Value>) -> Result<(), Invalid> {
    for (name, kind) in &KINDS {
        match given.get(*name) {
            None | Some(Value::Null) => {}
            Some(value) => kind.check_value(name, value)?,
        }
    }
    Ok(())
}

impl Kind {
    fn check_value(&self, name: &str, value: &Value) -> Result<(), Invalid> {
        match self {
            Self::Flag if value.is_boolean() => Ok(()),
            Self::Text if value.is_string() => Ok(()),
            Self::Whole(least, most) => check_integer(name, value, *least, *most),
            Self::Number(least, most) => match value.as_f64() {
                Some(number) if (*least..=*most).contains(&number) => Ok(()),
                Some(_) => Err(out_of_range(name, value, least, most)),
                None => Err(self.of_type(name, value)),
            },
            Self::Labels | Self::Numbers => {
                let inside = value.as_object().ok_or_else(|| self.of_type(name, value))?;
                let is_text = matches!(self, Self::Labels);
                let is_wrong = |value: &Value| if is_text { !value.is_string() } else { !value.is_number() };
                let Some((key, wrong)) = inside.iter().find(|(_, value)| is_wrong(value)) else { return Ok(()) };
                let kind = if is_text { Self::Text } else { Self::Number(f64::MIN, f64::MAX) };
                let key = prefix(key, super::MAX_PARAM_CHARS);
                Err(kind.of_type(&format!("{name}.{key}"), wrong))
            }
            Self::Flag | Self::Text => Err(self.of_type(name, value)),
        }
    }

    fn of_type(&self, param: &str, value: &Value) -> Invalid {
        let kind = match self {
            Self::Flag => "true or false",
            Self::Text => "a string",
            Self::Whole(..) => "a whole number",
            Self::Number(..) => "a number",
            Self::Labels | Self::Numbers => "an object",
        };
        Invalid::of_type(param, format!("`{param}` must be {kind}, not {}", describe_value(value)))
    }
}

fn check_integer(name: &str, value: &Value, least: i64, most: i64) -> Result<(), Invalid> {
    match (value.as_i64(), value.as_u64()) {
        (Some(number), _) if (least..=most).contains(&number) => Ok(()),
        (Some(_), _) | (None, Some(_)) if most < i64::MAX => Err(out_of_range(name, value, &least, &most)),
        (None, Some(_)) => Err(Invalid::new(name, format!("`{name}` is too large: {value}"))),
        (Some(_), _) => Err(Invalid::new(name, format!("`{name}` must be {least} or more, not {value}"))),
        (None, None) => Err(Kind::Whole(least, most).of_type(name, value)),
    }
}

fn out_of_range(name: &str, value: &Value, least: &impl ToString, most: &impl ToString) -> Invalid {
    let (least, most) = (least.to_string(), most.to_string());
    Invalid::new(name, format!("`{name}` must be from {least} to {most}, not {value}"))
}
