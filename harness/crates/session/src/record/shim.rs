//! The shim: the process that the wrapper started in place of the CLI.

use std::ffi::OsString;
use std::io::IsTerminal;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use process_tree;
use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions, getpid, kill_process, set_child_subreaper, wait};
use signal_hook::consts::{SIGCHLD, SIGTSTP, SIGURG};
use signal_hook::iterator::Signals;

use super::{RecordError, close_own_stdio, signals};
use crate::recording::End;

/// Starts the recorder with these arguments and ends as it does.
pub fn run_shim(arguments: &[OsString]) -> Result<ExitCode, RecordError> {
    set_child_subreaper(Some(getpid())).map_err(RecordError::system_error("adopt orphans"))?;
    let passed = signals::forwarded_signals();
    let mut incoming =
        Signals::new(passed.iter().chain(&[SIGCHLD, SIGURG])).map_err(RecordError::system_error("handle signals"))?;
    let at_terminal = std::io::stdin().is_terminal();
    let recorder = spawn_recorder(arguments, at_terminal)?;
    close_own_stdio();
    let mut cli_is_gone = false;
    loop {
        let arrived: Vec<i32> = incoming.wait().collect();
        // From the recorder: the CLI has ended, and nothing of it is left to be killed.
        cli_is_gone |= arrived.contains(&SIGURG);
        for signal in arrived.into_iter().filter(|signal| passed.contains(signal)) {
            forward_signal(signal, recorder, at_terminal);
        }
        if let Some(end) = reap_children(recorder) {
            cli_is_gone |= incoming.pending().any(|signal| signal == SIGURG);
            if !cli_is_gone {
                kill_adopted();
            }
            return Ok(signals::exit_like(end));
        }
    }
}

fn spawn_recorder(arguments: &[OsString], at_terminal: bool) -> Result<Pid, RecordError> {
    let program = std::env::current_exe().map_err(RecordError::system_error("find leakgate itself"))?;
    #[expect(clippy::disallowed_methods, reason = "the shim waits for the recorder, and kills what a dead one leaves")]
    let mut command = Command::new(program);
    command.args(arguments);
    if !at_terminal {
        // Whoever kills our group means the CLI; the recorder shall see it and finish the recording.
        command.process_group(0);
    }
    let child = command.spawn().map_err(RecordError::system_error("start the recorder's second process"))?;
    Ok(Pid::from_child(&child))
}

fn forward_signal(signal: i32, recorder: Pid, at_terminal: bool) {
    // At a terminal, the recorder is in our group and has it already; twice would mean something else to the CLI.
    let has_it = at_terminal && signals::comes_from_terminal(signal);
    if let (false, Some(signal)) = (has_it, signals::to_signal(signal)) {
        let _ = kill_process(recorder, signal);
    }
    if signal == SIGTSTP {
        let _ = kill_process(getpid(), Signal::STOP);
    }
}

/// Reaps every child that has ended; gives the end of the recorder.
fn reap_children(recorder: Pid) -> Option<End> {
    loop {
        match wait(WaitOptions::NOHANG) {
            Ok(Some((pid, status))) if pid == recorder => return Some(signals::end_of(status)),
            Ok(Some(_)) | Err(Errno::INTR) => {}
            Ok(None) | Err(_) => return None,
        }
    }
}

/// Kills what the dead recorder left to us, until the kernel says that nothing is left.
fn kill_adopted() {
    loop {
        match wait(WaitOptions::NOHANG) {
            Ok(Some(_)) | Err(Errno::INTR) => continue,
            Ok(None) => {}
            Err(_) => return,
        }
        for pid in process_tree::descendants(getpid().as_raw_nonzero().get()) {
            if let Some(pid) = Pid::from_raw(pid) {
                let _ = kill_process(pid, Signal::KILL);
            }
        }
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
}
