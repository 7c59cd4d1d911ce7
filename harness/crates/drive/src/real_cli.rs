//! The real CLI as the program under a server: where it is, and what its environment must be so that it costs nobody
//! anything and reaches nothing.
//!
//! Nothing here starts it outside of a network namespace of its own: [`read_version`] is for a process that is isolated.

use std::env;
use std::ffi::{OsStr, OsString};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use thiserror::Error;

use crate::secrets;

/// The mock is known by its name: to ask a program what it is would be to run it.
const MOCK_NAME: &str = "mock-claude";
/// A fake key: without any, the CLI does not ask the API at all.
const FAKE_API_KEY: &str = "sk-ant-fake-for-a-stand-in-on-loopback";
/// The discard port, which only root could listen on and nobody does.
const DEAD_END_URL: &str = "http://127.0.0.1:9";
/// Variables of the caller that a CLI must not see: keys, other addresses, the marks of an enclosing CLI.
pub(crate) const WITHHELD_PREFIXES: [&str; 3] = ["CLAUDE", "ANTHROPIC_", "CCW_"];

/// A CLI that cannot be used.
#[derive(Debug, Error)]
pub enum CliError {
    /// The program does not exist or is not executable.
    #[error(
        "there is no program {}; name a path or a program in PATH, install the pinned CLI with harness/cli/install, \
         which prints its path, or leave --cli out for the mock", .0.display()
    )]
    Missing(PathBuf),
    /// The program does not print a version.
    #[error("{} --version {what}; is it a CLI for this machine?", cli.display())]
    Broken {
        /// The program.
        cli: PathBuf,
        /// The error.
        what: String,
    },
}

/// Finds the program that `name` means: a path, or a name in PATH. The result is absolute.
pub fn find_program(name: &Path) -> Result<PathBuf, CliError> {
    let missing = || CliError::Missing(name.to_owned());
    let is_bare = name.components().count() == 1 && !name.as_os_str().as_encoded_bytes().contains(&b'/');
    let found = if is_bare {
        let path = env::var_os("PATH").unwrap_or_default();
        env::split_paths(&path).map(|folder| folder.join(name)).find(|path| is_program(path))
    } else {
        Some(name.to_owned()).filter(|path| is_program(path))
    };
    found.and_then(|path| std::path::absolute(path).ok()).ok_or_else(missing)
}

/// Whether this is the mock, by its name.
#[must_use]
pub fn is_mock(cli: &Path) -> bool {
    cli.file_name() == Some(OsStr::new(MOCK_NAME))
}

/// The version that the CLI tells. Only for a process that is isolated.
pub fn read_version(cli: &Path) -> Result<String, CliError> {
    let broken = |what: String| CliError::Broken { cli: cli.to_owned(), what };
    let home = tempfile::tempdir().map_err(|error| broken(format!("needs a folder for a home: {error}")))?;
    #[expect(clippy::disallowed_methods, reason = "waited for right here")]
    let mut command = Command::new(cli);
    for name in withheld_variables() {
        command.env_remove(name);
    }
    command.arg("--version").envs(stand_in_variables(DEAD_END_URL)).env("HOME", home.path()).env("TMPDIR", home.path());
    let output = command.stdin(Stdio::null()).output().map_err(|error| broken(format!("cannot be run: {error}")))?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let version = said.split_whitespace().next().filter(|word| word.starts_with(|first: char| first.is_ascii_digit()));
    match version {
        Some(version) if output.status.success() => Ok(version.to_owned()),
        _ => Err(broken(format!("ended with {} and said {:?}", output.status, said.trim()))),
    }
}

/// The environment of a CLI that talks to the stand-in: its address, a fake key, and no other traffic.
#[must_use]
pub fn stand_in_variables(api: &str) -> [(&'static str, String); 6] {
    [
        ("ANTHROPIC_BASE_URL", api.to_owned()),
        ("ANTHROPIC_API_KEY", FAKE_API_KEY.to_owned()),
        ("DISABLE_TELEMETRY", "1".to_owned()),
        ("DISABLE_ERROR_REPORTING", "1".to_owned()),
        ("DISABLE_AUTOUPDATER", "1".to_owned()),
        ("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1".to_owned()),
    ]
}

/// Sends every request to the API, whichever way the CLI reaches it, to a port of this machine that nobody listens on: also a
/// real CLI that has a key can spend nothing. For a server whose CLI is meant to be the mock, which asks nobody.
#[must_use]
pub(crate) fn dead_end_variables() -> [(&'static str, &'static str); 4] {
    [
        ("ANTHROPIC_BASE_URL", DEAD_END_URL),
        ("ANTHROPIC_BEDROCK_BASE_URL", DEAD_END_URL),
        ("ANTHROPIC_VERTEX_BASE_URL", DEAD_END_URL),
        ("ANTHROPIC_FOUNDRY_BASE_URL", DEAD_END_URL),
    ]
}

/// The variables of this process that a CLI must not see.
pub fn withheld_variables() -> impl Iterator<Item = OsString> {
    let named =
        |name: &OsStr| WITHHELD_PREFIXES.iter().any(|prefix| name.as_encoded_bytes().starts_with(prefix.as_bytes()));
    env::vars_os().filter(move |(name, value)| named(name) || secrets::is_secret(name, value)).map(|(name, _)| name)
}

fn is_program(path: &Path) -> bool {
    path.metadata().is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}
