//! A schema without its references and alternatives: `$ref`, `allOf`, `anyOf` and `oneOf` become plain schemas, of which
//! an instance needs to fit one.

use serde_json::{Map, Value, json};

/// Alternatives that are looked at.
const MAX_VARIANTS: usize = 32;
/// References to follow one after the other: more go in a circle.
const MAX_HOPS: u32 = 16;

type Schema = Map<String, Value>;

/// The plain schemas that `schema` allows, in its order. None where nothing fits.
pub(super) fn expand_variants(schema: &Value, root: &Value) -> Vec<Schema> {
    expand_schema(schema, root, 0)
}

fn expand_schema(schema: &Value, root: &Value, hops: u32) -> Vec<Schema> {
    let schema = match schema {
        _ if hops > MAX_HOPS => return Vec::new(),
        Value::Bool(false) => return Vec::new(),
        Value::Object(schema) => schema,
        _ => return vec![Schema::new()],
    };
    let mut own = schema.clone();
    own.retain(|key, _| !["$ref", "allOf", "anyOf", "oneOf", "$defs", "definitions"].contains(&key.as_str()));
    let mut variants = vec![own];
    if let Some(reference) = schema.get("$ref").and_then(Value::as_str) {
        let target = resolve_reference(reference, root).map(|target| expand_schema(target, root, hops + 1));
        variants = combine_all(&variants, &target.unwrap_or_default());
    }
    for part in subschemas(schema, "allOf") {
        variants = combine_all(&variants, &expand_schema(part, root, hops + 1));
    }
    for key in ["anyOf", "oneOf"] {
        if schema.contains_key(key) {
            let choices: Vec<Schema> =
                subschemas(schema, key).iter().flat_map(|choice| expand_schema(choice, root, hops + 1)).collect();
            variants = combine_all(&variants, &choices);
        }
    }
    variants
}

fn subschemas<'a>(schema: &'a Schema, key: &str) -> &'a [Value] {
    schema.get(key).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn resolve_reference<'a>(reference: &str, root: &'a Value) -> Option<&'a Value> {
    root.pointer(reference.strip_prefix('#')?)
}

fn combine_all(left: &[Schema], right: &[Schema]) -> Vec<Schema> {
    let pairs = left.iter().flat_map(|left| right.iter().map(move |right| (left, right)));
    pairs.filter_map(|(left, right)| merge_schemas(left, right)).take(MAX_VARIANTS).collect()
}

/// A schema that asks for what both ask for; none where both can't be had.
fn merge_schemas(left: &Schema, right: &Schema) -> Option<Schema> {
    let mut merged = left.clone();
    for (key, other) in right {
        let value = match merged.get(key) {
            None => other.clone(),
            Some(own) => merge_keyword(key, own, other)?,
        };
        merged.insert(key.clone(), value);
    }
    Some(merged)
}

fn merge_keyword(key: &str, own: &Value, other: &Value) -> Option<Value> {
    let larger = || if own.as_f64() < other.as_f64() { other } else { own }.clone();
    let smaller = || if own.as_f64() > other.as_f64() { other } else { own }.clone();
    Some(match key {
        "type" => common_types(own, other)?,
        "enum" => common_values(own, other)?,
        "const" if own != other => return None,
        "required" => merge_lists(own, other),
        "properties" => merge_properties(own, other),
        "additionalProperties" if own == &Value::Bool(false) || other == &Value::Bool(false) => Value::Bool(false),
        "items" | "additionalProperties" => json!({"allOf": [own, other]}),
        "minimum" | "exclusiveMinimum" | "minLength" | "minItems" | "minProperties" => larger(),
        "maximum" | "exclusiveMaximum" | "maxLength" | "maxItems" | "maxProperties" => smaller(),
        "uniqueItems" => Value::from(own == &Value::Bool(true) || other == &Value::Bool(true)),
        _ => own.clone(),
    })
}

fn common_types(own: &Value, other: &Value) -> Option<Value> {
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

fn common_values(own: &Value, other: &Value) -> Option<Value> {
    let (own, other) = (own.as_array()?, other.as_array()?);
    let common: Vec<Value> = own.iter().filter(|value| other.contains(value)).cloned().collect();
    (!common.is_empty()).then_some(Value::Array(common))
}

fn merge_lists(own: &Value, other: &Value) -> Value {
    let mut all = own.as_array().cloned().unwrap_or_default();
    for value in other.as_array().into_iter().flatten() {
        if !all.contains(value) {
            all.push(value.clone());
        }
    }
    Value::Array(all)
}

fn merge_properties(own: &Value, other: &Value) -> Value {
    let mut all = own.as_object().cloned().unwrap_or_default();
    for (name, schema) in other.as_object().into_iter().flatten() {
        let both = all.get(name).map(|own| json!({"allOf": [own, schema]}));
        all.insert(name.clone(), both.unwrap_or_else(|| schema.clone()));
    }
    Value::Object(all)
}
