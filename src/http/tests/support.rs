//! A server on a port of its own, a backend in the test's hands, and a client that sees every byte.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::super::{Backend, HttpService, ROUTES, Timeouts, TreeMemory};
use crate::claude::account::Account;
use crate::config::Config;
use crate::metrics::Metrics;
use crate::pool::Turn;
use crate::pool::status::{PoolState, PoolStatus, RestartCounts};
use crate::shutdown::Tasks;
use crate::turn::{Completion, Model, Prompt, TurnError, TurnEvent};

/// Waits for something that happens at once unless it never happens.
pub(super) async fn soon<T>(what: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(20), what).await.expect("it did not happen within 20 s")
}

/// What the backend does with a turn.
pub(super) enum Answer {
    /// These events, and then nothing.
    Events(Vec<TurnEvent>),
    /// No invoker takes it.
    Refuse(TurnError),
    /// It waits in the queue; the sender tells, by its drop, that the place was given up.
    Queue(oneshot::Sender<()>),
    /// The backend has a defect.
    Panic,
}

type Script = Box<dyn Fn(Prompt) -> Answer + Send + Sync>;

#[derive(Clone)]
pub(super) struct Fake(Arc<Inner>);

struct Inner {
    script: Option<Script>,
    /// Where the test takes over: each turn's sender of events goes here.
    by_hand: mpsc::Sender<mpsc::Sender<TurnEvent>>,
    status: Mutex<PoolStatus>,
    tree_rss: u64,
}

impl Backend for Fake {
    async fn turn(&self, prompt: Prompt) -> Result<Turn, TurnError> {
        let Some(script) = &self.0.script else {
            let (sender, receiver) = mpsc::channel(1);
            self.0.by_hand.send(sender).await.expect("the test still wants turns");
            return Ok(Turn::new(receiver));
        };
        match script(prompt) {
            Answer::Events(events) => {
                let (sender, receiver) = mpsc::channel(events.len().max(1));
                for event in events {
                    sender.try_send(event).unwrap();
                }
                Ok(Turn::new(receiver))
            }
            Answer::Refuse(error) => Err(error),
            Answer::Queue(given_up) => {
                std::future::pending::<()>().await;
                drop(given_up);
                Err(TurnError::Stopping)
            }
            Answer::Panic => panic!("a defect of the backend"),
        }
    }

    fn status(&self) -> PoolStatus {
        self.0.status.lock().unwrap().clone()
    }

    fn account(&self) -> Account {
        Account::Subscription
    }

    fn models(&self) -> Vec<Model> {
        vec![Model { name: "haiku".to_owned(), id: Some("claude-haiku-5-5".to_owned()) }]
    }

    fn memory(&self) -> TreeMemory {
        TreeMemory { rss: 73_040_000, tree_rss: self.0.tree_rss, cli_processes: 2, containment: "subreaper" }
    }

    async fn restart(&self) -> usize {
        3
    }
}

pub(super) struct Server {
    pub(super) address: SocketAddr,
    pub(super) tasks: Tasks,
    pub(super) fake: Fake,
    pub(super) counted: Arc<Metrics>,
    /// Turns of a server by hand.
    pub(super) turns: mpsc::Receiver<mpsc::Sender<TurnEvent>>,
    /// Ends when `serve` returns.
    pub(super) served: JoinHandle<()>,
}

/// How to start a [`Server`].
pub(super) struct Setup {
    pub(super) config: Config,
    pub(super) limits: Timeouts,
    pub(super) tree_rss: u64,
    pub(super) script: Option<Script>,
}

impl Setup {
    /// Turns are answered by `script`.
    pub(super) fn scripted(script: impl Fn(Prompt) -> Answer + Send + Sync + 'static) -> Self {
        Self { script: Some(Box::new(script)), ..Self::by_hand() }
    }

    /// Turns are handed to the test.
    pub(super) fn by_hand() -> Self {
        let model_alias = ["gpt-4o=haiku", "m=haiku", "large=opus"].map(|alias| alias.parse().unwrap()).to_vec();
        let config = Config { model_alias, ..Config::default() };
        Self { config, limits: Timeouts::default(), tree_rss: 400_000_000, script: None }
    }

    /// Every turn echoes its prompt in two pieces.
    pub(super) fn echo() -> Self {
        Self::scripted(|prompt| Answer::Events(vec![text("echo: "), text(&prompt.text), done("echo: ", &prompt.text)]))
    }

    pub(super) fn config(mut self, change: impl FnOnce(&mut Config)) -> Self {
        change(&mut self.config);
        self
    }

    pub(super) fn limits(mut self, change: impl FnOnce(&mut Timeouts)) -> Self {
        change(&mut self.limits);
        self
    }

    pub(super) async fn start(self) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (by_hand, turns) = mpsc::channel(16);
        let status = Mutex::new(status(PoolState::Ready));
        let fake = Fake(Arc::new(Inner { script: self.script, by_hand, status, tree_rss: self.tree_rss }));
        let tasks = Tasks::new();
        let keys = self.config.keys().unwrap().keys;
        let metrics = Arc::new(Metrics::new(ROUTES));
        let (config, tasks_of) = (Arc::new(self.config), tasks.clone());
        let site = HttpService { config, keys, backend: fake.clone(), metrics: Arc::clone(&metrics) };
        let serving = site.serve_within(listener, tasks_of, self.limits);
        let served = tasks.spawn(serving);
        Server { address, tasks, fake, counted: metrics, turns, served }
    }
}

pub(super) fn status(state: PoolState) -> PoolStatus {
    PoolStatus {
        state,
        recovery: None,
        offline_reason: (state == PoolState::Offline).then(|| "no such file".to_owned()),
        slots: 1,
        live: 1,
        high_water: 2,
        standby: 0,
        busy: 0,
        waiting: 4,
        settled: false,
        started: 9,
        turns: 80,
        restarts: RestartCounts { turns: 7, recovery: 1, ..RestartCounts::default() },
        last_restart: None,
        probe_in: (state == PoolState::Offline).then_some(Duration::from_millis(12_300)),
        quota_in: None,
    }
}

pub(super) fn text(text: &str) -> TurnEvent {
    TurnEvent::Text(text.to_owned())
}

pub(super) fn done(start: &str, end: &str) -> TurnEvent {
    TurnEvent::Done(Completion { text: format!("{start}{end}"), ..Completion::default() })
}

/// A body of the completions endpoint with one user message.
pub(super) fn ask(words: &str, stream: bool) -> String {
    serde_json::json!({"model": "gpt-4o", "stream": stream, "messages": [{"role": "user", "content": words}]})
        .to_string()
}

/// A POST as bytes, on a connection that ends after it.
pub(super) fn post(path: &str, headers: &str, body: &str) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\
         connection: close\r\n{headers}\r\n{body}",
        body.len()
    )
}

pub(super) fn get(path: &str, headers: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n{headers}\r\n")
}

/// A reply, its chunks put together.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) headers: HashMap<String, String>,
    pub(super) body: String,
}

impl Reply {
    pub(super) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error} in {self:?}"))
    }

    /// What follows `data: ` in each event.
    pub(super) fn events(&self) -> Vec<String> {
        self.body.split("\n\n").filter_map(|event| event.strip_prefix("data: ").map(str::to_owned)).collect()
    }

    /// The error's code, once its shape is right.
    pub(super) fn error_code(&self) -> String {
        let json = self.json();
        let error = json["error"].as_object().unwrap_or_else(|| panic!("no error in {self:?}"));
        let mut keys: Vec<_> = error.keys().map(String::as_str).collect();
        keys.sort_unstable();
        assert_eq!(keys, ["code", "message", "param", "type"]);
        assert!(error["message"].as_str().is_some_and(|message| !message.is_empty()), "{self:?}");
        assert!(matches!(self.headers["x-should-retry"].as_str(), "true" | "false"), "{self:?}");
        assert!(self.headers.contains_key("x-request-id"), "{self:?}");
        error["code"].as_str().unwrap().to_owned()
    }
}

/// A connection as a client has it.
pub(super) struct Client(pub(super) BufReader<TcpStream>);

impl Client {
    pub(super) async fn connect(address: SocketAddr) -> Self {
        Self(BufReader::new(TcpStream::connect(address).await.unwrap()))
    }

    pub(super) async fn send(&mut self, bytes: &str) {
        self.0.get_mut().write_all(bytes.as_bytes()).await.unwrap();
    }

    /// Reads one reply and no byte more.
    pub(super) async fn receive(&mut self) -> Reply {
        soon(async {
            let head = self.line().await;
            let status = head.split(' ').nth(1).unwrap_or_else(|| panic!("no status in {head:?}")).parse().unwrap();
            let mut headers = HashMap::new();
            loop {
                let line = self.line().await;
                let Some((name, value)) = line.split_once(": ") else { break };
                headers.insert(name.to_owned(), value.to_owned());
            }
            let mut body = Vec::new();
            if headers.contains_key("transfer-encoding") {
                while let Some(chunk) = self.chunk().await {
                    body.extend(chunk);
                }
            } else {
                body.resize(headers.get("content-length").map_or(0, |length| length.parse().unwrap()), 0);
                self.0.read_exact(&mut body).await.unwrap();
            }
            Reply { status, headers, body: String::from_utf8(body).unwrap() }
        })
        .await
    }

    /// A line without its end.
    pub(super) async fn line(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).await.unwrap();
        line.trim_end().to_owned()
    }

    /// One chunk of a chunked body; none at its end.
    pub(super) async fn chunk(&mut self) -> Option<Vec<u8>> {
        let size = usize::from_str_radix(&self.line().await, 16).expect("the body ended without its last chunk");
        let mut chunk = vec![0; size];
        self.0.read_exact(&mut chunk).await.unwrap();
        self.line().await;
        (size > 0).then_some(chunk)
    }

    /// What comes until the server closes; a reset is a close.
    pub(super) async fn rest(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        if let Err(error) = soon(self.0.read_to_end(&mut rest)).await {
            assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
        }
        rest
    }
}

impl Server {
    /// One request on a connection of its own.
    pub(super) async fn exchange(&self, request: &str) -> Reply {
        let mut client = Client::connect(self.address).await;
        client.send(request).await;
        client.receive().await
    }

    /// The status and headers of a reply that has no body.
    pub(super) async fn exchange_head(&self, request: &str) -> String {
        let mut client = Client::connect(self.address).await;
        client.send(request).await;
        String::from_utf8(client.rest().await).unwrap()
    }

    pub(super) async fn complete(&self, body: &str) -> Reply {
        self.exchange(&post("/v1/chat/completions", "", body)).await
    }

    /// What `/metrics` says.
    pub(super) async fn metrics(&self) -> String {
        self.exchange(&get("/metrics", "")).await.body
    }

    /// Waits until `/metrics` has this line.
    pub(super) async fn counts(&self, line: &str) {
        soon(async { while !self.metrics().await.lines().any(|l| l == line) {} }).await;
    }

    pub(super) fn change_status(&self, change: impl FnOnce(&mut PoolStatus)) {
        change(&mut self.fake.0.status.lock().unwrap());
    }

    pub(super) fn set_state(&self, state: PoolState) {
        *self.fake.0.status.lock().unwrap() = status(state);
    }

    /// The next turn of a server by hand.
    pub(super) async fn turn(&mut self) -> mpsc::Sender<TurnEvent> {
        soon(self.turns.recv()).await.expect("the server is gone")
    }
}
