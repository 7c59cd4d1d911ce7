//! Waiting until nothing moves, because only then are counts exact.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use thiserror::Error;
use tokio::time::sleep;

use crate::probe::Probe;
use crate::target::{Target, TargetError};
use leakgate_judge::sample::Signal;
use leakgate_session::stats::Stats;

/// Longer than the longest timer of the protocol between server and CLI.
const DEADLINE: Duration = Duration::from_secs(15);
/// Between two readings: long enough for a woken task to have run.
const PAUSE: Duration = Duration::from_millis(10);
/// Before the confirming reading: what is freed a moment later is gone by then.
const LAST_PAUSE: Duration = Duration::from_millis(25);

/// A reading of every exact signal, at rest.
#[derive(Debug, Clone, PartialEq)]
pub struct Settled {
    /// Every signal that this target has at a checkpoint.
    pub values: BTreeMap<Signal, u64>,
    /// What the target said.
    pub stats: Stats,
}

/// Why there is no reading.
#[derive(Debug, Error)]
pub enum SettleError {
    /// Something kept moving.
    #[error("the server did not come to rest: {moving}")]
    Moving {
        /// What.
        moving: String,
    },
    /// The target failed.
    #[error(transparent)]
    Target(#[from] TargetError),
}

/// Waits until three readings in a row are the same and the pool is at rest.
pub async fn settle(target: &mut Target, probe: &mut Probe) -> Result<Settled, SettleError> {
    let start = Instant::now();
    let mut before: Option<Settled> = None;
    let mut same = 0;
    loop {
        let now = read(target, probe).await?;
        let unchanged = before.as_ref().is_some_and(|before| before.values == now.values);
        same = if unchanged && now.stats.pool.settled { same + 1 } else { 0 };
        if same == 2 {
            return Ok(now);
        }
        if start.elapsed() > DEADLINE {
            return Err(SettleError::Moving { moving: moving(before.as_ref(), &now) });
        }
        before = Some(now);
        sleep(if same == 1 { LAST_PAUSE } else { PAUSE }).await;
    }
}

async fn read(target: &mut Target, probe: &mut Probe) -> Result<Settled, TargetError> {
    let stats = target.stats().await?;
    let mut values = probe.counts();
    values.insert(Signal::LiveInvokers, stats.pool.live);
    values.insert(Signal::Tasks, stats.tasks);
    if let Some(heap) = stats.heap {
        values.insert(Signal::HeapBlocks, heap.blocks);
        values.insert(Signal::HeapBytes, heap.bytes);
    }
    Ok(Settled { values, stats })
}

fn moving(before: Option<&Settled>, now: &Settled) -> String {
    let pool = &now.stats.pool;
    let mut found = Vec::new();
    if !pool.settled {
        found.push(format!(
            "the pool (state {}, {} live, {} standby, {} busy, {} waiting)",
            pool.state, pool.live, pool.standby, pool.busy, pool.waiting
        ));
    }
    for (signal, after) in &now.values {
        match before.and_then(|before| before.values.get(signal)) {
            Some(value) if value != after => found.push(format!("{signal:?} ({value} then {after})")),
            _ => {}
        }
    }
    if found.is_empty() { "something that changed only now and then".to_owned() } else { found.join(", ") }
}
