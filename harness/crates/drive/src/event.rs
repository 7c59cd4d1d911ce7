//! Events of a measurement. The driver emits them and formats nothing; a listener shows them.

use leakgate_judge::sample::Outcome;

/// Something that happened.
#[derive(Debug, Clone, Copy)]
pub enum Event<'a> {
    /// Everything that will be measured is known.
    Planned {
        /// Restarts, all targets and controls together.
        restarts: u64,
    },
    /// A target is being started.
    Began {
        /// Which.
        subject: Subject<'a>,
    },
    /// A batch of load has ended.
    Moved {
        /// Which.
        subject: Subject<'a>,
        /// The readings after it.
        live: Live,
    },
    /// A target has stopped.
    Ended {
        /// Which.
        subject: Subject<'a>,
        /// How.
        outcome: &'a Outcome,
        /// How long it took, in seconds.
        seconds: f64,
    },
    /// A run cannot tell whether a target leaks, and the same is measured for twice as long in a fresh process.
    Doubled {
        /// Which, with what it is to reach now.
        subject: Subject<'a>,
    },
    /// A target leaks, and the same is measured once more in a fresh process.
    Repeated {
        /// Which.
        subject: Subject<'a>,
    },
    /// A heap leaks, and is profiled to find the lines that keep it.
    Profiled {
        /// The profile.
        subject: Subject<'a>,
    },
}

/// The target that an event is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subject<'a> {
    /// The scenario's name, or the control's.
    pub name: &'a str,
    /// The target's name.
    pub target: &'a str,
    /// Whether it is a control.
    pub control: bool,
    /// Restarts that it is to reach.
    pub goal: u64,
}

/// The numbers that are shown while it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Live {
    /// Restarts so far.
    pub restarts: u64,
    /// Live invokers.
    pub invokers: u64,
    /// RSS of the server, in bytes.
    pub server_rss: u64,
    /// RSS of its whole tree, in bytes.
    pub tree_rss: u64,
}

/// Receives every event, from several tasks at once.
pub trait Listener: Send + Sync {
    /// Called for each event; it must return soon.
    fn event(&self, event: Event<'_>);
}

/// Shows nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Listener for Silent {
    fn event(&self, _event: Event<'_>) {}
}
