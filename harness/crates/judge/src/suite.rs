//! A suite in shards: which unit falls to which, and how they are put together again. Pure; nothing here runs or reads.
//!
//! A unit is a scenario with a seed, on all its targets: two targets of a scenario are judged together, so they stay
//! together. Which shard a unit falls to is decided by the suite alone, so every shard decides it for itself and all agree.

use std::cmp::Reverse;

use crate::sample::suite::Unit;

pub mod merge;
pub mod shard;

/// Every scenario with every seed, in order, and the shard of each. Each scenario comes with what it costs, in any unit.
#[must_use]
pub fn assign_units(scenarios: &[(&str, u64)], seeds: &[u64], shards: u64) -> Vec<Unit> {
    let pairs: Vec<(&str, u64, u64)> =
        scenarios.iter().flat_map(|&(name, cost)| seeds.iter().map(move |&seed| (name, cost, seed))).collect();
    let costs: Vec<u64> = pairs.iter().map(|(_, cost, _)| *cost).collect();
    let unit = |((name, _, seed), shard): ((&str, u64, u64), u64)| Unit { scenario: name.to_owned(), seed, shard };
    pairs.into_iter().zip(assign_shards(&costs, shards)).map(unit).collect()
}

/// The shard of each unit, from 1: the dearest unit first, each to the shard that has the least so far. (Graham's LPT:
/// the longest shard takes at most 4/3 of what the best division would.) Ties go to the earlier unit and the lower shard.
#[must_use]
pub fn assign_shards(costs: &[u64], shards: u64) -> Vec<u64> {
    let mut order: Vec<usize> = (0..costs.len()).collect();
    order.sort_by_key(|&at| (Reverse(costs.get(at).copied()), at));
    let mut loads: Vec<(u64, u64)> = (1..=shards.max(1)).map(|shard| (0, shard)).collect();
    let mut found = vec![1; costs.len()];
    for at in order {
        let (Some(least), Some(place), Some(cost)) = (loads.iter_mut().min(), found.get_mut(at), costs.get(at)) else {
            continue;
        };
        // A unit without a cost would make a shard of all of them.
        least.0 = least.0.saturating_add((*cost).max(1));
        *place = least.1;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn loads(costs: &[u64], shards: u64) -> Vec<u64> {
        let assigned = assign_shards(costs, shards);
        let of = |shard| costs.iter().zip(&assigned).filter(move |(_, own)| **own == shard).map(|(cost, _)| cost).sum();
        (1..=shards).map(of).collect()
    }

    const SCENARIOS: [(&str, u64); 8] =
        [("a", 300), ("b", 2_000), ("c", 1), ("d", 0), ("e", 300), ("f", 7_000), ("g", 40), ("h", u64::MAX)];

    proptest! {
        #[test]
        fn every_unit_falls_to_one_shard_and_none_is_far_above_the_others(
            costs in prop::collection::vec(1_u64..10_000, 0..60),
            shards in 1_u64..20,
        ) {
            let assigned = assign_shards(&costs, shards);
            prop_assert_eq!(assigned.len(), costs.len());
            prop_assert!(assigned.iter().all(|shard| (1..=shards).contains(shard)));
            let loads = loads(&costs, shards);
            prop_assert_eq!(loads.iter().sum::<u64>(), costs.iter().sum::<u64>());
            // The last unit put into the fullest shard went there because no other had less.
            let (most, least) = (loads.iter().max().unwrap(), loads.iter().min().unwrap());
            prop_assert!(most - least <= costs.iter().copied().max().unwrap_or(0), "{:?}", loads);
        }

        #[test]
        fn the_shards_of_a_suite_are_its_units_once_each(picked in prop::sample::subsequence((0..8).collect::<Vec<_>>(), 0..8),
            seeds in prop::collection::btree_set(any::<u64>(), 1..6), shards in 1_u64..9) {
            let scenarios: Vec<(&str, u64)> = picked.iter().map(|&at| SCENARIOS[at]).collect();
            let seeds: Vec<u64> = seeds.into_iter().collect();
            let units = assign_units(&scenarios, &seeds, shards);
            let pairs: Vec<(&str, u64)> = units.iter().map(|unit| (unit.scenario.as_str(), unit.seed)).collect();
            let wanted: Vec<(&str, u64)> =
                scenarios.iter().flat_map(|scenario| seeds.iter().map(|&seed| (scenario.0, seed))).collect();
            prop_assert_eq!(pairs, wanted);
            prop_assert!(units.iter().all(|unit| (1..=shards).contains(&unit.shard)));
        }
    }

    #[test]
    fn the_dearest_unit_is_alone_where_the_others_together_are_cheaper() {
        assert_eq!(assign_shards(&[1, 10, 2, 3], 2), [2, 1, 2, 2]);
        assert_eq!(assign_shards(&[5, 5, 5], 5), [1, 2, 3]);
        assert_eq!(assign_shards(&[0, 0, 0, 0], 2), [1, 2, 1, 2]);
        assert_eq!(assign_shards(&[], 3), [0; 0]);
    }
}
