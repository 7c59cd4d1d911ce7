//! One `mock-claude` under test.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ChildStdin, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::{Duration, Instant};

use leakgate_session::recording::End;
use procfs::process::{Process, Status};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

/// Far beyond what any of these tests takes on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

pub(crate) const INITIALIZE: &str =
    r#"{"type":"control_request","request_id":"r1","request":{"subtype":"initialize"}}"#;

/// A running mock; dropped, it is killed and reaped.
pub(crate) struct Mock {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: Receiver<String>,
}

impl Mock {
    pub(crate) fn start(arguments: &[&str]) -> Self {
        Self::spawn(command(arguments))
    }

    pub(crate) fn spawn(mut command: Command) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("mock-claude starts");
        let stdin = child.stdin.take();
        let lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        let (sender, stdout) = sync_channel(1024);
        std::thread::spawn(move || lines.map_while(Result::ok).try_for_each(|line| sender.send(line)));
        Self { child, stdin, stdout }
    }

    /// Started and initialized, with partials.
    pub(crate) fn ready(arguments: &[&str]) -> Self {
        let mut mock = Self::start(&[&["--include-partial-messages"], arguments].concat());
        mock.initialize();
        mock
    }

    pub(crate) fn initialize(&mut self) {
        self.send(INITIALIZE);
        assert_eq!(self.next_json().pointer("/response/request_id"), Some(&json!("r1")));
    }

    pub(crate) fn send(&mut self, line: &str) {
        let stdin = self.stdin.as_mut().expect("stdin is open");
        // A mock that has ended does not read; the test sees that by its output.
        drop(stdin.write_all(format!("{line}\n").as_bytes()));
    }

    pub(crate) fn say(&mut self, text: &str) {
        self.send(&json!({"type": "user", "message": {"role": "user", "content": text}}).to_string());
    }

    pub(crate) fn control(&mut self, id: &str, request: &Value) {
        self.send(&json!({"type": "control_request", "request_id": id, "request": request}).to_string());
    }

    /// The lines of one whole turn.
    pub(crate) fn turn(&mut self, text: &str) -> Vec<Value> {
        self.say(text);
        self.until_result()
    }

    pub(crate) fn until_result(&mut self) -> Vec<Value> {
        self.until(|line| line["type"] == "result")
    }

    pub(crate) fn until(&mut self, last: impl Fn(&Value) -> bool) -> Vec<Value> {
        let mut lines = Vec::new();
        loop {
            lines.push(self.next_json());
            if lines.last().is_some_and(&last) {
                return lines;
            }
        }
    }

    pub(crate) fn next(&mut self) -> String {
        self.stdout.recv_timeout(PATIENCE).expect("a line of stdout")
    }

    fn next_json(&mut self) -> Value {
        serde_json::from_str(&self.next()).expect("stdout is JSON")
    }

    pub(crate) fn close_stdin(&mut self) {
        self.stdin = None;
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("a child that was not waited for");
    }

    pub(crate) fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).expect("a pid")
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("our child").is_none()
    }

    /// Hangs up on stdout.
    pub(crate) fn stop_reading(&mut self) {
        self.stdout = sync_channel(1).1;
    }

    /// Waits until the mock has its own handler for SIGTERM.
    pub(crate) fn wait_until_it_handles_sigterm(&self) {
        let sigterm = 1 << (Signal::TERM.as_raw() - 1);
        wait_until("SIGTERM is handled", || self.status().sigcgt & sigterm != 0);
    }

    /// Waits until it has taken every signal that was sent to it.
    pub(crate) fn wait_until_signals_are_taken(&self) {
        wait_until("no signal is pending", || self.status().shdpnd == 0);
    }

    /// Its resident memory, in bytes.
    pub(crate) fn rss(&self) -> u64 {
        self.status().vmrss.expect("a process with memory") * 1024
    }

    /// What of it is no file's, in bytes.
    pub(crate) fn anonymous(&self) -> u64 {
        self.status().rssanon.expect("a process with memory") * 1024
    }

    fn status(&self) -> Status {
        Process::new(self.pid()).and_then(|process| process.status()).expect("running")
    }

    /// Waits for the end; what stdout still held and all of stderr come with it.
    pub(crate) fn end(mut self) -> (End, Vec<String>, String) {
        let mut rest = Vec::new();
        let deadline = Instant::now() + PATIENCE;
        while let Ok(line) = self.stdout.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            rest.push(line);
        }
        assert!(Instant::now() < deadline, "stdout did not end");
        let mut stderr = String::new();
        self.child.stderr.take().expect("a pipe").read_to_string(&mut stderr).expect("UTF-8");
        let status = self.child.wait().expect("our child");
        let end = status.code().map_or_else(|| End::Signal(status.signal().expect("killed")), End::Code);
        (end, rest, stderr)
    }
}

impl Drop for Mock {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// A conversation: JSON lines in and out.
pub(crate) fn command(arguments: &[&str]) -> Command {
    let mut command = bare();
    command.args(["--input-format", "stream-json", "--output-format", "stream-json", "--verbose"]).args(arguments);
    command
}

/// Without any argument.
pub(crate) fn bare() -> Command {
    #[expect(clippy::disallowed_methods, reason = "`Mock` kills and reaps it when it is dropped")]
    let command = Command::new(env!("CARGO_BIN_EXE_mock-claude"));
    command
}

/// A mock that is expected to end at once.
pub(crate) fn output(arguments: &[&str]) -> Output {
    command(arguments).stdin(Stdio::null()).output().expect("mock-claude starts")
}

/// Waits until something holds.
pub(crate) fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// All text deltas of a turn, joined.
pub(crate) fn deltas(turn: &[Value]) -> String {
    turn.iter().filter_map(|line| line.pointer("/event/delta/text")?.as_str()).collect()
}

/// All assistant texts of a turn, joined.
pub(crate) fn texts(turn: &[Value]) -> String {
    let messages = turn.iter().filter(|line| line["type"] == "assistant");
    messages.filter_map(|line| line.pointer("/message/content/0/text")?.as_str()).collect()
}

/// The text of a turn's result.
pub(crate) fn result(turn: &[Value]) -> &str {
    turn.iter().find(|line| line["type"] == "result").and_then(|line| line["result"].as_str()).expect("a result")
}

/// The recorded lines of stdout, in order.
pub(crate) fn recorded(spec: &str) -> VecDeque<String> {
    let session = leakgate_session::recording::load(spec).expect("bundled");
    let lines = session.events.into_iter().filter_map(|event| match event.payload {
        leakgate_session::recording::Payload::Out(line) => Some(line),
        _ => None,
    });
    lines.collect()
}
