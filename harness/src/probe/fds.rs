//! The open file descriptors of one process, by kind, from `/proc/PID/fd`.

use procfs::process::{FDTarget, Process};

/// How many descriptors of each kind are open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Fds {
    /// Ends of pipes and FIFOs.
    pub pipes: u64,
    /// Sockets of any family.
    pub sockets: u64,
    /// Files, folders and devices.
    pub files: u64,
    /// What has no path: epoll, eventfd, pidfd, timerfd, namespaces.
    pub anonymous: u64,
}

/// Counts the descriptors of the process `pid`; none when it is gone.
#[must_use]
pub fn of(pid: u32) -> Option<Fds> {
    let process = Process::new(pid.try_into().ok()?).ok()?;
    let mut fds = Fds::default();
    // A descriptor that was closed since the folder was listed is an error of its own, and is not open.
    for fd in process.fd().ok()?.flatten() {
        let count = match fd.target {
            FDTarget::Pipe(_) => &mut fds.pipes,
            FDTarget::Socket(_) => &mut fds.sockets,
            FDTarget::Path(_) | FDTarget::MemFD(_) => &mut fds.files,
            FDTarget::Net(_) | FDTarget::AnonInode(_) | FDTarget::Other(..) | FDTarget::Unknown(..) => {
                &mut fds.anonymous
            }
        };
        *count += 1;
    }
    Some(fds)
}

/// What the descriptors of the process `pid` point to, sorted: for the notes of a run that found too many.
#[must_use]
pub fn named(pid: u32) -> Vec<String> {
    let open = pid.try_into().ok().and_then(|pid| Process::new(pid).ok()).and_then(|process| process.fd().ok());
    let mut names: Vec<String> = open.into_iter().flatten().flatten().map(|fd| name(fd.target)).collect();
    names.sort_unstable();
    names
}

fn name(target: FDTarget) -> String {
    match target {
        FDTarget::Path(path) => path.display().to_string(),
        FDTarget::MemFD(name) => format!("memfd:{name}"),
        FDTarget::Pipe(_) => "pipe".to_owned(),
        FDTarget::Socket(_) => "socket".to_owned(),
        FDTarget::Net(_) => "net".to_owned(),
        FDTarget::AnonInode(kind) | FDTarget::Other(kind, _) | FDTarget::Unknown(kind, _) => kind,
    }
}
