//! What goes beyond a recording: looping, marks, `/clear`, control requests, options.

use leakgate_session::recording::End;
use serde_json::json;

use super::process::{Mock, command, deltas, output, recorded, result, texts, wait_until};

#[test]
fn after_the_last_turn_comes_the_first_again() {
    let mut mock = Mock::ready(&["--mock-recording", "2.1.19/ten-turns"]);
    let first = mock.turn("1");
    for turn in 2..=10 {
        assert_ne!(mock.turn("n"), first, "turn {turn}");
    }
    assert_eq!(mock.turn("11"), first);
}

#[test]
fn lines_written_at_once_are_answered_one_after_the_other() {
    let mut mock = Mock::ready(&[]);
    for _ in 0..200 {
        mock.say("queued");
    }
    for _ in 0..200 {
        mock.until_result();
    }
    mock.close_stdin();
    assert_eq!(mock.end(), (End::Code(0), Vec::new(), String::new()));
}

#[test]
fn a_prompt_of_megabytes_is_read() {
    let mut mock = Mock::ready(&["--mock-echo-mark"]);
    let prompt = format!("{}[[mark:ab]]", "x".repeat(3_000_000));
    assert!(result(&mock.turn(&prompt)).starts_with("⟦ab⟧"));
}

#[test]
fn a_mark_is_in_every_delta_and_the_whole_is_the_same_three_times() {
    for spec in [
        "2.1.330/unicode",
        "2.1.330/ten-turns",
        "2.1.330/thinking",
        "2.1.330/empty-reply",
        "2.1.19/ten-large-turns",
        "2.1.19/unicode",
    ] {
        let plain = Mock::ready(&["--mock-recording", spec]).turn("no mark");
        let marked = Mock::ready(&["--mock-recording", spec, "--mock-echo-mark"]).turn("hi [[mark:c0ffee]]");
        let text = result(&marked);
        assert_eq!((deltas(&marked), texts(&marked)), (text.to_owned(), text.to_owned()), "{spec}");
        assert_eq!(text.replace("⟦c0ffee⟧", "").replace("⟦/c0ffee⟧", ""), result(&plain), "{spec}");
        assert!(text.starts_with("⟦c0ffee⟧") && text.ends_with("⟦/c0ffee⟧"), "{spec}");
        let each = marked.iter().filter_map(|line| line.pointer("/event/delta/text")?.as_str());
        assert!(each.into_iter().all(|delta| delta.starts_with("⟦c0ffee⟧")), "{spec}");
        assert_eq!(marked.len(), plain.len());
    }
}

#[test]
fn without_partials_no_stream_is_sent_and_the_mark_stands_around_the_text() {
    let mut mock = Mock::start(&["--mock-echo-mark"]);
    mock.initialize();
    let turn = mock.turn("[[mark:1]]");
    let types: Vec<&str> = turn.iter().filter_map(|line| line["type"].as_str()).collect();
    assert_eq!(types, ["system", "assistant", "result"]);
    let plain = Mock::ready(&[]).turn("no mark");
    assert_eq!(result(&turn), format!("⟦1⟧{}⟦/1⟧", result(&plain)));
    assert_eq!(texts(&turn), result(&turn));
}

#[test]
fn an_api_error_carries_no_mark() {
    for version in ["2.1.19", "2.1.330"] {
        let mut mock = Mock::ready(&["--mock-recording", &format!("{version}/api-error-529"), "--mock-echo-mark"]);
        let failed = mock.turn("[[mark:1]]");
        assert!(failed.last().is_some_and(|line| line["is_error"] == true));
        assert!(!format!("{failed:?}").contains('⟦'), "{version}");
        assert!(result(&mock.turn("[[mark:2]]")).starts_with("⟦2⟧"), "{version}");
    }
}

#[test]
fn clear_resets_the_conversation_of_2_1_330_and_is_no_turn() {
    let mut mock = Mock::ready(&[]);
    let first = mock.turn("1");
    let mut sessions = vec![first[0]["session_id"].clone()];
    for _ in 0..7 {
        let cleared = mock.turn("/clear");
        let kinds: Vec<_> = cleared.iter().map(|line| line["subtype"].as_str().or(line["type"].as_str())).collect();
        assert_eq!(kinds, ["conversation_reset", "background_tasks_changed", "init", "success"].map(Some));
        assert_eq!(cleared[0]["session_id"], sessions[sessions.len() - 1]);
        assert_eq!((&cleared[3]["num_turns"], &cleared[3]["session_id"]), (&json!(0), &cleared[2]["session_id"]));
        assert!(!sessions.contains(&cleared[3]["session_id"]), "a session id is new");
        sessions.push(cleared[3]["session_id"].clone());
    }
    let second = mock.turn("2");
    assert!(second.iter().all(|line| line["session_id"] == sessions[7]));
    let mut recorded = recorded("2.1.330/ten-turns").into_iter().filter(|line| line.contains("\"type\":\"result\""));
    let recorded: serde_json::Value = serde_json::from_str(&recorded.nth(1).expect("turn 2")).expect("JSON");
    assert_eq!(second.last().map(|line| &line["uuid"]), Some(&recorded["uuid"]), "the second turn, not another");
}

#[test]
fn clear_is_an_unknown_skill_to_2_1_19() {
    let mut mock = Mock::ready(&["--mock-recording", "2.1.19/unicode"]);
    let before = mock.turn("1");
    let cleared = mock.turn("/clear");
    assert_eq!(cleared.len(), 2);
    assert_eq!(result(&cleared), "Unknown skill: clear");
    assert_eq!(cleared[1]["session_id"], before[0]["session_id"]);
}

#[test]
fn control_requests_are_answered_with_the_callers_id() {
    let mut mock = Mock::ready(&[]);
    for (id, subtype) in [("a", "mcp_status"), ("b", "get_context_usage"), ("c", "interrupt"), ("d", "initialize")] {
        mock.control(id, &json!({"subtype": subtype}));
        let answer = mock.until(|line| line["type"] == "control_response").remove(0);
        assert_eq!(answer["response"]["request_id"], id);
        assert_eq!(answer["response"]["subtype"], "success", "{subtype}");
    }
    mock.control("e", &json!({"subtype": "brew_coffee"}));
    let refused = mock.until(|line| line["type"] == "control_response").remove(0);
    assert_eq!(refused["response"]["request_id"], "e");
    assert_eq!(refused["response"]["error"], "Unsupported control request subtype: brew_coffee");
}

#[test]
fn an_unknown_control_request_is_never_answered_by_2_1_19() {
    let mut mock = Mock::ready(&["--mock-recording", "2.1.19/ten-turns"]);
    mock.control("a", &json!({"subtype": "brew_coffee"}));
    mock.control("b", &json!({"subtype": "interrupt"}));
    let next = mock.until(|_| true).remove(0);
    assert_eq!(next["response"], json!({"subtype": "success", "request_id": "b"}));
}

#[test]
fn set_model_changes_the_model_of_later_turns() {
    for (recording, full, before) in [
        ("2.1.330/ten-turns", "claude-sonnet-5-5", "claude-haiku-5-5"),
        ("2.1.19/ten-turns", "claude-sonnet-4-5-20250929", "claude-haiku-4-5-20251001"),
    ] {
        let mut mock = Mock::ready(&["--mock-recording", recording]);
        assert_eq!(mock.turn("1")[0]["model"], before);
        mock.control("a", &json!({"subtype": "set_model", "model": "sonnet"}));
        let answer = mock.until(|_| true).remove(0);
        assert_eq!(answer["response"]["request_id"], "a");
        let turn = mock.turn("2");
        assert_eq!(turn[0]["model"], full);
        assert!(!format!("{turn:?}").contains(before));
        mock.control("b", &json!({"subtype": "set_model", "model": "my-model"}));
        mock.until(|_| true);
        assert_eq!(mock.turn("3")[0]["model"], "my-model");
    }
}

/// The turns of `killed-mid-turn` end in silence, so that an interrupt always comes in the middle.
#[test]
fn an_interrupt_ends_any_turn_as_that_version_does() {
    for (version, is_error, said_again) in [("2.1.330", true, true), ("2.1.19", false, false)] {
        let spec = format!("{version}/killed-mid-turn");
        let mut mock = Mock::ready(&["--mock-recording", &spec, "--mock-echo-mark"]);
        mock.say("[[mark:7]]");
        let recorded = recorded(&spec);
        let before = recorded.len() - 1;
        let mut turn: Vec<serde_json::Value> = (0..before).flat_map(|_| mock.until(|_| true)).collect();
        mock.control("stop", &json!({"subtype": "interrupt"}));
        turn.extend(mock.until_result());
        assert_eq!(turn[before]["response"]["request_id"], "stop", "{version}");
        let last = turn.last().expect("a result");
        assert_eq!((&last["subtype"], &last["is_error"]), (&json!("error_during_execution"), &json!(is_error)));
        assert_eq!(texts(&turn), if said_again { deltas(&turn) } else { String::new() });
        assert!(deltas(&turn).contains("⟦7⟧word"));
        let notice = turn.iter().find(|line| line["type"] == "user").expect("a notice");
        assert_eq!(notice.pointer("/message/content/0/text"), Some(&json!("[Request interrupted by user]")));
    }
}

#[test]
fn a_turn_waits_for_the_callers_permission() {
    let mut mock = Mock::ready(&["--mock-recording", "tool-permission-denied"]);
    mock.say("use a tool");
    let asked = mock.until(|line| line["type"] == "control_request").pop().expect("a request");
    mock.send(r#"{"type":"control_response","response":{"subtype":"success","request_id":"another"}}"#);
    mock.control("still-here", &json!({"subtype": "mcp_status"}));
    mock.until(|line| line.pointer("/response/request_id") == Some(&json!("still-here")));
    let id = asked["request_id"].clone();
    let answer = json!({"subtype": "success", "request_id": id, "response": {"behavior": "deny", "message": "no"}});
    mock.send(&json!({"type": "control_response", "response": answer}).to_string());
    mock.until_result();
}

#[test]
fn closing_stdin_in_a_turn_lets_it_finish() {
    let mut mock = Mock::start(&["--include-partial-messages", "--mock-recording", "2.1.19/unicode"]);
    mock.initialize();
    mock.say("1");
    mock.close_stdin();
    let (end, rest, _) = mock.end();
    assert_eq!((end, rest), (End::Code(0), recorded("2.1.19/unicode").into_iter().skip(1).collect()));
}

#[test]
fn a_line_that_is_no_json_ends_the_process() {
    for (version, complaint) in [
        ("2.1.330", "Error parsing streaming input line (type=unknown, 5 chars): SyntaxError\n"),
        ("2.1.19", "Error parsing streaming input line: oops!: SyntaxError: JSON Parse error: Expected '}'\n"),
    ] {
        let mut mock = Mock::ready(&["--mock-recording", &format!("{version}/ten-turns")]);
        mock.send("oops!");
        assert_eq!(mock.end(), (End::Code(1), Vec::new(), complaint.to_owned()));
    }
}

#[test]
fn a_reader_that_is_gone_ends_it_quietly() {
    let mut mock = Mock::spawn({
        let mut command = command(&[]);
        command.env("MOCK_CLAUDE_RECORDING", "long-reply");
        command
    });
    mock.initialize();
    mock.stop_reading();
    wait_until("the mock ends", || {
        mock.say("more");
        !mock.is_running()
    });
    assert_eq!(mock.end(), (End::Code(0), Vec::new(), String::new()));
}

#[test]
fn memory_is_held_from_the_start_and_grows_by_the_turn() {
    let bare = Mock::ready(&[]);
    let mut mock = Mock::ready(&["--mock-rss", "50", "--mock-rss-per-turn", "2000"]);
    let start = mock.rss();
    assert!(start > bare.rss() + 45_000_000, "{start}");
    for _ in 0..10 {
        mock.turn("grow");
    }
    assert!(mock.rss() > start + 18_000_000, "{}", mock.rss());
}

/// A server's tree would else have more or less memory by the turns that its processes happen to have had at a reading.
#[test]
fn memory_does_not_tell_whether_it_had_a_turn_and_a_clear() {
    let mut mock = Mock::ready(&[]);
    let fresh = mock.anonymous();
    mock.turn("1");
    mock.turn("/clear");
    let used = mock.anonymous();
    assert!(used < fresh + 100_000, "from {fresh} to {used}");
}

#[test]
fn the_version_is_printed_as_the_cli_does() {
    assert_eq!(output(&["--version"]).stdout, b"2.1.330 (Claude Code)\n");
    let older = output(&["--mock-recording=2.1.19/unicode", "--version"]);
    assert_eq!((older.status.code(), &older.stdout[..]), (Some(0), &b"2.1.19 (Claude Code)\n"[..]));
}

#[test]
fn mistakes_in_options_and_recordings_exit_with_2_and_say_what_to_do() {
    let folder = tempfile::tempdir().expect("a folder");
    let torn = folder.path().join("torn.jsonl");
    std::fs::write(&torn, "{\"session\":1}").expect("written");
    let torn = torn.to_str().expect("UTF-8");
    for (arguments, message) in [
        (["--mock-pase", "full"], "there is no option --mock-pase"),
        (["--mock-pace", "slow"], "--mock-pace cannot be `slow`: it is full or recorded"),
        (["--mock-fault", "crush"], "--mock-fault: there is no fault `crush`"),
        (["--mock-recording", "no-such"], "no recording is called `no-such`; name a .jsonl file or one of: 2.1.19/"),
        (["--mock-recording", "/no/such.jsonl"], "cannot read the recording /no/such.jsonl"),
        (["--mock-recording", torn], "torn.jsonl:1: this is no session header (missing field"),
    ] {
        let output = output(&arguments);
        let stderr = String::from_utf8(output.stderr).expect("UTF-8");
        assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0), "{arguments:?}");
        assert!(stderr.contains(message), "{stderr}");
    }
}
