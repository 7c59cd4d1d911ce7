//! The interface between the driver and a server under test, our own or any other.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use thiserror::Error;

use crate::assignment::Assignment;
use crate::load::{Counts, Load};
use crate::probe::details::Details;
use crate::scenario::schedule::Schedule;
use leakgate_judge::sample::{Bounds, GrowthUnit, Latency, Metric, Outcome, TracePoint};

pub mod folder;
pub mod tail;

/// Every count of a reading.
pub(crate) type Values = BTreeMap<Metric, u64>;

/// A server that has been started. Dropping it kills a server that leakgate started; what that server started is then
/// left to the watchdog.
pub(crate) trait Target: Sized + Send {
    /// Says how to start it.
    type Assignment: Assignment;

    /// Starts the server, or finds a running one, and waits until it listens.
    fn start(assignment: &Self::Assignment) -> impl Future<Output = Result<Self, TargetError>> + Send;

    /// Waits until the server can serve, and makes sure before any load that it is what it should be.
    fn prove_identity(&mut self) -> impl Future<Output = Result<(), Outcome>> + Send;

    /// Opens the load that the assignment asks for.
    fn open_load(&self) -> Load;

    /// Begins to count restarts. May change what the load asks for.
    fn begin_counting(&mut self, load: &mut Load) -> impl Future<Output = Result<(), Outcome>> + Send;

    /// When to take checkpoints; none as long as more batches are needed to know. With `is_cut_short` there won't be more.
    fn plan_checkpoints(&mut self, counts: &Counts, is_cut_short: bool) -> Result<Option<Schedule>, Outcome>;

    /// How many requests to send next, with so many steps still `missing` until the next checkpoint.
    fn batch_size(&self, missing: u64, schedule: &Schedule) -> u64;

    /// How many requests the whole run needs at least.
    fn min_requests(&self) -> u64 {
        0
    }

    /// When to cut the run short; none where the scenario bounds it.
    fn limits(&self) -> Option<Limits> {
        None
    }

    /// Sends one batch of load, and restarts the CLI where the server does not do so by itself.
    fn run_load(&mut self, load: &mut Load, requests: u64) -> impl Future<Output = Result<(), Outcome>> + Send;

    /// Takes one sample between two batches.
    fn take_sample(&mut self, counts: &Counts) -> impl Future<Output = Result<Sample, Outcome>> + Send;

    /// How many readings a checkpoint takes the lowest of, and how many requests to send between two of them.
    fn readings(&self) -> (u32, u64) {
        (1, 0)
    }

    /// Waits until nothing moves and reads every count.
    fn read_at_rest(&mut self) -> impl Future<Output = Result<Rest, Outcome>> + Send;

    /// Steps of the run: restarts, or turns of a server that shows no restarts.
    fn count_steps(&self, restarts: u64, requests: u64) -> u64;

    /// Restarts so far.
    fn restart_count(&self) -> u64;

    /// Why a server that makes no more steps can't be measured.
    fn describe_stall(&mut self, counts: &Counts) -> Outcome;

    /// Stops the server, counts and ends what it left. With `is_complete` a run that went to its end is also checked for
    /// whether it exercised what it should, and for what a SIGKILL leaves.
    fn stop_and_inspect(self, counts: &Counts, is_complete: bool) -> impl Future<Output = Ended> + Send;
}

/// When a run is cut short.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// How long it may take.
    pub(crate) time: Duration,
    /// The most RSS of the server's tree, in bytes.
    pub(crate) tree_rss: Option<u64>,
}

/// A sample under load.
#[derive(Debug)]
pub(crate) struct Sample {
    /// The memory of the server and its tree.
    pub(crate) point: TracePoint,
    /// Live invokers, as far as they can be seen.
    pub(crate) invokers: u64,
}

/// A reading at rest.
#[derive(Debug)]
pub(crate) struct Rest {
    /// Restarts until then.
    pub(crate) restarts: u64,
    /// Every count.
    pub(crate) values: Values,
    /// The identity of the counted things.
    pub(crate) details: Details,
}

impl Rest {
    /// The lower of each count by itself; the restarts are those of the first reading.
    pub(crate) fn min_counts(self, other: &Self) -> Self {
        let lower = |(metric, value): (_, u64)| (metric, value.min(*other.values.get(&metric).unwrap_or(&value)));
        Self {
            restarts: self.restarts,
            values: self.values.into_iter().map(lower).collect(),
            details: self.details.min_counts(&other.details),
        }
    }
}

/// The leftovers of a stopped server, and its last counts.
#[derive(Debug, Default)]
pub(crate) struct Ended {
    /// Restarts.
    pub(crate) restarts: u64,
    /// Turns, where the server counts them.
    pub(crate) turns: Option<u64>,
    /// The unit of the run's steps.
    pub(crate) per: Option<GrowthUnit>,
    /// The highest readings.
    pub(crate) bounds: Bounds,
    /// How long requests took, where that was watched.
    pub(crate) latency: Option<Latency>,
    /// Remarks for the report.
    pub(crate) notes: Vec<String>,
    /// Everything that could not be measured, with the reason.
    pub(crate) unmeasured: Vec<String>,
    /// The command lines of processes that had to be ended after the stop; none where leakgate did not stop the server.
    pub(crate) orphans: Option<Vec<String>>,
    /// The command lines of processes that a SIGKILL of the server left.
    pub(crate) by_kill: Option<Vec<String>>,
    /// Files that nobody removed.
    pub(crate) left: Option<Vec<PathBuf>>,
    /// Why a run that went to its end is no good all the same.
    pub(crate) failure: Option<String>,
}

/// Why a server could not be driven.
#[derive(Debug, Error)]
pub enum TargetError {
    /// The private folder could not be made.
    #[error("cannot make a private folder for the server below {}: {source}; free some space or set TMPDIR", std::env::temp_dir().display())]
    Folder {
        /// The system's words.
        source: std::io::Error,
    },
    /// The program could not be started.
    #[error("cannot start {}: {source}", program.display())]
    Spawn {
        /// The program.
        program: PathBuf,
        /// The system's words.
        source: std::io::Error,
    },
    /// The server ended, or printed no address, before it listened.
    #[error("the server did not start: {what}{}", quote_stderr(stderr))]
    Start {
        /// The event.
        what: String,
        /// The end of its stderr.
        stderr: String,
    },
    /// Its CLI is not the one that it should run.
    #[error("{what}")]
    OwnCli {
        /// Which one, how that is known, and what to do.
        what: String,
    },
    /// The stand-in for the API could not be started.
    #[error("cannot serve the stand-in for the API: {source}")]
    Api {
        /// The system's words.
        source: std::io::Error,
    },
    /// The system does not let it be observed.
    #[error("cannot list the system's processes: {what}; leakgate needs a readable /proc")]
    Probe {
        /// The system's words.
        what: String,
    },
    /// The server stopped answering.
    #[error("the server does not answer: {what}{}", quote_stderr(stderr))]
    Gone {
        /// The event.
        what: String,
        /// The end of its stderr.
        stderr: String,
    },
}

fn quote_stderr(stderr: &str) -> String {
    let end = stderr.trim_end();
    if end.is_empty() { String::new() } else { format!("; the end of its stderr:\n{end}") }
}

impl TargetError {
    /// The outcome of a run that this error ends.
    pub(crate) fn into_outcome(self) -> Outcome {
        Outcome::Failed { what: self.to_string() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_count_is_the_lowest_by_itself() {
        let rest = |restarts, processes, threads| Rest {
            restarts,
            values: Values::from([(Metric::Processes, processes), (Metric::Threads, threads)]),
            details: Details::default(),
        };
        let low = rest(1, 3, 7).min_counts(&rest(2, 2, 9));
        assert_eq!((low.restarts, low.values), (1, rest(1, 2, 7).values));
    }
}
