//! A CLI that breaks, and what its clients see.

use crate::support::{Options, script, until};

fn counter(folder: &tempfile::TempDir) -> String {
    format!("--mock-counter={}", folder.path().join("count").display())
}

#[test]
fn a_crash_before_any_output_is_retried_once_and_unseen() {
    let folder = tempfile::tempdir().unwrap();
    let (cli, crashed) = (folder.path().join("claude"), folder.path().join("crashed"));
    let ready =
        r#"{"type":"control_response","response":{"subtype":"success","request_id":"initialize","response":{}}}"#;
    let first = format!("read init; echo '{ready}'; read user; exit 1");
    let later = format!("exec {} \"$@\"", env!("CARGO_BIN_EXE_mock-claude"));
    script(&cli, &format!("if mkdir {} 2>/dev/null; then {first}; fi; {later}", crashed.display()));
    let server = Options::new().cli(&cli).start();
    server.ask("hello").text();
    assert!(crashed.exists());
    assert_eq!(server.health()["restarts"]["recovery"], 1);
    server.stop();
}

#[test]
fn a_crash_in_a_reply_that_is_not_streamed_is_retried_once_and_unseen() {
    let folder = tempfile::tempdir().unwrap();
    let faults = ["--mock-echo-mark", "--mock-fault=crash@every=2", &counter(&folder)];
    let server = Options::new().flags(&["--max-turns", "1", "--max-failures", "100"]).mock(&faults).start();
    for n in 0..6 {
        let text = server.ask(&format!("[[mark:{n}]] hello")).text();
        assert!(text.starts_with(&format!("⟦{n}⟧")) && text.ends_with(&format!("⟦/{n}⟧")), "{text}");
    }
    assert!(server.health()["restarts"]["recovery"].as_u64().unwrap() > 0);
    server.stop();
}

#[test]
fn a_turn_that_crashes_twice_is_a_502_with_the_clis_words() {
    let folder = tempfile::tempdir().unwrap();
    let cli = folder.path().join("claude");
    let ready =
        r#"{"type":"control_response","response":{"subtype":"success","request_id":"initialize","response":{}}}"#;
    script(&cli, &format!("read init; echo '{ready}'; read user; echo out of luck >&2; exit 3"));
    let server = Options::new().flags(&["--max-failures", "100"]).cli(&cli).start();
    let reply = server.ask("hello");
    assert_eq!(reply.status, 502, "{reply:?}");
    assert!(reply.body.contains("code 3") && reply.body.contains("out of luck"), "{reply:?}");
    server.stop();
}

#[test]
fn a_crash_in_a_stream_is_an_error_event_and_no_done() {
    let server = Options::new().flags(&["--max-failures", "100"]).mock(&["--mock-fault=crash"]).start();
    let body = serde_json::json!({"stream": true, "messages": [{"role": "user", "content": "hello"}]});
    let reply = server.post("/v1/chat/completions", &body);
    assert!(reply.body.contains("\"error\""), "{reply:?}");
    assert!(!reply.body.contains("[DONE]"), "{reply:?}");
    server.stop();
}

#[test]
fn a_crash_loop_goes_offline_and_comes_back_by_a_probe() {
    let folder = tempfile::tempdir().unwrap();
    let cli = folder.path().join("claude");
    let mock = |fault: &str| script(&cli, &format!("exec {} {fault} \"$@\"", env!("CARGO_BIN_EXE_mock-claude")));
    mock("--mock-fault=crash-start");
    let server = Options::new().flags(&["--max-failures", "2", "--probe-interval", "0.3"]).cli(&cli).start();
    until("it is offline", || server.health()["state"] == "offline");
    let reply = server.ask("hello");
    assert_eq!(reply.status, 503);
    assert!(reply.header("retry-after").is_some(), "{reply:?}");
    assert!(reply.json()["error"]["message"].as_str().unwrap().contains("exited"), "{reply:?}");
    mock("");
    until("a probe finds it well", || server.health()["state"] == "ready");
    server.ask("hello").text();
    server.stop();
}

#[test]
fn a_restart_finds_a_repaired_cli_long_before_the_next_probe() {
    let folder = tempfile::tempdir().unwrap();
    let cli = folder.path().join("claude");
    let server = Options::new().flags(&["--probe-interval", "3600"]).cli(&cli).start();
    until("it is offline", || server.health()["state"] == "offline");
    let restarted = server.post("/admin/restart", &serde_json::json!({})).json();
    assert_eq!(restarted, serde_json::json!({"restarted": 0, "state": "offline"}));
    until("it is offline after the probe", || server.health()["invokers"]["live"] == 0);
    script(&cli, &format!("exec {} \"$@\"", env!("CARGO_BIN_EXE_mock-claude")));
    server.post("/admin/restart", &serde_json::json!({}));
    until("the probe finds it well", || server.health()["state"] == "ready");
    server.ask("hello").text();
    server.stop();
}

#[test]
fn a_missing_or_unusable_cli_is_offline_at_once_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let text = folder.path().join("text");
    std::fs::write(&text, "no program").unwrap();
    for (cli, reason) in [(folder.path().join("nowhere"), "No such file"), (text, "Permission denied")] {
        let server = Options::new().cli(&cli).start();
        until("it is offline", || server.health()["state"] == "offline");
        let health = server.health();
        let said = health["offline_reason"].as_str().unwrap();
        assert!(said.contains(reason) && said.contains(cli.to_str().unwrap()), "{said}");
        assert_eq!(server.ask("hello").status, 503);
        assert_eq!(health["invokers"]["high_water"], 1, "no loop of starts");
        server.stop();
    }
}

#[test]
fn a_cli_that_does_not_start_is_given_up_at_the_deadline() {
    let flags = ["--start-timeout", "0.2", "--max-failures", "0"];
    let server = Options::new().flags(&flags).mock(&["--mock-fault=hang-start"]).start();
    until("it is offline", || server.health()["state"] == "offline");
    let reason = server.health()["offline_reason"].as_str().unwrap().to_owned();
    assert!(reason.contains("initialize"), "{reason}");
    server.stop();
}

#[test]
fn a_silent_turn_is_a_504_and_the_next_request_is_served() {
    let folder = tempfile::tempdir().unwrap();
    let flags = ["--silence-timeout", "0.3", "--max-turns", "1"];
    let server = Options::new().flags(&flags).mock(&["--mock-fault=hang@every=2", &counter(&folder)]).start();
    let statuses: Vec<u16> = (0..4).map(|_| server.ask("hello").status).collect();
    assert_eq!(statuses, [200, 504, 200, 504]);
    server.stop();
}

#[test]
fn a_client_that_leaves_frees_its_slot_and_the_invoker_serves_on() {
    let server = Options::new().mock(&["--mock-recording=long-reply", "--mock-pace=recorded"]).start();
    for _ in 0..3 {
        let (stream, _) = server.stream("hello");
        drop(stream);
        until("the slot is free", || server.health()["invokers"]["busy"] == 0);
    }
    server.ask("hello").text();
    let health = server.health();
    assert_eq!(health["restarts"]["total"], 0, "the turn was interrupted, not the process: {health}");
    server.stop();
}

#[test]
fn an_api_error_is_never_the_answer() {
    for (recording, status) in [("2.1.330/api-error-529", 503), ("2.1.19/api-error-529", 503), ("api-error-401", 401)] {
        let server = Options::new().mock(&[&format!("--mock-recording={recording}")]).start();
        let reply = server.ask("hello");
        assert_eq!(reply.status, status, "{reply:?}");
        assert!(reply.json()["error"]["message"].is_string(), "{reply:?}");
        server.stop();
    }
}
