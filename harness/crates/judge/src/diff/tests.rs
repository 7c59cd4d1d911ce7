use proptest::prelude::*;

use super::*;
use crate::attribution::dhat;
use crate::attribution::frame::parse;
use crate::attribution::profile::{FORMAT, Windows};

fn site(line: u32, blocks: f64, bytes: f64) -> Site {
    let frames = vec![
        parse("0x1: alloc::vec::push (src/vec/mod.rs:9:5)"),
        parse(&format!("0x2: leakgate_sut::plant::leaked::Leaked::take (src/plant/leaked.rs:{line}:5)")),
    ];
    Site { frames, own: Some(1), blocks_per_restart: blocks, bytes_per_restart: bytes }
}

fn profile(sites: Vec<Site>) -> Document {
    Document::Profile(Box::new(Profile {
        format: FORMAT,
        scenario: "restarts".into(),
        planted: None,
        seed: 7,
        windows: Windows::default(),
        sites,
        environment: Environment::default(),
    }))
}

fn changes(before: Vec<Site>, after: Vec<Site>) -> Vec<(Change, &'static str, Option<f64>, Option<f64>)> {
    let diff = compare(&profile(before), &profile(after)).unwrap();
    diff.rows.into_iter().map(|row| (row.change, row.unit, row.before, row.after)).collect()
}

#[test]
fn a_site_that_only_the_second_has_is_new_and_one_that_only_the_first_has_is_gone() {
    let leak = || vec![site(78, 1.0, 64.0)];
    assert_eq!(
        changes(vec![], leak()),
        [(Change::New, "bytes", None, Some(64.0)), (Change::New, "blocks", None, Some(1.0))]
    );
    assert_eq!(
        changes(leak(), vec![]),
        [(Change::Gone, "blocks", Some(1.0), None), (Change::Gone, "bytes", Some(64.0), None)]
    );
    assert_eq!(changes(leak(), leak()), []);
}

#[test]
fn a_rate_that_rose_or_fell_by_more_than_a_restart_in_a_window_is_told() {
    assert_eq!(
        changes(vec![site(78, 1.0, 64.0)], vec![site(78, 1.02, 128.0)]),
        [(Change::More, "bytes", Some(64.0), Some(128.0))]
    );
    assert_eq!(
        changes(vec![site(78, 1.0, 64.0)], vec![site(78, 0.5, 64.0)]),
        [(Change::Less, "blocks", Some(1.0), Some(0.5))]
    );
}

#[test]
fn a_line_that_moved_is_the_same_site_where_its_function_has_but_one() {
    assert_eq!(changes(vec![site(78, 1.0, 64.0)], vec![site(81, 1.0, 64.0)]), []);
    let two = changes(vec![site(78, 1.0, 64.0)], vec![site(81, 1.0, 64.0), site(90, 1.0, 64.0)]);
    assert_eq!(two.iter().filter(|row| row.0 == Change::New).count(), 4);
}

#[test]
fn documents_of_two_kinds_are_refused() {
    let error = compare(&profile(vec![]), &Document::Heap(Heap::default())).unwrap_err().to_string();
    assert!(error.contains("a profile and a heap of dhat's cannot be compared"), "{error}");
}

#[test]
fn of_two_heaps_the_live_blocks_and_bytes_are_compared_and_said_to_be_no_rates() {
    let heap = |blocks: u64| {
        let text = format!(
            r#"{{"dhatFileVersion": 2, "bklt": true, "pps": [{{"eb": {}, "ebk": {blocks}, "fs": [0]}}],
                "ftbl": ["0x1: leakgate_sut::plant::leaked::Leaked::take (src/plant/leaked.rs:78:5)"]}}"#,
            blocks * 64
        );
        Document::Heap(dhat::read(text.as_bytes()).unwrap())
    };
    let diff = compare(&heap(20), &heap(40)).unwrap();
    let rows: Vec<_> = diff.rows.iter().map(|row| (row.unit, row.per_restart, row.before, row.after)).collect();
    assert_eq!(rows, [("bytes", false, Some(1280.0), Some(2560.0)), ("blocks", false, Some(20.0), Some(40.0))]);
    assert!(diff.notes[0].contains("not rates"));
}

proptest! {
    #[test]
    fn the_order_of_the_sites_does_not_matter_and_nothing_differs_from_itself(
        rates in prop::collection::btree_map(1_u32..500, (0.0_f64..10.0, 1.0_f64..10_000.0), 0..12),
        turn in 0_usize..12,
    ) {
        let sites: Vec<Site> = rates.into_iter().map(|(line, (blocks, bytes))| site(line, blocks, bytes)).collect();
        let mut turned = sites.clone();
        turned.rotate_left(turn % sites.len().max(1));
        prop_assert_eq!(changes(sites.clone(), turned.clone()), []);
        let other = vec![site(501, 3.0, 30.0), site(502, 3.0, 30.0)];
        prop_assert_eq!(changes(other.clone(), sites), changes(other, turned));
    }
}
