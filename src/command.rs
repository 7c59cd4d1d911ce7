//! The command line: verbs, logging, signals, exit codes.

use std::ffi::OsString;
use std::num::NonZeroUsize;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::allocator;
use crate::check::{self, Subject};
use crate::config::Config;
use crate::config::file::ConfigFile;
use crate::descriptors::{self, Plan};
use crate::http;
use crate::keeper;
use crate::logging::{self, LogGuard};
use crate::pool::observer::Observer;
use crate::server::Server;

mod arguments;

use arguments::{Action, Invocation, Options, UsageError};

/// The exit codes of the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Stopped when it was told to; nothing is left.
    Clean = 0,
    /// It could not start, or something did not end.
    Failed = 1,
    /// The command line, a variable or a file that they name is wrong. (clap's own code.)
    Usage = 2,
}

/// The command line as clap knows it: every verb and every option.
#[must_use]
pub fn definition() -> clap::Command {
    arguments::definition()
}

/// The whole program: `args` is the command line, the program's own name first.
#[must_use]
pub fn main(args: impl Iterator<Item = OsString>) -> ExitCode {
    let mut args = args.peekable();
    let name = args.next().unwrap_or_default();
    if args.next_if(|verb| verb == keeper::VERB).is_some() {
        return keeper::main(args);
    }
    let invocation = match arguments::parse(std::iter::once(name).chain(args)) {
        Ok(invocation) => invocation,
        Err(error) => return report_usage_error(error),
    };
    if invocation.verb == Action::Serve {
        allocator::set_up(std::env::args_os());
    }
    let result = match invocation.verb {
        Action::Serve => run_server(invocation),
        Action::Check => run_check(&invocation),
    };
    match result {
        Ok(exit) => ExitCode::from(exit as u8),
        Err(error) => {
            logging::notify(&format!("{error:#}"));
            ExitCode::from(Exit::Failed as u8)
        }
    }
}

/// Says why, or gives the help that was asked for.
fn report_usage_error(error: UsageError) -> ExitCode {
    let UsageError::Usage { error, variable } = error else {
        return ExitCode::from(report_invalid_option(&error.to_string()) as u8);
    };
    let exit = if error.use_stderr() { Exit::Usage } else { Exit::Clean };
    let print = move || {
        let _ = error.print();
    };
    // Whoever asked for the help reads all of it, at leisure.
    if exit == Exit::Clean {
        print();
    } else {
        logging::run_with_flush_timeout(print);
    }
    if let Some(variable) = variable {
        logging::notify(&format!("the value comes from the variable {variable}"));
    }
    ExitCode::from(exit as u8)
}

fn report_invalid_option(what: &str) -> Exit {
    logging::notify(what);
    Exit::Usage
}

fn start_log(options: &Options) -> anyhow::Result<LogGuard> {
    logging::start(&options.log, options.log_format).context("starting the thread that writes the log")
}

/// The exit is a failure if anything that was checked is not well.
fn run_check(invocation: &Invocation) -> anyhow::Result<Exit> {
    // Its own lines say it all; the log is for whoever asks for it.
    let asked = invocation.settings.iter().any(|setting| setting.name == "log");
    let _log = asked.then(|| start_log(&invocation.options)).transpose()?;
    adopt_orphans();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("starting the runtime")?;
    let Invocation { settings, file, unknown_variables, .. } = invocation;
    let subject = Subject { config: &invocation.options.server, settings, file: file.as_ref(), unknown_variables };
    runtime.block_on(async {
        let mut signals = StopSignals::register().context("listening for signals")?;
        let mut stdout = std::io::stdout();
        // Whatever runs when a signal comes is ended by its keeper.
        tokio::select! {
            well = check::run_checks(&subject, &mut stdout) => {
                Ok(if well.context("writing to stdout")? { Exit::Clean } else { Exit::Failed })
            }
            name = signals.next_signal() => anyhow::bail!("received {name}; the check is incomplete"),
        }
    })
}

fn run_server(invocation: Invocation) -> anyhow::Result<Exit> {
    let Invocation { options, file, unknown_variables, .. } = invocation;
    let log = start_log(&options)?;
    for message in unknown_variables {
        tracing::warn!("{message}");
    }
    let keys = match options.server.keys() {
        Ok(keys) => keys,
        Err(error) => {
            // First what the log has: it came first.
            drop(log);
            return Ok(report_invalid_option(&error.to_string()));
        }
    };
    let shows_key = file.as_ref().filter(|file| file.shows_key()).map(ConfigFile::path);
    for file in shows_key.into_iter().chain(keys.shown_by.as_deref()) {
        tracing::warn!(file = %file.display(), "every user of this machine can read the keys in this file; run chmod 600 on it");
    }
    adopt_orphans();
    let mut config = options.server;
    config.max_connections = allow_connections(&config)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("starting the runtime")?;
    runtime.block_on(async {
        // Before anything is started: a signal that comes earlier would end this process on the spot.
        let signals = StopSignals::register().context("listening for signals")?;
        let listener = bind(&config).await?;
        let address = listener.local_addr().context("reading the address of the listener")?;
        let server = Server::start(listener, config, keys.keys, Vec::<Arc<dyn Observer>>::new())?;
        tracing::info!(%address, "serving; POST to http://{address}/v1/chat/completions");
        Ok(stop_on_signal(server, signals).await)
    })
}

/// As many connections as `config` asks for, or as there are descriptors for, and says so.
fn allow_connections(config: &Config) -> anyhow::Result<NonZeroUsize> {
    let limit = descriptors::raise_limit().context("raising the limit of open files")?;
    let plan =
        Plan::new(limit, descriptors::open_files(), config.slots, config.max_connections, http::EXTRA_CONNECTIONS)?;
    if let Some(shortage) = plan.shortage() {
        tracing::warn!("{shortage}");
    }
    Ok(plan.connections())
}

/// Makes this process a child subreaper: should a keeper be killed, what it kept becomes ours to end and to reap.
pub fn adopt_orphans() {
    if let Err(error) = rustix::process::set_child_subreaper(Some(rustix::process::getpid())) {
        tracing::warn!(%error, "cannot become a child subreaper; if a keeper is killed, its orphans go to init");
    }
}

/// Binds the configured address, or says who may have it.
pub async fn bind(config: &Config) -> anyhow::Result<TcpListener> {
    let address = config.listen;
    TcpListener::bind(address)
        .await
        .map_err(|error| anyhow::anyhow!("cannot listen on {address}: {}", check::why_not_bound(&error)))
}

/// The signals that ask a server to stop: a supervisor's, Ctrl-C, and that of a terminal that was closed.
struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
    /// None: `nohup` had it ignored.
    hangup: Option<Signal>,
}

impl StopSignals {
    fn register() -> std::io::Result<Self> {
        let hangup = SignalKind::hangup();
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: if process_tree::is_ignored(hangup.as_raw_value()) { None } else { Some(signal(hangup)?) },
        })
    }

    /// The name of the next one.
    async fn next_signal(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
            () = wait_for(self.hangup.as_mut()) => "SIGHUP",
        }
    }
}

/// Ends when the signal has come, if it may come.
async fn wait_for(signal: Option<&mut Signal>) {
    match signal {
        Some(signal) => drop(signal.recv().await),
        None => std::future::pending().await,
    }
}

/// Serves until a signal, then stops in good invocation; a second signal kills what is left.
async fn stop_on_signal(server: Server, mut signals: StopSignals) -> Exit {
    let name = signals.next_signal().await;
    tracing::info!("received {name}, shutting down; send it again to kill");
    let kill = server.killer();
    let mut stopping = std::pin::pin!(server.stop());
    let stopped = tokio::select! {
        stopped = &mut stopping => stopped,
        name = signals.next_signal() => {
            tracing::warn!("received {name} during the shutdown, killing what is left");
            kill();
            stopping.await
        }
    };
    tracing::info!(clean = stopped.clean, "stopped");
    if stopped.clean { Exit::Clean } else { Exit::Failed }
}
