//! A string that fits a regular expression.

use regex_syntax::hir::{Class, Hir, HirKind};

/// How often a repetition may go beyond its least, to reach a length.
const MOST: u32 = 256;
/// No example is longer, in bytes.
const LONGEST: usize = 16 * 1024;

/// An example of at least `shortest` characters, if it can have so many; none for a pattern that can't be read, such as
/// one with a look-ahead.
pub(super) fn example(pattern: &str, shortest: usize) -> Option<String> {
    let hir = regex_syntax::parse(pattern).ok()?;
    let mut example = String::new();
    for more in 0..=MOST {
        example.clear();
        write(&hir, more, &mut example)?;
        if example.chars().count() >= shortest {
            break;
        }
    }
    Some(example)
}

fn write(hir: &Hir, more: u32, into: &mut String) -> Option<()> {
    if into.len() > LONGEST {
        return Some(());
    }
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => Some(()),
        HirKind::Literal(literal) => {
            into.push_str(str::from_utf8(&literal.0).ok()?);
            Some(())
        }
        HirKind::Class(class) => {
            into.push(member(class)?);
            Some(())
        }
        HirKind::Repetition(repetition) => {
            let times = repetition.min.saturating_add(more).min(repetition.max.unwrap_or(u32::MAX));
            (0..times).try_for_each(|_| write(&repetition.sub, more, into))
        }
        HirKind::Capture(capture) => write(&capture.sub, more, into),
        HirKind::Concat(all) => all.iter().try_for_each(|each| write(each, more, into)),
        HirKind::Alternation(all) => write(all.first()?, more, into),
    }
}

/// A character of a class: a plain one, if it has any.
fn member(class: &Class) -> Option<char> {
    let ranges: Vec<(char, char)> = match class {
        Class::Unicode(class) => class.iter().map(|range| (range.start(), range.end())).collect(),
        Class::Bytes(class) => class.iter().map(|range| (char::from(range.start()), char::from(range.end()))).collect(),
    };
    let has = |wanted: &char| ranges.iter().any(|(start, end)| (start..=end).contains(&wanted));
    "aA0bB1 _-.".chars().find(has).or_else(|| ranges.first().map(|(start, _)| *start))
}
