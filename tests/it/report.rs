//! What people and scripts read: the terminal report and the shape of `verdict.json`.

mod command;
mod formats;
mod hostile;
mod xml;

use leakgate_judge::sample::{Metric, Run};
use leakgate_judge::verdict::judge;
use leakgate_report::terminal::{Style, render};

use crate::runs::{healthy, heap, set, set_last, with};

const PLAIN: Style = Style { width: 100, colour: false };

fn text(run: &Run) -> String {
    render(&judge(run), run, PLAIN)
}

fn leak() -> Run {
    let mut run = healthy();
    set_last(&mut run.targets[0], Metric::LiveInvokers, 301);
    set_last(&mut run.targets[0], Metric::Processes, 603);
    run.targets[0].bounds.live_invokers_max = 301;
    run.targets[0].bounds.cli_processes_max = 301;
    run.targets[0].notes.push("still running: /tmp/cli --session 17 (pid 4242)".into());
    run
}

fn saturating() -> Run {
    with(vec![heap(&[(100, 900, 200_000), (200, 1_000, 210_000), (400, 1_090, 220_000)])])
}

fn blind() -> Run {
    let mut run = healthy();
    set_last(&mut run.controls[0].run, Metric::FdsPipe, 12);
    run
}

#[test]
fn pass() {
    insta::assert_snapshot!(text(&healthy()));
}

#[test]
fn a_kept_invoker() {
    insta::assert_snapshot!(text(&leak()));
}

#[test]
fn a_heap_that_saturates() {
    insta::assert_snapshot!(text(&saturating()));
}

#[test]
fn a_missed_control() {
    insta::assert_snapshot!(text(&blind()));
}

#[test]
fn verdict_json() {
    insta::assert_json_snapshot!(judge(&leak()), { ".environment.*" => "[environment]", ".**.seconds" => "[seconds]" });
}

#[test]
fn verdict_json_can_be_read_back() {
    let verdict = judge(&saturating());
    let text = serde_json::to_string(&verdict).unwrap();
    assert_eq!(serde_json::from_str::<leakgate_judge::verdict::Verdict>(&text).unwrap(), verdict);
}

#[test]
fn no_line_is_wider_than_a_hundred_columns() {
    let mut ugly = leak();
    set(&mut ugly.targets[0], Metric::Tasks, &[0, u64::MAX]);
    ugly.targets[0].notes = vec!["a note that goes on ".repeat(40)];
    for run in [healthy(), leak(), saturating(), blind(), ugly] {
        let text = text(&run);
        let widest = text.lines().max_by_key(|line| line.chars().count()).unwrap();
        assert!(widest.chars().count() <= 100, "{widest}");
    }
}

#[test]
fn colour_changes_no_word() {
    let run = leak();
    let verdict = judge(&run);
    let coloured = render(&verdict, &run, Style { colour: true, ..PLAIN });
    let stripped: String = anstream::adapter::strip_str(&coloured).to_string();
    assert!(coloured.contains('\u{1b}'));
    assert_eq!(stripped, render(&verdict, &run, PLAIN));
}
