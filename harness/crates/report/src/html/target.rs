//! The part of the page about one target: what it keeps, its charts, its metrics.

use maud::{Markup, html};

use super::parts::{badge, class, table};
use super::series::Series;
use super::svg::{self, Caption, LARGE, SMALL};
use crate::facts::{Target, cells};
use crate::kept::{Place, places, things};
use crate::text::clean;
use leakgate_judge::sample::Metric;
use leakgate_judge::verdict::words::{amount, float, unit};
use leakgate_judge::verdict::{Class, Finding, MetricVerdict};

/// Places whose stacks are open from the start.
const OPEN: usize = 1;

/// A section, with the anchor `t{at}`. Where there are many targets, those that passed are folded.
pub(super) fn section(target: &Target, at: usize, folded: bool) -> Markup {
    let title = html! {
        h2 { "Scenario " (target.short_name()) " " (badge(target.judged.verdict)) }
    };
    html! {
        @if folded {
            details.target id=(format!("t{at}")) { summary { (title) } (body(target, at)) }
        } @else {
            section.target id=(format!("t{at}")) { (title) (body(target, at)) }
        }
    }
}

fn body(target: &Target, at: usize) -> Markup {
    let (large, small): (Vec<_>, Vec<_>) =
        target.rows.iter().copied().partition(|row| row.verdict > Finding::Pass || row.name == Metric::AnonPss);
    html! {
        p.sub { (target.exercised()) }
        @if target.is_shortened() { p.note { "The target: " code { (clean(&target.judged.target)) } } }
        @for reason in &target.judged.invalid { p.reason.invalid { (clean(reason)) } }
        (kept(target))
        (stacks(target))
        @if !large.is_empty() {
            div.charts.large { @for row in large { (figure(target, row, at, true)) } }
            (legend(target))
        }
        @if !small.is_empty() {
            h3 { "Other metrics, by " (target.per()) }
            div.charts.small { @for row in small { (figure(target, row, at, false)) } }
        }
        h3 { "All metrics in numbers" }
        (metrics(target))
    }
}

fn kept(target: &Target) -> Markup {
    let kept = things(target);
    html! {
        @if !kept.things.is_empty() {
            h3 { "Leaked at each " (target.per()) }
            ul.kept { @for line in &kept.things { li { (line) } } }
            @if let Some(own) = &kept.own { p.note { (own) } }
        }
    }
}

fn stacks(target: &Target) -> Markup {
    let places = places(target);
    html! {
        @if !places.is_empty() {
            h3 { "Where the heap grew" }
            ol.places { @for (at, place) in places.iter().enumerate() { li { (stack(place, at < OPEN)) } } }
        }
    }
}

fn stack(place: &Place, open: bool) -> Markup {
    html! {
        details open[open] {
            summary {
                @if let Some(line) = &place.line { code.line { (line) } " " }
                span.function { (place.function) } " "
                span.growth { (place.growth) }
            }
            ol.stack {
                @for (at, frame) in place.frames.iter().enumerate() {
                    li class=[(place.own == Some(at)).then_some("own")] {
                        (frame)
                        @if place.own == Some(at) { " " span.own-mark { "← first frame of the code under test" } }
                    }
                }
            }
        }
    }
}

fn figure(target: &Target, row: &MetricVerdict, at: usize, large: bool) -> Markup {
    let id = format!("c{at}-{}", row.name.name());
    let title = format!("{} of {} against {}s", row.name.name(), target.short_name(), target.per());
    let caption = Caption { id: &id, title: &title, per: target.per() };
    let size = if large { LARGE } else { SMALL };
    html! {
        figure class=(format!("card {}", class(row.verdict))) data-metric=(row.name.name()) {
            figcaption {
                span.metric { (row.name.name()) } " " (badge(row.verdict))
                @if large { p.why { (clean(&row.reason)) } } @else { (short(row)) }
            }
            @match Series::of(target, row) {
                Some(series) => (svg::draw(&series, row, size, &caption)),
                None => p.total { (total(row)) },
            }
        }
    }
}

/// `3 → 3`, or what there are so many of.
fn short(row: &MetricVerdict) -> Markup {
    let cells = cells(row);
    html! {
        @match row.class {
            Class::Total => span.change { (counted(row.name)) },
            _ => span.change { (cells.first) " → " (cells.last) },
        }
    }
}

/// What is counted once, after the stop.
fn counted(metric: Metric) -> &'static str {
    match metric {
        Metric::Orphans => "processes left after the stop",
        Metric::LeftByKill => "processes left after SIGKILL",
        Metric::FilesLeft => "files left after the stop",
        Metric::Lost => "requests without an ending",
        Metric::MixedUp => "replies mixed up or cut",
        other => unit(other),
    }
}

fn total(row: &MetricVerdict) -> String {
    row.last.or(row.max).map_or("–".to_owned(), |value| amount(row.name, float(value)))
}

fn legend(target: &Target) -> Markup {
    let trend = target.rows.iter().any(|row| row.class == Class::Noisy);
    html! {
        ul.legend aria-label="How to read the charts" {
            li { span.key.flag {} "settled checkpoint" }
            li { span.key.warm {} "warm-up, not judged" }
            li { span.key.limit {} "limit" }
            @if trend { li { span.key.median {} "median of a window: a leak rises from each to the next by more than the bound" } }
        }
    }
}

fn metrics(target: &Target) -> Markup {
    let (growth, catches) = (format!("per {}", target.per()), format!("smallest detectable, per {}", target.per()));
    let rows: Vec<Vec<Markup>> = target.rows.iter().map(|row| metric(row)).collect();
    html! {
        @if rows.is_empty() { p { "No metric could be judged." } }
        @else {
            (table("Metrics", &["metric", "verdict", "first", "last", &growth, &catches], &[2, 3, 4, 5], &rows))
        }
    }
}

fn metric(row: &MetricVerdict) -> Vec<Markup> {
    let cells = cells(row);
    vec![
        html! { code { (cells.metric) } },
        badge(row.verdict),
        html! { (cells.first) },
        html! { (cells.last) },
        html! { (cells.growth) },
        html! { (cells.catches) },
    ]
}
