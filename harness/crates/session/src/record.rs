//! A recorder that stands in the CLI's place: every byte passes unchanged, and a scrubbed copy is kept.
//!
//! Two processes. The *shim* is started by the wrapper: it forwards signals and ends as the CLI ended. The *recorder*
//! owns the streams and the CLI, and writes the recording. So when the wrapper kills the shim with SIGKILL, which
//! nobody can catch, the recorder sees it (a pidfd), kills the CLI as the wrapper meant to, and still finishes the
//! recording; and should the recorder be killed, the shim, a child subreaper, inherits the CLI and kills it.
//!
//! ```text
//! shim   signals, exit status         recorder  the CLI, its end, the recording's end
//! copy   one thread a stream          lines     bytes → lines, with a limit
//! queue  between streams and disk     writer    scrubs and writes, never in the way of a byte
//! ```
//!
//! The recorder has a process group of its own (with a terminal as stdin it must not), and so has the CLI: a signal to the
//! wrapper's group reaches the CLI once, through the shim. What the CLI leaves behind stays where it would be without
//! a recorder: nothing but the CLI itself is ever killed, unless the recorder dies first.
//!
//! # What is not as without a recorder
//!
//! - The CLI sees pipes, never a terminal or a socket, and is the leader of a process group: a signal that the wrapper
//!   sends to its group does not reach the CLI's own children.
//! - The recorder ends when the CLI has ended and the wrapper has taken what was in the pipes. What a child of the CLI
//!   writes to the same stdout after that is lost.
//! - The wrapper sees the end of stderr when the CLI has ended, not when the CLI closes it: if the recording failed, a
//!   last line says so there.
//!
//! # When the recording fails
//!
//! The session never does. A folder that cannot be made, a full disk, a recording of more than 512 MiB, or a disk that is
//! slower than the CLI (32 MiB may wait for it, and all waits together hold the session up for two seconds at most) end
//! the recording after its last whole line, and the last line on stderr says why.

use std::ffi::OsString;
use std::path::PathBuf;

mod copy;
mod lines;
mod queue;
mod recorder;
mod shim;
mod signals;
mod writer;

pub use recorder::run_recorder;
pub use shim::run_shim;

/// Options of a recording.
#[derive(Debug, Clone)]
pub struct RecordOptions {
    /// The folder for the recording's file.
    pub out: PathBuf,
    /// One sentence on what happens in it.
    pub about: String,
    /// Kinds that are not scrubbed.
    pub keep: Vec<crate::scrub::Kind>,
    /// The CLI and its arguments.
    pub command: Vec<OsString>,
}

/// Why nothing was started.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The CLI cannot be started.
    #[error("cannot start {program}: {source}; name the CLI after `--`")]
    Start {
        /// The CLI.
        program: String,
        /// The system's words.
        source: std::io::Error,
    },
    /// The system refused something that the recorder needs.
    #[error("cannot {what}: {source}; the recorder needs Linux with a readable /proc")]
    System {
        /// The action that failed.
        what: &'static str,
        /// The system's words.
        source: std::io::Error,
    },
}

impl RecordError {
    fn system_error<E: Into<std::io::Error>>(what: &'static str) -> impl FnOnce(E) -> Self {
        move |source| Self::System { what, source: source.into() }
    }

    /// The exit code that a shell would give: 127 for no such CLI, 126 for one that cannot be run; none otherwise.
    #[must_use]
    pub fn exit_code(&self) -> Option<u8> {
        match self {
            Self::Start { source, .. } if source.kind() == std::io::ErrorKind::NotFound => Some(127),
            Self::Start { .. } => Some(126),
            Self::System { .. } => None,
        }
    }
}

/// Lets go of this process's own copies of the streams: a peer sees the end of a stream only when its last holder closes it.
fn close_own_stdio() {
    if let Ok(null) = std::fs::File::options().read(true).write(true).open("/dev/null") {
        let _ = rustix::stdio::dup2_stdin(&null);
        let _ = rustix::stdio::dup2_stdout(&null);
        let _ = rustix::stdio::dup2_stderr(&null);
    }
}
