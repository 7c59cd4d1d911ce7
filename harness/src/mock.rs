//! `mock-claude`: the CLI's stream-json protocol, spoken from a recording.
//!
//! ```text
//! options  command line and environment          script  recording → turns, /clear answers, control answers
//! input    one line of stdin                      line    one line of stdout and the text in it that may change
//! mark     the caller's mark, woven into a reply  fault   how and when to break
//! dialect  what a CLI version says in general     player  the process: reads, waits, speaks, breaks
//! answer   what a prompt asks for, made           envelope  a made reply in the lines of a recorded turn
//! stdio    the standard streams                   orphan  the child that a fault leaves behind
//! ```
//!
//! Recorded lines are written byte for byte, except for what has to differ: request ids, the session id after a
//! `/clear`, the model after a `set_model`, text that carries a mark, and a reply that is made from its request ([`answer`]). What a recording does not hold (the end of an
//! interrupted turn, `/clear`, other control requests) is taken from the bundled recordings of the same CLI version.
//!
//! The `mock` knows nothing of the server under test, and asks nothing of it.

use std::process::ExitCode;

pub mod answer;
pub mod fault;
pub mod options;

mod dialect;
mod envelope;
mod input;
mod line;
pub(crate) mod mark;
mod orphan;
mod player;
mod script;
mod stdio;

use crate::exit::Exit;
use crate::recording;
use options::{Command, Options};

/// Runs `mock-claude` with this process's arguments, environment and standard streams.
pub fn main() -> ExitCode {
    let arguments = std::env::args_os().skip(1).map(|argument| argument.to_string_lossy().into_owned());
    let variables = std::env::vars_os()
        .map(|(name, value)| (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned()));
    match options::parse(arguments, variables) {
        Ok(Command::Help) => stdio::print(options::HELP),
        Ok(Command::Version(spec)) => version(&spec),
        Ok(Command::Orphan) => orphan::live(),
        Ok(Command::Run(options)) => run(*options),
        Err(error) => usage(&error.to_string()),
    }
}

fn version(spec: &str) -> ExitCode {
    match recording::load(spec) {
        Ok(session) => stdio::print(&format!("{} (Claude Code)\n", session.header.cli)),
        Err(error) => usage(&error.to_string()),
    }
}

fn run(options: Options) -> ExitCode {
    let session = match recording::load(&options.recording) {
        Ok(session) => session,
        Err(error) => return usage(&error.to_string()),
    };
    match player::Player::start(options, &session) {
        Ok(mut player) => player.run(),
        Err(error) => {
            stdio::complain(&format!("mock-claude: {error}"));
            Exit::Harness.into()
        }
    }
}

fn usage(message: &str) -> ExitCode {
    stdio::complain(&format!("mock-claude: {message}"));
    Exit::Usage.into()
}
