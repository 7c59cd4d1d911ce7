//! The CLI's own command line: which flags there are, which take a value, and what the CLI says to a wrong one.
//!
//! `SHOWN` and `HIDDEN` are what 2.1.330 accepts: each flag was tried on the CLI itself, most by its error to a missing value.
//! Older versions know fewer of them.

use std::collections::HashMap;

mod declared;

use declared::{CHOICES, HIDDEN, NUMBERS, SHOWN, UNLISTED};

/// A suggestion differs from what was written in at most so many places.
const MAX_DISTANCE: usize = 3;

/// The CLI's flags of one command line.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Flags {
    values: HashMap<&'static str, Vec<String>>,
    words: Vec<String>,
}

/// What the CLI says to a command line that it does not take, word for word.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FlagError {
    /// There is no such flag.
    #[error("error: unknown option '{flag}'{}", suggest_flag(flag))]
    Unknown {
        /// As it was written.
        flag: String,
    },
    /// A flag without its value.
    #[error("error: option '{0}' argument missing")]
    Missing(&'static str),
    /// A value that the flag does not take.
    #[error("error: option '{declared}' argument '{value}' is invalid. {why}")]
    Invalid {
        /// The flag as it is declared.
        declared: &'static str,
        /// Its value.
        value: String,
        /// What it takes.
        why: String,
    },
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Takes {
    Nothing,
    Maybe,
    One,
    Many,
}

/// A declaration.
#[derive(Clone, Copy)]
struct Declared {
    line: &'static str,
    /// Its longest name, without dashes.
    name: &'static str,
    takes: Takes,
}

impl Declared {
    fn new(line: &'static str) -> Self {
        let takes = match line {
            many if many.contains("...") => Takes::Many,
            one if one.contains('<') => Takes::One,
            maybe if maybe.contains('[') => Takes::Maybe,
            _ => Takes::Nothing,
        };
        Self { line, name: flag_names(line).last().unwrap_or_default().trim_start_matches('-'), takes }
    }

    fn check_value(&self, value: &str) -> Result<(), FlagError> {
        let invalid = |why: String| Err(FlagError::Invalid { declared: self.line, value: value.to_owned(), why });
        let choices = CHOICES.iter().find(|(name, _)| *name == self.name);
        if let Some((name, choices)) = choices
            && !choices.split(", ").any(|choice| choice == value)
            && !UNLISTED.contains(&(name, value))
        {
            return invalid(format!("Allowed choices are {choices}."));
        }
        match NUMBERS.iter().find(|(name, _)| *name == self.name) {
            Some((_, why)) if value.parse::<f64>().is_err() => invalid((*why).to_owned()),
            _ => Ok(()),
        }
    }
}

fn all_flags() -> impl Iterator<Item = Declared> {
    parse_declarations(SHOWN).chain(parse_declarations(HIDDEN))
}

fn parse_declarations(lines: &'static str) -> impl Iterator<Item = Declared> {
    lines.lines().filter(|line| !line.is_empty()).map(Declared::new)
}

/// The names in a declaration, with their dashes.
fn flag_names(line: &'static str) -> impl Iterator<Item = &'static str> {
    line.split([' ', ',']).filter(|word| word.starts_with('-'))
}

impl Flags {
    /// Takes one argument, and from `rest` what belongs to it.
    ///
    /// # Errors
    ///
    /// What the CLI would say.
    pub(super) fn take_argument(
        &mut self,
        argument: String,
        rest: &mut std::iter::Peekable<impl Iterator<Item = String>>,
    ) -> Result<(), FlagError> {
        if argument == "--" {
            self.words.extend(rest);
            return Ok(());
        }
        if !argument.starts_with('-') || argument == "-" {
            self.words.push(argument);
            return Ok(());
        }
        let (flag, mut given) = match argument.split_once('=') {
            Some((flag, value)) if flag.starts_with("--") => (flag, Some(value.to_owned())),
            _ => (argument.as_str(), None),
        };
        let found = all_flags().find(|each| flag_names(each.line).any(|name| name == flag));
        let Some(declared) = found.filter(|each| given.is_none() || each.takes != Takes::Nothing) else {
            return self.take_cluster(&argument, rest);
        };
        given = given.or_else(|| match declared.takes {
            Takes::Nothing => None,
            Takes::One | Takes::Many => rest.next(),
            Takes::Maybe => rest.next_if(|next| !next.starts_with('-')),
        });
        let values = self.values.entry(declared.name).or_default();
        match given {
            Some(value) => {
                declared.check_value(&value)?;
                values.push(value);
            }
            None if matches!(declared.takes, Takes::One | Takes::Many) => {
                return Err(FlagError::Missing(declared.line));
            }
            None => {}
        }
        if declared.takes == Takes::Many {
            values.extend(std::iter::from_fn(|| rest.next_if(|next| !next.starts_with('-'))));
        }
        Ok(())
    }

    /// `-pc` is `-p -c`; whatever is no flag of one letter is none at all.
    fn take_cluster(
        &mut self,
        argument: &str,
        rest: &mut std::iter::Peekable<impl Iterator<Item = String>>,
    ) -> Result<(), FlagError> {
        let unknown = || Err(FlagError::Unknown { flag: argument.to_owned() });
        let mut letters = argument.trim_start_matches('-').chars();
        let (Some(first), false) = (letters.next(), argument.starts_with("--")) else { return unknown() };
        let more = letters.as_str();
        let Some(declared) = all_flags().find(|each| flag_names(each.line).any(|name| name == format!("-{first}")))
        else {
            return unknown();
        };
        if more.is_empty() {
            return unknown();
        }
        self.values.entry(declared.name).or_default();
        if declared.takes == Takes::Nothing {
            return self.take_argument(format!("-{more}"), rest);
        }
        self.values.entry(declared.name).or_default().push(more.to_owned());
        Ok(())
    }

    /// Whether a flag was given.
    pub(super) fn has(&self, name: &str) -> bool {
        self.values.contains_key(name)
    }

    /// The last value of a flag.
    pub(super) fn value(&self, name: &str) -> Option<&str> {
        self.values.get(name)?.last().map(String::as_str)
    }

    /// All values of a flag.
    pub(super) fn values(&self, name: &str) -> &[String] {
        self.values.get(name).map_or(&[], Vec::as_slice)
    }

    /// What is no flag: the prompt.
    pub(super) fn positionals(&self) -> &[String] {
        &self.words
    }
}

/// What the CLI adds where a flag is nearly one that `--help` shows.
fn suggest_flag(flag: &str) -> String {
    let Some(word) = flag.strip_prefix("--") else { return String::new() };
    let long = parse_declarations(SHOWN).filter_map(|each| flag_names(each.line).last()?.strip_prefix("--"));
    let distances = long.map(|name| (strsim::osa_distance(word, name), name));
    let near = distances.filter(|(distance, name)| {
        let length = word.chars().count().max(name.chars().count());
        // Alike in more than 40 % of their letters.
        *distance <= MAX_DISTANCE && name.len() > 1 && 10 * (length - distance) > 4 * length
    });
    let near: Vec<_> = near.collect();
    let Some(least) = near.iter().map(|(distance, _)| *distance).min() else { return String::new() };
    let mut best: Vec<String> =
        near.iter().filter(|(distance, _)| *distance == least).map(|(_, name)| format!("--{name}")).collect();
    best.sort();
    match &best[..] {
        [only] => format!("\n(Did you mean {only}?)"),
        several => format!("\n(Did you mean one of {}?)", several.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &[&str]) -> Result<Flags, FlagError> {
        let mut flags = Flags::default();
        let mut rest = line.iter().map(|word| (*word).to_owned()).peekable();
        while let Some(argument) = rest.next() {
            flags.take_argument(argument, &mut rest)?;
        }
        Ok(flags)
    }

    fn error(line: &[&str]) -> String {
        read(line).expect_err("wrong").to_string()
    }

    #[test]
    fn values_go_to_their_flags_and_the_rest_is_the_prompt() {
        let flags = read(&["-p", "--tools", "", "--verbose", "--resume=x", "-pc", "--debug", "--model", "-p", "hello"]);
        let flags = flags.expect("good flags");
        assert_eq!((flags.values("tools"), flags.value("resume")), (&[String::new()][..], Some("x")));
        assert_eq!((flags.value("model"), flags.positionals()), (Some("-p"), &["hello".to_owned()][..]));
        assert!(flags.has("continue") && flags.has("debug") && flags.value("debug").is_none());
        let swallowed = read(&["--add-dir", "a", "b", "--", "-c"]).expect("good flags");
        assert_eq!((swallowed.values("add-dir").len(), swallowed.positionals()), (2, &["-c".to_owned()][..]));
    }

    /// Each line is what 2.1.330 said to the same arguments.
    #[test]
    fn errors_are_the_clis_own() {
        let modes = "acceptEdits, auto, bypassPermissions, manual, dontAsk, plan";
        for (line, said) in [
            (&["-p", "--modle", "x"][..], "error: unknown option '--modle'\n(Did you mean --model?)".to_owned()),
            (&["--no-such-flag"], "error: unknown option '--no-such-flag'".to_owned()),
            (&["-p", "-Z"], "error: unknown option '-Z'".to_owned()),
            (&["--zzz=3"], "error: unknown option '--zzz=3'".to_owned()),
            (&["--verbose=3"], "error: unknown option '--verbose=3'\n(Did you mean --verbose?)".to_owned()),
            (
                &["--output-forma", "x"],
                "error: unknown option '--output-forma'\n(Did you mean --output-format?)".to_owned(),
            ),
            (&["--max-turn", "3"], "error: unknown option '--max-turn'".to_owned()),
            (&["--agen"], "error: unknown option '--agen'\n(Did you mean --agent?)".to_owned()),
            (&["--allowedTool"], "error: unknown option '--allowedTool'\n(Did you mean --allowed-tools?)".to_owned()),
            (&["--model"], "error: option '--model <model>' argument missing".to_owned()),
            (
                &["--permission-mode", "xml"],
                format!(
                    "error: option '--permission-mode <mode>' argument 'xml' is invalid. Allowed choices are {modes}."
                ),
            ),
            (
                &["--max-turns", "nope"],
                "error: option '--max-turns <turns>' argument 'nope' is invalid. must be a number".to_owned(),
            ),
        ] {
            assert_eq!(error(line), said);
        }
    }
}
