//! What a worker counts, and where it can be seen: `/health` for supervisors, `/metrics` for Prometheus.
//!
//! A worker is healthy while its loop turns; one that hangs answers 503.

use super::Offsets;
use super::service::Progress;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Json, Router};
use chrono::Utc;
use metrics::{Page, Picture};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use serde_json::json;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// A loop that has not turned for so long hangs: a commit of the largest batch takes seconds.
const HANGS_AFTER: Duration = Duration::from_secs(60);

/// Counts of a worker, shared with whoever shows them.
pub struct Meter {
    service: String,
    ready: AtomicBool,
    state: Mutex<MeterState>,
}

struct MeterState {
    progress: Progress,
    last_turn: Instant,
    last_tick: (Instant, u64),
}

impl Meter {
    /// Starts at zero.
    pub fn new(service: &str) -> Self {
        let now = Instant::now();
        let state = MeterState { progress: Progress::default(), last_turn: now, last_tick: (now, 0) };
        Self { service: service.to_owned(), ready: AtomicBool::new(false), state: Mutex::new(state) }
    }

    fn state(&self) -> MutexGuard<'_, MeterState> {
        // Numbers are whole after every statement.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says that the worker's loop turns.
    pub fn turn(&self) {
        self.state().last_turn = Instant::now();
    }

    /// Counts records handled.
    pub fn add_records(&self, records: u64) {
        self.state().progress.records += records;
    }

    /// Counts records put aside.
    pub fn add_dead_letters(&self, records: u64) {
        self.state().progress.dead_letters += records;
    }

    /// Counts a failure.
    pub fn add_error(&self) {
        self.state().progress.errors += 1;
    }

    /// Says how many records wait.
    pub fn set_lag(&self, records: u64) {
        self.state().progress.lag = records;
    }

    /// Says what is durable now.
    pub fn committed(&self, offsets: &Offsets) {
        let mut state = self.state();
        state.progress.committed.extend(offsets);
        state.progress.last_commit = Some(Utc::now());
        state.progress.commits += 1;
    }

    pub(super) fn set_health_port(&self, port: u16) {
        self.state().progress.health_port = port;
    }

    /// Sets ready; true when it was not before.
    pub(super) fn set_ready(&self) -> bool {
        !self.ready.swap(true, Ordering::Relaxed)
    }

    /// Whether the worker does what it is for.
    pub fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Relaxed)
    }

    /// The counts as they are.
    pub fn progress(&self) -> Progress {
        self.state().progress.clone()
    }

    /// The counts, with the rate since the last tick.
    pub(super) fn tick(&self) -> Progress {
        let mut state = self.state();
        let (then, records_then) = state.last_tick;
        let now = Instant::now();
        let secs = now.duration_since(then).as_secs_f64();
        let records = state.progress.records;
        let rate = if secs > 0.0 { (records - records_then) as f64 / secs } else { 0.0 };
        state.progress.rate_per_s = (rate * 10.0).round() / 10.0;
        state.last_tick = (now, records);
        state.progress.clone()
    }

    fn hangs(&self) -> bool {
        self.state().last_turn.elapsed() > HANGS_AFTER
    }
}

/// A meter as Prometheus sees it.
#[derive(Clone)]
struct Shown(Arc<Meter>);

impl std::fmt::Debug for Shown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Shown").field(&self.0.service).finish()
    }
}

impl Collector for Shown {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let (progress, ready) = (self.0.progress(), self.0.is_ready());
        let mut picture = Picture::new(encoder);
        let of = |value: f64| [([("service", self.0.service.as_str())], value)];
        picture.counters("windlass_stream_records", "Records handled", of(progress.records as f64))?;
        let help = "Records put aside with a reason";
        picture.counters("windlass_stream_dead_letters", help, of(progress.dead_letters as f64))?;
        let help = "Failures that the worker went on after";
        picture.counters("windlass_stream_errors", help, of(progress.errors as f64))?;
        picture.counters("windlass_stream_commits", "Commits", of(progress.commits as f64))?;
        picture.gauges("windlass_stream_lag_records", "Records that wait in the log", of(progress.lag as f64))?;
        let help = "Whether the worker does what it is for";
        picture.gauges("windlass_stream_ready", help, of(f64::from(u8::from(ready))))?;
        let last = progress.last_commit.map(|at| at.timestamp_millis() as f64 / 1000.0);
        let last = last.into_iter().flat_map(of);
        picture.gauges("windlass_stream_last_commit_timestamp_seconds", "Time of the last commit", last)?;
        let offsets = progress.committed.iter().map(|(partition, offset)| {
            ([("service", self.0.service.clone()), ("partition", partition.to_string())], *offset as f64)
        });
        picture.gauges("windlass_stream_committed_offset", "Next offset of a partition, as committed", offsets)
    }
}

/// Serves a meter on a port of the loopback interface until `stop`, and gives the port.
///
/// # Errors
/// When the port is taken.
pub async fn serve(port: u16, meter: Arc<Meter>, stop: CancellationToken) -> std::io::Result<u16> {
    let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).await?;
    let port = listener.local_addr()?.port();
    let mut registry = metrics::registry(env!("CARGO_PKG_VERSION"));
    registry.register_collector(Box::new(Shown(meter.clone())));
    let router = Router::new().route("/health", get(health)).with_state(meter).merge(Page::new(registry).router());
    tokio::spawn(async move {
        let served = axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned()).await;
        if let Err(error) = served {
            tracing::warn!(%error, "health and metrics are served no more");
        }
    });
    Ok(port)
}

async fn health(State(meter): State<Arc<Meter>>) -> impl IntoResponse {
    let (status, word) =
        if meter.hangs() { (StatusCode::SERVICE_UNAVAILABLE, "hangs") } else { (StatusCode::OK, "healthy") };
    (status, Json(json!({"status": word, "ready": meter.is_ready(), "service": meter.service})))
}
