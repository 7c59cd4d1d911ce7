//! The page over the nights.

use leakgate_history::Night;
use proptest::prelude::*;

use super::{baseline, night, nights};
use crate::runs::healthy;

/// What a reader reads: every text of the page, a line each.
fn text(page: &str) -> String {
    let body = page.split_once("</style>").unwrap().1;
    let mut lines = Vec::new();
    for part in body.split('<').skip(1) {
        let (_tag, text) = part.split_once('>').unwrap();
        if !text.trim().is_empty() {
            lines.push(text.trim().replace("&lt;", "<").replace("&amp;", "&").replace("&gt;", ">"));
        }
    }
    lines.join("\n")
}

#[test]
fn the_page_says_what_every_night_came_to_and_what_each_chart_shows() {
    insta::assert_snapshot!(text(&leakgate_report::nights(&nights(), &[baseline()])));
}

#[test]
fn a_line_breaks_where_a_night_is_missing_was_made_differently_or_has_no_value() {
    let page = leakgate_report::nights(&nights(), &[]);
    let memory = page.split("data-metric=\"anon_pss\"").nth(1).unwrap();
    let path = memory.split("class=\"line\" d=\"").nth(1).unwrap().split('"').next().unwrap();
    // Three nights, then one is missing and the kernel another, and from there on four.
    assert_eq!(path.chars().filter(|c| "ML".contains(*c)).collect::<String>(), "MLLMLLL", "{path}");
    let heap = page.split("data-metric=\"server_rss\"").nth(2).unwrap();
    let heap = heap.split("</svg>").next().unwrap();
    assert_eq!(heap.matches("class=\"absent\"").count(), 1, "the last night did not measure sut-heap");
}

#[test]
fn no_night_one_night_and_nights_at_the_same_second_are_pages_too() {
    assert!(leakgate_report::nights(&[], &[]).contains("No night yet"));
    for nights in [vec![night(1, 0, healthy())], vec![night(1, 0, healthy()), night(2, 0, healthy())]] {
        let page = leakgate_report::nights(&nights, &[]);
        assert!(page.contains("class=\"line\" d=\"M") && !page.contains("NaN") && !page.contains("inf"), "{page}");
    }
}

#[test]
fn the_page_loads_and_runs_nothing() {
    let page = leakgate_report::nights(&nights(), &[baseline()]);
    for word in ["<script", "<link rel=\"stylesheet", "src=", "@import", "url(", "http-equiv=\"refresh"] {
        assert!(!page.contains(word), "{word}");
    }
    assert!(page.contains("default-src 'none'"));
}

fn saying(word: &str) -> Vec<Night> {
    let mut said = nights();
    for night in &mut said {
        night.environment.commit = Some(word.to_owned());
        night.environment.kernel = format!("{word}{}", night.id);
        night.summary = word.to_owned();
        for remark in &mut night.remarks {
            remark.what = word.to_owned();
        }
        for target in &mut night.targets {
            target.scenario = word.to_owned();
        }
    }
    said
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn text_from_outside_is_shown_and_never_obeyed(word in "[a-z<>\"'&;/=!\\-\u{0}-\u{1f}\u{202e} ]{1,40}") {
        let mut accepted = baseline();
        accepted.by = word.clone();
        let page = leakgate_report::nights(&saying(&format!("x{word}x")), &[accepted]);
        let harmless = leakgate_report::nights(&saying("xyx"), &[baseline()]);
        let tags = |page: &str| page.matches('<').count();
        prop_assert_eq!(tags(&page), tags(&harmless));
        let breaks_out = page.contains('\u{202e}') || page.contains('\u{0}');
        prop_assert!(!breaks_out);
    }
}
