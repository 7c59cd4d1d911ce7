//! An instance of a JSON Schema, made from the schema alone: the same schema gives the same instance.
//!
//! All properties are there down to [`FULL_DEPTH`] and only the required ones below it, where `null` and what does not
//! nest is preferred too, so that a schema which refers to itself comes to an end. Of `anyOf` and `oneOf` the first
//! alternative that can be made is taken; `not`, `contains` and conditions are passed over.

use serde_json::{Map, Value};

mod merge;
mod number;
mod pattern;
mod text;

/// Above this depth everything optional is there too, and lists have [`DEFAULT_LIST_LENGTH`] entries.
const FULL_DEPTH: u32 = 4;
/// Entries of a list that may have any number of them.
const DEFAULT_LIST_LENGTH: u64 = 2;
/// No instance is deeper: what needs more needs no end.
const MAX_DEPTH: u32 = 32;
/// Values that are tried for one instance.
const MAX_VALUES: u32 = 20_000;

/// An instance of `schema`, whose strings carry the mark where they can; none where none could be made.
pub(super) fn make_instance(schema: &Value, mark: Option<&str>) -> Option<Value> {
    InstanceMaker { root: schema, mark, made: 0, variant: 0, fuel: MAX_VALUES }.make_value(schema, "text", 0)
}

struct InstanceMaker<'a> {
    root: &'a Value,
    mark: Option<&'a str>,
    /// Strings made so far: each gets its number.
    made: u32,
    /// The place in the innermost list, by which its entries differ.
    variant: u64,
    fuel: u32,
}

impl InstanceMaker<'_> {
    /// `name` is the property that it is for.
    fn make_value(&mut self, schema: &Value, name: &str, depth: u32) -> Option<Value> {
        if depth > MAX_DEPTH {
            return None;
        }
        let mut variants = merge::expand_variants(schema, self.root);
        variants
            .sort_by_key(|variant| if depth < FULL_DEPTH { is_null(variant).into() } else { nesting_cost(variant) });
        variants.iter().find_map(|variant| self.make_variant(variant, name, depth))
    }

    /// A value for one alternative, in which nothing refers to another schema any more.
    fn make_variant(&mut self, schema: &Map<String, Value>, name: &str, depth: u32) -> Option<Value> {
        self.fuel = self.fuel.checked_sub(1)?;
        if let Some(only) = schema.get("const") {
            return Some(only.clone());
        }
        let mut types = allowed_types(schema);
        if let Some(values) = schema.get("enum").and_then(Value::as_array) {
            let fitting: Vec<&Value> = values.iter().filter(|value| types.iter().any(|t| has_type(value, t))).collect();
            return pick_cyclic(&fitting, self.variant).map(|value| (*value).clone());
        }
        // A null says least: it comes last, unless the depth asks for an end.
        types.sort_by_key(|name| (*name == "null") != (depth >= FULL_DEPTH));
        types.into_iter().find_map(|kind| self.make_of_type(kind, schema, name, depth)).or_else(|| {
            // Where nothing can be made, the schema may still name a value.
            schema.get("default").cloned()
        })
    }

    fn make_of_type(&mut self, kind: &str, schema: &Map<String, Value>, name: &str, depth: u32) -> Option<Value> {
        match kind {
            "null" => Some(Value::Null),
            "boolean" => Some(Value::from(self.variant.is_multiple_of(2))),
            "integer" => number::make_integer(schema, self.variant),
            "number" => number::make_number(schema, self.variant),
            "array" => self.make_array(schema, name, depth),
            "object" => self.make_object(schema, depth),
            _ => {
                self.made += 1;
                Some(Value::from(text::make_string(schema, name, self.made, self.mark)))
            }
        }
    }

    fn make_object(&mut self, schema: &Map<String, Value>, depth: u32) -> Option<Value> {
        let none = Map::new();
        let properties = schema.get("properties").and_then(Value::as_object).unwrap_or(&none);
        let required: Vec<&str> = string_items(schema.get("required")).collect();
        let most = usize::try_from(get_count(schema, "maxProperties").unwrap_or(u64::MAX)).unwrap_or(usize::MAX);
        let rest = match schema.get("additionalProperties") {
            None | Some(Value::Bool(true)) => Value::Bool(true),
            Some(rest) => rest.clone(),
        };
        let mut object = Map::new();
        for (name, schema) in properties {
            let is_required = required.contains(&name.as_str());
            let has_room = object.len() + required.len() < most;
            if !is_required && (depth >= FULL_DEPTH || !has_room) {
                continue;
            }
            match self.make_value(schema, name, depth + 1) {
                Some(value) => drop(object.insert(name.clone(), value)),
                None if is_required => return None,
                None => {}
            }
        }
        for name in required {
            if !object.contains_key(name) {
                object.insert(name.to_owned(), self.make_value(&rest, name, depth + 1)?);
            }
        }
        let is_dictionary = properties.is_empty() && rest.is_object() && depth < FULL_DEPTH;
        let fewest = get_count(schema, "minProperties").unwrap_or(0).max(is_dictionary.into());
        let fewest = usize::try_from(fewest).unwrap_or(usize::MAX).min(most);
        for number in 1.. {
            if object.len() >= fewest {
                break;
            }
            let name = format!("key_{number}");
            match self.make_value(&rest, &name, depth + 1) {
                Some(value) => drop(object.insert(name, value)),
                None if get_count(schema, "minProperties").is_some() => return None,
                None => break,
            }
        }
        Some(Value::Object(object))
    }

    fn make_array(&mut self, schema: &Map<String, Value>, name: &str, depth: u32) -> Option<Value> {
        let (first, rest) = match (schema.get("prefixItems"), schema.get("items")) {
            (Some(Value::Array(first)), rest) => (first.as_slice(), rest),
            // As older drafts write it.
            (None, Some(Value::Array(first))) => (first.as_slice(), schema.get("additionalItems")),
            (_, rest) => (&[][..], rest),
        };
        let fewest = get_count(schema, "minItems").unwrap_or(0);
        let usual = if depth < FULL_DEPTH { DEFAULT_LIST_LENGTH.max(first.len() as u64) } else { 0 };
        let wanted = fewest.max(usual).min(get_count(schema, "maxItems").unwrap_or(u64::MAX));
        let is_unique = schema.get("uniqueItems") == Some(&Value::Bool(true));
        let outer = self.variant;
        let mut list: Vec<Value> = Vec::new();
        // One that has to differ from the others may take several attempts.
        for attempt in 0..wanted.saturating_mul(2).max(wanted) {
            if list.len() as u64 >= wanted {
                break;
            }
            self.variant = attempt;
            let item = first.get(list.len()).or(rest).unwrap_or(&Value::Bool(true));
            let Some(value) = self.make_value(item, name, depth + 1) else { break };
            if !(is_unique && list.contains(&value)) {
                list.push(value);
            }
        }
        self.variant = outer;
        (list.len() as u64 >= fewest).then_some(Value::Array(list))
    }
}

/// The types that a schema allows; where it names none, the one that its keywords are for.
fn allowed_types(schema: &Map<String, Value>) -> Vec<&str> {
    match schema.get("type") {
        Some(Value::String(only)) => return vec![only],
        Some(Value::Array(_)) => return string_items(schema.get("type")).collect(),
        _ => {}
    }
    if schema.contains_key("enum") {
        return vec!["string", "number", "boolean", "object", "array", "null"];
    }
    let has = |keys: &[&str]| keys.iter().any(|key| schema.contains_key(*key));
    vec![if has(&["properties", "required", "additionalProperties", "minProperties"]) {
        "object"
    } else if has(&["items", "prefixItems", "minItems", "uniqueItems"]) {
        "array"
    } else if has(&["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"]) {
        "number"
    } else {
        "string"
    }]
}

fn has_type(value: &Value, kind: &str) -> bool {
    match kind {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        _ => value.is_string(),
    }
}

fn is_null(schema: &Map<String, Value>) -> bool {
    allowed_types(schema) == ["null"]
}

/// How much an alternative adds to an instance that has to come to an end.
fn nesting_cost(schema: &Map<String, Value>) -> u8 {
    match allowed_types(schema)[..] {
        _ if schema.contains_key("const") || schema.contains_key("enum") => 0,
        ["null"] => 0,
        ["array"] => 2,
        ["object"] => 3,
        _ => 1,
    }
}

fn pick_cyclic<T>(all: &[T], at: u64) -> Option<&T> {
    all.get(usize::try_from(at.checked_rem(all.len() as u64)?).ok()?)
}

fn get_count(schema: &Map<String, Value>, key: &str) -> Option<u64> {
    schema.get(key)?.as_u64()
}

fn string_items(list: Option<&Value>) -> impl Iterator<Item = &str> {
    list.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
}

#[cfg(test)]
mod tests;
