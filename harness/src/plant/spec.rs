//! How a planted leak is named on a command line.

use std::fmt;
use std::str::FromStr;

use clap::ValueEnum;
use clap::builder::PossibleValue;

/// What is leaked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// A second invoker is started and never stopped: the original bug.
    KeptInvoker,
    /// A child process that is never ended.
    Process,
    /// A child process that has ended and is never reaped.
    Zombie,
    /// A file that is never closed.
    Fd,
    /// A pipe that is never closed.
    FdPipe,
    /// A pair of sockets that is never closed.
    FdSocket,
    /// An eventfd that is never closed.
    FdAnon,
    /// A thread that never ends.
    Thread,
    /// A task that never ends.
    Task,
    /// A heap block that is never freed.
    HeapBlock,
    /// A vector that only grows: always one block.
    HeapBytes,
    /// A file on the disk that is never removed.
    File,
    /// One file, from the first restart on, that outlives the server.
    FileLeft,
    /// One process, from the first restart on, that outlives the server.
    Orphan,
    /// 16 KiB of memory, each small enough for the allocator's own pages.
    Slow,
}

/// A kind, and how often it strikes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spec {
    /// What is leaked.
    pub kind: Kind,
    /// At each so-many-th restart.
    pub every: u64,
}

impl Spec {
    /// Whether it leaks at this restart; the first is 1.
    #[must_use]
    pub fn strikes(self, restart: u64) -> bool {
        match self.kind {
            Kind::FileLeft | Kind::Orphan => restart == 1,
            _ => restart.is_multiple_of(self.every),
        }
    }
}

impl FromStr for Spec {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, every) = match text.split_once(',') {
            None => (text, "every=1"),
            Some((name, every)) => (name, every),
        };
        let kind = Kind::from_str(name, false).map_err(|_| {
            let known: Vec<_> = Kind::value_variants().iter().filter_map(Kind::to_possible_value).collect();
            let known: Vec<_> = known.iter().map(PossibleValue::get_name).collect();
            format!("no leak is called {name:?}; choose one of {}", known.join(", "))
        })?;
        let every = every.strip_prefix("every=").and_then(|number| number.parse().ok()).filter(|&number| number > 0);
        let every = every.ok_or_else(|| format!("expected {name},every=K with a whole number K above 0"))?;
        Ok(Self { kind, every })
    }
}

impl fmt::Display for Spec {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.kind.to_possible_value();
        write!(out, "{}", name.as_ref().map_or("?", PossibleValue::get_name))?;
        if self.every == 1 { Ok(()) } else { write!(out, ",every={}", self.every) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_say_how_often() {
        assert_eq!("kept-invoker".parse(), Ok(Spec { kind: Kind::KeptInvoker, every: 1 }));
        let spec: Spec = "fd,every=10".parse().unwrap();
        assert_eq!((1..=30).filter(|&restart| spec.strikes(restart)).collect::<Vec<_>>(), [10, 20, 30]);
        assert_eq!(spec.to_string(), "fd,every=10");
    }

    #[test]
    fn a_wrong_name_is_told_the_right_ones() {
        let error = "fds".parse::<Spec>().unwrap_err();
        assert!(error.contains("\"fds\"") && error.contains("kept-invoker"), "{error}");
        assert!("fd,every=0".parse::<Spec>().is_err());
        assert!("fd,often".parse::<Spec>().is_err());
    }
}
