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
use super::text::{clean, date, grouped};
use leakgate_judge::text::truncate;
use leakgate_judge::verdict::words::{bytes, name, plural};
use leakgate_judge::verdict::{ControlVerdict, Finding, Verdict};
use parts::{badge, class, control_badge, pairs, table};

const STYLE: &str = include_str!("html/style.css");
/// Whatever slips into the page: nothing is loaded and nothing runs.
const POLICY: &str =
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'";
/// So many targets are shown whole, whether they passed or not.
const WHOLE: usize = 3;

/// Characters of a sentence at the top; the whole of it stands further down.
const LONGEST: usize = 240;

/// The whole page.
pub(super) fn render(facts: &Facts) -> String {
    let folded = |finding: Finding| facts.targets.len() > WHOLE && finding <= Finding::Pass;
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            (head(&title(facts.verdict), &clean(&facts.verdict.environment.leakgate), ""))
            body {
                (headline(facts))
                main {
                    (what_next(facts))
                    (overview(facts))
                    @for (at, target) in facts.targets.iter().enumerate() {
                        (target::section(target, at, folded(target.judged.verdict)))
                    }
                    (controls(facts))
                    (bounds(facts))
                    (latency(facts))
                    (missed(facts))
                    (notes(facts))
                    (shards(facts))
                    (environment(facts))
                }
                footer { "Made by leakgate from run.json. kB is 10³ bytes, MB is 10⁶." }
            }
        }
    };
    page.into_string() + "\n"
}

/// Of a page that loads nothing and runs nothing; `styles` come after the common ones.
fn head(title: &str, leakgate: &str, styles: &str) -> Markup {
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

fn title(verdict: &Verdict) -> String {
    format!("{}: {}", verdict.verdict, truncate(&clean(&verdict.summary), LONGEST))
}

fn headline(facts: &Facts) -> Markup {
    let verdict = facts.verdict;
    let proof = &verdict.proof;
    let reasons: Vec<&String> =
        verdict.invalid.iter().filter(|&reason| *reason != verdict.summary).chain(&verdict.warnings).collect();
    let controls = if verdict.controls.is_empty() { "left out".to_owned() } else { facts.controls() };
    let figures = [
        ("Exercised", format!("{}, {}", counted(proof.restarts, "restart"), counted(proof.requests, "request"))),
        ("Controls", controls),
        ("Peak server RSS", bytes(verdict.bounds.server_rss_max_mb * 1e6)),
        ("Peak tree RSS", bytes(verdict.bounds.tree_rss_max_mb * 1e6)),
        ("Measured", date(verdict.environment.started_unix)),
    ];
    html! {
        header class=(class(verdict.verdict)) {
            div.inner {
                p.brand { "leakgate" }
                h1 { (badge(verdict.verdict)) " " span.summary { (truncate(&clean(&verdict.summary), LONGEST)) } }
                p.meaning { (advice::meaning_of(verdict)) }
                @if !reasons.is_empty() { ul.warnings { @for reason in reasons { li { (truncate(&clean(reason), LONGEST)) } } } }
                (pairs(&figures))
            }
        }
    }
}

fn counted(number: u64, noun: &str) -> String {
    if number == 1 { plural(number, noun) } else { format!("{} {noun}s", grouped(number)) }
}

fn what_next(facts: &Facts) -> Markup {
    let steps = advice::next_steps(facts.verdict, facts.run);
    html! {
        @if !steps.is_empty() {
            section { h2 { "What to do next" } ol.steps { @for step in steps { li { (in_code(&clean(&step))) } } } }
        }
    }
}

/// What stands between back quotes is code.
fn in_code(text: &str) -> Markup {
    html! {
        @for (at, part) in text.split('`').enumerate() {
            @if at % 2 == 1 { code { (part) } } @else { (part) }
        }
    }
}

/// A line for each target, where there are several.
fn overview(facts: &Facts) -> Markup {
    let row = |(at, target): (usize, &facts::Target)| {
        let proof = &target.judged.proof;
        vec![
            html! { a href=(format!("#t{at}")) { (target.short_name()) } },
            badge(target.judged.verdict),
            html! { (grouped(proof.restarts)) },
            html! { (grouped(proof.requests)) },
            html! { (format!("{:.1} s", target.judged.seconds)) },
        ]
    };
    let rows: Vec<Vec<Markup>> = facts.targets.iter().enumerate().map(row).collect();
    html! {
        @if rows.len() > 1 {
            section {
                h2 { "Scenarios" }
                (table("Scenarios", &["scenario", "verdict", "restarts", "requests", "duration"], &[2, 3, 4], &rows))
            }
        }
    }
}

fn controls(facts: &Facts) -> Markup {
    let rows: Vec<Vec<Markup>> = facts.verdict.controls.iter().map(control).collect();
    html! {
        section {
            h2 { "Controls" }
            p { (facts.controls()) }
            @if !rows.is_empty() { (table("Controls", &["control", "result", "planted in", "reason"], &[], &rows)) }
        }
    }
}

fn control(control: &ControlVerdict) -> Vec<Markup> {
    let planted: Vec<&str> = control.planted.iter().map(|&metric| name(metric)).collect();
    let planted = if planted.is_empty() { "nothing".to_owned() } else { planted.join(", ") };
    vec![
        html! { code { (facts::control_name(control)) } },
        control_badge(control.passed, facts::control_word(control)),
        html! { (planted) },
        html! { (clean(&control.reason)) },
    ]
}

fn bounds(facts: &Facts) -> Markup {
    let row = |target: &facts::Target| {
        let (server, tree) = target.most_memory();
        vec![html! { (target.short_name()) }, html! { (target.most_alive()) }, html! { (server) }, html! { (tree) }]
    };
    let rows: Vec<Vec<Markup>> = facts.targets.iter().map(row).collect();
    html! {
        section {
            h2 { "What was exercised" }
            ul { @for line in facts::proof(&facts.verdict.proof) { li { (line) } } }
            @if !rows.is_empty() {
                h3 { "Peak values" }
                (table("Peak values", &["scenario", "processes", "server RSS", "tree RSS"], &[2, 3], &rows))
            }
        }
    }
}

fn latency(facts: &Facts) -> Markup {
    let mut rows: Vec<Vec<Markup>> = Vec::new();
    for target in &facts.targets {
        for (when, of) in target.latency().into_iter().flatten() {
            let ms = |ms: f64| html! { (format!("{ms:.1} ms")) };
            let name = html! { (target.short_name()) ", " (when) };
            rows.push(vec![name, html! { (grouped(of.requests)) }, ms(of.p50_ms), ms(of.p95_ms), ms(of.max_ms)]);
        }
    }
    html! {
        @if !rows.is_empty() {
            section {
                h2 { "Request latency" }
                (table("Latency", &["requests", "count", "p50", "p95", "max"], &[1, 2, 3, 4], &rows))
            }
        }
    }
}

fn missed(facts: &Facts) -> Markup {
    html! {
        section {
            h2 { "What this run cannot detect" }
            p { (facts::MISSED) }
            ul { @for claim in facts::false_alarms(facts.verdict) { li { (claim) } } }
        }
    }
}

fn notes(facts: &Facts) -> Markup {
    let notes = advice::notes(facts.verdict, facts.run);
    html! {
        @if !notes.is_empty() {
            section { h2 { "Notes" } ul.notes { @for note in notes { li { code { (clean(note)) } } } } }
        }
    }
}

fn shards(facts: &Facts) -> Markup {
    let shards = facts::shards(facts.verdict);
    let row = |shard: &facts::Shard| vec![html! { (shard.name) }, html! { (shard.units) }, html! { (shard.ran) }];
    let rows: Vec<Vec<Markup>> = shards.iter().map(row).collect();
    html! {
        @if !rows.is_empty() {
            section { h2 { "Shards" } (table("Shards", &["shard", "units", "ran on"], &[], &rows)) }
        }
    }
}

fn environment(facts: &Facts) -> Markup {
    let env = &facts.verdict.environment;
    let parts: Vec<(&str, String)> =
        facts::environment(env, facts.run.seed).into_iter().map(|(name, value)| (name, clean(&value))).collect();
    html! {
        section {
            h2 { "Environment" }
            (pairs(&parts))
            @if !env.command.is_empty() {
                h3 { "Command to measure again" }
                pre.scroll tabindex="0" { code { (clean(&env.command)) } }
            }
        }
    }
}
