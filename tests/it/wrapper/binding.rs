//! A CLI whose lines come twice or late: nobody gets the reply of another.

use std::io::Read;

use crate::support::{Options, READY, Server, script, until};

/// A CLI that answers a prompt with `[[mark:NAME]]` by `<NAME>`, and breaks its protocol as `[[do:…]]` says; a process
/// that has answered nobody yet has nothing to repeat, and is sound.
const CLI: &str = r#"
line() { printf '%s\n' "$1"; }
init() { line '{"type":"system","subtype":"init","session_id":"s"}'; }
delta() { line '{"type":"stream_event","session_id":"s","event":{"type":"content_block_delta","delta":{"type":"text_delta","text":"'"$1"'"}}}'; }
result() { line '{"type":"result","subtype":"success","is_error":false,"num_turns":1,"session_id":"s","result":"'"$1"'","usage":{"input_tokens":1,"output_tokens":1}}'; }
interrupted() { line '{"type":"result","subtype":"error_during_execution","is_error":true,"session_id":"s"}'; }
reset() { line '{"type":"conversation_reset","session_id":"s"}'; }
cleared() { reset; init; result ''; }
answer() { init; delta "$text"; result "$text"; }
turn() {
    case "$todo$last" in
    '' | "$todo") answer ;;
    repeat-result*) answer; result "$text" ;;
    late-result-before-init*) result "$last"; answer ;;
    late-result-after-init*) init; result "$last"; delta "$text"; result "$text" ;;
    late-result-after-text*) init; delta "$text"; result "$last"; result "$text" ;;
    late-text-before-init*) delta "$last"; answer ;;
    late-text-after-init*) init; delta "$last"; delta "$text"; result "$text" ;;
    late-empty-result*) init; result ''; delta "$text"; result "$text" ;;
    late-reset*) init; reset; delta "$text"; result "$text" ;;
    begin-twice*) init; init; delta "$text"; result "$text" ;;
    *) answer ;;
    esac
    last=$text
}
clear() {
    case "$todo" in
    clear-unknown) init; result 'Unknown skill: clear' ;;
    clear-twice) cleared; cleared ;;
    clear-and-result) cleared; result '' ;;
    result-in-clear) reset; result "$last"; init; result '' ;;
    *) cleared ;;
    esac
    todo=
}
while read -r input; do
    case "$input" in
    *'"initialize"'*) line '{"type":"control_response","response":{"subtype":"success","request_id":"initialize","response":{}}}' ;;
    *'"interrupt"'*)
        interrupted
        case "$todo" in late-result) result "$text" ;; late-text) delta "$text" ;; esac ;;
    *'"/clear"'*) clear ;;
    *)
        text="<$(expr "$input" : '.*\[\[mark:\([a-z]*\)')>"
        todo=$(expr "$input" : '.*\[\[do:\([a-z-]*\)')
        case "$input" in *hang*) init; delta "$text" ;; *) turn ;; esac ;;
    esac
done
"#;

fn start(isolation: &str) -> (tempfile::TempDir, Server) {
    let folder = tempfile::tempdir().unwrap();
    let cli = folder.path().join("claude");
    script(&cli, CLI);
    (folder, Options::new().flags(&["--isolation", isolation, "--max-turns", "100"]).cli(&cli).start())
}

#[track_caller]
fn ask(server: &Server, mark: &str, todo: &str) {
    let text = server.ask(&format!("[[mark:{mark}]] [[do:{todo}]]")).text();
    assert_eq!(text, format!("<{mark}>"), "{todo}");
}

/// After the broken process has been replaced, turns cost no process again.
fn assert_believed_again(server: &Server, todo: &str) {
    for mark in ["x", "y"] {
        ask(server, mark, "");
    }
    until("it is at rest", || server.health()["invokers"]["busy"] == 0);
    let restarts = server.health()["restarts"]["total"].clone();
    for mark in ["p", "q", "r", "s"] {
        ask(server, mark, "");
    }
    assert_eq!(server.health()["restarts"]["total"], restarts, "{todo}: {}", server.log());
}

#[test]
fn a_line_of_an_earlier_turn_never_reaches_a_later_one_and_costs_one_process() {
    for isolation in ["auto", "none"] {
        let (_folder, server) = start(isolation);
        for (broken, todo) in (1_u64..).zip([
            "repeat-result",
            "late-result-before-init",
            "late-result-after-init",
            "late-result-after-text",
            "late-text-before-init",
            "late-text-after-init",
            "late-empty-result",
            "late-reset",
            "begin-twice",
        ]) {
            ask(&server, "a", "");
            ask(&server, "b", todo);
            ask(&server, "c", "");
            until("the process was replaced", || server.health()["restarts"]["recovery"] == broken);
            assert_believed_again(&server, todo);
        }
        assert_eq!(server.health()["state"], "ready");
        server.stop();
    }
}

#[test]
fn a_clear_that_is_answered_oddly_once_costs_a_process_and_no_reply() {
    let (_folder, server) = start("auto");
    for todo in ["clear-unknown", "clear-twice", "clear-and-result", "result-in-clear"] {
        ask(&server, "a", "");
        ask(&server, "b", todo);
        for mark in ["c", "d"] {
            ask(&server, mark, "");
        }
        assert_believed_again(&server, todo);
    }
    let restarts = server.health()["restarts"].clone();
    // The CLI that did not know /clear, and perhaps its successor, if the next one was ready before it had shown that it does.
    assert!(matches!(restarts["isolation"].as_u64(), Some(1 | 2)), "{restarts}");
    assert_eq!(restarts["recovery"], 3, "{restarts}");
    server.stop();
}

#[test]
fn what_comes_late_after_an_interrupt_reaches_nobody() {
    for isolation in ["auto", "none"] {
        let (_folder, server) = start(isolation);
        for todo in ["late-result", "late-text", "nothing"] {
            let (stream, read) = server.stream(&format!("hang [[mark:a]] [[do:{todo}]]"));
            assert!(read.contains("<a>"), "{read}");
            drop(stream);
            ask(&server, "b", "");
            let (mut stream, mut read) = server.stream("[[mark:c]]");
            stream.read_to_string(&mut read).unwrap();
            assert!(read.contains("<c>") && read.contains("[DONE]") && !read.contains("<a>"), "{read}");
        }
        assert_believed_again(&server, isolation);
        server.stop();
    }
}

#[test]
fn a_stream_that_a_late_result_would_cut_ends_with_an_error() {
    let (_folder, server) = start("none");
    ask(&server, "a", "");
    let (mut stream, mut read) = server.stream("[[mark:b]] [[do:late-result-after-text]]");
    stream.read_to_string(&mut read).unwrap();
    assert!(read.contains("\"error\"") && !read.contains("[DONE]") && !read.contains("<a>"), "{read}");
    server.stop();
}

#[test]
fn a_cli_that_asks_and_does_not_read_is_replaced_before_the_answers_fill_the_memory() {
    let folder = tempfile::tempdir().unwrap();
    let cli = folder.path().join("claude");
    let id = "x".repeat(60_000);
    let asks = format!(r#"{{"type":"control_request","request_id":"{id}","request":{{"subtype":"can_use_tool"}}}}"#);
    script(&cli, &format!("echo '{READY}'; exec yes '{asks}'"));
    let flags = ["--max-failures", "2", "--probe-interval", "3600"];
    let server = Options::new().flags(&flags).cli(&cli).start();
    let mut most = 0;
    until("it is offline", || {
        most = most.max(process_tree::rss(server.pid()));
        server.health()["state"] == "offline"
    });
    let reason = server.health()["offline_reason"].as_str().unwrap().to_owned();
    assert!(reason.contains("does not read the answers"), "{reason}");
    assert!(most < 60_000_000, "{most} bytes");
    server.stop();
}
