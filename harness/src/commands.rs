//! The command line: verbs, messages, exit codes.

use std::fmt::Display;
use std::future::Future;
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use std::sync::Arc;

use clap::{CommandFactory, Parser, Subcommand};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;

use crate::progress::{Bar, Lines};
use leakgate_drive::event::Listener;
use leakgate_drive::orphans;
use leakgate_drive::watchdog;
use leakgate_judge::exit::Exit;

pub mod baseline;
pub mod calibrate;
pub mod compare;
pub mod diff;
pub mod fake_api;
pub mod judge;
pub mod merge;
pub mod nightly;
pub mod profile;
pub mod record;
pub mod recordings;
pub mod report;
pub mod run;
pub mod trend;

/// Proves whether a server that restarts its CLI leaks.
#[derive(Debug, Parser)]
#[command(
    name = "leakgate",
    version,
    after_help = "Exit codes: 0 pass, 1 leak, 2 usage, 3 not conclusive, 4 invalid (the run proves nothing), \
                  5 leakgate itself failed.\n\
                  Verbs for people who work on leakgate (power, compare, fake-api) are in .github/CONTRIBUTING.md."
)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Run the controls, then scenarios, and judge what was measured.
    Run(Box<run::Args>),
    /// Run every scenario there is for long, compare the build with the last baseline, and keep the night in the history.
    Nightly(Box<nightly::Args>),
    /// Accept a night as what later ones are compared with; list and show what was accepted.
    Baseline(baseline::Args),
    /// Write the trend page of the history again.
    Trend(trend::Args),
    /// Judge stored runs again.
    Judge(judge::Args),
    /// Put the shards of a suite together and judge the whole.
    Merge(merge::Args),
    /// Write the report of a stored run: for a browser, a pull request, a CI, a dashboard.
    Report(report::Args),
    /// Profile a scenario's heap and name the lines of code that keep memory.
    Profile(Box<profile::Args>),
    /// Plant leaks of falling size many times, and none many times: what this gate catches, and how often it cries wolf.
    #[command(hide = true)]
    Power(calibrate::Args),
    /// Tell what grew between two runs or two profiles.
    Diff(diff::Args),
    /// Hold the recorded conversations with the mock and with a real CLI, and tell what differs.
    #[command(hide = true)]
    Compare(compare::Args),
    /// Serve a stand-in for the Messages API on loopback, for a real CLI that may reach nothing else.
    #[command(hide = true)]
    FakeApi(fake_api::Args),
    /// Stand in the CLI's place, pass every byte on and record the session, scrubbed. Ends as the CLI ends.
    Record(record::Args),
    /// The recorder's second process.
    #[command(name = record::RECORDER_VERB, hide = true)]
    RecordBack(record::Args),
    /// The process that ends what a killed leakgate leaves.
    #[command(name = watchdog::VERB, hide = true)]
    Guard,
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

    /// The same, and one thing more to be told.
    fn with(self, more: &str) -> Self {
        Self { message: format!("{}; {more}", self.message), ..self }
    }
}

/// The command line, for tests that parse one without running it.
#[must_use]
pub fn command() -> clap::Command {
    Cli::command()
}

/// The whole program.
#[must_use]
pub fn main() -> ExitCode {
    let result = match Cli::parse().verb {
        Verb::Run(args) => run::run(&args).map(ExitCode::from),
        Verb::Nightly(args) => nightly::run(&args).map(ExitCode::from),
        Verb::Baseline(args) => baseline::run(&args).map(ExitCode::from),
        Verb::Trend(args) => trend::run(&args).map(ExitCode::from),
        Verb::Judge(args) => judge::run(&args).map(ExitCode::from),
        Verb::Merge(args) => merge::run(&args).map(ExitCode::from),
        Verb::Report(args) => report::run(&args).map(ExitCode::from),
        Verb::Profile(args) => profile::run(&args).map(ExitCode::from),
        Verb::Power(args) => calibrate::run(&args).map(ExitCode::from),
        Verb::Diff(args) => diff::run(&args).map(ExitCode::from),
        Verb::Compare(args) => compare::run(&args).map(ExitCode::from),
        Verb::FakeApi(args) => fake_api::run(&args).map(ExitCode::from),
        Verb::Record(_) => record::run_shim(),
        Verb::RecordBack(args) => record::run_recorder(args),
        Verb::Guard => Ok(watchdog::run()),
        Verb::Recordings(args) => recordings::run(&args).map(ExitCode::from),
    };
    match result {
        Ok(exit) => exit,
        Err(Failure { exit, message }) => {
            // A closed stderr leaves no way to report this.
            let _ = writeln!(io::stderr(), "leakgate: {message}");
            exit.into()
        }
    }
}

/// Writes warnings to stderr.
fn warn(warnings: &[String]) {
    for warning in warnings {
        // A closed stderr must not end the command.
        let _ = writeln!(io::stderr(), "leakgate: warning: {warning}");
    }
}

/// The progress display: a bar on a terminal, a few lines elsewhere.
fn progress_listener() -> Arc<dyn Listener> {
    if io::stderr().is_terminal() { Arc::new(Bar::new()) } else { Arc::new(Lines) }
}

/// Runs `work` until it ends or a SIGINT or SIGTERM arrives, and then ends every process that it started. The watchdog
/// does so if this process is killed.
fn run_supervised<T>(work: impl Future<Output = T>) -> Result<T, Failure> {
    check_temporary_folder()?;
    let cannot = |what: &str, error: &dyn Display| Failure::harness(&format!("cannot {what}: {error}"));
    orphans::adopt_orphans().map_err(|error| cannot("adopt orphans, for which leakgate needs Linux", &error))?;
    watchdog::spawn().map_err(|error| cannot("start a second process of leakgate", &error))?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|error| cannot("start leakgate's runtime", &error))?;
    let done = runtime.block_on(async {
        let mut reaper = JoinSet::new();
        reaper.spawn(orphans::reap_orphans());
        until_interrupted(work).await
    });
    // This drops every target that still runs, and so kills it.
    drop(runtime);
    orphans::kill_descendants();
    done
}

/// Checks that TMPDIR is UTF-8: its path goes into command lines and variables of the programs that are started.
fn check_temporary_folder() -> Result<(), Failure> {
    let folder = std::env::temp_dir();
    if folder.to_str().is_some() {
        return Ok(());
    }
    let folder = folder.display();
    Err(Failure::usage(&format!("TMPDIR is {folder}, which is not UTF-8: set it to a folder whose path is")))
}

async fn until_interrupted<T>(work: impl Future<Output = T>) -> Result<T, Failure> {
    let handler = |kind| signal(kind).map_err(|error| Failure::harness(&format!("cannot listen for signals: {error}")));
    let (mut interrupt, mut terminate) = (handler(SignalKind::interrupt())?, handler(SignalKind::terminate())?);
    let name = tokio::select! {
        done = work => return Ok(done),
        _ = interrupt.recv() => "SIGINT",
        _ = terminate.recv() => "SIGTERM",
    };
    Err(Failure::harness(&format!("{name}: nothing was judged, and everything that was started is ended")))
}

/// Writes to stdout, with colours where they can be seen. A reader that has seen enough is no failure.
fn print(text: &str) -> Result<(), Failure> {
    match write_stdout(text) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::harness(&format!("cannot write the report to stdout: {error}")))
        }
        _ => Ok(()),
    }
}

/// Writes to stdout what is stored by now, or decided, so that it does not depend on it: where stdout cannot take it, a line
/// on stderr says so and `instead`, and the verb ends as it would.
fn print_stored(text: &str, instead: &str) {
    if let Err(error) = write_stdout(text).map_err(|error| error.to_string()) {
        // Nobody is left to be told that stderr is closed, too.
        let _ = writeln!(io::stderr(), "leakgate: cannot write to stdout ({error}); {instead}");
    }
}

fn write_stdout(text: &str) -> io::Result<()> {
    let mut stdout = anstream::stdout();
    // What stays in the buffer would fail when nobody looks any more.
    stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use clap::CommandFactory;

    use super::Cli;

    /// clap asserts it too, in debug builds alone: there nothing could be run at all.
    #[test]
    fn groups_of_options_have_names_of_their_own() {
        let whole = Cli::command();
        for command in whole.get_subcommands() {
            let mut seen = BTreeSet::new();
            for group in command.get_groups() {
                assert!(seen.insert(group.get_id().as_str()), "{}: {}", command.get_name(), group.get_id());
            }
        }
        assert!(
            whole.get_subcommands().any(|command| command.get_groups().count() > 1),
            "there is something to tell apart"
        );
    }
}
