//! What the CLI asks of its caller, and what else depends on the call: the mock makes it from a few recordings, and is
//! held here against others of the real CLI, which it does not know.
//!
//! The same input gives the same messages with the same keys in the same order; only ids, times, numbers and texts may
//! differ. Pieces of a stream, answers, questions and all other messages are compared each in their order, because
//! between these kinds the CLI's own order is a race.

use std::path::PathBuf;

use leakgate::recording::{self, Session, What};
use serde_json::{Value, json};

use super::process::{Mock, bare};

/// What may have another text. A string elsewhere has to be the same.
const LOOSE: &[&str] = &[
    "uuid",
    "session_id",
    "request_id",
    "id",
    "tool_use_id",
    "prompt_id",
    "transcript_path",
    "cwd",
    "original_cwd",
    "timestamp",
    "text",
    "result",
    "partial_json",
    "content",
    "description",
    "tool_use_result",
    "message",
    "prompt",
    "last_assistant_message",
    "blocked_path",
    "claudecode/toolUseId",
    "error",
    "reason",
    "auto",
    "messaging_socket_path",
    "a",
    "api_message_id",
    // In the mode `plan` the CLI may take another model than it was told to.
    "model",
    "canonicalModel",
];
/// Lists of which the recording has kept one entry.
const CUT: &[&str] = &[
    "commands",
    "agents",
    "models",
    "available_output_styles",
    "capabilities",
    "slash_commands",
    "terminal_slash_commands",
    "skills",
    "begun_message_ids",
    "directories",
];
/// What depends on the account and the folder of the recorder, not on what was asked.
const ABSENT: &[&str] = &["plugins"];

fn exchange(name: &str) -> Session {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/it/mock/exchanges");
    recording::load(folder.join(format!("{name}.jsonl")).to_str().expect("UTF-8")).expect("a recording")
}

fn parse(line: &str) -> Value {
    serde_json::from_str(line).unwrap_or_else(|_| Value::from(line))
}

/// The same prompt in the mock's words: `[[use:NAME JSON]]` was an order to the recorder's API.
fn in_words_of_the_mock(line: &str) -> String {
    let mut message = parse(line);
    let content = message.pointer_mut("/message/content");
    if let Some((content, rest)) = content
        .and_then(|content| Some((content.as_str()?.strip_prefix("[[use:")?.to_owned(), content)))
        .map(|(rest, content)| (content, rest))
    {
        let (tool, input) = rest.split_once(' ').expect("a tool and its input");
        *content = json!(format!("[[answer:use={tool}]] [[input:{}]]", input.trim_end_matches("]]")));
    }
    message.to_string()
}

fn is_question(message: &Value) -> bool {
    message["type"] == "control_request"
}

/// What a later input of the caller waited for.
fn is_milestone(message: &Value) -> bool {
    message["type"] == "result"
        || message["type"] == "control_response"
        || message["request"]["subtype"] == "can_use_tool"
}

/// Who asks for what, without the ids.
fn key(question: &Value) -> [Value; 4] {
    let request = &question["request"];
    let method = &request["message"]["method"];
    [&request["subtype"], &request["callback_id"], &request["input"]["hook_event_name"], method].map(Clone::clone)
}

/// Plays the caller's part of a recording; gives all messages of the mock.
fn drive(session: &Session) -> Vec<Value> {
    let mut command = bare();
    command.args(&session.header.args).envs(&session.header.env);
    let mut mock = Mock::spawn(command);
    let recorded: Vec<(bool, Value)> = session
        .events
        .iter()
        .filter_map(|event| match &event.what {
            What::In(line) => Some((true, parse(line))),
            What::Out(line) => Some((false, parse(line))),
            _ => None,
        })
        .collect();
    let mut questions: Vec<&Value> = recorded
        .iter()
        .filter(|(is_input, message)| !is_input && is_question(message))
        .map(|(_, message)| message)
        .collect();
    let answer_to = |question: &Value| {
        let id = &question["request_id"];
        recorded
            .iter()
            .find(|(is_input, message)| *is_input && message["response"]["request_id"] == *id)
            .map(|(_, message)| message.clone())
    };
    let mut said = Vec::new();
    let mut reached = 0;
    let mut wanted = 0;
    let mut take_until = |mock: &mut Mock, wanted: usize, said: &mut Vec<Value>| {
        while reached < wanted {
            let message = parse(&mock.next());
            reached += usize::from(is_milestone(&message));
            if is_question(&message) {
                let position = questions.iter().position(|question| key(question) == key(&message));
                let question = questions.remove(position.unwrap_or_else(|| panic!("nobody was asked {message}")));
                match answer_to(question) {
                    Some(mut answer) => {
                        answer["response"]["request_id"] = message["request_id"].clone();
                        mock.send(&answer.to_string());
                    }
                    // Nobody answered while stdin was open, unless it was an interrupt that came instead.
                    None if !recorded.iter().any(|(_, each)| each["type"] == "control_cancel_request") => {
                        mock.close_stdin()
                    }
                    None => {}
                }
            }
            said.push(message);
        }
    };
    for (is_input, message) in &recorded {
        if !is_input {
            wanted += usize::from(is_milestone(message));
        } else if message["type"] != "control_response" {
            take_until(&mut mock, wanted, &mut said);
            mock.send(&in_words_of_the_mock(&message.to_string()));
        }
    }
    take_until(&mut mock, wanted, &mut said);
    mock.close_stdin();
    let (end, rest, _) = mock.end();
    said.extend(rest.iter().map(|line| parse(line)));
    let recorded_end = session.events.iter().find_map(|event| match event.what {
        What::Exit { end, .. } => Some(end),
        _ => None,
    });
    assert_eq!(Some(end), recorded_end, "{}", session.header.name);
    said
}

fn normalised(value: &Value, key: &str) -> Value {
    match value {
        Value::Object(map) if key != "modelUsage" && key != "model_usage_since_last_result" => {
            let kept = map.iter().filter(|(key, _)| !ABSENT.contains(&key.as_str()));
            kept.map(|(key, value)| (key.clone(), normalised(value, key))).collect::<serde_json::Map<_, _>>().into()
        }
        Value::Object(map) => map.values().next().map_or(Value::Null, |usage| normalised(usage, "")),
        Value::Array(all) if CUT.contains(&key) => all.iter().take(1).map(|each| normalised(each, "text")).collect(),
        Value::Array(all) => all.iter().map(|each| normalised(each, key)).collect(),
        Value::String(_) if LOOSE.contains(&key) => json!("…"),
        Value::Number(_) => json!(0),
        other => other.clone(),
    }
}

/// Four kinds of messages, each in order; pieces of one text count as one.
fn sorted(messages: &[Value]) -> [Vec<Value>; 4] {
    let mut kinds: [Vec<Value>; 4] = Default::default();
    for message in messages {
        let kind = match message["type"].as_str() {
            Some("stream_event") => 0,
            Some("control_response") => 1,
            Some("control_request" | "control_cancel_request") => 2,
            _ => 3,
        };
        let message = normalised(message, "");
        if kind != 0 || kinds[kind].last() != Some(&message) {
            kinds[kind].push(message);
        }
    }
    kinds
}

#[track_caller]
fn holds(name: &str) {
    let session = exchange(name);
    let said = drive(&session);
    let recorded: Vec<Value> = session
        .events
        .iter()
        .filter_map(|event| match &event.what {
            What::Out(line) => Some(parse(line)),
            _ => None,
        })
        .collect();
    for (own, real) in sorted(&said).iter().zip(&sorted(&recorded)) {
        for (own, real) in own.iter().zip(real) {
            assert_eq!(own, real, "{name}");
        }
        assert_eq!(own.len(), real.len(), "{name}: {own:#?} instead of {real:#?}");
    }
}

#[test]
fn a_permission_is_asked_for_and_its_answer_counts() {
    for name in ["tool-permission-allowed", "tool-without-asking", "tool-bypass", "tool-unanswered", "tool-interrupted"]
    {
        holds(name);
    }
}

#[test]
fn hooks_are_called_and_their_answers_count() {
    for name in ["tool-hook-denied", "tool-hook-allowed", "tool-hook-stops", "hook-unanswered", "hook-matchers"] {
        holds(name);
    }
}

#[test]
fn a_server_in_the_caller_is_greeted_and_its_tool_is_called() {
    holds("sdk-mcp");
}

#[test]
fn the_command_line_counts_in_a_conversation() {
    for name in ["session-states", "permission-modes", "replayed-users", "options-in-initialize", "json-schema-stream"]
    {
        holds(name);
    }
}

#[test]
fn a_single_prompt_is_answered_in_the_form_that_is_asked_for() {
    for name in ["print-json", "print-json-verbose", "print-stream", "print-stream-partials", "json-schema"] {
        single(name);
    }
}

/// A single prompt: nobody writes to stdin, and the process ends by itself.
#[track_caller]
fn single(name: &str) {
    let session = exchange(name);
    let output = bare().args(&session.header.args).stdin(std::process::Stdio::null()).output().expect("it runs");
    assert!(output.status.success(), "{name}: {output:?}");
    let lines = |text: &str| -> Vec<Value> { text.lines().map(parse).collect() };
    let recorded: Vec<Value> = session
        .events
        .iter()
        .filter_map(|event| match &event.what {
            What::Out(line) => Some(parse(line)),
            _ => None,
        })
        .collect();
    let said = lines(&String::from_utf8(output.stdout).expect("UTF-8"));
    assert_eq!(sorted(&said), sorted(&recorded), "{name}");
}

#[test]
fn a_single_prompt_may_come_from_both_sides_and_its_answer_is_a_text() {
    use std::io::Write;
    let session = exchange("print-both");
    let mut command = bare();
    command
        .args(["--mock-answer", "echo"])
        .args(&session.header.args)
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped());
    let mut child = command.spawn().expect("it starts");
    child.stdin.take().expect("a pipe").write_all(b"Hello from stdin\n").expect("written");
    let output = child.wait_with_output().expect("it ends");
    // As the recorder's API was asked: both, in this order.
    assert_eq!(String::from_utf8_lossy(&output.stdout), "argv words\nHello from stdin\n\n");
}
