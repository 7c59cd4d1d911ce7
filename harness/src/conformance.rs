//! A recorded conversation, held once more: with the mock, and with a real CLI whose API says what it said then.
//!
//! ```text
//! drive   says to a CLI what was said to the recorded one, each line when the CLI is as far as that one was
//! normal  one message without what differs from process to process
//! scrub   what was heard, as a recording: without paths, ids, times and the vendor's prose
//! ```
//!
//! The real CLI is for a process that is isolated ([`leakgate_drive::isolation`]).

use std::path::{Path, PathBuf};
use std::sync::Mutex;

use similar::TextDiff;
use thiserror::Error;
use tokio::net::TcpListener;

use leakgate_drive::real_cli;
use leakgate_mock::fake_api::tape::Tape;
use leakgate_mock::fake_api::{FakeApi, Source};
use leakgate_session::recording::{Event, Payload, Session};

pub mod drive;
pub mod normalize;
pub mod scrub;

use drive::{Crossing, Dirs, Start};

/// Recorded as they are: what a session's header does not name.
const DEFAULTS: [(&str, &str); 1] = [("CLAUDE_CODE_MAX_RETRIES", "1")];

/// Everything that a CLI wrote in a conversation.
#[derive(Debug)]
pub struct Transcript {
    /// Everything that passed, in order.
    pub events: Vec<Event>,
    /// Why it did not get to the end, in words.
    pub stuck: Option<String>,
    /// Where it ran: paths that [`scrub`] takes out.
    pub dirs: Dirs,
}

/// Why a conversation could not be held.
#[derive(Debug, Error)]
pub enum ReplayError {
    /// Something that every conversation needs is not to be had.
    #[error("cannot hold the conversation {name}: {what}: {source}")]
    Setup {
        /// The recording's name.
        name: String,
        /// The step that failed.
        what: &'static str,
        /// The system's words.
        source: std::io::Error,
    },
}

/// Holds the conversation of `session` with the real CLI `program`.
pub async fn replay_with_real(session: &Session, program: &Path) -> Result<Transcript, ReplayError> {
    let failed = setup_error(session);
    let listener = TcpListener::bind("127.0.0.1:0").await.map_err(failed("listening on loopback"))?;
    let api = FakeApi::start(listener, Source::Recorded(Mutex::new(Tape::from_session(session))), 1, |_| {})
        .map_err(failed("serving the stand-in for the API"))?;
    let mut env: Vec<(String, String)> =
        real_cli::stand_in_variables(&api.url()).map(|(name, value)| (name.to_owned(), value)).into();
    env.extend(DEFAULTS.map(|(name, value)| (name.to_owned(), value.to_owned())));
    env.extend(session.header.env.clone());
    let start = Start { program: program.to_owned(), args: session.header.args.clone(), env };
    drive::hold_conversation(session, &start, Crossing::First).await.map_err(failed("starting the CLI"))
}

/// Holds the conversation of `session`, which is bundled, with the mock `program` that plays it.
pub async fn replay_with_mock(session: &Session, program: &Path) -> Result<Transcript, ReplayError> {
    let spec = format!("{}/{}", session.header.cli, session.header.name);
    let mut args = vec!["--mock-recording".to_owned(), spec];
    args.extend(session.header.args.iter().cloned());
    let start = Start { program: PathBuf::from(program), args, env: Vec::new() };
    drive::hold_conversation(session, &start, Crossing::AsRecorded)
        .await
        .map_err(setup_error(session)("starting the mock"))
}

fn setup_error(
    session: &Session,
) -> impl Fn(&'static str) -> Box<dyn Fn(std::io::Error) -> ReplayError + Send> + use<> {
    let name = session.header.name.clone();
    move |what| {
        let name = name.clone();
        Box::new(move |source| ReplayError::Setup { name: name.clone(), what, source })
    }
}

impl Transcript {
    /// The messages and the end, without what differs from process to process.
    #[must_use]
    pub fn messages(&self) -> Vec<String> {
        let mut messages: Vec<String> =
            self.events.iter().filter_map(|event| comparable_message(&event.payload)).collect();
        messages.extend(self.stuck.iter().map(|what| format!("stuck: {what}")));
        messages
    }
}

fn comparable_message(what: &Payload) -> Option<String> {
    Some(match what {
        Payload::In(_) => return None,
        Payload::Out(line) => normalize::normalize_message(line),
        Payload::Err(line) => format!("stderr: {line}"),
        Payload::Exit { end, after, .. } => format!("ended with {end:?} after: {after}"),
    })
}

/// A unified diff of two sequences of messages; none where they are the same.
#[must_use]
pub fn unified_diff(old: (&str, &[String]), new: (&str, &[String])) -> Option<String> {
    if old.1 == new.1 {
        return None;
    }
    let text = |messages: &[String]| messages.join("\n") + "\n";
    let (before, after) = (text(old.1), text(new.1));
    let diff = TextDiff::from_lines(&before, &after);
    Some(diff.unified_diff().context_radius(1).header(old.0, new.0).to_string())
}
