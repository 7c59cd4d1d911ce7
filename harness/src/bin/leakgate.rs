//! `leakgate`: see [`leakgate::cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    leakgate::cli::main()
}
