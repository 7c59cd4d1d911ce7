//! `leakgate`: see [`leakgate::commands`].

use std::process::ExitCode;

fn main() -> ExitCode {
    leakgate::commands::main()
}
