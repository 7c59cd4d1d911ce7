//! Cutting text that others wrote to a length that a message or a log line can hold. Pure.

use std::borrow::Cow;

/// The first `max_chars` characters of `text`.
pub(crate) fn prefix(text: &str, max_chars: usize) -> &str {
    text.char_indices().nth(max_chars).map_or(text, |(end, _)| &text[..end])
}

/// The first `max_chars` characters of `text`, and an ellipsis if there are more.
pub(crate) fn ellipsize(text: &str, max_chars: usize) -> Cow<'_, str> {
    match prefix(text, max_chars) {
        all if all.len() == text.len() => text.into(),
        cut => format!("{cut}…").into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_cut_by_characters_and_only_if_it_is_longer() {
        assert_eq!((prefix("äöü", 2), prefix("äöü", 3), prefix("", 1)), ("äö", "äöü", ""));
        assert_eq!((ellipsize("äöü", 2), ellipsize("äöü", 3)), ("äö…".into(), "äöü".into()));
    }
}
