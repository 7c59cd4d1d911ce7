//! A CLI that breaks, and what its clients see.

use crate::support::{Options, READY, script, until};

fn counter(folder: &tempfile::TempDir) -> String {
    format!("--mock-counter={}", folder.path().join("count").display())
}

#[test]
fn a_crash_before_any_output_is_retried_once_and_unseen() {
    let folder = tempfile::tempdir().unwrap();
    let (cli, crashed) = (folder.path().join("claude"), folder.path().join("crashed"));
    let first = format!("read init; echo '{READY}'; read user; exit 1");
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
    script(&cli, &format!("read init; echo '{READY}'; read user; echo out of luck >&2; exit 3"));
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

/// A CLI that is the mock, until it is replaced or removed.
fn replaceable_cli(folder: &tempfile::TempDir) -> std::path::PathBuf {
    let cli = folder.path().join("claude");
    script(&cli, &format!("exec {} \"$@\"", env!("CARGO_BIN_EXE_mock-claude")));
    cli
}

#[test]
fn a_cli_that_is_gone_when_an_invoker_has_reached_its_limit_is_told_at_once_and_taken_when_it_is_back() {
    for standby in ["jit", "off"] {
        let folder = tempfile::tempdir().unwrap();
        let cli = replaceable_cli(&folder);
        let flags = ["--max-turns", "2", "--probe-interval", "0.3", "--standby", standby];
        let server = Options::new().flags(&flags).cli(&cli).start();
        server.ask("hello").text();
        std::fs::remove_file(&cli).unwrap();
        while server.ask("hello").status == 200 {}
        let refused = server.ask("hello");
        assert_eq!((refused.status, server.get("/readyz").status), (503, 503), "{refused:?}");
        assert!(refused.header("retry-after").is_some() && refused.body.contains("No such file"), "{refused:?}");
        assert_eq!(server.health()["status"], "offline");
        replaceable_cli(&folder);
        until("a probe finds it", || server.ask("hello").status == 200);
        assert_eq!(server.health()["status"], "ok");
        server.stop();
    }
}

#[test]
fn a_runtime_folder_that_is_removed_is_made_again_with_what_was_in_it() {
    let folder = tempfile::tempdir().unwrap();
    let runtime = folder.path().join("runtime");
    let prompt = folder.path().join("prompt");
    std::fs::write(&prompt, "Answer.").unwrap();
    let flags = ["--runtime-dir", runtime.to_str().unwrap(), "--system-prompt-file", prompt.to_str().unwrap()];
    let server = Options::new().flags(&flags).flags(&["--max-turns", "1"]).start();
    server.ask("hello").text();
    std::fs::remove_file(&prompt).unwrap();
    for _ in 0..3 {
        // A process that starts in this instant may put something into it.
        until("it is removed", || std::fs::remove_dir_all(&runtime).is_ok());
        for _ in 0..3 {
            server.ask("hello").text();
        }
        assert!(runtime.is_dir());
    }
    server.stop();
    assert!(!runtime.exists());
}

#[test]
fn a_cli_that_dies_once_it_has_started_is_offline_until_a_turn_has_worked() {
    let folder = tempfile::tempdir().unwrap();
    let cli = folder.path().join("claude");
    let dies = |then: &str| script(&cli, &format!("read init; echo '{READY}'; {then} echo broken >&2; exit 3"));
    dies("");
    let flags = ["--max-failures", "2", "--probe-interval", "3600"];
    let server = Options::new().flags(&flags).cli(&cli).start();
    until("it is offline", || server.health()["state"] == "offline");
    let probe = || server.post("/admin/restart", &serde_json::json!({}));
    dies("read user;");
    // Each probe starts a process that looks well, until a request shows that it is not.
    for _ in 0..3 {
        probe();
        until("the probe has started", || server.health()["state"] == "ready");
        assert_eq!(server.health()["status"], "recovering");
        assert_eq!(server.get("/readyz").status, 200, "a request has to come, for it to show that it works");
        let refused = server.ask("hello");
        assert!(refused.status == 503 && refused.body.contains("broken"), "{refused:?}");
        assert!(refused.header("retry-after").is_some(), "{refused:?}");
    }
    replaceable_cli(&folder);
    probe();
    until("it works", || server.ask("hello").status == 200);
    assert_eq!(server.health()["status"], "ok");
    server.stop();
}

#[test]
fn a_few_crashes_among_many_turns_refuse_nobody() {
    let flags = ["--slots", "3"];
    let server = Options::new().flags(&flags).mock(&["--mock-fault=crash@p=0.1"]).start();
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let clients: Vec<_> =
            (0..6).map(|_| scope.spawn(|| (0..25).map(|_| server.ask("hello").status).collect::<Vec<_>>())).collect();
        clients.into_iter().flat_map(|client| client.join().unwrap()).collect()
    });
    assert!(statuses.iter().all(|status| matches!(status, 200 | 502)), "{statuses:?}");
    assert!(server.health()["restarts"]["recovery"].as_u64().unwrap() > 5, "more than --max-failures");
    server.stop();
}

#[test]
fn a_reset_of_the_quota_that_cannot_be_right_is_held_for_minutes_and_ended_by_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let (cli, used_up) = (folder.path().join("claude"), folder.path().join("used-up"));
    std::fs::write(&used_up, "").unwrap();
    let events = [
        r#"{"type":"system","subtype":"init"}"#,
        r#"{"type":"rate_limit_event","rate_limit_info":{"status":"rejected","resetsAt":1790000000000}}"#,
        r#"{"type":"result","subtype":"success","is_error":true,"api_error_status":429,"result":"API Error: 429"}"#,
    ];
    let refusing = format!("read init; echo '{READY}'; read user; echo '{}'; read more", events.join("'; echo '"));
    let mock = format!("exec {} \"$@\"", env!("CARGO_BIN_EXE_mock-claude"));
    script(&cli, &format!("if test -e {}; then {refusing}; else {mock}; fi", used_up.display()));
    let server = Options::new().cli(&cli).start();
    for _ in 0..2 {
        let refused = server.ask("hello");
        assert_eq!(refused.status, 429, "{refused:?}");
        let wait: u64 = refused.header("retry-after").unwrap().parse().unwrap();
        assert!((200..=300).contains(&wait), "{wait} s");
    }
    assert_eq!(server.health()["status"], "rate_limited");
    std::fs::remove_file(&used_up).unwrap();
    // A process that was started before may refuse once more. The hold itself would last longer than a test waits.
    until("a restart has ended it", || {
        server.post("/admin/restart", &serde_json::json!({}));
        server.ask("hello").status == 200
    });
    assert_eq!(server.health()["rate_limit"], serde_json::Value::Null);
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
