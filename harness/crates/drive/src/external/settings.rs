//! Settings of a run against a server that is not ours: a `leakgate.toml`, over which flags win.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::Signal;
use serde::Deserialize;
use thiserror::Error;

use crate::secrets;
use leakgate_judge::exception::{check_owner, deprecated_keys};
use leakgate_judge::sample::Exception;

mod parts;

pub use parts::{Home, Idle, Load, Mock, Restart, Url};

/// The file that is looked for where leakgate is started.
pub const FILE: &str = "leakgate.toml";
/// The words in a command, a variable or a URL that are replaced by a free port and by the path of the mock CLI.
const PORT: &str = "{port}";
const MOCK: &str = "{mock}";
/// The longest name that a command gives, in characters: the report's lines have room for it.
const NAME_LENGTH: usize = 60;

/// A server and what is asked of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// Warnings about keys of the file that have an old name.
    pub deprecated: Vec<String>,
    /// How leakgate gets hold of it.
    pub origin: Origin,
    /// Where it answers.
    pub url: Url,
    /// The path that answers with a 2xx once it is ready; without one, any answer at all is enough.
    pub ready: Option<String>,
    /// How long it may take until then.
    pub start_deadline: Duration,
    /// How long it may take to end after SIGTERM.
    pub stop_deadline: Duration,
    /// How it says that nothing is under way, if it does.
    pub idle: Option<Idle>,
    /// File names of the CLI's program.
    pub cli: Vec<String>,
    /// Which CLI it runs. Where that is the mock, any other ends the run.
    pub mock: Mock,
    /// The requests.
    pub load: Load,
    /// When it restarts its CLI.
    pub restart: Restart,
    /// Restarts before the first checkpoint.
    pub warm_up: u64,
    /// Restarts after it.
    pub restarts: u64,
    /// Turns after it, of a server that is judged by its turns.
    pub turns: u64,
    /// The whole run takes no longer than this: what was measured until then is judged.
    pub longest: Duration,
    /// The most CLI processes at once.
    pub cli_processes: Option<u64>,
    /// Cap on the RSS of the process that answers, in MB (10^6 bytes).
    pub server_rss_mb: Option<u64>,
    /// Cap on the RSS of its whole tree, in MB (10^6 bytes).
    pub tree_rss_mb: Option<u64>,
    /// Growth of memory for each restart or turn that is no leak, in bytes; else the run's own noise decides.
    pub memory_floor: Option<u64>,
    /// Share of requests that may end in an error, 0 to 1.
    pub errors_allowed: f64,
    /// Growth that is known.
    pub exceptions: Vec<Exception>,
}

/// How leakgate gets hold of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// leakgate starts it, and stops it.
    Started(Started),
    /// It runs already: the process with this pid, and all below it.
    Process(u32),
    /// It runs already: all processes of this control group.
    Cgroup(PathBuf),
}

/// How it is started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Started {
    /// The program and its arguments.
    pub command: Vec<String>,
    /// Where it is started.
    pub directory: PathBuf,
    /// Variables that it gets beside leakgate's own.
    pub environment: BTreeMap<String, String>,
    /// Whose home it gets.
    pub home: Home,
    /// Variables of the caller that it gets although they may open an account.
    pub keep_env: Vec<String>,
}

/// Settings from flags.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Flags {
    /// `--server`.
    pub server: Option<String>,
    /// `--url`.
    pub url: Option<String>,
    /// `--pid`.
    pub pid: Option<u32>,
    /// `--container-cgroup`.
    pub cgroup: Option<PathBuf>,
    /// `--ready`.
    pub ready: Option<String>,
    /// `--cli-match`; empty without it.
    pub cli: Vec<String>,
    /// `--server-cli`.
    pub mock: Option<Mock>,
    /// `--keep-env`; empty without it.
    pub keep_env: Vec<String>,
    /// `--concurrency`.
    pub concurrency: Option<u64>,
    /// `--restart-http`.
    pub restart_http: Option<String>,
    /// `--restart-signal`.
    pub restart_signal: Option<String>,
    /// `--restarts`.
    pub restarts: Option<u64>,
}

/// Why the settings can't be used.
#[derive(Debug, Error)]
pub enum SettingsError {
    /// The file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's words.
        source: std::io::Error,
    },
    /// The file says what is not understood.
    #[error("{}: {}", path.display(), what.trim_end())]
    File {
        /// The file.
        path: PathBuf,
        /// Where and why.
        what: String,
    },
    /// Something is missing or does not fit.
    #[error("{0}")]
    Invalid(String),
}

fn invalid(what: impl Into<String>) -> SettingsError {
    SettingsError::Invalid(what.into())
}

/// `leakgate.toml`, as it is written.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
struct File {
    server: Server,
    load: parts::LoadTable,
    restart: parts::RestartTable,
    limits: Limits,
    exception: Vec<Exception>,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
struct Server {
    command: Option<parts::CommandLine>,
    directory: PathBuf,
    environment: BTreeMap<String, String>,
    url: Option<String>,
    ready: Option<String>,
    start_seconds: u64,
    stop_seconds: u64,
    idle: Option<Idle>,
    keep_env: Vec<String>,
    home: Home,
    cli: Mock,
    cli_match: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
struct Limits {
    warm_up: u64,
    restarts: u64,
    turns: u64,
    minutes: u64,
    cli_processes: Option<u64>,
    server_rss_mb: Option<u64>,
    tree_rss_mb: Option<u64>,
    memory_per_restart_kb: Option<u64>,
    errors: f64,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            command: None,
            directory: PathBuf::from("."),
            environment: BTreeMap::new(),
            url: None,
            ready: None,
            start_seconds: 60,
            stop_seconds: 30,
            idle: None,
            keep_env: Vec::new(),
            home: Home::default(),
            cli: Mock::default(),
            cli_match: vec!["claude".to_owned(), "mock-claude".to_owned()],
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            warm_up: 20,
            restarts: 100,
            turns: 300,
            minutes: 30,
            cli_processes: None,
            server_rss_mb: None,
            tree_rss_mb: None,
            memory_per_restart_kb: None,
            errors: 0.0,
        }
    }
}

impl Settings {
    /// Puts a file, if there is one, and the flags together. `mock` is the mock CLI's program and `today` a date as
    /// `YYYY-MM-DD`: an exception that is over its day is refused.
    pub fn read(file: Option<&Path>, flags: &Flags, mock: &Path, today: &str) -> Result<Self, SettingsError> {
        let (file, folder, deprecated) = match file {
            None => (File::default(), Path::new("."), Vec::new()),
            Some(path) => {
                let (file, deprecated) = read(path)?;
                (file, path.parent().unwrap_or(Path::new(".")), deprecated)
            }
        };
        check_exceptions(&file.exception, today)?;
        Ok(Self { deprecated, ..Self::build(file, folder, flags, mock)? })
    }

    fn build(mut file: File, folder: &Path, flags: &Flags, mock: &Path) -> Result<Self, SettingsError> {
        let mock = mock.to_str().ok_or_else(|| {
            let advice = "its path has to be UTF-8: install leakgate somewhere else";
            invalid(format!("a server cannot be told of the mock CLI {}: {advice}", mock.display()))
        })?;
        // The port is chosen before anything is filled in, so that command, URL and environment name the same one.
        let words = Placeholders { port: free_port()?, mock: mock.to_owned() };
        let restart = parts::restart(&file.restart, flags)?;
        let (load, limits) = (parts::load(file.load.clone(), flags.concurrency)?, file.limits.clone());
        let url = flags.url.clone().or(file.server.url.take());
        let url = url.ok_or_else(|| invalid("say where the server answers: --url http://127.0.0.1:PORT"))?;
        let cli = if flags.cli.is_empty() { file.server.cli_match.clone() } else { flags.cli.clone() };
        if cli.iter().any(String::is_empty) || cli.is_empty() {
            return Err(invalid("cli-match needs the file name of the CLI's program, for example claude"));
        }
        let [warm_up, restarts, turns] = [limits.warm_up, flags.restarts.unwrap_or(limits.restarts), limits.turns];
        if [warm_up, restarts, turns].into_iter().any(|count| !(4..=1_000_000).contains(&count)) {
            return Err(invalid("limits: warm-up, restarts and turns are whole numbers from 4 to 1000000"));
        }
        if !(0.0..1.0).contains(&limits.errors) {
            return Err(invalid("limits.errors is the share of requests that may fail: from 0 to below 1"));
        }
        Ok(Self {
            url: Url::parse(&words.fill(&url))?,
            ready: flags.ready.clone().or(file.server.ready.take()),
            start_deadline: Duration::from_secs(file.server.start_seconds),
            stop_deadline: Duration::from_secs(file.server.stop_seconds),
            idle: file.server.idle.take(),
            cli,
            mock: flags.mock.unwrap_or(file.server.cli),
            load,
            restart,
            warm_up,
            restarts,
            turns,
            longest: Duration::from_secs(60 * limits.minutes),
            cli_processes: limits.cli_processes,
            server_rss_mb: limits.server_rss_mb,
            tree_rss_mb: limits.tree_rss_mb,
            memory_floor: limits.memory_per_restart_kb.map(|kb| kb.saturating_mul(1000)),
            errors_allowed: limits.errors,
            exceptions: file.exception,
            deprecated: Vec::new(),
            origin: resolve_origin(file.server, folder, flags, &words)?,
        })
    }

    /// A short run of `command`, which restarts its CLI every so many `turns`.
    pub fn control(command: Vec<String>, turns: u64, mock: &Path) -> Result<Self, SettingsError> {
        let flags = Flags { url: Some(format!("http://127.0.0.1:{PORT}")), ..Flags::default() };
        let table = File {
            server: Server {
                command: Some(parts::CommandLine::Words(command)),
                cli: Mock::Theirs,
                ..Server::default()
            },
            restart: parts::RestartTable { turns: Some(turns), ..parts::RestartTable::default() },
            limits: Limits { warm_up: 6, restarts: 24, ..Limits::default() },
            ..File::default()
        };
        Self::build(table, Path::new("."), &flags, mock)
    }

    /// The caller's variables that the server does not get: what may open an account and was not named, and with a home of
    /// its own also the folders of the caller's. Empty for a server that runs already.
    #[must_use]
    pub fn withheld(&self) -> Vec<OsString> {
        let Origin::Started(started) = &self.origin else { return Vec::new() };
        let mut names = secrets::secret_variables();
        if started.home == Home::Private {
            names.extend(std::env::vars_os().map(|(name, _)| name).filter(|name| secrets::is_part_of_home(name)));
        }
        let passing = || started.keep_env.iter().chain(started.environment.keys()).chain(&self.load.key_env);
        names.retain(|name| !passing().any(|passes| name == passes.as_str()));
        names
    }

    /// Its name in a report.
    #[must_use]
    pub fn name(&self) -> String {
        match &self.origin {
            Origin::Started(started) => shorten_command(&started.command.join(" ")),
            Origin::Process(pid) => format!("pid {pid}"),
            Origin::Cgroup(path) => path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned(),
        }
    }
}

/// Long commands end in the middle of a word, and show it.
fn shorten_command(command: &str) -> String {
    match command.char_indices().nth(NAME_LENGTH) {
        Some((end, _)) => format!("{}…", command.get(..end).unwrap_or(command).trim_end()),
        None => command.to_owned(),
    }
}

struct Placeholders {
    port: u16,
    mock: String,
}

impl Placeholders {
    fn fill(&self, text: &str) -> String {
        text.replace(PORT, &self.port.to_string()).replace(MOCK, &self.mock)
    }
}

/// Finds a port that is free now. The server takes it a moment later.
fn free_port() -> Result<u16, SettingsError> {
    // Another process could take the port before the server does; then the server's own error says so.
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let bound = std::net::TcpListener::bind(any).and_then(|listener| listener.local_addr());
    bound.map(|address| address.port()).map_err(|error| invalid(format!("cannot find a free port: {error}")))
}

/// The file, with warnings about keys that have an old name.
fn read(path: &Path) -> Result<(File, Vec<String>), SettingsError> {
    let text = std::fs::read_to_string(path).map_err(|source| SettingsError::Read { path: path.to_owned(), source })?;
    let file = toml::from_str(&text)
        .map_err(|error| SettingsError::File { path: path.to_owned(), what: format!("\n{error}") })?;
    Ok((file, deprecated_keys(path, &text)))
}

fn check_exceptions(exceptions: &[Exception], today: &str) -> Result<(), SettingsError> {
    for exception in exceptions {
        let what = format!("the exception for {}", exception.metric.name());
        let Exception { reason, owner, expires, .. } = exception;
        check_owner(&what, reason, owner, expires).map_err(invalid)?;
        if expires.as_str() < today {
            let advice = "mend the leak, or give the exception a new day and a reason for it";
            return Err(invalid(format!("{what} ({owner}) expired on {expires}: {advice}")));
        }
    }
    Ok(())
}

fn resolve_origin(server: Server, folder: &Path, flags: &Flags, words: &Placeholders) -> Result<Origin, SettingsError> {
    let command = flags.server.clone().map(parts::CommandLine::Line).or(server.command);
    match (flags.pid, &flags.cgroup, command) {
        (Some(pid), _, _) => Ok(Origin::Process(check_running(pid)?)),
        (_, Some(path), _) => Ok(Origin::Cgroup(cgroup(path)?)),
        (_, _, Some(command)) => Ok(Origin::Started(Started {
            command: command.words()?.iter().map(|word| words.fill(word)).collect(),
            directory: folder.join(server.directory),
            environment: server.environment.iter().map(|(name, value)| (name.clone(), words.fill(value))).collect(),
            home: server.home,
            keep_env: kept_variables(server.keep_env, flags)?,
        })),
        _ => Err(invalid("say what to run: --server \"COMMAND\", or server.command in leakgate.toml")),
    }
}

/// The variables that shall pass. `load.key-env` is named already: it holds the server's own key.
fn kept_variables(mut names: Vec<String>, flags: &Flags) -> Result<Vec<String>, SettingsError> {
    names.extend(flags.keep_env.iter().cloned());
    match names.iter().find(|name| name.is_empty() || name.contains('=')) {
        Some(name) => Err(invalid(format!("keep-env {name:?}: name a variable, without its value"))),
        None => Ok(names),
    }
}

fn check_running(pid: u32) -> Result<u32, SettingsError> {
    let there = Path::new("/proc").join(pid.to_string()).exists();
    if there { Ok(pid) } else { Err(invalid(format!("--pid {pid}: there is no such process"))) }
}

fn cgroup(path: &Path) -> Result<PathBuf, SettingsError> {
    if path.join("cgroup.procs").is_file() {
        return Ok(path.to_owned());
    }
    let advice = "name the group's folder, for example /sys/fs/cgroup/system.slice/docker-ID.scope";
    Err(invalid(format!("--container-cgroup {}: there is no cgroup.procs in it; {advice}", path.display())))
}

/// The signal of this name, with or without `SIG`.
pub(super) fn parse_signal(name: &str) -> Option<Signal> {
    let name = name.to_uppercase();
    Some(match name.trim_start_matches("SIG") {
        "HUP" => Signal::HUP,
        "INT" => Signal::INT,
        "QUIT" => Signal::QUIT,
        "USR1" => Signal::USR1,
        "USR2" => Signal::USR2,
        "WINCH" => Signal::WINCH,
        _ => return None,
    })
}
