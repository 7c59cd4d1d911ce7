//! The parts of the settings, each with its own rules.

use std::net::{SocketAddr, ToSocketAddrs};
use std::time::Duration;

use hyper::{Method, Uri};
use rustix::process::Signal;
use serde::Deserialize;

use super::{Flags, SettingsError, invalid, parse_signal};

/// Where a server answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Url {
    /// Host and port.
    pub host: String,
    /// Its address.
    pub address: SocketAddr,
    /// The prefix of every path; empty, or without a slash at its end.
    pub prefix: String,
}

/// Whose home a server gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Home {
    /// An empty one, so that every file in it is the server's or its CLI's.
    #[default]
    Private,
    /// The caller's, with the logins in it: its files are not counted.
    Keep,
}

/// Which CLI a server runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Mock {
    /// The mock, first on its PATH as `claude`; any other ends the run.
    #[default]
    Mock,
    /// Its own, whichever that is.
    Theirs,
}

/// How a server says that nothing is under way.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Idle {
    /// The path that is asked.
    pub path: String,
    /// Where in its JSON the answer stands (RFC 6901), for example `/busy`.
    pub pointer: String,
    /// The value there when the server is idle.
    pub equals: serde_json::Value,
}

/// The requests.
#[derive(Debug, Clone, PartialEq)]
pub struct Load {
    /// The path of chat completions.
    pub path: String,
    /// The model.
    pub model: String,
    /// The bearer token.
    pub key: Option<String>,
    /// The variable that holds it, if it came from one.
    pub key_env: Option<String>,
    /// Requests at the same time.
    pub concurrency: u64,
    /// Share of streamed requests, 0 to 1.
    pub streamed: f64,
    /// Share of requests for JSON, 0 to 1.
    pub json: f64,
    /// A request without an ending after this long is lost.
    pub deadline: Duration,
}

/// When a server restarts its CLI.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Restart {
    /// By itself, after about so many turns of one CLI, if that is known.
    Turns(Option<u64>),
    /// A request.
    Http {
        /// Its method.
        method: Method,
        /// Its path.
        path: String,
    },
    /// A signal to its process.
    Signal(Signal),
}

/// A command: words, or a line to be split as a shell splits it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub(super) enum CommandLine {
    Line(String),
    Words(Vec<String>),
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct LoadTable {
    path: String,
    model: String,
    key_env: Option<String>,
    concurrency: u64,
    streamed: f64,
    json: f64,
    deadline_seconds: u64,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct RestartTable {
    pub(super) turns: Option<u64>,
    pub(super) http: Option<String>,
    pub(super) signal: Option<String>,
}

impl Default for LoadTable {
    fn default() -> Self {
        Self {
            path: "/v1/chat/completions".to_owned(),
            model: "haiku".to_owned(),
            key_env: None,
            concurrency: 2,
            streamed: 0.3,
            json: 0.2,
            deadline_seconds: 60,
        }
    }
}

impl CommandLine {
    pub(super) fn words(self) -> Result<Vec<String>, SettingsError> {
        let words = match self {
            Self::Words(words) => words,
            Self::Line(line) => shlex::split(&line)
                .ok_or_else(|| invalid(format!("the server's command has a quote without its end: {line}")))?,
        };
        if words.first().is_none_or(String::is_empty) {
            return Err(invalid("the server's command is empty"));
        }
        Ok(words)
    }
}

impl Url {
    pub(super) fn parse(text: &str) -> Result<Self, SettingsError> {
        let bad = |what: &str| invalid(format!("the URL {text:?} {what}; write it as http://127.0.0.1:PORT"));
        let uri: Uri = text.parse().map_err(|_| bad("is none"))?;
        if uri.scheme_str() != Some("http") {
            return Err(bad("is not one of http: leakgate speaks plain HTTP, to the server itself"));
        }
        let host = uri.authority().ok_or_else(|| bad("names no host"))?.clone();
        let port = host.port_u16().unwrap_or(80);
        let mut found = (host.host().trim_matches(['[', ']']), port)
            .to_socket_addrs()
            .map_err(|_| bad("names a host that cannot be found"))?;
        let address = found.next().ok_or_else(|| bad("names a host without an address"))?;
        Ok(Self { host: host.to_string(), address, prefix: uri.path().trim_end_matches('/').to_owned() })
    }

    /// The path of a request for `path`. A URL that ends where the path begins is not said twice.
    #[must_use]
    pub fn path(&self, path: &str) -> String {
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        match self.prefix.as_str() {
            "" => path,
            prefix if path.starts_with(&format!("{prefix}/")) => path,
            prefix => format!("{prefix}{path}"),
        }
    }
}

pub(super) fn load(table: LoadTable, concurrency: Option<u64>) -> Result<Load, SettingsError> {
    let LoadTable { path, model, key_env, streamed, json, deadline_seconds, .. } = table;
    let concurrency = concurrency.unwrap_or(table.concurrency);
    if !(1..=256).contains(&concurrency) {
        return Err(invalid(format!("load.concurrency is {concurrency}: choose from 1 to 256")));
    }
    if ![streamed, json].iter().all(|share| (0.0..=1.0).contains(share)) {
        return Err(invalid("load.streamed and load.json are shares of the requests, from 0 to 1"));
    }
    if deadline_seconds == 0 {
        return Err(invalid("load.deadline-seconds has to be 1 or more"));
    }
    let key = match &key_env {
        None => None,
        Some(name) => Some(std::env::var(name).map_err(|_| {
            invalid(format!("load.key-env names the variable {name}, which is not set: set it, or leave key-env out"))
        })?),
    };
    Ok(Load { path, model, key, key_env, concurrency, streamed, json, deadline: Duration::from_secs(deadline_seconds) })
}

pub(super) fn restart(table: &RestartTable, flags: &Flags) -> Result<Restart, SettingsError> {
    // A flag replaces the whole table: else a file with `turns` could not be overridden.
    let by_flag = flags.restart_http.is_some() || flags.restart_signal.is_some();
    let (http, name) =
        if by_flag { (&flags.restart_http, &flags.restart_signal) } else { (&table.http, &table.signal) };
    match (table.turns.filter(|_| !by_flag), http, name) {
        (Some(0), ..) => Err(invalid("restart.turns has to be 1 or more")),
        (turns, None, None) => Ok(Restart::Turns(turns)),
        (None, Some(request), None) => {
            let (method, path) = request.split_once(' ').unwrap_or(("POST", request));
            let method = method.parse().map_err(|_| invalid(format!("restart.http: {method:?} is no method")))?;
            if !path.starts_with('/') {
                return Err(invalid(format!("restart.http is {request:?}: write it as POST /path")));
            }
            Ok(Restart::Http { method, path: path.to_owned() })
        }
        (None, None, Some(name)) => {
            let known = "HUP, INT, QUIT, USR1, USR2 or WINCH";
            let found =
                parse_signal(name).ok_or_else(|| invalid(format!("restart.signal is {name:?}: choose {known}")));
            Ok(Restart::Signal(found?))
        }
        _ => Err(invalid("choose one of restart.turns, restart.http and restart.signal")),
    }
}
