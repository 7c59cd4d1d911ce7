//! Which process answers at an address, from the kernel's table of sockets.

use std::net::SocketAddr;

use procfs::net::TcpState;
use procfs::process::Process;

use crate::probe::Tree;
use crate::probe::fds;

/// The first process of `tree`, by pid, that listens on the port of `address`; none where several share the work in ways
/// that hide it, or where the tree is not ours to read.
#[must_use]
pub fn listening_process(tree: &Tree, address: SocketAddr) -> Option<u32> {
    tree.members.iter().filter(|member| !member.zombie).map(|member| member.id.pid).find(|&pid| {
        let inodes = listening_inodes(pid, address.port());
        !inodes.is_empty() && fds::socket_inodes(pid).iter().any(|inode| inodes.contains(inode))
    })
}

/// The sockets that listen on `port` in the network of the process `pid`.
fn listening_inodes(pid: u32, port: u16) -> Vec<u64> {
    let Some(process) = pid.try_into().ok().and_then(|pid| Process::new(pid).ok()) else { return Vec::new() };
    let entries = process.tcp().into_iter().chain(process.tcp6()).flatten();
    let listens = entries.filter(|e| e.state == TcpState::Listen && e.local_address.port() == port);
    listens.map(|entry| entry.inode).collect()
}
