//! The configuration file: every option of the command line as a key of a TOML file.
//!
//! The file's values become the defaults of clap's arguments. So flags and variables go before them without a line of
//! code here, and an option's parser, its range and its words are in one place.

use std::any::TypeId;
use std::collections::BTreeMap;
use std::error::Error as _;
use std::num::{NonZeroU32, NonZeroU64, NonZeroUsize};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::error::{ContextKind, ContextValue};
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command};
use toml::de::DeValue;

use super::document::{Document, FileError, kind_of};
use super::secret::Secret;

/// Prefix of all variables.
const PREFIX: &str = "CCW_";

/// The option that names the file; it can't be in it.
pub const CONFIG: &str = "config";

/// A file that has been read and checked: the values of each option, by clap's id.
#[derive(Debug, Clone)]
pub struct ConfigFile {
    path: PathBuf,
    values: BTreeMap<String, Vec<String>>,
    shows_key: bool,
}

/// An option that was set, and by what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// The flag's name, without its hyphens.
    pub name: String,
    /// Its value as it was written; for a key only that it is set.
    pub value: String,
    /// Where it comes from.
    pub origin: Origin,
    /// Whether the value equals the default.
    pub is_default: bool,
}

/// Where a value comes from. The first of these that has one decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// The command line.
    Flag,
    /// A variable, by its name.
    Environment(String),
    /// The configuration file.
    File(PathBuf),
}

impl ConfigFile {
    /// Reads `path`, whose keys are the flags of `command`. Each value is checked alone, so that a complaint names its line.
    pub fn read(path: &Path, command: &Command) -> Result<Self, FileError> {
        let document = Document::read(path, "--config")?;
        let mut entries: Vec<_> = document.parse_table()?.into_iter().collect();
        entries.sort_by_key(|(key, _)| key.span().start);
        let mut file = Self { path: path.to_owned(), values: BTreeMap::new(), shows_key: false };
        for (key, value) in entries {
            let name = key.get_ref().replace('_', "-");
            let complain = |message: String| document.error_at(key.span().start, message);
            let arg = find_option(command, &name).ok_or_else(|| complain(unknown_option_error(command, &name)))?;
            let values =
                value_texts(arg, value.get_ref()).map_err(|message| complain(format!("`{name}` {message}")))?;
            for text in &values {
                check_value(arg, text)
                    .map_err(|why| complain(format!("`{name}`: {why}{}", default_hint(arg, &why))))?;
            }
            file.shows_key |= is_secret(arg) && document.readable_by_others;
            if file.values.insert(arg.get_id().to_string(), values).is_some() {
                return Err(complain(format!("`{name}` is set twice, once as `{}`", name.replace('-', "_"))));
            }
        }
        Ok(file)
    }

    /// Makes the file's values the defaults of `command`'s arguments.
    #[must_use]
    pub fn defaults_of(&self, command: Command) -> Command {
        self.values.iter().fold(command, |command, (id, values)| {
            command.mut_arg(id, |arg| arg.default_values(values.iter().map(String::from)))
        })
    }

    /// Whether the file contains a key and every user of this machine can read it.
    #[must_use]
    pub fn shows_key(&self) -> bool {
        self.shows_key
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Lets every switch of `command` be turned off as well (`--switch=false`), so that a flag or a variable can take back
/// what the file says.
#[must_use]
pub fn with_switches(command: Command) -> Command {
    command.mut_args(|arg| {
        if !matches!(arg.get_action(), ArgAction::SetTrue) {
            return arg;
        }
        arg.action(ArgAction::Set)
            .num_args(0..=1)
            .require_equals(true)
            .value_name("BOOL")
            .value_parser(clap::builder::BoolishValueParser::new())
            .default_value("false")
            .default_missing_value("true")
            .hide_possible_values(true)
    })
}

/// Every option of `command` that was set, in the order of `--help`. `command` has its own defaults, not the file's.
#[must_use]
pub fn settings(command: &Command, matches: &ArgMatches, file: Option<&ConfigFile>) -> Vec<Setting> {
    let set = |arg: &Arg| {
        let id = arg.get_id().as_str();
        let origin = match matches.value_source(id)? {
            ValueSource::CommandLine => Origin::Flag,
            ValueSource::EnvVariable => Origin::Environment(arg.get_env()?.to_string_lossy().into_owned()),
            _ => Origin::File(file.filter(|file| file.values.contains_key(id))?.path.clone()),
        };
        let texts: Vec<_> = matches.get_raw(id)?.map(|text| text.to_string_lossy().into_owned()).collect();
        let defaults = arg.get_default_values().iter().map(|text| text.to_string_lossy().into_owned());
        let is_default = defaults.eq(texts.iter().cloned());
        let value = if is_secret(arg) { "(set, not shown)".to_owned() } else { texts.join(" ") };
        Some(Setting { name: arg.get_long()?.to_owned(), value, origin, is_default })
    };
    command.get_arguments().filter_map(set).collect()
}

fn is_option(arg: &Arg) -> bool {
    arg.get_long().is_some_and(|long| long != CONFIG) && arg.get_env().is_some()
}

fn find_option<'a>(command: &'a Command, name: &str) -> Option<&'a Arg> {
    command.get_arguments().find(|arg| is_option(arg) && arg.get_long() == Some(name))
}

/// The error for an unknown option, with clap's suggestion.
fn unknown_option_error(command: &Command, name: &str) -> String {
    if name == CONFIG {
        return format!("`{CONFIG}` can't be set in the file; use --config or CCW_CONFIG");
    }
    match similar_option(command, name) {
        Some(meant) => format!("unknown option `{name}`; did you mean `{meant}`?"),
        None => format!("unknown option `{name}`; `serve --help` lists the options, and each flag's name is a key"),
    }
}

/// The option with the name most similar to `name`.
fn similar_option(command: &Command, name: &str) -> Option<String> {
    // Ask clap for its suggestion, without variables: an invalid one would be reported instead.
    let options = command.get_arguments().filter(|arg| is_option(arg)).map(|arg| arg.clone().env(None::<&'static str>));
    let command = Command::new("").no_binary_name(true).disable_help_flag(true).args(options);
    match command.try_get_matches_from([format!("--{name}=")]).err()?.get(ContextKind::SuggestedArg)? {
        ContextValue::String(flag) => flag.split([' ', '=', '[']).next().map(|flag| flag.trim_matches('-').to_owned()),
        _ => None,
    }
}

/// Messages about those of `names` that look like variables of `command` but are not. Such a variable is not an error: a
/// newer server may know it, and a container's environment is often shared. Values are not read.
pub fn unknown_variables(command: &Command, names: impl Iterator<Item = String>) -> Vec<String> {
    let is_known = |name: &str| command.get_arguments().any(|arg| arg.get_env().is_some_and(|known| known == name));
    let mut unknown_variables: Vec<String> = names.filter(|name| name.starts_with(PREFIX) && !is_known(name)).collect();
    unknown_variables.sort_unstable();
    let words = |name: String| {
        let flag = name[PREFIX.len()..].to_lowercase().replace('_', "-");
        match similar_option(command, &flag) {
            Some(meant) => {
                let meant = meant.replace('-', "_").to_uppercase();
                format!("ignoring the unknown variable {name}; did you mean {PREFIX}{meant}?")
            }
            None => format!("ignoring the unknown variable {name}; `serve --help` lists the known ones"),
        }
    };
    unknown_variables.into_iter().map(words).collect()
}

/// A value as the texts that clap reads.
fn value_texts(arg: &Arg, value: &DeValue<'_>) -> Result<Vec<String>, String> {
    let one = |value: &DeValue<'_>| {
        scalar_text(arg, value).ok_or_else(|| format!("must be {}, not {}", expected_value(arg), kind_of(value)))
    };
    match value {
        DeValue::Array(values) if is_list(arg) => values.iter().map(|value| one(value.get_ref())).collect(),
        value => Ok(vec![one(value)?]),
    }
}

fn scalar_text(arg: &Arg, value: &DeValue<'_>) -> Option<String> {
    match (value, option_shape(arg)) {
        (DeValue::Boolean(yes), Shape::Switch) => Some(yes.to_string()),
        (DeValue::Integer(number), Shape::Whole | Shape::Number) => {
            // TOML allows other bases, clap does not. A number that is too large is left to clap's range check.
            let digits = i128::from_str_radix(number.as_str(), number.radix());
            Some(digits.map_or_else(|_| number.to_string(), |number| number.to_string()))
        }
        (DeValue::Float(number), Shape::Number) => Some(number.as_str().to_owned()),
        (DeValue::String(text), Shape::Text) => Some(text.clone().into_owned()),
        _ => None,
    }
}

/// TOML type of an option.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    Switch,
    Whole,
    Number,
    Text,
}

fn option_shape(arg: &Arg) -> Shape {
    let parsed = arg.get_value_parser().type_id();
    let is = |types: &[TypeId]| types.iter().any(|known| parsed == *known);
    if is(&[TypeId::of::<bool>()]) {
        Shape::Switch
    } else if is(&[
        TypeId::of::<u16>(),
        TypeId::of::<u32>(),
        TypeId::of::<u64>(),
        TypeId::of::<usize>(),
        TypeId::of::<NonZeroU32>(),
        TypeId::of::<NonZeroU64>(),
        TypeId::of::<NonZeroUsize>(),
    ]) {
        Shape::Whole
    } else if is(&[TypeId::of::<Duration>(), TypeId::of::<f64>()]) {
        Shape::Number
    } else {
        Shape::Text
    }
}

fn is_list(arg: &Arg) -> bool {
    matches!(arg.get_action(), ArgAction::Append)
}

fn is_secret(arg: &Arg) -> bool {
    arg.get_value_parser().type_id() == TypeId::of::<Secret>()
}

fn expected_value(arg: &Arg) -> String {
    let one = match option_shape(arg) {
        Shape::Switch => "true or false".to_owned(),
        Shape::Whole => "a whole number".to_owned(),
        Shape::Number => "a number".to_owned(),
        Shape::Text => "a string in quotes".to_owned(),
    };
    if is_list(arg) { format!("{one}, or an array of them") } else { one }
}

/// Checks a single value.
fn check_value(arg: &Arg, text: &str) -> Result<(), String> {
    if is_secret(arg) {
        return text.parse::<Secret>().map(drop).map_err(|error| error.to_string());
    }
    let flag = arg.get_long().unwrap_or_default();
    let alone = Command::new("").no_binary_name(true).arg(arg.clone().env(None::<&'static str>));
    let Err(error) = alone.try_get_matches_from([format!("--{flag}={text}")]) else { return Ok(()) };
    if let Some(ContextValue::Strings(values)) = error.get(ContextKind::ValidValue)
        && !values.is_empty()
    {
        return Err(format!("must be one of {}", values.join(", ")));
    }
    // The innermost error, because clap's own message repeats the value, which may be a secret.
    Err(error.source().map_or_else(|| "is not a valid value".to_owned(), ToString::to_string))
}

/// The default, as an example of how the option is written; none if `why` gives one.
fn default_hint(arg: &Arg, why: &str) -> String {
    let default = arg.get_default_values().first().filter(|_| !why.contains("for example"));
    let Some(default) = default.map(|text| text.to_string_lossy()) else { return String::new() };
    let quote = if option_shape(arg) == Shape::Text { "\"" } else { "" };
    format!("; the default is {quote}{default}{quote}")
}
