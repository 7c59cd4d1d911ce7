//! The wrapper under test.

use std::process::ExitCode;

fn main() -> ExitCode {
    let mut args: Vec<_> = std::env::args_os().collect();
    if args.get(1).is_some_and(|a| a == "wrapper") {
        args.remove(1);
    }
    cc_openai_wrapper::command::main(args.into_iter())
}
