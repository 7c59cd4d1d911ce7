//! How many requests there are in a minute. Pure: it is told the time.
//!
//! Every minute counts, wherever it begins: a bucket that is refilled evenly would let nearly twice as many through in
//! one that begins with a full bucket. Times are kept by the tenth of a second, so that however many requests a minute
//! may have, what is kept is bounded; a request counts until its whole tenth is a minute ago.

use std::collections::VecDeque;
use std::time::Duration;

const TICK: Duration = Duration::from_millis(100);
/// A minute, and the tick that has begun.
const TICKS: u64 = 601;

/// The requests of the last minute.
#[derive(Debug)]
pub(super) struct Window {
    most: u64,
    /// Request counts of the ticks that had any, oldest first.
    ticks: VecDeque<(u64, u64)>,
    /// Their sum.
    count: u64,
}

impl Window {
    /// A window that admits `most` requests per minute.
    pub(super) fn new(most: u32) -> Self {
        Self { most: most.into(), ticks: VecDeque::new(), count: 0 }
    }

    /// Counts a request at `now`, which never goes back; or tells how long it is until one is let through, should no
    /// other come before it.
    pub(super) fn admit(&mut self, now: Duration) -> Result<(), Duration> {
        let tick = u64::try_from(now.as_millis() / TICK.as_millis()).unwrap_or(u64::MAX);
        while let Some((_, count)) = self.ticks.pop_front_if(|(then, _)| tick.saturating_sub(*then) >= TICKS) {
            self.count -= count;
        }
        if self.count >= self.most {
            let free = self.ticks.front().map_or(tick, |(oldest, _)| oldest.saturating_add(TICKS));
            let free = TICK.saturating_mul(u32::try_from(free).unwrap_or(u32::MAX));
            return Err(free.saturating_sub(now));
        }
        self.count += 1;
        match self.ticks.back_mut() {
            Some((last, count)) if *last == tick => *count += 1,
            _ => self.ticks.push_back((tick, 1)),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MINUTE: Duration = Duration::from_mins(1);

    proptest! {
        #[test]
        fn no_minute_has_too_many_and_after_the_wait_there_is_room(
            most in 1_u32..20,
            pauses in prop::collection::vec(prop_oneof![0_u64..50, 0_u64..5_000, 50_000_u64..70_000], 1..200),
        ) {
            let mut window = Window::new(most);
            let (mut now, mut admitted) = (Duration::ZERO, Vec::new());
            for pause in pauses {
                now += Duration::from_millis(pause);
                match window.admit(now) {
                    Ok(()) => admitted.push(now),
                    Err(wait) => {
                        prop_assert!(wait > Duration::ZERO && wait <= MINUTE + TICK, "{:?}", wait);
                        now += wait;
                        prop_assert_eq!(window.admit(now), Ok(()));
                        admitted.push(now);
                    }
                }
                prop_assert!(window.ticks.len() as u64 <= TICKS);
                prop_assert_eq!(window.count, window.ticks.iter().map(|(_, count)| count).sum::<u64>());
            }
            for (index, start) in admitted.iter().enumerate() {
                let within = admitted[index..].iter().take_while(|at| **at < *start + MINUTE).count();
                prop_assert!(within <= most as usize, "{} in the minute from {:?}", within, start);
            }
        }

        /// Nobody waits for long who keeps to the rate: one tenth is what it costs to remember by tenths.
        #[test]
        fn an_even_pace_just_above_a_minute_is_never_refused(most in 1_u32..20, start in 0_u64..100_000) {
            let mut window = Window::new(most);
            for n in 0..200_u64 {
                let now = Duration::from_millis(start + n * 60_200 / u64::from(most) + n);
                prop_assert_eq!(window.admit(now), Ok(()));
            }
        }
    }

    #[test]
    fn a_whole_minutes_requests_may_come_at_once() {
        let mut window = Window::new(1_000_000);
        for _ in 0..1_000_000 {
            assert_eq!(window.admit(Duration::from_secs(7)), Ok(()));
        }
        assert_eq!(window.ticks.len(), 1);
        assert_eq!(window.admit(Duration::from_secs(8)), Err(Duration::from_millis(59_100)));
    }
}
