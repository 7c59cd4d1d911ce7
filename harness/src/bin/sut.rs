//! The wrapper under test, on the system's allocator.

use std::process::ExitCode;

fn main() -> ExitCode {
    leakgate_sut::main(false)
}
