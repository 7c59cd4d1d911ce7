//! The open file descriptors of one process, by kind, from `/proc/PID/fd`.

use std::ops::Add;

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
    /// Descriptors without a path: epoll, eventfd, pidfd, timerfd, namespaces.
    pub anonymous: u64,
}

impl Add for Fds {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            pipes: self.pipes + other.pipes,
            sockets: self.sockets + other.sockets,
            files: self.files + other.files,
            anonymous: self.anonymous + other.anonymous,
        }
    }
}

/// Counts the descriptors of the process `pid`; none when it is gone.
#[must_use]
pub fn count_fds(pid: u32) -> Option<Fds> {
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

/// The targets of the descriptors of the process `pid`, sorted: for a report that has found too many. `other_end` names
/// the process at the other end of the pipe with an inode.
#[must_use]
pub fn fd_names(pid: u32, other_end: &impl Fn(u64) -> Option<String>) -> Vec<String> {
    let mut names: Vec<String> = fd_targets(pid).map(|target| fd_name(target, other_end)).collect();
    names.sort_unstable();
    names
}

/// The inodes of the pipes that the process `pid` has an end of.
#[must_use]
pub fn pipe_inodes(pid: u32) -> Vec<u64> {
    let pipe = |target| if let FDTarget::Pipe(inode) = target { Some(inode) } else { None };
    fd_targets(pid).filter_map(pipe).collect()
}

/// The inodes of the sockets that the process `pid` has open.
#[must_use]
pub fn socket_inodes(pid: u32) -> Vec<u64> {
    let socket = |target| if let FDTarget::Socket(inode) = target { Some(inode) } else { None };
    fd_targets(pid).filter_map(socket).collect()
}

fn fd_targets(pid: u32) -> impl Iterator<Item = FDTarget> {
    let open = pid.try_into().ok().and_then(|pid| Process::new(pid).ok()).and_then(|process| process.fd().ok());
    open.into_iter().flatten().flatten().map(|fd| fd.target)
}

fn fd_name(target: FDTarget, other_end: &impl Fn(u64) -> Option<String>) -> String {
    match target {
        FDTarget::Path(path) => path.display().to_string(),
        FDTarget::MemFD(name) => format!("memfd:{name}"),
        FDTarget::Pipe(inode) => other_end(inode).map_or("pipe".to_owned(), |process| format!("pipe to {process}")),
        FDTarget::Socket(_) => "socket".to_owned(),
        FDTarget::Net(_) => "net".to_owned(),
        FDTarget::AnonInode(kind) | FDTarget::Other(kind, _) | FDTarget::Unknown(kind, _) => kind,
    }
}
