//! The signals that are passed on, and dying of one.

use std::process::ExitCode;

use rustix::process::{Resource, Rlimit, Signal, WaitStatus, getpid, kill_process, setrlimit};
use signal_hook::consts::{SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP, SIGUSR1, SIGUSR2, SIGWINCH};

use crate::recording::End;

/// Signals that a wrapper may send to its CLI.
const FORWARDED: [i32; 9] = [SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGTSTP, SIGCONT, SIGWINCH];

/// Signals that a terminal sends to the whole foreground group: the recorder gets them without the shim.
const FROM_TERMINAL: [i32; 6] = [SIGINT, SIGQUIT, SIGHUP, SIGTSTP, SIGCONT, SIGWINCH];

/// The signals to pass on. Signals that the parent ignores (`nohup`) stay ignored, here and in the CLI.
pub(super) fn forwarded_signals() -> Vec<i32> {
    let ignored = procfs::process::Process::myself().and_then(|own| own.status()).map_or(0, |status| status.sigign);
    FORWARDED.into_iter().filter(|signal| ignored & (1 << (signal - 1)) == 0).collect()
}

pub(super) fn comes_from_terminal(signal: i32) -> bool {
    FROM_TERMINAL.contains(&signal)
}

/// A signal of this number, if it can be sent safely.
pub(super) fn to_signal(signal: i32) -> Option<Signal> {
    Signal::from_named_raw(signal)
}

/// `SIGTERM` and the like.
pub(super) fn signal_name(signal: i32) -> String {
    signal_hook::low_level::signal_name(signal).map_or_else(|| format!("signal {signal}"), str::to_owned)
}

/// How a child ended.
pub(super) fn end_of(status: WaitStatus) -> End {
    let code = status.exit_status().map(End::Code);
    code.or_else(|| status.terminating_signal().map(End::Signal)).unwrap_or(End::Code(1))
}

/// Ends this process in the same way: by the same signal, without a core of its own.
pub(super) fn exit_like(end: End) -> ExitCode {
    match end {
        End::Code(code) => ExitCode::from(u8::try_from(code).unwrap_or(1)),
        End::Signal(signal) => {
            let _ = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
            if let Some(Signal::KILL) = to_signal(signal) {
                let _ = kill_process(getpid(), Signal::KILL);
            }
            // It takes the handlers away first, the runtime's own among them. Only a real-time signal comes back.
            let _ = signal_hook::low_level::emulate_default_handler(signal);
            ExitCode::from(u8::try_from(128 + signal).unwrap_or(1))
        }
    }
}
