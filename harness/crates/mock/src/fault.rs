//! How a mock breaks, and when.
//!
//! A fault is written `KIND[@turn=N][@p=P][@every=N]`; all its conditions have to hold. Turns count from 1 and a
//! `/clear` is none. `p` is drawn once a process for what happens at the start, else at each turn. `every` needs the
//! counter file: it holds for every Nth process that was started with the same file.

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::path::Path;
use std::str::FromStr;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// One way to break, with its conditions.
#[derive(Debug, Clone, PartialEq)]
pub struct Fault {
    /// What happens.
    pub kind: Kind,
    /// Only in this turn, from 1.
    pub turn: Option<u64>,
    /// Only with this probability.
    pub probability: Option<f64>,
    /// Only in every Nth process.
    pub every: Option<u64>,
}

/// What happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// SIGKILL, after a few deltas of a turn.
    Crash,
    /// Exit code 1, after a few deltas of a turn.
    CrashExit,
    /// Exit code 1 before `initialize` is answered.
    CrashStart,
    /// Silence for ever, after a few deltas of a turn; SIGTERM ends it.
    Hang,
    /// Silence for ever: `initialize` is never answered; SIGTERM ends it.
    HangStart,
    /// Neither SIGTERM nor the end of stdin ends the process.
    IgnoreSigterm,
    /// A child in a session of its own is left behind; started with the process, or in the given turn.
    Grandchild,
    /// The same, and it holds stdout open.
    GrandchildStdout,
    /// The reply carries the mark of another request: what a server that mixes replies up would hand out.
    WrongMark,
}

const KINDS: [(&str, Kind); 9] = [
    ("crash", Kind::Crash),
    ("crash-exit", Kind::CrashExit),
    ("crash-start", Kind::CrashStart),
    ("hang", Kind::Hang),
    ("hang-start", Kind::HangStart),
    ("ignore-sigterm", Kind::IgnoreSigterm),
    ("grandchild", Kind::Grandchild),
    ("grandchild-stdout", Kind::GrandchildStdout),
    ("wrong-mark", Kind::WrongMark),
];

impl Kind {
    /// Whether it leaves a child behind, and nothing else happens.
    pub(super) fn is_grandchild(self) -> bool {
        matches!(self, Self::Grandchild | Self::GrandchildStdout)
    }
}

/// Why a fault cannot be parsed.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum FaultError {
    /// There is no such kind.
    #[error(
        "there is no fault `{0}`; the kinds are crash, crash-exit, crash-start, hang, hang-start, ignore-sigterm, grandchild, grandchild-stdout and wrong-mark"
    )]
    Kind(String),
    /// A condition that is none.
    #[error("`{0}` is no condition; write turn=N, p=P (0 to 1) or every=N, with N from 1")]
    Condition(String),
    /// A turn, for what happens before any turn.
    #[error("{0} happens at the start of the process: leave out turn=")]
    Turn(String),
}

impl FromStr for Fault {
    type Err = FaultError;

    fn from_str(spec: &str) -> Result<Self, FaultError> {
        let mut parts = spec.split('@');
        let name = parts.next().unwrap_or_default();
        let kind = KINDS.iter().find(|(known, _)| *known == name).map(|(_, kind)| *kind);
        let kind = kind.ok_or_else(|| FaultError::Kind(name.to_owned()))?;
        let mut fault = Self { kind, turn: None, probability: None, every: None };
        for part in parts {
            fault.add_condition(part).ok_or_else(|| FaultError::Condition(part.to_owned()))?;
        }
        let only_at_start = matches!(kind, Kind::CrashStart | Kind::HangStart | Kind::IgnoreSigterm);
        if only_at_start && fault.turn.is_some() { Err(FaultError::Turn(name.to_owned())) } else { Ok(fault) }
    }
}

impl Fault {
    fn add_condition(&mut self, part: &str) -> Option<()> {
        let (key, value) = part.split_once('=')?;
        let count = || value.parse().ok().filter(|count| *count > 0);
        match key {
            "turn" => self.turn = Some(count()?),
            "every" => self.every = Some(count()?),
            "p" => self.probability = Some(value.parse().ok().filter(|p| (0.0..=1.0).contains(p))?),
            _ => return None,
        }
        Some(())
    }

    fn is_at_start(&self) -> bool {
        match self.kind {
            Kind::CrashStart | Kind::HangStart | Kind::IgnoreSigterm => true,
            Kind::Grandchild | Kind::GrandchildStdout => self.turn.is_none(),
            Kind::Crash | Kind::CrashExit | Kind::Hang | Kind::WrongMark => false,
        }
    }
}

/// The faults of one process.
#[derive(Debug)]
pub(super) struct Faults {
    all: Vec<Fault>,
    process: u64,
    random: ChaCha8Rng,
}

impl Faults {
    /// `process` is the number of this process; without a seed it draws what no other process draws.
    pub(super) fn new(all: Vec<Fault>, seed: Option<u64>, process: u64) -> Self {
        let mut random = ChaCha8Rng::seed_from_u64(seed.unwrap_or_else(|| u64::from(std::process::id())));
        random.set_stream(process);
        Self { all, process, random }
    }

    /// The faults that strike at the start of the process.
    pub(super) fn at_start(&mut self) -> Vec<Kind> {
        self.draw_due(Fault::is_at_start)
    }

    /// The faults that strike in this turn; turns count from 1.
    pub(super) fn in_turn(&mut self, turn: u64) -> Vec<Kind> {
        self.draw_due(|fault| !fault.is_at_start() && fault.turn.is_none_or(|wanted| wanted == turn))
    }

    fn draw_due(&mut self, applies: impl Fn(&Fault) -> bool) -> Vec<Kind> {
        let Self { all, process, random } = self;
        let due = all.iter().filter(|fault| {
            applies(fault)
                && fault.every.is_none_or(|every| process.is_multiple_of(every))
                && fault.probability.is_none_or(|p| random.random_bool(p))
        });
        due.map(|fault| fault.kind).collect()
    }
}

/// Adds this process to the count in a file, and returns its number, from 1.
pub(super) fn count_process(counter: &Path) -> std::io::Result<u64> {
    add_one(counter).map_err(|error| {
        let what = format!("cannot count this process in {}: {error}; it is a file with one number", counter.display());
        std::io::Error::new(error.kind(), what)
    })
}

fn add_one(counter: &Path) -> std::io::Result<u64> {
    let mut file = File::options().read(true).write(true).create(true).truncate(false).open(counter)?;
    file.lock()?;
    let mut text = String::new();
    file.read_to_string(&mut text)?;
    let number = match text.trim() {
        "" => 1,
        count => count.parse::<u64>().map_err(std::io::Error::other)?.saturating_add(1),
    };
    file.rewind()?;
    file.write_all(number.to_string().as_bytes())?;
    Ok(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(spec: &str, seed: u64, process: u64) -> Faults {
        Faults::new(vec![spec.parse().expect("a fault")], Some(seed), process)
    }

    #[test]
    fn a_spec_is_a_kind_and_its_conditions() {
        let fault: Fault = "crash@turn=3@p=0.5@every=2".parse().expect("a fault");
        let whole = Fault { kind: Kind::Crash, turn: Some(3), probability: Some(0.5), every: Some(2) };
        assert_eq!(fault, whole);
    }

    #[test]
    fn bad_specs_say_what_is_wrong() {
        let error = |spec: &str| spec.parse::<Fault>().expect_err("bad").to_string();
        assert!(error("crush").starts_with("there is no fault `crush`; the kinds are crash"));
        for spec in ["crash@p=2", "crash@turn=0", "crash@when=1", "crash@", "crash@every=x"] {
            assert!(error(spec).contains("is no condition"), "{spec}");
        }
        assert!(error("hang-start@turn=1").starts_with("hang-start happens at the start"));
    }

    #[test]
    fn every_third_process_is_every_third_process() {
        let struck = |process| !faults("crash-start@every=3", 1, process).at_start().is_empty();
        assert_eq!((1..=6).map(struck).collect::<Vec<_>>(), [false, false, true, false, false, true]);
    }

    #[test]
    fn a_seed_repeats_its_draws_and_processes_differ() {
        let draws = |seed, process| {
            let mut faults = faults("crash@p=0.5", seed, process);
            (1..=64).map(|turn| !faults.in_turn(turn).is_empty()).collect::<Vec<_>>()
        };
        assert_eq!(draws(7, 1), draws(7, 1));
        assert_ne!(draws(7, 1), draws(7, 2));
        assert_ne!(draws(7, 1), draws(8, 1));
    }

    #[test]
    fn a_grandchild_comes_with_the_process_unless_a_turn_is_named() {
        assert_eq!(faults("grandchild", 1, 1).at_start(), [Kind::Grandchild]);
        assert_eq!(faults("grandchild@turn=2", 1, 1).at_start(), []);
        assert_eq!(faults("grandchild@turn=2", 1, 1).in_turn(2), [Kind::Grandchild]);
    }
}
