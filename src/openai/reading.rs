//! Reads requests strictly as the types of their API, with error messages for people who write JSON, not Rust.
//!
//! serde alone takes a list for the fields of a struct in their order, and speaks of structs and sequences. So a body is
//! first read as JSON, where no name may stand twice in an object, and then, part by part, as a shape: an object where
//! there are fields, and the path of what is wrong.

use serde::de::DeserializeOwned;
use serde_json::Value;

use json_path::JsonPath;
use shape::Part;

mod json_path;
mod shape;
mod unique;

/// The kind of error in a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flaw {
    /// The body is not JSON, or not an object.
    Json,
    /// A part is of the wrong type.
    Type,
    /// A part is missing.
    Missing,
    /// A part has the right type and an unsupported value.
    Value,
}

/// Why a request, or a part of one, does not have the expected shape.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Misread {
    /// The kind of error.
    pub flaw: Flaw,
    /// JSON path, for example `messages[0].content`; empty for the whole body.
    pub param: String,
    /// The problem with its path, for people.
    pub message: String,
}

impl Misread {
    fn not_json(message: String) -> Self {
        Self { flaw: Flaw::Json, param: String::new(), message }
    }
}

/// Reads a request body.
pub fn read_body<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Misread> {
    let text = std::str::from_utf8(bytes).map_err(|error| {
        Misread::not_json(format!(
            "the body is not valid UTF-8: byte {} is not part of a character",
            error.valid_up_to() + 1
        ))
    })?;
    if text.trim_ascii().is_empty() {
        return Err(Misread::not_json("the body is empty: send a JSON object".to_owned()));
    }
    let value = unique::parse_unique(text)?;
    if !value.is_object() {
        return Err(Misread::not_json(format!(
            "the body must be a JSON object, not {}",
            shape::describe_value(&value)
        )));
    }
    read_part("", value)
}

/// Reads a part of a request, whose JSON path is `path`.
pub fn read_part<T: DeserializeOwned>(path: &str, value: Value) -> Result<T, Misread> {
    let path = JsonPath::Root(path);
    T::deserialize(Part { value, path: &path }).map_err(|wrong| wrong.at(&path).into_misread())
}

/// Describes a value for a message.
#[must_use]
pub fn describe_value(value: &Value) -> String {
    shape::describe_value(value)
}

/// Explains a JSON syntax error, with line and column.
#[must_use]
pub fn syntax_message(error: &serde_json::Error) -> String {
    let (line, column) = (error.line(), error.column());
    if error.is_eof() {
        return format!("it ends too early (line {line}, column {column})");
    }
    let words = parser_message(error);
    let words = match words.as_str() {
        "expected value" | "expected ident" => "a value is missing",
        "trailing characters" => "there is more text after its end",
        "recursion limit exceeded" => "it is nested deeper than 127 levels",
        "key must be a string" => "a key is not a string in double quotes",
        "number out of range" => "a number is too large",
        "invalid escape" => "a string contains an invalid escape",
        "lone leading surrogate in hex escape" | "unexpected end of hex escape" | "invalid unicode code point" => {
            "a string contains an escape that is not a character"
        }
        "trailing comma" => "there is a trailing comma",
        words if words.starts_with("control character") => {
            "a string contains a line break or another control character"
        }
        words => words,
    };
    format!("{words} (line {line}, column {column})")
}

/// The parser's message without the position that it appends.
fn parser_message(error: &serde_json::Error) -> String {
    let path = format!(" at line {} column {}", error.line(), error.column());
    let words = error.to_string();
    words.strip_suffix(&path).map(str::to_owned).unwrap_or(words)
}

#[cfg(test)]
mod tests;
