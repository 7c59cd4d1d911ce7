//! `leakgate fake-api`: what it answers, and that it ends.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::{Reply, exchange, signal_pid};

/// A running stand-in; it is told to end when this is dropped.
struct Api {
    child: Child,
    address: SocketAddr,
}

impl Api {
    fn start(flags: &[&str]) -> Self {
        #[expect(clippy::disallowed_methods, reason = "Api::drop kills it, whatever happens")]
        let mut command = Command::new(env!("CARGO_BIN_EXE_leakgate"));
        command.arg("fake-api").args(flags).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut url = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut url).unwrap();
        let address = url.trim().strip_prefix("http://").unwrap().parse().unwrap();
        Self { child, address }
    }

    fn post(&self, path: &str, body: &Value) -> Reply {
        let body = body.to_string();
        let length = body.len();
        exchange(self.address, &format!("POST {path} HTTP/1.0\r\nHost: x\r\nContent-Length: {length}\r\n\r\n{body}"))
    }

    fn ask(&self, prompt: &str, stream: bool) -> Reply {
        let messages = json!([
            {"role": "user", "content": "earlier"},
            {"role": "user", "content": prompt},
            {"role": "system", "content": "about the machine"},
        ]);
        self.post("/v1/messages?beta=true", &json!({"model": "m", "messages": messages, "stream": stream}))
    }

    /// The events of a streamed reply.
    fn events(&self, prompt: &str) -> Vec<Value> {
        let body = self.ask(prompt, true).body;
        body.lines()
            .filter_map(|line| line.strip_prefix("data: "))
            .map(|data| serde_json::from_str(data).unwrap())
            .collect()
    }

    /// SIGTERM, its exit code and what it wrote to stderr.
    fn stop(mut self) -> (Option<i32>, String) {
        signal_pid(self.child.id().try_into().unwrap(), Signal::TERM);
        let mut said = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        (self.child.wait().unwrap().code(), said)
    }
}

impl Drop for Api {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn texts(events: &[Value]) -> Vec<&str> {
    events.iter().filter_map(|event| event["delta"]["text"].as_str()).collect()
}

#[test]
fn a_reply_is_the_same_streamed_and_whole_and_carries_its_mark() {
    let api = Api::start(&["--echo-mark", "--scenario", "echo"]);
    let prompt = format!("[[mark:00c0ffee]] {}", "word ".repeat(30));
    let events = api.events(&prompt);
    let kinds: Vec<&str> = events.iter().map(|event| event["type"].as_str().unwrap()).collect();
    assert_eq!(kinds[..2], ["message_start", "content_block_start"]);
    assert_eq!(kinds[kinds.len() - 3..], ["content_block_stop", "message_delta", "message_stop"]);
    let streamed = texts(&events);
    assert!(streamed.len() > 3 && streamed.iter().all(|text| text.starts_with("⟦00c0ffee⟧")), "{streamed:?}");
    assert!(streamed.last().unwrap().ends_with("⟦/00c0ffee⟧"));
    let whole = api.ask(&prompt, false).json();
    assert_eq!(
        (whole["content"][0]["text"].as_str(), &whole["stop_reason"]),
        (Some(&*streamed.concat()), &json!("end_turn"))
    );
}

#[test]
fn a_prompt_chooses_its_own_ending() {
    let api = Api::start(&["--retry-after", "7"]);
    for status in [401, 429, 500, 529] {
        let reply = api.ask(&format!("[[answer:api-error={status}]]"), true);
        assert_eq!(reply.status, status);
        assert_eq!(reply.json()["type"], "error");
        assert_eq!(reply.header("retry-after"), (status != 401).then_some("7"));
    }
    let events = api.events("[[api:overloaded]]");
    assert_eq!(events.last().unwrap()["error"]["type"], "overloaded_error");
    assert!(!texts(&events).is_empty(), "half of the reply comes first");
    let cut = api.events("[[api:cut]]");
    assert!(cut.iter().all(|event| event["type"] != "message_stop") && !texts(&cut).is_empty());
    let long = texts(&api.events("[[api:long=1000]]")).concat();
    assert_eq!(long.split(' ').count(), 1000);
    let tool = api.ask("[[api:tool-use=Bash]]", false).json();
    assert_eq!((&tool["content"][0]["name"], &tool["stop_reason"]), (&json!("Bash"), &json!("tool_use")));
    assert!(tool["content"][0]["input"].is_object());
}

#[test]
fn a_replayed_session_says_what_the_api_said_then() {
    let api = Api::start(&["--recording", "2.1.330/api-error-529", "--replay"]);
    assert_eq!([api.ask("FAIL529", true).status, api.ask("FAIL529", true).status], [529, 529]);
    assert_eq!(texts(&api.events("a title, please")).concat(), "An aside", "nobody in the session said that");
}

#[test]
fn whatever_else_is_asked_for_is_told_and_it_ends_when_it_is_told_to() {
    let api = Api::start(&[]);
    assert_eq!(api.post("/v1/messages/count_tokens", &json!({"messages": []})).json()["input_tokens"], 3);
    assert_eq!(api.post("/api/telemetry", &json!({})).status, 404);
    assert_eq!(api.post("/api/telemetry", &json!({})).status, 404);
    assert_eq!(api.post("/v1/messages", &json!("no request")).status, 200, "what is no message has no prompt");
    let (code, said) = api.stop();
    assert_eq!((code, said.matches("POST /api/telemetry").count()), (Some(0), 1), "{said}");
}

#[test]
fn it_listens_on_loopback_only_and_knows_its_scenarios() {
    let refused = |flags: &[&str], words: &str| {
        let mut command = assert_cmd::Command::new(env!("CARGO_BIN_EXE_leakgate"));
        command.arg("fake-api").args(flags).assert().code(2).stderr(predicates::str::contains(words));
    };
    refused(&["--listen", "0.0.0.0:0"], "only loopback");
    refused(&["--scenario", "quick"], "overloaded, cut, hang");
    refused(&["--recording", "no-such"], "no recording is called `no-such`");
}
