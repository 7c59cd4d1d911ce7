use proptest::prelude::*;

use super::*;
use crate::attribution::frame::parse;
use crate::attribution::site_key;

const LEAK: &str = "0x1: leakgate_sut::plant::leaked::Leaked::take (src/plant/leaked.rs:78:5)";
const POOL: &str = "0x2: cc_openai_wrapper::pool::drive (w/src/pool.rs:9:5)";
const VEC: &str = "0x3: alloc::raw_vec::RawVec<T,A>::grow_one (src/raw_vec/mod.rs:340:5)";

fn stack(frames: &[&str]) -> Vec<Frame> {
    frames.iter().map(|text| parse(text)).collect()
}

fn window(restarts: u64, live: &[(&[&str], u64, u64)]) -> Window {
    let mut heap = Heap::default();
    for (frames, blocks, bytes) in live {
        *heap.stacks.entry(stack(frames)).or_default() += Live { blocks: *blocks, bytes: *bytes };
    }
    Window { heap, restarts }
}

fn pair(short: Window, long: Window) -> Pair {
    Pair { short, long }
}

/// A stack, and blocks and bytes live at the end of the first profile and of the second.
type Seen<'a> = (&'a [&'a str], [u64; 2], [u64; 2]);

/// Windows of 20 and 40 restarts and lives of 40 and 80, in which the same is seen.
fn seen(live: &[Seen<'_>]) -> (Pair, Pair) {
    let at = |which: usize| live.iter().map(|(s, blocks, bytes)| (*s, blocks[which], bytes[which])).collect::<Vec<_>>();
    let both = |restarts: u64| pair(window(restarts, &at(0)), window(2 * restarts, &at(1)));
    (both(20), both(40))
}

fn sites(live: &[Seen<'_>]) -> Vec<Site> {
    let (windows, lives) = seen(live);
    find_growing_sites(&windows, &lives).sites
}

#[test]
fn a_block_kept_at_each_restart_is_one_block_a_restart_at_its_line() {
    let found = sites(&[(&[VEC, LEAK, POOL], [20, 40], [1280, 2560])]);
    assert_eq!(found.len(), 1);
    let site = &found[0];
    assert_eq!((site.blocks_per_restart, site.bytes_per_restart, site.own), (1.0, 64.0, Some(1)));
    assert_eq!(site_key(site).unwrap().line, Some(78));
}

#[test]
fn a_vector_that_is_only_pushed_to_is_found_although_it_is_always_one_block() {
    let found = sites(&[(&[VEC, LEAK], [1, 1], [16_384, 32_768])]);
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].blocks_per_restart, found[0].bytes_per_restart), (0.0, 16_384.0 / 40.0));
}

#[test]
fn a_buffer_that_grew_once_is_no_leak() {
    assert_eq!(sites(&[(&[VEC, LEAK], [0, 1], [0, 32_768])]), []);
    // Both windows have it and only the longer life has more of it; and the other way round.
    let (grows, rests) = (seen(&[(&[LEAK], [1, 1], [4096, 8192])]), seen(&[(&[LEAK], [1, 1], [8192, 8192])]));
    assert_eq!(find_growing_sites(&grows.0, &rests.1).sites, []);
    assert_eq!(find_growing_sites(&rests.0, &grows.1).sites, []);
}

#[test]
fn what_is_as_live_at_the_end_of_both_windows_cancels() {
    assert_eq!(sites(&[(&[POOL], [7, 7], [7000, 7000]), (&[VEC], [1, 1], [64, 64])]), []);
}

#[test]
fn a_task_that_is_polled_from_somewhere_else_is_no_growth() {
    let moved: [Seen<'_>; 2] =
        [(&[POOL, "0x7: worker_one"], [4, 0], [8192, 0]), (&[POOL, "0x8: worker_two"], [0, 4], [0, 8192])];
    assert_eq!(sites(&moved), []);
}

#[test]
fn the_fastest_site_comes_first() {
    let found =
        sites(&[(&[POOL], [20, 40], [200, 400]), (&[LEAK], [20, 40], [2000, 4000]), (&[VEC], [20, 40], [20, 40])]);
    let speeds: Vec<f64> = found.iter().map(|site| site.bytes_per_restart).collect();
    assert_eq!(speeds, [100.0, 10.0, 1.0]);
}

#[test]
fn only_the_growth_is_drawn() {
    let (windows, lives) = seen(&[(&[LEAK], [20, 40], [200, 400]), (&[POOL], [5, 5], [500, 500])]);
    assert_eq!(find_growing_sites(&windows, &lives).stacks, [(stack(&[LEAK]), 200)]);
}

#[test]
fn rates_are_for_the_restarts_that_were_had_and_not_for_those_that_were_asked_for() {
    let windows = pair(window(21, &[(&[LEAK], 21, 210)]), window(44, &[(&[LEAK], 44, 440)]));
    let found = find_growing_sites(&windows, &Pair::default()).sites;
    assert_eq!((found[0].blocks_per_restart, found[0].bytes_per_restart), (1.0, 10.0));
}

fn address() -> impl Strategy<Value = u64> {
    0x1000_u64..0xffff_ffff
}

proptest! {
    /// Addresses differ from process to process, and dhat writes its points in no order.
    #[test]
    fn neither_addresses_nor_the_order_matter(
        counts in prop::collection::vec((1_u64..50, 1_u64..9000, 0_usize..3), 1..20),
        addresses in prop::collection::vec((address(), address()), 20),
        turn in 0_usize..20,
    ) {
        let names = ["leakgate_sut::plant::leaked::Leaked::take (src/plant/leaked.rs:78:5)", "cc_openai_wrapper::pool::drive (w/src/pool.rs:9:5)", "alloc::vec::push (src/vec/mod.rs:1:1)"];
        let build = |which: usize, turn: usize| {
            let mut heap = Heap::default();
            let mut points: Vec<_> = counts.iter().zip(&addresses).collect();
            let length = points.len();
            points.rotate_left(turn % length);
            for ((blocks, bytes, name), at) in points {
                let at = if which == 0 { at.0 } else { at.1 };
                *heap.stacks.entry(vec![parse(&format!("{at:#x}: {}", names[*name]))]).or_default() += Live { blocks: *blocks, bytes: *bytes };
            }
            heap
        };
        prop_assert_eq!(build(0, 0), build(1, turn));
    }

    /// What comes and goes is as often live at the end of one window as of the other, however often it came.
    #[test]
    fn turnover_cancels_and_a_leak_beside_it_keeps_its_rate(
        live in prop::collection::vec((1_u64..100, 1_u64..100_000), 1..10),
        kept in 1_u64..50, size in 1_u64..10_000,
    ) {
        let names: Vec<String> = (0..live.len()).map(|at| format!("0x1: cc_openai_wrapper::pool::at_{at} (w/src/pool.rs:{}:1)", at + 1)).collect();
        let stacks: Vec<[&str; 1]> = names.iter().map(|name| [name.as_str()]).collect();
        let mut all: Vec<Seen<'_>> = stacks.iter().zip(&live).map(|(s, (blocks, bytes))| (&s[..], [*blocks; 2], [*bytes; 2])).collect();
        prop_assert_eq!(sites(&all), []);
        all.push((&[LEAK], [20 * kept, 40 * kept], [20 * kept * size, 40 * kept * size]));
        let found = sites(&all);
        prop_assert_eq!(found.len(), 1);
        #[expect(clippy::cast_precision_loss, reason = "small numbers")]
        let (kept, bytes) = (kept as f64, (kept * size) as f64);
        prop_assert_eq!((found[0].blocks_per_restart, found[0].bytes_per_restart), (kept, bytes));
    }
}
