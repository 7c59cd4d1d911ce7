//! A reading of a server that is not ours, as exact as it can be had from outside.
//!
//! At rest is what reads the same four times, 100 ms apart, and says that it is idle, if it says so at all. Such a server
//! may start its next CLI only with the next request, so that one more process is no growth but the moment. Therefore
//! a checkpoint is the lowest of [`READINGS`] readings, each count by itself, with a few requests between them: what
//! leaks is in all of them.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use tokio::time::sleep;

use super::server::Server;
use super::watch::Watch;
use leakgate_judge::sample::Signal;

/// Readings of a checkpoint.
pub(super) const READINGS: u32 = 5;

const DEADLINE: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(100);
const EQUAL: u32 = 3;

/// Every count.
pub(super) type Values = BTreeMap<Signal, u64>;

/// Waits until nothing moves. The error is what still moved.
pub(super) async fn settle(server: &Server<'_>, watch: &mut Watch) -> Result<Values, String> {
    let start = Instant::now();
    let mut before = read(watch);
    let (mut equal, mut moving) = (0, String::new());
    loop {
        sleep(PAUSE).await;
        let now = read(watch);
        if now == before {
            equal += 1;
        } else {
            (equal, moving) = (0, difference(&before, &now));
        }
        if equal >= EQUAL {
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

/// The lower of each count.
pub(super) fn lowest(a: Values, b: &Values) -> Values {
    a.into_iter().map(|(signal, value)| (signal, value.min(*b.get(&signal).unwrap_or(&value)))).collect()
}

fn read(watch: &mut Watch) -> Values {
    watch.look();
    watch.probe.counts()
}

fn difference(before: &Values, now: &Values) -> String {
    let changed = now.iter().filter_map(|(signal, value)| {
        let old = before.get(signal).filter(|old| *old != value)?;
        Some(format!("{} ({old} then {value})", signal.name()))
    });
    changed.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_count_is_the_lowest_by_itself() {
        let values = |processes, threads| Values::from([(Signal::Processes, processes), (Signal::Threads, threads)]);
        assert_eq!(lowest(values(3, 7), &values(2, 9)), values(2, 7));
    }
}
