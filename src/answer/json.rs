//! JSON in a reply, and the schemas that it has to fit.

use std::collections::HashMap;
use std::error::Error;

use jsonschema::error::ValidationErrorKind;
use jsonschema::{PatternOptions, Retrieve, Uri, ValidationError, Validator};
use serde_json::Value;

use crate::text::ellipsize;

/// How many validation errors are reported.
const MAX_ERRORS: usize = 8;
/// Longest validation error, in characters: it can quote the reply.
const MAX_ERROR_CHARS: usize = 400;

/// For a larger reply, in bytes, only the first error is computed: there could be one for each of its bytes.
const MAX_FULL_REPORT_BYTES: usize = 64 * 1024;
/// The most parts a schema may have, each counted as often as `$ref`s lead to it: a few nested `allOf`s of two `$ref`s each
/// would otherwise keep a thread busy for years.
const MAX_PARTS: u64 = 100_000;
/// How many patterns a schema may have, and how large each may become when compiled, in bytes.
const MAX_PATTERNS: usize = 200;
const MAX_PATTERN_BYTES: usize = 256 * 1024;

/// Compiles a schema; the error explains why it is not supported.
///
/// Nothing is fetched for a `$ref` to another document: such a schema is refused. So is one that would cost more memory
/// or time than a schema has any use for. Patterns are those that can be matched in linear time: without looking ahead or
/// back, and without backreferences.
pub(super) fn build_validator(schema: &Value) -> Result<Validator, String> {
    if !schema.is_object() && !schema.is_boolean() {
        return Err("a JSON Schema must be an object".to_owned());
    }
    let mut parts = Parts { root: schema, patterns: 0, seen: HashMap::new() };
    if parts.count(schema) > MAX_PARTS {
        return Err(format!("it has more than {MAX_PARTS} parts, with each `$ref` counted in full"));
    }
    if parts.patterns > MAX_PATTERNS {
        return Err(format!("it has more than {MAX_PATTERNS} patterns"));
    }
    let patterns = PatternOptions::regex().size_limit(MAX_PATTERN_BYTES).dfa_size_limit(MAX_PATTERN_BYTES);
    let built = jsonschema::options().with_retriever(Offline).with_pattern_options(patterns).build(schema);
    built.map_err(|error| shorten_message(&schema_error(&error)))
}

/// Fetches nothing, even if another crate turns on `jsonschema`'s resolvers through feature unification.
struct Offline;

impl Retrieve for Offline {
    fn retrieve(&self, _: &Uri<String>) -> Result<Value, Box<dyn Error + Send + Sync>> {
        Err("nothing is fetched".into())
    }
}

/// Explains an unsupported schema to its author.
fn schema_error(error: &ValidationError<'_>) -> String {
    use ValidationErrorKind::{Format, Pattern, Referencing};
    use jsonschema::ReferencingError::{
        InvalidAnchor, InvalidUri, NoSuchAnchor, PointerToNowhere, UnknownSpecification, Unretrievable,
    };
    // As an instance of what a schema can be; a pattern that can't be compiled has a place in the schema alone.
    let path = match error.instance_path().to_string() {
        path if path.is_empty() && matches!(error.kind(), Format { .. }) => error.schema_path().to_string(),
        path => path,
    };
    let place = if path.is_empty() { "it".to_owned() } else { format!("`{path}`") };
    match error.kind() {
        Referencing(Unretrievable { uri, .. }) => {
            format!(
                "a `$ref` points to {uri:?}, which is not fetched: point it at a part of this schema, as `#/$defs/…` does"
            )
        }
        Referencing(PointerToNowhere { pointer }) => {
            format!("a `$ref` points to {pointer:?}, which is not in the schema")
        }
        Referencing(NoSuchAnchor { anchor } | InvalidAnchor { anchor }) => {
            format!("a `$ref` points to the anchor {anchor:?}, which is not in the schema")
        }
        Referencing(InvalidUri(_)) => "a `$ref` or an `$id` is not a URI".to_owned(),
        Referencing(UnknownSpecification { specification }) => {
            format!("its `$schema` {specification:?} is unknown: remove it")
        }
        Referencing(_) => "a `$ref` does not point into the schema".to_owned(),
        // A key of `patternProperties` is the end of the place.
        Format { .. } | Pattern { .. } if !error.instance().is_string() => {
            format!("{place} is not a supported pattern")
        }
        Format { .. } | Pattern { .. } => {
            format!("{place} has the unsupported value {}", error.instance())
        }
        _ if path.is_empty() => format!("{error}"),
        _ => format!("{place} can't be {}", error.instance()),
    }
}

/// Counts the parts of a schema that validation may visit.
struct Parts<'a> {
    root: &'a Value,
    patterns: usize,
    /// The targets of `$ref`s: none while one is being counted, so that a circle ends.
    seen: HashMap<&'a str, Option<u64>>,
}

impl<'a> Parts<'a> {
    fn count(&mut self, part: &'a Value) -> u64 {
        match part {
            Value::Object(map) => {
                let inside = map.iter().map(|(key, value)| {
                    self.patterns += usize::from(key == "pattern" && value.is_string());
                    if let (true, Value::Object(patterns)) = (key == "patternProperties", value) {
                        self.patterns += patterns.len();
                    }
                    match value {
                        Value::String(target) if key == "$ref" => self.count_target(target),
                        value => self.count(value),
                    }
                });
                inside.fold(1, u64::saturating_add)
            }
            Value::Array(list) => list.iter().map(|value| self.count(value)).fold(1, u64::saturating_add),
            _ => 0,
        }
    }

    fn count_target(&mut self, target: &'a str) -> u64 {
        if let Some(counted) = self.seen.get(target) {
            return counted.unwrap_or(1);
        }
        self.seen.insert(target, None);
        let parts =
            target.strip_prefix('#').and_then(|path| self.root.pointer(path)).map_or(1, |part| self.count(part));
        self.seen.insert(target, Some(parts));
        parts
    }
}

/// Validation errors of an instance of `size` bytes, one per line; none if it is valid.
pub(super) fn violations(validator: &Validator, instance: &Value, size: usize) -> Option<String> {
    let words = |error: &ValidationError<'_>| {
        let path = error.instance_path().to_string();
        let place = if path.is_empty() { "the whole".to_owned() } else { format!("`{path}`") };
        match error.kind() {
            ValidationErrorKind::FalseSchema => shorten_message(&format!("- {place}: no value is allowed here")),
            _ => shorten_message(&format!("- {place}: {error}")),
        }
    };
    if size > MAX_FULL_REPORT_BYTES {
        return validator.validate(instance).err().map(|error| words(&error));
    }
    let mut errors = validator.iter_errors(instance).map(|error| words(&error));
    let told: Vec<String> = errors.by_ref().take(MAX_ERRORS).collect();
    let more = errors.next().map(|_| "- and more".to_owned());
    (!told.is_empty()).then(|| told.into_iter().chain(more).collect::<Vec<_>>().join("\n"))
}

fn shorten_message(message: &str) -> String {
    ellipsize(message, MAX_ERROR_CHARS).into_owned()
}

/// The JSON in a reply, as text and as a value: all of it, or what stands in its Markdown fence, or what stands between
/// its first bracket and its last. The error is the parser's.
pub(super) fn find_json(reply: &str) -> Result<(&str, Value), serde_json::Error> {
    let whole = reply.trim();
    let first = match parse_json(whole) {
        Ok(found) => return Ok(found),
        Err(error) => error,
    };
    [inside_fence(whole), inside_brackets(whole)]
        .into_iter()
        .flatten()
        .find_map(|text| parse_json(text).ok())
        .ok_or(first)
}

fn parse_json(text: &str) -> Result<(&str, Value), serde_json::Error> {
    serde_json::from_str(text).map(|value| (text, value))
}

/// The inside of the first Markdown fence; an unclosed one extends to the end.
fn inside_fence(text: &str) -> Option<&str> {
    let (_, rest) = text.split_once("```")?;
    let (_, inside) = rest.split_once('\n')?;
    // Up to the last fence, because a string in the JSON can contain one.
    Some(inside.rsplit_once("```").map_or(inside, |(inside, _)| inside).trim())
}

fn inside_brackets(text: &str) -> Option<&str> {
    let start = text.find(['{', '['])?;
    let end = text.rfind(['}', ']'])?;
    text.get(start..=end)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn json_is_found_bare_fenced_and_between_words() {
        for reply in [
            r#"{"a": 1}"#,
            " \n{\"a\": 1}\n",
            "```json\n{\"a\": 1}\n```",
            "```\n{\"a\": 1}\n```\n",
            "```json\n{\"a\": 1}",
            "Here it is:\n```json\n{\"a\": 1}\n```\nAnything else?",
            "Sure: {\"a\": 1}. Done.",
        ] {
            let (text, value) = find_json(reply).unwrap_or_else(|error| panic!("{reply}: {error}"));
            assert_eq!((text, value), (r#"{"a": 1}"#, json!({"a": 1})), "{reply}");
        }
        let nested = "```json\n{\"a\": \"```\\n\"}\n```";
        assert_eq!(find_json(nested).unwrap().1, json!({"a": "```\n"}));
        assert!(
            find_json("no").is_err() && find_json("").is_err() && find_json("}{").is_err() && find_json("```").is_err()
        );
    }

    #[test]
    fn a_schema_that_points_elsewhere_is_refused_and_nothing_is_fetched() {
        let error = build_validator(&json!({"$ref": "http://127.0.0.1:1/schema.json"})).unwrap_err();
        assert!(error.contains("127.0.0.1:1"), "{error}");
        assert!(build_validator(&json!({"$ref": "file:///etc/hostname"})).is_err());
        assert_eq!(build_validator(&json!({"type": 7})).unwrap_err(), "`/type` can't be 7");
        let nowhere = build_validator(&json!({"properties": {"a": {"$ref": "#/$defs/b"}}})).unwrap_err();
        assert_eq!(nowhere, "a `$ref` points to \"/$defs/b\", which is not in the schema");
        let pattern = build_validator(&json!({"properties": {"a": {"pattern": "(?=x)"}}})).unwrap_err();
        assert_eq!(pattern, "`/properties/a/pattern` has the unsupported value \"(?=x)\"");
        let key = build_validator(&json!({"patternProperties": {"(?=x)": {"type": "integer"}}})).unwrap_err();
        assert_eq!(key, "`/patternProperties/(?=x)` is not a supported pattern");
        assert!(build_validator(&json!("string")).is_err());
        let own = json!({"$ref": "#/$defs/a", "$defs": {"a": {"type": "integer"}}});
        assert_eq!(violations(&build_validator(&own).unwrap(), &json!(7), 1), None);
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place_and_within_bounds() {
        let schema = json!({"type": "object", "properties": {"list": {"items": {"type": "integer"}}}});
        let validator = build_validator(&schema).unwrap();
        let words = violations(&validator, &json!({"list": [1, "x".repeat(10_000)]}), 10_000).unwrap();
        assert!(words.starts_with("- `/list/1`: ") && words.len() < 2000, "{words}");
        let many = violations(&validator, &json!({"list": vec!["x"; 100]}), 100).unwrap();
        assert_eq!(many.lines().count(), MAX_ERRORS + 1);
        let large = violations(&validator, &json!({"list": vec!["x"; 100]}), MAX_FULL_REPORT_BYTES + 1).unwrap();
        assert_eq!(large.lines().count(), 1);
    }

    #[test]
    fn a_schema_that_costs_too_much_is_refused_at_once() {
        let mut defs = serde_json::Map::new();
        for n in 0..30 {
            let next = json!({"$ref": format!("#/$defs/a{}", n + 1)});
            defs.insert(format!("a{n}"), json!({"allOf": [next, next]}));
        }
        defs.insert("a30".to_owned(), json!({"type": "integer"}));
        let error = build_validator(&json!({"$ref": "#/$defs/a0", "$defs": defs})).unwrap_err();
        assert!(error.contains("parts"), "{error}");
        assert!(build_validator(&json!({"pattern": "(?<=(?:\\w{1000}){1000}|a)b"})).is_err());
        assert!(build_validator(&json!({"pattern": "(?:\\w{1000}){1000}"})).is_err());
        let many: serde_json::Map<String, Value> = (0..201).map(|n| (n.to_string(), json!({"pattern": "a"}))).collect();
        assert!(build_validator(&json!({"properties": many})).unwrap_err().contains("patterns"));
        let tree = json!({"$ref": "#/$defs/n", "$defs": {"n": {"properties": {"l": {"$ref": "#/$defs/n"}, "r": {"$ref": "#"}}}}});
        assert!(build_validator(&tree).is_ok(), "a circle is no cost");
        assert!(build_validator(&json!({"pattern": "^\\d{4}-\\d{2}-\\d{2}$"})).is_ok());
    }
}
