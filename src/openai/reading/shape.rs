//! A value as a shape: where there are fields, an object and nothing else.

use std::fmt;
use std::vec;

use serde::de::{DeserializeSeed, Deserializer, Error, Expected, MapAccess, SeqAccess, Unexpected, Visitor};
use serde::forward_to_deserialize_any;
use serde_json::{Map, Value};

use super::json_path::JsonPath;
use super::{Flaw, Misread};
use crate::text::ellipsize;

/// Longest quote of a string that the client sent, in characters.
const MAX_QUOTED_CHARS: usize = 64;

/// A value with its path in the request.
pub(super) struct Part<'a> {
    pub(super) value: Value,
    pub(super) path: &'a JsonPath<'a>,
}

/// A value that does not have the expected shape. The path is added on the way out of nested values.
#[derive(Debug)]
pub(super) struct ShapeError {
    flaw: Flaw,
    /// The field that is missing.
    missing: Option<&'static str>,
    path: Option<String>,
    /// Message without the path, for example "is missing".
    message: String,
}

impl ShapeError {
    fn new(flaw: Flaw, message: String) -> Self {
        Self { flaw, missing: None, path: None, message }
    }

    /// Sets the path unless a nested value has set a longer one.
    pub(super) fn at(mut self, path: &JsonPath<'_>) -> Self {
        let here = || match self.missing {
            Some(field) => JsonPath::Field(path, field).to_string(),
            None => path.to_string(),
        };
        self.path = Some(self.path.take().unwrap_or_else(here));
        self
    }

    pub(super) fn into_misread(self) -> Misread {
        let param = self.path.unwrap_or_default();
        let message =
            if param.is_empty() { format!("it {}", self.message) } else { format!("`{param}` {}", self.message) };
        Misread { flaw: self.flaw, param, message }
    }
}

impl fmt::Display for ShapeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for ShapeError {}

impl Error for ShapeError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::new(Flaw::Value, message.to_string())
    }

    fn invalid_type(given: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::new(Flaw::Type, format!("must be {}, not {}", plain_type(expected), describe(given)))
    }

    fn invalid_value(given: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::new(Flaw::Value, format!("must be {}, not {}", plain_type(expected), describe(given)))
    }

    fn unknown_variant(given: &str, known: &'static [&'static str]) -> Self {
        let known = known.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ");
        Self::new(Flaw::Value, format!("must be one of {known}, not {}", describe(Unexpected::Str(given))))
    }

    fn missing_field(field: &'static str) -> Self {
        Self { missing: Some(field), ..Self::new(Flaw::Missing, "is missing".to_owned()) }
    }
}

/// JSON's name for a type that serde names after Rust's.
fn plain_type(expected: &dyn Expected) -> String {
    let name = expected.to_string();
    match name.as_str() {
        "a map" => "an object".to_owned(),
        "a sequence" => "an array".to_owned(),
        "a boolean" => "true or false".to_owned(),
        "u64" | "u32" | "usize" => "a whole number from 0 on".to_owned(),
        "i64" => "a whole number".to_owned(),
        "f64" => "a number".to_owned(),
        shape if shape.starts_with("struct ") => "an object".to_owned(),
        _ => name,
    }
}

fn describe(given: Unexpected<'_>) -> String {
    match given {
        Unexpected::Unit | Unexpected::Option => "null".to_owned(),
        Unexpected::Bool(value) => value.to_string(),
        Unexpected::Unsigned(value) => value.to_string(),
        Unexpected::Signed(value) => value.to_string(),
        Unexpected::Float(value) => value.to_string(),
        Unexpected::Seq => "an array".to_owned(),
        Unexpected::Map => "an object".to_owned(),
        Unexpected::Str(text) => format!("the string {:?}", ellipsize(text, MAX_QUOTED_CHARS)),
        other => other.to_string(),
    }
}

/// Describes a value for a message.
pub(super) fn describe_value(value: &Value) -> String {
    describe(as_unexpected(value))
}

fn as_unexpected(value: &Value) -> Unexpected<'_> {
    match value {
        Value::Null => Unexpected::Unit,
        Value::Bool(value) => Unexpected::Bool(*value),
        Value::Number(number) => match (number.as_u64(), number.as_i64(), number.as_f64()) {
            (Some(value), ..) => Unexpected::Unsigned(value),
            (None, Some(value), _) => Unexpected::Signed(value),
            (None, None, value) => Unexpected::Float(value.unwrap_or(f64::NAN)),
        },
        Value::String(text) => Unexpected::Str(text),
        Value::Array(_) => Unexpected::Seq,
        Value::Object(_) => Unexpected::Map,
    }
}

impl<'de> Deserializer<'de> for Part<'_> {
    type Error = ShapeError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ShapeError> {
        let path = self.path;
        match self.value {
            Value::Null => visitor.visit_unit(),
            Value::Bool(value) => visitor.visit_bool(value),
            Value::Number(number) => match (number.as_u64(), number.as_i64(), number.as_f64()) {
                (Some(value), ..) => visitor.visit_u64(value),
                (None, Some(value), _) => visitor.visit_i64(value),
                (None, None, value) => visitor.visit_f64(value.unwrap_or(f64::NAN)),
            },
            Value::String(text) => visitor.visit_string(text),
            Value::Array(list) => visitor.visit_seq(Elements { list: list.into_iter(), next: 0, path }),
            Value::Object(map) => visitor.visit_map(Fields { map: map.into_iter(), value: None, path }),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ShapeError> {
        if self.value.is_null() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ShapeError> {
        if self.value.is_object() {
            self.deserialize_any(visitor)
        } else {
            Err(ShapeError::invalid_type(as_unexpected(&self.value), &visitor))
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ShapeError> {
        self.deserialize_map(visitor)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct
        newtype_struct seq tuple tuple_struct enum identifier ignored_any
    }
}

struct Elements<'a> {
    list: vec::IntoIter<Value>,
    next: usize,
    path: &'a JsonPath<'a>,
}

impl<'de> SeqAccess<'de> for Elements<'_> {
    type Error = ShapeError;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, ShapeError> {
        let Some(value) = self.list.next() else { return Ok(None) };
        let path = JsonPath::Element(self.path, self.next);
        self.next += 1;
        seed.deserialize(Part { value, path: &path }).map(Some).map_err(|wrong| wrong.at(&path))
    }
}

struct Fields<'a> {
    map: <Map<String, Value> as IntoIterator>::IntoIter,
    /// Of the name that was read last.
    value: Option<(String, Value)>,
    path: &'a JsonPath<'a>,
}

impl<'de> MapAccess<'de> for Fields<'_> {
    type Error = ShapeError;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, ShapeError> {
        let Some((name, value)) = self.map.next() else { return Ok(None) };
        let key = Part { value: Value::String(name.clone()), path: self.path };
        self.value = Some((name, value));
        seed.deserialize(key).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, ShapeError> {
        let Some((name, value)) = self.value.take() else {
            return Err(ShapeError::custom("has a value without a name"));
        };
        let path = JsonPath::Field(self.path, &name);
        seed.deserialize(Part { value, path: &path }).map_err(|wrong| wrong.at(&path))
    }
}
