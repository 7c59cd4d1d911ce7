//! The exit codes of `mock-claude` that the CLI does not have: a test that starts it wrongly must not look like a CLI that fails.

use std::process::ExitCode;

/// Why `mock-claude` ended, where no recording says how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    /// The mock's own options, or the recording that they name, are wrong.
    Usage = 2,
    /// The mock itself failed: its streams broke, or a process could not be started.
    Broken = 5,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}
