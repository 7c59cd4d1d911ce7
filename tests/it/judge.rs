//! The rules, one fact a test. What holds for all runs is in `properties`.

mod claims;
pub(crate) mod properties;

use leakgate_drive::scenario::schedule::Schedule;
use leakgate_judge::exit::Exit;
use leakgate_judge::sample::{MAX_DOUBLINGS, Metric, Outcome, Run, TargetRun};
use leakgate_judge::verdict::{Finding, MetricVerdict, Verdict, judge};

use crate::runs::{RESTARTS, healthy, heap, set, set_last, sut, sut_heap, trace, with};

fn row(verdict: &Verdict, metric: Metric) -> &MetricVerdict {
    verdict.metrics.iter().find(|row| row.name == metric).unwrap()
}

fn alone(run: TargetRun) -> Verdict {
    judge(&with(vec![run]))
}

fn change(mut run: TargetRun, change: impl FnOnce(&mut TargetRun)) -> Verdict {
    change(&mut run);
    alone(run)
}

#[test]
fn a_healthy_run_passes_and_says_nothing_else() {
    let verdict = judge(&healthy());
    assert_eq!(verdict.verdict, Finding::Pass);
    assert_eq!(verdict.exit(), Exit::Pass);
    assert!(verdict.invalid.is_empty() && verdict.warnings.is_empty(), "{:?} {:?}", verdict.invalid, verdict.warnings);
    assert!(verdict.controls.iter().all(|control| control.passed));
}

mod exact {
    use super::*;

    #[test]
    fn one_more_after_three_hundred_restarts_is_a_leak() {
        for metric in leakgate_judge::sample::Metric::COUNTED {
            let verdict = change(sut(), |run| {
                let first = run.checkpoints[0].values[&metric];
                set_last(run, metric, first + 1);
            });
            assert_eq!(verdict.verdict, Finding::Leak, "{metric:?}");
            assert_eq!(verdict.exit(), Exit::Leak);
            assert_eq!(row(&verdict, metric).verdict, Finding::Leak);
            assert_eq!(row(&verdict, metric).growth_per_restart, Some(1.0 / 300.0));
            assert_eq!(row(&verdict, metric).smallest_detectable, Some(1.0 / 300.0));
        }
    }

    #[test]
    fn fewer_than_at_first_is_no_leak() {
        assert_eq!(change(sut(), |run| set_last(run, Metric::FdsPipe, 3)).verdict, Finding::Pass);
    }

    #[test]
    fn a_leak_that_strikes_once_is_not_asked_to_strike_at_every_step() {
        let verdict = change(sut(), |run| {
            let extra = run.checkpoints[0].clone();
            run.checkpoints.insert(1, leakgate_judge::sample::Checkpoint { restarts: 200, ..extra });
            set(run, Metric::FdsPipe, &[12, 12, 13]);
        });
        assert_eq!(verdict.verdict, Finding::Leak);
    }

    #[test]
    fn what_comes_and_goes_between_is_no_leak() {
        let verdict = change(sut(), |run| {
            let extra = run.checkpoints[0].clone();
            run.checkpoints.insert(1, leakgate_judge::sample::Checkpoint { restarts: 200, ..extra });
            set(run, Metric::FdsPipe, &[12, 40, 12]);
        });
        assert_eq!(verdict.verdict, Finding::Pass);
        assert_eq!(row(&verdict, Metric::FdsPipe).max, Some(40));
    }

    #[test]
    fn a_zombie_at_any_later_checkpoint_is_a_leak() {
        let verdict = change(sut(), |run| {
            let extra = run.checkpoints[0].clone();
            run.checkpoints.insert(1, leakgate_judge::sample::Checkpoint { restarts: 200, ..extra });
            set(run, Metric::Zombies, &[0, 1, 0]);
        });
        assert_eq!(row(&verdict, Metric::Zombies).verdict, Finding::Leak);
    }
}

mod instants {
    use super::*;

    #[test]
    fn a_third_invoker_for_one_slot_is_a_leak_even_when_it_is_gone_at_the_checkpoint() {
        let verdict = change(sut(), |run| run.bounds.live_invokers_max = 3);
        assert_eq!(row(&verdict, Metric::LiveInvokers).verdict, Finding::Leak);
        assert!(verdict.summary.contains("reached 3"), "{}", verdict.summary);
    }

    #[test]
    fn the_systems_count_does_not_believe_the_target() {
        let verdict = change(sut(), |run| run.bounds.cli_processes_max = 3);
        assert_eq!(row(&verdict, Metric::LiveInvokers).verdict, Finding::Leak);
        assert!(verdict.summary.contains("the system showed 3"), "{}", verdict.summary);
    }

    #[test]
    fn a_server_that_counts_no_invokers_is_still_held_against_the_systems_count() {
        let verdict = change(sut(), |run| {
            run.checkpoints
                .iter_mut()
                .for_each(|point| point.values.retain(|&metric, _| metric != Metric::LiveInvokers));
            (run.bounds.live_invokers_max, run.bounds.cli_processes_max) = (0, 3);
        });
        assert_eq!(verdict.verdict, Finding::Leak);
    }

    #[test]
    fn memory_over_its_cap_is_a_leak_of_that_signal() {
        let server = change(sut(), |run| run.bounds.server_rss_max_mb = 150.1);
        assert_eq!(row(&server, Metric::ServerRss).verdict, Finding::Leak);
        let tree = change(sut(), |run| run.trace[60].tree_rss = 400_000_001);
        assert_eq!(row(&tree, Metric::TreeRss).verdict, Finding::Leak);
        assert!(tree.summary.contains("over the cap"), "{}", tree.summary);
    }

    #[test]
    fn memory_under_dhat_is_not_held_against_caps() {
        let verdict = change(sut_heap(), |run| run.bounds.server_rss_max_mb = 9_700.0);
        assert_eq!(verdict.verdict, Finding::Pass);
    }
}

mod totals {
    use super::*;

    #[test]
    fn anything_left_lost_or_mixed_up_is_a_leak() {
        for metric in [Metric::Orphans, Metric::FilesLeft, Metric::Lost, Metric::MixedUp] {
            let verdict = change(sut(), |run| run.totals.extend([(metric, 1)]));
            assert_eq!(verdict.verdict, Finding::Leak);
            assert_eq!(row(&verdict, metric).verdict, Finding::Leak);
        }
    }

    #[test]
    fn what_the_load_counted_counts_too() {
        assert_eq!(change(sut(), |run| run.proof.lost = 1).verdict, Finding::Leak);
        assert_eq!(change(sut(), |run| run.proof.mixed_up = 1).verdict, Finding::Leak);
    }

    #[test]
    fn requests_lost_to_a_target_that_died_are_not_called_a_leak() {
        let verdict = change(sut(), |run| {
            run.outcome = Outcome::Failed { what: "exit status 101".into() };
            run.proof.lost = 4;
        });
        assert_eq!(verdict.verdict, Finding::Invalid);
        assert!(verdict.summary.contains("exit status 101"), "{}", verdict.summary);
    }
}

mod heap_rule {
    use super::*;

    fn blocks(values: [u64; 3]) -> Finding {
        let [a, b, c] = values;
        row(&alone(heap(&[(150, a, 9_000), (300, b, 9_000), (600, c, 9_000)])), Metric::HeapBlocks).verdict
    }

    #[test]
    fn growth_at_a_constant_rate_is_a_leak() {
        assert_eq!(blocks([900, 1_050, 1_350]), Finding::Leak);
    }

    #[test]
    fn a_block_in_a_hundred_restarts_is_a_leak() {
        assert_eq!(blocks([900, 901, 904]), Finding::Leak);
    }

    #[test]
    fn growth_that_begins_late_is_a_leak() {
        assert_eq!(blocks([900, 900, 1_000]), Finding::Leak);
    }

    #[test]
    fn a_fall_at_first_does_not_hide_the_growth_after_it() {
        assert_eq!(blocks([900, 500, 800]), Finding::Leak);
    }

    #[test]
    fn a_cache_that_slows_down_is_saturating() {
        assert_eq!(blocks([900, 1_000, 1_100]), Finding::Saturating);
    }

    #[test]
    fn a_cache_that_is_full_passes() {
        assert_eq!(blocks([900, 1_000, 1_000]), Finding::Pass);
        assert_eq!(blocks([900, 1_000, 990]), Finding::Pass);
    }

    #[test]
    fn one_late_static_is_below_the_floor() {
        assert_eq!(blocks([900, 900, 901]), Finding::Pass);
        let short = alone(heap(&[(10, 900, 9_000), (20, 900, 9_000), (40, 901, 9_000)]));
        assert_eq!(short.verdict, Finding::Pass);
    }

    /// One block at one of `every` restarts, the first of them at `first`: read as a scenario of 300 restarts is, and then
    /// twice and four times as long, for as long as that is worth it.
    fn struck(every: u64, first: u64) -> Finding {
        let at = |restarts: u64| 900 + if restarts < first { 0 } else { 1 + (restarts - first) / every };
        let mut runs = Vec::new();
        for doubled in 0..=MAX_DOUBLINGS {
            let mut schedule = Schedule::doubling(50, 300 << doubled);
            let mut readings = Vec::new();
            while let Some(restarts) = schedule.next() {
                readings.push((restarts + 2, at(restarts + 2), 9_000));
                schedule.advance(restarts + 2);
            }
            let mut run = heap(&readings);
            run.plan.doubled = doubled;
            runs.push(run);
            let found = judge(&with(runs.clone())).verdict;
            if found != Finding::Saturating {
                return found;
            }
        }
        unreachable!("what saturates still is not conclusive in the end")
    }

    #[test]
    fn a_block_in_a_hundred_restarts_is_found_whichever_of_them_it_is() {
        for every in [10, 25, 50, 75, 90, 100] {
            for first in 1..=every {
                assert_eq!(struck(every, first), Finding::Leak, "1 in {every} from {first}");
            }
        }
    }

    #[test]
    fn two_blocks_of_a_first_use_are_measured_again_and_pass_if_that_was_all() {
        let long = heap(&[(300, 900, 9_000), (600, 900, 9_000), (1_200, 902, 9_000)]);
        assert_eq!(alone(long).verdict, Finding::Pass);
        let late = heap(&[(52, 900, 9_000), (90, 900, 9_000), (180, 900, 9_000), (360, 902, 9_000)]);
        assert_eq!(alone(late.clone()).verdict, Finding::Saturating);
        let mut longer = heap(&[(52, 902, 9_000), (165, 902, 9_000), (330, 902, 9_000), (660, 902, 9_000)]);
        longer.plan.doubled = 1;
        assert_eq!(judge(&with(vec![late.clone(), longer])).verdict, Finding::Pass);
        let mut again = heap(&[(52, 900, 9_000), (165, 900, 9_000), (330, 900, 9_000), (660, 902, 9_000)]);
        again.plan.doubled = 1;
        assert_eq!(judge(&with(vec![late, again])).verdict, Finding::Pass);
    }

    #[test]
    fn a_vector_that_only_grows_is_caught_by_its_bytes_while_its_block_stays_one() {
        // One u64 pushed at each restart; its capacity is the next power of two.
        let bytes = |restarts: u64| 200_000 + 8 * restarts.next_power_of_two();
        let reading = |restarts| (restarts, 900, bytes(restarts));
        for from in [51, 75, 100, 128, 129, 150, 200] {
            let verdict = alone(heap(&[reading(from), reading(from * 2), reading(from * 4)]));
            assert_eq!(row(&verdict, Metric::HeapBlocks).verdict, Finding::Pass);
            assert_eq!(row(&verdict, Metric::HeapBytes).verdict, Finding::Leak, "from {from}");
        }
    }

    #[test]
    fn a_vector_that_hides_between_close_checkpoints_does_not_pass() {
        // 256 entries from restart 129 on, 512 from 257 on: 250 → 400 shows one doubling and 400 → 500 none.
        let verdict = alone(heap(&[(250, 900, 9_000), (400, 900, 9_000 + 8 * 512), (500, 900, 9_000 + 8 * 512)]));
        assert_eq!(row(&verdict, Metric::HeapBytes).verdict, Finding::Saturating);
    }

    #[test]
    fn intervals_of_other_lengths_are_compared_by_rate() {
        let even = |values: [u64; 3]| {
            let [a, b, c] = values;
            row(&alone(heap(&[(100, a, 9), (400, b, 9), (700, c, 9)])), Metric::HeapBlocks).verdict
        };
        assert_eq!(even([0, 300, 600]), Finding::Leak);
        assert_eq!(even([0, 300, 450]), Finding::Saturating);
    }

    #[test]
    fn the_checkpoints_at_t_2t_and_4t_are_chosen_among_more() {
        // Steep until 150, which is warm-up, and then flat.
        let readings = [(50, 100, 9), (150, 900, 9), (250, 900, 9), (450, 900, 9)];
        assert_eq!(row(&alone(heap(&readings)), Metric::HeapBlocks).verdict, Finding::Pass);
        // From 100 on at one block a restart, whatever the warm-up did; and slowing, whatever the warm-up did.
        let at = |values: [u64; 4]| {
            let [a, b, c, d] = values;
            alone(heap(&[(50, a, 9), (100, b, 9), (200, c, 9), (400, d, 9)])).metrics
        };
        let found =
            |rows: Vec<MetricVerdict>| rows.iter().find(|row| row.name == Metric::HeapBlocks).map(|row| row.verdict);
        assert_eq!(found(at([0, 500, 600, 800])), Some(Finding::Leak));
        assert_eq!(found(at([480, 500, 600, 700])), Some(Finding::Saturating));
    }

    /// A heap that slows down, and the same measured `doubled` times as long.
    fn longer(doubled: u64, blocks: [u64; 3]) -> TargetRun {
        let [a, b, c] = blocks;
        let [t, twice, four] = [100, 200, 400].map(|restarts| restarts << doubled);
        let mut run = heap(&[(t, a, 9_000), (twice, b, 9_000), (four, c, 9_000)]);
        run.plan.doubled = doubled;
        run
    }

    const SLOWING: [u64; 3] = [900, 1_000, 1_100];

    #[test]
    fn the_longer_run_says_what_a_slowing_one_was() {
        let full = judge(&with(vec![longer(0, SLOWING), longer(1, [1_150, 1_150, 1_150])]));
        assert_eq!((full.verdict, full.exit()), (Finding::Pass, Exit::Pass));
        assert_eq!(row(&full, Metric::HeapBlocks).verdict, Finding::Shown);
        assert!(row(&full, Metric::HeapBlocks).reason.contains("twice as long"));
        assert_eq!(judge(&with(vec![longer(0, SLOWING), longer(1, [900, 1_000, 1_200])])).verdict, Finding::Leak);
        assert_eq!(judge(&with(vec![longer(0, SLOWING), longer(1, SLOWING)])).verdict, Finding::Saturating);
    }

    #[test]
    fn only_a_longer_run_of_the_same_speaks_for_a_slowing_one() {
        let mut other = longer(1, [900, 900, 900]);
        other.scenario = "overnight".into();
        assert_eq!(judge(&with(vec![longer(0, SLOWING), other])).verdict, Finding::Saturating);
        assert_eq!(judge(&with(vec![longer(0, SLOWING), longer(0, [900, 900, 900])])).verdict, Finding::Saturating);
        let mut broken = longer(1, [900, 900, 900]);
        broken.outcome = Outcome::Failed { what: "it is gone".into() };
        assert_eq!(judge(&with(vec![longer(0, SLOWING), broken])).verdict, Finding::Invalid);
    }

    #[test]
    fn what_still_slows_down_at_four_times_the_restarts_is_not_conclusive() {
        let verdict = judge(&with(vec![longer(0, SLOWING), longer(1, SLOWING), longer(2, SLOWING)]));
        assert_eq!((verdict.verdict, verdict.exit()), (Finding::Inconclusive, Exit::NotConclusive));
        assert!(verdict.summary.contains("four times the restarts"), "{}", verdict.summary);
    }

    #[test]
    fn two_checkpoints_prove_nothing_about_a_heap() {
        let verdict = alone(heap(&[(150, 900, 9_000), (300, 900, 9_000)]));
        assert_eq!(verdict.verdict, Finding::Invalid);
        assert!(verdict.summary.contains("needs 3"), "{}", verdict.summary);
    }
}

mod noisy {
    use super::*;

    fn memory(restarts: u64, of: impl Fn(u64) -> u64) -> Finding {
        look(0, restarts, of)
    }

    /// The same for a run whose restarts were doubled so often.
    fn look(doubled: u64, restarts: u64, of: impl Fn(u64) -> u64) -> Finding {
        let verdict = change(sut(), |run| {
            run.trace = trace(restarts, of);
            run.plan.doubled = doubled;
        });
        row(&verdict, Metric::AnonPss).verdict
    }

    #[test]
    fn far_above_the_bound_is_a_leak_at_once_and_below_it_is_none() {
        for (restarts, b) in [(300, 90), (600, 48), (1_200, 24)] {
            assert_eq!(memory(restarts, |at| 40_000_000 + at * 10 * b), Finding::Leak, "{restarts}");
            assert_eq!(memory(restarts, |at| 40_000_000 + at * (b - 5)), Finding::Pass, "{restarts}");
        }
    }

    #[test]
    fn between_one_bound_and_eight_two_runs_have_to_show_a_leak() {
        for (restarts, b) in [(300, 90), (600, 48), (1_200, 24)] {
            for bytes in [b + 5, 2 * b, 7 * b] {
                let found = |doubled| look(doubled, restarts, |at| 40_000_000 + at * bytes);
                assert_eq!([0, 1, 2].map(found), [Finding::Saturating, Finding::Leak, Finding::Leak], "{restarts}");
            }
        }
    }

    /// The medians of such a run lie up to 15 pages apart: no order of theirs is a leak in a single run.
    #[test]
    fn medians_that_lie_fifteen_pages_apart_by_chance_are_never_a_leak_at_once() {
        for restarts in [350, 650, 1_250] {
            for rises in [[5, 5, 5], [1, 2, 12], [12, 2, 1], [3, 9, 3], [0, 7, 8]] {
                let window = restarts / 8;
                let of = |at: u64| {
                    let steps = (1..).zip(rises).filter(|(step, _)| at > restarts / 2 + step * window);
                    40_000_000 + steps.map(|(_, rise)| rise).sum::<u64>() * 4096
                };
                assert_ne!(memory(restarts, of), Finding::Leak, "{restarts}: {rises:?}");
            }
        }
    }

    /// Memory that grows by 4 kB in each restart, but for half a page or nothing between the second and the third window.
    #[test]
    fn a_leak_of_which_one_window_shows_little_is_looked_at_again_and_never_passes() {
        let of = |rise: u64| {
            move |at: u64| {
                let between = if at < 262 { 0 } else { rise };
                40_000_000 + at.min(230) * 4_000 + between + at.saturating_sub(300) * 4_000
            }
        };
        for rise in [2_000, 0] {
            let found = |doubled| look(doubled, 350, of(rise));
            let undecided = [Finding::Saturating, Finding::Saturating, Finding::Inconclusive];
            assert_eq!([0, 1, 2].map(found), undecided, "one window shows {rise}");
        }
    }

    #[test]
    fn growth_that_slows_to_less_than_half_is_saturating() {
        let of = |at: u64| if at < 240 { 40_000_000 + at * 20_000 } else { 44_800_000 + (at - 240) * 4_000 };
        assert_eq!(memory(350, of), Finding::Saturating);
    }

    #[test]
    fn a_few_wild_readings_in_a_window_are_shrugged_off() {
        let middles = [197, 241, 284, 328_u64];
        let wild = |at: u64| middles.iter().any(|middle| middle.abs_diff(at) < 6);
        let of = |at: u64| if wild(at) { 400_000_000 + at * 1_000_000 } else { 40_000_000 };
        assert_eq!(memory(350, of), Finding::Pass);
    }

    #[test]
    fn the_memory_of_a_target_that_failed_is_not_judged() {
        let mut run = growing();
        run.outcome = Outcome::Failed { what: "killed".into() };
        assert_eq!(alone(run).verdict, Finding::Invalid);
    }

    #[test]
    fn too_few_readings_are_not_conclusive() {
        let verdict = change(sut(), |run| run.trace.truncate(20));
        assert_eq!(verdict.verdict, Finding::Inconclusive);
        assert_eq!(verdict.exit(), Exit::NotConclusive);
        assert!(verdict.summary.contains("too short"), "{}", verdict.summary);
    }

    #[test]
    fn memory_that_reads_as_nothing_is_not_conclusive() {
        assert_eq!(memory(350, |_| 0), Finding::Inconclusive);
    }

    #[test]
    fn a_bound_that_was_not_calibrated_is_said() {
        let verdict = change(sut(), |run| run.trace = trace(150, |_| 40_000_000));
        assert!((row(&verdict, Metric::AnonPss).tolerance - 360.0).abs() < 1e-9);
        assert_eq!(verdict.verdict, Finding::Pass);
        assert!(verdict.warnings.iter().any(|text| text.contains("not calibrated")), "{:?}", verdict.warnings);
    }

    #[test]
    fn rss_is_shown_and_not_judged_by_its_trend() {
        let verdict = change(sut(), |run| {
            run.trace.iter_mut().for_each(|point| point.server_rss = 20_000_000 + point.restarts * 100_000);
        });
        assert_eq!(verdict.verdict, Finding::Pass);
    }

    fn growing() -> TargetRun {
        let mut run = sut();
        run.trace = trace(RESTARTS, |at| 40_000_000 + at * 4_000);
        run
    }

    fn growing_server() -> TargetRun {
        let mut run = growing();
        run.trace.iter_mut().for_each(|point| point.server_rss = 20_000_000 + point.restarts * 4_000);
        run
    }

    #[test]
    fn a_server_that_grows_around_a_flat_heap_retains() {
        let verdict = judge(&with(vec![growing_server(), sut_heap()]));
        assert_eq!(verdict.verdict, Finding::Retention);
        assert_eq!(verdict.exit(), Exit::NotConclusive);
    }

    #[test]
    fn growth_around_a_heap_that_is_not_flat_is_a_leak() {
        let saturating = heap(&[(100, 900, 200_000), (200, 1_000, 200_000), (400, 1_090, 200_000)]);
        assert_eq!(judge(&with(vec![growing_server(), saturating])).verdict, Finding::Leak);
    }

    #[test]
    fn growth_outside_the_server_is_a_leak_whatever_its_heap_says() {
        assert_eq!(judge(&with(vec![growing(), sut_heap()])).verdict, Finding::Leak);
    }

    #[test]
    fn growth_without_a_heap_of_the_same_scenario_is_a_leak() {
        let mut other = sut_heap();
        other.scenario = "another".into();
        assert_eq!(judge(&with(vec![growing_server(), other])).verdict, Finding::Leak);
    }

    #[test]
    fn growth_beside_another_leak_is_a_leak() {
        let mut run = growing_server();
        set_last(&mut run, Metric::Tasks, 5);
        let verdict = judge(&with(vec![run, sut_heap()]));
        assert_eq!(row(&verdict, Metric::AnonPss).verdict, Finding::Leak);
    }
}

mod controls {
    use super::*;

    fn with_controls(change: impl FnOnce(&mut Run)) -> Verdict {
        let mut run = healthy();
        change(&mut run);
        judge(&run)
    }

    #[test]
    fn a_missed_control_makes_everything_invalid_even_a_leak() {
        let verdict = with_controls(|run| {
            set_last(&mut run.controls[0].run, Metric::FdsPipe, 12);
            set_last(&mut run.targets[0], Metric::Tasks, 99);
        });
        assert_eq!((verdict.verdict, verdict.exit()), (Finding::Invalid, Exit::Invalid));
        assert!(verdict.summary.contains("control fd was missed"), "{}", verdict.summary);
    }

    #[test]
    fn a_control_seen_only_by_another_signal_is_missed() {
        let verdict = with_controls(|run| {
            set_last(&mut run.controls[0].run, Metric::FdsPipe, 12);
            set_last(&mut run.controls[0].run, Metric::Tasks, 99);
        });
        assert_eq!(verdict.verdict, Finding::Invalid);
        assert_eq!(verdict.controls[0].named, [Metric::Tasks]);
    }

    #[test]
    fn a_clean_control_that_alarms_or_fails_makes_everything_invalid() {
        let alarm = with_controls(|run| set_last(&mut run.controls[1].run, Metric::Tasks, 5));
        assert_eq!(alarm.verdict, Finding::Invalid);
        let failed = with_controls(|run| run.controls[1].run.outcome = Outcome::Failed { what: "no".into() });
        assert_eq!(failed.verdict, Finding::Invalid);
    }

    #[test]
    fn a_clean_control_too_short_for_memory_passes() {
        let verdict = with_controls(|run| run.controls[1].run.trace.truncate(9));
        assert_eq!(verdict.verdict, Finding::Pass);
    }

    #[test]
    fn a_run_without_controls_is_judged_and_says_so() {
        let verdict = with_controls(|run| run.controls.clear());
        assert_eq!(verdict.verdict, Finding::Pass);
        assert!(verdict.warnings[0].contains("controls were skipped"), "{:?}", verdict.warnings);
    }
}

mod validity {
    use super::*;

    fn invalid(what: impl FnOnce(&mut TargetRun), because: &str) {
        let verdict = change(sut(), what);
        assert_eq!((verdict.verdict, verdict.exit()), (Finding::Invalid, Exit::Invalid), "{because}");
        assert!(verdict.summary.contains(because), "{} does not say {because}", verdict.summary);
    }

    #[test]
    fn what_proves_nothing_is_invalid_and_says_why() {
        invalid(|run| run.outcome = Outcome::NotSettled { moving: "tasks".into() }, "still moving: tasks");
        invalid(|run| run.proof.requests = 0, "no request");
        invalid(|run| run.proof.restarts = 0, "no restart");
        invalid(|run| run.checkpoints.clear(), "only 0 checkpoints");
        invalid(|run| drop(run.checkpoints.pop()), "only 1 checkpoint");
        invalid(|run| run.checkpoints.reverse(), "does not rise");
        invalid(|run| run.checkpoints[1].restarts = 50, "does not rise");
        invalid(|run| run.trace.reverse(), "does not rise");
        invalid(
            |run| run.checkpoints[1].values.retain(|&metric, _| metric != Metric::Tasks),
            "restart 350 lacks tasks",
        );
        invalid(|run| run.checkpoints.iter_mut().for_each(|point| point.values.clear()), "no metric could be read");
    }

    #[test]
    fn more_errors_than_allowed_are_invalid_and_the_first_is_told() {
        let fail = |run: &mut TargetRun| {
            run.proof.errors = 36;
            run.notes = vec!["503 from /v1/chat/completions".into()];
        };
        invalid(fail, "36 of 3500 requests with errors; first note: 503");
        let allowed = change(sut(), |run| {
            fail(run);
            run.plan.errors_allowed = 0.02;
        });
        assert_eq!(allowed.verdict, Finding::Pass);
        invalid(|run| (run.proof.errors, run.plan.errors_allowed) = (1, f64::NAN), "with errors");
    }

    #[test]
    fn nothing_at_all_is_invalid() {
        assert_eq!(judge(&with(vec![])).verdict, Finding::Invalid);
    }

    #[test]
    fn a_leak_beside_a_target_that_failed_is_a_leak() {
        let mut leaking = sut();
        set_last(&mut leaking, Metric::Tasks, 5);
        let mut failed = sut_heap();
        failed.outcome = Outcome::Failed { what: "killed".into() };
        let verdict = judge(&with(vec![failed, leaking]));
        assert_eq!(verdict.verdict, Finding::Leak);
        assert!(!verdict.invalid.is_empty());
    }
}
