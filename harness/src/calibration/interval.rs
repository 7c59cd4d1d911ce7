//! Exact confidence intervals for a proportion.

use serde::{Deserialize, Serialize};
use statrs::distribution::{Beta, ContinuousCDF};

/// A range of probabilities, each from 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// The lowest.
    pub low: f64,
    /// The highest.
    pub high: f64,
}

/// The probability outside of the interval on either side, for 95 % coverage.
const TAIL: f64 = 0.025;

impl Interval {
    /// The exact 95 % interval of Clopper and Pearson (1934) for `successes` of `trials`: quantiles of beta
    /// distributions. The interval is conservative, also where all or none succeeded, and covers 0 to 1 where nothing was tried.
    #[must_use]
    pub fn clopper_pearson(successes: u64, trials: u64) -> Self {
        let successes = successes.min(trials);
        let failures = trials - successes;
        let quantile = |a: u64, b: u64, at: f64| Beta::new(to_f64(a), to_f64(b)).map(|beta| beta.inverse_cdf(at));
        let low = if successes == 0 { Ok(0.0) } else { quantile(successes, failures + 1, TAIL) };
        let high = if failures == 0 { Ok(1.0) } else { quantile(successes + 1, failures, 1.0 - TAIL) };
        // Both parameters are at least 1, which is all that a beta distribution asks for.
        Self { low: low.unwrap_or(0.0), high: high.unwrap_or(1.0) }
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts of trials stay far below 2^53")]
fn to_f64(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use statrs::distribution::{Binomial, DiscreteCDF};

    use super::*;

    #[test]
    fn the_intervals_are_those_of_the_closed_forms_at_the_ends() {
        // All of n: the n-th root of the tail. None of n: one less that.
        let all = Interval::clopper_pearson(20, 20);
        assert!((all.low - 0.025_f64.powf(1.0 / 20.0)).abs() < 1e-9 && (all.high - 1.0).abs() < 1e-9, "{all:?}");
        let none = Interval::clopper_pearson(0, 200);
        assert!((none.high - (1.0 - 0.025_f64.powf(1.0 / 200.0))).abs() < 1e-9 && none.low == 0.0, "{none:?}");
        assert_eq!(Interval::clopper_pearson(0, 0), Interval { low: 0.0, high: 1.0 });
    }

    proptest! {
        #[test]
        fn at_its_ends_what_was_seen_is_just_as_unlikely_as_it_may_be(trials in 1_u64..300, share in 0.0_f64..=1.0) {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of a small count")]
            let seen = (share * to_f64(trials)) as u64;
            let Interval { low, high } = Interval::clopper_pearson(seen, trials);
            if seen > 0 {
                let as_many = 1.0 - Binomial::new(low, trials).unwrap().cdf(seen - 1);
                prop_assert!((as_many - TAIL).abs() < 1e-6, "{as_many}");
            }
            if seen < trials {
                let as_few = Binomial::new(high, trials).unwrap().cdf(seen);
                prop_assert!((as_few - TAIL).abs() < 1e-6, "{as_few}");
            }
        }
    }
}
