//! What a worker shows Prometheus: its attempts, its connection, and what its services report of their streams.
//!
//! Services listen on ports of the loopback interface that change with each start, so nobody can scrape them from
//! outside: their worker shows the newest report of each under the names that they use themselves.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use metrics::{By, Health, Picture};
use model::{AttemptEnd, EndKind, ServiceKey};
use prometheus_client::{
    collector::Collector,
    encoding::DescriptorEncoder,
    metrics::{counter::Counter, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};
use serde::Deserialize;
use serde_json::Value;

/// The instruments of a worker. Clones share them.
#[derive(Debug, Clone)]
pub struct WorkerMetrics {
    connected: Gauge,
    connections: Counter,
    slots: Gauge,
    attempts: Gauge,
    waits: Gauge,
    services: Gauge,
    leaving: Gauge,
    reports: Gauge,
    started: Counter,
    ended: By,
    duration: Histogram,
    streams: Arc<Mutex<Vec<Stream>>>,
    pulse: Arc<Mutex<Pulse>>,
}

/// A worker's loop beats about each second; without a beat for so long it hangs.
const BEAT_MAX: Duration = Duration::from_secs(15);
/// A takeover takes seconds; who has no leader for longer has lost its way to it.
const LEADERLESS_MAX: Duration = Duration::from_secs(60);

/// When a worker was last seen alive, and with a leader.
#[derive(Debug, Clone, Copy)]
struct Pulse {
    beat: Instant,
    led: Instant,
    leaving: bool,
}

impl Pulse {
    fn now() -> Self {
        let now = Instant::now();
        Self { beat: now, led: now, leaving: false }
    }

    fn health(&self) -> Health {
        let (beat, led) = (self.beat.elapsed(), self.led.elapsed());
        if beat > BEAT_MAX {
            return Health::Ill(format!("the worker has not moved for {} s", beat.as_secs()));
        }
        if led > LEADERLESS_MAX {
            return Health::Ill(format!("the worker has heard no leader for {} s", led.as_secs()));
        }
        Health::Well(if self.leaving { "the worker is leaving".to_owned() } else { "the worker works".to_owned() })
    }
}

/// How a worker stands at a beat.
pub(super) struct Standing {
    pub(super) connected: bool,
    pub(super) attempts: usize,
    pub(super) waits: usize,
    pub(super) services: usize,
    pub(super) reports: usize,
    pub(super) streams: Vec<Stream>,
    pub(super) leaving: bool,
}

/// The newest report of a service.
#[derive(Debug)]
pub(super) struct Stream {
    key: ServiceKey,
    ready: bool,
    progress: Progress,
}

/// The numbers of a progress report. A service that reports others, or none, shows zeros.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Progress {
    records: u64,
    lag: u64,
    errors: u64,
    dead_letters: u64,
    commits: u64,
    last_commit: Option<model::Timestamp>,
}

impl Stream {
    /// A service that has reported progress.
    pub(super) fn new(key: &ServiceKey, ready: bool, report: &Value) -> Self {
        Self { key: key.clone(), ready, progress: Progress::deserialize(report).unwrap_or_default() }
    }

    fn labels(&self) -> [(&'static str, String); 3] {
        let ServiceKey { dag, name, replica } = &self.key;
        [("dag_id", dag.to_string()), ("service", name.clone()), ("replica", replica.to_string())]
    }
}

impl Default for WorkerMetrics {
    fn default() -> Self {
        Self {
            connected: Gauge::default(),
            connections: Counter::default(),
            slots: Gauge::default(),
            attempts: Gauge::default(),
            waits: Gauge::default(),
            services: Gauge::default(),
            leaving: Gauge::default(),
            reports: Gauge::default(),
            started: Counter::default(),
            ended: By::default(),
            duration: metrics::task_seconds(),
            streams: Arc::default(),
            pulse: Arc::new(Mutex::new(Pulse::now())),
        }
    }
}

impl WorkerMetrics {
    /// Shows the instruments, those of outcomes with a zero from the start.
    pub fn register(&self, registry: &mut Registry) {
        for kind in EndKind::ALL {
            self.ended.get_or_create(&[("outcome", kind.name())]).inc_by(0);
        }
        let all = metrics::windlass(registry).sub_registry_with_prefix("worker");
        all.register("connected", "Whether a leader has welcomed this worker", self.connected.clone());
        all.register("connections", "How often a leader has welcomed this worker", self.connections.clone());
        all.register("slots", "Attempts that may run at once", self.slots.clone());
        all.register("attempts", "Attempts that run or wait for a slot here", self.attempts.clone());
        all.register("deferred_waits", "Deferred waits that are held here, without a slot", self.waits.clone());
        all.register("services", "Instances of services that run here", self.services.clone());
        let help = "Whether this worker was asked to end and takes nothing new";
        all.register("leaving", help, self.leaving.clone());
        let help = "Reports of attempts that the leader has not acknowledged yet";
        all.register("reports_waiting", help, self.reports.clone());
        all.register("attempts_started", "Attempts that were handed to this worker", self.started.clone());
        all.register("attempts_ended", "Attempts that have ended here", self.ended.clone());
        all.register("attempt_duration_seconds", "Time that an attempt ran", self.duration.clone());
        registry.register_collector(Box::new(self.clone()));
    }

    pub(super) fn has_slots(&self, slots: u32) {
        self.slots.set(i64::from(slots));
    }

    pub(super) fn welcomed(&self) {
        self.connections.inc();
        self.connected.set(1);
    }

    pub(super) fn attempt_started(&self) {
        self.started.inc();
    }

    pub(super) fn attempt_ended(&self, end: &AttemptEnd) {
        self.ended.get_or_create(&[("outcome", end.kind.name())]).inc();
        let ran = Duration::from_micros(u64::try_from(end.ran_micros).unwrap_or_default());
        self.duration.observe(ran.as_secs_f64());
    }

    pub(super) fn stands(&self, standing: Standing) {
        let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        self.connected.set(i64::from(standing.connected));
        self.attempts.set(number(standing.attempts));
        self.waits.set(number(standing.waits));
        self.services.set(number(standing.services));
        self.reports.set(number(standing.reports));
        self.leaving.set(i64::from(standing.leaving));
        *self.streams() = standing.streams;
        let mut pulse = self.pulse.lock().unwrap_or_else(PoisonError::into_inner);
        pulse.beat = Instant::now();
        pulse.leaving = standing.leaving;
        if standing.connected {
            pulse.led = pulse.beat;
        }
    }

    /// How the worker is: it moves, and hears a leader.
    #[must_use]
    pub fn health(&self) -> Health {
        self.pulse.lock().unwrap_or_else(PoisonError::into_inner).health()
    }

    fn streams(&self) -> MutexGuard<'_, Vec<Stream>> {
        // The list is replaced as a whole.
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Collector for WorkerMetrics {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let streams = self.streams();
        let mut picture = Picture::new(encoder);
        let of = |number: fn(&Progress) -> u64| {
            streams.iter().map(move |stream| (stream.labels(), number(&stream.progress) as f64))
        };
        picture.counters("windlass_stream_records", "Records handled", of(|progress| progress.records))?;
        let help = "Records put aside with a reason";
        picture.counters("windlass_stream_dead_letters", help, of(|progress| progress.dead_letters))?;
        let help = "Failures that the worker went on after";
        picture.counters("windlass_stream_errors", help, of(|progress| progress.errors))?;
        picture.counters("windlass_stream_commits", "Commits", of(|progress| progress.commits))?;
        picture.gauges("windlass_stream_lag_records", "Records that wait in the log", of(|progress| progress.lag))?;
        let ready = streams.iter().map(|stream| (stream.labels(), f64::from(u8::from(stream.ready))));
        picture.gauges("windlass_stream_ready", "Whether the worker does what it is for", ready)?;
        let committed = streams.iter().filter_map(|stream| {
            let at = stream.progress.last_commit?.timestamp_millis() as f64 / 1000.0;
            Some((stream.labels(), at))
        });
        picture.gauges("windlass_stream_last_commit_timestamp_seconds", "Time of the last commit", committed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_is_shown_by_its_newest_report_whatever_else_stands_in_it() {
        let metrics = WorkerMetrics::default();
        let key = ServiceKey { dag: model::DagId::new("d").unwrap(), name: "sink".to_owned(), replica: 1 };
        let report = serde_json::json!({"type": "progress", "records": 7, "lag": 3, "last_commit": "2026-01-01T00:00:00Z", "rows": []});
        let streams = vec![Stream::new(&key, true, &report)];
        metrics.stands(Standing {
            connected: true,
            attempts: 2,
            waits: 3,
            services: 1,
            reports: 0,
            streams,
            leaving: true,
        });
        let mut registry = Registry::default();
        metrics.register(&mut registry);
        let text = metrics::Page::new(registry).text();
        let labels = "{dag_id=\"d\",service=\"sink\",replica=\"1\"}";
        assert!(text.contains(&format!("windlass_stream_records_total{labels} 7")), "{text}");
        assert!(text.contains(&format!("windlass_stream_lag_records{labels} 3")), "{text}");
        assert!(text.contains(&format!("timestamp_seconds{labels} 1767225600.0")), "{text}");
        assert!(text.contains("windlass_worker_attempts 2\n"), "{text}");
        assert!(text.contains("windlass_worker_deferred_waits 3\n"), "{text}");
        assert!(text.contains("windlass_worker_leaving 1\n"), "{text}");
    }

    #[test]
    fn a_worker_that_hangs_or_hears_nobody_is_ill() {
        let at = |beat: u64, led: u64| {
            let ago = |secs| Instant::now().checked_sub(Duration::from_secs(secs)).unwrap();
            Pulse { beat: ago(beat), led: ago(led), leaving: false }.health()
        };
        assert!(matches!(at(1, 1), Health::Well(_)));
        assert!(matches!(at(1, 30), Health::Well(_)));
        assert!(matches!(at(20, 1), Health::Ill(reason) if reason.contains("not moved")));
        assert!(matches!(at(1, 61), Health::Ill(reason) if reason.contains("no leader")));
    }
}
