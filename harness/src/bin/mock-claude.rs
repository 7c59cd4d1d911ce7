//! `mock-claude`: stands in for the CLI, speaking from a recording. See [`leakgate::mock`].

use std::process::ExitCode;

fn main() -> ExitCode {
    leakgate::mock::main()
}
