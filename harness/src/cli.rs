//! The command line: verbs, messages, exit codes.

use std::fmt::Display;
use std::io::{self, Write};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::exit::Exit;

pub mod compare;
pub mod fake_api;
pub mod judge;
pub mod record;
pub mod recordings;
pub mod report;
pub mod run;

/// Proves whether a server that restarts its CLI leaks.
#[derive(Debug, Parser)]
#[command(
    name = "leakgate",
    version,
    after_help = "Exit codes: 0 pass, 1 leak, 2 usage, 3 not conclusive, 4 invalid (the run proves nothing), \
                  5 leakgate itself failed."
)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Run the controls, then scenarios, and judge what was measured.
    Run(Box<run::Args>),
    /// Judge stored runs again.
    Judge(judge::Args),
    /// Write the report of a stored run: for a browser, a pull request, a CI, a dashboard.
    Report(report::Args),
    /// Hold the recorded conversations with the mock and with a real CLI, and tell what differs.
    Compare(compare::Args),
    /// Serve a stand-in for the Messages API on loopback, for a real CLI that may reach nothing else.
    FakeApi(fake_api::Args),
    /// Stand in the CLI's place, pass every byte on and record the session, scrubbed. Ends as the CLI ends.
    Record(record::Args),
    /// The recorder's second process.
    #[command(name = record::BACK, hide = true)]
    RecordBack(record::Args),
    /// List, check, show and trim recordings.
    Recordings(recordings::Args),
}

/// A command that could not do its work: how it ends, and what to tell.
#[derive(Debug)]
pub struct Failure {
    exit: Exit,
    message: String,
}

impl Failure {
    /// The command line or the configuration is wrong.
    pub fn usage(error: &impl Display) -> Self {
        Self { exit: Exit::Usage, message: error.to_string() }
    }

    /// leakgate could not go on.
    pub fn harness(error: &impl Display) -> Self {
        Self { exit: Exit::Harness, message: error.to_string() }
    }
}

/// The whole program.
#[must_use]
pub fn main() -> ExitCode {
    let result = match Cli::parse().verb {
        Verb::Run(args) => run::run(&args).map(ExitCode::from),
        Verb::Judge(args) => judge::run(&args).map(ExitCode::from),
        Verb::Report(args) => report::run(&args).map(ExitCode::from),
        Verb::Compare(args) => compare::run(&args).map(ExitCode::from),
        Verb::FakeApi(args) => fake_api::run(&args).map(ExitCode::from),
        Verb::Record(_) => record::front(),
        Verb::RecordBack(args) => record::back(args),
        Verb::Recordings(args) => recordings::run(&args).map(ExitCode::from),
    };
    match result {
        Ok(exit) => exit,
        Err(Failure { exit, message }) => {
            // Nobody is left to be told that stderr is closed.
            let _ = writeln!(io::stderr(), "leakgate: {message}");
            exit.into()
        }
    }
}

/// Writes to stdout, with colours where they can be seen. A reader that has seen enough is no failure.
fn print(text: &str) -> Result<(), Failure> {
    match anstream::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::harness(&format!("cannot write the report to stdout: {error}")))
        }
        _ => Ok(()),
    }
}
