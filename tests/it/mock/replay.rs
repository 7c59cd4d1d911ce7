//! Every bundled recording, driven with its own input, gives its own output: the same bytes in the same order.
//!
//! Nothing is normalised: the mock reads an input line only once everything recorded before it is written, and a
//! recorded race (a delta between an interrupt and its acknowledgement) is played in the recorded order.

use leakgate_session::recording::{self, BundledRecording, End, Payload};
use rustix::process::Signal;

use super::process::{Mock, command, recorded};

fn replay(entry: BundledRecording, pace: &str) {
    let spec = format!("{}/{}", entry.version, entry.name);
    let session = entry.parse().expect("bundled");
    let mut command = command(&["--mock-recording", &spec, "--mock-pace", pace]);
    command.args(&session.header.args);
    let mut mock = Mock::spawn(command);
    let mut expected_complaints = Vec::new();
    for (index, event) in session.events.iter().enumerate() {
        match &event.payload {
            Payload::In(line) => mock.send(line),
            Payload::Out(line) => assert_eq!(&mock.next(), line, "{spec}, line {}", index + 2),
            Payload::Err(line) => expected_complaints.push(line.clone() + "\n"),
            Payload::Exit { end, after, .. } => {
                bring_about(&mut mock, after, &spec);
                assert_eq!(mock.end(), (*end, Vec::new(), expected_complaints.concat()), "{spec}");
                return;
            }
        }
    }
    panic!("{spec} has no end");
}

/// Does what ended the recorded process.
fn bring_about(mock: &mut Mock, after: &str, spec: &str) {
    match after {
        "stdin closed" => mock.close_stdin(),
        "SIGTERM" => mock.signal(Signal::TERM),
        "SIGKILL" => mock.signal(Signal::KILL),
        "stdin closed, then SIGKILL after 20 s" => {
            mock.close_stdin();
            assert!(mock.is_running(), "{spec}: the end of stdin must not end it");
            mock.signal(Signal::KILL);
        }
        "a malformed stdin line" | "an unknown flag" | "end_session" => {}
        other => panic!("{spec}: no test knows how to do `{other}`"),
    }
}

fn replay_version(version: &str) {
    let entries: Vec<BundledRecording> =
        recording::list_bundled().into_iter().filter(|entry| entry.version == version).collect();
    assert!(entries.len() >= 18, "{version} is bundled");
    for entry in entries {
        replay(entry, "full");
    }
}

#[test]
fn every_recording_of_2_1_330_is_played_byte_for_byte() {
    replay_version("2.1.330");
}

#[test]
fn every_recording_of_2_1_19_is_played_byte_for_byte() {
    replay_version("2.1.19");
}

#[test]
fn the_recorded_pace_keeps_lines_and_order() {
    for spec in ["2.1.330/interrupt", "2.1.330/clear-between-turns", "2.1.19/tool-permission-denied"] {
        let (version, name) = spec.split_once('/').expect("a version");
        replay(recording::find_bundled(version, name).expect("bundled"), "recorded");
    }
}

#[test]
fn a_recording_can_be_a_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("own.jsonl");
    let entry = recording::find_bundled("2.1.330", "unicode").expect("bundled");
    std::fs::write(&path, entry.text()).expect("written");
    let mut mock = Mock::ready(&["--mock-recording", path.to_str().expect("UTF-8")]);
    mock.say("hello");
    let expected: Vec<String> = recorded("2.1.330/unicode").into_iter().skip(1).collect();
    for line in expected {
        assert_eq!(mock.next(), line);
    }
    mock.close_stdin();
    assert_eq!(mock.end().0, End::Code(0));
}
