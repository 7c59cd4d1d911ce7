//! Text from outside in Markdown: shown as it is, whatever it holds.

use super::sanitize;

/// Breaks what a renderer would find in finished text (mentions, references to issues, addresses) without being seen.
const APART: &str = "<!-- -->";

/// One line in which nothing is markup: no table's bar, no tag, no emphasis, no mention of a user, no link.
pub(super) fn escape_markdown(text: &str) -> String {
    let text = sanitize(text);
    let mut out = String::with_capacity(text.len());
    let mut before = ' ';
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        let next = letters.peek().copied().unwrap_or(' ');
        match letter {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            // Within a word it marks nothing, and metrics are full of them.
            '_' if before.is_alphanumeric() && next.is_alphanumeric() => out.push('_'),
            '@' => out.extend(["@", APART]),
            '#' => out.extend(["\\#", APART]),
            ':' if next == '/' => out.extend([":", APART]),
            '.' if before.eq_ignore_ascii_case(&'w') => out.extend([APART, "."]),
            // A number or a sign at the start of a line would begin a list.
            '.' | ')' | '+' | '-' | '=' if is_first_mark(&out) => out.extend(['\\', letter]),
            '\\' | '`' | '*' | '_' | '{' | '}' | '[' | ']' | '|' | '~' | '!' | '$' | '^' => out.extend(['\\', letter]),
            letter => out.push(letter),
        }
        before = letter;
    }
    out
}

/// The same, but what stands between back quotes is code.
pub(super) fn escape_around_code(text: &str) -> String {
    let text = sanitize(text);
    let parts = text.split('`').enumerate().filter(|(_, part)| !part.trim().is_empty());
    let written = parts.map(|(at, part)| if at % 2 == 1 { format!("`{part}`") } else { escape_part(part) });
    written.collect()
}

/// As it is within a line: [`escape_markdown`] cuts blanks off its ends.
fn escape_part(part: &str) -> String {
    let blank = |is: bool| if is { " " } else { "" };
    format!("{}{}{}", blank(part.starts_with(' ')), escape_markdown(part), blank(part.ends_with(' ')))
}

/// The same for a line of HTML between Markdown, where backslashes would be seen.
pub(super) fn escape_html(text: &str) -> String {
    let text =
        sanitize(text).replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace("://", ":<!-- -->//");
    text.replace('@', "@<!-- -->").replace('#', "#<!-- -->").replace("ww.", "ww<!-- -->.")
}

fn is_first_mark(so_far: &str) -> bool {
    so_far.chars().all(|letter| letter.is_ascii_digit())
}

/// A block of code that no run of back quotes in it can end.
pub(super) fn fence_code(text: &str) -> String {
    let longest = text.split(|letter| letter != '`').map(str::len).max().unwrap_or(0);
    let fence = "`".repeat(longest.max(2) + 1);
    format!("{fence}text\n{text}\n{fence}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_a_text_is_markup() {
        assert_eq!(escape_markdown("a|b `c` *d* <e>"), "a\\|b \\`c\\` \\*d\\* &lt;e&gt;");
        assert_eq!(escape_markdown("live_invokers of _x_"), "live_invokers of \\_x\\_");
        assert_eq!(escape_markdown("1. one"), "1\\. one");
        assert_eq!(escape_markdown("a\nb"), "a b");
    }

    #[test]
    fn nobody_is_mentioned_and_nothing_is_linked() {
        assert_eq!(escape_markdown("@root #1"), "@<!-- -->root \\#<!-- -->1");
        assert_eq!(escape_markdown("http://x www.y"), "http:<!-- -->//x www<!-- -->.y");
    }

    #[test]
    fn code_in_an_advice_stays_code() {
        assert_eq!(escape_around_code("run `a|b` *now*"), "run `a|b` \\*now\\*");
        assert_eq!(escape_around_code("an open `end"), "an open `end`");
    }

    #[test]
    fn a_summary_is_html() {
        assert_eq!(escape_html("<b>_a_ & @b"), "&lt;b&gt;_a_ &amp; @<!-- -->b");
    }

    #[test]
    fn a_fence_is_longer_than_those_in_its_text() {
        assert_eq!(fence_code("a"), "```text\na\n```");
        assert_eq!(fence_code("````"), "`````text\n````\n`````");
    }
}
