//! The command line: verbs, logging, signals, exit codes.

use std::ffi::OsString;
use std::io::IsTerminal;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use clap::{Parser, Subcommand, ValueEnum};
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::config::Config;
use crate::keeper;
use crate::pool::observer::Observer;
use crate::server::Server;

/// The exit codes of the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Stopped when it was told to; nothing is left.
    Clean = 0,
    /// It could not start, or something did not end.
    Failed = 1,
    /// The command line is wrong. (clap's own code.)
    Usage = 2,
}

/// An OpenAI-compatible server in front of the Claude Code CLI that restarts it without ever leaking a process.
#[derive(Debug, Parser)]
#[command(name = "cc-openai-wrapper", version)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Serve OpenAI's chat API on top of the CLI.
    Serve(Serve),
}

#[derive(Debug, clap::Args)]
struct Serve {
    #[command(flatten)]
    config: Config,

    /// What is logged, for example `info` or `cc_openai_wrapper=debug`.
    #[arg(long, env = "CCW_LOG", default_value = "info")]
    log: String,

    /// How it is logged, on stderr.
    #[arg(long, env = "CCW_LOG_FORMAT", value_enum, default_value = "text")]
    log_format: LogFormat,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum LogFormat {
    /// One readable line an event.
    Text,
    /// One JSON object a line.
    Json,
}

/// The whole program: `args` is the command line, the program's own name first.
#[must_use]
pub fn main(args: impl Iterator<Item = OsString>) -> ExitCode {
    let mut args = args.peekable();
    let name = args.next().unwrap_or_default();
    if args.next_if(|verb| verb == keeper::VERB).is_some() {
        return keeper::main(args);
    }
    let Verb::Serve(options) = Cli::parse_from(std::iter::once(name).chain(args)).verb;
    match serve(options) {
        Ok(exit) => ExitCode::from(exit as u8),
        Err(error) => {
            use std::io::Write;
            let _ = writeln!(std::io::stderr(), "cc-openai-wrapper: {error:#}");
            ExitCode::from(Exit::Failed as u8)
        }
    }
}

fn serve(options: Serve) -> anyhow::Result<Exit> {
    let filter = tracing_subscriber::EnvFilter::try_new(&options.log).context("--log is not understood")?;
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    match options.log_format {
        LogFormat::Text => log.init(),
        LogFormat::Json => log.json().init(),
    }
    adopt_orphans();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("starting the runtime")?;
    runtime.block_on(async {
        // Before anything is started: a signal that comes earlier would end this process on the spot.
        let signals = StopSignals::listen().context("listening for SIGTERM and SIGINT")?;
        let config = options.config;
        let listener = bind(&config).await?;
        let address = listener.local_addr().context("reading the address of the listener")?;
        let server = Server::start(listener, config, Vec::<Arc<dyn Observer>>::new())?;
        tracing::info!(%address, "serving; POST to http://{address}/v1/chat/completions");
        Ok(stop_on_signal(server, signals).await)
    })
}

/// Makes this process a child subreaper: should a keeper be killed, what it kept becomes ours to end and to reap.
pub fn adopt_orphans() {
    if let Err(error) = rustix::process::set_child_subreaper(Some(rustix::process::getpid())) {
        tracing::warn!(%error, "not a child subreaper; orphans of a killed keeper go to init");
    }
}

/// Binds the configured address, or says who may have it.
pub async fn bind(config: &Config) -> anyhow::Result<TcpListener> {
    let address = config.listen;
    TcpListener::bind(address).await.with_context(|| {
        format!("cannot listen on {address}; is another server running there? Choose another with --listen, or port 0")
    })
}

/// SIGTERM and SIGINT.
struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
}

impl StopSignals {
    fn listen() -> std::io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// The name of the next one.
    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

/// Serves until a signal, then stops in good order; a second signal kills what is left.
async fn stop_on_signal(server: Server, mut signals: StopSignals) -> Exit {
    let name = signals.next().await;
    tracing::info!("{name}: stopping; once more to kill");
    let pool = server.pool().clone();
    let mut stopping = std::pin::pin!(server.stop());
    let stopped = tokio::select! {
        stopped = &mut stopping => stopped,
        name = signals.next() => {
            tracing::warn!("{name} again: killing");
            pool.kill();
            stopping.await
        }
    };
    tracing::info!(clean = stopped.clean, "stopped");
    if stopped.clean { Exit::Clean } else { Exit::Failed }
}
