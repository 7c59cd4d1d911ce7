//! How a planted leak is named on a command line.

use std::fmt;
use std::str::FromStr;

use clap::ValueEnum;
use clap::builder::PossibleValue;

/// The leaked resource.
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

/// A kind, how often it strikes, and how much it takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spec {
    /// The leaked resource.
    pub kind: Kind,
    /// At each so-many-th restart.
    pub every: u64,
    /// The restart at which it strikes first, from 1.
    pub from: u64,
    /// Bytes that it takes each time, where it takes memory and another amount than its kind's own.
    pub bytes: Option<usize>,
}

/// The most memory that one strike may take.
const MAX_BYTES: usize = 64 << 20;

impl Spec {
    /// Whether it leaks at this restart; the first is 1.
    #[must_use]
    pub fn strikes_at(self, restart: u64) -> bool {
        match self.kind {
            Kind::FileLeft | Kind::Orphan => restart == self.from,
            _ => restart.checked_sub(self.from).is_some_and(|since| since.is_multiple_of(self.every)),
        }
    }
}

impl FromStr for Spec {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts = text.split(',');
        let name = parts.next().unwrap_or_default();
        let kind = Kind::from_str(name, false).map_err(|_| {
            let known: Vec<_> = Kind::value_variants().iter().filter_map(Kind::to_possible_value).collect();
            let known: Vec<_> = known.iter().map(PossibleValue::get_name).collect();
            format!("no leak is called {name:?}; choose one of {}", known.join(", "))
        })?;
        let (mut every, mut from, mut bytes) = (1, None, None);
        for part in parts {
            let number = |key: &str| part.strip_prefix(key).and_then(|number| number.parse::<u64>().ok());
            if let Some(number) = number("every=").filter(|&number| number > 0) {
                every = number;
            } else if let Some(number) = number("from=").filter(|&number| number > 0) {
                from = Some(number);
            } else if let Some(size) = number("bytes=").and_then(|number| kind.accepted_size(number)) {
                bytes = Some(size);
            } else {
                return Err(kind.invalid_option(name, part));
            }
        }
        // The first strike of a leak that says nothing of it is its K-th restart; what is planted once is there from the first.
        let once = matches!(kind, Kind::FileLeft | Kind::Orphan);
        Ok(Self { kind, every, from: from.unwrap_or(if once { 1 } else { every }), bytes })
    }
}

impl Kind {
    /// `bytes` as a size that this kind can take each time.
    fn accepted_size(self, bytes: u64) -> Option<usize> {
        let size = usize::try_from(bytes).ok().filter(|&size| (1..=MAX_BYTES).contains(&size))?;
        match self {
            Self::HeapBlock | Self::Slow => Some(size),
            // It grows by whole words.
            Self::HeapBytes => size.is_multiple_of(size_of::<u64>()).then_some(size),
            _ => None,
        }
    }

    fn invalid_option(self, name: &str, part: &str) -> String {
        let bytes = match self {
            Self::HeapBlock | Self::Slow => format!(", bytes=B with B from 1 to {MAX_BYTES}"),
            Self::HeapBytes => format!(", bytes=B with B a multiple of 8 up to {MAX_BYTES}"),
            _ => String::new(),
        };
        format!(
            "{part:?} is nothing that {name} takes: every=K (at each K-th restart), from=F (at restart F first){bytes}; \
             whole numbers above 0"
        )
    }
}

impl fmt::Display for Spec {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.kind.to_possible_value();
        write!(out, "{}", name.as_ref().map_or("?", PossibleValue::get_name))?;
        if self.every != 1 {
            write!(out, ",every={}", self.every)?;
        }
        let once = matches!(self.kind, Kind::FileLeft | Kind::Orphan);
        if self.from != if once { 1 } else { self.every } {
            write!(out, ",from={}", self.from)?;
        }
        self.bytes.map_or(Ok(()), |bytes| write!(out, ",bytes={bytes}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_say_how_often() {
        assert_eq!("kept-invoker".parse(), Ok(Spec { kind: Kind::KeptInvoker, every: 1, from: 1, bytes: None }));
        let spec: Spec = "fd,every=10".parse().unwrap();
        assert_eq!((1..=30).filter(|&restart| spec.strikes_at(restart)).collect::<Vec<_>>(), [10, 20, 30]);
        assert_eq!(spec.to_string(), "fd,every=10");
    }

    #[test]
    fn a_name_may_say_when_it_begins_and_how_much_it_takes() {
        let spec: Spec = "heap-block,every=10,from=7,bytes=16".parse().unwrap();
        assert_eq!((1..=30).filter(|&restart| spec.strikes_at(restart)).collect::<Vec<_>>(), [7, 17, 27]);
        assert_eq!((spec.bytes, spec.to_string().as_str()), (Some(16), "heap-block,every=10,from=7,bytes=16"));
        let late: Spec = "orphan,from=201".parse().unwrap();
        assert_eq!((1..=400).filter(|&restart| late.strikes_at(restart)).collect::<Vec<_>>(), [201]);
        assert_eq!(late.to_string(), "orphan,from=201");
        assert!("orphan".parse::<Spec>().unwrap().strikes_at(1));
    }

    #[test]
    fn what_a_kind_cannot_take_is_refused_with_what_it_takes() {
        for wrong in ["fd,bytes=16", "heap-bytes,bytes=12", "slow,bytes=0", "slow,bytes=99999999999", "fd,from=0"] {
            let error = wrong.parse::<Spec>().unwrap_err();
            assert!(error.contains("every=K") && error.contains(wrong.split(',').nth(1).unwrap()), "{error}");
        }
    }

    #[test]
    fn a_wrong_name_is_told_the_right_ones() {
        let error = "fds".parse::<Spec>().unwrap_err();
        assert!(error.contains("\"fds\"") && error.contains("kept-invoker"), "{error}");
        assert!("fd,every=0".parse::<Spec>().is_err());
        assert!("fd,often".parse::<Spec>().is_err());
    }
}
