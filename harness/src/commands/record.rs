//! `leakgate record`: passes a CLI's streams on and records them.

use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use crate::commands::Failure;
use leakgate_session::record::{self, RecordError, RecordOptions};
use leakgate_session::scrub::Kind;

/// The hidden verb of the second process.
pub const RECORDER_VERB: &str = "record-back";

const HELP: &str = "\
To put it between a wrapper and its CLI, name this script as the CLI, or call it `claude` and put its folder first in PATH:

    #!/bin/sh
    exec leakgate record -o /path/to/recordings -- /path/to/the/real/claude \"$@\"

The session comes first: where the recording cannot be written (no rights, a full or slow disk), the CLI works on, and a
line on stderr tells so after the CLI has ended. What was removed is counted in the recording's last line, and
`leakgate recordings show` shows it. A secret that no pattern knows, and that no field or variable with a telling name
holds, cannot be found: read a recording before you share it.

Exit code: that of the CLI, or its signal; 127 or 126 if it cannot be started, as from a shell.";

/// Options of `record`.
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub struct Args {
    /// The folder for the recordings, one file (0600) for each session; made (0700) if it is not there.
    #[arg(short, long, value_name = "DIR", default_value = "leakgate-recordings")]
    out: PathBuf,

    /// One sentence on what happens in the session, for the file's first line.
    #[arg(long, value_name = "TEXT", default_value = "recorded by leakgate record")]
    about: String,

    /// Leave this in instead of removing it; may be given more than once.
    #[arg(long, value_name = "KIND", value_enum)]
    keep: Vec<Kind>,

    /// The CLI and its arguments.
    #[arg(required = true, last = true, value_name = "CLI")]
    command: Vec<OsString>,
}

/// Runs the shim in the CLI's place, which ends with the CLI's exit code or signal.
pub fn run_shim() -> Result<ExitCode, Failure> {
    // The same arguments under the hidden verb.
    let own = std::env::args_os().skip(2);
    let arguments: Vec<OsString> = std::iter::once(RECORDER_VERB.into()).chain(own).collect();
    record::run_shim(&arguments).map_err(|error| Failure::harness(&error))
}

/// Runs the recorder behind the shim.
pub fn run_recorder(args: Args) -> Result<ExitCode, Failure> {
    let options = RecordOptions { out: args.out, about: args.about, keep: args.keep, command: args.command };
    record::run_recorder(&options).or_else(|error| spawn_failure_exit(&error))
}

/// Maps a CLI that cannot be started to a shell's exit code: 126 or 127.
fn spawn_failure_exit(error: &RecordError) -> Result<ExitCode, Failure> {
    let Some(code) = error.exit_code() else { return Err(Failure::harness(error)) };
    // Nobody is left to be told that stderr is closed.
    let _ = writeln!(std::io::stderr(), "leakgate: {error}");
    Ok(ExitCode::from(code))
}
