//! The CLI's protocol as it was recorded, and the shapes that clients see.

use std::collections::VecDeque;

use cc_openai_wrapper::claude::event::{self, ClaudeEvent};
use cc_openai_wrapper::invoker::binding::{TurnBinding, Work};
use leakgate_session::recording::{self, Payload};
use serde_json::json;

use crate::support::{Options, until};

#[test]
fn every_line_of_every_recording_is_understood() {
    let mut results = 0;
    for builtin in recording::list_bundled() {
        let session = builtin.parse().unwrap();
        for line in
            session.events.iter().filter_map(|e| if let Payload::Out(line) = &e.payload { Some(line) } else { None })
        {
            let parsed = event::parse_line(line.as_bytes());
            let event = parsed.unwrap_or_else(|e| panic!("{}/{}: {e}: {line}", builtin.version, builtin.name)).event;
            let is_result = line.contains(r#""type":"result""#);
            assert_eq!(matches!(event, ClaudeEvent::Result(_)), is_result, "{line}");
            results += usize::from(is_result);
        }
    }
    assert_eq!(results, 105, "results in all recordings");
}

#[test]
fn every_line_of_every_recording_belongs_to_its_turn() {
    for builtin in recording::list_bundled() {
        let session = builtin.parse().unwrap();
        let mut binding = TurnBinding::default();
        // The CLI begins a queued prompt by itself, once the one before it has ended.
        let (mut asked, mut running) = (VecDeque::new(), false);
        for event in &session.events {
            match &event.payload {
                Payload::In(line) if line.contains(r#""type":"user""#) => {
                    asked.push_back(if line.contains(r#""/clear""#) { Work::Clear } else { Work::Prompt });
                }
                Payload::Out(line) => {
                    let Ok(line) = event::parse_line(line.as_bytes()) else { continue };
                    let accepted = binding.check_line(&line);
                    accepted.unwrap_or_else(|e| panic!("{}/{}: {e}: {line:?}", builtin.version, builtin.name));
                    running &= !matches!(line.event, ClaudeEvent::Result(_));
                }
                _ => {}
            }
            if !running && let Some(work) = asked.pop_front() {
                binding.begin_work(work);
                running = true;
            }
        }
    }
}

#[test]
fn deltas_and_result_of_a_recorded_turn_are_the_same_text() {
    for version in ["2.1.330", "2.1.19"] {
        let session = recording::load(&format!("{version}/ten-turns")).unwrap();
        let (mut text, mut turns) = (String::new(), 0);
        for event in &session.events {
            let Payload::Out(line) = &event.payload else { continue };
            match event::parse_line(line.as_bytes()).unwrap().event {
                ClaudeEvent::TextDelta(delta) => text.push_str(&delta),
                ClaudeEvent::Result(result) => {
                    assert!(result.is_success() && result.usage().output > 0, "{line}");
                    assert_eq!(result.result.as_deref(), Some(text.as_str()));
                    text.clear();
                    turns += 1;
                }
                _ => {}
            }
        }
        assert_eq!(turns, 10, "{version}");
    }
}

#[test]
fn a_tool_that_the_cli_asks_for_is_refused_and_the_turn_goes_on() {
    for version in ["2.1.330", "2.1.19"] {
        let recording = format!("--mock-recording={version}/tool-permission-denied");
        let server = Options::new().mock(&[&recording]).start();
        assert!(!server.ask("hello").text().is_empty());
        server.stop();
    }
}

#[test]
fn text_that_is_not_ascii_survives_both_ways() {
    let expected = recording::load("unicode").unwrap().events.iter().rev().find_map(|e| match &e.payload {
        Payload::Out(line) => match event::parse_line(line.as_bytes()).map(|line| line.event) {
            Ok(ClaudeEvent::Result(result)) => result.result,
            _ => None,
        },
        _ => None,
    });
    let server = Options::new().mock(&["--mock-recording=unicode"]).start();
    assert_eq!(Some(server.ask("grüße \u{2028} \u{0} 🦀").text()), expected);
    server.stop();
}

#[test]
fn a_prompt_larger_than_a_pipe_and_an_argument_passes() {
    let server = Options::new().mock(&["--mock-echo-mark"]).start();
    let text = server.ask(&format!("{} [[mark:beef]]", "x".repeat(3_000_000))).text();
    assert!(text.ends_with("⟦/beef⟧"), "{text}");
    server.stop();
}

#[test]
fn a_turn_that_outlasts_the_grace_is_given_up() {
    let mut server = Options::new().flags(&["--stop-timeout", "0.3"]).mock(&["--mock-fault=hang"]).start();
    std::thread::scope(|scope| {
        let asked = scope.spawn(|| server.ask("hello"));
        until("the turn runs", || server.health()["invokers"]["busy"] == 1);
        server.signal(rustix::process::Signal::TERM);
        let reply = asked.join().unwrap();
        assert_eq!((reply.status, reply.json()["error"]["code"].as_str()), (503, Some("stopping")), "{reply:?}");
    });
    assert!(server.wait().success(), "{}", server.log());
    assert_eq!(server.below(), []);
}

#[test]
fn the_shapes_that_clients_see_stay_as_they_are() {
    let server = Options::new().start();
    let reply = server.ask("hello").json();
    insta::assert_json_snapshot!("completion", reply, {
        ".id" => "[id]", ".created" => "[created]", ".choices[0].message.content" => "[text]",
    });
    until("it is at rest", || server.health()["invokers"]["busy"] == 0);
    insta::assert_json_snapshot!("health", server.health(), {
        ".memory.rss_mb" => "[MB]", ".memory.alert_mb" => "[MB]", ".memory.tree_rss_mb" => "[MB]", ".uptime_seconds" => "[s]", ".version" => "[version]",
    });
    let refused = server.post("/v1/chat/completions", &json!({"messages": []}));
    insta::assert_json_snapshot!("refusal", refused.json());
    server.stop();
}
