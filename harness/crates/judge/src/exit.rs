//! The exit codes of `leakgate`: what a script can rely on.

use std::process::ExitCode;

/// How a command ended. Each code has one meaning, whichever command returns it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// The check passed: the thing under test was exercised and is as it should be.
    Pass = 0,
    /// The thing under test is at fault: it leaks, regressed or is over a budget, or a recording is unsound.
    Leak = 1,
    /// The command line or a configuration file has to be changed, which includes an exception or a budget that has expired.
    /// clap exits with the same code.
    Usage = 2,
    /// The measurements do not decide: the growth is saturating or retained, or the readings are too noisy.
    NotConclusive = 3,
    /// The result proves nothing: a control was missed, the target did not settle, nothing was exercised, or the mock does
    /// not behave as the CLI does.
    Invalid = 4,
    /// The harness itself failed: no disk, no process, a defect.
    Harness = 5,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}
