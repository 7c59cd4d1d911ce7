//! Numbers within their limits.

use serde_json::{Map, Value};

type Schema = Map<String, Value>;

/// A whole number; `variant` counts up from the first that fits, as far as there are any.
pub(super) fn make_integer(schema: &Schema, variant: u64) -> Option<Value> {
    let (low, high) = read_limits(schema);
    let step = finite_number(schema, "multipleOf").unwrap_or(1.0);
    let step = (1..=1000_u32).map(|times| f64::from(times) * step).find(|step| step.fract() == 0.0)?;
    let low = low.map(|(low, is_open)| if is_open { low.floor() + 1.0 } else { low.ceil() });
    let high = high.map(|(high, is_open)| if is_open { high.ceil() - 1.0 } else { high.floor() });
    to_integer(pick_multiple(low, high, step, 1.0, variant)?)
}

/// A number; one with a fraction, where that fits.
pub(super) fn make_number(schema: &Schema, variant: u64) -> Option<Value> {
    let (low, high) = read_limits(schema);
    if let Some(step) = finite_number(schema, "multipleOf") {
        let inside = |(limit, is_open): (f64, bool), by: f64| {
            let is_on = (limit / step).fract() == 0.0;
            if is_open && is_on { limit + by } else { limit }
        };
        let (low, high) = (low.map(|low| inside(low, step)), high.map(|high| inside(high, -step)));
        let found = pick_multiple(low, high, step, step, variant)?;
        return if found.fract() == 0.0 { to_integer(found) } else { Some(Value::from(found)) };
    }
    let by = to_float(variant);
    let found = match (low, high) {
        (None, None) => 1.5 + by,
        (Some((low, _)), None) => low + 1.0 + by,
        (None, Some((high, _))) => high - 1.0 - by,
        (Some((low, false)), Some((high, false))) if low <= high => low + (high - low) / (2.0 + by),
        (Some((low, _)), Some((high, _))) if low < high => low + (high - low) / (2.0 + by),
        _ => return None,
    };
    Some(Value::from(found))
}

type Limit = Option<(f64, bool)>;

/// The lowest and the highest value, and whether each is itself too low or too high.
fn read_limits(schema: &Schema) -> (Limit, Limit) {
    let of = |closed, open| (finite_number(schema, closed), finite_number(schema, open));
    let low = match of("minimum", "exclusiveMinimum") {
        (Some(closed), Some(open)) if closed > open => Some((closed, false)),
        (_, Some(open)) => Some((open, true)),
        (closed, None) => closed.map(|closed| (closed, false)),
    };
    let high = match of("maximum", "exclusiveMaximum") {
        (Some(closed), Some(open)) if closed < open => Some((closed, false)),
        (_, Some(open)) => Some((open, true)),
        (closed, None) => closed.map(|closed| (closed, false)),
    };
    (low, high)
}

fn finite_number(schema: &Schema, key: &str) -> Option<f64> {
    schema.get(key)?.as_f64().filter(|value| value.is_finite())
}

/// A multiple of `step` between two closed limits; near `usual` where they leave it open.
fn pick_multiple(low: Option<f64>, high: Option<f64>, step: f64, usual: f64, variant: u64) -> Option<f64> {
    let start = match (low, high) {
        (Some(low), _) => low,
        (None, Some(high)) => usual.min(high - step),
        (None, None) => usual,
    };
    let first = (start / step).ceil() * step;
    let fits = |value: &f64| high.is_none_or(|high| *value <= high) && low.is_none_or(|low| *value >= low);
    Some(first + step * to_float(variant)).filter(fits).or_else(|| Some(first).filter(fits))
}

#[expect(clippy::cast_precision_loss, reason = "it counts the entries of a list")]
fn to_float(variant: u64) -> f64 {
    variant as f64
}

fn to_integer(value: f64) -> Option<Value> {
    #[expect(clippy::cast_possible_truncation, reason = "a limit beyond 2^63 gives the nearest number that there is")]
    let whole = value as i64;
    value.is_finite().then(|| Value::from(whole))
}
