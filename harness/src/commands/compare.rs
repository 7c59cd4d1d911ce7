//! `leakgate compare`: is the mock like the real CLI? And, with `--record`, the recordings that make it so.

use std::path::{Path, PathBuf};

use futures_util::StreamExt;
use futures_util::stream;

use crate::commands::run::check_output_folder;
use crate::commands::{Failure, print_stored, run_supervised};
use crate::conformance::{self, ReplayError, Transcript, scrub};
use crate::programs::Programs;
use leakgate_drive::isolation;
use leakgate_drive::real_cli;
use leakgate_judge::exit::Exit;
use leakgate_judge::store;
use leakgate_session::recording::{self, Session};

/// Conversations that are held at the same time: most of a conversation is waiting.
const MAX_CONVERSATIONS_AT_ONCE: usize = 2;
/// A recording of more than this, in milliseconds, is slow.
const SLOW_MS: u64 = 20_000;

/// Advice where stdout cannot be written: the comparison goes on without it.
const STDOUT_ADVICE: &str = "the exit code tells whether all conversations are the same";

/// Options of `compare`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit codes: 0 the same, 4 different (then what was proved with the mock is not proved for this CLI), 2 usage \
                  or no isolation, 5 leakgate itself failed."
)]
pub struct Args {
    /// The real CLI: a path, or a name in PATH (harness/cli/install prints that of a pinned one). It only ever runs in a
    /// network namespace with loopback alone.
    #[arg(long, value_name = "PATH")]
    cli: PathBuf,

    /// Only these conversations, by the names of their recordings.
    #[arg(value_name = "NAME")]
    names: Vec<String>,

    /// The recordings of this version are held again, instead of those of the CLI's own, or else of the newest.
    #[arg(long, value_name = "VERSION")]
    with: Option<String>,

    /// Write what the CLI said into this folder, as recordings: VERSION/NAME.jsonl.
    #[arg(long, value_name = "DIR")]
    record: Option<PathBuf>,

    /// The slow conversations as well, of more than 20 s.
    #[arg(long)]
    slow: bool,
}

/// Holds every conversation with both, and prints what differs.
pub fn run(args: &Args) -> Result<Exit, Failure> {
    let cli = real_cli::find_program(&args.cli).map_err(|error| Failure::usage(&error))?;
    if let Some(folder) = &args.record {
        check_output_folder("--record", folder, None)?;
    }
    let programs = Programs::find().map_err(|error| Failure::harness(&error))?;
    isolation::enter_namespace().map_err(|error| Failure::usage(&error))?;
    let version = real_cli::read_version(&cli).map_err(|error| Failure::usage(&error))?;
    let sessions = select_sessions(args, &version)?;
    run_supervised(compare_all(&sessions, &cli, &programs.mock, &version, args.record.as_deref()))?
}

/// The conversations to be held.
fn select_sessions(args: &Args, version: &str) -> Result<Vec<Session>, Failure> {
    let all = recording::list_bundled();
    let newest = all.last().map(|entry| entry.version).unwrap_or_default();
    let has = |wanted: &str| all.iter().any(|entry| entry.version == wanted);
    let wanted = args.with.as_deref().unwrap_or(if has(version) { version } else { newest });
    let mut sessions = Vec::new();
    for entry in all.iter().filter(|entry| entry.version == wanted) {
        let session = entry.parse().map_err(|error| Failure::harness(&error))?;
        let is_slow = session.events.last().is_some_and(|event| event.ms > SLOW_MS);
        let is_wanted = if args.names.is_empty() {
            args.slow || !is_slow
        } else {
            args.names.iter().any(|name| name == entry.name)
        };
        if is_wanted {
            sessions.push(session);
        }
    }
    let unknown = args.names.iter().find(|name| sessions.iter().all(|session| session.header.name != **name));
    if unknown.is_some() || sessions.is_empty() {
        let known: Vec<&str> = all.iter().filter(|entry| entry.version == wanted).map(|entry| entry.name).collect();
        let named = unknown.map_or("--with", String::as_str);
        let message = format!("{named}: there is no such recording of {wanted}; there are: {}", known.join(", "));
        return Err(Failure::usage(&message));
    }
    Ok(sessions)
}

async fn compare_all(
    sessions: &[Session],
    cli: &Path,
    mock: &Path,
    version: &str,
    record: Option<&Path>,
) -> Result<Exit, Failure> {
    let held = stream::iter(sessions).map(|session| async move { (session, replay_both(session, cli, mock).await) });
    let mut held = held.buffered(MAX_CONVERSATIONS_AT_ONCE);
    let mut different = 0;
    while let Some((session, both)) = held.next().await {
        let (real, mocked) = both.map_err(|error| Failure::harness(&error))?;
        let name = &session.header.name;
        if let Some(folder) = record {
            write_recording(folder, session, &real, version)?;
        }
        let (expected, found) = (mocked.messages(), real.messages());
        let titles = (format!("mock {}/{name}", session.header.cli), format!("real {version}/{name}"));
        match conformance::unified_diff((&titles.0, &expected), (&titles.1, &found)) {
            None => print_stored(&format!("{name}: the same {} messages\n", found.len()), STDOUT_ADVICE),
            Some(diff) => {
                different += 1;
                print_stored(&format!("{name}: different\n{diff}\n"), STDOUT_ADVICE);
            }
        }
    }
    let all = sessions.len();
    print_stored(
        &format!("{} of {all} conversations are the same with CLI {version} and the mock\n", all - different),
        STDOUT_ADVICE,
    );
    Ok(if different == 0 { Exit::Pass } else { Exit::Invalid })
}

async fn replay_both(session: &Session, cli: &Path, mock: &Path) -> Result<(Transcript, Transcript), ReplayError> {
    Ok((conformance::replay_with_real(session, cli).await?, conformance::replay_with_mock(session, mock).await?))
}

/// A conversation that did not get to its end is no recording.
fn write_recording(folder: &Path, session: &Session, real: &Transcript, version: &str) -> Result<(), Failure> {
    let name = &session.header.name;
    if let Some(stuck) = &real.stuck {
        print_stored(&format!("{name}: not recorded, it did not get to its end: {stuck}\n"), STDOUT_ADVICE);
        return Ok(());
    }
    let path = folder.join(version).join(format!("{name}.jsonl"));
    let text = scrub::to_recording(real, &session.header, version);
    recording::parse(&path.display().to_string(), &text).map_err(|error| Failure::harness(&error))?;
    store::save_text(&path, &text).map_err(|error| Failure::harness(&error).with("--record names the folder"))
}
