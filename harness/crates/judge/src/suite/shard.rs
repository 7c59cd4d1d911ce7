//! `--shard K/N`: which part of a suite this process runs.

use std::str::FromStr;

use thiserror::Error;

use crate::sample::suite::MAX_SHARDS;

/// The variable in which a pod of a Kubernetes Indexed Job finds its index, from 0.
pub const INDEX_VARIABLE: &str = "JOB_COMPLETION_INDEX";

/// A shard, as the command line has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shard {
    /// Which, from 1; none where the environment tells.
    pub number: Option<u64>,
    /// Of how many.
    pub of: u64,
}

/// Why a shard cannot be determined.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ShardError {
    /// The text does not have the form K/N.
    #[error("write it as K/N, for example 2/4 for the second of four, or auto/N in a Kubernetes Indexed Job")]
    Form,
    /// The number of shards is out of range.
    #[error("N is the number of shards: from 1 to {MAX_SHARDS}")]
    Of,
    /// The shard number is out of range.
    #[error("there is no shard {number} of {of}: they are counted from 1 to {of}")]
    Number {
        /// The requested number.
        number: u64,
        /// How many there are.
        of: u64,
    },
    /// The environment variable is not set.
    #[error(
        "--shard auto/{of} takes its number from the variable {INDEX_VARIABLE}, which is not set here: Kubernetes sets it in a Job \
         with `completionMode: Indexed`; elsewhere name the shard, for example --shard 1/{of}"
    )]
    NoIndex {
        /// How many there are.
        of: u64,
    },
    /// The environment variable is not an index.
    #[error("the variable {INDEX_VARIABLE} is {found:?}, and has to be a number from 0 to {}", .of - 1)]
    Index {
        /// The value of the variable.
        found: String,
        /// How many there are.
        of: u64,
    },
    /// The job is larger than the suite's division.
    #[error(
        "the variable {INDEX_VARIABLE} is {index}, and with --shard auto/{of} the last one is {}: the Job's `completions` and the N \
         of --shard have to be the same number", .of - 1
    )]
    Beyond {
        /// The value of the variable.
        index: u64,
        /// How many there are.
        of: u64,
    },
}

impl FromStr for Shard {
    type Err = ShardError;

    fn from_str(text: &str) -> Result<Self, ShardError> {
        let (number, of) = text.split_once('/').ok_or(ShardError::Form)?;
        let of: u64 = of.parse().map_err(|_| ShardError::Form)?;
        if !(1..=MAX_SHARDS).contains(&of) {
            return Err(ShardError::Of);
        }
        if number == "auto" {
            return Ok(Self { number: None, of });
        }
        let number = number.parse().map_err(|_| ShardError::Form)?;
        if (1..=of).contains(&number) {
            Ok(Self { number: Some(number), of })
        } else {
            Err(ShardError::Number { number, of })
        }
    }
}

impl Shard {
    /// Its number, from 1. `index` is the value of [`INDEX_VARIABLE`], and is asked only where the command line leaves it open.
    pub fn resolve_number(self, index: Option<&str>) -> Result<u64, ShardError> {
        let of = self.of;
        let Some(index) = self.number.map_or_else(|| index.map(Err), |number| Some(Ok(number))) else {
            return Err(ShardError::NoIndex { of });
        };
        let text = match index {
            Ok(number) => return Ok(number),
            Err(text) => text,
        };
        let index: u64 = text.trim().parse().map_err(|_| ShardError::Index { found: text.to_owned(), of })?;
        if index < of { Ok(index + 1) } else { Err(ShardError::Beyond { index, of }) }
    }
}

/// The command with the number of its shard, which the environment told: so it can be repeated anywhere.
#[must_use]
pub fn with_shard_number(command: &str, number: u64) -> String {
    let Some(mut words) = shlex::split(command) else { return command.to_owned() };
    for at in 0..words.len() {
        let is_value = at > 0 && words.get(at - 1).is_some_and(|word| word == "--shard");
        let Some(word) = words.get_mut(at) else { continue };
        let prefix = if is_value { "auto/" } else { "--shard=auto/" };
        if let Some(of) = word.strip_prefix(prefix) {
            *word = format!("{}{number}/{of}", prefix.trim_end_matches("auto/"));
        }
    }
    shlex::try_join(words.iter().map(String::as_str)).unwrap_or_else(|_| command.to_owned())
}

/// The name of the folder of a shard, below the one for all of them.
#[must_use]
pub fn folder_name(number: u64, of: u64) -> String {
    format!("shard-{number}-of-{of}")
}

/// Whether a folder has such a name.
#[must_use]
pub fn is_shard_folder(name: &str) -> bool {
    let numbers = name.strip_prefix("shard-").and_then(|rest| rest.split_once("-of-"));
    numbers
        .is_some_and(|(number, of)| format!("{number}/{of}").parse::<Shard>().is_ok_and(|shard| shard.number.is_some()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(text: &str, index: Option<&str>) -> Result<u64, ShardError> {
        text.parse::<Shard>().and_then(|shard| shard.resolve_number(index))
    }

    #[test]
    fn a_shard_is_counted_from_one_and_the_index_of_a_job_from_nought() {
        assert_eq!(number("2/4", None), Ok(2));
        assert_eq!(number("2/4", Some("0")), Ok(2));
        assert_eq!(number("auto/4", Some("0")), Ok(1));
        assert_eq!(number("auto/4", Some("3")), Ok(4));
        assert_eq!(number("1/1", None), Ok(1));
    }

    #[test]
    fn a_wrong_shard_is_told_what_would_be_right() {
        for (text, index, says) in [
            ("2", None, "2/4"),
            ("x/4", None, "auto/N"),
            ("2/x", None, "2/4"),
            ("0/4", None, "from 1 to 4"),
            ("5/4", None, "no shard 5 of 4"),
            ("1/0", None, "from 1"),
            ("-1/4", None, "2/4"),
            ("auto/4", None, "completionMode: Indexed"),
            ("auto/4", Some("one"), "\"one\""),
            ("auto/4", Some(""), "from 0 to 3"),
            ("auto/4", Some("4"), "completions"),
        ] {
            let error = number(text, index).unwrap_err().to_string();
            assert!(error.contains(says), "{text} {index:?}: {error}");
        }
    }

    #[test]
    fn a_command_is_told_the_number_that_the_environment_had() {
        assert_eq!(with_shard_number("leakgate run --shard auto/4 --seed 1", 2), "leakgate run --shard 2/4 --seed 1");
        assert_eq!(with_shard_number("leakgate run --shard=auto/4", 2), "leakgate run '--shard=2/4'");
        assert_eq!(
            with_shard_number("leakgate run --shard 3/4 --out auto/4", 2),
            "leakgate run --shard 3/4 --out auto/4"
        );
    }

    #[test]
    fn the_folder_of_a_shard_is_known_by_its_name() {
        assert!(is_shard_folder(&folder_name(2, 4)));
        for name in ["shard-5-of-4", "shard-0-of-4", "shard-auto-of-4", "shard-2", "latest", "shard--of-"] {
            assert!(!is_shard_folder(name), "{name}");
        }
    }
}
