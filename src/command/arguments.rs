//! The command line as one value: flags, variables and the file put together.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::error::{ContextKind, ContextValue};
use clap::parser::ValueSource;
use clap::{ArgMatches, Args, CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::config::file::{self, ConfigFile, Setting};
use crate::config::{Config, FileError};
use crate::logging::{LogFilter, LogFormat};
use crate::runtime;

/// An OpenAI-compatible server in front of the Claude Code CLI that restarts it without ever leaking a process.
#[derive(Debug, Parser)]
#[command(name = "cc-openai-wrapper", version)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Serve OpenAI's API on top of the Claude Code CLI.
    Serve(Box<Options>),
    /// Check the configuration, and run one turn of the CLI; takes the options of `serve`.
    ///
    /// Exits with 0 if all checks passed, 1 if one failed, 2 if an option is invalid. A server that is already running is
    /// left alone; that it uses the address is only noted.
    Check(Box<Options>),
}

/// The options of `serve` and `check`.
#[derive(Debug, Args)]
pub(super) struct Options {
    /// TOML file with options; each flag's name is a key, as in `max-turns = 10`. Precedence: flags, then environment
    /// variables, then this file.
    #[arg(long, env = "CCW_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,

    #[command(flatten)]
    pub(super) server: Config,

    /// What to log: a level (error, warn, info, debug, trace, off), or MODULE=LEVEL; separate several with commas, for
    /// example `info,cc_openai_wrapper::http=debug`.
    #[arg(long, env = "CCW_LOG", value_name = "FILTER", default_value = "info")]
    pub(super) log: LogFilter,

    /// Format of the log, which goes to stderr.
    #[arg(long, env = "CCW_LOG_FORMAT", value_enum, default_value = "text")]
    pub(super) log_format: LogFormat,
}

/// A parsed command line.
#[derive(Debug)]
pub(super) struct Invocation {
    pub(super) verb: Action,
    pub(super) options: Options,
    /// All options that were set.
    pub(super) settings: Vec<Setting>,
    /// The configuration file, if there is one.
    pub(super) file: Option<ConfigFile>,
    /// Messages about variables that look like options.
    pub(super) unknown_variables: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    Serve,
    Check,
}

/// Why a command line is not executed.
#[derive(Debug, thiserror::Error)]
pub(super) enum UsageError {
    /// clap's error, or the requested help.
    #[error("{error}")]
    Usage {
        error: clap::Error,
        /// The variable with the invalid value, if it is not from an argument.
        variable: Option<String>,
    },
    #[error(transparent)]
    File(#[from] FileError),
    /// An unclosed quote in a variable with a list of words.
    #[error("CCW_CLI_ARG: unclosed quote; put quotes around each argument that contains a space")]
    Quote,
    /// Options that contradict each other.
    #[error("{0}")]
    Validation(String),
}

/// The command line as clap knows it.
pub(super) fn definition() -> clap::Command {
    ["serve", "check"].into_iter().fold(Cli::command(), |cli, verb| cli.mut_subcommand(verb, file::with_switches))
}

/// Reads the command line, the variables, and the file that they name.
pub(super) fn parse(args: impl Iterator<Item = OsString>) -> Result<Invocation, UsageError> {
    let args: Vec<OsString> = args.collect();
    let usage = |error| UsageError::Usage { variable: variable_at_fault(&error, &args), error };
    // The first pass finds --config. No option is required, so an error without the file is an error with it.
    let matches = definition().try_get_matches_from(&args).map_err(usage)?;
    let (verb, path) = matches
        .subcommand()
        .map(|(verb, matches)| (verb.to_owned(), matches.get_one::<PathBuf>(file::CONFIG).cloned()))
        .unwrap_or_default();
    let command = definition().find_subcommand(&verb).cloned().unwrap_or_default();
    let file = path.map(|path| ConfigFile::read(&path, &command)).transpose()?;
    let full = definition().mut_subcommand(&verb, |command| match &file {
        Some(file) => file.defaults_of(command),
        None => command,
    });
    let mut matches = full.try_get_matches_from(&args).map_err(usage)?;
    let settings = matches.subcommand().map(|(_, matches)| file::settings(&command, matches, file.as_ref()));
    let words = matches.subcommand().and_then(|(_, matches)| cli_args_of_variable(matches)).transpose()?;
    let cli = Cli::from_arg_matches_mut(&mut matches).map_err(usage)?;
    let (verb, mut options) = match cli.verb {
        Verb::Serve(options) => (Action::Serve, *options),
        Verb::Check(options) => (Action::Check, *options),
    };
    if let Some(words) = words {
        options.server.cli_args = words;
    }
    options.server.validate().map_err(UsageError::Validation)?;
    // A server that runs below another one inherits its mark, which is not an option.
    let names =
        std::env::vars_os().filter_map(|(name, _)| name.into_string().ok()).filter(|name| name != runtime::MARK);
    let unknown_variables = file::unknown_variables(&command, names);
    Ok(Invocation { verb, options, settings: settings.unwrap_or_default(), file, unknown_variables })
}

/// A variable can't be repeated as a flag can, so that of --cli-arg holds all of them.
fn cli_args_of_variable(matches: &ArgMatches) -> Option<Result<Vec<String>, UsageError>> {
    if matches.value_source("cli_args") != Some(ValueSource::EnvVariable) {
        return None;
    }
    let text = matches.get_one::<String>("cli_args")?;
    Some(shlex::split(text).ok_or(UsageError::Quote))
}

/// The variable whose value clap complains about: it names only the flag.
fn variable_at_fault(error: &clap::Error, args: &[OsString]) -> Option<String> {
    let ContextValue::String(shown) = error.get(ContextKind::InvalidArg)? else { return None };
    let flag = shown.split([' ', '=', '[']).next()?;
    let given = args.iter().any(|arg| arg.to_string_lossy().split('=').next() == Some(flag));
    let command = definition();
    let arg =
        command.find_subcommand("serve")?.get_arguments().find(|arg| flag.strip_prefix("--") == arg.get_long())?;
    let name = arg.get_env()?;
    (!given && std::env::var_os(name).is_some()).then(|| name.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests;
