//! `mock-claude`: the CLI's stream-json protocol, spoken from a recording.
//!
//! ```text
//! options  command line and environment          script  recording → turns, /clear answers, control answers
//! flags    the CLI's flags and its errors        call    what of a call changes what is said
//! client   hooks and servers of the caller
//! input    one line of stdin                      line    one line of stdout and the text in it that may change
//! marker   marks the texts of a recorded turn     fault   how and when to break
//! dialect  what a CLI version says in general     player  the process: reads, waits, speaks, breaks
//! answer   what a prompt asks for, made           envelope  a made reply in the lines of a recorded turn
//! stdio    the standard streams                   orphan  the child that a fault leaves behind
//! ```
//!
//! Recorded lines are written byte for byte, except for what has to differ: request ids, the session id after a
//! `/clear`, the model after a `set_model`, text that carries a mark, and a reply that is made from its request ([`answer`]). What a recording does not hold (the end of an
//! interrupted turn, `/clear`, other control requests) is taken from the bundled recordings of the same CLI version.
//!
//! # In front of the SDKs
//!
//! What the official Agent SDKs need beyond that depends on what they register, so that it can't be played from one
//! recording: the CLI asks for permissions, calls hooks, greets MCP servers in its caller and uses their tools. Such
//! turns are made from the lines of `tool-hooks`, `tool-permission-interrupted` and `prompt-hook-blocked`, and answers to
//! requests of the SDKs come from `sdk-requests`, all of 2.1.330. `tests/it/mock/exchanges.rs` holds what is made
//! against other recordings of the same version, which the mock does not have; `tests/sdks` drives it with both SDKs.
//!
//! | from recordings | from nothing but the SDKs' types, or left out |
//! | --- | --- |
//! | flags, their values and the errors to wrong ones | `--resume` of a session that there is not is no error |
//! | `initialize`, its hooks, servers and permission mode; `system/init` | an initialization's other fields change nothing |
//! | permissions: asked and allowed, refused, refused with an interrupt, unanswered; nobody to ask; `bypassPermissions`, `acceptEdits`; a rule of `--allowedTools` | a rule of `--disallowedTools`, `dontAsk`; rules with brackets count without them; permissions that an answer adds are not kept |
//! | hooks `UserPromptSubmit`, `PreToolUse`, `PermissionRequest`, `PostToolUse`, `Stop`, their matchers, `deny`, `allow`, `block`, `continue: false` | a `Stop` hook that blocks and a `PermissionRequest` hook that decides are called, and not obeyed; other events are not called |
//! | MCP servers in the caller: greeting, list, call, status, off and on | a server or a tool of it that fails; other MCP servers are not started |
//! | states of the session; repeated user messages; `--json-schema` | `CLAUDE_CODE_EMIT_SESSION_STATE_EVENTS` |
//! | a single prompt as text, JSON, JSON array and JSON lines; its exit code | the text of a result without one |
//!
//! The `mock` knows nothing of the server under test, and asks nothing of it.

use std::process::ExitCode;

pub mod answer;
pub mod call;
pub mod fake_api;
pub mod fault;
pub mod flags;
pub mod options;

mod client;
mod dialect;
mod envelope;
mod exit;
mod input;
mod line;
mod marker;
mod orphan;
mod player;
mod script;
mod stdio;

use call::CallError;
use exit::Exit;
use leakgate_session::recording;
use options::{Command, Options, OptionsError};

/// Runs `mock-claude` with this process's arguments, environment and standard streams.
pub fn main() -> ExitCode {
    let arguments = std::env::args_os().skip(1).map(|argument| argument.to_string_lossy().into_owned());
    let variables = std::env::vars_os()
        .map(|(name, value)| (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned()));
    match options::parse(arguments, variables) {
        Ok(Command::Help) => stdio::print_text(options::HELP),
        Ok(Command::Version(spec)) => print_version(&spec),
        Ok(Command::Orphan) => orphan::run_orphan(),
        Ok(Command::Run(options)) => run(*options),
        Err(OptionsError::Call(error)) => refuse_call(&error),
        Err(error) => report_usage(&error.to_string()),
    }
}

/// Refuses a call as the CLI does: in its words, with its exit code.
fn refuse_call(error: &CallError) -> ExitCode {
    stdio::print_error(&error.to_string());
    ExitCode::FAILURE
}

fn print_version(spec: &str) -> ExitCode {
    match recording::load(spec) {
        Ok(session) => stdio::print_text(&format!("{} (Claude Code)\n", session.header.cli)),
        Err(error) => report_usage(&error.to_string()),
    }
}

fn run(mut options: Options) -> ExitCode {
    let session = match recording::load(&options.recording) {
        Ok(session) => session,
        Err(error) => return report_usage(&error.to_string()),
    };
    if !options.call.streams {
        let more = stdio::read_all().unwrap_or_default();
        let parts = [options.call.prompt.as_str(), more.as_str()];
        options.call.prompt = parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("\n");
        if options.call.prompt.trim().is_empty() {
            return refuse_call(&CallError::NoPrompt);
        }
    }
    match player::Player::start(options, &session) {
        Ok(mut player) => player.run(),
        Err(error) => {
            stdio::print_error(&format!("mock-claude: {error}"));
            Exit::Broken.into()
        }
    }
}

fn report_usage(message: &str) -> ExitCode {
    stdio::print_error(&format!("mock-claude: {message}"));
    Exit::Usage.into()
}
