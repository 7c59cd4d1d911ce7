//! A real server process for a test, and a plain client.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use cc_openai_wrapper::runtime::MARK;
use process_tree::ProcessId;
use procfs::net::{TcpNetEntry, TcpState};
use procfs::process::{FDTarget, Process};
use serde_json::{Value, json};

/// Longer than any protocol timer: a test that waits this long has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Waits for a condition.
#[track_caller]
pub(crate) fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// `cc-openai-wrapper serve` as a process of its own, in front of `mock-claude`.
pub(crate) struct Server {
    child: Child,
    id: ProcessId,
    pub(crate) address: SocketAddr,
    log: Arc<Mutex<String>>,
    folder: tempfile::TempDir,
}

/// How a server is started.
pub(crate) struct Options {
    args: Vec<String>,
    cli: PathBuf,
    env: Vec<(String, Option<String>)>,
    under: Vec<String>,
    plant: Option<String>,
    stderr: Option<OwnedFd>,
}

impl Options {
    pub(crate) fn new() -> Self {
        Self {
            args: Vec::new(),
            env: Vec::new(),
            under: Vec::new(),
            plant: None,
            stderr: None,
            cli: PathBuf::from(env!("CARGO_BIN_EXE_mock-claude")),
        }
    }

    /// Flags of `serve`.
    pub(crate) fn flags(mut self, flags: &[&str]) -> Self {
        self.args.extend(flags.iter().map(|&f| f.to_owned()));
        self
    }

    /// Flags of `mock-claude`.
    pub(crate) fn mock(mut self, flags: &[&str]) -> Self {
        self.args.extend(flags.iter().map(|f| format!("--cli-arg={f}")));
        self
    }

    /// A variable of the server's environment; none takes it away.
    pub(crate) fn env(mut self, name: &str, value: Option<&str>) -> Self {
        self.env.push((name.to_owned(), value.map(str::to_owned)));
        self
    }

    /// The command that becomes the server: its last words are the server's own command line.
    pub(crate) fn under(mut self, command: &[&str]) -> Self {
        self.under = command.iter().map(|&word| word.to_owned()).collect();
        self
    }

    /// A leak to plant. The server then has no log.
    pub(crate) fn plant(mut self, name: &str) -> Self {
        self.plant = Some(name.to_owned());
        self.stderr(std::fs::File::create("/dev/null").unwrap())
    }

    /// Where it logs to, instead of to the test.
    pub(crate) fn stderr(mut self, to: impl Into<OwnedFd>) -> Self {
        self.stderr = Some(to.into());
        self
    }

    pub(crate) fn cli(mut self, cli: &Path) -> Self {
        self.cli = cli.to_owned();
        self
    }

    /// Starts it and waits until it listens.
    pub(crate) fn start(self) -> Server {
        Server::start(&self)
    }
}

impl Server {
    fn start(options: &Options) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let words: Vec<&str> = options.under.iter().map(String::as_str).chain([env!("CARGO_BIN_EXE_sut")]).collect();
        let verb: &[&str] = match &options.plant {
            Some(plant) => &["serve", "--no-channel", "--plant", plant],
            None => &["wrapper", "serve", "--log-format", "json"],
        };
        #[expect(clippy::disallowed_methods, reason = "the test's own server; Server::drop ends it")]
        let mut command = Command::new(words[0]);
        for (name, value) in &options.env {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        let mut child = command
            .args(&words[1..])
            .args(verb)
            .args(["--listen", "127.0.0.1:0", "--cli"])
            .arg(&options.cli)
            .args(&options.args)
            .env("CCW_RUNTIME_DIR", folder.path().join("runtime"))
            .env("HOME", folder.path())
            .env("TMPDIR", folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(options.stderr.as_ref().map_or_else(Stdio::piped, |to| to.try_clone().unwrap().into()))
            .spawn()
            .unwrap();
        let id = ProcessId::of(child.id().try_into().unwrap()).unwrap();
        if options.stderr.is_some() {
            let mut address = None;
            until("the server listens", || {
                address = listening(id.pid);
                address.is_some()
            });
            let address = address.unwrap();
            return Self { child, id, address, log: Arc::default(), folder };
        }
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut early = String::new();
        let address = lines.by_ref().map_while(Result::ok).find_map(|line| {
            early = format!("{early}{line}\n");
            let line: Value = serde_json::from_str(&line).ok()?;
            line["fields"]["address"].as_str()?.parse().ok()
        });
        let address = address.unwrap_or_else(|| panic!("the server did not start:\n{early}"));
        let log = Arc::new(Mutex::new(early));
        let kept = Arc::clone(&log);
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let mut kept = kept.lock().unwrap();
                kept.push_str(&line);
                kept.push('\n');
            }
        });
        Self { child, id, address, log, folder }
    }

    pub(crate) fn pid(&self) -> i32 {
        self.id.pid
    }

    /// What it has logged so far.
    pub(crate) fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// Every process below it, wherever it has moved to: they all carry the mark of this server.
    pub(crate) fn below(&self) -> Vec<ProcessId> {
        let instance = format!("{}-{}-", self.id.pid, self.id.start_time);
        process_tree::with_environment(MARK, |mark| mark.starts_with(&instance))
    }

    pub(crate) fn files_left(&self) -> Vec<PathBuf> {
        fn files(folder: &Path) -> Vec<PathBuf> {
            let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
            entries.flat_map(|e| if e.path().is_dir() { files(&e.path()) } else { vec![e.path()] }).collect()
        }
        files(self.folder.path())
    }

    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        signal_pid(self.id.pid, signal);
    }

    /// Waits for its end.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let mut status = None;
        until("the server has ended", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap()
    }

    /// SIGTERM, then a clean end with nothing left.
    #[track_caller]
    pub(crate) fn stop(mut self) {
        self.signal(rustix::process::Signal::TERM);
        let status = self.wait();
        assert!(status.success(), "{status}:\n{}", self.log());
        assert_eq!(self.below(), [], "processes are left:\n{}", self.log());
        assert_eq!(self.files_left(), [] as [PathBuf; 0]);
    }

    pub(crate) fn get(&self, path: &str) -> Reply {
        exchange(self.address, &format!("GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n"))
    }

    /// With one more header.
    pub(crate) fn get_with(&self, path: &str, header: &str) -> Reply {
        exchange(self.address, &format!("GET {path} HTTP/1.0\r\nHost: localhost\r\n{header}\r\n\r\n"))
    }

    pub(crate) fn delete(&self, path: &str) -> Reply {
        exchange(self.address, &format!("DELETE {path} HTTP/1.0\r\nHost: localhost\r\n\r\n"))
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> Reply {
        exchange(self.address, &request(path, body))
    }

    pub(crate) fn health(&self) -> Value {
        self.get("/health").json()
    }

    /// One whole completion of `prompt`.
    pub(crate) fn ask(&self, prompt: &str) -> Reply {
        self.post("/v1/chat/completions", &chat(prompt, false))
    }

    /// A stream whose first bytes have been read; the connection is open.
    pub(crate) fn stream(&self, prompt: &str) -> (TcpStream, String) {
        self.stream_from("/v1/chat/completions", &chat(prompt, true), "\"delta\":{\"content\":")
    }

    /// A stream of any API that has been read until `sign`; the connection is open.
    pub(crate) fn stream_from(&self, path: &str, body: &Value, sign: &str) -> (TcpStream, String) {
        let mut stream = connect(self.address);
        stream.write_all(request(path, body).as_bytes()).unwrap();
        let mut read = String::new();
        while !read.contains(sign) {
            let mut bytes = [0; 4096];
            let n = stream.read(&mut bytes).unwrap();
            assert!(n > 0, "the stream ended early: {read}");
            read.push_str(&String::from_utf8_lossy(&bytes[..n]));
        }
        (stream, read)
    }
}

/// Where a process listens, once it does.
fn listening(pid: i32) -> Option<SocketAddr> {
    let files = Process::new(pid).ok()?.fd().ok()?;
    let sockets: Vec<u64> = files
        .flatten()
        .filter_map(|file| if let FDTarget::Socket(inode) = file.target { Some(inode) } else { None })
        .collect();
    let listens = |entry: &TcpNetEntry| entry.state == TcpState::Listen && sockets.contains(&entry.inode);
    procfs::net::tcp().ok()?.into_iter().find(listens).map(|entry| entry.local_address)
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        // A test that failed has proved nothing, but it leaves nothing either.
        for process in self.below().iter().filter(|_| std::thread::panicking()) {
            signal_pid(process.pid, rustix::process::Signal::KILL);
        }
        if !std::thread::panicking() {
            until("nothing is left below a killed server", || self.below().is_empty());
        }
    }
}

/// How a scripted CLI answers `initialize`.
pub(crate) const READY: &str =
    r#"{"type":"control_response","response":{"subtype":"success","request_id":"initialize","response":{}}}"#;

/// Writes an executable shell script.
pub(crate) fn script(path: &Path, text: &str) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::write(path, format!("#!/bin/sh\n{text}\n")).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

pub(crate) fn signal_pid(pid: i32, signal: rustix::process::Signal) {
    let _ = rustix::process::kill_process(rustix::process::Pid::from_raw(pid).unwrap(), signal);
}

/// What a server answered.
#[derive(Debug)]
pub(crate) struct Reply {
    pub status: u16,
    pub headers: String,
    pub body: String,
}

impl Reply {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }

    /// The text of a whole completion.
    #[track_caller]
    pub(crate) fn text(&self) -> String {
        assert_eq!(self.status, 200, "{self:?}");
        self.json()["choices"][0]["message"]["content"].as_str().unwrap().to_owned()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let lines = self.headers.lines().filter_map(|line| line.split_once(": "));
        lines.into_iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }
}

fn chat(prompt: &str, stream: bool) -> Value {
    json!({"model": "haiku", "stream": stream, "messages": [{"role": "user", "content": prompt}]})
}

fn request(path: &str, body: &Value) -> String {
    let body = body.to_string();
    let length = body.len();
    format!(
        "POST {path} HTTP/1.0\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
    )
}

pub(crate) fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// HTTP/1.0, so that the end of the connection is the end of the reply.
pub(crate) fn exchange(address: SocketAddr, request: &str) -> Reply {
    let mut stream = connect(address);
    stream.write_all(request.as_bytes()).unwrap();
    let mut reply = Vec::new();
    stream.read_to_end(&mut reply).unwrap();
    let reply = String::from_utf8(reply).unwrap();
    let (head, body) = reply.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no reply: {reply:?}"));
    let status = head.split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap();
    Reply { status, headers: head.to_owned(), body: body.to_owned() }
}
