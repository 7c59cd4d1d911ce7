//! A network namespace in which there is nothing but loopback: where the real CLI may run.
//!
//! This process moves into one before it has any thread, and everything that it starts stays in it: there is no way out
//! for a child, root or not, short of a descriptor that was opened before. As root a network namespace is enough;
//! anybody else gets one inside a user namespace, in which they stay who they are.
//!
//! Knows nothing of CLIs.

use std::fs;
use std::io;
use std::net::{TcpListener, TcpStream, UdpSocket};

use nix::sched::{CloneFlags, unshare};
use rustix::io::Errno;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, sendto, socket_with};
use rustix::process::{getgid, getuid};
use thiserror::Error;

/// An address that belongs to nobody (RFC 5737, TEST-NET-1). Nothing is ever sent to it: a UDP socket that is connected
/// asks the routing table, and sends no packet.
const NOBODY: &str = "192.0.2.1:9";
/// The index of the loopback interface in a new network namespace.
const LOOPBACK: u32 = 1;

/// Why this process is not isolated.
#[derive(Debug, Error)]
pub enum IsolationError {
    /// The system gives no namespace.
    #[error(
        "cannot isolate: the system gives no network namespace ({0}). As a user this needs user namespaces: set the \
         sysctl user.max_user_namespaces above 0, and kernel.unprivileged_userns_clone=1 or \
         kernel.apparmor_restrict_unprivileged_userns=0 where there are such; in a container it needs root with \
         CAP_SYS_ADMIN, or a seccomp profile that allows unshare"
    )]
    NoNamespace(io::Error),
    /// Inside, something could not be set up.
    #[error(
        "cannot isolate: {what} failed inside the new namespace ({source}). Where AppArmor restricts user namespaces, \
         set the sysctl kernel.apparmor_restrict_unprivileged_userns=0, or run this as root"
    )]
    NotUsable {
        /// The step that failed.
        what: &'static str,
        /// The system's words.
        source: io::Error,
    },
    /// It was set up, and does not hold.
    #[error("not isolated, although the system said so: {0}; nothing was started")]
    Leaky(String),
}

/// Moves this process, which must have one thread only, into a network namespace with loopback alone, and makes sure.
pub fn enter_namespace() -> Result<(), IsolationError> {
    let (user, group) = (getuid().as_raw(), getgid().as_raw());
    if unshare(CloneFlags::CLONE_NEWNET).is_err() {
        unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNET)
            .map_err(|errno| IsolationError::NoNamespace(errno.into()))?;
        // In this order: without `deny` nobody but root may map a group.
        write_file("/proc/self/setgroups", "deny")?;
        write_file("/proc/self/uid_map", &format!("{user} {user} 1"))?;
        write_file("/proc/self/gid_map", &format!("{group} {group} 1"))?;
    }
    loopback_up().map_err(|errno| IsolationError::NotUsable { what: "bringing loopback up", source: errno.into() })?;
    verify_isolation()
}

/// Makes sure that this process reaches loopback and nothing else.
pub fn verify_isolation() -> Result<(), IsolationError> {
    let interfaces = interface_names()?;
    if interfaces != ["lo"] {
        return Err(IsolationError::Leaky(format!("there are the interfaces {}", interfaces.join(", "))));
    }
    let failed = |what| move |source| IsolationError::NotUsable { what, source };
    let listener = TcpListener::bind("127.0.0.1:0").map_err(failed("listening on loopback"))?;
    let address = listener.local_addr().map_err(failed("listening on loopback"))?;
    TcpStream::connect(address).map_err(failed("connecting over loopback"))?;
    let socket = UdpSocket::bind("0.0.0.0:0").map_err(failed("opening a socket"))?;
    match socket.connect(NOBODY) {
        Err(error) if error.raw_os_error() == Some(Errno::NETUNREACH.raw_os_error()) => Ok(()),
        Err(error) => Err(IsolationError::Leaky(format!("a way to {NOBODY} is not missing, but: {error}"))),
        Ok(()) => Err(IsolationError::Leaky(format!("there is a way to {NOBODY}"))),
    }
}

fn write_file(path: &'static str, text: &str) -> Result<(), IsolationError> {
    fs::write(path, text).map_err(|source| IsolationError::NotUsable { what: path, source })
}

/// The names of the network interfaces that this process sees.
fn interface_names() -> Result<Vec<String>, IsolationError> {
    let path = "/proc/self/net/dev";
    let table = fs::read_to_string(path).map_err(|source| IsolationError::NotUsable { what: path, source })?;
    Ok(table.lines().filter_map(|line| line.split_once(':')).map(|(name, _)| name.trim().to_owned()).collect())
}

/// `ip link set lo up`, in one message of rtnetlink(7): a header and an `ifinfomsg` that sets `IFF_UP`.
fn loopback_up() -> Result<(), Errno> {
    const LENGTH: u32 = 32;
    const RTM_NEWLINK: u16 = 16;
    const NLM_F_REQUEST_ACK: u16 = 1 | 4;
    const NLMSG_ERROR: [u8; 2] = 2_u16.to_ne_bytes();
    const IFF_UP: u32 = 1;
    let mut message = Vec::with_capacity(LENGTH as usize);
    message.extend(LENGTH.to_ne_bytes());
    message.extend(RTM_NEWLINK.to_ne_bytes());
    message.extend(NLM_F_REQUEST_ACK.to_ne_bytes());
    message.extend([0; 8]); // sequence and port: there is only this message, and the kernel knows who sent it
    message.extend([0; 4]); // any family, no type
    message.extend(LOOPBACK.to_ne_bytes());
    message.extend(IFF_UP.to_ne_bytes());
    message.extend(IFF_UP.to_ne_bytes()); // the flags that change
    let kernel = SocketAddrNetlink::new(0, 0);
    // No protocol is 0, which is NETLINK_ROUTE.
    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
    sendto(&socket, &message, SendFlags::empty(), &kernel)?;
    let mut answer = [0; 128];
    let (_, length) = recv(&socket, &mut answer, RecvFlags::empty())?;
    // An acknowledgement is an error message with the code 0; others are negative.
    match (answer.get(4..6), answer.get(16..20).map(<[u8; 4]>::try_from)) {
        (Some(kind), Some(Ok(code))) if length >= 20 && kind == NLMSG_ERROR => match i32::from_ne_bytes(code) {
            0 => Ok(()),
            code => Err(Errno::from_raw_os_error(-code)),
        },
        _ => Err(Errno::PROTO),
    }
}
