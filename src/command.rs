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
    /// Stopped by a signal, and no process is left.
    Clean = 0,
    /// The server could not start, or a process did not end.
    Failed = 1,
    /// The command line, a variable or a file that they name is invalid. The same code as clap's.
    Usage = 2,
}

/// The command line as clap knows it: every verb and every option.
#[must_use]
pub fn definition() -> clap::Command {
    arguments::definition()
}

/// Runs the program; `args` starts with the program's name.
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

/// Prints a usage error, or the requested help.
fn report_usage_error(error: UsageError) -> ExitCode {
    let UsageError::Usage { error, variable } = error else {
        return ExitCode::from(report_invalid_option(&error.to_string()) as u8);
    };
    let exit = if error.use_stderr() { Exit::Usage } else { Exit::Clean };
    let print = move || {
        let _ = error.print();
    };
    // Help may go to a pager that blocks for long, so only errors are written under a deadline.
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

/// Fails if any check failed.
fn run_check(invocation: &Invocation) -> anyhow::Result<Exit> {
    // The report is the output; the log only runs if --log was given.
    let asked = invocation.settings.iter().any(|setting| setting.name == "log");
    let _log = asked.then(|| start_log(&invocation.options)).transpose()?;
    adopt_orphans();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("starting the runtime")?;
    let Invocation { settings, file, unknown_variables, .. } = invocation;
    let subject = Subject { config: &invocation.options.server, settings, file: file.as_ref(), unknown_variables };
    runtime.block_on(async {
        let mut signals = StopSignals::register().context("listening for signals")?;
        let mut stdout = std::io::stdout();
        // On a signal this process exits, and the keeper then ends a CLI that is running.
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
            // Flush the log first, so that stderr stays in order.
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
        // Register before anything is started: an earlier signal would kill this process without cleanup.
        let signals = StopSignals::register().context("listening for signals")?;
        let listener = bind(&config).await?;
        let address = listener.local_addr().context("reading the address of the listener")?;
        let server = Server::start(listener, config, keys.keys, Vec::<Arc<dyn Observer>>::new())?;
        tracing::info!(%address, "serving; POST to http://{address}/v1/chat/completions");
        Ok(stop_on_signal(server, signals).await)
    })
}

/// The number of connections that `config` allows, or fewer, with a warning, if the limit of open files is too low.
fn allow_connections(config: &Config) -> anyhow::Result<NonZeroUsize> {
    let limit = descriptors::raise_limit().context("raising the limit of open files")?;
    let plan =
        Plan::new(limit, descriptors::open_files(), config.slots, config.max_connections, http::EXTRA_CONNECTIONS)?;
    if let Some(shortage) = plan.shortage() {
        tracing::warn!("{shortage}");
    }
    Ok(plan.connections())
}

/// Makes this process a child subreaper, so that it can end and reap the children of a keeper that is killed.
pub fn adopt_orphans() {
    if let Err(error) = rustix::process::set_child_subreaper(Some(rustix::process::getpid())) {
        tracing::warn!(%error, "cannot become a child subreaper; if a keeper is killed, its orphans go to init");
    }
}

/// Binds the configured address, or explains why that failed.
pub async fn bind(config: &Config) -> anyhow::Result<TcpListener> {
    let address = config.listen;
    TcpListener::bind(address)
        .await
        .map_err(|error| anyhow::anyhow!("cannot listen on {address}: {}", check::why_not_bound(&error)))
}

/// The signals that stop a server: from a supervisor, from Ctrl-C, and from a terminal that is closed.
struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
    /// None if it is ignored, as under `nohup`.
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

    /// Waits for the next signal and returns its name.
    async fn next_signal(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
            () = wait_for(self.hangup.as_mut()) => "SIGHUP",
        }
    }
}

/// Waits for the signal; forever if there is none.
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
