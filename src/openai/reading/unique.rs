//! JSON in which no object has a name twice: whoever reads such an object after us may take the other value.

use std::cell::RefCell;
use std::fmt;

use serde::Deserializer;
use serde::de::{DeserializeSeed, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use super::json_path::JsonPath;
use super::{Flaw, Misread, syntax_message};

/// The text as JSON.
pub(super) fn parse_unique(text: &str) -> Result<Value, Misread> {
    let twice = RefCell::new(None);
    let mut json = serde_json::Deserializer::from_str(text);
    let read = Read { path: &JsonPath::Root(""), twice: &twice }.deserialize(&mut json);
    let read = read.and_then(|value| json.end().map(|()| value));
    read.map_err(|error| match twice.take() {
        Some(param) => Misread { flaw: Flaw::Value, message: format!("`{param}` is set twice: set it once"), param },
        None => Misread::not_json(format!("the body is not JSON: {}", syntax_message(&error))),
    })
}

/// Reads one value.
#[derive(Clone, Copy)]
struct Read<'a> {
    path: &'a JsonPath<'a>,
    /// Where a name stands for the second time.
    twice: &'a RefCell<Option<String>>,
}

impl<'de> DeserializeSeed<'de> for Read<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Value, D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Read<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let mut read = Vec::new();
        while let Some(value) =
            list.next_element_seed(Read { path: &JsonPath::Element(self.path, read.len()), ..self })?
        {
            read.push(value);
        }
        Ok(read.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Value, A::Error> {
        let mut read = Map::new();
        while let Some(name) = object.next_key::<String>()? {
            let path = JsonPath::Field(self.path, &name);
            if read.contains_key(&name) {
                self.twice.replace(Some(path.to_string()));
                return Err(A::Error::custom("a name is given twice"));
            }
            let value = object.next_value_seed(Read { path: &path, ..self })?;
            read.insert(name, value);
        }
        Ok(read.into())
    }
}
