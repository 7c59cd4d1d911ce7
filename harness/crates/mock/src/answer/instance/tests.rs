//! Whether an instance is one is asked of a validator that knows nothing of how it was made.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::make_instance;

const MARK: &str = "00c0ffee";

/// An instance that the validator accepts, formats included; the same with a mark.
#[track_caller]
fn valid(schema: &Value) -> Value {
    let validator = jsonschema::options().should_validate_formats(true).build(schema).expect("a schema");
    let made = make_instance(schema, None).unwrap_or_else(|| panic!("nothing was made for {schema}"));
    for instance in [&made, &make_instance(schema, Some(MARK)).expect("made once")] {
        let errors: Vec<String> = validator.iter_errors(instance).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{errors:?}\nschema: {schema}\ninstance: {instance}");
    }
    made
}

#[test]
fn a_model_with_definitions_and_optional_fields() {
    let made = valid(&json!({
        "$defs": {
            "Address": {
                "properties": {
                    "street": {"title": "Street", "type": "string"},
                    "city": {"anyOf": [{"type": "string"}, {"type": "null"}], "default": null, "title": "City"}
                },
                "required": ["street"], "title": "Address", "type": "object"
            },
            "Role": {"enum": ["admin", "user"], "title": "Role", "type": "string"}
        },
        "properties": {
            "name": {"minLength": 1, "title": "Name", "type": "string"},
            "age": {"exclusiveMinimum": 0, "maximum": 150, "title": "Age", "type": "integer"},
            "email": {"anyOf": [{"format": "email", "type": "string"}, {"type": "null"}], "default": null},
            "home": {"$ref": "#/$defs/Address"},
            "others": {"items": {"$ref": "#/$defs/Address"}, "minItems": 1, "title": "Others", "type": "array"},
            "role": {"$ref": "#/$defs/Role", "default": "user"},
            "born": {"format": "date", "title": "Born", "type": "string"},
            "scores": {"additionalProperties": {"type": "number"}, "title": "Scores", "type": "object"},
            "pair": {"maxItems": 2, "minItems": 2, "prefixItems": [{"type": "integer"}, {"type": "string"}],
                     "type": "array"},
            "kind": {"const": "person", "title": "Kind", "type": "string"}
        },
        "required": ["name", "age", "home", "others", "pair", "kind"],
        "title": "Person", "type": "object"
    }));
    assert_eq!(made["role"], "admin");
    assert_eq!((&made["age"], &made["pair"][0]), (&json!(1), &json!(1)));
    assert!(made["home"]["city"].is_string() && made["others"][1]["street"].is_string());
    assert!(made["scores"].as_object().is_some_and(|scores| scores.len() == 1));
}

#[test]
fn a_list_of_models_has_two_that_differ() {
    let schema = json!({
        "$defs": {
            "ExtractedEntity": {
                "properties": {
                    "name": {"description": "Name of the extracted entity", "title": "Name", "type": "string"},
                    "entity_type_id": {"description": "ID of the classified entity type.", "type": "integer"}
                },
                "required": ["name", "entity_type_id"], "title": "ExtractedEntity", "type": "object"
            }
        },
        "properties": {
            "extracted_entities": {
                "description": "List of extracted entities",
                "items": {"$ref": "#/$defs/ExtractedEntity"}, "title": "Extracted Entities", "type": "array"
            }
        },
        "required": ["extracted_entities"], "title": "ExtractedEntities", "type": "object"
    });
    assert_eq!(
        valid(&schema),
        json!({"extracted_entities": [{"name": "name 1", "entity_type_id": 1}, {"name": "name 2", "entity_type_id": 2}]})
    );
    let marked = make_instance(&schema, Some(MARK)).expect("made");
    assert_eq!(marked["extracted_entities"][1]["name"], "⟦00c0ffee⟧ name 2");
}

#[test]
fn edges_with_dates_that_may_be_null() {
    valid(&json!({
        "$defs": {"Edge": {
            "properties": {
                "relation_type": {"description": "FACT_PREDICATE_IN_SCREAMING_SNAKE_CASE", "type": "string"},
                "source_entity_id": {"type": "integer"},
                "target_entity_id": {"type": "integer"},
                "fact": {"type": "string"},
                "valid_at": {"anyOf": [{"type": "string"}, {"type": "null"}], "default": null},
                "invalid_at": {"anyOf": [{"type": "string"}, {"type": "null"}], "default": null}
            },
            "required": ["relation_type", "source_entity_id", "target_entity_id", "fact"], "type": "object"
        }},
        "properties": {"edges": {"items": {"$ref": "#/$defs/Edge"}, "type": "array"}},
        "required": ["edges"], "type": "object"
    }));
}

#[test]
fn a_strict_schema_with_nullable_types_and_a_tree() {
    let made = valid(&json!({
        "type": "object",
        "properties": {
            "unit": {"type": ["string", "null"], "enum": ["C", "F", null]},
            "note": {"type": ["null", "string"]},
            "tree": {"$ref": "#/$defs/node"},
            "list": {"$ref": "#/properties/tree"}
        },
        "required": ["unit", "note", "tree", "list"],
        "additionalProperties": false,
        "$defs": {"node": {
            "type": "object",
            "properties": {
                "value": {"type": "number"},
                "next": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]},
                "children": {"type": "array", "items": {"$ref": "#/$defs/node"}}
            },
            "required": ["value", "next", "children"],
            "additionalProperties": false
        }}
    }));
    assert!(made["note"].is_string() && made["tree"]["next"].is_object());
}

#[test]
fn a_schema_that_is_itself_below_comes_to_an_end() {
    valid(&json!({"type": "array", "items": {"$ref": "#"}}));
    valid(&json!({"properties": {"self": {"$ref": "#"}, "a": {"type": "string"}}, "required": ["a"]}));
    for endless in [
        json!({"type": "object", "properties": {"self": {"$ref": "#"}}, "required": ["self"]}),
        json!({"$ref": "#"}),
        json!({"$ref": "#/nowhere"}),
        json!({"type": "integer", "minimum": 2, "maximum": 1}),
        json!({"allOf": [{"type": "string"}, {"type": "object"}]}),
    ] {
        assert_eq!(make_instance(&endless, None), None, "{endless}");
    }
}

#[test]
fn patterns_are_followed() {
    for (pattern, shortest) in [
        ("^[A-Z]{3}-\\d{4}$", 0),
        ("^(red|green)$", 0),
        ("^[a-z_]+$", 12),
        ("^\\+?[0-9]{7,15}$", 10),
        ("^\\S+@\\S+\\.\\w+$", 0),
        ("colou?r", 0),
        ("^[^\\s/]*$", 3),
    ] {
        valid(&json!({"type": "string", "pattern": pattern, "minLength": shortest}));
    }
}

#[test]
fn a_mark_stands_where_it_fits() {
    let of = |schema: Value| make_instance(&schema, Some(MARK)).expect("made");
    assert_eq!(of(json!({"type": "string"})), "⟦00c0ffee⟧ text 1");
    assert_eq!(of(json!({"type": "string", "maxLength": 10})), "⟦00c0ffee⟧");
    assert_eq!(of(json!({"type": "string", "maxLength": 4})), "text");
    assert_eq!(of(json!({"type": "string", "enum": ["a"]})), "a");
    assert_eq!(of(json!({"type": "string", "minLength": 20})), "⟦00c0ffee⟧ text 1...");
}

fn leaf() -> impl Strategy<Value = Value> + Clone {
    const FORMATS: [&str; 10] =
        ["date-time", "date", "time", "email", "uri", "uuid", "ipv4", "ipv6", "hostname", "duration"];
    const PATTERNS: [&str; 5] = ["^[a-f0-9]{8}$", "^\\d{4}-\\d{2}$", "x+y*", "^(a|bc){2,3}$", "^\\p{L}+$"];
    const DEFINED: [&str; 2] = ["A", "B"];
    let lengths = (0..12_u64, 0..30_u64).prop_map(|(min, more)| json!({"minLength": min, "maxLength": min + more}));
    let text = lengths.prop_map(|mut schema| {
        schema["type"] = json!("string");
        schema
    });
    let range = (-50..50_i32, 0..40_i32, 1..6_i32, any::<(bool, bool)>()).prop_map(|(low, width, step, open)| {
        let (low_key, high_key) =
            (if open.0 { "exclusiveMinimum" } else { "minimum" }, if open.1 { "exclusiveMaximum" } else { "maximum" });
        json!({low_key: low, high_key: low + width + 2 * step + 1, "multipleOf": step})
    });
    let whole = range.clone().prop_map(|mut schema| {
        schema["type"] = json!("integer");
        schema
    });
    let real = (range, any::<bool>()).prop_map(|(mut schema, stepped)| {
        schema["type"] = json!("number");
        if !stepped {
            schema.as_object_mut().expect("an object").remove("multipleOf");
        }
        schema
    });
    prop_oneof![
        text,
        proptest::sample::select(&FORMATS[..]).prop_map(|format| json!({"type": "string", "format": format})),
        proptest::sample::select(&PATTERNS[..]).prop_map(|pattern| json!({"type": "string", "pattern": pattern})),
        whole,
        real,
        Just(json!({"type": "boolean"})),
        Just(json!({"type": "null"})),
        Just(json!({"type": ["null", "integer"], "maximum": 3})),
        Just(json!({"enum": ["a", 1, null]})),
        Just(json!({"const": {"a": [1]}})),
        Just(json!(true)),
        Just(json!({})),
        // A reference may go in circles, so that there is always a way out.
        proptest::sample::select(&DEFINED[..])
            .prop_map(|name| json!({"anyOf": [{"$ref": format!("#/$defs/{name}")}, {"type": "null"}]})),
    ]
}

fn object(inner: impl Strategy<Value = Value> + Clone) -> impl Strategy<Value = Value> {
    let properties = proptest::collection::btree_map("[a-d]", (inner.clone(), any::<bool>()), 0..4);
    let rest = prop_oneof![Just(json!(true)), Just(json!(false)), inner];
    (properties, rest, any::<bool>()).prop_map(|(properties, rest, is_told)| {
        let required: Vec<&String> =
            properties.iter().filter(|(_, (_, needed))| *needed).map(|(name, _)| name).collect();
        let mut schema = json!({"type": "object", "required": required});
        schema["properties"] = properties.iter().map(|(name, (schema, _))| (name.clone(), schema.clone())).collect();
        if is_told {
            schema["additionalProperties"] = rest;
        }
        schema
    })
}

fn node() -> impl Strategy<Value = Value> + Clone {
    leaf().prop_recursive(4, 40, 4, |inner| {
        let list = (inner.clone(), 0..3_u64, 0..3_u64).prop_map(
            |(items, min, more)| json!({"type": "array", "items": items, "minItems": min, "maxItems": min + more}),
        );
        let tuple = proptest::collection::vec(inner.clone(), 1..3)
            .prop_map(|items| json!({"type": "array", "prefixItems": items, "items": false}));
        let set = (0..4_u64).prop_map(
            |min| json!({"type": "array", "items": {"type": "string"}, "minItems": min, "uniqueItems": true}),
        );
        let either = proptest::collection::vec(inner.clone(), 1..3).prop_map(|choices| json!({"anyOf": choices}));
        let one = (object(inner.clone()), inner.clone()).prop_map(
            |(object, items)| json!({"oneOf": [object, {"type": "array", "items": items}, {"type": "string"}]}),
        );
        let all = (inner.clone(), inner.clone()).prop_map(|(a, b)| {
            json!({"allOf": [{"type": "object", "properties": {"a": a}, "required": ["a"]},
                             {"properties": {"b": b, "a": true}, "required": ["b"]}]})
        });
        prop_oneof![object(inner), list, tuple, set, either, one, all]
    })
}

proptest! {
    #[test]
    fn whatever_is_made_is_valid(mut root in object(node()), a in node(), b in node()) {
        root["$defs"] = json!({"A": a, "B": b});
        valid(&root);
    }
}
