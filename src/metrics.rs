//! Counters and histograms, encoded as OpenMetrics text.
//!
//! Counters and histograms live here; everything that is a fact of the moment is read when somebody asks ([`Snapshot`]).
//! Every series exists from the start and none is ever added, so neither the memory nor the text grows with requests,
//! paths, models or restarts: a label has values from a list in this module or from the server's routes, and what is in
//! no list counts as `other`. No samples are kept.
//!
//! This module knows nothing of HTTP: its caller says which route and which status.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use crate::invoker::reason::RestartReason;
use crate::pool::observer::{LifeEvent, Observer};
use crate::turn::{TurnError, Usage};

mod fixed;
mod snapshot;

use fixed::FixedFamily;
pub(crate) use snapshot::Snapshot;

/// The media type of [`Metrics::encode_text`].
pub(crate) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The value of a label for whatever is in no list.
pub(crate) const OTHER: &str = "other";

/// The status of a request whose client left before the end of its reply (nginx's number; it is never sent).
pub(crate) const CLIENT_LEFT: &str = "499";

/// All statuses with a series of their own.
const STATUSES: [&str; 19] = [
    "200",
    "400",
    "401",
    "403",
    "404",
    "405",
    "408",
    "409",
    "413",
    "415",
    "422",
    "429",
    CLIENT_LEFT,
    "500",
    "501",
    "502",
    "503",
    "504",
    OTHER,
];

/// Upper bounds in seconds: from what a probe takes to the longest turn by default.
const SECONDS: [f64; 16] =
    [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0];

/// How a request's wait for an invoker ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// An invoker took its turn.
    Served,
    /// The request was refused, at once or from the queue.
    Refused,
    /// The client left.
    Left,
}

impl Wait {
    const ALL: [&'static str; 3] = ["served", "refused", "left"];

    fn label(self) -> &'static str {
        Self::ALL[self as usize]
    }
}

/// How a turn ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// With a reply.
    Done,
    /// With an error.
    Failed,
    /// The client left.
    GivenUp,
}

impl Outcome {
    const ALL: [&'static str; 3] = ["done", "failed", "given_up"];

    fn label(self) -> &'static str {
        Self::ALL[self as usize]
    }
}

const ERRORS: [&str; 9] =
    ["api", "cli", "deadline", "unknown_model", "queue_full", "queue_timeout", "offline", "rate_limited", "stopping"];

fn error_label(error: &TurnError) -> &'static str {
    match error {
        TurnError::Api { .. } => "api",
        TurnError::Cli(_) => "cli",
        TurnError::Deadline { .. } => "deadline",
        TurnError::UnknownModel { .. } => "unknown_model",
        TurnError::QueueFull { .. } => "queue_full",
        TurnError::QueueTimeout(_) => "queue_timeout",
        TurnError::Offline { .. } => "offline",
        TurnError::RateLimited { .. } => "rate_limited",
        TurnError::Stopping => "stopping",
    }
}

const TOKENS: [&str; 4] = ["input", "cache_creation", "cache_read", "output"];

/// Why a slot changed hands, as far as its empty time depends on it.
const RESTARTS: [&str; 2] = ["planned", "recovery"];

/// Everything that is counted and timed.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    routes: &'static [&'static str],
    requests: FixedFamily<2, Counter>,
    request_seconds: FixedFamily<1, Histogram>,
    wait_seconds: FixedFamily<1, Histogram>,
    turn_seconds: FixedFamily<1, Histogram>,
    turn_errors: FixedFamily<1, Counter>,
    tokens: FixedFamily<1, Counter>,
    start_seconds: Histogram,
    restart_seconds: FixedFamily<1, Histogram>,
    failures: Counter,
    /// The largest RSS with which an invoker's tree became ready, in bytes; 0 before the first one.
    ready_rss: AtomicU64,
    /// When this was made, in seconds since 1970.
    since: f64,
}

impl Metrics {
    /// All at zero. `routes` are the templates that requests are counted by.
    #[must_use]
    pub fn new(routes: &'static [&'static str]) -> Self {
        let seconds = || Histogram::new(SECONDS);
        let with_other = || routes.iter().copied().chain([OTHER]);
        let pairs = with_other().flat_map(|route| STATUSES.map(|status| [route, status]));
        let mut metrics = Self {
            registry: Registry::with_prefix(snapshot::PREFIX),
            routes,
            requests: FixedFamily::new(["route", "status"], pairs, Counter::default),
            request_seconds: FixedFamily::new(["route"], with_other().map(|route| [route]), seconds),
            wait_seconds: FixedFamily::new(["outcome"], Wait::ALL.map(|outcome| [outcome]), seconds),
            turn_seconds: FixedFamily::new(["outcome"], Outcome::ALL.map(|outcome| [outcome]), seconds),
            turn_errors: FixedFamily::new(["error"], ERRORS.map(|error| [error]), Counter::default),
            tokens: FixedFamily::new(["kind"], TOKENS.map(|kind| [kind]), Counter::default),
            start_seconds: seconds(),
            restart_seconds: FixedFamily::new(["kind"], RESTARTS.map(|kind| [kind]), seconds),
            failures: Counter::default(),
            ready_rss: AtomicU64::new(0),
            since: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64(),
        };
        metrics.register_all();
        metrics
    }

    fn register_all(&mut self) {
        let registry = &mut self.registry;
        registry.register(
            "http_requests",
            "Requests whose reply has ended, by route and status; 499: the client left before the end",
            self.requests.clone(),
        );
        registry.register(
            "turn_errors",
            "Turns that were refused or ended badly, by what was wrong",
            self.turn_errors.clone(),
        );
        registry.register("tokens", "Tokens of the turns that ended well, as the CLI counts them", self.tokens.clone());
        registry.register(
            "invoker_failures",
            "Invokers that failed rather than being stopped as planned",
            self.failures.clone(),
        );
        let mut timed = |name: &str, help: &str, metric: FixedFamily<1, Histogram>| {
            registry.register_with_unit(name, help, Unit::Seconds, metric);
        };
        timed(
            "http_request_duration",
            "From a request's header to the end of its reply, in seconds",
            self.request_seconds.clone(),
        );
        timed(
            "queue_wait",
            "From asking for a turn until an invoker takes it, or nobody will, in seconds",
            self.wait_seconds.clone(),
        );
        timed(
            "turn_duration",
            "From an invoker's taking a turn to the turn's end, in seconds",
            self.turn_seconds.clone(),
        );
        timed(
            "restart_duration",
            "How long a restart left its slot with nobody who takes turns, in seconds; 0 where a standby took over",
            self.restart_seconds.clone(),
        );
        registry.register_with_unit(
            "invoker_start_duration",
            "From asking for a CLI process until it is ready, in seconds",
            Unit::Seconds,
            self.start_seconds.clone(),
        );
    }

    /// The name that requests of this route template are counted under.
    #[must_use]
    pub fn route_label(&self, template: &str) -> &'static str {
        self.routes.iter().find(|route| **route == template).copied().unwrap_or(OTHER)
    }

    /// A request's reply has ended.
    pub fn record_request(&self, route: &str, status: &str, took: Duration) {
        let status = if STATUSES.contains(&status) { status } else { OTHER };
        self.requests.update([route, status], Counter::inc);
        self.request_seconds.update([route], |seconds| seconds.observe(took.as_secs_f64()));
    }

    /// A request does not wait for an invoker any more.
    pub fn record_wait(&self, outcome: Wait, took: Duration) {
        self.wait_seconds.update([outcome.label()], |seconds| seconds.observe(took.as_secs_f64()));
    }

    /// A turn that an invoker had taken is over.
    pub fn record_turn(&self, outcome: Outcome, took: Duration) {
        self.turn_seconds.update([outcome.label()], |seconds| seconds.observe(took.as_secs_f64()));
    }

    /// A turn was refused or ended badly.
    pub fn record_turn_error(&self, error: &TurnError) {
        self.turn_errors.update([error_label(error)], Counter::inc);
    }

    /// Records the tokens of a turn that ended with a reply.
    pub fn record_tokens(&self, usage: Usage) {
        let Usage { input, cache_creation, cache_read, output } = usage;
        for (kind, count) in TOKENS.into_iter().zip([input, cache_creation, cache_read, output]) {
            self.tokens.update([kind], |tokens| tokens.inc_by(count));
        }
    }

    /// The largest RSS with which an invoker's process tree became ready, in bytes; none before the first one.
    #[must_use]
    pub fn ready_rss(&self) -> Option<u64> {
        Some(self.ready_rss.load(Ordering::Relaxed)).filter(|rss| *rss > 0)
    }

    /// Everything as text, with the facts of this moment.
    pub fn encode_text(&self, snapshot: &Snapshot) -> Result<String, fmt::Error> {
        let mut text = String::with_capacity(64 * 1024);
        encode_registry(&mut text, &self.registry)?;
        encode_registry(&mut text, &snapshot.registry(self.since))?;
        encode_eof(&mut text)?;
        Ok(text)
    }
}

impl Observer for Metrics {
    fn event(&self, event: &LifeEvent) {
        match event {
            LifeEvent::Ready { took, rss, .. } => {
                self.start_seconds.observe(took.as_secs_f64());
                self.ready_rss.fetch_max(*rss, Ordering::Relaxed);
            }
            LifeEvent::Switched { reason, vacant, .. } => {
                let kind = if *reason == RestartReason::Recovery { "recovery" } else { "planned" };
                self.restart_seconds.update([kind], |seconds| seconds.observe(vacant.as_secs_f64()));
            }
            LifeEvent::Stopped { failed: true, .. } => {
                self.failures.inc();
            }
            LifeEvent::Started { .. } | LifeEvent::Stopped { .. } | LifeEvent::State { .. } => {}
        }
    }
}
