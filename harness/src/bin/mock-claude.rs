//! `mock-claude`: stands in for the CLI, speaking from a recording. See [`leakgate_mock`].

use std::process::ExitCode;

fn main() -> ExitCode {
    leakgate_mock::main()
}
