//! A chart as inline SVG. Colours are classes, which the page's style gives a value for light and for dark.

use maud::{Markup, html};

use super::axis::Axis;
use super::series::{Limit, Point, Series};
use crate::text::{group_digits, sanitize};
use leakgate_judge::verdict::MetricVerdict;
use leakgate_judge::verdict::trend::Window;
use leakgate_judge::verdict::words::format_amount;

/// The size of a chart, in its own units: about pixels.
#[derive(Debug, Clone, Copy)]
pub(super) struct Size {
    width: f64,
    height: f64,
    left: f64,
    right: f64,
    top: f64,
    bottom: f64,
    /// Labels at lines and dots, and the name of the axis.
    labelled: bool,
}

/// For a metric that wants to be looked at.
pub(super) const LARGE: Size =
    Size { width: 560.0, height: 250.0, left: 76.0, right: 16.0, top: 24.0, bottom: 44.0, labelled: true };
/// For one of many that are as they should be.
pub(super) const SMALL: Size =
    Size { width: 280.0, height: 104.0, left: 54.0, right: 8.0, top: 8.0, bottom: 20.0, labelled: false };

/// The texts of a chart.
#[derive(Debug)]
pub(super) struct Caption<'a> {
    /// Unique in the page.
    pub(super) id: &'a str,
    pub(super) title: &'a str,
    /// `restart` or `turn`.
    pub(super) per: &'a str,
}

struct Frame {
    size: Size,
    x: Axis,
    y: Axis,
}

/// The drawing.
pub(super) fn draw_chart(series: &Series, row: &MetricVerdict, size: Size, caption: &Caption) -> Markup {
    let frame = Frame::around(series, row, size);
    let (title, about) = (format!("{}-t", caption.id), format!("{}-d", caption.id));
    html! {
        svg viewBox=(format!("0 0 {} {}", size.width, size.height)) role="img" aria-labelledby=(format!("{title} {about}"))
            xmlns="http://www.w3.org/2000/svg" {
            title id=(title) { (caption.title) }
            desc id=(about) { (sanitize(&chart_description(series, row, caption.per))) }
            (draw_warm_up(&frame, series))
            (draw_grid(&frame, row, caption.per))
            @for at in &series.checkpoints { (draw_checkpoint(&frame, *at)) }
            @for window in &series.windows { (draw_boundary(&frame, window)) }
            // Below the readings, which may lie on them; but their labels above all.
            @for limit in &series.limits { (draw_segment("limit", frame.place(limit.from), frame.place(limit.to))) }
            (draw_line(&frame, series))
            @for window in &series.windows { (draw_median(&frame, window)) }
            @if size.labelled { @for limit in &series.limits { (draw_limit_label(&frame, series, limit)) } }
            @if series.dotted && size.labelled { (draw_end_values(&frame, series, row)) }
        }
    }
}

impl Frame {
    fn around(series: &Series, row: &MetricVerdict, size: Size) -> Self {
        let limits = series.limits.iter().flat_map(|limit| [limit.from.1, limit.to.1]);
        let values = series.points.iter().map(|point| point.1).chain(limits);
        let (low, high) =
            values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), at| (low.min(at), high.max(at)));
        // Of an enormous count one more is lost in rounding, and a range without any height can't be divided.
        let least = if row.unit == "bytes" { (high * 0.02).max(64.0) } else { (high * 1e-9).max(1.0) };
        let room = ((high - low) * 0.2).max(least);
        let low = if series.from_zero { 0.0 } else { low - room };
        let (wanted_x, wanted_y) = if size.labelled { (5.0, 4.0) } else { (2.0, 2.0) };
        let mut y = Axis::new(low, high + room, wanted_y, 1.0);
        y.ticks.retain(|&tick| tick >= 0.0);
        Self { size, x: Axis::new(0.0, series.end.max(1.0), wanted_x, 1.0), y }
    }

    fn x(&self, steps: f64) -> f64 {
        self.size.left + self.x.share(steps) * (self.right() - self.size.left)
    }

    fn y(&self, value: f64) -> f64 {
        self.bottom() - self.y.share(value) * (self.bottom() - self.size.top)
    }

    fn place(&self, (steps, value): Point) -> (f64, f64) {
        (self.x(steps), self.y(value))
    }

    fn right(&self) -> f64 {
        self.size.width - self.size.right
    }

    fn bottom(&self) -> f64 {
        self.size.height - self.size.bottom
    }
}

/// A tenth of a unit is finer than any screen.
pub(super) fn to_px(value: f64) -> String {
    let text = format!("{value:.1}");
    text.strip_suffix(".0").map(str::to_owned).unwrap_or(text)
}

pub(super) fn draw_segment(class: &str, from: (f64, f64), to: (f64, f64)) -> Markup {
    html! { line class=(class) x1=(to_px(from.0)) y1=(to_px(from.1)) x2=(to_px(to.0)) y2=(to_px(to.1)) {} }
}

pub(super) fn draw_text(class: &str, anchor: &str, (x, y): (f64, f64), words: &str) -> Markup {
    html! { text class=(class) text-anchor=(anchor) x=(to_px(x)) y=(to_px(y)) { (words) } }
}

/// Shades the warm-up: readings before the first checkpoint are not judged.
fn draw_warm_up(frame: &Frame, series: &Series) -> Markup {
    let Some(&first) = series.checkpoints.first() else { return Markup::default() };
    let (left, top) = (frame.size.left, frame.size.top);
    let (width, height) = (frame.x(first) - left, frame.bottom() - top);
    html! {
        rect class="warm" x=(to_px(left)) y=(to_px(top)) width=(to_px(width)) height=(to_px(height)) {}
        @if frame.size.labelled && width > 52.0 {
            (draw_text("tick", "middle", (left + width / 2.0, top - 7.0), "warm-up"))
        }
    }
}

fn draw_grid(frame: &Frame, row: &MetricVerdict, per: &str) -> Markup {
    let (left, right, bottom) = (frame.size.left, frame.right(), frame.bottom());
    let word = |tick: f64| if row.unit == "bytes" { frame.y.bytes(tick) } else { Axis::count(tick) };
    html! {
        @for &tick in &frame.y.ticks {
            (draw_segment("grid", (left, frame.y(tick)), (right, frame.y(tick))))
            (draw_text("tick", "end", (left - 7.0, frame.y(tick) + 4.0), &word(tick)))
        }
        (draw_segment("axis", (left, bottom), (right, bottom)))
        @for &tick in &frame.x.ticks {
            (draw_segment("axis", (frame.x(tick), bottom), (frame.x(tick), bottom + 3.0)))
            // A count is narrow: it may reach below the other axis, but not out of the drawing.
            (draw_text("tick", label_anchor(frame.x(tick), 14.0, (0.0, right)), (frame.x(tick), bottom + 16.0), &Axis::count(tick)))
        }
        @if frame.size.labelled {
            (draw_text("tick", "middle", (f64::midpoint(left, right), frame.size.height - 5.0), &format!("{per}s")))
        }
    }
}

/// Where the label of a tick at `x` is held, so that it stays between `left` and `right`; `half` is half its width.
pub(super) fn label_anchor(x: f64, half: f64, (left, right): (f64, f64)) -> &'static str {
    match x {
        x if x < left + half => "start",
        x if x > right - half => "end",
        _ => "middle",
    }
}

fn draw_checkpoint(frame: &Frame, at: f64) -> Markup {
    let (x, bottom) = (frame.x(at), frame.bottom());
    html! {
        (draw_segment("mark", (x, frame.size.top), (x, bottom)))
        path class="flag" d=(format!("M{} {}l-4 -7h8z", to_px(x), to_px(bottom))) {}
    }
}

fn draw_boundary(frame: &Frame, window: &Window) -> Markup {
    let x = frame.x(window.from);
    draw_segment("window-edge", (x, frame.size.top), (x, frame.bottom()))
}

fn draw_median(frame: &Frame, window: &Window) -> Markup {
    let y = frame.y(window.median);
    draw_segment("median", (frame.x(window.from) + 2.0, y), (frame.x(window.to) - 2.0, y))
}

fn draw_line(frame: &Frame, series: &Series) -> Markup {
    let place = |(at, point): (usize, &Point)| {
        let step = if at == 0 { "M" } else { "L" };
        format!("{step}{} {}", to_px(frame.x(point.0)), to_px(frame.y(point.1)))
    };
    let path: String = series.points.iter().enumerate().map(place).collect();
    html! {
        path class="line" d=(path) {}
        @if series.dotted {
            @for point in &series.points {
                circle class="dot" cx=(to_px(frame.x(point.0))) cy=(to_px(frame.y(point.1))) r=(if frame.size.labelled { "4.5" } else { "3" }) {}
            }
        }
    }
}

/// Below the line where the readings begin on it, because they are above it then; else above it, where there is room.
fn draw_limit_label(frame: &Frame, series: &Series, limit: &Limit) -> Markup {
    let (x, y) = frame.place(limit.to);
    let is_floor = series.dotted && series.points.contains(&limit.from);
    let y = if is_floor || y < frame.size.top + 18.0 { y + 17.0 } else { y - 7.0 };
    draw_text("limit-label", "end", (x - 6.0, y), &limit.label)
}

/// The first and the last reading, beside their dots.
fn draw_end_values(frame: &Frame, series: &Series, row: &MetricVerdict) -> Markup {
    let (Some(first), Some(last)) = (series.points.first(), series.points.last()) else { return Markup::default() };
    let label = |point: &Point, anchor: &str, aside: f64| {
        let y = frame.y(point.1) - 10.0;
        let y = if y < 12.0 { y + 26.0 } else { y };
        draw_text("value", anchor, (frame.x(point.0) + aside, y), &format_amount(row.name, point.1))
    };
    html! {
        (label(first, "start", -4.0))
        @if series.points.len() > 1 { (label(last, "end", -8.0)) }
    }
}

/// The description for screen readers: the reason and the numbers.
fn chart_description(series: &Series, row: &MetricVerdict, per: &str) -> String {
    let word = |point: &Point| format!("{} at {per} {}", format_amount(row.name, point.1), format_steps(point.0));
    let readings = match series.points.as_slice() {
        points if series.dotted => points.iter().map(word).collect::<Vec<_>>().join(", "),
        [first, .., last] => format!("from {} to {}", word(first), word(last)),
        points => points.iter().map(word).collect(),
    };
    let limits: Vec<String> = series.limits.iter().map(|limit| format!("; limit: {}", limit.label)).collect();
    format!("{}: {}. Readings: {readings}{}.", row.verdict, row.reason, limits.concat())
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it was a count before it was drawn")]
fn format_steps(at: f64) -> String {
    group_digits(at as u64)
}
