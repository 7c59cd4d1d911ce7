//! Figures of a target as a whole, which have no growth: peak memory and latency.

use serde::{Deserialize, Serialize};

use leakgate_judge::sample::TargetRun;

/// A figure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Figure {
    /// The highest RSS of the server's own process, in MB (10^6 bytes).
    ServerRssMb,
    /// The highest RSS of its whole tree, in MB (10^6 bytes).
    TreeRssMb,
    /// The median latency of requests that no restart touched, in milliseconds.
    P50Ms,
    /// The 95th percentile of the same.
    P95Ms,
    /// The median latency of requests that a restart touched, in milliseconds.
    DuringP50Ms,
    /// The 95th percentile of the same.
    DuringP95Ms,
}

impl Figure {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::ServerRssMb, Self::TreeRssMb, Self::P50Ms, Self::P95Ms, Self::DuringP50Ms, Self::DuringP95Ms];

    /// Its value in a run; none where it was not measured.
    #[must_use]
    pub fn of(self, run: &TargetRun) -> Option<f64> {
        let between = run.latency.map(|latency| latency.between).filter(|of| of.requests > 0);
        let during = run.latency.map(|latency| latency.during).filter(|of| of.requests > 0);
        match self {
            Self::ServerRssMb => Some(run.bounds.server_rss_max_mb).filter(|mb| *mb > 0.0),
            Self::TreeRssMb => Some(run.bounds.tree_rss_max_mb).filter(|mb| *mb > 0.0),
            Self::P50Ms => between.map(|of| of.p50_ms),
            Self::P95Ms => between.map(|of| of.p95_ms),
            Self::DuringP50Ms => during.map(|of| of.p50_ms),
            Self::DuringP95Ms => during.map(|of| of.p95_ms),
        }
    }

    /// Its name in a file of budgets.
    #[must_use]
    pub fn key(self) -> &'static str {
        match self {
            Self::ServerRssMb => "server-rss-mb",
            Self::TreeRssMb => "tree-rss-mb",
            Self::P50Ms => "p50-ms",
            Self::P95Ms => "p95-ms",
            Self::DuringP50Ms => "during-p50-ms",
            Self::DuringP95Ms => "during-p95-ms",
        }
    }

    /// Its description.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::ServerRssMb => "peak server RSS",
            Self::TreeRssMb => "peak tree RSS",
            Self::P50Ms => "latency between restarts, p50",
            Self::P95Ms => "latency between restarts, p95",
            Self::DuringP50Ms => "latency during a restart, p50",
            Self::DuringP95Ms => "latency during a restart, p95",
        }
    }

    /// An amount of it.
    #[must_use]
    pub fn amount(self, value: f64) -> String {
        match self {
            Self::ServerRssMb | Self::TreeRssMb => format!("{value:.1} MB"),
            Self::P50Ms | Self::P95Ms | Self::DuringP50Ms | Self::DuringP95Ms => format!("{value:.1} ms"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_what_a_file_says() {
        for metric in Figure::ALL {
            assert_eq!(serde_json::to_value(metric).unwrap(), metric.key());
        }
    }
}
