//! One server to drive, and the load and limits of its run.

use std::fmt::Debug;

use futures_util::future::BoxFuture;

use crate::event::{Listener, Subject};
use leakgate_judge::sample::TargetRun;

/// One server to be driven, ours or any other.
pub trait Assignment: Debug + Send + Sync {
    /// Its name in events.
    fn subject(&self) -> Subject<'_>;

    /// The record of a run that has measured nothing yet.
    fn empty_run(&self) -> TargetRun;

    /// The same for twice as many restarts.
    fn with_doubled_restarts(&self) -> Box<dyn Assignment>;

    /// Whether it can be measured once more in a fresh process.
    fn can_repeat(&self) -> bool;

    /// Whether the server is somebody else's: it is proved to start before controls take their time.
    fn is_external(&self) -> bool;

    /// Drives the server to the end, or as far as it goes, and stops it. Of what leakgate started nothing is left, unless
    /// this is dropped before its end.
    fn drive<'a>(&'a self, listener: &'a dyn Listener) -> BoxFuture<'a, TargetRun>;

    /// Starts the server, proves that it is what it should be, and stops it, without any load. The result is what is stored
    /// when the proof fails.
    fn check_start<'a>(&'a self, listener: &'a dyn Listener) -> BoxFuture<'a, Option<TargetRun>>;
}
