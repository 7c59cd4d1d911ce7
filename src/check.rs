//! `check`: reports the configuration and tests it step by step, up to one real turn.
//!
//! Each step prints a line: `ok`, `note` for information, `WRONG` with what to do, `skip` if an earlier step failed. No
//! process is left running, and no key is printed.

use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use crate::claude::{ClaudeCommand, ClaudeProcess, account, endpoint};
use crate::config::file::{ConfigFile, Origin, Setting};
use crate::config::{Config, Key, Keyring, Standby};
use crate::descriptors::{self, Plan};
use crate::http;
use crate::invoker::Factory;
use crate::pool::{Pool, Turn};
use crate::runtime::RuntimeFolder;
use crate::server;
use crate::shutdown::Tasks;
use crate::text::prefix;
use crate::turn::{Completion, Prompt, TurnError, TurnEvent, format_seconds};

/// The longest that `CLI --version` may take; `--start-timeout` if that is shorter.
const VERSION_TIMEOUT: Duration = Duration::from_secs(10);

/// The longest that the turn may take; `--turn-timeout` if that is shorter.
const TURN_TIMEOUT: Duration = Duration::from_mins(2);

/// How long a process may take to be gone: the stopping ladder and some more.
const EXIT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long another server may take to answer `/health`.
const HEALTH_TIMEOUT: Duration = Duration::from_secs(2);

/// Output that is read from a process, in bytes.
const MAX_OUTPUT_BYTES: u64 = 16 * 1024;

/// Longest text of another program in the report, in characters.
const MAX_LINE_CHARS: usize = 600;

/// Longest quote of the model's reply in the report, in characters.
const MAX_REPLY_CHARS: usize = 60;

/// A prompt that any model can answer.
const PROMPT: &str = "Reply with the word ok.";

/// The configuration to check.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// The options.
    pub config: &'a Config,
    /// The source of each option.
    pub settings: &'a [Setting],
    /// The configuration file, if there is one.
    pub file: Option<&'a ConfigFile>,
    /// Messages about variables that look like options.
    pub unknown_variables: &'a [String],
}

/// Writes the report to `out`; true if all checks passed.
pub async fn run_checks(subject: &Subject<'_>, out: &mut (dyn Write + Send)) -> io::Result<bool> {
    let mut report = Report { out, well: true };
    let config = subject.config;
    check_options(subject, &mut report)?;
    check_keys(config, &mut report)?;
    check_open_files(config, &mut report)?;
    check_address(config, &mut report).await?;
    let runtime = check_runtime(config, &mut report)?;
    let cli = check_cli(config, runtime.as_ref(), &mut report).await?;
    check_account(config, &mut report)?;
    match runtime {
        Some(runtime) if cli => check_turn(config, runtime, &mut report).await?,
        _ => report.line("skip", "turn", "it needs the steps above that failed")?,
    }
    let end = if report.well { "all checks passed" } else { "some checks failed: see the lines that begin with WRONG" };
    writeln!(report.out, "{end}")?;
    Ok(report.well)
}

struct Report<'a> {
    out: &'a mut (dyn Write + Send),
    well: bool,
}

impl Report<'_> {
    fn line(&mut self, word: &str, step: &str, text: impl AsRef<str>) -> io::Result<()> {
        writeln!(self.out, "{word:<5} {step:<8} {}", text.as_ref())?;
        self.out.flush()
    }

    fn ok(&mut self, step: &str, text: impl AsRef<str>) -> io::Result<()> {
        self.line("ok", step, text)
    }

    fn note(&mut self, step: &str, text: impl AsRef<str>) -> io::Result<()> {
        self.line("note", step, text)
    }

    fn wrong(&mut self, step: &str, text: impl AsRef<str>) -> io::Result<()> {
        self.well = false;
        self.line("WRONG", step, text)
    }
}

fn check_options(subject: &Subject<'_>, report: &mut Report<'_>) -> io::Result<()> {
    let set: Vec<&Setting> = subject.settings.iter().filter(|setting| !setting.is_default).collect();
    match set.len() {
        0 => report.ok("options", "all have their default values")?,
        1 => report.ok("options", "one differs from its default")?,
        count => report.ok("options", format!("{count} differ from their defaults"))?,
    }
    for setting in set {
        let origin = match &setting.origin {
            Origin::Flag => "flag".to_owned(),
            Origin::Environment(name) => format!("environment, {name}"),
            Origin::File(path) => format!("file {}", path.display()),
        };
        writeln!(report.out, "      {} = {}  ({origin})", setting.name, setting.value)?;
    }
    for message in subject.unknown_variables {
        report.note("options", message)?;
    }
    if let Some(file) = subject.file.filter(|file| file.shows_key()) {
        let path = file.path().display();
        report
            .note("options", format!("every user of this machine can read the key in {path}; run chmod 600 on it"))?;
    }
    Ok(())
}

fn check_keys(config: &Config, report: &mut Report<'_>) -> io::Result<()> {
    let Keyring { keys, shown_by } = match config.keys() {
        Ok(ring) => ring,
        Err(error) => return report.wrong("keys", error.to_string()),
    };
    if keys.is_empty() {
        return report.ok("keys", "not needed: only this machine can reach the server");
    }
    let limits = |key: &Key| {
        let concurrency = key.limits.concurrency.map(|(most, queue)| format!("{most} at once, {queue} waiting"));
        let rate = key.limits.requests_per_minute.map(|most| format!("{most} per minute"));
        let limits: Vec<String> = concurrency.into_iter().chain(rate).collect();
        if limits.is_empty() { key.name.clone() } else { format!("{} ({})", key.name, limits.join(", ")) }
    };
    report.ok("keys", keys.iter().map(limits).collect::<Vec<_>>().join(", "))?;
    if let Some(path) = shown_by {
        report.note("keys", format!("every user of this machine can read {}; run chmod 600 on it", path.display()))?;
    }
    Ok(())
}

/// Whether the limit of open files suffices for the connections and the CLIs of `serve`.
fn check_open_files(config: &Config, report: &mut Report<'_>) -> io::Result<()> {
    let (limit, open) = (descriptors::hard_limit(), descriptors::open_files());
    match Plan::new(limit, open, config.slots, config.max_connections, http::EXTRA_CONNECTIONS) {
        Ok(plan) => match plan.shortage() {
            Some(shortage) => report.note("files", shortage),
            None => report.ok("files", format!("the limit is high enough for {} connections", plan.connections())),
        },
        Err(error) => report.wrong("files", error.to_string()),
    }
}

/// If another cc-openai-wrapper uses the address, that is not a failure: the check is for the next start.
async fn check_address(config: &Config, report: &mut Report<'_>) -> io::Result<()> {
    let address = config.listen;
    match TcpListener::bind(address).await {
        Ok(listener) => {
            drop(listener);
            report.ok("address", format!("{address} is free"))
        }
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => match find_running_server(address).await {
            Some(name) => report.note("address", format!("{address} is already in use by {name}, which is left alone")),
            None => {
                report.wrong("address", format!("{address} is in use by another program; choose another with --listen"))
            }
        },
        Err(error) => report.wrong("address", format!("cannot listen on {address}: {}", why_not_bound(&error))),
    }
}

/// Explains why an address could not be bound.
pub(crate) fn why_not_bound(error: &io::Error) -> String {
    let advice = match error.kind() {
        io::ErrorKind::AddrInUse => "another program is listening there; choose another with --listen, or port 0",
        io::ErrorKind::PermissionDenied => "ports below 1024 need privileges; choose another with --listen",
        io::ErrorKind::AddrNotAvailable => {
            "no interface of this machine has this address; choose another with --listen"
        }
        _ => "choose another with --listen",
    };
    format!("{error}; {advice}")
}

/// Name and state of the server at the address, if it is a cc-openai-wrapper.
async fn find_running_server(address: SocketAddr) -> Option<String> {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    let asked = async {
        let mut stream = TcpStream::connect((ip, address.port())).await.ok()?;
        stream.write_all(b"GET /health HTTP/1.0\r\nHost: localhost\r\n\r\n").await.ok()?;
        let reply = read_text(stream).await;
        let body: serde_json::Value = serde_json::from_str(reply.split_once("\r\n\r\n")?.1).ok()?;
        let (version, status) = (body["version"].as_str()?, body["status"].as_str()?);
        body["containment"].as_str().map(|_| format!("cc-openai-wrapper {version} ({status})"))
    };
    timeout(HEALTH_TIMEOUT, asked).await.ok()?
}

fn check_runtime(config: &Config, report: &mut Report<'_>) -> io::Result<Option<RuntimeFolder>> {
    match RuntimeFolder::create(config.runtime_dir.as_deref()) {
        Ok(runtime) => {
            let scratch = runtime.scratch(0);
            let folder = scratch.ancestors().nth(2).unwrap_or(&scratch);
            report.ok("folder", format!("{} is usable", folder.display()))?;
            Ok(Some(runtime))
        }
        Err(error) => report.wrong("folder", error.to_string()).map(|()| None),
    }
}

/// Reports path and version of the CLI; true if it runs.
async fn check_cli(config: &Config, runtime: Option<&RuntimeFolder>, report: &mut Report<'_>) -> io::Result<bool> {
    let path = match find_program(&config.cli, std::env::var_os("PATH").as_deref()) {
        Ok(path) => path,
        Err(message) => return report.wrong("cli", message).map(|()| false),
    };
    let Some(runtime) = runtime else {
        report.ok("cli", path.display().to_string())?;
        return Ok(false);
    };
    match read_version(config, runtime).await {
        Ok(version) => {
            report.ok("cli", format!("{}, {version}", path.display()))?;
            if !version.contains(|c: char| c.is_ascii_digit()) {
                report.note(
                    "cli",
                    "this is not a version; if this is not the Claude Code CLI, name the CLI with --cli",
                )?;
            }
            Ok(true)
        }
        Err(what) => {
            let message = format!("{} --version {what}; try it in a shell", path.display());
            report.wrong("cli", message).map(|()| false)
        }
    }
}

/// The file that is executed for `program`, by the rules of `execvp`.
fn find_program(program: &Path, path: Option<&std::ffi::OsStr>) -> Result<PathBuf, String> {
    const WHAT_TO_DO: &str = "install the CLI (npm install -g @anthropic-ai/claude-code), or name it with --cli";
    if program.components().count() > 1 || program.is_absolute() {
        return match is_executable(program) {
            true => Ok(program.to_owned()),
            false if program.exists() => {
                Err(format!("{} cannot be executed; chmod +x it, or name another with --cli", program.display()))
            }
            false => Err(format!("{} does not exist; {WHAT_TO_DO}", program.display())),
        };
    }
    let folders: Vec<PathBuf> = path.map(|path| std::env::split_paths(path).collect()).unwrap_or_default();
    let found = folders.iter().map(|folder| folder.join(program)).find(|file| is_executable(file));
    found.ok_or_else(|| {
        let looked: Vec<String> = folders.iter().map(|folder| folder.display().to_string()).collect();
        format!("`{}` is not in PATH, which is {}; {WHAT_TO_DO}", program.display(), looked.join(":"))
    })
}

fn is_executable(file: &Path) -> bool {
    file.is_file() && rustix::fs::access(file, rustix::fs::Access::EXEC_OK).is_ok()
}

/// The output of `CLI --version`, or how it failed.
async fn read_version(config: &Config, runtime: &RuntimeFolder) -> Result<String, String> {
    // The first invoker is number 1.
    let spawned = ClaudeCommand::for_version(config).spawn(&runtime.scratch(0), &runtime.mark(0));
    let ClaudeProcess { mut keeper, stdin, stdout, stderr } =
        spawned.map_err(|error| format!("cannot be started: {error}"))?;
    drop(stdin);
    let deadline = VERSION_TIMEOUT.min(config.start_timeout);
    let ended = timeout(deadline, async { tokio::join!(keeper.wait(), read_text(stdout), read_text(stderr)) }).await;
    match ended {
        Ok((Ok(status), stdout, _)) if status.success() && !stdout.trim().is_empty() => Ok(one_line(&stdout)),
        Ok((Ok(status), stdout, stderr)) => {
            let said = if stderr.trim().is_empty() { stdout } else { stderr };
            Err(format!(
                "{}{}",
                describe_exit(status),
                if said.trim().is_empty() {
                    " and printed nothing".to_owned()
                } else {
                    format!(": {}", one_line(&said))
                }
            ))
        }
        Ok((Err(error), ..)) => Err(format!("cannot be waited for: {error}")),
        Err(_elapsed) => {
            // The keeper ends the whole tree, and then itself.
            let pid = keeper.id().and_then(|id| i32::try_from(id).ok()).and_then(rustix::process::Pid::from_raw);
            let _ = pid.map(|pid| rustix::process::kill_process(pid, rustix::process::Signal::QUIT));
            let gone = timeout(EXIT_TIMEOUT, keeper.wait()).await.is_ok();
            let left = if gone { "" } else { " and cannot be killed" };
            Err(format!("did not exit within {}{left}", format_seconds(deadline)))
        }
    }
}

fn describe_exit(status: ExitStatus) -> String {
    status.code().map_or_else(|| "was killed".to_owned(), |code| format!("exited with code {code}"))
}

/// Reads text until its end, at most [`MAX_OUTPUT_BYTES`].
async fn read_text(from: impl AsyncRead + Unpin) -> String {
    let mut bytes = Vec::new();
    // After a read error, report the output so far.
    let _ = from.take(MAX_OUTPUT_BYTES).read_to_end(&mut bytes).await;
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Joins the lines of another program's text, without control characters.
fn one_line(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ").replace(char::is_control, "");
    prefix(&line, MAX_LINE_CHARS).to_owned()
}

fn check_account(config: &Config, report: &mut Report<'_>) -> io::Result<()> {
    match account::select_account(config.auth, account::is_set) {
        Ok(account) => report.ok("account", format!("turns are billed to: {account}"))?,
        Err(error) => report.wrong("account", error.to_string())?,
    }
    match endpoint::base_url_override() {
        Some(url) => report.note("account", format!("{} is set: requests go to {url}", endpoint::VARIABLE)),
        None => Ok(()),
    }
}

/// One turn through a pool of one invoker, as `serve` would run it.
async fn check_turn(config: &Config, mut runtime: RuntimeFolder, report: &mut Report<'_>) -> io::Result<()> {
    let config = Config {
        slots: std::num::NonZeroUsize::MIN,
        standby: Standby::Off,
        // Report the first failure instead of retrying.
        max_failures: 0,
        queue_timeout: config.start_timeout + EXIT_TIMEOUT,
        turn_timeout: config.turn_timeout.min(TURN_TIMEOUT),
        ..config.clone()
    };
    let tasks = Tasks::new();
    let cli = match server::claude_command(&config, &mut runtime) {
        Ok(cli) => cli,
        Err(error) => return report.wrong("start", error.to_string()),
    };
    let pool = Pool::start(&config, Factory::new(&config, cli, runtime, tasks.clone()), Vec::new(), &tasks);
    run_turn(&pool, report).await?;
    let gone = timeout(EXIT_TIMEOUT, pool.stop()).await.is_ok();
    if gone && tasks.join(EXIT_TIMEOUT).await {
        Ok(())
    } else {
        report.wrong("end", "a process of the CLI is still running")
    }
}

async fn run_turn(pool: &Pool, report: &mut Report<'_>) -> io::Result<()> {
    let started = Instant::now();
    let prompt = Prompt { text: PROMPT.to_owned(), model: None, streamed: false };
    let said = |error: &TurnError| format!("{}; {}", one_line(&error.to_string()), advice_for(error));
    let turn = match pool.turn(prompt).await {
        Ok(turn) => turn,
        Err(error) => return report.wrong("start", said(&error)),
    };
    report.ok("start", format!("the CLI was ready in {}", format_seconds(started.elapsed())))?;
    let started = Instant::now();
    match await_completion(turn).await {
        Ok(Completion { text, model, .. }) => {
            let (took, model) = (format_seconds(started.elapsed()), model.map(|model| format!(" by {model}")));
            let (line, model) = (one_line(&text), model.unwrap_or_default());
            report.ok("turn", format!("answered in {took}{model}: {:?}", prefix(&line, MAX_REPLY_CHARS)))
        }
        Err(error) => report.wrong("turn", said(&error)),
    }
}

async fn await_completion(mut turn: Turn) -> Result<Completion, TurnError> {
    loop {
        match turn.next().await {
            Some(TurnEvent::Done(completion)) => return Ok(completion),
            Some(TurnEvent::Failed(error)) => return Err(error),
            Some(TurnEvent::Text(_)) => {}
            None => return Err(TurnError::Cli("the turn ended without a result".to_owned())),
        }
    }
}

fn advice_for(error: &TurnError) -> &'static str {
    match error {
        TurnError::Api { status: Some(401 | 403), .. } => "log in to the CLI (run claude, then /login), or see --auth",
        TurnError::Api { .. } => "the CLI works, but the API rejects its requests: see the API's message",
        TurnError::RateLimited { .. } => {
            "the CLI works, but its account has reached its rate limit: wait for the reset"
        }
        TurnError::Deadline { .. } | TurnError::QueueTimeout(_) => {
            "check that the CLI answers in a shell and reaches the network"
        }
        TurnError::Offline { reason, .. } if reason.contains("unknown option") => {
            "the CLI is too old for this server: update it (npm install -g @anthropic-ai/claude-code); or a --cli-arg is wrong"
        }
        _ => "for details, run the CLI in a shell, or this check with --log debug",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_found_where_the_system_finds_it() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("tool");
        let find_in = |path: &Path| find_program(Path::new("tool"), Some(path.as_os_str()));
        assert!(find_in(folder.path()).unwrap_err().contains(&folder.path().display().to_string()));
        std::fs::write(&file, "#!/bin/sh").unwrap();
        assert!(find_in(folder.path()).is_err(), "it is not executable");
        assert!(find_program(&file, None).unwrap_err().contains("chmod +x"));
        std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        assert_eq!((find_in(folder.path()), find_program(&file, None)), (Ok(file.clone()), Ok(file)));
    }
}
