//! What open pages cost a web server: streams, hints, fragments of pages, logs that are pushed.

use prometheus_client::{
    metrics::{counter::Counter, gauge::Gauge},
    registry::Registry,
};

use crate::By;

/// The live part of a web server.
#[derive(Debug, Clone, Default)]
pub struct Live {
    streams: Gauge,
    tails: Gauge,
    hints: Counter,
    told: Counter,
    fragments: By,
    log_bytes: Counter,
    log_skipped: Counter,
}

impl Live {
    /// Shows it.
    pub fn register(&self, registry: &mut Registry) {
        let all = crate::windlass(registry);
        all.register("live_streams", "Open event streams", self.streams.clone());
        all.register("live_log_tails", "Logs that are read for those who watch them", self.tails.clone());
        all.register("live_hints", "Hints of changes that were heard, after merging", self.hints.clone());
        all.register("live_told", "Events by which streams were told of changes", self.told.clone());
        let help = "Live parts of pages by what was done: rendered, shared, or unchanged for who asks";
        all.register("live_fragments", help, self.fragments.clone());
        all.register("live_log_read_bytes", "Bytes of logs that tails have read", self.log_bytes.clone());
        all.register("live_log_skipped_bytes", "Bytes left out for readers too slow", self.log_skipped.clone());
    }

    /// So many streams and tails are open.
    pub fn open(&self, streams: usize, tails: usize) {
        self.streams.set(i64::try_from(streams).unwrap_or(i64::MAX));
        self.tails.set(i64::try_from(tails).unwrap_or(i64::MAX));
    }

    /// A hint was heard.
    pub fn hint(&self) {
        self.hints.inc();
    }

    /// A stream was told of changes.
    pub fn told(&self) {
        self.told.inc();
    }

    /// A fragment was answered.
    pub fn fragment(&self, how: &'static str) {
        self.fragments.get_or_create(&[("how", how)]).inc();
    }

    /// A tail has read so much.
    pub fn log_bytes(&self, bytes: usize) {
        self.log_bytes.inc_by(bytes as u64);
    }

    /// So much was left out for a reader.
    pub fn log_skipped(&self, bytes: u64) {
        self.log_skipped.inc_by(bytes);
    }
}
