//! What a recording holds no more.

use leakgate_session::recording::{Payload, Session};
use serde_json::json;

use super::process::{Recorder, recordings};

// Put together here, so that no tool takes this file for one with secrets.
fn key() -> String {
    ["sk-", "ant-", "api03-Zq8Lw0Xv4Tn2", "Rb6Hc1Ke9Yd5"].concat()
}

/// A session in which everything is told.
fn telling() -> Recorder {
    Recorder::with(&[], &["cat"])
}

fn file(recorder: &Recorder) -> String {
    std::fs::read_to_string(recorder.path()).unwrap()
}

fn removed(session: &Session) -> Vec<(String, u64)> {
    match &session.events.last().unwrap().payload {
        Payload::Exit { removed, .. } => removed.clone().into_iter().collect(),
        other => panic!("no exit: {other:?}"),
    }
}

#[test]
fn secrets_of_every_kind_are_removed_and_counted() {
    let secrets = [
        key(),
        ["sk-", "proj-abcdefghij0123456789"].concat(),
        ["ghp_", "abcdefghijklmnopqrstuvwxyz0123456789"].concat(),
        ["AKIA", "ABCDEFGHIJKLMNOP"].concat(),
        ["eyJhbGciOiJIUzI1NiJ9.", "eyJzdWIiOiIxMjM0In0.", "c2lnbmF0dXJl"].concat(),
        "ann.miller@firm.test".to_owned(),
        "/home/annmiller/work".to_owned(),
        "7f3c9e52-8d1b-4a60-b0f4-5c2d7e9a1b36".to_owned(),
        "hunter2-Bearer-value".to_owned(),
    ];
    let mut recorder = telling();
    for secret in &secrets[..8] {
        recorder.send(format!("{}\n", json!({"type": "user", "text": format!("it is {secret}, she said")})).as_bytes());
    }
    recorder.send(format!("Authorization: Bearer {}\n", secrets[8]).as_bytes());
    let output = recorder.output();
    assert!(secrets.iter().all(|secret| String::from_utf8_lossy(&output.stdout).contains(secret)), "passed unchanged");
    let text = file(&recorder);
    for secret in &secrets {
        let part = secret.strip_suffix("/work").unwrap_or(secret);
        assert!(!text.contains(part), "{part} is left in {text}");
    }
    let kinds: Vec<String> = removed(&recorder.session()).into_iter().map(|(kind, _)| kind).collect();
    let expected = ["anthropic-key", "api-key", "aws-key", "bearer", "github-token", "jwt", "mail", "user", "uuid"]
        .map(str::to_owned);
    assert_eq!(kinds, expected);
    let (code, shown) = recordings(&["show", recorder.path().to_str().unwrap()]);
    assert_eq!(code, 0);
    assert!(shown.contains("removed    2 anthropic-key, 2 api-key, "), "{shown}");
}

#[test]
fn a_secret_has_the_same_placeholder_wherever_it_stands() {
    let mut recorder = telling();
    let line = |text: &str| format!("{}\n", json!({"type": "user", "message": {"content": text}}));
    recorder.send(line(&format!("mine is {}", key())).as_bytes());
    recorder.send(line(&format!("{} again", key())).as_bytes());
    recorder.output();
    let lines: Vec<String> = recorder.session().events.iter().map(|event| event.payload.text().to_owned()).collect();
    let placeholder = |line: &String| {
        let start = line.find("REDACTED").unwrap();
        line[start..].chars().take(key().len()).collect::<String>()
    };
    let found: Vec<String> = lines.iter().filter(|line| line.contains("REDACTED")).map(placeholder).collect();
    assert_eq!(found.len(), 4);
    assert!(found.iter().all(|one| *one == found[0] && !one.contains(' ')), "{found:?}");
}

#[test]
fn a_secret_that_streams_in_pieces_is_removed_from_all_of_them() {
    let (first, second) = (key()[..12].to_owned(), key()[12..].to_owned());
    let delta = |text: &str| {
        json!({"type": "stream_event", "session_id": "s", "parent_tool_use_id": null,
            "event": {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}}})
    };
    let stop = json!({"type": "stream_event", "session_id": "s", "parent_tool_use_id": null,
        "event": {"type": "content_block_stop", "index": 0}});
    let mut recorder = telling();
    for line in [delta(&format!("key {first}")), delta(&second), delta(" and more"), stop] {
        recorder.send(format!("{line}\n").as_bytes());
    }
    recorder.output();
    let session = recorder.session();
    let said: Vec<String> = session
        .events
        .iter()
        .filter(|event| matches!(event.payload, Payload::Out(_)))
        .filter_map(|event| serde_json::from_str::<serde_json::Value>(event.payload.text()).ok())
        .filter_map(|line| line.pointer("/event/delta/text")?.as_str().map(str::to_owned))
        .collect();
    assert_eq!(said.len(), 3);
    assert!(said[0].starts_with("key REDACTED") && said[2] == " and more", "{said:?}");
    assert!(!said.concat().contains(&second), "{said:?}");
}

#[test]
fn a_secret_that_is_told_late_is_removed_from_what_came_before() {
    let mut recorder = telling();
    recorder.send(b"{\"note\":\"swordfish-4711 is the word\"}\n{\"password\":\"swordfish-4711\"}\n");
    recorder.output();
    assert!(!file(&recorder).contains("swordfish"), "{}", file(&recorder));
    let fields = removed(&recorder.session());
    assert_eq!(fields, [("secret-field".to_owned(), 4)], "input and output, twice each");
}

#[test]
fn arguments_and_variables_are_scrubbed_too() {
    let folder = tempfile::tempdir().unwrap();
    let cli = ["sh", "-c", "echo $ANTHROPIC_API_KEY", "sh", "--api-key", "plain-Word-77", "--model", "haiku"];
    let mut command = super::process::command(&folder, &["--about", "by ann@firm.test"], &cli);
    command.env("ANTHROPIC_API_KEY", "no-known-form-0815").env("CLAUDE_TEST_FLAG", "1").env("USER", "annmiller");
    let mut recorder = Recorder { child: command.spawn().unwrap(), folder };
    assert_eq!(recorder.output().stdout, b"no-known-form-0815\n");
    let text = file(&recorder);
    for secret in ["no-known-form", "plain-Word", "ann@firm"] {
        assert!(!text.contains(secret), "{secret} is left in {text}");
    }
    let header = recorder.session().header;
    assert_eq!(header.env.get("CLAUDE_TEST_FLAG").map(String::as_str), Some("1"));
    assert_eq!(&header.args[5..], ["--model", "haiku"]);
}

#[test]
fn a_kind_can_be_left_in_and_the_header_says_so() {
    let mut recorder = Recorder::with(&["--keep", "mail"], &["cat"]);
    recorder.send(b"ann@firm.test\n");
    recorder.output();
    assert!(file(&recorder).contains("ann@firm.test"));
    assert_eq!(recorder.session().header.kept, ["mail"]);
    assert_eq!(removed(&recorder.session()), []);
}
