//! The text of a message's content.

use crate::answer::Invalid;
use crate::openai::chat::{Content, Part};

/// The text of `content`, each part on lines of its own. `param` is its path in the request, and `text_kinds` are the types
/// of part that hold text in this API.
pub(super) fn content_text(param: &str, content: Content, text_kinds: &[&str]) -> Result<String, Invalid> {
    let parts = match content {
        Content::Text(text) => return Ok(text),
        Content::Parts(parts) => parts,
    };
    if parts.is_empty() {
        return Err(Invalid::new(param, format!("`{param}` is an empty list: send at least one part")));
    }
    let texts =
        parts.into_iter().enumerate().map(|(index, part)| part_text(&format!("{param}[{index}]"), part, text_kinds));
    Ok(texts.collect::<Result<Vec<_>, _>>()?.join("\n"))
}

fn part_text(param: &str, Part { kind, text, refusal }: Part, text_kinds: &[&str]) -> Result<String, Invalid> {
    let (field, text) = match kind.as_str() {
        "refusal" => ("refusal", refusal),
        kind if text_kinds.contains(&kind) => ("text", text),
        _ => return Err(Invalid::new(param, format!("parts of type {kind:?} are not supported: send text only"))),
    };
    text.ok_or_else(|| Invalid::missing(format!("{param}.{field}"), format!("a `{kind}` part needs a `{field}`")))
}
