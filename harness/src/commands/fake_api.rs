//! `leakgate fake-api`: the stand-in for the Messages API, by itself.

use std::io::{Write, stderr};
use std::net::SocketAddr;
use std::sync::Mutex;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use crate::commands::{Failure, print};
use leakgate_judge::exit::Exit;
use leakgate_mock::fake_api::answer::AnswerMaker;
use leakgate_mock::fake_api::scenario::Scenario;
use leakgate_mock::fake_api::tape::Tape;
use leakgate_mock::fake_api::{FakeApi, Source};
use leakgate_session::recording;

/// Options of `fake-api`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Its URL is the first line on stdout; it ends on SIGTERM or SIGINT. What a CLI asks for besides messages \
                  is answered with 404 and named on stderr.\n\n\
                  A scenario is one of overloaded, cut, hang (each after half of the reply), long=WORDS, tool-use=NAME, or \
                  what the mock CLI can answer (mock-claude --help): text, echo, schema, tool, api-error=STATUS, slow=MS, \
                  drip=MS and others, joined by +. A prompt chooses for itself with [[api:WORD]] for the first kind and \
                  [[answer:MODE]] for the second.\n\n\
                  For a CLI: ANTHROPIC_BASE_URL=<the URL> ANTHROPIC_API_KEY=<any text>, in a network namespace with \
                  loopback alone (`leakgate run --offline` sees to all of that)."
)]
pub struct Args {
    /// Where to listen: an address of this machine's loopback; port 0 takes a free one.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0", value_parser = parse_loopback)]
    listen: SocketAddr,

    /// What a request is answered whose prompt does not choose.
    #[arg(long, value_name = "WORD", default_value = "text")]
    scenario: Scenario,

    /// The recording whose replies are given, in turn: NAME, VERSION/NAME or a .jsonl file.
    #[arg(long, value_name = "SPEC", default_value = "ten-turns")]
    recording: String,

    /// Tell the API's side of the recording again, request by request, errors and pauses included.
    #[arg(long, conflicts_with_all = ["scenario", "echo_mark", "delay"])]
    replay: bool,

    /// Weave `[[mark:HEX]]` of a prompt into its reply, as ⟦HEX⟧ … ⟦/HEX⟧.
    #[arg(long)]
    echo_mark: bool,

    /// Silence before the first event of each reply.
    #[arg(long, value_name = "MS", default_value_t = 0)]
    delay: u64,

    /// The retry-after of errors that are worth another try.
    #[arg(long, value_name = "SECONDS", default_value_t = 1)]
    retry_after: u64,
}

fn parse_loopback(text: &str) -> Result<SocketAddr, String> {
    let address: SocketAddr = text.parse().map_err(|_| "it is ADDRESS:PORT, such as 127.0.0.1:0".to_owned())?;
    if address.ip().is_loopback() { Ok(address) } else { Err("only loopback: it asks nobody for a key".to_owned()) }
}

/// Serves until it is told to end.
pub fn run(args: &Args) -> Result<Exit, Failure> {
    let session = recording::load(&args.recording).map_err(|error| Failure::usage(&error))?;
    let tape = Tape::from_session(&session);
    let source = if args.replay {
        Source::Recorded(Mutex::new(tape))
    } else {
        let delay = Duration::from_millis(args.delay);
        Source::Made(AnswerMaker::new(args.scenario.clone(), tape.replies(), args.echo_mark, delay))
    };
    let failed = |what: &str, error: std::io::Error| Failure::harness(&format!("cannot {what}: {error}"));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| failed("start the runtime", error))?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate()).map_err(|error| failed("listen for SIGTERM", error))?;
        let listener = TcpListener::bind(args.listen).await.map_err(|error| {
            Failure::usage(&format!("cannot listen on {}: {error}; choose another with --listen", args.listen))
        })?;
        let api = FakeApi::start(listener, source, args.retry_after, log_unknown_path)
            .map_err(|error| failed("listen", error))?;
        print(&format!("{}\n", api.url()))?;
        tokio::select! {
            _ = terminate.recv() => {}
            _ = tokio::signal::ctrl_c() => {}
        }
        Ok(Exit::Pass)
    })
}

fn log_unknown_path(what: &str) {
    // A log that nobody can read stops nothing.
    let _ = writeln!(stderr(), "leakgate fake-api: {what} is not known here, 404");
}
