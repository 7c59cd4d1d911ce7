//! The facts of one moment, as metrics that live for one reading.

use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use super::fixed::FixedFamily;
use crate::pool::TreeMemory;
use crate::pool::status::{PoolState, PoolStatus};

/// The prefix of every metric name.
pub(super) const PREFIX: &str = "ccw";

/// Gauges at the time of a scrape.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// Of the pool.
    pub status: PoolStatus,
    /// Of the server and everything below it.
    pub memory: TreeMemory,
    /// The tree's memory above which there is an alert, in bytes.
    pub memory_alert: u64,
    /// Lines of the log that were lost since the start.
    pub lost_log_lines: u64,
}

const STATES: [(PoolState, &str); 4] = [
    (PoolState::Starting, "starting"),
    (PoolState::Ready, "ready"),
    (PoolState::Offline, "offline"),
    (PoolState::Stopping, "stopping"),
];

impl Snapshot {
    /// `since` is when the server started, in seconds since 1970.
    pub(super) fn registry(&self, since: f64) -> Registry {
        let mut registry = Registry::with_prefix(PREFIX);
        registry.register("build", "The program", Info::new([("version", env!("CARGO_PKG_VERSION"))]));
        registry.register_with_unit(
            "start_time",
            "When the server started, in seconds since 1970",
            Unit::Seconds,
            ConstGauge::new(since),
        );
        registry.register(
            "containment",
            "What keeps CLI processes from outliving the server",
            Info::new([("tier", self.memory.containment)]),
        );
        registry.register(
            "log_lines_lost",
            "Lines of the log that nobody will read: stderr could not be written to, or not soon enough",
            ConstCounter::new(self.lost_log_lines),
        );
        self.register_pool(&mut registry);
        self.register_processes(&mut registry);
        registry
    }

    fn register_pool(&self, registry: &mut Registry) {
        let status = &self.status;
        let known = STATES.map(|(state, name)| ([name], ConstGauge::new(i64::from(state == status.state))));
        registry.register(
            "pool_state",
            "1 for the state that the pool is in",
            FixedFamily::from_rows(["state"], known),
        );
        let quota = status.quota_in.map_or(0.0, |wait| wait.as_secs_f64());
        registry.register_with_unit(
            "rate_limit_resets",
            "Until the account's quota is renewed, in seconds; 0 while it is not used up",
            Unit::Seconds,
            ConstGauge::new(quota),
        );
        register_gauge(registry, "queue_waiting", "Requests that wait for a slot", status.waiting);
        register_gauge(
            registry,
            "invokers_live",
            "Invokers whose process tree is not known to be empty, those that start or stop included",
            status.live,
        );
        register_gauge(
            registry,
            "invokers_high_water",
            "The largest ccw_invokers_live since the start",
            status.high_water,
        );
        register_gauge(
            registry,
            "invokers_limit",
            "How many invokers may be live: the slots and one",
            status.slots + 1,
        );
        register_gauge(registry, "invokers_busy", "Invokers that run a turn", status.busy);
        register_gauge(
            registry,
            "invokers_standby",
            "Invokers that are ready or start to take a slot over",
            status.standby,
        );
        registry.register("invoker_starts", "Invokers that were started", ConstCounter::new(status.started));
        let restarts = status.restarts.by_reason().map(|(reason, count)| ([reason.as_str()], ConstCounter::new(count)));
        registry.register(
            "restarts",
            "Slots that have switched to a new invoker, by why",
            FixedFamily::from_rows(["reason"], restarts),
        );
    }

    fn register_processes(&self, registry: &mut Registry) {
        let memory = &self.memory;
        register_gauge(
            registry,
            "cli_processes",
            "Processes below the server that are not keepers: the CLIs, and whatever they started",
            memory.cli_processes,
        );
        let mut bytes = |name: &str, help: &str, bytes: u64| {
            let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
            registry.register_with_unit(name, help, Unit::Bytes, ConstGauge::new(bytes));
        };
        bytes("server_rss", "Resident memory of the server alone, in bytes; it tells nothing of its CLIs", memory.rss);
        bytes("tree_rss", "Resident memory of the server and of every process below it, in bytes", memory.tree_rss);
        bytes("tree_rss_alert", "Above this ccw_tree_rss_bytes is an alert in /health, in bytes", self.memory_alert);
    }
}

fn register_gauge(registry: &mut Registry, name: &str, help: &str, value: usize) {
    registry.register(name, help, ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX)));
}
