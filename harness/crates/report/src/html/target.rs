//! The part of the page about one target: what it keeps, its charts, its metrics.

use maud::{Markup, html};

use super::parts::{finding_badge, finding_class, scrolling_table};
use super::series::Series;
use super::svg::{self, Caption, LARGE, SMALL};
use crate::facts::{Target, row_cells};
use crate::leaked::{LeakSite, leak_sites, leaked_resources};
use crate::text::sanitize;
use leakgate_judge::sample::Metric;
use leakgate_judge::verdict::words::{format_amount, metric_unit, to_f64};
use leakgate_judge::verdict::{Class, Finding, MetricVerdict};

/// Places whose stacks are open from the start.
const MAX_OPEN_STACKS: usize = 1;

/// A section, with the anchor `t{at}`. Where there are many targets, those that passed are folded.
pub(super) fn target_section(target: &Target, at: usize, folded: bool) -> Markup {
    let title = html! {
        h2 { "Scenario " (target.short_name()) " " (finding_badge(target.judged.verdict)) }
    };
    html! {
        @if folded {
            details.target id=(format!("t{at}")) { summary { (title) } (target_body(target, at)) }
        } @else {
            section.target id=(format!("t{at}")) { (title) (target_body(target, at)) }
        }
    }
}

fn target_body(target: &Target, at: usize) -> Markup {
    let (large, small): (Vec<_>, Vec<_>) =
        target.rows.iter().copied().partition(|row| row.verdict > Finding::Pass || row.name == Metric::AnonPss);
    html! {
        p.sub { (target.exercise_summary()) }
        @if target.is_shortened() { p.note { "The target: " code { (sanitize(&target.judged.target)) } } }
        @for reason in &target.judged.invalid { p.reason.invalid { (sanitize(reason)) } }
        (leaked_section(target))
        (sites_section(target))
        @if !large.is_empty() {
            div.charts.large { @for row in large { (metric_figure(target, row, at, true)) } }
            (charts_legend(target))
        }
        @if !small.is_empty() {
            h3 { "Other metrics, by " (target.per()) }
            div.charts.small { @for row in small { (metric_figure(target, row, at, false)) } }
        }
        h3 { "All metrics in numbers" }
        (metrics_table(target))
    }
}

fn leaked_section(target: &Target) -> Markup {
    let kept = leaked_resources(target);
    html! {
        @if !kept.things.is_empty() {
            h3 { "Leaked at each " (target.per()) }
            ul.kept { @for line in &kept.things { li { (line) } } }
            @if let Some(own) = &kept.own { p.note { (own) } }
        }
    }
}

fn sites_section(target: &Target) -> Markup {
    let places = leak_sites(target);
    html! {
        @if !places.is_empty() {
            h3 { "Where the heap grew" }
            ol.places { @for (at, place) in places.iter().enumerate() { li { (site_item(place, at < MAX_OPEN_STACKS)) } } }
        }
    }
}

fn site_item(place: &LeakSite, open: bool) -> Markup {
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

fn metric_figure(target: &Target, row: &MetricVerdict, at: usize, large: bool) -> Markup {
    let id = format!("c{at}-{}", row.name.name());
    let title = format!("{} of {} against {}s", row.name.name(), target.short_name(), target.per());
    let caption = Caption { id: &id, title: &title, per: target.per() };
    let size = if large { LARGE } else { SMALL };
    html! {
        figure class=(format!("card {}", finding_class(row.verdict))) data-metric=(row.name.name()) {
            figcaption {
                span.metric { (row.name.name()) } " " (finding_badge(row.verdict))
                @if large { p.why { (sanitize(&row.reason)) } } @else { (metric_change(row)) }
            }
            @match Series::of(target, row) {
                Some(series) => (svg::draw_chart(&series, row, size, &caption)),
                None => p.total { (total_value(row)) },
            }
        }
    }
}

/// `3 → 3`, or what there are so many of.
fn metric_change(row: &MetricVerdict) -> Markup {
    let cells = row_cells(row);
    html! {
        @match row.class {
            Class::Total => span.change { (total_label(row.name)) },
            _ => span.change { (cells.first) " → " (cells.last) },
        }
    }
}

/// The label of a count that is taken once, after the stop.
fn total_label(metric: Metric) -> &'static str {
    match metric {
        Metric::Orphans => "processes left after the stop",
        Metric::LeftByKill => "processes left after SIGKILL",
        Metric::FilesLeft => "files left after the stop",
        Metric::Lost => "requests without an ending",
        Metric::MixedUp => "replies mixed up or cut",
        other => metric_unit(other),
    }
}

fn total_value(row: &MetricVerdict) -> String {
    row.last.or(row.max).map_or("–".to_owned(), |value| format_amount(row.name, to_f64(value)))
}

fn charts_legend(target: &Target) -> Markup {
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

fn metrics_table(target: &Target) -> Markup {
    let (growth, catches) = (format!("per {}", target.per()), format!("smallest detectable, per {}", target.per()));
    let rows: Vec<Vec<Markup>> = target.rows.iter().map(|row| metric_row(row)).collect();
    html! {
        @if rows.is_empty() { p { "No metric could be judged." } }
        @else {
            (scrolling_table("Metrics", &["metric", "verdict", "first", "last", &growth, &catches], &[2, 3, 4, 5], &rows))
        }
    }
}

fn metric_row(row: &MetricVerdict) -> Vec<Markup> {
    let cells = row_cells(row);
    vec![
        html! { code { (cells.metric) } },
        finding_badge(row.verdict),
        html! { (cells.first) },
        html! { (cells.last) },
        html! { (cells.growth) },
        html! { (cells.catches) },
    ]
}
