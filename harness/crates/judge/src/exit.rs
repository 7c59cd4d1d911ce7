//! The exit codes of `leakgate`: what a script can rely on.

use std::process::ExitCode;

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Everything was exercised and nothing leaks.
    Pass = 0,
    /// Something leaks.
    Leak = 1,
    /// The command line or the configuration is wrong; nothing was measured. (clap's own code for usage errors.) Also the
    /// end of a night in which a budget or an exception is over its day and nothing worse was found.
    Usage = 2,
    /// The measurements do not decide: saturating, retained or too noisy.
    NotConclusive = 3,
    /// The run proves nothing: a control was missed, the target did not settle, or nothing was exercised.
    Invalid = 4,
    /// The harness itself failed: no disk, no process, a defect.
    Harness = 5,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}
