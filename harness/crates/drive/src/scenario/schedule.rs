//! At which restart counts a target is read.
//!
//! Exact metrics need a reading after the warm-up and one at the end, and one between to see when it began. A heap needs
//! three readings of which each is at twice the restarts of the one before: between closer ones a growing vector may
//! show nothing.

/// The readings that are still to come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    /// In ascending order, with the least factor over the reading before.
    goals: Vec<(u64, u64)>,
    last: u64,
}

impl Schedule {
    /// For exact metrics.
    #[must_use]
    pub fn exact(warm_up: u64, restarts: u64) -> Self {
        Self::new(vec![(warm_up, 1), (warm_up + restarts / 2, 1), (warm_up + restarts, 1)])
    }

    /// For a heap: T, 2T and 4T after the warm-up.
    #[must_use]
    pub fn doubling(warm_up: u64, restarts: u64) -> Self {
        // Rounded up, so that the last checkpoint is never before the restarts that were asked for.
        let quarter = (warm_up + restarts).div_ceil(4).max(warm_up + 1);
        Self::new(vec![(warm_up, 1), (quarter, 1), (2 * quarter, 2), (4 * quarter, 2)])
    }

    fn new(goals: Vec<(u64, u64)>) -> Self {
        Self { goals, last: 0 }
    }

    /// The restarts at which the next reading is due; none after the last one.
    #[must_use]
    pub fn next(&self) -> Option<u64> {
        self.goals.first().map(|&(goal, factor)| goal.max(self.last * factor))
    }

    /// Whether the next reading is the last one.
    #[must_use]
    pub fn is_last(&self) -> bool {
        self.goals.len() == 1
    }

    /// The restarts at which the last reading is due, if no reading comes late.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.goals.last().map_or(self.last, |&(goal, _)| goal)
    }

    /// The next reading was taken, at this many restarts.
    pub fn advance(&mut self, restarts: u64) {
        if !self.goals.is_empty() {
            self.goals.remove(0);
        }
        self.last = restarts;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn readings(mut schedule: Schedule, late: u64) -> Vec<u64> {
        let mut taken = Vec::new();
        while let Some(goal) = schedule.next() {
            taken.push(goal + late);
            schedule.advance(goal + late);
        }
        taken
    }

    #[test]
    fn a_heap_is_read_at_doubling_counts_however_late_a_reading_comes() {
        assert_eq!(readings(Schedule::doubling(50, 300), 0), [50, 88, 176, 352]);
        assert_eq!(readings(Schedule::doubling(50, 300), 2), [52, 90, 182, 366]);
    }

    #[test]
    fn exact_signals_are_read_after_the_warm_up_in_the_middle_and_at_the_end() {
        assert_eq!(readings(Schedule::exact(50, 300), 0), [50, 200, 350]);
    }

    #[test]
    fn a_short_heap_run_still_has_three_doubling_readings() {
        assert_eq!(readings(Schedule::doubling(10, 4), 0), [10, 11, 22, 44]);
    }
}
