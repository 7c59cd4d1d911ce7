//! Waiting until nothing moves, because only then are counts exact.

use std::time::{Duration, Instant};

use tokio::time::sleep;

use super::server::Server;
use crate::probe::Probe;
use crate::target::{TargetError, Values};
use leakgate_judge::sample::{Metric, Outcome};
use leakgate_session::stats::Stats;

/// Longer than the longest timer of the protocol between server and CLI.
const DEADLINE: Duration = Duration::from_secs(15);
/// Between two readings: long enough for a woken task to have run.
const PAUSE: Duration = Duration::from_millis(10);
/// Before the confirming reading: what is freed a moment later is gone by then.
const LAST_PAUSE: Duration = Duration::from_millis(25);

/// Waits until three readings in a row are the same and the pool is at rest.
pub(super) async fn settle(server: &mut Server, probe: &mut Probe) -> Result<(Values, Stats), Outcome> {
    let start = Instant::now();
    let mut before: Option<Values> = None;
    let mut same = 0;
    loop {
        let (values, stats) = read(server, probe).await.map_err(TargetError::into_outcome)?;
        let is_unchanged = before.as_ref() == Some(&values);
        same = if is_unchanged && stats.pool.settled { same + 1 } else { 0 };
        if same == 2 {
            return Ok((values, stats));
        }
        if start.elapsed() > DEADLINE {
            return Err(Outcome::NotSettled { moving: describe_motion(before.as_ref(), &values, &stats) });
        }
        before = Some(values);
        // The reading that confirms waits longer, so that a free that is still on its way is not missed.
        sleep(if same == 1 { LAST_PAUSE } else { PAUSE }).await;
    }
}

async fn read(server: &mut Server, probe: &mut Probe) -> Result<(Values, Stats), TargetError> {
    let stats = server.stats().await?;
    // The stats first: answering them must not open anything that the counts would see.
    let mut values = probe.read_counts();
    values.insert(Metric::LiveInvokers, stats.pool.live);
    values.insert(Metric::Tasks, stats.tasks);
    if let Some(heap) = stats.heap {
        values.insert(Metric::HeapBlocks, heap.blocks);
        values.insert(Metric::HeapBytes, heap.bytes);
    }
    Ok((values, stats))
}

fn describe_motion(before: Option<&Values>, now: &Values, stats: &Stats) -> String {
    let pool = &stats.pool;
    let mut found = Vec::new();
    if !pool.settled {
        found.push(format!(
            "the pool (state {}, {} live, {} standby, {} busy, {} waiting)",
            pool.state, pool.live, pool.standby, pool.busy, pool.waiting
        ));
    }
    for (metric, after) in now {
        match before.and_then(|before| before.get(metric)) {
            Some(value) if value != after => found.push(format!("{metric:?} ({value} then {after})")),
            _ => {}
        }
    }
    if found.is_empty() { "something that changed only now and then".to_owned() } else { found.join(", ") }
}
