//! The report as one HTML file: no script, nothing from the network, light and dark, and a width of its own for phones.
//!
//! `series` says what a chart shows and `axis` where its ticks are, both without drawing; `svg` draws. Text from outside
//! goes through `clean`, and maud escapes every text.

mod axis;
pub(super) mod nights;
mod parts;
mod series;
mod svg;
mod target;

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::advice;
use super::facts::{self, Facts};
use super::text::{format_date, group_digits, sanitize};
use leakgate_judge::text::truncate;
use leakgate_judge::verdict::words::{format_bytes, metric_name, pluralize};
use leakgate_judge::verdict::{ControlVerdict, Finding, Verdict};
use parts::{control_badge, definition_list, finding_badge, finding_class, scrolling_table};

const STYLE: &str = include_str!("html/style.css");
/// Whatever slips into the page: nothing is loaded and nothing runs.
const POLICY: &str =
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'";
/// So many targets are shown whole, whether they passed or not.
const MAX_EXPANDED_TARGETS: usize = 3;

/// Characters of a sentence at the top; the whole of it stands further down.
const MAX_SENTENCE_CHARS: usize = 240;

/// The whole page.
pub(super) fn render_page(facts: &Facts) -> String {
    let folded = |finding: Finding| facts.targets.len() > MAX_EXPANDED_TARGETS && finding <= Finding::Pass;
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            (page_head(&page_title(facts.verdict), &sanitize(&facts.verdict.environment.leakgate), ""))
            body {
                (page_headline(facts))
                main {
                    (next_steps_section(facts))
                    (scenarios_section(facts))
                    @for (at, target) in facts.targets.iter().enumerate() {
                        (target::target_section(target, at, folded(target.judged.verdict)))
                    }
                    (controls_section(facts))
                    (peaks_section(facts))
                    (latency_section(facts))
                    (limits_section(facts))
                    (notes_section(facts))
                    (shards_section(facts))
                    (environment_section(facts))
                }
                footer { "Made by leakgate from run.json. kB is 10³ bytes, MB is 10⁶." }
            }
        }
    };
    page.into_string() + "\n"
}

/// Of a page that loads nothing and runs nothing; `styles` come after the common ones.
fn page_head(title: &str, leakgate: &str, styles: &str) -> Markup {
    html! {
        head {
            meta charset="utf-8";
            meta name="viewport" content="width=device-width, initial-scale=1";
            meta http-equiv="Content-Security-Policy" content=(POLICY);
            meta name="color-scheme" content="light dark";
            meta name="generator" content=(format!("leakgate {leakgate}"));
            title { (title) }
            link rel="icon" href="data:,";
            style { (PreEscaped(STYLE)) (PreEscaped(styles)) }
        }
    }
}

fn page_title(verdict: &Verdict) -> String {
    format!("{}: {}", verdict.verdict, truncate(&sanitize(&verdict.summary), MAX_SENTENCE_CHARS))
}

fn page_headline(facts: &Facts) -> Markup {
    let verdict = facts.verdict;
    let proof = &verdict.proof;
    let reasons: Vec<&String> =
        verdict.invalid.iter().filter(|&reason| *reason != verdict.summary).chain(&verdict.warnings).collect();
    let controls = if verdict.controls.is_empty() { "left out".to_owned() } else { facts.controls_summary() };
    let figures = [
        (
            "Exercised",
            format!("{}, {}", grouped_plural(proof.restarts, "restart"), grouped_plural(proof.requests, "request")),
        ),
        ("Controls", controls),
        ("Peak server RSS", format_bytes(verdict.bounds.server_rss_max_mb * 1e6)),
        ("Peak tree RSS", format_bytes(verdict.bounds.tree_rss_max_mb * 1e6)),
        ("Measured", format_date(verdict.environment.started_unix)),
    ];
    html! {
        header class=(finding_class(verdict.verdict)) {
            div.inner {
                p.brand { "leakgate" }
                h1 { (finding_badge(verdict.verdict)) " " span.summary { (truncate(&sanitize(&verdict.summary), MAX_SENTENCE_CHARS)) } }
                p.meaning { (advice::explain_verdict(verdict)) }
                @if !reasons.is_empty() { ul.warnings { @for reason in reasons { li { (truncate(&sanitize(reason), MAX_SENTENCE_CHARS)) } } } }
                (definition_list(&figures))
            }
        }
    }
}

fn grouped_plural(number: u64, noun: &str) -> String {
    if number == 1 { pluralize(number, noun) } else { format!("{} {noun}s", group_digits(number)) }
}

fn next_steps_section(facts: &Facts) -> Markup {
    let steps = advice::next_steps(facts.verdict, facts.run);
    html! {
        @if !steps.is_empty() {
            section { h2 { "What to do next" } ol.steps { @for step in steps { li { (with_code(&sanitize(&step))) } } } }
        }
    }
}

/// Text in which parts between back quotes become code.
fn with_code(text: &str) -> Markup {
    html! {
        @for (at, part) in text.split('`').enumerate() {
            @if at % 2 == 1 { code { (part) } } @else { (part) }
        }
    }
}

/// A line for each target, where there are several.
fn scenarios_section(facts: &Facts) -> Markup {
    let row = |(at, target): (usize, &facts::Target)| {
        let proof = &target.judged.proof;
        vec![
            html! { a href=(format!("#t{at}")) { (target.short_name()) } },
            finding_badge(target.judged.verdict),
            html! { (group_digits(proof.restarts)) },
            html! { (group_digits(proof.requests)) },
            html! { (format!("{:.1} s", target.judged.seconds)) },
        ]
    };
    let rows: Vec<Vec<Markup>> = facts.targets.iter().enumerate().map(row).collect();
    html! {
        @if rows.len() > 1 {
            section {
                h2 { "Scenarios" }
                (scrolling_table("Scenarios", &["scenario", "verdict", "restarts", "requests", "duration"], &[2, 3, 4], &rows))
            }
        }
    }
}

fn controls_section(facts: &Facts) -> Markup {
    let rows: Vec<Vec<Markup>> = facts.verdict.controls.iter().map(control_row).collect();
    html! {
        section {
            h2 { "Controls" }
            p { (facts.controls_summary()) }
            @if !rows.is_empty() { (scrolling_table("Controls", &["control", "result", "planted in", "reason"], &[], &rows)) }
        }
    }
}

fn control_row(control: &ControlVerdict) -> Vec<Markup> {
    let planted: Vec<&str> = control.planted.iter().map(|&metric| metric_name(metric)).collect();
    let planted = if planted.is_empty() { "nothing".to_owned() } else { planted.join(", ") };
    vec![
        html! { code { (facts::control_name(control)) } },
        control_badge(control.passed, facts::control_word(control)),
        html! { (planted) },
        html! { (sanitize(&control.reason)) },
    ]
}

fn peaks_section(facts: &Facts) -> Markup {
    let row = |target: &facts::Target| {
        let (server, tree) = target.most_memory();
        vec![html! { (target.short_name()) }, html! { (target.most_alive()) }, html! { (server) }, html! { (tree) }]
    };
    let rows: Vec<Vec<Markup>> = facts.targets.iter().map(row).collect();
    html! {
        section {
            h2 { "What was exercised" }
            ul { @for line in facts::proof_lines(&facts.verdict.proof) { li { (line) } } }
            @if !rows.is_empty() {
                h3 { "Peak values" }
                (scrolling_table("Peak values", &["scenario", "processes", "server RSS", "tree RSS"], &[2, 3], &rows))
            }
        }
    }
}

fn latency_section(facts: &Facts) -> Markup {
    let mut rows: Vec<Vec<Markup>> = Vec::new();
    for target in &facts.targets {
        for (when, of) in target.latencies().into_iter().flatten() {
            let ms = |ms: f64| html! { (format!("{ms:.1} ms")) };
            let name = html! { (target.short_name()) ", " (when) };
            rows.push(vec![name, html! { (group_digits(of.requests)) }, ms(of.p50_ms), ms(of.p95_ms), ms(of.max_ms)]);
        }
    }
    html! {
        @if !rows.is_empty() {
            section {
                h2 { "Request latency" }
                (scrolling_table("Latency", &["requests", "count", "p50", "p95", "max"], &[1, 2, 3, 4], &rows))
            }
        }
    }
}

fn limits_section(facts: &Facts) -> Markup {
    html! {
        section {
            h2 { "What this run cannot detect" }
            p { (facts::MISSED) }
            ul { @for claim in facts::false_alarms(facts.verdict) { li { (claim) } } }
        }
    }
}

fn notes_section(facts: &Facts) -> Markup {
    let notes = advice::failed_notes(facts.verdict, facts.run);
    html! {
        @if !notes.is_empty() {
            section { h2 { "Notes" } ul.notes { @for note in notes { li { code { (sanitize(note)) } } } } }
        }
    }
}

fn shards_section(facts: &Facts) -> Markup {
    let shards = facts::suite_shards(facts.verdict);
    let row = |shard: &facts::Shard| vec![html! { (shard.name) }, html! { (shard.units) }, html! { (shard.ran) }];
    let rows: Vec<Vec<Markup>> = shards.iter().map(row).collect();
    html! {
        @if !rows.is_empty() {
            section { h2 { "Shards" } (scrolling_table("Shards", &["shard", "units", "ran on"], &[], &rows)) }
        }
    }
}

fn environment_section(facts: &Facts) -> Markup {
    let env = &facts.verdict.environment;
    let parts: Vec<(&str, String)> = facts::environment_fields(env, facts.run.seed)
        .into_iter()
        .map(|(name, value)| (name, sanitize(&value)))
        .collect();
    html! {
        section {
            h2 { "Environment" }
            (definition_list(&parts))
            @if !env.command.is_empty() {
                h3 { "Command to measure again" }
                pre.scroll tabindex="0" { code { (sanitize(&env.command)) } }
            }
        }
    }
}
