//! One value over the nights, as inline SVG.

use jiff::Timestamp;
use maud::{Markup, html};

use super::lines::{Dot, Line, Times, Unit};
use crate::html::axis::Axis;
use crate::html::parts::finding_class;
use crate::html::svg::{draw_segment, draw_text, label_anchor, to_px};
use crate::night::format_day;
use leakgate_judge::verdict::Finding;
use leakgate_judge::verdict::words::{format_bytes, format_count, to_f64};

const WIDTH: f64 = 560.0;
const HEIGHT: f64 = 210.0;
const LEFT: f64 = 80.0;
const RIGHT: f64 = WIDTH - 18.0;
const TOP: f64 = 24.0;
const BOTTOM: f64 = HEIGHT - 30.0;
const DAY: u64 = 86_400;
/// Days on the axis at most.
const MAX_TICKS: u64 = 5;
/// Half the width of a day's label, of its largest text.
const HALF_A_DAY: f64 = 30.0;

struct Frame<'a> {
    times: &'a Times,
    from: f64,
    to: f64,
    y: Axis,
    unit: Unit,
}

/// The drawing.
pub(super) fn draw_chart(line: &Line, times: &Times, id: &str) -> Markup {
    let frame = Frame::around(line, times);
    let (title, about) = (format!("{id}-t"), format!("{id}-d"));
    html! {
        svg viewBox=(format!("0 0 {WIDTH} {HEIGHT}")) role="img" aria-labelledby=(format!("{title} {about}"))
            xmlns="http://www.w3.org/2000/svg" {
            title id=(title) { (line.name) ": " (line.what) ", over the nights" }
            desc id=(about) { (chart_description(line, times)) }
            @for &gap in &times.gaps { (draw_gap(&frame, gap)) }
            (draw_grid(&frame))
            @for &at in &times.changes { (draw_segment("change", (frame.x(at), TOP), (frame.x(at), BOTTOM))) }
            @for &at in &times.baselines { (draw_baseline_mark(frame.x(at))) }
            @if let Some(limit) = line.limit.filter(|limit| frame.is_in_range(*limit)) { (draw_bound(&frame, limit)) }
            path class="line" d=(line_path(&frame, line)) {}
            @for (at, dot) in line.dots.iter().enumerate() { (draw_point(&frame, at, dot.as_ref())) }
        }
    }
}

impl<'a> Frame<'a> {
    fn around(line: &Line, times: &'a Times) -> Self {
        let (mut low, mut high) = (0.0_f64, 0.0_f64);
        if let Some(first) = line.dots.iter().flatten().next() {
            (low, high) = (first.value, first.value);
        }
        for dot in line.dots.iter().flatten() {
            (low, high) = (low.min(dot.value), high.max(dot.value));
        }
        // A bound far away would flatten everything; its number stands in the description then.
        if let Some(limit) = line.limit.filter(|limit| *limit <= 4.0 * high.abs().max(low.abs())) {
            high = high.max(limit);
        }
        let least = match line.unit {
            Unit::Bytes => (high.abs() * 0.04).max(8.0),
            Unit::Milliseconds => (high.abs() * 0.1).max(0.1),
            Unit::Count => (high.abs() * 0.1).max(0.001),
        };
        let room = ((high - low) * 0.18).max(least);
        let smallest = if line.unit == Unit::Bytes { 1.0 } else { 0.0 };
        let [from, to] = [times.nights.first(), times.nights.last()].map(|at| to_f64(at.copied().unwrap_or(0)));
        Self { times, from, to, y: Axis::new(low - room, high + room, 4.0, smallest), unit: line.unit }
    }

    /// A single night stands in the middle.
    fn x_of(&self, time: f64) -> f64 {
        let share = if self.to > self.from { (time - self.from) / (self.to - self.from) } else { 0.5 };
        LEFT + 10.0 + share * (RIGHT - LEFT - 20.0)
    }

    fn x(&self, night: usize) -> f64 {
        self.x_of(self.times.nights.get(night).map_or(self.from, |&at| to_f64(at)))
    }

    fn y(&self, value: f64) -> f64 {
        BOTTOM - self.y.share(value) * (BOTTOM - TOP)
    }

    fn is_in_range(&self, value: f64) -> bool {
        self.y.from <= value && value <= self.y.to
    }

    fn tick_label(&self, tick: f64) -> String {
        match self.unit {
            Unit::Bytes => self.y.bytes(tick),
            Unit::Count => format_decimal(tick, &self.y),
            Unit::Milliseconds => format!("{} ms", format_decimal(tick, &self.y)),
        }
    }
}

/// With as many decimals as tell a tick from its neighbours.
fn format_decimal(tick: f64, axis: &Axis) -> String {
    let step = axis.ticks.iter().zip(axis.ticks.iter().skip(1)).map(|(a, b)| b - a).next().unwrap_or(tick.abs());
    let digits = (0..=6_usize).find(|&digits| step * 10_f64.powf(to_f64(digits as u64)) >= 0.999).unwrap_or(6);
    // -0 reads as 0
    format!("{:.digits$}", tick + 0.0)
}

fn draw_grid(frame: &Frame) -> Markup {
    html! {
        @for &tick in &frame.y.ticks {
            (draw_segment("grid", (LEFT, frame.y(tick)), (RIGHT, frame.y(tick))))
            (draw_text("tick", "end", (LEFT - 7.0, frame.y(tick) + 4.0), &frame.tick_label(tick)))
        }
        (draw_segment("axis", (LEFT, BOTTOM), (RIGHT, BOTTOM)))
        @for (x, anchor, words) in day_ticks(frame) {
            (draw_segment("axis", (x, BOTTOM), (x, BOTTOM + 3.0)))
            (draw_text("tick", anchor, (x, BOTTOM + 17.0), &words))
        }
    }
}

/// Ticks at the beginning of days; of nights that are hardly a day apart, the times of the first and the last.
fn day_ticks(frame: &Frame) -> Vec<(f64, &'static str, String)> {
    let (Some(&first), Some(&last)) = (frame.times.nights.first(), frame.times.nights.last()) else {
        return Vec::new();
    };
    if last - first < 2 * DAY {
        let mut ends = vec![(frame.x_of(to_f64(first)), "start", format_time(first, "%b %-d %H:%M"))];
        if last > first {
            ends.push((frame.x_of(to_f64(last)), "end", format_time(last, "%b %-d %H:%M")));
        }
        return ends;
    }
    let step = (last - first).div_ceil(DAY).div_ceil(MAX_TICKS - 1).max(1) * DAY;
    let midnights = (0..MAX_TICKS).map(|at| first.div_ceil(DAY) * DAY + at * step).take_while(|&at| at <= last);
    let tick = |at: u64| {
        let x = frame.x_of(to_f64(at));
        // A day is wide: at the left it keeps off the lowest label of the other axis.
        (x, label_anchor(x, HALF_A_DAY, (LEFT, RIGHT)), format_time(at, "%b %-d"))
    };
    midnights.map(tick).collect()
}

fn format_time(unix: u64, format: &str) -> String {
    let time = i64::try_from(unix).ok().and_then(|unix| Timestamp::from_second(unix).ok());
    time.map_or_else(String::new, |time| time.strftime(format).to_string())
}

/// Nights are missing after this one.
fn draw_gap(frame: &Frame, after: usize) -> Markup {
    let (from, to) = (frame.x(after), frame.x(after + 1));
    let (from, width) = if to - from > 16.0 { (from + 8.0, to - from - 16.0) } else { (from, to - from) };
    html! { rect class="warm" x=(to_px(from)) y=(to_px(TOP)) width=(to_px(width)) height=(to_px(BOTTOM - TOP)) {} }
}

fn draw_baseline_mark(x: f64) -> Markup {
    html! {
        (draw_segment("mark", (x, TOP), (x, BOTTOM)))
        path class="flag" d=(format!("M{} {}l-4.5 -8h9z", to_px(x), to_px(TOP))) {}
    }
}

fn draw_bound(frame: &Frame, limit: f64) -> Markup {
    let y = frame.y(limit);
    let label = match frame.unit {
        Unit::Bytes => format!("bound {}", format_bytes(limit)),
        _ => format!("bound {}", format_count(limit)),
    };
    html! {
        (draw_segment("limit", (LEFT, y), (RIGHT, y)))
        (draw_text("limit-label", "end", (RIGHT - 6.0, if y < TOP + 20.0 { y + 17.0 } else { y - 7.0 }), &label))
    }
}

/// Nights that can be compared at all are joined.
fn line_path(frame: &Frame, line: &Line) -> String {
    let before = std::iter::once(&None).chain(&line.dots);
    let steps = line.dots.iter().zip(before).enumerate().filter_map(|(at, (dot, before))| {
        let step = if before.is_some() && frame.times.is_joined(at) { "L" } else { "M" };
        Some(format!("{step}{} {}", to_px(frame.x(at)), to_px(frame.y(dot.as_ref()?.value))))
    });
    steps.collect()
}

fn draw_point(frame: &Frame, at: usize, dot: Option<&Dot>) -> Markup {
    let x = frame.x(at);
    let Some(dot) = dot else {
        let cross = format!("M{} {}l6 6m0 -6l-6 6", to_px(x - 3.0), to_px(BOTTOM - 9.0));
        return html! { path class="absent" d=(cross) {} };
    };
    let y = frame.y(dot.value);
    let radius = if frame.times.nights.len() > 40 { 2.5 } else { 4.0 };
    html! {
        @if dot.verdict > Finding::Pass {
            path class=(format!("bad {}", finding_class(dot.verdict))) d=(format!("M{} {}l6 6l-6 6l-6 -6z", to_px(x), to_px(y - 6.0))) {}
        } @else {
            circle class="dot" cx=(to_px(x)) cy=(to_px(y)) r=(to_px(radius)) {}
        }
    }
}

/// For who can't see it.
fn chart_description(line: &Line, times: &Times) -> String {
    let said = |(dot, &at): (&Option<Dot>, &u64)| match dot {
        None => format!("{} not measured", format_day(at)),
        Some(dot) if dot.verdict > Finding::Pass => {
            format!("{} {} {}", format_day(at), format_value(line, dot.value), dot.verdict)
        }
        Some(dot) => format!("{} {}", format_day(at), format_value(line, dot.value)),
    };
    let all: Vec<String> = line.dots.iter().zip(&times.nights).map(said).collect();
    let bound =
        line.limit.map(|limit| format!(" The latest bound: {}.", format_value(line, limit))).unwrap_or_default();
    format!("{}: {}.{bound}", line.what, all.join(", "))
}

fn format_value(line: &Line, value: f64) -> String {
    match line.unit {
        Unit::Bytes => format_bytes(value),
        Unit::Count => format_count(value),
        Unit::Milliseconds => format!("{value:.1} ms"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn labels(nights: Vec<u64>) -> Vec<(f64, f64)> {
        let times = Times { nights, gaps: Vec::new(), changes: Vec::new(), baselines: Vec::new() };
        let [from, to] = [times.nights.first(), times.nights.last()].map(|at| to_f64(*at.unwrap()));
        let frame = Frame { times: &times, from, to, y: Axis::new(0.0, 1.0, 4.0, 0.0), unit: Unit::Count };
        let span = |(x, anchor, _): (f64, &str, String)| match anchor {
            "start" => (x, x + 2.0 * HALF_A_DAY),
            "end" => (x - 2.0 * HALF_A_DAY, x),
            _ => (x - HALF_A_DAY, x + HALF_A_DAY),
        };
        day_ticks(&frame).into_iter().map(span).collect()
    }

    proptest! {
        /// Whatever the time of the day at which the first night began, and the last.
        #[test]
        fn days_keep_off_each_other_and_off_the_other_axis(first in 1_700_000_000_u64..1_800_000_000, long in 2 * DAY..400 * DAY) {
            let labels = labels(vec![first, first + long]);
            prop_assert!((2..=5).contains(&labels.len()), "{} days", labels.len());
            prop_assert!(labels.iter().all(|&(from, to)| from >= LEFT - 0.1 && to <= RIGHT + 0.1), "{labels:?}");
            let pairs = labels.iter().zip(labels.iter().skip(1));
            prop_assert!(pairs.clone().all(|(a, b)| a.1 <= b.0), "{labels:?}");
        }
    }
}
