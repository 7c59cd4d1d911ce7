//! Every way to break, and the conditions that say when.

use leakgate_session::recording::End;
use procfs::process::Process;
use rustix::process::{Pid, Signal, kill_process};

use super::process::{INITIALIZE, Mock, command, deltas, wait_until};

/// Something that a fault left behind; dropped, it is killed.
struct Orphan(i32);

impl Drop for Orphan {
    fn drop(&mut self) {
        let _ = kill_process(Pid::from_raw(self.0).expect("a pid"), Signal::KILL);
    }
}

fn child_of(mock: &Mock) -> Orphan {
    let all = procfs::process::all_processes().expect("/proc").flatten();
    let child = all.into_iter().find(|process| process.stat().is_ok_and(|stat| stat.ppid == mock.pid()));
    Orphan(child.expect("a child").pid)
}

/// Sends a turn and returns how the process ended and what it said in the turn.
fn fall(mut mock: Mock) -> (End, String) {
    mock.say("1");
    let (end, lines, _) = mock.end();
    let lines: Vec<_> = lines.iter().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    (end, deltas(&lines))
}

#[test]
fn a_crash_comes_in_the_middle_of_the_text() {
    let whole = deltas(&Mock::ready(&[]).turn("1"));
    for (fault, end) in [("crash", End::Signal(9)), ("crash-exit", End::Code(1))] {
        let (ended, said) = fall(Mock::ready(&["--mock-fault", fault]));
        assert_eq!(ended, end);
        assert!(!said.is_empty() && said.len() < whole.len() && whole.starts_with(&said), "{said}");
    }
}

#[test]
fn a_fault_strikes_in_its_turn_only() {
    let mut mock = Mock::ready(&["--mock-fault", "crash@turn=3"]);
    mock.turn("1");
    mock.turn("/clear");
    mock.turn("2");
    assert_eq!(fall(mock).0, End::Signal(9));
}

#[test]
fn a_wrong_mark_is_that_of_no_request() {
    let mut mock = Mock::ready(&["--mock-echo-mark", "--mock-fault", "wrong-mark@turn=2"]);
    assert!(deltas(&mock.turn("one [[mark:0123abcd]]")).starts_with("⟦0123abcd⟧"));
    let wrong = deltas(&mock.turn("two [[mark:0123abcd]]"));
    assert!(wrong.starts_with("⟦10000000⟧") && !wrong.contains("0123abcd"), "{wrong}");
}

#[test]
fn a_crash_at_the_start_answers_nothing() {
    let mut mock = Mock::start(&["--mock-fault", "crash-start"]);
    mock.send(INITIALIZE);
    assert_eq!(mock.end(), (End::Code(1), Vec::new(), String::new()));
}

#[test]
fn what_hangs_says_nothing_more_until_sigterm() {
    let mut at_start = Mock::start(&["--mock-fault", "hang-start"]);
    at_start.send(INITIALIZE);
    at_start.close_stdin();
    at_start.wait_until_it_handles_sigterm();
    assert!(at_start.is_running());
    at_start.signal(Signal::TERM);
    assert_eq!(at_start.end(), (End::Code(143), Vec::new(), String::new()));

    let mut in_turn = Mock::ready(&["--mock-fault", "hang@turn=2"]);
    in_turn.turn("1");
    in_turn.say("2");
    in_turn.until(|line| line.pointer("/event/delta/text").is_some());
    in_turn.close_stdin();
    in_turn.signal(Signal::TERM);
    let (end, rest, _) = in_turn.end();
    assert!(!rest.iter().any(|line| line.contains("\"type\":\"result\"")));
    assert_eq!(end, End::Code(143));
}

#[test]
fn sigterm_and_the_end_of_stdin_can_be_ignored() {
    for version in ["2.1.330", "2.1.19"] {
        let mut mock =
            Mock::ready(&["--mock-fault", "ignore-sigterm", "--mock-recording", &format!("{version}/unicode")]);
        mock.signal(Signal::TERM);
        mock.turn("still here");
        mock.close_stdin();
        mock.signal(Signal::TERM);
        mock.wait_until_signals_are_taken();
        assert!(mock.is_running());
        mock.signal(Signal::KILL);
        assert_eq!(mock.end().0, End::Signal(9));
    }
}

#[test]
fn a_grandchild_has_a_session_of_its_own_and_outlives_the_mock() {
    let mut mock = Mock::ready(&["--mock-fault", "grandchild@turn=1"]);
    mock.turn("1");
    let orphan = child_of(&mock);
    let stat = Process::new(orphan.0).and_then(|process| process.stat()).expect("running");
    assert_eq!((stat.session, stat.pgrp), (orphan.0, orphan.0));
    mock.close_stdin();
    assert_eq!(mock.end().0, End::Code(0), "stdout ends with the mock: the grandchild does not hold it");
    assert!(Process::new(orphan.0).is_ok_and(|process| process.is_alive()));
}

#[test]
fn a_grandchild_can_hold_stdout_open() {
    let mut mock = Mock::ready(&["--mock-fault", "grandchild-stdout"]);
    let orphan = child_of(&mock);
    let pipe = |pid: i32, fd: &str| std::fs::read_link(format!("/proc/{pid}/fd/{fd}")).expect("open");
    assert_eq!(pipe(orphan.0, "1"), pipe(mock.pid(), "1"));
    mock.close_stdin();
    wait_until("the mock ends", || !mock.is_running());
    drop(orphan);
    assert_eq!(mock.end().0, End::Code(0));
}

#[test]
fn every_third_process_is_counted_in_a_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let counter = folder.path().join("count");
    let ends = (0..6).map(|_| {
        let mut command = command(&["--mock-fault", "crash-start@every=3", "--mock-counter"]);
        command.arg(&counter);
        let mut mock = Mock::spawn(command);
        mock.close_stdin();
        mock.end().0
    });
    assert_eq!(ends.collect::<Vec<_>>(), [0, 0, 1, 0, 0, 1].map(End::Code));
    assert_eq!(std::fs::read_to_string(&counter).expect("counted"), "6");
}

#[test]
fn processes_started_at_once_are_all_counted() {
    let folder = tempfile::tempdir().expect("a folder");
    let counter = folder.path().join("count");
    let mocks: Vec<Mock> = (0..12)
        .map(|_| {
            let mut command = command(&[]);
            command.env("MOCK_CLAUDE_COUNTER", &counter);
            Mock::spawn(command)
        })
        .collect();
    for mut mock in mocks {
        mock.close_stdin();
        assert_eq!(mock.end().0, End::Code(0));
    }
    assert_eq!(std::fs::read_to_string(&counter).expect("counted"), "12");
}

#[test]
fn a_seed_makes_chance_repeatable() {
    let turn_of_crash = || {
        let mut mock = Mock::ready(&["--mock-fault", "crash-exit@p=0.3", "--mock-seed", "5"]);
        for _ in 0..100 {
            mock.say("n");
        }
        mock.end().1.iter().filter(|line| line.contains("\"type\":\"result\"")).count()
    };
    let first = turn_of_crash();
    assert!(first < 100);
    assert_eq!(first, turn_of_crash());
}
