//! Known growth: each exception names a metric, the allowed amount, the reason, its owner and its expiry date. An expired exception is refused before a run starts; a stored run is judged by the exceptions of its time.

use super::words::{format_amount, to_f64};
use super::{Finding, MetricVerdict};
use crate::sample::{Exception, TargetRun};

/// Takes back the leaks that an exception allows, and asks for no longer run about growth that is allowed.
pub(super) fn apply_exceptions(run: &TargetRun, rows: &mut [MetricVerdict]) {
    for exception in run.plan.exceptions() {
        let grows = |row: &MetricVerdict| matches!(row.verdict, Finding::Leak | Finding::Saturating);
        let named = |row: &&mut MetricVerdict| row.name == exception.metric && grows(row);
        if let Some(row) = rows.iter_mut().find(named) {
            excuse_growth(row, exception);
        }
    }
}

fn excuse_growth(row: &mut MetricVerdict, exception: &Exception) {
    let Exception { metric, allow, reason, owner, expires } = exception;
    // The peak counts too: growth that was released again before the last reading exceeded the allowance as well.
    let grown = row.last.max(row.max).unwrap_or(0).saturating_sub(row.first.unwrap_or(0));
    let allowed = format_amount(*metric, to_f64(*allow));
    if grown <= *allow {
        row.verdict = Finding::Shown;
        row.reason = format!("{}; up to {allowed} are allowed until {expires}: {reason} ({owner})", row.reason);
    } else {
        row.reason = format!("{}; only {allowed} are allowed until {expires} ({owner})", row.reason);
    }
}
