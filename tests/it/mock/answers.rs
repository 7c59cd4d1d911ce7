//! Replies that are made from their request, in the lines of a recording.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use leakgate_session::recording::End;
use serde_json::{Value, json};

use super::process::{Mock, command, deltas, output, result, texts};

const SCHEMA: &str = r#"{"type": "object", "properties": {"name": {"type": "string"}, "age": {"type": "integer"}}}"#;

fn asking(mode: &str) -> String {
    format!("Give me JSON. [[answer:{mode}]] [[mark:00c0ffee]]\n<schema>\n{SCHEMA}\n</schema>")
}

fn stop_reasons(turn: &[Value]) -> (&Value, &Value) {
    let delta = turn.iter().find_map(|line| line.pointer("/event/delta/stop_reason")).expect("a message_delta");
    (delta, &turn.last().expect("a result")["stop_reason"])
}

#[test]
fn a_made_reply_is_a_stream_of_pieces_and_the_same_three_times() {
    for spec in ["2.1.330/ten-turns", "2.1.19/ten-turns", "2.1.330/thinking", "2.1.330/empty-reply", "killed-mid-turn"]
    {
        let mut mock = Mock::ready(&["--mock-recording", spec, "--mock-echo-mark", "--mock-answer", "schema"]);
        for _ in 0..2 {
            let turn = mock.turn(&asking("schema+prose"));
            let text = result(&turn);
            assert!(text.contains(r#"{"name":"⟦00c0ffee⟧ name 1","age":1}"#), "{spec}: {text}");
            assert_eq!((deltas(&turn), texts(&turn)), (text.to_owned(), text.to_owned()), "{spec}");
            let pieces = turn.iter().filter(|line| line.pointer("/event/delta/text").is_some()).count();
            assert!(pieces >= 3, "{spec}: {pieces}");
            assert!(!text.starts_with('⟦') && !text.ends_with('⟧'), "{spec}: {text}");
        }
    }
}

#[test]
fn a_made_text_carries_the_mark_as_a_recorded_one_does() {
    let mut mock = Mock::ready(&["--mock-echo-mark"]);
    let turn = mock.turn("[[answer:echo]] [[mark:7]] <user>\nHello, hello!\n</user>");
    assert_eq!(result(&turn).replace("⟦7⟧", "").replace("⟦/7⟧", ""), "Hello, hello!");
    let each = turn.iter().filter_map(|line| line.pointer("/event/delta/text")?.as_str());
    assert!(each.into_iter().all(|delta| delta.starts_with("⟦7⟧")));
}

#[test]
fn a_wrong_mark_is_in_made_json_too() {
    let mut mock = Mock::ready(&["--mock-echo-mark", "--mock-fault", "wrong-mark"]);
    assert!(result(&mock.turn(&asking("schema"))).contains("⟦11010000⟧ name 1"));
}

#[test]
fn the_option_comes_from_a_flag_or_a_variable_and_only_a_word_wins_over_it() {
    let mut by_variable = command(&["--include-partial-messages"]);
    by_variable.env("MOCK_CLAUDE_ANSWER", "echo");
    let mut mock = Mock::spawn(by_variable);
    mock.initialize();
    assert_eq!(result(&mock.turn("Hello")), "Hello");
    assert_eq!(result(&mock.turn("[[answer:not-json]]")), "These are words (mock_claude: wrong on purpose).");
    assert!(result(&mock.turn("[[answer:loud]]")).starts_with("mock-claude: there is no answer `loud`; the kinds are"));
    let plain = result(&Mock::ready(&[]).turn("Hello")).to_owned();
    assert_eq!(result(&Mock::ready(&[]).turn("[[answer:text]]")), plain);
    let refused = output(&["--mock-answer", "loud"]);
    assert_eq!(refused.status.code(), Some(2));
}

#[test]
fn without_partials_a_made_reply_comes_whole() {
    let mut mock = Mock::start(&["--mock-answer=echo"]);
    mock.initialize();
    let turn = mock.turn("Hello");
    let types: Vec<&str> = turn.iter().filter_map(|line| line["type"].as_str()).collect();
    assert_eq!(types, ["system", "assistant", "result"]);
    assert_eq!((result(&turn), texts(&turn).as_str()), ("Hello", "Hello"));
}

#[test]
fn an_api_error_ends_the_turn_like_a_success_that_is_none() {
    for (version, statuses) in [("2.1.330", [401, 403, 404, 429, 500, 529]), ("2.1.19", [401, 403, 404, 429, 500, 529])]
    {
        let mut mock = Mock::ready(&["--mock-recording", &format!("{version}/unicode"), "--mock-echo-mark"]);
        for status in statuses {
            let turn = mock.turn(&format!("[[answer:api-error={status}]] [[mark:1]]"));
            let last = turn.last().expect("a result");
            assert_eq!((&last["subtype"], &last["is_error"]), (&json!("success"), &json!(true)), "{version} {status}");
            let words = result(&turn);
            assert_eq!(texts(&turn), words);
            assert!(!words.contains('⟦') && (status == 401 || words.contains(&status.to_string())), "{words}");
            if version == "2.1.330" {
                assert_eq!(last["api_error_status"], status);
            }
            let retries = turn.iter().filter(|line| line["subtype"] == "api_retry");
            assert!(retries.into_iter().all(|line| line["error_status"] == status), "{turn:?}");
        }
        assert!(result(&mock.turn("[[mark:2]]")).starts_with("⟦2⟧"), "the process goes on");
    }
}

#[test]
fn a_used_up_quota_is_told_before_its_error_and_a_warning_before_the_reply() {
    let mut mock = Mock::ready(&["--mock-answer", "rate-limit=90"]);
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
    let place = |turn: &[Value], wanted: &str| turn.iter().position(|line| line["type"] == wanted).expect("a line");
    let turn = mock.turn("Hello");
    let event = &turn[place(&turn, "rate_limit_event")]["rate_limit_info"];
    assert_eq!(event["status"], "rejected");
    assert!((since + 90..since + 120).contains(&event["resetsAt"].as_u64().expect("seconds")), "{event}");
    assert!(place(&turn, "rate_limit_event") < place(&turn, "assistant"));
    assert_eq!(turn.last().map(|line| &line["api_error_status"]), Some(&json!(429)));

    let warned = mock.turn("[[answer:echo+rate-limit-warning]]");
    assert_eq!(warned[place(&warned, "rate_limit_event")]["rate_limit_info"]["status"], "allowed_warning");
    assert!(place(&warned, "rate_limit_event") < place(&warned, "stream_event"));
    assert_eq!(warned.last().map(|line| &line["is_error"]), Some(&json!(false)));
}

#[test]
fn a_refusal_and_a_cut_are_told_by_the_stop_reason() {
    for version in ["2.1.330", "2.1.19"] {
        let mut mock = Mock::ready(&["--mock-recording", &format!("{version}/ten-turns")]);
        for (mode, reason) in [("refusal", "refusal"), ("schema+max-tokens", "max_tokens")] {
            let turn = mock.turn(&asking(mode));
            let (delta, result) = stop_reasons(&turn);
            assert_eq!(delta, reason, "{version}");
            assert!(version == "2.1.19" || result == reason, "{result}");
        }
    }
}

#[test]
fn silence_comes_before_the_first_piece_and_between_pieces() {
    let mut mock = Mock::ready(&[]);
    mock.say("[[answer:echo+slow=200+drip=100]] four");
    let start = Instant::now();
    mock.until(|line| line["subtype"] == "status");
    mock.until(|line| line.pointer("/event/delta/text").is_some());
    let first = start.elapsed();
    mock.until_result();
    assert!(first >= Duration::from_millis(190), "{first:?}");
    assert!(start.elapsed() >= first + Duration::from_millis(290), "three more pieces");
}

#[test]
fn an_interrupt_ends_a_silent_turn_and_the_end_of_stdin_its_silence() {
    let mut mock = Mock::ready(&[]);
    mock.say("[[answer:slow=600000]]");
    mock.until(|line| line["subtype"] == "status");
    mock.control("stop", &json!({"subtype": "interrupt"}));
    let turn = mock.until_result();
    assert_eq!(turn.last().map(|line| &line["subtype"]), Some(&json!("error_during_execution")));
    assert_eq!(deltas(&turn), "");

    mock.say("[[answer:echo+slow=600000]]");
    mock.until(|line| line["subtype"] == "status");
    mock.close_stdin();
    assert_eq!(result(&mock.until_result()), "[[answer:echo+slow=600000]]");
    assert_eq!(mock.end().0, End::Code(0));
}

#[test]
fn a_made_turn_belongs_to_its_session_and_model() {
    let mut mock = Mock::ready(&["--mock-recording", "2.1.330/killed-mid-turn", "--mock-answer", "echo"]);
    let cleared = mock.turn("/clear");
    mock.control("a", &json!({"subtype": "set_model", "model": "sonnet"}));
    mock.until(|line| line["type"] == "control_response");
    let session = &cleared.last().expect("a result")["session_id"];
    for mode in ["echo", "api-error=404", "rate-limit-warning"] {
        let turn = mock.turn(&format!("[[answer:{mode}]]"));
        assert!(turn.iter().all(|line| &line["session_id"] == session), "{mode}: {turn:?}");
        assert_eq!(turn[0]["model"], "claude-sonnet-5-5", "{mode}");
    }
}
