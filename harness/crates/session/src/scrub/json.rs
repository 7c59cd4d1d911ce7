//! The strings and numbers of a JSON text, with their places, so that everything else stays byte for byte.

use std::borrow::Cow;
use std::ops::Range;

use serde::de::IgnoredAny;

use super::Edit;

/// A string or a number in a JSON text.
#[derive(Debug)]
pub(super) struct Token<'a> {
    /// Where it stands; a string without its quotes.
    pub(super) range: Range<usize>,
    /// The name that it is the value of: its key, or the flag before it in a list.
    pub(super) name: Option<&'a str>,
    /// The keys that lead to it.
    pub(super) path: &'a [&'a str],
    pub(super) is_key: bool,
    pub(super) is_number: bool,
}

impl Token<'_> {
    /// What the string says.
    pub(super) fn decode<'t>(&self, text: &'t str) -> Cow<'t, str> {
        decode_string(&text[self.range.clone()])
    }
}

/// Whether a text is a JSON object or array.
pub(super) fn is_container(text: &str) -> bool {
    let text = text.trim();
    let brackets = (text.as_bytes().first(), text.as_bytes().last());
    matches!(brackets, (Some(b'{'), Some(b'}')) | (Some(b'['), Some(b']')))
        && serde_json::from_str::<IgnoredAny>(text).is_ok()
}

/// What a raw string says.
pub(super) fn decode_string(raw: &str) -> Cow<'_, str> {
    if !raw.contains('\\') {
        return Cow::Borrowed(raw);
    }
    // Half of a surrogate pair says nothing that could be decoded.
    serde_json::from_str(&format!("\"{raw}\"")).map_or(Cow::Borrowed(raw), Cow::Owned)
}

/// Edits of a decoded string, as edits of the raw one.
pub(super) fn to_raw_edits(raw: &str, edits: &[Edit]) -> Vec<Edit> {
    if edits.is_empty() || !raw.contains('\\') || matches!(decode_string(raw), Cow::Borrowed(_)) {
        return edits.to_vec();
    }
    let mut at = Walk { raw, position: 0, decoded: 0 };
    let moved = edits.iter().map(|edit| {
        let start = at.go_to(edit.range.start);
        Edit { range: start..at.go_to(edit.range.end), with: edit.with.clone() }
    });
    moved.collect()
}

/// Goes along a raw string and knows how far along the decoded one that is.
struct Walk<'a> {
    raw: &'a str,
    position: usize,
    decoded: usize,
}

impl Walk<'_> {
    fn go_to(&mut self, decoded: usize) -> usize {
        while self.decoded < decoded && self.position < self.raw.len() {
            let (raw, meant) = self.next_lengths();
            self.position += raw;
            self.decoded += meant;
        }
        self.position
    }

    /// The lengths of the next character: as it is written, and as it is meant.
    fn next_lengths(&self) -> (usize, usize) {
        let rest = &self.raw[self.position..];
        let unit = |from: usize| u32::from_str_radix(rest.get(from..from + 4)?, 16).ok();
        match (rest.as_bytes(), unit(2)) {
            ([b'\\', b'u', ..], Some(0xD800..0xDC00)) => (12, 4),
            ([b'\\', b'u', ..], Some(unit)) => (6, char::from_u32(unit).map_or(3, char::len_utf8)),
            ([b'\\', ..], _) => (2, 1),
            _ => rest.chars().next().map_or((1, 1), |c| (c.len_utf8(), c.len_utf8())),
        }
    }
}

struct Frame<'a> {
    is_object: bool,
    /// The key of the value that comes next; in a list, that of the list.
    key: Option<&'a str>,
    expects_key: bool,
    /// The string before, in a list.
    before: Option<&'a str>,
}

/// Visits every string and number of a JSON text that is known to be valid.
pub(super) fn visit_tokens(text: &str, mut visit: impl FnMut(&Token<'_>)) {
    let bytes = text.as_bytes();
    let mut frames: Vec<Frame<'_>> = Vec::new();
    let mut path: Vec<&str> = Vec::new();
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'{' | b'[' => {
                let key = frames.last().and_then(|frame| frame.key);
                path.push(key.unwrap_or_default());
                let is_object = *byte == b'{';
                let inherited = key.filter(|_| !is_object);
                frames.push(Frame { is_object, key: inherited, expects_key: is_object, before: None });
            }
            b'}' | b']' => {
                frames.pop();
                path.pop();
            }
            b',' => {
                if let Some(frame) = frames.last_mut() {
                    frame.expects_key = frame.is_object;
                }
            }
            b'"' => {
                let end = end_of_string(bytes, at + 1);
                visit_string(text, at + 1..end, &mut frames, &path, &mut visit);
                at = end;
            }
            b'-' | b'0'..=b'9' => {
                let length =
                    bytes[at..].iter().take_while(|b| matches!(b, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E'));
                let range = at..at + length.count();
                let name = frames.last().and_then(|frame| frame.key);
                visit(&Token { range: range.clone(), name, path: &path, is_key: false, is_number: true });
                at = range.end - 1;
            }
            _ => {}
        }
        at += 1;
    }
}

fn visit_string<'t>(
    text: &'t str,
    range: Range<usize>,
    frames: &mut [Frame<'t>],
    path: &[&'t str],
    visit: &mut impl FnMut(&Token<'_>),
) {
    let raw = &text[range.clone()];
    let Some(frame) = frames.last_mut() else {
        return visit(&Token { range, name: None, path, is_key: false, is_number: false });
    };
    let flag = frame.before.filter(|before| super::rules::is_flag(before) && super::rules::is_secret_name(before));
    visit(&Token { range, name: flag.or(frame.key), path, is_key: frame.expects_key, is_number: false });
    if frame.expects_key {
        frame.key = Some(raw);
        frame.expects_key = false;
    } else if !frame.is_object {
        frame.before = Some(raw);
    }
}

fn end_of_string(bytes: &[u8], mut at: usize) -> usize {
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => return at,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    bytes.len()
}
