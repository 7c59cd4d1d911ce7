//! Each format of a report, as a snapshot, and held to what its readers expect of it.

use std::path::PathBuf;
use std::sync::LazyLock;

use jsonschema::Validator;
use leakgate_judge::sample::{
    Frame, Grown, GrowthUnit, Latency, LatencyOf, Metric, Outside, Run, Site, TargetRun, Thing,
};
use leakgate_judge::verdict::{Finding, judge};
use leakgate_report::{Format, render};
use proptest::prelude::*;
use serde_json::Value;

use crate::judge::properties;
use crate::openmetrics;
use crate::report::xml;
use crate::runs::{healthy, heap, set, set_last, sut, trace, with};

/// All of them.
pub(super) const FORMATS: [Format; 8] = [
    Format::Terminal,
    Format::Json,
    Format::Markdown,
    Format::Html,
    Format::Junit,
    Format::Sarif,
    Format::Openmetrics,
    Format::Bencher,
];

pub(super) fn text(format: Format, run: &Run) -> String {
    render(format, &judge(run), run).unwrap()
}

/// A heap that leaks at known places, beside a server that keeps its CLI processes, and what a run can tell besides.
pub(super) fn leaking() -> Run {
    let mut leaky = heap(&[(100, 900, 200_000), (200, 1_000, 210_000), (400, 1_200, 230_000)]);
    leaky.sites = vec![site(Some(1), 1.0, 64.0), site(None, 0.01, 8.0)];
    leaky.trace = trace(400, |_| 90_000_000);
    let mut keeping = sut();
    keeping.trace = trace(350, |at| 40_000_000 + at * 4_000);
    set_last(&mut keeping, Metric::CliProcesses, 301);
    set_last(&mut keeping, Metric::Threads, 305);
    keeping.bounds.cli_processes_max = 301;
    keeping.grown = vec![
        Grown {
            what: Thing::Process,
            name: "claude --output-format stream-json".into(),
            more: 300,
            origin: None,
            since: None,
        },
        Grown { what: Thing::Descriptor, name: "pipe to claude".into(), more: 600, origin: None, since: None },
    ];
    keeping.notes = vec!["still running: /tmp/cli (pid 4242)".into()];
    let of = |requests, p50_ms| LatencyOf { requests, p50_ms, p95_ms: 20.5, max_ms: 41.0 };
    keeping.latency = Some(Latency { during: of(50, 12.5), between: of(3_450, 10.0) });
    with(vec![leaky, keeping])
}

fn site(own: Option<usize>, blocks: f64, bytes: f64) -> Site {
    let frame = |function: &str, file: Option<&str>, line| Frame {
        function: function.into(),
        file: file.map(Into::into),
        line,
    };
    Site {
        frames: vec![
            frame("alloc::raw_vec::finish_grow", Some("/rustc/library/alloc/src/raw_vec.rs"), Some(12)),
            frame("cc_openai_wrapper::pool::Slot::start", Some("src/pool/slot.rs"), Some(120)),
            frame("main", None, None),
        ],
        own,
        blocks_per_restart: blocks,
        bytes_per_restart: bytes,
    }
}

/// Somebody else's server, judged by its turns, that passes.
fn outside() -> Run {
    let mut server = sut();
    server.scenario = "outside".into();
    server.target = "python3 server.py".into();
    server.plan.outside = Some(Outside {
        per: GrowthUnit::Turn,
        cli_processes_allowed: Some(3),
        memory_floor: Some(256_000),
        exceptions: vec![],
        unmeasured: vec!["files: its HOME is its caller's".into()],
    });
    with(vec![server])
}

fn undecided() -> Run {
    with(vec![heap(&[(100, 900, 200_000), (200, 1_000, 210_000), (400, 1_090, 220_000)])])
}

/// One of each verdict that a run can get.
pub(super) fn all() -> Vec<Run> {
    let mut blind = healthy();
    set_last(&mut blind.controls[0].run, Metric::FdsPipe, 12);
    vec![healthy(), leaking(), outside(), undecided(), blind, with(vec![])]
}

#[test]
fn markdown_of_a_pass() {
    insta::assert_snapshot!(text(Format::Markdown, &outside()));
}

#[test]
fn markdown_of_a_leak() {
    insta::assert_snapshot!(text(Format::Markdown, &leaking()));
}

/// A line for each element, so that a change can be read.
fn lines(page: &str) -> String {
    page.replace("><", ">\n<")
}

#[test]
fn html_of_a_pass_by_turns() {
    insta::with_settings!({ filters => vec![(r"(?s)<style>.*</style>", "<style>[style]</style>")] }, {
        insta::assert_snapshot!(lines(&text(Format::Html, &outside())));
    });
}

#[test]
fn html_of_a_leak() {
    let mut run = leaking();
    run.targets.iter_mut().for_each(|target| target.trace.retain(|at| at.restarts % 10 == 0));
    insta::with_settings!({ filters => vec![(r"(?s)<style>.*</style>", "<style>[style]</style>")] }, {
        insta::assert_snapshot!(lines(&text(Format::Html, &run)));
    });
}

/// 9 MB at every 90th restart: two of the windows do not rise.
fn in_steps() -> Run {
    let mut run = healthy();
    run.targets[0].trace = trace(350, |at| 40_000_000 + at / 90 * 9_000_000);
    run
}

#[test]
fn terminal_of_memory_that_grew_in_steps() {
    insta::assert_snapshot!(text(Format::Terminal, &in_steps()));
}

#[test]
fn no_format_says_pass_of_memory_that_grew_in_steps() {
    // The last has numbers alone.
    for format in FORMATS.into_iter().filter(|format| *format != Format::Bencher) {
        let text = text(format, &in_steps());
        assert!(text.contains("SATURATING"), "{format:?}: {text}");
        assert!(!text.contains("no leak in"), "{format:?}: {text}");
    }
}

#[test]
fn junit_of_a_leak() {
    insta::assert_snapshot!(text(Format::Junit, &leaking()));
}

#[test]
fn sarif_of_a_leak() {
    insta::assert_snapshot!(text(Format::Sarif, &leaking()));
}

#[test]
fn openmetrics_of_a_leak() {
    insta::assert_snapshot!(text(Format::Openmetrics, &leaking()));
}

#[test]
fn bencher_of_a_leak() {
    insta::assert_snapshot!(text(Format::Bencher, &leaking()));
}

#[test]
fn json_is_the_verdict_that_is_stored() {
    let run = leaking();
    assert_eq!(
        serde_json::from_str::<leakgate_judge::verdict::Verdict>(&text(Format::Json, &run)).unwrap(),
        judge(&run)
    );
}

/// What Cargo says; it reaches for nothing that is not on this machine already.
fn cargo(arguments: &[&str]) -> String {
    #[expect(clippy::disallowed_methods, reason = "it lists packages and ends; output() waits for it")]
    let output = std::process::Command::new(env!("CARGO")).args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The published schema, which comes with the crate that writes the format.
pub(super) static SARIF: LazyLock<Validator> = LazyLock::new(|| {
    let version = cargo(&["-vV"]);
    // Of other platforms no crate was ever fetched by `cargo test` alone.
    let host = version.lines().find_map(|line| line.strip_prefix("host: ")).unwrap();
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
    let only = ["--offline", "--locked", "--filter-platform", host, "--manifest-path", manifest];
    let listed = cargo(&[&["metadata", "--format-version=1"], &only[..]].concat());
    let listed: Value = serde_json::from_str(&listed).unwrap();
    let package =
        listed["packages"].as_array().unwrap().iter().find(|package| package["name"] == "serde-sarif").unwrap();
    let manifest = PathBuf::from(package["manifest_path"].as_str().unwrap());
    let schema = std::fs::read(manifest.with_file_name("src").join("schema.json")).unwrap();
    let mut schema: Value = serde_json::from_slice(&schema).unwrap();
    // One pattern in it is no regular expression: it closes a bracket that it never opened. We name no language.
    for part in ["run", "toolComponent"] {
        let language = schema.pointer_mut(&format!("/definitions/{part}/properties/language")).unwrap();
        language.as_object_mut().unwrap().remove("pattern").unwrap();
    }
    assert!(schema["title"].as_str().unwrap().contains("Version 2.1.0"), "{}", schema["title"]);
    jsonschema::options().should_validate_formats(true).build(&schema).unwrap()
});

pub(super) fn valid_sarif(text: &str) -> Value {
    let log: Value = serde_json::from_str(text).unwrap();
    let wrong: Vec<String> =
        SARIF.iter_errors(&log).map(|error| format!("{}: {error}", error.instance_path())).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    log
}

#[test]
fn sarif_is_valid_for_every_verdict_and_what_is_not_is_seen() {
    for run in all() {
        valid_sarif(&text(Format::Sarif, &run));
    }
    let mut log = valid_sarif(&text(Format::Sarif, &leaking()));
    log["runs"][0]["results"][0]["level"] = "catastrophe".into();
    assert!(!SARIF.is_valid(&log));
}

#[test]
fn sarif_has_a_leak_at_its_own_line_or_at_none() {
    let log = valid_sarif(&text(Format::Sarif, &leaking()));
    let results = log["runs"][0]["results"].as_array().unwrap();
    let place = |result: &Value| result["locations"][0]["physicalLocation"].clone();
    let at_line = results.iter().find(|result| !place(result).is_null()).unwrap();
    assert_eq!(at_line["ruleId"], "leak/heap_bytes");
    assert_eq!(place(at_line)["artifactLocation"]["uri"], "src/pool/slot.rs");
    assert_eq!(place(at_line)["region"]["startLine"], 120);
    assert_eq!(at_line["stacks"][0]["frames"].as_array().unwrap().len(), 3);
    let processes = results.iter().find(|result| result["ruleId"] == "leak/cli_processes").unwrap();
    assert!(place(processes).is_null());
    assert_eq!(processes["locations"][0]["logicalLocations"][0]["fullyQualifiedName"], "restarts on sut");
    // Each is about a rule that the log has.
    let rules = log["runs"][0]["tool"]["driver"]["rules"].as_array().unwrap();
    assert!(results.iter().all(|result| rules.iter().any(|rule| rule["id"] == result["ruleId"])));
}

#[test]
fn sarif_of_a_pass_has_no_result_and_that_of_an_invalid_run_says_that_the_tool_failed() {
    let pass = valid_sarif(&text(Format::Sarif, &healthy()));
    assert_eq!(pass["runs"][0]["results"], serde_json::json!([]));
    assert_eq!(pass["runs"][0]["invocations"][0]["executionSuccessful"], true);
    let blind = valid_sarif(&text(Format::Sarif, &all().remove(4)));
    let invocation = &blind["runs"][0]["invocations"][0];
    assert_eq!(invocation["executionSuccessful"], false);
    assert!(invocation["toolExecutionNotifications"][0]["message"]["text"].as_str().unwrap().contains("control fd"));
}

/// Cases, failures, errors and skipped ones: by its own count, and as counted.
fn junit_counts(text: &str) -> [[usize; 4]; 2] {
    let elements = xml::elements(text);
    let root = &elements[0];
    assert_eq!(root.name, "testsuites");
    let said = ["tests", "failures", "errors"].map(|name| root.attributes[name].parse().unwrap());
    let count = |name: &str| elements.iter().filter(|element| element.name == name).count();
    let skipped = count("skipped");
    [[said[0], said[1], said[2], skipped], [count("testcase"), count("failure"), count("error"), skipped]]
}

#[test]
fn junit_has_a_case_for_each_signal_each_control_and_each_target() {
    for run in all() {
        let verdict = judge(&run);
        let [said, counted] = junit_counts(&text(Format::Junit, &run));
        assert_eq!(said, counted);
        let expected = verdict.metrics.len() + verdict.controls.len() + verdict.targets.len().max(1);
        assert_eq!(counted[0], expected);
        let leaks = verdict.metrics.iter().filter(|row| row.verdict == Finding::Leak).count();
        assert_eq!(counted[1], leaks);
        let shown = verdict.metrics.iter().filter(|row| row.verdict == Finding::Shown).count();
        assert_eq!(counted[3], shown);
    }
}

#[test]
fn openmetrics_has_the_numbers_and_only_what_the_textfile_collector_knows() {
    let text = text(Format::Openmetrics, &leaking());
    let scrape = openmetrics::parse(&text).unwrap();
    assert!(scrape.families.values().all(|kind| kind == "gauge"), "{:?}", scrape.families);
    let of = ["scenario=restarts", "target=sut", "attempt=1", "signal=cli_processes", "unit=processes", "step=restart"];
    assert!((scrape.value("leakgate_signal_growth_per_step", &of) - 1.0).abs() < 1e-9);
    assert!((scrape.value("leakgate_signal_leaks", &of) - 1.0).abs() < 1e-9);
    assert!((scrape.value("leakgate_run_exit_code", &[]) - 1.0).abs() < 1e-9);
    assert!((scrape.value("leakgate_control_passed", &["control=fd", "attempt=1"]) - 1.0).abs() < 1e-9);
    assert!(text.ends_with("# EOF\n"));
}

#[test]
fn a_target_that_is_measured_twice_is_told_apart() {
    let again = with(vec![sut(), sut()]);
    let scrape = openmetrics::parse(&text(Format::Openmetrics, &again)).unwrap();
    scrape.value("leakgate_target_restarts", &["scenario=restarts", "target=sut", "attempt=2"]);
    assert!(text(Format::Junit, &again).contains("restarts on sut, attempt 2"));
    assert!(text(Format::Html, &again).contains("restarts on sut, attempt 2"));
}

#[test]
fn bencher_gets_a_value_for_each_benchmark_and_the_spread_of_noisy_memory() {
    let metrics: Value = serde_json::from_str(&text(Format::Bencher, &leaking())).unwrap();
    let growth = &metrics["restarts on sut/anon_pss"]["growth-bytes-per-restart"];
    let number = |name: &str| growth[name].as_f64().unwrap();
    assert!(number("lower_value") <= number("value") && number("value") <= number("upper_value"), "{growth}");
    assert!((number("value") - 4_000.0).abs() < 100.0, "{growth}");
    assert!(
        (metrics["restarts on sut/requests during a restart"]["latency"]["value"].as_f64().unwrap() - 12.5e6).abs()
            < 1.0
    );
}

#[test]
fn markdown_that_is_too_long_for_a_comment_goes_without_what_passed() {
    let many = |number| with((0..number).map(|at| TargetRun { scenario: format!("number-{at}"), ..sut() }).collect());
    let (short, long) = (text(Format::Markdown, &many(3)), text(Format::Markdown, &many(200)));
    assert!(short.contains("number-2 on sut"));
    assert!(long.chars().count() <= 65_536 && !long.contains("number-2 on sut") && long.contains("left out"), "{long}");
}

#[test]
fn html_is_well_formed_and_asks_for_nothing() {
    for run in all() {
        let page = text(Format::Html, &run);
        for element in xml::page(&page) {
            assert!(
                !["script", "iframe", "object", "embed", "base", "form", "img"].contains(&&*element.name),
                "{element:?}"
            );
            for (name, value) in &element.attributes {
                assert!(!name.starts_with("on"), "{element:?}");
                let leads = ["src", "href", "xlink:href", "action", "data", "srcset", "poster"].contains(&&**name);
                assert!(!leads || value.starts_with('#') || value == "data:,", "{element:?}");
            }
        }
        assert!(!page.contains("@import") && !page.contains("url("));
    }
}

#[test]
fn html_has_a_figure_for_each_signal_and_a_chart_for_each_that_has_readings() {
    for run in all() {
        let verdict = judge(&run);
        let page = text(Format::Html, &run);
        let figures = page.matches("<figure ").count();
        assert_eq!(figures, verdict.metrics.len());
        let drawn = verdict.metrics.iter().filter(|row| row.first.is_some()).count();
        assert_eq!(page.matches("<svg ").count(), drawn);
    }
}

#[test]
fn a_chart_shows_what_a_signal_is_held_against() {
    let page = text(Format::Html, &leaking());
    for words in [
        "at most 2 at any instant",
        "no growth allowed",
        "cap 150 MB",
        "bound 90 B per restart",
        "floor 0.0100 per restart",
    ] {
        assert!(page.contains(words), "{words}");
    }
    assert_eq!(page.matches("class=\"median\"").count(), 4);
}

#[test]
fn the_windows_that_are_drawn_are_the_last_half_in_four() {
    let windows = leakgate_judge::verdict::trend::windows_of(&sut()).unwrap();
    let edges: Vec<f64> = windows.iter().map(|window| window.from).chain([windows[3].to]).collect();
    assert_eq!(edges, [175.0, 218.75, 262.5, 306.25, 350.0]);
    assert!(windows.iter().all(|window| (window.median - 40e6).abs() < 1.0));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_run_can_be_told_in_every_format(run in properties::run()) {
        let verdict = judge(&run);
        for format in FORMATS {
            prop_assert!(!render(format, &verdict, &run).unwrap().is_empty());
        }
        let [said, counted] = junit_counts(&text(Format::Junit, &run));
        prop_assert_eq!(said, counted);
        prop_assert_eq!(counted[1] + counted[2] == 0, verdict.verdict == Finding::Pass);
        let page = text(Format::Html, &run);
        let drawn = xml::page(&page).into_iter().flat_map(|element| element.attributes);
        let broken: Vec<_> = drawn.filter(|(_, value)| value.contains("NaN") || value.contains("inf")).collect();
        prop_assert!(broken.is_empty(), "{broken:?}");
        prop_assert!(openmetrics::parse(&text(Format::Openmetrics, &run)).is_ok());
        valid_sarif(&text(Format::Sarif, &run));
    }
}

#[test]
fn a_set_of_readings_that_never_ends_is_drawn() {
    let mut run = with(vec![sut()]);
    set(&mut run.targets[0], Metric::Tasks, &[0, u64::MAX]);
    xml::page(&text(Format::Html, &run));
}
