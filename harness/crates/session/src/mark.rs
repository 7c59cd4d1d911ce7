//! The mark protocol: shows that a reply belongs to its request and is complete.
//!
//! A prompt carries `[[mark:HEX]]`. The mock CLI and the stand-in for the Messages API put `⟦HEX⟧` before every piece of
//! the reply and `⟦/HEX⟧` after the last one; in JSON, `⟦HEX⟧` stands inside the strings. A client can then tell a reply
//! that contains another request's text, or lacks its end, without knowing what the reply should say.

/// The longest mark, in hex digits.
const MAX_DIGITS: usize = 32;

/// Shorter hex words between mark brackets are text of a reply and no mark.
const MIN_DIGITS_IN_REPLY: usize = 8;

const OPEN: char = '⟦';
const CLOSE: char = '⟧';

/// Why a reply is not exactly that of its request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MarkError {
    /// The reply carries this mark of another request; a closing mark begins with `/`.
    Foreign(String),
    /// The reply carries no mark; this is its text.
    Missing(String),
    /// The reply lacks the closing mark; this is its text without the marks.
    Cut(String),
    /// This follows its closing mark.
    Trailing(String),
}

/// The text that asks for a marked reply.
#[must_use]
pub fn prompt_tag(mark: &str) -> String {
    format!("[[mark:{mark}]]")
}

/// The first mark that a prompt asks for: 1 to 32 hex digits.
#[must_use]
pub fn find_in_prompt(prompt: &str) -> Option<&str> {
    prompt.split("[[mark:").skip(1).find_map(|rest| {
        let (mark, _) = rest.split_once("]]")?;
        ((1..=MAX_DIGITS).contains(&mark.len()) && is_hex(mark)).then_some(mark)
    })
}

/// The mark before each piece of a reply.
#[must_use]
pub fn opening(mark: &str) -> String {
    format!("{OPEN}{mark}{CLOSE}")
}

/// The mark after the last piece of a reply.
#[must_use]
pub fn closing(mark: &str) -> String {
    format!("{OPEN}/{mark}{CLOSE}")
}

/// Marks the pieces of a whole reply.
#[must_use]
pub fn mark_pieces(pieces: &[String], mark: &str) -> Vec<String> {
    let mut marked: Vec<String> = pieces.iter().map(|piece| opening(mark) + piece).collect();
    if let Some(last) = marked.last_mut() {
        last.push_str(&closing(mark));
    }
    marked
}

/// A mark of the same length that differs from `mark` in every digit.
#[must_use]
pub fn another_mark(mark: &str) -> String {
    mark.chars().map(|digit| if digit == '0' { '1' } else { '0' }).collect()
}

/// All marks in a reply; a closing one begins with `/`.
#[must_use]
pub fn find_in_reply(text: &str) -> Vec<&str> {
    let inside = text.split(OPEN).skip(1).filter_map(|rest| rest.split_once(CLOSE));
    inside.map(|(name, _)| name).filter(|name| is_reply_mark(name)).collect()
}

/// The text of a whole reply without its marks, if each of them is `mark` and the last one closes the reply.
pub fn strip_marks(reply: &str, mark: &str) -> Result<String, MarkError> {
    let mut text = String::with_capacity(reply.len());
    let (mut rest, mut is_marked) = (reply, false);
    while let Some((before, inside)) = rest.split_once(OPEN) {
        text.push_str(before);
        let Some((name, after)) = inside.split_once(CLOSE).filter(|(name, _)| is_reply_mark(name)) else {
            text.push(OPEN);
            rest = inside;
            continue;
        };
        match name.strip_prefix('/') {
            None if name == mark => is_marked = true,
            Some(end) if end == mark => {
                return match (is_marked, after) {
                    (false, _) => Err(MarkError::Missing(text + after)),
                    (true, "") => Ok(text),
                    (true, after) => Err(MarkError::Trailing(after.to_owned())),
                };
            }
            _ => return Err(MarkError::Foreign(name.to_owned())),
        }
        rest = after;
    }
    text.push_str(rest);
    Err(if is_marked { MarkError::Cut(text) } else { MarkError::Missing(text) })
}

fn is_reply_mark(name: &str) -> bool {
    let digits = name.strip_prefix('/').unwrap_or(name);
    digits.len() >= MIN_DIGITS_IN_REPLY && is_hex(digits)
}

fn is_hex(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MARK: &str = "00c0ffee";

    #[test]
    fn a_mark_is_one_to_32_hex_digits() {
        assert_eq!(find_in_prompt("x [[mark:00ff]] y"), Some("00ff"));
        assert_eq!(find_in_prompt("[[mark:]] [[mark:xyz]] [[mark:1]]"), Some("1"));
        assert_eq!(find_in_prompt(&format!("[[mark:{}]]", "a".repeat(33))), None);
        assert_eq!(find_in_prompt("[[mark:12"), None);
        assert_eq!(find_in_prompt(&prompt_tag(MARK)), Some(MARK));
    }

    #[test]
    fn a_marked_reply_is_stripped_to_its_text() {
        let pieces = ["one ".to_owned(), "⟦two⟧ ⟦add⟧ ⟦".to_owned()];
        let reply = mark_pieces(&pieces, MARK).concat();
        assert_eq!(reply, "⟦00c0ffee⟧one ⟦00c0ffee⟧⟦two⟧ ⟦add⟧ ⟦⟦/00c0ffee⟧");
        assert_eq!(strip_marks(&reply, MARK), Ok(pieces.concat()));
        assert_eq!(find_in_reply(&reply), [MARK, MARK, "/00c0ffee"]);
    }

    #[test]
    fn a_reply_that_is_not_exactly_its_own_is_refused() {
        let strip = |reply: &str| strip_marks(reply, MARK).unwrap_err();
        let another = another_mark(MARK);
        assert_eq!(another, "11010000");
        assert_eq!(strip(&mark_pieces(&["one".to_owned()], &another).concat()), MarkError::Foreign(another));
        assert_eq!(strip("one ⟦two⟧"), MarkError::Missing("one ⟦two⟧".to_owned()));
        assert_eq!(strip("⟦00c0ffee⟧one ⟦00c0"), MarkError::Cut("one ⟦00c0".to_owned()));
        assert_eq!(strip("⟦00c0ffee⟧one⟦/00c0ffee⟧more"), MarkError::Trailing("more".to_owned()));
    }
}
