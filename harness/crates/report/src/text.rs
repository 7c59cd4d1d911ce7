//! Plain text: wrapping, grouping of digits, dates.

use jiff::Timestamp;

/// Breaks text between words so that no line is wider than `width`, where no single word is; lines after the first
/// begin with `indent` blanks. Control characters are replaced: a note may quote a stderr that would move the cursor.
pub(super) fn wrap_words(text: &str, width: usize, indent: usize) -> String {
    let mut out = String::with_capacity(text.len());
    let mut column = 0;
    for word in text.split_whitespace() {
        let length = word.chars().count();
        if column > 0 && column + 1 + length > width {
            out.push('\n');
            out.extend(std::iter::repeat_n(' ', indent));
            column = indent;
        } else if column > 0 {
            out.push(' ');
            column += 1;
        }
        out.extend(word.chars().map(|letter| if is_harmless(letter) { letter } else { '\u{fffd}' }));
        column += length;
    }
    out
}

/// One line of harmless characters: what text from outside becomes before a format escapes it in its own way.
pub(super) fn sanitize(text: &str) -> String {
    let harmless = |letter: char| match letter {
        '\n' | '\r' | '\t' => ' ',
        letter if is_harmless(letter) => letter,
        _ => '\u{fffd}',
    };
    text.trim().chars().map(harmless).collect()
}

/// Neither a control character nor one that changes the direction of what stands around it. XML can't hold the last two.
fn is_harmless(letter: char) -> bool {
    let turns =
        matches!(letter, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    !letter.is_control() && !turns && !matches!(letter, '\u{fffe}' | '\u{ffff}')
}

/// `1234567` as `1,234,567`.
pub(super) fn group_digits(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Seconds since 1970-01-01 as `2026-11-23 23:16:03 UTC`; a number that is no date of this calendar, as it is.
pub(super) fn format_date(unix: u64) -> String {
    let time = i64::try_from(unix).ok().and_then(|unix| Timestamp::from_second(unix).ok());
    time.map_or(format!("{unix} s"), |time| time.strftime("%Y-%m-%d %H:%M:%S UTC").to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_line_is_wider_than_asked() {
        let text = "the quick brown fox jumps over the lazy dog and then it rests for a while";
        let wrapped = wrap_words(text, 20, 4);
        assert!(wrapped.lines().all(|line| line.len() <= 20), "{wrapped}");
        assert_eq!(wrapped.split_whitespace().collect::<Vec<_>>(), text.split_whitespace().collect::<Vec<_>>());
    }

    #[test]
    fn a_note_cannot_move_the_cursor() {
        assert_eq!(wrap_words("one\u{1b}[2Jtwo\nthree", 80, 2), "one\u{fffd}[2Jtwo three");
    }

    #[test]
    fn text_from_outside_becomes_one_harmless_line() {
        assert_eq!(sanitize(" one\r\ntwo\u{1b}[2J\u{202e}three\u{ffff} "), "one  two\u{fffd}[2J\u{fffd}three\u{fffd}");
    }

    #[test]
    fn digits_are_grouped_by_three() {
        assert_eq!(
            ["0", "999", "1,000", "1,234,567"],
            [0, 999, 1_000, 1_234_567].map(group_digits).each_ref().map(|s| &**s)
        );
    }

    #[test]
    fn dates_are_right_around_leap_days() {
        assert_eq!(format_date(0), "1970-01-01 00:00:00 UTC");
        assert_eq!(format_date(951_782_400), "2000-02-29 00:00:00 UTC");
        assert_eq!(format_date(1_709_251_199), "2024-02-29 23:59:59 UTC");
        assert_eq!(format_date(1_709_251_200), "2024-03-01 00:00:00 UTC");
        assert_eq!(format_date(1_735_689_599), "2024-12-31 23:59:59 UTC");
    }
}
