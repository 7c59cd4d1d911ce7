//! Lets `mock-claude` play a recording, with the recording's own input, and compares every line of its stdout.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Duration;

use crate::recording::{Payload, Session};

/// Far beyond what a line takes at full speed on a busy machine.
const MAX_LINE_WAIT: Duration = Duration::from_secs(20);

/// How much of a line an error shows.
const MAX_SHOWN_BYTES: usize = 160;

/// Why a recording cannot be replayed.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The system refused something.
    #[error("cannot replay {file}: {source}; build mock-claude with `cargo build -p leakgate --bins`")]
    System {
        /// The recording.
        file: String,
        /// The system's words.
        source: std::io::Error,
    },
    /// The mock plays something else.
    #[error(
        "{file}:{line}: mock-claude plays {played} where {recorded} is recorded; record the session again, or trim it before this turn"
    )]
    Differs {
        /// The recording.
        file: String,
        /// The line's number, from 1.
        line: usize,
        /// The line that the mock wrote, or `nothing`.
        played: String,
        /// The recorded line.
        recorded: String,
    },
}

/// Plays it at full speed; gives the number of lines that were the same.
pub fn replay_recording(file: &str, session: &Session, mock: &Path) -> Result<usize, ReplayError> {
    let failed = |source| ReplayError::System { file: file.to_owned(), source };
    // A copy, because a bundled recording has no file, and because the one that was checked may change.
    let folder = tempfile::tempdir().map_err(failed)?;
    let copy = folder.path().join("recording.jsonl");
    std::fs::write(&copy, session.to_jsonl()).map_err(failed)?;
    let mut mock = MockProcess::start(mock, &copy, session).map_err(failed)?;
    let mut same = 0;
    for (line, event) in (2..).zip(&session.events) {
        match &event.payload {
            Payload::In(text) => mock.send_line(text),
            Payload::Out(recorded) => {
                let played = mock.lines.recv_timeout(MAX_LINE_WAIT).ok();
                if played.as_ref() != Some(recorded) {
                    let (played, recorded) =
                        (played.map_or_else(|| "nothing".to_owned(), |line| quote_line(&line)), quote_line(recorded));
                    return Err(ReplayError::Differs { file: file.to_owned(), line, played, recorded });
                }
                same += 1;
            }
            Payload::Err(_) | Payload::Exit { .. } => {}
        }
    }
    Ok(same)
}

fn quote_line(line: &str) -> String {
    let end = line.floor_char_boundary(MAX_SHOWN_BYTES);
    if end < line.len() { format!("`{}…`", &line[..end]) } else { format!("`{line}`") }
}

/// A playing mock; dropped, it is killed and waited for.
struct MockProcess {
    child: Child,
    lines: Receiver<String>,
}

impl MockProcess {
    fn start(mock: &Path, recording: &Path, session: &Session) -> std::io::Result<Self> {
        #[expect(clippy::disallowed_methods, reason = "it starts nothing itself; MockProcess::drop kills and reaps it")]
        let mut command = Command::new(mock);
        command.arg("--mock-recording").arg(recording).args(["--mock-pace", "full"]).args(&session.header.args);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn()?;
        let (sender, lines) = sync_channel(1024);
        if let Some(stdout) = child.stdout.take() {
            let said = BufReader::new(stdout).lines().map_while(Result::ok);
            // It ends with the mock's stdout, or when nobody listens any more.
            std::thread::spawn(move || said.into_iter().try_for_each(|line| sender.send(line)));
        }
        Ok(Self { child, lines })
    }

    /// A mock that has ended does not read; its output tells.
    fn send_line(&mut self, line: &str) {
        if let Some(stdin) = &mut self.child.stdin {
            let _ = stdin.write_all(line.as_bytes()).and_then(|()| stdin.write_all(b"\n"));
        }
    }
}

impl Drop for MockProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
