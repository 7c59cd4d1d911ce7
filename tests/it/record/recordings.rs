//! A round trip, and the verbs of `leakgate recordings`.

use std::path::Path;

use leakgate_session::recording::{self, Event, Payload, Session};

use super::process::{command, recordings};
use crate::mock::process::Mock;
use crate::support::{Options, script};

const MOCK: &str = env!("CARGO_BIN_EXE_mock-claude");

/// Records the mock playing a bundled recording with that recording's own input.
fn record(spec: &str, folder: &tempfile::TempDir) -> (String, Session) {
    let played = recording::load(spec).unwrap();
    let words: Vec<&str> = [MOCK, "--mock-recording", spec, "--mock-pace", "full"]
        .into_iter()
        .chain(played.header.args.iter().map(String::as_str))
        .collect();
    let mut mock = Mock::spawn(command(folder, &[], &words));
    for event in &played.events {
        match &event.payload {
            Payload::In(line) => mock.send(line),
            Payload::Out(line) => assert_eq!(&mock.next(), line, "{spec}"),
            Payload::Err(_) => {}
            Payload::Exit { .. } => mock.close_stdin(),
        }
    }
    mock.end();
    (only(&folder.path().join("new")), played)
}

fn only(folder: &Path) -> String {
    let paths: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(paths.len(), 1, "{paths:?}");
    paths[0].to_str().unwrap().to_owned()
}

fn said(session: &Session) -> Vec<&str> {
    let lines = session.events.iter().filter(|event| matches!(event.payload, Payload::Out(_)));
    lines.map(|event| event.payload.text()).collect()
}

#[test]
fn a_recorded_session_is_what_was_played_checks_and_replays() {
    for spec in ["2.1.330/ten-turns", "2.1.330/interrupt", "2.1.330/tool-permission-denied", "2.1.19/unicode"] {
        let folder = tempfile::tempdir().unwrap();
        let (path, played) = record(spec, &folder);
        let session = recording::load(&path).unwrap();
        assert_eq!(said(&session), said(&played), "{spec}");
        let (code, told) = recordings(&["check", &path]);
        assert_eq!(code, 0, "{told}");
        let lines = said(&played).len();
        assert!(told.contains(": fine: ") && told.contains(&format!(", {lines} lines replayed")), "{told}");
    }
}

#[test]
fn a_wrapper_that_starts_a_recorder_as_its_cli_serves_as_before_and_is_recorded() {
    let folder = tempfile::tempdir().unwrap();
    let (cli, out) = (folder.path().join("claude"), folder.path().join("recordings"));
    let leakgate = env!("CARGO_BIN_EXE_leakgate");
    script(&cli, &format!("exec {leakgate} record -o {} -- {MOCK} \"$@\"", out.display()));
    let server = Options::new().cli(&cli).start();
    let (first, second) = (server.ask("one").text(), server.ask("two").text());
    server.stop();
    let plain = Options::new().start();
    assert_eq!((plain.ask("one").text(), plain.ask("two").text()), (first, second));
    plain.stop();
    let spec = out.to_str().unwrap();
    let (code, told) = recordings(&["check", spec]);
    assert_eq!(code, 0, "{told}");
}

#[test]
fn every_bundled_recording_passes_the_check() {
    let specs: Vec<String> =
        recording::list_bundled().iter().map(|entry| format!("{}/{}", entry.version, entry.name)).collect();
    let words: Vec<&str> = std::iter::once("check").chain(specs.iter().map(String::as_str)).collect();
    let (code, told) = recordings(&words);
    assert_eq!(code, 0, "{told}");
    assert_eq!(told.matches(": fine: ").count(), specs.len(), "{told}");
}

/// Writes a changed `2.1.330/unicode` and checks it.
fn check_changed(change: impl FnOnce(&mut Session)) -> (i32, String) {
    let folder = tempfile::tempdir().unwrap();
    let mut session = recording::load("2.1.330/unicode").unwrap();
    change(&mut session);
    let path = folder.path().join("changed.jsonl");
    std::fs::write(&path, session.to_jsonl()).unwrap();
    recordings(&["check", path.to_str().unwrap()])
}

fn first_line(events: &mut [Event], wanted: &str) -> usize {
    events.iter().position(|event| event.payload.text().contains(wanted)).unwrap()
}

#[test]
fn the_check_names_the_line_of_a_secret() {
    let mut line = 0;
    let (code, told) = check_changed(|session| {
        let index = first_line(&mut session.events, "\"type\":\"user\"");
        line = index + 2;
        let Payload::In(text) = &mut session.events[index].payload else { panic!("not from the client") };
        let key = ["sk-", "ant-", "api03-0123456789"].concat();
        *text = text.replacen("\"content\":\"", &format!("\"content\":\"{key} "), 1);
    });
    assert_eq!(code, 1);
    assert!(told.contains(&format!("changed.jsonl:{line}: anthropic-key is left in it")), "{told}");
    assert!(!told.contains("0123456789"), "the value itself is never shown: {told}");
}

#[test]
fn the_check_finds_times_that_run_backwards_and_a_missing_end() {
    let (code, told) = check_changed(|session| {
        session.events[2].ms = 0;
        session.events.pop();
    });
    assert_eq!(code, 1);
    assert!(told.contains("changed.jsonl:4: it is earlier (0 ms)"), "{told}");
    assert!(told.contains("the recording ends without an exit; `leakgate recordings trim`"), "{told}");
}

#[test]
fn the_check_finds_a_result_that_answers_no_message() {
    let (code, told) = check_changed(|session| {
        let index = first_line(&mut session.events, "\"type\":\"user\"");
        session.events.remove(index);
    });
    assert_eq!(code, 1);
    assert!(told.contains(": this result answers no message of the client"), "{told}");
}

#[test]
fn the_check_finds_a_recording_that_cannot_be_replayed() {
    let mut line = 0;
    let (code, told) = check_changed(|session| {
        // The mock gives an answer the id of its request; a client that was answered with another one cannot be played.
        let index = first_line(&mut session.events, "\"type\":\"control_response\"");
        line = index + 2;
        let Payload::Out(text) = &mut session.events[index].payload else { panic!("not from the CLI") };
        *text = text.replacen("req_1_initialize", "req_2_initialize", 1);
    });
    assert_eq!(code, 1);
    assert!(told.contains(&format!("changed.jsonl:{line}: mock-claude plays ")), "{told}");
}

#[test]
fn the_check_names_file_and_line_of_a_fault_in_the_format() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("torn.jsonl");
    let text = recording::find_bundled("2.1.330", "unicode").unwrap().text();
    std::fs::write(&path, &text[..text.len() - 20]).unwrap();
    let (code, told) = recordings(&["check", path.to_str().unwrap()]);
    assert_eq!(code, 1);
    let line = text.lines().count();
    assert!(told.contains(&format!("torn.jsonl:{line}: this is no event")), "{told}");
}

#[test]
fn a_trimmed_recording_is_smaller_and_still_checks() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("small.jsonl");
    let out = out.to_str().unwrap();
    let trim = ["trim", "2.1.330/ten-turns", "-o", out, "--turns", "3", "--pause", "5", "--text", "30"];
    let (code, told) = recordings(&trim);
    assert_eq!(code, 0, "{told}");
    assert!(told.contains("3 of 10 turns"), "{told}");
    let session = recording::load(out).unwrap();
    let (mut before, mut results) = (0, 0);
    for event in &session.events {
        assert!(event.ms - before <= 5);
        before = event.ms;
        let Ok(line) = serde_json::from_str::<serde_json::Value>(event.payload.text()) else { continue };
        if let Some(result) = line["result"].as_str() {
            assert!(result.chars().count() <= 30);
            results += 1;
        }
    }
    assert_eq!((session.header.name.as_str(), results), ("small", 3));
    let (code, checked) = recordings(&["check", out]);
    assert_eq!(code, 0, "{checked}");
    assert!(checked.contains("3 turns, 3 results"), "{checked}");
    let (code, told) = recordings(&trim);
    assert_eq!(code, 2);
    assert!(told.contains("is there already; name another file, or add --force"), "{told}");
    assert_eq!(recordings(&[&trim[..], &["--force"]].concat()).0, 0);
    assert_eq!(recordings(&["trim", "2.1.330/ten-turns", "-o", out, "--turns", "11"]).0, 2);
}

#[test]
fn an_overview_has_version_turns_messages_and_end() {
    let (code, shown) = recordings(&["show", "2.1.330/ten-turns"]);
    assert_eq!(code, 0);
    for part in [
        "version    2.1.330\n",
        "length     750 ms, 10 turns\n",
        "  in      10  user\n",
        "  out     10  result/success\n",
        "stream_event/content_block_delta",
        "ended      with code 0 after: stdin closed\n",
    ] {
        assert!(shown.contains(part), "{part} is not in\n{shown}");
    }
}
