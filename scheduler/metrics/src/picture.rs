//! For collectors: writes numbers that were counted elsewhere, a family at a time.

use std::fmt::Error;

use prometheus_client::{
    encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric},
    metrics::{counter::ConstCounter, gauge::ConstGauge},
};

/// Writes families of gauges and counters.
#[derive(Debug)]
pub struct Picture<'a>(DescriptorEncoder<'a>);

impl<'a> Picture<'a> {
    /// Writes to a scrape.
    #[must_use]
    pub const fn new(encoder: DescriptorEncoder<'a>) -> Self {
        Self(encoder)
    }

    /// A gauge without labels.
    ///
    /// # Errors
    /// The encoder's.
    pub fn gauge(&mut self, name: &str, help: &str, value: f64) -> Result<(), Error> {
        let gauge = ConstGauge::new(value);
        let help = format!("{help}.");
        gauge.encode(self.0.encode_descriptor(name, &help, None, gauge.metric_type())?)
    }

    /// A counter without labels; `name` goes without its `_total`.
    ///
    /// # Errors
    /// The encoder's.
    pub fn counter(&mut self, name: &str, help: &str, value: f64) -> Result<(), Error> {
        let counter = ConstCounter::new(value);
        let help = format!("{help}.");
        counter.encode(self.0.encode_descriptor(name, &help, None, counter.metric_type())?)
    }

    /// A gauge for each set of labels.
    ///
    /// # Errors
    /// The encoder's.
    pub fn gauges<L: EncodeLabelSet>(
        &mut self,
        name: &str,
        help: &str,
        values: impl IntoIterator<Item = (L, f64)>,
    ) -> Result<(), Error> {
        let kind = ConstGauge::new(0.0).metric_type();
        let help = format!("{help}.");
        let mut family = self.0.encode_descriptor(name, &help, None, kind)?;
        values.into_iter().try_for_each(|(labels, value)| ConstGauge::new(value).encode(family.encode_family(&labels)?))
    }

    /// A counter for each set of labels; `name` goes without its `_total`.
    ///
    /// # Errors
    /// The encoder's.
    pub fn counters<L: EncodeLabelSet>(
        &mut self,
        name: &str,
        help: &str,
        values: impl IntoIterator<Item = (L, f64)>,
    ) -> Result<(), Error> {
        let kind = ConstCounter::new(0.0).metric_type();
        let help = format!("{help}.");
        let mut family = self.0.encode_descriptor(name, &help, None, kind)?;
        let mut one = |(labels, value)| ConstCounter::new(value).encode(family.encode_family(&labels)?);
        values.into_iter().try_for_each(&mut one)
    }
}
