//! Two small samples of slopes, and how surely one is above the other. Pure, and exact: nothing is approximated by a
//! normal distribution, which is no good for five values.

use std::cmp::Ordering;

use leakgate_judge::statistics::median;

/// The most values of both samples together: all their arrangements are counted one by one.
pub(crate) const MAX_VALUES: usize = 20;

/// The median of the slopes between all pairs of points (Theil 1950, Sen 1968): up to 29 % of wild points do not move it
/// far. Pairs at the same place say nothing and are left out; without any other pair there is no slope.
#[must_use]
pub(crate) fn theil_sen(points: &[(f64, f64)]) -> Option<f64> {
    let mut slopes = Vec::new();
    for (at, (x, y)) in points.iter().enumerate() {
        let later = points.iter().skip(at + 1);
        slopes.extend(
            later
                .filter(|(other, _)| other.partial_cmp(x) != Some(Ordering::Equal))
                .map(|(other, value)| (value - y) / (other - x)),
        );
    }
    median(&slopes)
}

/// How much higher the second sample lies: the median of all differences (Hodges and Lehmann 1963), which belongs to
/// the test of [`mann_whitney`].
#[must_use]
pub(crate) fn hodges_lehmann_shift(lower: &[f64], higher: &[f64]) -> Option<f64> {
    let differences: Vec<f64> = lower.iter().flat_map(|low| higher.iter().map(move |high| high - low)).collect();
    median(&differences)
}

/// The exact one-sided p of Mann and Whitney (1947): the share of all ways to deal the pooled values to two samples of
/// these sizes in which the second comes out at least as high as it did.
///
/// Ties count one half each, and the ways are those of the values as they are, ties included; so the result is exact
/// with them too, and 1 where all values are the same. None for an empty sample, for more than [`MAX_VALUES`] values, and for
/// values that are no numbers.
#[must_use]
pub(crate) fn mann_whitney(lower: &[f64], higher: &[f64]) -> Option<f64> {
    let pooled: Vec<f64> = lower.iter().chain(higher).copied().collect();
    if lower.is_empty() || higher.is_empty() || pooled.len() > MAX_VALUES || pooled.iter().any(|value| value.is_nan()) {
        return None;
    }
    let ranks: Vec<u32> = pooled.iter().map(|value| double_rank(&pooled, *value)).collect();
    let observed: u32 = ranks.iter().skip(lower.len()).sum();
    let (mut ways, mut as_high) = (0_u32, 0_u32);
    for chosen in 0_u32..1 << pooled.len() {
        if chosen.count_ones() as usize == higher.len() {
            ways += 1;
            as_high += u32::from(sum_of(&ranks, chosen) >= observed);
        }
    }
    Some(f64::from(as_high) / f64::from(ways))
}

/// Twice the mean rank, so that ties stay whole numbers and sums can be compared exactly. The sum of a sample's ranks
/// orders the ways as Mann and Whitney's U does.
fn double_rank(pooled: &[f64], value: f64) -> u32 {
    let weight = |other: &f64| match other.partial_cmp(&value) {
        Some(Ordering::Less) => 2,
        Some(Ordering::Equal) => 1,
        _ => 0,
    };
    pooled.iter().map(weight).sum()
}

fn sum_of(ranks: &[u32], chosen: u32) -> u32 {
    ranks.iter().enumerate().filter(|(at, _)| chosen >> at & 1 == 1).map(|(_, rank)| rank).sum()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LOW: [f64; 5] = [1.0, 2.0, 3.0, 4.0, 5.0];

    fn close(a: Option<f64>, b: f64) -> bool {
        a.is_some_and(|a| (a - b).abs() < 1e-12)
    }

    #[test]
    fn five_above_five_is_one_of_252_ways() {
        assert!(close(mann_whitney(&LOW, &[6.0, 7.0, 8.0, 9.0, 10.0]), 1.0 / 252.0));
        assert!(close(mann_whitney(&LOW, &[5.5, 6.0, 7.0, 8.0, 4.5]), 2.0 / 252.0), "one pair the other way round");
        assert!(close(mann_whitney(&[6.0, 7.0, 8.0, 9.0, 10.0], &LOW), 1.0));
    }

    /// The published table of U for 5 and 5: P(U <= 0, 1, 2, 3, 4) = 0.004, 0.008, 0.016, 0.028, 0.048.
    #[test]
    fn the_distribution_is_that_of_the_tables() {
        let mut ways = [0_u32; 26];
        let ranks: Vec<u32> = (0..10).map(|rank| 2 * rank + 1).collect();
        for chosen in (0_u32..1 << 10).filter(|chosen| chosen.count_ones() == 5) {
            ways[(sum_of(&ranks, chosen) / 2 - 12) as usize] += 1;
        }
        assert_eq!((ways.iter().sum::<u32>(), &ways[..5]), (252, &[1, 1, 2, 3, 5][..]));
        assert!(ways.iter().eq(ways.iter().rev()), "{ways:?}");
    }

    #[test]
    fn ties_make_nothing_surer_than_it_is() {
        assert!(close(mann_whitney(&[1.0; 5], &[1.0; 5]), 1.0));
        assert!(close(mann_whitney(&[0.0; 5], &[1.0; 5]), 1.0 / 252.0));
        // The 6 that is in both samples may be in either: two ways are as high.
        assert!(close(mann_whitney(&[1.0, 2.0, 3.0, 4.0, 6.0], &[6.0, 7.0, 8.0, 9.0, 10.0]), 2.0 / 252.0));
    }

    #[test]
    fn without_values_or_with_none_that_is_a_number_there_is_no_p() {
        assert_eq!(mann_whitney(&[], &LOW), None);
        assert_eq!(mann_whitney(&LOW, &[]), None);
        assert_eq!(mann_whitney(&[f64::NAN], &LOW), None);
        assert_eq!(mann_whitney(&[0.0; 11], &[0.0; 10]), None);
        assert_eq!(
            (median(&[]), hodges_lehmann_shift(&[], &LOW), theil_sen(&[(1.0, 1.0), (1.0, 2.0)])),
            (None, None, None)
        );
    }

    #[test]
    fn a_wild_point_does_not_move_a_slope() {
        let mut points: Vec<(f64, f64)> = (0..40_u32).map(|at| (f64::from(at), 100.0 + 3.0 * f64::from(at))).collect();
        points[20].1 = 1e9;
        assert!(close(theil_sen(&points), 3.0));
    }

    fn sample() -> impl Strategy<Value = Vec<f64>> {
        proptest::collection::vec((-6_i32..6).prop_map(f64::from), 1..6)
    }

    fn distinct() -> impl Strategy<Value = Vec<f64>> {
        proptest::collection::btree_set(-9_i32..9, 1..6).prop_map(|set| set.into_iter().map(f64::from).collect())
    }

    proptest! {
        #[test]
        fn p_is_a_share_of_the_ways_and_never_0(a in sample(), b in sample()) {
            let p = mann_whitney(&a, &b).unwrap();
            prop_assert!(p > 0.0 && p <= 1.0);
        }

        #[test]
        fn without_ties_p_falls_as_the_second_sample_rises(a in distinct(), b in distinct(), by in 0_u32..9) {
            let [a, b]: [Vec<f64>; 2] = [(a, 0.0), (b, 1.0)].map(|(of, odd)| of.iter().map(|v| 2.0 * v + odd).collect());
            let risen: Vec<f64> = b.iter().map(|value| value + 2.0 * f64::from(by)).collect();
            prop_assert!(mann_whitney(&a, &risen).unwrap() <= mann_whitney(&a, &b).unwrap());
        }

        /// Both directions together count every way once, and those that are exactly as high twice.
        #[test]
        fn the_two_directions_cover_all_ways(a in sample(), b in sample()) {
            prop_assert!(mann_whitney(&a, &b).unwrap() + mann_whitney(&b, &a).unwrap() > 1.0 - 1e-12);
        }

        #[test]
        fn order_and_scale_do_not_matter(a in sample(), b in sample(), scale in 0.5..4.0_f64) {
            let scaled = |values: &[f64]| values.iter().rev().map(|value| value * scale + 7.0).collect::<Vec<_>>();
            prop_assert_eq!(mann_whitney(&a, &b), mann_whitney(&scaled(&a), &scaled(&b)));
        }

        /// However the same values are dealt, ties included, no more of the ways are called surer than that: the test's
        /// whole promise.
        #[test]
        fn under_no_difference_p_is_rarely_small(pooled in proptest::collection::vec((0_i32..30).prop_map(f64::from), 10)) {
            let mut small = 0_u32;
            for chosen in (0_u32..1 << 10).filter(|chosen| chosen.count_ones() == 5) {
                let side = |wanted| pooled.iter().enumerate().filter(|(at, _)| chosen >> at & 1 == wanted)
                    .map(|(_, value)| *value).collect::<Vec<_>>();
                small += u32::from(mann_whitney(&side(0), &side(1)).unwrap() <= 0.015);
            }
            prop_assert!(f64::from(small) / 252.0 <= 0.015);
        }

        #[test]
        fn slope_and_shift_follow_a_line(by in -50.0..50.0_f64, slope in -50.0..50.0_f64, b in sample()) {
            let points: Vec<(f64, f64)> = (0..9_u32).map(|x| (f64::from(x), slope * f64::from(x))).collect();
            prop_assert!((theil_sen(&points).unwrap() - slope).abs() < 1e-9);
            let shifted: Vec<f64> = b.iter().map(|value| value + by).collect();
            prop_assert!((hodges_lehmann_shift(&[0.0], &shifted).unwrap() - median(&shifted).unwrap()).abs() < 1e-9);
        }
    }
}
