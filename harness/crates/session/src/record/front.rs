//! The process in the CLI's place.

use std::ffi::OsString;
use std::io::IsTerminal;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use process_tree;
use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions, getpid, kill_process, set_child_subreaper, wait};
use signal_hook::consts::{SIGCHLD, SIGTSTP, SIGURG};
use signal_hook::iterator::Signals;

use super::{RecordError, signals};
use crate::recording::End;

/// Starts the back with these arguments and ends as it does.
pub fn front(arguments: &[OsString]) -> Result<ExitCode, RecordError> {
    set_child_subreaper(Some(getpid())).map_err(RecordError::system("adopt orphans"))?;
    let passed = signals::passed();
    let mut incoming =
        Signals::new(passed.iter().chain(&[SIGCHLD, SIGURG])).map_err(RecordError::system("handle signals"))?;
    let at_terminal = std::io::stdin().is_terminal();
    let back = start(arguments, at_terminal)?;
    close_own_stdio();
    let mut cli_is_gone = false;
    loop {
        let arrived: Vec<i32> = incoming.wait().collect();
        // From the back: the CLI has ended, and nothing of it is left to be killed.
        cli_is_gone |= arrived.contains(&SIGURG);
        for signal in arrived.into_iter().filter(|signal| passed.contains(signal)) {
            pass_on(signal, back, at_terminal);
        }
        if let Some(end) = reap(back) {
            cli_is_gone |= incoming.pending().any(|signal| signal == SIGURG);
            if !cli_is_gone {
                kill_adopted();
            }
            return Ok(signals::end_as(end));
        }
    }
}

fn start(arguments: &[OsString], at_terminal: bool) -> Result<Pid, RecordError> {
    let program = std::env::current_exe().map_err(RecordError::system("find leakgate itself"))?;
    #[expect(clippy::disallowed_methods, reason = "the front waits for the back, and kills what a dead one leaves")]
    let mut command = Command::new(program);
    command.args(arguments);
    if !at_terminal {
        // Whoever kills our group means the CLI; the back shall see it and finish the recording.
        command.process_group(0);
    }
    let child = command.spawn().map_err(RecordError::system("start the recorder's second process"))?;
    Ok(Pid::from_child(&child))
}

/// From here on the back alone holds the streams, so that their ends mean what they should.
fn close_own_stdio() {
    if let Ok(null) = std::fs::File::options().read(true).write(true).open("/dev/null") {
        let _ = rustix::stdio::dup2_stdin(&null);
        let _ = rustix::stdio::dup2_stdout(&null);
        let _ = rustix::stdio::dup2_stderr(&null);
    }
}

fn pass_on(signal: i32, back: Pid, at_terminal: bool) {
    // At a terminal, the back is in our group and has it already; twice would mean something else to the CLI.
    let has_it = at_terminal && signals::comes_from_terminal(signal);
    if let (false, Some(signal)) = (has_it, signals::named(signal)) {
        let _ = kill_process(back, signal);
    }
    if signal == SIGTSTP {
        let _ = kill_process(getpid(), Signal::STOP);
    }
}

/// Reaps every child that has ended; gives the end of the back.
fn reap(back: Pid) -> Option<End> {
    loop {
        match wait(WaitOptions::NOHANG) {
            Ok(Some((pid, status))) if pid == back => return Some(signals::end_of(status)),
            Ok(Some(_)) | Err(Errno::INTR) => {}
            Ok(None) | Err(_) => return None,
        }
    }
}

/// Kills what the dead back left to us, until the kernel says that nothing is left.
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
