//! The page over many nights: one HTML file like the report of a run, without a script and without the network.
//!
//! What a chart shows is found in `lines`, without drawing; `chart` draws. Figures of different nights stand beside each
//! other and are not judged: where nights are missing, or were made differently, the line breaks.

use maud::{DOCTYPE, Markup, html};

use super::parts::{badge, class, pairs, table};
use super::{LONGEST, head};
use crate::night::day;
use crate::text::{clean, date, grouped};
use leakgate_history::baseline::Baseline;
use leakgate_history::compare::Change;
use leakgate_history::{Conclusion, Night, differences};
use leakgate_judge::text::truncate;
use leakgate_judge::verdict::Finding;
use lines::{Line, Place, Times};

mod chart;
mod lines;

const OWN_STYLE: &str = include_str!("nights.css");

/// Characters of a reason in a row.
const REASON: usize = 120;

/// The whole page.
pub(crate) fn render(nights: &[Night], baselines: &[Baseline]) -> String {
    let times = Times::of(nights, baselines);
    let places = lines::places(nights);
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            (head(&title(nights), env!("CARGO_PKG_VERSION"), OWN_STYLE))
            body {
                (headline(nights, baselines))
                main {
                    (list(nights, baselines))
                    @if !places.is_empty() { (legend()) }
                    @for (at, place) in places.iter().enumerate() { (section(at, place, &times)) }
                }
                footer { "Made by leakgate from its history. Days are UTC. kB is 10³ bytes, MB is 10⁶." }
            }
        }
    };
    page.into_string() + "\n"
}

fn title(nights: &[Night]) -> String {
    nights.last().map_or("no nights".to_owned(), |night| format!("{}: night {}", night.conclusion(), night.id))
}

fn headline(nights: &[Night], baselines: &[Baseline]) -> Markup {
    let Some(last) = nights.last() else {
        return html! { header class="shown" { div.inner { p.brand { "leakgate" } h1 { "No night yet" } } } };
    };
    let conclusion = last.conclusion();
    let passed = nights.iter().rev().find(|night| night.conclusion() == Conclusion::Pass);
    let accepted = baselines.last().map_or("none".to_owned(), |baseline| {
        format!("{}, of night {} ({})", baseline.id, baseline.night, clean(&baseline.by))
    });
    let figures = [
        ("Nights", grouped(nights.len() as u64)),
        ("Latest", date(last.environment.started_unix)),
        ("Last pass", passed.map_or("none".to_owned(), |night| day(night.environment.started_unix))),
        ("Baseline", accepted),
    ];
    html! {
        header class=(tone(conclusion)) {
            div.inner {
                p.brand { "leakgate nightly" }
                h1 { (mark(conclusion)) " " span.summary { (truncate(&clean(&last.sentence()), LONGEST)) } }
                @let said = last.remarks.iter().filter(|remark| clean(&remark.what) != clean(&last.sentence()));
                @let said: Vec<String> = said.map(|remark| truncate(&clean(&remark.what), LONGEST)).collect();
                @if !said.is_empty() { ul.warnings { @for what in said { li { (what) } } } }
                (pairs(&figures))
            }
        }
    }
}

/// A finding that has the colour and the sign of a conclusion.
fn like(conclusion: Conclusion) -> Finding {
    match conclusion {
        Conclusion::Pass => Finding::Pass,
        Conclusion::NotConclusive => Finding::Inconclusive,
        Conclusion::Expired | Conclusion::OverBudget | Conclusion::Regression | Conclusion::Leak => Finding::Leak,
        Conclusion::Invalid => Finding::Invalid,
    }
}

fn tone(conclusion: Conclusion) -> &'static str {
    class(like(conclusion))
}

fn mark(conclusion: Conclusion) -> Markup {
    super::parts::badge_of(like(conclusion), &conclusion.to_string())
}

/// Every night, the newest first.
fn list(nights: &[Night], baselines: &[Baseline]) -> Markup {
    let before = std::iter::once(None).chain(nights.iter().map(Some));
    let mut rows: Vec<Vec<Markup>> =
        nights.iter().zip(before).map(|(night, before)| row(night, before, baselines)).collect();
    rows.reverse();
    let head = ["night", "result", "started", "commit", "passed", "restarts", "vs. baseline", "reason"];
    html! {
        @if !rows.is_empty() { section { h2 { "Nights" } (table("Nights", &head, &[4, 5], &rows)) } }
    }
}

fn row(night: &Night, before: Option<&Night>, baselines: &[Baseline]) -> Vec<Markup> {
    let passed = night.targets.iter().filter(|target| target.verdict == Finding::Pass).count();
    let restarts: u64 = night.targets.iter().map(|target| target.restarts).sum();
    let accepted = baselines.iter().filter(|baseline| baseline.night == night.id).map(|baseline| baseline.id);
    let accepted: Vec<String> = accepted.map(|id| format!("baseline {id}")).collect();
    let beside = night.comparison.as_ref().map(|comparison| match comparison.change {
        Change::None => mark(Conclusion::Pass),
        Change::Regression => mark(Conclusion::Regression),
        Change::Unknown => mark(Conclusion::NotConclusive),
    });
    let commit = night.environment.commit.as_deref().unwrap_or("unknown");
    let changed = before.map(|before| differences(&before.environment, &night.environment)).unwrap_or_default();
    let why = if night.conclusion() == Conclusion::Pass { String::new() } else { clean(&night.sentence()) };
    vec![
        html! { (night.id) @if !accepted.is_empty() { " " span.nowrap { "(" (accepted.join(", ")) ")" } } },
        mark(night.conclusion()),
        html! { span.nowrap { (minute(night.environment.started_unix)) } },
        html! { code { (truncate(&clean(commit), 40)) } },
        html! { (format!("{passed} of {}", night.targets.len())) },
        html! { (grouped(restarts)) },
        beside.unwrap_or_else(|| html! { "–" }),
        html! {
            span.why { (truncate(&why, REASON)) }
            @for change in changed { " " span.changed { (truncate(&clean(&change), REASON)) "." } }
        },
    ]
}

/// Without its seconds.
fn minute(unix: u64) -> String {
    date(unix).chars().take("YYYY-MM-DD HH:MM".len()).collect()
}

fn legend() -> Markup {
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

/// One target of one scenario. What passed in the latest night is folded, unless it is the first.
fn section(at: usize, place: &Place, times: &Times) -> Markup {
    let open = at == 0 || place.latest > Finding::Pass;
    html! {
        details.target id=(format!("t{at}")) open[open] {
            summary { h2 { (clean(&place.scenario)) " on " (clean(&place.target)) " " (badge(place.latest)) } }
            div class="charts large" {
                @for (number, line) in place.lines.iter().enumerate() { (card(&format!("t{at}-{number}"), line, times)) }
            }
            @if !place.flat.is_empty() { p.flat { "0 in every night: " (place.flat.join(", ")) "." } }
        }
    }
}

fn card(id: &str, line: &Line, times: &Times) -> Markup {
    html! {
        figure class=(format!("card {}", class(line.latest))) data-metric=(line.name) {
            figcaption { span.metric { (line.name) } span.change { (line.what) } }
            (chart::draw(line, times, id))
        }
    }
}
