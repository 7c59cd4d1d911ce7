//! The page over many nights: one HTML file like the report of a run, without a script and without the network.
//!
//! `lines` finds the data of each chart without drawing; `chart` draws. Figures of different nights stand beside each
//! other and are not judged: where nights are missing, or were made differently, the line breaks.

use maud::{DOCTYPE, Markup, html};

use super::parts::{definition_list, finding_badge, finding_class, scrolling_table};
use super::{MAX_SENTENCE_CHARS, page_head};
use crate::night::format_day;
use crate::text::{format_date, group_digits, sanitize};
use leakgate_history::baseline::Baseline;
use leakgate_history::compare::Change;
use leakgate_history::{Conclusion, Night, environment_differences};
use leakgate_judge::text::truncate;
use leakgate_judge::verdict::Finding;
use lines::{Line, TargetCharts, Times};

mod chart;
mod lines;

const OWN_STYLE: &str = include_str!("nights.css");

/// Characters of a reason in a row.
const MAX_REASON_CHARS: usize = 120;

/// The whole page.
pub(crate) fn render_nights(nights: &[Night], baselines: &[Baseline]) -> String {
    let times = Times::of(nights, baselines);
    let places = lines::collect_targets(nights);
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            (page_head(&nights_title(nights), env!("CARGO_PKG_VERSION"), OWN_STYLE))
            body {
                (nights_headline(nights, baselines))
                main {
                    (nights_section(nights, baselines))
                    @if !places.is_empty() { (charts_legend()) }
                    @for (at, place) in places.iter().enumerate() { (target_section(at, place, &times)) }
                }
                footer { "Made by leakgate from its history. Days are UTC. kB is 10³ bytes, MB is 10⁶." }
            }
        }
    };
    page.into_string() + "\n"
}

fn nights_title(nights: &[Night]) -> String {
    nights.last().map_or("no nights".to_owned(), |night| format!("{}: night {}", night.conclusion(), night.id))
}

fn nights_headline(nights: &[Night], baselines: &[Baseline]) -> Markup {
    let Some(last) = nights.last() else {
        return html! { header class="shown" { div.inner { p.brand { "leakgate" } h1 { "No night yet" } } } };
    };
    let conclusion = last.conclusion();
    let passed = nights.iter().rev().find(|night| night.conclusion() == Conclusion::Pass);
    let accepted = baselines.last().map_or("none".to_owned(), |baseline| {
        format!("{}, of night {} ({})", baseline.id, baseline.night, sanitize(&baseline.by))
    });
    let figures = [
        ("Nights", group_digits(nights.len() as u64)),
        ("Latest", format_date(last.environment.started_unix)),
        ("Last pass", passed.map_or("none".to_owned(), |night| format_day(night.environment.started_unix))),
        ("Baseline", accepted),
    ];
    html! {
        header class=(conclusion_class(conclusion)) {
            div.inner {
                p.brand { "leakgate nightly" }
                h1 { (conclusion_badge(conclusion)) " " span.summary { (truncate(&sanitize(&last.sentence()), MAX_SENTENCE_CHARS)) } }
                @let said = last.remarks.iter().filter(|remark| sanitize(&remark.what) != sanitize(&last.sentence()));
                @let said: Vec<String> = said.map(|remark| truncate(&sanitize(&remark.what), MAX_SENTENCE_CHARS)).collect();
                @if !said.is_empty() { ul.warnings { @for what in said { li { (what) } } } }
                (definition_list(&figures))
            }
        }
    }
}

/// A finding that has the colour and the sign of a conclusion.
fn finding_like(conclusion: Conclusion) -> Finding {
    match conclusion {
        Conclusion::Pass => Finding::Pass,
        Conclusion::NotConclusive => Finding::Inconclusive,
        Conclusion::Expired | Conclusion::OverBudget | Conclusion::Regression | Conclusion::Leak => Finding::Leak,
        Conclusion::Invalid => Finding::Invalid,
    }
}

fn conclusion_class(conclusion: Conclusion) -> &'static str {
    finding_class(finding_like(conclusion))
}

fn conclusion_badge(conclusion: Conclusion) -> Markup {
    super::parts::badge_of(finding_like(conclusion), &conclusion.to_string())
}

/// Every night, the newest first.
fn nights_section(nights: &[Night], baselines: &[Baseline]) -> Markup {
    let before = std::iter::once(None).chain(nights.iter().map(Some));
    let mut rows: Vec<Vec<Markup>> =
        nights.iter().zip(before).map(|(night, before)| night_row(night, before, baselines)).collect();
    rows.reverse();
    let head = ["night", "result", "started", "commit", "passed", "restarts", "vs. baseline", "reason"];
    html! {
        @if !rows.is_empty() { section { h2 { "Nights" } (scrolling_table("Nights", &head, &[4, 5], &rows)) } }
    }
}

fn night_row(night: &Night, before: Option<&Night>, baselines: &[Baseline]) -> Vec<Markup> {
    let passed = night.targets.iter().filter(|target| target.verdict == Finding::Pass).count();
    let restarts: u64 = night.targets.iter().map(|target| target.restarts).sum();
    let accepted = baselines.iter().filter(|baseline| baseline.night == night.id).map(|baseline| baseline.id);
    let accepted: Vec<String> = accepted.map(|id| format!("baseline {id}")).collect();
    let beside = night.comparison.as_ref().map(|comparison| match comparison.change {
        Change::None => conclusion_badge(Conclusion::Pass),
        Change::Regression => conclusion_badge(Conclusion::Regression),
        Change::Unknown => conclusion_badge(Conclusion::NotConclusive),
    });
    let commit = night.environment.commit.as_deref().unwrap_or("unknown");
    let changed =
        before.map(|before| environment_differences(&before.environment, &night.environment)).unwrap_or_default();
    let why = if night.conclusion() == Conclusion::Pass { String::new() } else { sanitize(&night.sentence()) };
    vec![
        html! { (night.id) @if !accepted.is_empty() { " " span.nowrap { "(" (accepted.join(", ")) ")" } } },
        conclusion_badge(night.conclusion()),
        html! { span.nowrap { (format_minute(night.environment.started_unix)) } },
        html! { code { (truncate(&sanitize(commit), 40)) } },
        html! { (format!("{passed} of {}", night.targets.len())) },
        html! { (group_digits(restarts)) },
        beside.unwrap_or_else(|| html! { "–" }),
        html! {
            span.why { (truncate(&why, MAX_REASON_CHARS)) }
            @for change in changed { " " span.changed { (truncate(&sanitize(&change), MAX_REASON_CHARS)) "." } }
        },
    ]
}

/// Without its seconds.
fn format_minute(unix: u64) -> String {
    format_date(unix).chars().take("YYYY-MM-DD HH:MM".len()).collect()
}

fn charts_legend() -> Markup {
    html! {
        section {
            h2 { "Growth, memory and latency over the nights" }
            p { "Nights are not compared with each other here, because machines and compilers change between them: each night \
                is judged by itself, and builds are compared side by side within one night." }
            ul.legend {
                li { span class="key bad" {} "not passed in that night" }
                li { span class="key flag" {} "a baseline" }
                li { span class="key warm" {} "no night for more than 36 hours" }
                li { span class="key change" {} "different environment: kernel, CPUs, compiler, allocator or CLI" }
                li { span class="key limit" {} "the latest night's bound" }
                li { "× not measured in that night" }
            }
        }
    }
}

/// One target of one scenario. Targets that passed in the latest night are folded, except the first.
fn target_section(at: usize, place: &TargetCharts, times: &Times) -> Markup {
    let open = at == 0 || place.latest > Finding::Pass;
    html! {
        details.target id=(format!("t{at}")) open[open] {
            summary { h2 { (sanitize(&place.scenario)) " on " (sanitize(&place.target)) " " (finding_badge(place.latest)) } }
            div class="charts large" {
                @for (number, line) in place.lines.iter().enumerate() { (chart_card(&format!("t{at}-{number}"), line, times)) }
            }
            @if !place.flat.is_empty() { p.flat { "0 in every night: " (place.flat.join(", ")) "." } }
        }
    }
}

fn chart_card(id: &str, line: &Line, times: &Times) -> Markup {
    html! {
        figure class=(format!("card {}", finding_class(line.latest))) data-metric=(line.name) {
            figcaption { span.metric { (line.name) } span.change { (line.what) } }
            (chart::draw_chart(line, times, id))
        }
    }
}
