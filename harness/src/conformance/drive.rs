//! Says to a CLI what was said to the recorded one.
//!
//! A line is said when the CLI has come as far as the recorded one had, by what can be counted in any version: results,
//! answers, questions, pieces of text, retries. Other messages may come and go between versions.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::os::unix::process::ExitStatusExt;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant as Deadline, timeout_at};

use super::Transcript;
use leakgate_drive::orphans;
use leakgate_drive::real_cli::withheld_variables;
use leakgate_session::recording::{End, Event, Flaws, Payload, Session};

/// How long a CLI may take for the next thing that it is waited for. Between two of its own retries it was recorded to wait
/// for 37 s.
const PROGRESS_TIMEOUT: Duration = Duration::from_mins(1);
/// How long it must live on where the end of stdin does not end it.
const SURVIVAL_TIME: Duration = Duration::from_secs(2);
/// Lines that are read ahead.
const MAX_BUFFERED_LINES: usize = 256;

/// How a CLI is started.
#[derive(Debug, Clone)]
pub struct Start {
    /// The program.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<String>,
    /// Variables of its environment.
    pub env: Vec<(String, String)>,
}

/// Private folders for one process.
#[derive(Debug)]
pub struct Dirs {
    root: TempDir,
}

impl Dirs {
    fn new() -> io::Result<Self> {
        let dirs = Self { root: tempfile::Builder::new().prefix("leakgate-").tempdir()? };
        for folder in [dirs.home(), dirs.project(), dirs.tmp()] {
            std::fs::create_dir(folder)?;
        }
        Ok(dirs)
    }

    /// Its HOME.
    #[must_use]
    pub fn home(&self) -> PathBuf {
        self.root.path().join("home")
    }

    /// Its working folder.
    #[must_use]
    pub fn project(&self) -> PathBuf {
        self.root.path().join("project")
    }

    /// For its temporary files and sockets.
    #[must_use]
    pub fn tmp(&self) -> PathBuf {
        self.root.path().join("tmp")
    }
}

/// How far a CLI has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Progress {
    results: usize,
    answers: usize,
    questions: usize,
    pieces: usize,
    retries: usize,
}

impl Progress {
    fn count_line(&mut self, line: &Value) {
        match line["type"].as_str().unwrap_or_default() {
            "result" => self.results += 1,
            "control_response" => self.answers += 1,
            "control_request" => self.questions += 1,
            "stream_event" if line["event"]["type"] == "content_block_delta" => self.pieces += 1,
            "system" if line["subtype"] == "api_retry" => self.retries += 1,
            _ => {}
        }
    }

    fn has_reached(self, other: Self) -> bool {
        self.results >= other.results
            && self.answers >= other.answers
            && self.questions >= other.questions
            && self.pieces >= other.pieces
            && self.retries >= other.retries
    }
}

/// When pieces of text come that crossed an interrupt on their way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Crossing {
    /// Before the interrupt is said: an API that waits for nobody has said them by then.
    First,
    /// After it: the mock says them only then.
    AsRecorded,
}

/// Holds the conversation of `session` with a process.
pub(super) async fn hold_conversation(session: &Session, start: &Start, crossing: Crossing) -> io::Result<Transcript> {
    let dirs = Dirs::new()?;
    let mut conversation = Conversation::start(start, &dirs)?;
    let mut recorded = Progress::default();
    let mut stuck = None;
    for (at, event) in session.events.iter().enumerate() {
        let goal = match &event.payload {
            Payload::Out(line) => {
                recorded.count_line(&parse_line(line));
                continue;
            }
            Payload::Err(_) => continue,
            Payload::In(line)
                if crossing == Crossing::First && parse_line(line)["request"]["subtype"] == "interrupt" =>
            {
                Progress { pieces: recorded.pieces + count_crossing_pieces(&session.events[at + 1..]), ..recorded }
            }
            Payload::In(_) | Payload::Exit { .. } => recorded,
        };
        if let Err(what) = conversation.wait_until(goal).await {
            stuck = Some(what);
            break;
        }
        match &event.payload {
            Payload::In(line) => conversation.send_line(line, session).await,
            Payload::Exit { after, .. } => conversation.trigger_end(after).await,
            Payload::Out(_) | Payload::Err(_) => {}
        }
    }
    let after = session.events.iter().find_map(|event| match &event.payload {
        Payload::Exit { after, .. } => Some(after.clone()),
        _ => None,
    });
    let (events, late) = conversation.wait_for_exit(after.unwrap_or_default()).await;
    Ok(Transcript { events, stuck: stuck.or(late), dirs })
}

fn count_crossing_pieces(later: &[Event]) -> usize {
    let outs = later.iter().filter_map(|event| match &event.payload {
        Payload::Out(line) => Some(parse_line(line)),
        _ => None,
    });
    let before_answer = outs.take_while(|line| line["type"] != "control_response");
    before_answer.filter(|line| line["event"]["type"] == "content_block_delta").count()
}

fn parse_line(line: &str) -> Value {
    serde_json::from_str(line).unwrap_or_default()
}

/// A conversation that is going on.
struct Conversation {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: mpsc::Receiver<Payload>,
    _readers: JoinSet<()>,
    start: Instant,
    events: Vec<Event>,
    progress: Progress,
    /// The ids of the CLI's questions, in order.
    question_ids: Vec<String>,
}

impl Conversation {
    fn start(start: &Start, dirs: &Dirs) -> io::Result<Self> {
        #[expect(clippy::disallowed_methods, reason = "Conversation owns it: it is ended, killed and reaped")]
        let mut command = Command::new(&start.program);
        for name in withheld_variables() {
            command.env_remove(name);
        }
        command.args(&start.args).envs(start.env.iter().cloned()).current_dir(dirs.project());
        command.env("HOME", dirs.home()).env("TMPDIR", dirs.tmp()).env("XDG_RUNTIME_DIR", dirs.tmp());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = orphans::spawn(&mut command)?;
        let (sender, lines) = mpsc::channel(MAX_BUFFERED_LINES);
        let mut readers = JoinSet::new();
        if let Some(stdout) = child.stdout.take() {
            readers.spawn(read_lines(BufReader::new(stdout), sender.clone(), Payload::Out));
        }
        if let Some(stderr) = child.stderr.take() {
            readers.spawn(read_lines(BufReader::new(stderr), sender, Payload::Err));
        }
        let stdin = child.stdin.take();
        let (events, question_ids) = (Vec::new(), Vec::new());
        Ok(Self {
            child,
            stdin,
            lines,
            _readers: readers,
            start: Instant::now(),
            events,
            progress: Progress::default(),
            question_ids,
        })
    }

    /// Listens until the CLI has come so far.
    async fn wait_until(&mut self, goal: Progress) -> Result<(), String> {
        let deadline = Deadline::now() + PROGRESS_TIMEOUT;
        while !self.progress.has_reached(goal) {
            match timeout_at(deadline, self.lines.recv()).await {
                Ok(Some(what)) => self.record_event(what),
                Ok(None) => return Err(format!("it closed its output at {:?}, before {goal:?}", self.progress)),
                Err(_) => return Err(format!("it stood still at {:?}, before {goal:?}", self.progress)),
            }
        }
        Ok(())
    }

    fn record_event(&mut self, what: Payload) {
        if let Payload::Out(line) = &what {
            let line = parse_line(line);
            self.progress.count_line(&line);
            if line["type"] == "control_request" {
                self.question_ids.push(line["request_id"].as_str().unwrap_or_default().to_owned());
            }
        }
        let ms = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.events.push(Event { ms, payload: what, flaws: Flaws::default() });
    }

    /// Says a recorded line. An answer goes to the question that this CLI asked in the recorded one's place.
    async fn send_line(&mut self, line: &str, session: &Session) {
        let mut said = line.to_owned();
        if let Some(recorded) = parse_line(line)["response"]["request_id"].as_str() {
            let place = question_ids(session).position(|id| id == recorded);
            if let Some(own) = place.and_then(|place| self.question_ids.get(place)) {
                said = line.replace(recorded, own);
            }
        }
        if let Some(stdin) = &mut self.stdin {
            // A CLI that has closed its stdin shows it by what it says next, or does not.
            let _ = stdin.write_all(format!("{said}\n").as_bytes()).await;
            let _ = stdin.flush().await;
        }
        self.record_event(Payload::In(said));
    }

    /// Does what ended the recorded process.
    async fn trigger_end(&mut self, after: &str) {
        if after.contains("stdin closed") {
            self.stdin = None;
        }
        if after.contains("then SIGKILL") {
            let deadline = Deadline::now() + SURVIVAL_TIME;
            while let Ok(Some(what)) = timeout_at(deadline, self.lines.recv()).await {
                self.record_event(what);
            }
        }
        let signal = [("SIGKILL", Signal::KILL), ("SIGTERM", Signal::TERM)];
        if let Some((_, signal)) =
            signal.into_iter().find(|(name, _)| after.ends_with(name) || after.contains("then SIGKILL"))
            && let Some(pid) = self.child.id().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw)
        {
            // Not reaped yet, so the pid is still its own; one that has ended already takes no harm.
            let _ = kill_process(pid, signal);
        }
    }

    /// Listens to the end, and puts the exit last.
    async fn wait_for_exit(mut self, after: String) -> (Vec<Event>, Option<String>) {
        let deadline = Deadline::now() + PROGRESS_TIMEOUT;
        let mut late = None;
        loop {
            match timeout_at(deadline, self.lines.recv()).await {
                Ok(Some(what)) => self.record_event(what),
                Ok(None) => break,
                Err(_) => {
                    late = Some(format!("it did not end after: {after}"));
                    break;
                }
            }
        }
        if late.is_some() {
            // Killing fails only for a process that is gone already.
            let _ = self.child.start_kill();
        }
        if let Ok(status) = self.child.wait().await {
            let end = match (status.code(), status.signal()) {
                (Some(code), _) => End::Code(code),
                (None, signal) => End::Signal(signal.unwrap_or_default()),
            };
            self.record_event(Payload::Exit { end, after, removed: BTreeMap::new() });
        }
        (self.events, late)
    }
}

fn question_ids(session: &Session) -> impl Iterator<Item = String> {
    let outs = session.events.iter().filter_map(|event| match &event.payload {
        Payload::Out(line) => Some(parse_line(line)),
        _ => None,
    });
    let questions = outs.filter(|line| line["type"] == "control_request");
    questions.map(|line| line["request_id"].as_str().unwrap_or_default().to_owned())
}

async fn read_lines<R: tokio::io::AsyncRead + Unpin>(
    reader: BufReader<R>,
    sender: mpsc::Sender<Payload>,
    what: fn(String) -> Payload,
) {
    let mut lines = reader.lines();
    while let Ok(Some(line)) = lines.next_line().await {
        if sender.send(what(line)).await.is_err() {
            return;
        }
    }
}

/// Whether a path is below a place: for the scrubbing.
pub(super) fn scrubbed_paths(dirs: &Dirs) -> [(PathBuf, &'static Path); 3] {
    [
        (dirs.project(), Path::new("/home/user/project")),
        (dirs.home(), Path::new("/home/user/home")),
        (dirs.tmp(), Path::new("/tmp")),
    ]
}
