//! `mock-claude`'s own options, and the CLI's flags that matter to it.
//!
//! Every option is a flag `--mock-NAME VALUE` and a variable `MOCK_CLAUDE_NAME`, so that the mock can stand in place of
//! the CLI where flags cannot be added; a flag wins. All other flags are the CLI's.

use std::path::PathBuf;

use super::answer::{Mode, UnknownMode};
use super::call::{Call, CallError};
use super::fault::{Fault, FaultError};
use super::flags::Flags;
use super::orphan;

/// The text of `--help`.
pub(super) const HELP: &str = "\
mock-claude: stands in for the CLI, speaking from a recorded session.
Takes the CLI's own flags and refuses others as it does. With --input-format stream-json it holds a conversation, for the
Agent SDKs too; otherwise it answers one prompt, from the command line and stdin, as text, json or stream-json. Each
option can also be set by a variable, e.g. MOCK_CLAUDE_PACE; a flag wins.

  --mock-recording SPEC     FILE.jsonl, NAME or VERSION/NAME of a bundled recording   [ten-turns]
  --mock-pace PACE          full: as fast as possible; recorded: with the recorded pauses   [full]
  --mock-answer MODE        what turns are answered; [[answer:MODE]] in a prompt wins for that turn   [text]
  --mock-echo-mark          weave [[mark:HEX]] of a user message into its reply, as ⟦HEX⟧ … ⟦/HEX⟧;
                            into the strings of JSON that --mock-answer makes
  --mock-rss MB             hold this much touched memory (MB = 10^6 bytes)
  --mock-rss-per-turn KB    hold this much more with every turn (KB = 10^3 bytes)
  --mock-fault FAULT,…      KIND[@turn=N][@p=P][@every=N]; KIND is crash, crash-exit, crash-start, hang, hang-start,
                            ignore-sigterm, grandchild, grandchild-stdout or wrong-mark
  --mock-seed N             make p= repeatable; without it every process draws for itself
  --mock-counter FILE       count the processes in this file, for every= and for seeds that differ by process

MODE is one of these, or several joined by +, such as schema+fenced+slow=200:
  text                      the recorded reply
  echo                      what the user said last
  schema                    an instance of the JSON Schema in the turn
  tool, tool=NAME, tools=N  calls of functions that the turn describes
  use, use=NAME             the CLI uses a tool, Bash where none is named: it calls the hooks of its caller, asks for the
                            permission, and replies with what the tool gave. Nothing is run, but a tool of an MCP server
                            in the caller is called: use=mcp__SERVER__TOOL. [[input:JSON]] in the prompt is its input
  auto                      calls, where functions are described and none has just answered; else an instance, where
                            JSON is asked for; else the recorded reply
  fenced, prose             JSON in a Markdown fence, between sentences; the kind is auto unless another is named
  wrong-once, wrong-always  JSON that breaks its schema; once: unless the prompt holds such a reply already
  not-json                  words
  refusal, max-tokens       this stop reason
  slow=MS, drip=MS          silence before the first piece of text, before each later one; an interrupt ends the turn,
                            the end of stdin the silence
  api-error=STATUS          the API's error, 400 to 599
  rate-limit[=SECONDS]      a used-up quota, then the API's error 429   [60]
  rate-limit-warning        a quota that is nearly used up, then the reply
";

/// The action that a command line asks for.
#[derive(Debug, PartialEq)]
pub enum Command {
    /// The protocol.
    Run(Box<Options>),
    /// `--version` of the CLI that this recording is from.
    Version(String),
    /// `--help`.
    Help,
    /// The hidden verb of the child that [`super::fault::Kind::Grandchild`] leaves behind.
    Orphan,
}

/// How to play.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    /// The recording, as [`leakgate_session::recording::load`] takes it.
    pub recording: String,
    /// How fast.
    pub pace: Pace,
    /// The answer to turns.
    pub answer: Mode,
    /// Whether the caller's mark is woven into the reply.
    pub echo_mark: bool,
    /// Memory held from the start, in bytes.
    pub rss: usize,
    /// Memory added with every turn, in bytes.
    pub rss_per_turn: usize,
    /// How to break.
    pub faults: Vec<Fault>,
    /// The seed from which probabilities are drawn.
    pub seed: Option<u64>,
    /// The file that counts the processes.
    pub counter: Option<PathBuf>,
    /// How the CLI was called.
    pub call: Call,
}

/// How fast a recording is played.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// With the recorded pauses.
    Recorded,
    /// Without pauses.
    Full,
}

/// Why the options cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OptionsError {
    /// There is no such option.
    #[error("there is no option {0}; see mock-claude --help")]
    Unknown(String),
    /// An option without its value.
    #[error("{0} needs a value; see mock-claude --help")]
    NoValue(String),
    /// A value that the option cannot take.
    #[error("{option} cannot be `{value}`: it is {wanted}")]
    Value {
        /// The option, as it was given.
        option: String,
        /// Its value.
        value: String,
        /// The accepted values.
        wanted: &'static str,
    },
    /// A fault that is none.
    #[error("{option}: {source}")]
    Fault {
        /// The option, as it was given.
        option: String,
        /// What is wrong.
        source: FaultError,
    },
    /// An answer that is none.
    #[error("{option}: {source}")]
    Answer {
        /// The option, as it was given.
        option: String,
        /// What is wrong.
        source: UnknownMode,
    },
    /// A flag of the CLI's own; in the CLI's words.
    #[error("{0}")]
    Call(#[from] CallError),
    /// `every=` without a counter.
    #[error("@every=N counts processes: say in which file, with --mock-counter FILE")]
    NoCounter,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            recording: "ten-turns".to_owned(),
            pace: Pace::Full,
            answer: Mode::default(),
            echo_mark: false,
            rss: 0,
            rss_per_turn: 0,
            faults: Vec::new(),
            seed: None,
            counter: None,
            call: Call::default(),
        }
    }
}

/// Reads the command line (without the program) and the environment.
pub fn parse(
    arguments: impl IntoIterator<Item = String>,
    variables: impl IntoIterator<Item = (String, String)>,
) -> Result<Command, OptionsError> {
    let mut options = Options::default();
    let variables: Vec<(String, String)> = variables.into_iter().collect();
    for (variable, value) in &variables {
        if let Some(name) = variable.strip_prefix("MOCK_CLAUDE_") {
            options.set_option(&name.to_lowercase().replace('_', "-"), variable, value)?;
        }
    }
    let faults_of_environment = std::mem::take(&mut options.faults);
    let mut flags = Flags::default();
    let mut arguments = arguments.into_iter().peekable();
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            orphan::VERB => return Ok(Command::Orphan),
            "--mock-help" => return Ok(Command::Help),
            own if own.starts_with("--mock-") => options.set_from_flag(own, &mut arguments)?,
            _ => flags.take_argument(argument, &mut arguments).map_err(CallError::from)?,
        }
    }
    if options.faults.is_empty() {
        options.faults = faults_of_environment;
    }
    if options.counter.is_none() && options.faults.iter().any(|fault| fault.every.is_some()) {
        return Err(OptionsError::NoCounter);
    }
    if flags.has("version") {
        return Ok(Command::Version(options.recording));
    }
    if flags.has("help") {
        return Ok(Command::Help);
    }
    let variable = |name: &str| variables.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone());
    options.call = Call::new(&flags, variable)?;
    Ok(Command::Run(Box::new(options)))
}

impl Options {
    fn set_from_flag(&mut self, flag: &str, rest: &mut impl Iterator<Item = String>) -> Result<(), OptionsError> {
        let (option, value) = match flag.split_once('=') {
            Some((option, value)) => (option, Some(value.to_owned())),
            None if flag == "--mock-echo-mark" => (flag, Some("true".to_owned())),
            None => (flag, rest.next()),
        };
        let value = value.ok_or_else(|| OptionsError::NoValue(option.to_owned()))?;
        self.set_option(option.trim_start_matches("--mock-"), option, &value)
    }

    /// Sets the option `name`; `given` is how the user wrote it.
    fn set_option(&mut self, name: &str, given: &str, value: &str) -> Result<(), OptionsError> {
        let wrong = |wanted| OptionsError::Value { option: given.to_owned(), value: value.to_owned(), wanted };
        let amount = |unit: usize| {
            let amount = value.parse::<usize>().ok().and_then(|count| count.checked_mul(unit));
            amount.ok_or_else(|| wrong("a whole number"))
        };
        match name {
            "recording" => value.clone_into(&mut self.recording),
            "pace" => {
                self.pace = match value {
                    "full" => Pace::Full,
                    "recorded" => Pace::Recorded,
                    _ => return Err(wrong("full or recorded")),
                }
            }
            "answer" => {
                let mode = value.parse().map_err(|source| OptionsError::Answer { option: given.to_owned(), source });
                self.answer = mode?;
            }
            "echo-mark" => {
                self.echo_mark = match value {
                    "1" | "true" => true,
                    "" | "0" | "false" => false,
                    _ => return Err(wrong("true or false")),
                }
            }
            "rss" => self.rss = amount(1_000_000)?,
            "rss-per-turn" => self.rss_per_turn = amount(1_000)?,
            "seed" => self.seed = Some(value.parse().map_err(|_| wrong("a whole number"))?),
            "counter" => self.counter = Some(PathBuf::from(value)),
            "fault" => {
                for spec in value.split(',').map(str::trim).filter(|spec| !spec.is_empty()) {
                    let fault = spec.parse().map_err(|source| OptionsError::Fault { option: given.to_owned(), source });
                    self.faults.push(fault?);
                }
            }
            _ => return Err(OptionsError::Unknown(given.to_owned())),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(arguments: &[&str], variables: &[(&str, &str)]) -> Result<Command, OptionsError> {
        parse(
            arguments.iter().map(|argument| (*argument).to_owned()),
            variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())),
        )
    }

    fn options(arguments: &[&str], variables: &[(&str, &str)]) -> Options {
        match read(arguments, variables).expect("good options") {
            Command::Run(options) => *options,
            other => panic!("not a run: {other:?}"),
        }
    }

    #[test]
    fn the_clis_flags_are_its_own() {
        let own = options(&["--system-prompt", "--mock-pace", "--tools", "", "--mock-rss", "3"], &[]);
        assert_eq!((own.pace, own.rss, own.call.tools), (Pace::Full, 3_000_000, Some(Vec::new())));
        assert!(options(&["--verbose", "--include-partial-messages"], &[]).call.partials);
        let error = read(&["--new-flag"], &[]).expect_err("no flag").to_string();
        assert_eq!(error, "error: unknown option '--new-flag'");
    }

    #[test]
    fn a_flag_wins_over_the_environment() {
        let variables = [("MOCK_CLAUDE_RSS", "5"), ("MOCK_CLAUDE_FAULT", "crash,hang@turn=2"), ("HOME", "/h")];
        let from_both = options(&["--mock-rss=7", "--mock-echo-mark"], &variables);
        assert_eq!((from_both.rss, from_both.echo_mark, from_both.faults.len()), (7_000_000, true, 2));
        assert_eq!(options(&["--mock-fault", "hang-start"], &variables).faults.len(), 1);
    }

    #[test]
    fn mistakes_name_the_option_as_it_was_given() {
        let error =
            |arguments: &[&str], variables: &[(&str, &str)]| read(arguments, variables).expect_err("bad").to_string();
        assert_eq!(error(&["--mock-pase", "x"], &[]), "there is no option --mock-pase; see mock-claude --help");
        assert_eq!(error(&["--mock-pace"], &[]), "--mock-pace needs a value; see mock-claude --help");
        let wrong = error(&[], &[("MOCK_CLAUDE_PACE", "slow")]);
        assert_eq!(wrong, "MOCK_CLAUDE_PACE cannot be `slow`: it is full or recorded");
        assert!(error(&["--mock-fault", "boom"], &[]).starts_with("--mock-fault: there is no fault `boom`"));
        assert!(
            error(&["--mock-answer", "schema+fast"], &[]).starts_with("--mock-answer: there is no answer `fast`; the")
        );
        assert!(error(&["--mock-fault", "crash@every=3"], &[]).contains("--mock-counter FILE"));
    }

    #[test]
    fn the_version_is_that_of_the_recording() {
        let version = read(&["--version"], &[("MOCK_CLAUDE_RECORDING", "2.1.19/unicode")]).expect("good options");
        assert_eq!(version, Command::Version("2.1.19/unicode".to_owned()));
    }
}
