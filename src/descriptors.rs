//! The limit of open files (`RLIMIT_NOFILE`), and what the server's descriptors are for.
//!
//! A connection is a descriptor, and so is each pipe of a CLI. Were all of them given to connections, no CLI could be
//! restarted. So the number of connections follows from the limit, and not the other way round.
//!
//! The server raises its soft limit to the hard one. Its children get the old one back ([`inherited_limit`]): a program
//! that calls `select()` breaks on descriptors from 1024 on, and one that closes every possible descriptor before it starts
//! another takes minutes where the limit is a billion. That is why the soft limit is as low as it is by default. A CLI on
//! Node raises its own.

use std::num::NonZeroUsize;
use std::sync::OnceLock;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors that one invoker may take. While it starts: both ends of three pipes, two that tell whether the program could
/// be executed, the keeper's pidfd, and a look into `/proc`. Afterwards four of them.
const PER_INVOKER: u64 = 10;

/// For the runtime and its signals (6), the listener, and the connection that just waits for its place.
const SERVER: u64 = 8;

/// For looks into `/proc`, files that are read or swept, and whatever else is short.
const SPARE: u64 = 48;

/// The soft limit that this process was started with, if it has raised it.
static INHERITED: OnceLock<u64> = OnceLock::new();

/// The soft limit that the programs which this one starts are to have, where it is not this process's own.
#[must_use]
pub(crate) fn inherited_limit() -> Option<u64> {
    INHERITED.get().copied()
}

/// The hard limit of open files.
#[must_use]
pub(crate) fn hard_limit() -> u64 {
    getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX)
}

/// Raises the soft limit of open files to the hard one, and gives what it is then.
pub(crate) fn raise_limit() -> std::io::Result<u64> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum {
        setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })?;
        // A second server of the same process finds it raised.
        let _ = INHERITED.set(current.unwrap_or(u64::MAX));
    }
    Ok(maximum.unwrap_or(u64::MAX))
}

/// Sets the soft limit of open files, below the hard one.
pub(crate) fn lower_limit(soft: u64) -> std::io::Result<()> {
    let limit = getrlimit(Resource::Nofile);
    Ok(setrlimit(Resource::Nofile, Rlimit { current: Some(soft), ..limit })?)
}

/// How the descriptors are divided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Plan {
    limit: u64,
    reserved: u64,
    asked: NonZeroUsize,
    connections: NonZeroUsize,
}

/// The limit is so low that not even one connection for each slot is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "too few files can be open at once: the limit is {limit}, and {slots} slot(s) need {needed}; raise the hard limit \
     (`ulimit -n {enough}`, or LimitNOFILE={enough} in a systemd unit), or lower --slots"
)]
pub(crate) struct TooFewDescriptors {
    limit: u64,
    slots: NonZeroUsize,
    /// For one connection a slot.
    needed: u64,
    /// For all that were asked for.
    enough: u64,
}

impl Plan {
    /// Divides `limit` descriptors: the `open` ones, those of `slots` + 1 invokers, of `extra` connections and of the server itself come
    /// first, then up to `asked` connections.
    pub(crate) fn new(
        limit: u64,
        open: u64,
        slots: NonZeroUsize,
        asked: NonZeroUsize,
        extra: usize,
    ) -> Result<Self, TooFewDescriptors> {
        let invokers = (slots.get() as u64).saturating_add(1).saturating_mul(PER_INVOKER);
        let reserved = [open, SERVER, SPARE, extra as u64].iter().fold(invokers, |sum, n| sum.saturating_add(*n));
        let left = usize::try_from(limit.saturating_sub(reserved)).unwrap_or(usize::MAX);
        match NonZeroUsize::new(left.min(asked.get())).filter(|connections| *connections >= slots.min(asked)) {
            Some(connections) => Ok(Self { limit, reserved, asked, connections }),
            None => Err(TooFewDescriptors {
                limit,
                slots,
                needed: reserved.saturating_add(slots.get() as u64),
                enough: reserved.saturating_add(asked.get() as u64),
            }),
        }
    }

    /// As many as asked for, or as are left.
    #[must_use]
    pub(crate) fn connections(&self) -> NonZeroUsize {
        self.connections
    }

    /// A warning if fewer connections are left than configured.
    #[must_use]
    pub(crate) fn shortage(&self) -> Option<String> {
        let Self { limit, reserved, asked, connections } = self;
        let enough = reserved.saturating_add(asked.get() as u64);
        (connections < asked).then(|| {
            format!(
                "at most {connections} connections will be open at once, and not {asked} (--max-connections): {limit} files \
                 can be open, and {reserved} of them are kept for the CLIs, for probes and for the server itself; raise the \
                 hard limit (`ulimit -n {enough}`, or LimitNOFILE={enough} in a systemd unit), or lower --max-connections"
            )
        })
    }
}

/// The number of open descriptors, inherited ones included; 3 (stdio) if `/proc` cannot be read.
#[must_use]
pub(crate) fn open_files() -> u64 {
    std::fs::read_dir("/proc/self/fd").map_or(3, |entries| entries.count() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(n: usize) -> NonZeroUsize {
        n.try_into().unwrap()
    }

    #[test]
    fn connections_get_what_is_left_and_never_more_than_was_asked_for() {
        let plan = |limit| Plan::new(limit, 7, count(2), count(1024), 64);
        let reserved = plan(1 << 20).unwrap().reserved;
        assert_eq!(plan(reserved + 1024).unwrap().connections(), count(1024));
        assert_eq!(plan(u64::MAX).unwrap().connections(), count(1024));
        assert_eq!(plan(u64::MAX).unwrap().shortage(), None);
        let short = plan(reserved + 10).unwrap();
        assert_eq!(short.connections(), count(10));
        let words = short.shortage().unwrap();
        for part in ["at most 10 connections", "not 1024", &format!("ulimit -n {}", reserved + 1024), "LimitNOFILE="] {
            assert!(words.contains(part), "{words}");
        }
    }

    #[test]
    fn a_limit_without_a_connection_for_each_slot_is_refused_with_the_numbers() {
        let reserved = Plan::new(1 << 20, 7, count(2), count(1024), 64).unwrap().reserved;
        assert_eq!(Plan::new(reserved + 2, 7, count(2), count(1024), 64).unwrap().connections(), count(2));
        let words = Plan::new(reserved + 1, 7, count(2), count(1024), 64).unwrap_err().to_string();
        for part in [
            format!("the limit is {}", reserved + 1),
            format!("2 slot(s) need {}", reserved + 2),
            format!("ulimit -n {}", reserved + 1024),
        ] {
            assert!(words.contains(&part), "{words}");
        }
        assert!(Plan::new(0, 3, count(1), count(1), 0).is_err());
    }
}
