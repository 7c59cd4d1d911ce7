//! The metrics.

use serde::{Deserialize, Serialize};

/// One measured quantity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// Invokers that the target says are alive (its pool's own count).
    LiveInvokers,
    /// CLI processes that the operating system shows in the server's tree.
    CliProcesses,
    /// Live heap blocks of the server, by dhat.
    HeapBlocks,
    /// Live heap bytes of the server, by dhat.
    HeapBytes,
    /// Pipe ends open in the server.
    FdsPipe,
    /// Sockets open in the server.
    FdsSocket,
    /// Files, folders and devices open in the server.
    FdsFile,
    /// Other descriptors of the server: epoll, eventfd, pidfd, timerfd.
    FdsAnon,
    /// Threads of the server.
    Threads,
    /// Tokio tasks alive in the server.
    Tasks,
    /// Processes in the server's tree, itself included.
    Processes,
    /// Processes in the server's tree that have ended and were not reaped.
    Zombies,
    /// Files in the folders that the run gave to the server and its CLI (HOME, TMPDIR, runtime).
    Files,
    /// Processes of the server's tree that are left after it stopped.
    Orphans,
    /// Processes of the server's tree that are left after the server was killed with SIGKILL.
    LeftByKill,
    /// Files in the same folders that are left after it stopped.
    FilesLeft,
    /// Requests that were sent and got no ending.
    Lost,
    /// Replies that carried another request's mark, lacked their own, or were cut.
    MixedUp,
    /// Anonymous proportional memory of the server's tree, in bytes.
    AnonPss,
    /// Resident memory of the server's tree, in bytes.
    TreeRss,
    /// Resident memory of the server's own process, in bytes.
    ServerRss,
}

impl Metric {
    /// The counts of a checkpoint, which have no variance once the target is settled: the exact rule judges them, and each
    /// has a control.
    pub const COUNTED: [Self; 11] = [
        Self::LiveInvokers,
        Self::CliProcesses,
        Self::FdsPipe,
        Self::FdsSocket,
        Self::FdsFile,
        Self::FdsAnon,
        Self::Threads,
        Self::Tasks,
        Self::Processes,
        Self::Zombies,
        Self::Files,
    ];

    /// Its name, as `run.json` and `verdict.json` write it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::LiveInvokers => "live_invokers",
            Self::CliProcesses => "cli_processes",
            Self::HeapBlocks => "heap_blocks",
            Self::HeapBytes => "heap_bytes",
            Self::FdsPipe => "fds_pipe",
            Self::FdsSocket => "fds_socket",
            Self::FdsFile => "fds_file",
            Self::FdsAnon => "fds_anon",
            Self::Threads => "threads",
            Self::Tasks => "tasks",
            Self::Processes => "processes",
            Self::Zombies => "zombies",
            Self::Files => "files",
            Self::Orphans => "orphans",
            Self::LeftByKill => "left_by_kill",
            Self::FilesLeft => "files_left",
            Self::Lost => "lost",
            Self::MixedUp => "mixed_up",
            Self::AnonPss => "anon_pss",
            Self::TreeRss => "tree_rss",
            Self::ServerRss => "server_rss",
        }
    }
}
