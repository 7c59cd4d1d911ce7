//! Strings: of a format, of a pattern, or a few words with the caller's mark.

use leakgate_session::mark;
use serde_json::{Map, Value};

use super::{get_count, pattern};

/// An example of each format that JSON Schema knows.
const FORMATS: [(&str, &str); 19] = [
    ("date-time", "2026-01-28T12:00:00Z"),
    ("date", "2026-01-28"),
    ("time", "12:00:00Z"),
    ("duration", "P1D"),
    ("email", "someone@example.com"),
    ("idn-email", "someone@example.com"),
    ("hostname", "example.com"),
    ("idn-hostname", "example.com"),
    ("ipv4", "192.0.2.1"),
    ("ipv6", "2001:db8::1"),
    ("uri", "https://example.com/"),
    ("uri-reference", "https://example.com/"),
    ("iri", "https://example.com/"),
    ("iri-reference", "https://example.com/"),
    ("uri-template", "https://example.com/{id}"),
    ("uuid", "00000000-0000-4000-8000-000000000000"),
    ("json-pointer", "/a"),
    ("relative-json-pointer", "0"),
    ("regex", "^a$"),
];

/// No string is filled up to more, in characters.
const MAX_CHARS: usize = 1 << 20;

/// A string for the property `name`, the `number`th of its instance.
pub(super) fn make_string(schema: &Map<String, Value>, name: &str, number: u32, mark: Option<&str>) -> String {
    let format = schema.get("format").and_then(Value::as_str);
    if let Some((_, example)) = FORMATS.iter().find(|(known, _)| Some(*known) == format) {
        return (*example).to_owned();
    }
    let characters = |key| get_count(schema, key).and_then(|count| usize::try_from(count).ok());
    let (shortest, longest) = (characters("minLength").unwrap_or(0), characters("maxLength").unwrap_or(usize::MAX));
    let pattern = schema.get("pattern").and_then(Value::as_str);
    if let Some(example) = pattern.and_then(|pattern| pattern::make_example(pattern, shortest)) {
        return example;
    }
    let plain = format!("{name} {number}");
    let mark = mark.map(mark::opening);
    let marked = mark.iter().map(|mark| format!("{mark} {plain}"));
    let mut candidates = marked.chain(mark.clone());
    let fitting = candidates.find(|text| text.chars().count() <= longest);
    let text = fitting.unwrap_or_else(|| plain.chars().take(longest).collect());
    let missing = shortest.saturating_sub(text.chars().count()).min(MAX_CHARS);
    text + &".".repeat(missing)
}
