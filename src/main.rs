//! The command `cc-openai-wrapper`.

use std::process::ExitCode;

fn main() -> ExitCode {
    cc_openai_wrapper::command::main(std::env::args_os())
}
