//! Every byte, every end of a stream, at once.

use std::io::{ErrorKind, Read, Write};

use leakgate_session::recording::{End, Payload};
use proptest::prelude::*;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::process::Recorder;
use crate::support::until;

/// Sends in chunks of random sizes while everything is read.
fn through_cat(sent: &[u8], seed: u64) -> Vec<u8> {
    let mut recorder = Recorder::start(&["cat"]);
    let mut stdin = recorder.child.stdin.take().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let (mut random, mut rest) = (SmallRng::seed_from_u64(seed), sent);
            while !rest.is_empty() {
                let size = (random.next_u32() as usize % 100_000 + 1).min(rest.len());
                stdin.write_all(&rest[..size]).unwrap();
                rest = &rest[size..];
            }
        });
        let output = recorder.output();
        assert!(output.status.success());
        assert_eq!(output.stderr, b"");
        output.stdout
    })
}

#[test]
fn eight_random_megabytes_come_through_both_ways() {
    let mut sent = vec![0; 8 * 1024 * 1024];
    SmallRng::seed_from_u64(7).fill_bytes(&mut sent);
    assert!(through_cat(&sent, 7) == sent, "the bytes differ");
}

#[test]
fn a_line_beyond_every_limit_comes_through_and_is_recorded_cut() {
    let sent = vec![b'x'; 9 * 1024 * 1024];
    let mut recorder = Recorder::start(&["cat"]);
    let mut stdin = recorder.child.stdin.take().unwrap();
    let output = std::thread::scope(|scope| {
        let sent = &sent;
        scope.spawn(move || stdin.write_all(sent).unwrap());
        recorder.output()
    });
    assert!(output.stdout == sent, "the bytes differ");
    let session = recorder.session();
    assert!(session.events.iter().any(|event| event.flaws.cut == Some(sent.len() as u64)));
    assert!(session.events.iter().all(|event| event.payload.text().len() <= 8 * 1024 * 1024));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_sent_comes_back(sent in prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..3000),
        "[ -~\n\u{e4}\u{1f600}\"\\\\]{0,500}".prop_map(String::into_bytes),
    ]) {
        prop_assert_eq!(through_cat(&sent, 1), sent);
    }
}

#[test]
fn stderr_comes_through_as_well() {
    let mut recorder = Recorder::shell("printf 'out\\0'; printf 'err\\377 no newline' >&2");
    let output = recorder.output();
    assert_eq!((output.stdout.as_slice(), output.stderr.as_slice()), (&b"out\0"[..], &b"err\xff no newline"[..]));
    let events = recorder.session().events;
    let err = events.iter().find(|event| matches!(event.payload, Payload::Err(_))).unwrap();
    assert_eq!(err.payload.text(), "err\u{fffd} no newline");
    assert!(err.flaws.lossy && err.flaws.open);
}

#[test]
fn half_a_line_is_passed_at_once_both_ways() {
    let mut recorder = Recorder::shell("printf abc; head -c 2; printf def; cat >/dev/null");
    recorder.expect(b"abc");
    recorder.send(b"xy");
    recorder.expect(b"xydef");
    assert!(recorder.output().status.success());
}

#[test]
fn a_stdout_that_is_closed_early_ends_while_the_cli_runs() {
    let mut recorder = Recorder::shell("echo last; exec >/dev/null; read line; exit 3");
    let mut read = String::new();
    recorder.child.stdout.take().unwrap().read_to_string(&mut read).unwrap();
    assert_eq!(read, "last\n");
    assert_eq!(recorder.child.try_wait().unwrap(), None);
    recorder.send(b"go\n");
    assert_eq!(recorder.end(), End::Code(3));
}

#[test]
fn a_stdin_that_the_cli_has_closed_is_closed_for_the_caller() {
    let mut recorder = Recorder::shell("exec </dev/null; echo closed; exec sleep 100");
    recorder.expect(b"closed\n");
    let mut error = None;
    until("writing fails", || {
        error = recorder.child.stdin.as_mut().unwrap().write_all(b"x").err();
        error.is_some()
    });
    assert_eq!(error.unwrap().kind(), ErrorKind::BrokenPipe);
    assert_eq!(recorder.child.try_wait().unwrap(), None);
}

#[test]
fn a_cli_whose_reader_is_gone_dies_of_sigpipe() {
    let mut recorder = Recorder::start(&["yes"]);
    recorder.expect(b"y\n");
    recorder.child.stdout = None;
    assert_eq!(recorder.end(), End::Signal(13));
}

#[test]
fn a_cli_is_held_up_by_a_caller_that_does_not_read() {
    // As much as fits into two pipes and what the recorder has in its hands.
    const IN_BETWEEN: u64 = 512 * 1024;
    let mut recorder = Recorder::start(&["head", "-c", "64000000", "/dev/zero"]);
    let written = |recorder: &Recorder| {
        let cli = recorder.below().into_iter().find_map(|pid| {
            let process = procfs::process::Process::new(pid).ok()?;
            (process.stat().ok()?.comm == "head").then_some(process)
        });
        cli.and_then(|cli| Some((cli.io().ok()?.wchar, cli.stat().ok()?.state)))
    };
    until("the CLI waits", || written(&recorder).is_some_and(|(bytes, state)| bytes > 0 && state == 'S'));
    assert!(written(&recorder).unwrap().0 < IN_BETWEEN);
    assert_eq!(recorder.output().stdout.len(), 64_000_000);
}
