//! A family whose series are all there from the start.

use std::fmt;
use std::sync::Arc;

use prometheus_client::encoding::{EncodeMetric, MetricEncoder};
use prometheus_client::metrics::{MetricType, TypedMetric};

/// Metrics of one name, told apart by `N` labels. Unlike the library's `Family` it cannot grow, and it keeps its order,
/// so that two readings can be laid side by side.
#[derive(Debug)]
pub(super) struct FixedFamily<const N: usize, M> {
    names: [&'static str; N],
    rows: Arc<[([&'static str; N], M)]>,
}

impl<const N: usize, M> Clone for FixedFamily<N, M> {
    fn clone(&self) -> Self {
        Self { names: self.names, rows: Arc::clone(&self.rows) }
    }
}

impl<const N: usize, M> FixedFamily<N, M> {
    /// One metric for each of `values`.
    pub(super) fn new(
        names: [&'static str; N],
        values: impl IntoIterator<Item = [&'static str; N]>,
        metric: impl Fn() -> M,
    ) -> Self {
        Self { names, rows: values.into_iter().map(|values| (values, metric())).collect() }
    }

    /// Metrics that exist already, each with its values.
    pub(super) fn from_rows(names: [&'static str; N], rows: impl IntoIterator<Item = ([&'static str; N], M)>) -> Self {
        Self { names, rows: rows.into_iter().collect() }
    }

    /// Does something with the metric of these values. There is always one: the caller takes them from the list that
    /// the family was made of.
    pub(super) fn update<T>(&self, values: [&str; N], what: impl FnOnce(&M) -> T) {
        if let Some((_, metric)) = self.rows.iter().find(|(row, _)| *row == values) {
            what(metric);
        }
    }
}

impl<const N: usize, M: EncodeMetric + TypedMetric> EncodeMetric for FixedFamily<N, M> {
    fn encode(&self, mut encoder: MetricEncoder) -> Result<(), fmt::Error> {
        for (values, metric) in self.rows.iter() {
            let labels: [(&str, &str); N] = std::array::from_fn(|n| (self.names[n], values[n]));
            metric.encode(encoder.encode_family(&labels)?)?;
        }
        Ok(())
    }

    fn metric_type(&self) -> MetricType {
        M::TYPE
    }
}
