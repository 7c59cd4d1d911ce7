//! The server under test: the wrapper's own library, with a stats channel on stdin and stdout and, on request, a leak.
//!
//! `sut` runs it on the system's allocator, `sut-heap` under dhat. Everything that a request or a restart touches is
//! the product's code; what is added here allocates at the start and then no more, except for what a plant leaks.

use std::convert::Infallible;
use std::ffi::OsString;
use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use cc_openai_wrapper::config::Config;
use cc_openai_wrapper::pool::Pool;
use cc_openai_wrapper::pool::observer::Observer;
use cc_openai_wrapper::server::Server;
use cc_openai_wrapper::{allocator, command, keeper};
use clap::{Args, Parser, Subcommand};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;

use crate::plant::{Plant, Spec};
use crate::profiler::Profiler;

pub mod channel;
pub mod plant;
pub mod profiler;
pub mod sleep;

/// Threads that run the server's tasks: fixed, so that every machine measures the same server.
const WORKERS: usize = 2;

/// The exit code of a target that could not start, or could not stop cleanly. The wrapper itself ends with 1, so the two
/// can be told apart.
const FAILED: u8 = 5;

/// The verb behind which `sut` is the product's own command, for tests of its flags, messages and signals.
const WRAPPER: &str = "wrapper";

/// The wrapper under test; leakgate starts it.
#[derive(Debug, Parser)]
#[command(name = "sut", version)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Serve, and answer `stats`, `restart` and `stop` on stdin.
    Serve(Box<Serve>),
    /// Do nothing for a while: what a leaked process does.
    #[command(hide = true)]
    Sleep(sleep::Sleep),
}

#[derive(Debug, Args)]
struct Serve {
    #[command(flatten)]
    config: Config,

    /// A leak to plant at every restart: NAME, with ,every=K ,from=F ,bytes=B.
    #[arg(long, value_name = "NAME[,every=K][,from=F][,bytes=B]")]
    plant: Option<Spec>,

    /// No channel on stdin and stdout: only a signal stops it, as any server.
    #[arg(long)]
    no_channel: bool,

    /// Replace every invoker at SIGUSR1, as a server does that is told to restart by a signal.
    #[arg(long, requires = "no_channel")]
    restart_on_usr1: bool,
}

/// The whole program; `profiled` under dhat's allocator.
#[must_use]
pub fn main(profiled: bool) -> ExitCode {
    let mut args = std::env::args_os();
    let name = args.next().unwrap_or_default();
    let mut args = args.peekable();
    if args.next_if(|verb: &OsString| verb == keeper::VERB).is_some() {
        return keeper::main(args);
    }
    if args.next_if(|verb| verb == WRAPPER).is_some() {
        return command::main(std::iter::once(name).chain(args));
    }
    let result = match Cli::parse().verb {
        Verb::Serve(options) => serve(*options, profiled),
        Verb::Sleep(sleep) => sleep.run(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nobody is left to be told that stderr is closed.
            let _ = writeln!(io::stderr(), "sut: {error:#}");
            FAILED.into()
        }
    }
}

fn serve(serve: Serve, profiled: bool) -> anyhow::Result<()> {
    // As the wrapper's own command does it.
    allocator::set_up(std::env::args_os());
    let counting = profiled.then(Profiler::start_counting);
    command::adopt_orphans();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .enable_all()
        .build()
        .context("starting the runtime")?;
    runtime.block_on(until_stopped(serve, counting))
}

async fn until_stopped(serve: Serve, profiler: Option<Profiler>) -> anyhow::Result<()> {
    let keys = serve.config.keys()?.keys;
    let listener = command::bind(&serve.config).await?;
    let address = listener.local_addr().context("reading the address of the listener")?;
    let plant = serve.plant.map(|spec| Arc::new(Plant::new(spec)));
    let observers = plant.iter().map(|plant| Arc::clone(plant) as Arc<dyn Observer>).collect();
    let server = Server::start(listener, serve.config, keys, observers)?;
    if let Some(plant) = &plant {
        plant.use_factory(server.pool().factory().clone());
    }
    let mut terminate = signal(SignalKind::terminate()).context("listening for SIGTERM")?;
    let mut user = signal(SignalKind::user_defined1()).context("listening for SIGUSR1")?;
    let (stop, stopped) = oneshot::channel();
    let thread = if serve.no_channel {
        tokio::select! {
            _ = terminate.recv() => {}
            never = restart_at_each(&mut user, server.pool()), if serve.restart_on_usr1 => match never {},
        }
        None
    } else {
        let spawned = server.spawn_counts().into_iter().chain(plant.iter().map(|plant| plant.spawn_counts())).collect();
        let thread = channel::spawn_channel(address, server.pool().clone(), profiler, spawned, stop)?;
        tokio::select! {
            _ = stopped => {}
            _ = terminate.recv() => {}
        }
        Some(thread)
    };
    if let Some(plant) = &plant {
        plant.release();
    }
    let clean = server.stop().await.clean;
    // After a SIGTERM the thread still reads stdin, and ends with the process.
    if thread.is_some_and(|thread| thread.is_finished() && thread.join().is_err()) {
        anyhow::bail!("the stats channel panicked");
    }
    if clean { Ok(()) } else { anyhow::bail!("something did not end: the server could not stop cleanly") }
}

async fn restart_at_each(signal: &mut Signal, pool: &Pool) -> Infallible {
    loop {
        signal.recv().await;
        pool.restart().await;
    }
}
