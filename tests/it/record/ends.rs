//! Signals, statuses, and sudden deaths.

use leakgate_session::recording::{End, Payload};
use rustix::process::Signal;

use super::process::{Recorder, command, is_alive};
use crate::support::{signal_pid, until};

#[test]
fn the_exit_code_is_that_of_the_cli() {
    for code in [0, 1, 2, 7, 143, 255] {
        assert_eq!(Recorder::shell(&format!("exit {code}")).end(), End::Code(code));
    }
}

#[test]
fn a_cli_that_dies_of_a_signal_makes_the_recorder_die_of_it() {
    for signal in [1, 2, 6, 9, 11, 13, 15] {
        let mut recorder = Recorder::shell(&format!("ulimit -c 0; kill -{signal} $$; sleep 100"));
        assert_eq!(recorder.end(), End::Signal(signal));
        assert!(matches!(recorder.session().end(), Some(End::Signal(s)) if s == signal));
    }
}

#[test]
fn a_cli_that_cannot_be_started_gives_the_code_of_a_shell_and_no_recording() {
    for (cli, code) in [("/no/such/cli", 127), ("/etc/passwd", 126)] {
        let mut recorder = Recorder::start(&[cli]);
        let output = recorder.output();
        assert_eq!(output.status.code(), Some(code));
        assert!(String::from_utf8_lossy(&output.stderr).contains(&format!("cannot start {cli}")), "{output:?}");
        assert_eq!(recorder.paths().len(), 0);
    }
}

#[test]
fn signals_reach_the_cli_once() {
    let traps = "for s in TERM INT HUP QUIT USR1 USR2 WINCH; do trap \"echo $s\" $s; done";
    let mut recorder = Recorder::shell(&format!("{traps}; echo ready; while :; do sleep 0.01; done"));
    recorder.expect(b"ready\n");
    let signals = [
        (Signal::TERM, "TERM\n"),
        (Signal::INT, "INT\n"),
        (Signal::HUP, "HUP\n"),
        (Signal::QUIT, "QUIT\n"),
        (Signal::USR1, "USR1\n"),
        (Signal::USR2, "USR2\n"),
        (Signal::WINCH, "WINCH\n"),
    ];
    for (signal, told) in signals {
        recorder.signal(signal);
        recorder.expect(told.as_bytes());
    }
    recorder.signal(Signal::KILL);
}

#[test]
fn sigterm_ends_a_cli_that_does_not_handle_it() {
    let mut recorder = Recorder::shell("echo ready; exec sleep 100");
    recorder.expect(b"ready\n");
    recorder.signal(Signal::TERM);
    assert_eq!(recorder.end(), End::Signal(15));
    assert!(
        matches!(&recorder.session().events.last().unwrap().payload, Payload::Exit { after, .. } if after == "SIGTERM")
    );
}

#[test]
fn a_stopped_recorder_stops_the_cli_and_a_continued_one_continues_it() {
    let state = |pid| procfs::process::Process::new(pid).unwrap().stat().unwrap().state;
    let mut recorder = Recorder::shell("echo $$; read line; echo on; exec cat");
    let mut digits = Vec::new();
    while digits.last() != Some(&b'\n') {
        let mut byte = [0];
        std::io::Read::read_exact(recorder.child.stdout.as_mut().unwrap(), &mut byte).unwrap();
        digits.push(byte[0]);
    }
    let cli: i32 = String::from_utf8(digits).unwrap().trim().parse().unwrap();
    recorder.signal(Signal::TSTP);
    until("both have stopped", || state(cli) == 'T' && state(recorder.pid()) == 'T');
    recorder.signal(Signal::CONT);
    recorder.send(b"go\n");
    recorder.expect(b"on\n");
}

/// The recorder's processes and the CLI's, once the CLI says that it is there.
fn running() -> (Recorder, Vec<i32>) {
    let mut recorder = Recorder::shell("echo ready; exec sleep 100");
    recorder.expect(b"ready\n");
    let below = recorder.below();
    assert!(below.len() >= 2, "{below:?}");
    (recorder, below)
}

#[test]
fn a_killed_recorder_leaves_nothing_running_and_a_whole_recording() {
    let (mut recorder, below) = running();
    recorder.signal(Signal::KILL);
    assert_eq!(recorder.end(), End::Signal(9));
    until("nothing is left", || !below.iter().any(|pid| is_alive(*pid)));
    let last = recorder.session().events.pop().unwrap().payload;
    assert!(matches!(&last, Payload::Exit { end: End::Signal(9), after, .. } if after == "SIGKILL"), "{last:?}");
}

#[test]
fn a_killed_second_process_leaves_nothing_running() {
    let (mut recorder, below) = running();
    let back = below.iter().find(|pid| is_child_of(**pid, recorder.pid())).unwrap();
    signal_pid(*back, Signal::KILL);
    assert_eq!(recorder.end(), End::Signal(9));
    assert!(!below.iter().any(|pid| is_alive(*pid)), "something is left");
}

#[test]
fn both_processes_killed_at_once_end_a_cli_that_reads() {
    let mut recorder = Recorder::shell("echo ready; exec cat");
    recorder.expect(b"ready\n");
    let below = recorder.below();
    let back = *below.iter().find(|pid| is_child_of(**pid, recorder.pid())).unwrap();
    recorder.signal(Signal::STOP);
    signal_pid(back, Signal::KILL);
    recorder.signal(Signal::KILL);
    assert_eq!(recorder.end(), End::Signal(9));
    until("nothing is left", || !below.iter().any(|pid| is_alive(*pid)));
}

fn is_child_of(pid: i32, parent: i32) -> bool {
    procfs::process::Process::new(pid).and_then(|process| process.stat()).is_ok_and(|stat| stat.ppid == parent)
}

#[test]
fn a_child_that_the_cli_leaves_behind_does_not_keep_the_recorder() {
    let mut recorder = Recorder::shell("sleep 100 & echo $!; exit 4");
    assert_eq!(recorder.end(), End::Code(4));
    let output = recorder.output();
    let child = String::from_utf8(output.stdout).unwrap().trim().parse().unwrap();
    assert!(is_alive(child), "nothing but the CLI itself may be ended");
    signal_pid(child, Signal::KILL);
}

#[test]
fn a_signal_that_is_ignored_from_the_start_stays_ignored() {
    let folder = tempfile::tempdir().unwrap();
    let recorder = command(&folder, &[], &["sh", "-c", "kill -HUP $$; echo lives"]);
    let words: Vec<String> = std::iter::once(recorder.get_program())
        .chain(recorder.get_args())
        // Without `env` and its flag, which would undo it.
        .skip(2)
        .map(|word| word.to_str().unwrap().to_owned())
        .collect();
    #[expect(clippy::disallowed_methods, reason = "waited for right here")]
    let output = std::process::Command::new("sh").args(["-c", "trap '' HUP; exec \"$@\"", "sh"]).args(words).output();
    assert_eq!(output.unwrap().stdout, b"lives\n");
}
