//! A schema without its references and alternatives: `$ref`, `allOf`, `anyOf` and `oneOf` become plain schemas, of which
//! an instance needs to fit one.

use serde_json::{Map, Value, json};

/// Alternatives that are looked at.
const MOST: usize = 32;
/// References to follow one after the other: more go in a circle.
const LONGEST: u32 = 16;

type Schema = Map<String, Value>;

/// The plain schemas that `schema` allows, in its order. None where nothing fits.
pub(super) fn variants(schema: &Value, root: &Value) -> Vec<Schema> {
    follow(schema, root, 0)
}

fn follow(schema: &Value, root: &Value, hops: u32) -> Vec<Schema> {
    let schema = match schema {
        _ if hops > LONGEST => return Vec::new(),
        Value::Bool(false) => return Vec::new(),
        Value::Object(schema) => schema,
        _ => return vec![Schema::new()],
    };
    let mut own = schema.clone();
    own.retain(|key, _| !["$ref", "allOf", "anyOf", "oneOf", "$defs", "definitions"].contains(&key.as_str()));
    let mut variants = vec![own];
    if let Some(reference) = schema.get("$ref").and_then(Value::as_str) {
        let target = resolve(reference, root).map(|target| follow(target, root, hops + 1));
        variants = product(&variants, &target.unwrap_or_default());
    }
    for part in list(schema, "allOf") {
        variants = product(&variants, &follow(part, root, hops + 1));
    }
    for key in ["anyOf", "oneOf"] {
        if schema.contains_key(key) {
            let choices: Vec<Schema> =
                list(schema, key).iter().flat_map(|choice| follow(choice, root, hops + 1)).collect();
            variants = product(&variants, &choices);
        }
    }
    variants
}

fn list<'a>(schema: &'a Schema, key: &str) -> &'a [Value] {
    schema.get(key).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn resolve<'a>(reference: &str, root: &'a Value) -> Option<&'a Value> {
    root.pointer(reference.strip_prefix('#')?)
}

fn product(left: &[Schema], right: &[Schema]) -> Vec<Schema> {
    let pairs = left.iter().flat_map(|left| right.iter().map(move |right| (left, right)));
    pairs.filter_map(|(left, right)| merged(left, right)).take(MOST).collect()
}

/// A schema that asks for what both ask for; none where both can't be had.
fn merged(left: &Schema, right: &Schema) -> Option<Schema> {
    let mut merged = left.clone();
    for (key, other) in right {
        let value = match merged.get(key) {
            None => other.clone(),
            Some(own) => both(key, own, other)?,
        };
        merged.insert(key.clone(), value);
    }
    Some(merged)
}

fn both(key: &str, own: &Value, other: &Value) -> Option<Value> {
    let larger = || if own.as_f64() < other.as_f64() { other } else { own }.clone();
    let smaller = || if own.as_f64() > other.as_f64() { other } else { own }.clone();
    Some(match key {
        "type" => types(own, other)?,
        "enum" => common(own, other)?,
        "const" if own != other => return None,
        "required" => union(own, other),
        "properties" => properties(own, other),
        "additionalProperties" if own == &Value::Bool(false) || other == &Value::Bool(false) => Value::Bool(false),
        "items" | "additionalProperties" => json!({"allOf": [own, other]}),
        "minimum" | "exclusiveMinimum" | "minLength" | "minItems" | "minProperties" => larger(),
        "maximum" | "exclusiveMaximum" | "maxLength" | "maxItems" | "maxProperties" => smaller(),
        "uniqueItems" => Value::from(own == &Value::Bool(true) || other == &Value::Bool(true)),
        _ => own.clone(),
    })
}

fn types(own: &Value, other: &Value) -> Option<Value> {
    let all = |value: &Value| match value {
        Value::Array(all) => all.clone(),
        one => vec![one.clone()],
    };
    let (own, other) = (all(own), all(other));
    let common = own.iter().filter_map(|kind| {
        let is_also = |wanted: &str| other.iter().any(|other| other == wanted);
        match kind.as_str()? {
            "number" if !is_also("number") && is_also("integer") => Some(json!("integer")),
            "integer" if is_also("number") => Some(kind.clone()),
            name => is_also(name).then(|| kind.clone()),
        }
    });
    let common: Vec<Value> = common.collect();
    (!common.is_empty()).then_some(Value::Array(common))
}

fn common(own: &Value, other: &Value) -> Option<Value> {
    let (own, other) = (own.as_array()?, other.as_array()?);
    let common: Vec<Value> = own.iter().filter(|value| other.contains(value)).cloned().collect();
    (!common.is_empty()).then_some(Value::Array(common))
}

fn union(own: &Value, other: &Value) -> Value {
    let mut all = own.as_array().cloned().unwrap_or_default();
    for value in other.as_array().into_iter().flatten() {
        if !all.contains(value) {
            all.push(value.clone());
        }
    }
    Value::Array(all)
}

fn properties(own: &Value, other: &Value) -> Value {
    let mut all = own.as_object().cloned().unwrap_or_default();
    for (name, schema) in other.as_object().into_iter().flatten() {
        let both = all.get(name).map(|own| json!({"allOf": [own, schema]}));
        all.insert(name.clone(), both.unwrap_or_else(|| schema.clone()));
    }
    Value::Object(all)
}
