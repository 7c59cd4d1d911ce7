//! A child that outlives the mock: what a tool or an MCP server that puts itself in a session of its own does.

use std::io::{Read, Write};
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

/// The hidden verb of the child.
pub(super) const VERB: &str = "--mock-orphan";

/// How long it lives when nobody ends it: longer than any run looks for orphans, and not for ever on a developer's
/// machine.
const LIFE: Duration = Duration::from_hours(1);

/// Starts the child and returns once it is in its own session, so that whoever kills the mock's group misses it.
pub(super) fn spawn_orphan(holds_stdout: bool) -> std::io::Result<()> {
    #[expect(clippy::disallowed_methods, reason = "a child without an owner is what this fault is")]
    let mut command = Command::new(std::env::current_exe()?);
    command.arg(VERB).stdin(Stdio::null()).stderr(Stdio::piped());
    command.stdout(if holds_stdout { Stdio::inherit() } else { Stdio::null() });
    let mut child = command.spawn()?;
    if let Some(stderr) = child.stderr.as_mut() {
        stderr.read_exact(&mut [0])?;
    }
    Ok(())
}

/// The child's whole life.
pub(super) fn run_orphan() -> ExitCode {
    let _ = rustix::process::setsid();
    drop(std::io::stderr().write_all(b"."));
    std::thread::sleep(LIFE);
    ExitCode::SUCCESS
}
