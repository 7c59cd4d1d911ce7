//! The range of an axis and its round ticks.

/// More would not fit, whatever was asked for.
const MAX_TICKS: u32 = 20;

/// From where to where an axis goes, and where its ticks are.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Axis {
    pub(super) from: f64,
    pub(super) to: f64,
    pub(super) ticks: Vec<f64>,
    step: f64,
}

impl Axis {
    /// Covers `low` to `high` with about `wanted` ticks at round places. `smallest` is the least distance of two ticks:
    /// 1 for what is counted.
    pub(super) fn new(low: f64, high: f64, wanted: f64, smallest: f64) -> Self {
        let step = round_step((high - low) / wanted).max(smallest);
        // As whole multiples of the step, so that no tick is off by the error of a sum.
        let (first, last) = ((low / step).ceil(), (high / step).floor());
        let ticks =
            (0..=MAX_TICKS).map(|at| first + f64::from(at)).take_while(|&at| at <= last).map(|at| at * step).collect();
        Self { from: low, to: high, ticks, step }
    }

    /// The place of `value` in 0 to 1.
    pub(super) fn share(&self, value: f64) -> f64 {
        ((value - self.from) / (self.to - self.from)).clamp(0.0, 1.0)
    }

    /// A tick as a count: `1,200` is `1.2k`.
    pub(super) fn count(value: f64) -> String {
        let size = value.abs();
        let (scaled, unit) = match size {
            _ if size >= 1e9 => (value / 1e9, "G"),
            _ if size >= 1e6 => (value / 1e6, "M"),
            _ if size >= 10_000.0 => (value / 1e3, "k"),
            _ => (value, ""),
        };
        let text = format!("{scaled:.2}");
        format!("{}{unit}", text.trim_end_matches('0').trim_end_matches('.'))
    }

    /// A tick in bytes, with as many decimals as tell it from its neighbours.
    pub(super) fn bytes(&self, value: f64) -> String {
        let largest = self.to.abs().max(self.from.abs());
        let (scale, unit) = match largest {
            _ if largest >= 1e9 => (1e9, "GB"),
            _ if largest >= 1e6 => (1e6, "MB"),
            _ if largest >= 1e3 => (1e3, "kB"),
            _ => (1.0, "B"),
        };
        let decimals = (0..=3).find(|&digits| is_whole(self.step / scale * 10_f64.powi(digits))).unwrap_or(3);
        let digits = usize::try_from(decimals).unwrap_or(0);
        format!("{:.digits$} {unit}", value / scale)
    }
}

fn is_whole(value: f64) -> bool {
    (value - value.round()).abs() < 1e-6 && value >= 0.5
}

/// 1, 2 or 5 times a power of ten, at least `step`.
fn round_step(step: f64) -> f64 {
    if !step.is_finite() || step <= 0.0 {
        return 1.0;
    }
    let power = 10_f64.powf(step.log10().floor());
    let factor = [1.0, 2.0, 5.0].into_iter().find(|factor| factor * power >= step * 0.999).unwrap_or(10.0);
    factor * power
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_inside() {
        assert_eq!(Axis::new(0.0, 350.0, 4.0, 1.0).ticks, [0.0, 100.0, 200.0, 300.0]);
        assert_eq!(Axis::new(2.2, 4.8, 3.0, 1.0).ticks, [3.0, 4.0]);
        assert_eq!(Axis::new(0.0, 0.9, 3.0, 1.0).ticks, [0.0]);
    }

    #[test]
    fn ticks_of_bytes_can_be_told_apart() {
        let axis = Axis::new(2_900_000.0, 3_100_000.0, 4.0, 1.0);
        let words: Vec<String> = axis.ticks.iter().map(|&tick| axis.bytes(tick)).collect();
        assert_eq!(words, ["2.90 MB", "2.95 MB", "3.00 MB", "3.05 MB", "3.10 MB"]);
        assert_eq!([0.0, 1_200.0, 12_500.0, 3e6].map(Axis::count), ["0", "1200", "12.5k", "3M"]);
    }

    #[test]
    fn no_range_breaks_an_axis() {
        for (low, high) in [(0.0, 1e-9), (0.0, 1.8e19), (1.8e19, 1.9e19), (-5.0, 5.0)] {
            let axis = Axis::new(low, high, 3.0, 1.0);
            assert!(axis.ticks.len() <= 21 && axis.ticks.iter().all(|tick| tick.is_finite()), "{axis:?}");
            assert!((0.0..=1.0).contains(&axis.share(high)));
        }
    }
}
