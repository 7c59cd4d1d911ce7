//! What the CLI asks of its caller, and what else depends on the call: the mock makes it from a few recordings, and is
//! held here against others of the real CLI, which it does not know.
//!
//! The same input gives the same messages with the same keys in the same order; only ids, times, numbers and texts may
//! differ. Pieces of a stream, answers, questions and all other messages are compared each in their order, because
//! between these kinds the CLI's own order is a race.

use std::path::PathBuf;

use leakgate_session::recording::{self, End, Payload, Session};
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
fn in_words_of_the_mock(message: &Value) -> String {
    let mut message = message.clone();
    let order = message.pointer("/message/content").and_then(|content| content.as_str()?.strip_prefix("[[use:"));
    if let Some((tool, input)) = order.and_then(|order| order.split_once(' ')) {
        let words = format!("[[answer:use={tool}]] [[input:{}]]", input.trim_end_matches("]]"));
        message["message"]["content"] = words.into();
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

/// The caller's part of a recording, played against the mock.
struct Caller {
    mock: Mock,
    /// What was said in the recording, and by whom: true for the caller.
    recorded: Vec<(bool, Value)>,
    /// The recorded questions of the CLI that the mock has not asked yet.
    questions: Vec<Value>,
    /// What the mock has said.
    said: Vec<Value>,
}

impl Caller {
    fn new(session: &Session) -> Self {
        let mut command = bare();
        command.args(&session.header.args).envs(&session.header.env);
        let lines = session.events.iter().filter_map(|event| match &event.payload {
            Payload::In(line) => Some((true, parse(line))),
            Payload::Out(line) => Some((false, parse(line))),
            _ => None,
        });
        let recorded: Vec<(bool, Value)> = lines.collect();
        let asked = recorded.iter().filter(|(is_callers, message)| !is_callers && is_question(message));
        let questions = asked.map(|(_, message)| message.clone()).collect();
        Self { mock: Mock::spawn(command), recorded, questions, said: Vec::new() }
    }

    /// Says what the caller has said, each time once the CLI has come as far as it had then; gives all that it said.
    fn play(mut self, end: End) -> Vec<Value> {
        let mut wanted = 0;
        for (is_callers, message) in self.recorded.clone() {
            if !is_callers {
                wanted += usize::from(is_milestone(&message));
            } else if message["type"] != "control_response" {
                self.listen(wanted);
                self.mock.send(&in_words_of_the_mock(&message));
            }
        }
        self.listen(wanted);
        self.mock.close_stdin();
        let (own_end, rest, _) = self.mock.end();
        assert_eq!(own_end, end);
        self.said.extend(rest.iter().map(|line| parse(line)));
        self.said
    }

    /// Takes in what the mock says up to this many milestones, and answers its questions.
    fn listen(&mut self, milestones: usize) {
        while self.said.iter().filter(|message| is_milestone(message)).count() < milestones {
            let message = parse(&self.mock.next());
            if is_question(&message) {
                self.answer(&message);
            }
            self.said.push(message);
        }
    }

    fn answer(&mut self, asked: &Value) {
        let position = self.questions.iter().position(|question| key(question) == key(asked));
        let question = self.questions.remove(position.unwrap_or_else(|| panic!("the CLI has not asked {asked}")));
        let id = &question["request_id"];
        let recorded = &self.recorded;
        let said =
            |wanted: &dyn Fn(&Value) -> bool| recorded.iter().map(|(_, message)| message).find(|each| wanted(each));
        if let Some(mut answer) = said(&|each| each["response"]["request_id"] == *id).cloned() {
            answer["response"]["request_id"] = asked["request_id"].clone();
            self.mock.send(&answer.to_string());
        } else if said(&|each| each["type"] == "control_cancel_request").is_none() {
            // Not answered, and not taken back: stdin was closed instead.
            self.mock.close_stdin();
        }
    }
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
    let end = session.events.iter().find_map(|event| match event.payload {
        Payload::Exit { end, .. } => Some(end),
        _ => None,
    });
    let said = Caller::new(&session).play(end.expect("an end"));
    let recorded: Vec<Value> = session
        .events
        .iter()
        .filter_map(|event| match &event.payload {
            Payload::Out(line) => Some(parse(line)),
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
        .filter_map(|event| match &event.payload {
            Payload::Out(line) => Some(parse(line)),
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
