//! A reading of a server that is not ours, as exact as it can be had from outside.
//!
//! At rest is what reads the same four times, 100 ms apart, and says that it is idle, if it says so at all. Such a server

use std::time::{Duration, Instant};

use tokio::time::sleep;

use super::server::Server;
use super::watch::Watch;
use crate::target::Values;

const DEADLINE: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(100);
const EQUAL: u32 = 3;

/// Waits until nothing moves. The error is what still moved.
pub(super) async fn settle(server: &Server, watch: &mut Watch) -> Result<Values, String> {
    let start = Instant::now();
    let mut before = read(watch);
    let (mut equal, mut moving) = (0, String::new());
    loop {
        sleep(PAUSE).await;
        let now = read(watch);
        if now == before {
            equal += 1;
        } else {
            (equal, moving) = (0, describe_difference(&before, &now));
        }
        if equal >= EQUAL {
            // Asked only when the counts stand still: the question itself is a request that moves them.
            match server.is_idle().await {
                Ok(true) if read(watch) == now => return Ok(now),
                Ok(true) => {}
                Ok(false) => "it says that it is not idle".clone_into(&mut moving),
                Err(problem) => moving = problem,
            }
        }
        if start.elapsed() > DEADLINE {
            return Err(moving);
        }
        before = now;
    }
}

fn read(watch: &mut Watch) -> Values {
    watch.read_tree();
    watch.probe.read_counts()
}

fn describe_difference(before: &Values, now: &Values) -> String {
    let changed = now.iter().filter_map(|(metric, value)| {
        let old = before.get(metric).filter(|old| *old != value)?;
        Some(format!("{} ({old} then {value})", metric.name()))
    });
    changed.collect::<Vec<_>>().join(", ")
}
