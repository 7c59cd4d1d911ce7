//! JSON in a reply, and the schemas that it has to fit.

use jsonschema::Validator;
use serde_json::Value;

/// How many of the validator's words are told.
const ERRORS_TOLD: usize = 8;
/// How long each may be, in characters: they can quote the reply.
const ERROR_LENGTH: usize = 400;

/// A schema that can be held against a reply; the error says what is wrong with the schema.
///
/// Nothing is fetched for a `$ref` to another document: such a schema is refused.
pub(super) fn validator(schema: &Value) -> Result<Validator, String> {
    if !schema.is_object() && !schema.is_boolean() {
        return Err("a JSON Schema is an object".to_owned());
    }
    let built = jsonschema::options().offline().build(schema);
    built.map_err(|error| shorten(&format!("at `{}`: {error}", error.instance_path())))
}

/// What is wrong with an instance, a line each; none when it fits.
pub(super) fn violations(validator: &Validator, instance: &Value) -> Option<String> {
    let mut errors = validator.iter_errors(instance).map(|error| {
        let path = error.instance_path().to_string();
        let place = if path.is_empty() { "the whole".to_owned() } else { format!("`{path}`") };
        shorten(&format!("- {place}: {error}"))
    });
    let told: Vec<String> = errors.by_ref().take(ERRORS_TOLD).collect();
    let more = errors.next().map(|_| "- and more".to_owned());
    (!told.is_empty()).then(|| told.into_iter().chain(more).collect::<Vec<_>>().join("\n"))
}

fn shorten(words: &str) -> String {
    match words.char_indices().nth(ERROR_LENGTH) {
        Some((end, _)) => format!("{}…", &words[..end]),
        None => words.to_owned(),
    }
}

/// The JSON in a reply, as text and as a value: all of it, or what stands in its Markdown fence, or what stands between
/// its first bracket and its last. The error is the parser's.
pub(super) fn find(reply: &str) -> Result<(&str, Value), serde_json::Error> {
    let whole = reply.trim();
    let first = match parse(whole) {
        Ok(found) => return Ok(found),
        Err(error) => error,
    };
    [fenced(whole), bracketed(whole)].into_iter().flatten().find_map(|text| parse(text).ok()).ok_or(first)
}

fn parse(text: &str) -> Result<(&str, Value), serde_json::Error> {
    serde_json::from_str(text).map(|value| (text, value))
}

/// The inside of the first Markdown fence; an unclosed one goes to the end.
fn fenced(text: &str) -> Option<&str> {
    let (_, rest) = text.split_once("```")?;
    let (_, inside) = rest.split_once('\n')?;
    // The last fence, because a string in the JSON can hold one.
    Some(inside.rsplit_once("```").map_or(inside, |(inside, _)| inside).trim())
}

fn bracketed(text: &str) -> Option<&str> {
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
            let (text, value) = find(reply).unwrap_or_else(|error| panic!("{reply}: {error}"));
            assert_eq!((text, value), (r#"{"a": 1}"#, json!({"a": 1})), "{reply}");
        }
        let nested = "```json\n{\"a\": \"```\\n\"}\n```";
        assert_eq!(find(nested).unwrap().1, json!({"a": "```\n"}));
        assert!(find("no").is_err() && find("").is_err() && find("}{").is_err() && find("```").is_err());
    }

    #[test]
    fn a_schema_that_points_elsewhere_is_refused_and_nothing_is_fetched() {
        let error = validator(&json!({"$ref": "http://127.0.0.1:1/schema.json"})).unwrap_err();
        assert!(error.contains("127.0.0.1:1"), "{error}");
        assert!(validator(&json!({"$ref": "file:///etc/hostname"})).is_err());
        assert!(validator(&json!({"type": 7})).is_err());
        assert!(validator(&json!("string")).is_err());
        let own = json!({"$ref": "#/$defs/a", "$defs": {"a": {"type": "integer"}}});
        assert_eq!(violations(&validator(&own).unwrap(), &json!(7)), None);
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place_and_within_bounds() {
        let schema = json!({"type": "object", "properties": {"list": {"items": {"type": "integer"}}}});
        let validator = validator(&schema).unwrap();
        let words = violations(&validator, &json!({"list": [1, "x".repeat(10_000)]})).unwrap();
        assert!(words.starts_with("- `/list/1`: ") && words.len() < 2000, "{words}");
        let many = violations(&validator, &json!({"list": vec!["x"; 100]})).unwrap();
        assert_eq!(many.lines().count(), ERRORS_TOLD + 1);
    }
}
