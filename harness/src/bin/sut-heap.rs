//! The wrapper under test, under dhat.

use std::process::ExitCode;

/// The only global allocator of the workspace.
#[global_allocator]
static ALLOCATOR: dhat::Alloc = dhat::Alloc;

fn main() -> ExitCode {
    leakgate_sut::main(true)
}
