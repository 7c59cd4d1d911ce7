//! A string that fits a regular expression.

use regex_syntax::hir::{Class, Hir, HirKind};

/// How often a repetition may go beyond its least, to reach a length.
const MAX_REPEATS: u32 = 256;
/// No example is longer, in bytes.
const MAX_EXAMPLE_BYTES: usize = 16 * 1024;

/// An example of at least `shortest` characters, if it can have so many; none for a pattern that can't be read, such as
/// one with a look-ahead.
pub(super) fn make_example(pattern: &str, shortest: usize) -> Option<String> {
    let hir = regex_syntax::parse(pattern).ok()?;
    let mut example = String::new();
    for more in 0..=MAX_REPEATS {
        example.clear();
        write_example(&hir, more, &mut example)?;
        if example.chars().count() >= shortest {
            break;
        }
    }
    Some(example)
}

fn write_example(hir: &Hir, more: u32, into: &mut String) -> Option<()> {
    if into.len() > MAX_EXAMPLE_BYTES {
        return Some(());
    }
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => Some(()),
        HirKind::Literal(literal) => {
            into.push_str(str::from_utf8(&literal.0).ok()?);
            Some(())
        }
        HirKind::Class(class) => {
            into.push(pick_char(class)?);
            Some(())
        }
        HirKind::Repetition(repetition) => {
            let times = repetition.min.saturating_add(more).min(repetition.max.unwrap_or(u32::MAX));
            (0..times).try_for_each(|_| write_example(&repetition.sub, more, into))
        }
        HirKind::Capture(capture) => write_example(&capture.sub, more, into),
        HirKind::Concat(all) => all.iter().try_for_each(|each| write_example(each, more, into)),
        HirKind::Alternation(all) => write_example(all.first()?, more, into),
    }
}

/// A character of a class: a plain one, if it has any.
fn pick_char(class: &Class) -> Option<char> {
    let ranges: Vec<(char, char)> = match class {
        Class::Unicode(class) => class.iter().map(|range| (range.start(), range.end())).collect(),
        Class::Bytes(class) => class.iter().map(|range| (char::from(range.start()), char::from(range.end()))).collect(),
    };
    let has = |wanted: &char| ranges.iter().any(|(start, end)| (start..=end).contains(&wanted));
    "aA0bB1 _-.".chars().find(has).or_else(|| ranges.first().map(|(start, _)| *start))
}
