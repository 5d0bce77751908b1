//! The frame around a worker: who it is, when it must stop, and what it reports.
//!
//! Reports are JSON lines on a descriptor that the supervisor gave. A supervisor that does not read never holds up the
//! worker: progress is replaced by newer progress, and a thread of its own writes.

use super::health::{self, Meter};
use chrono::{DateTime, Utc};
use serde::Serialize;
use std::collections::VecDeque;
use std::fs::File;
use std::io::Write;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// How often progress is reported.
const PROGRESS_EVERY: Duration = Duration::from_secs(1);
/// How long the end waits for the last lines to be written.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);
/// Lines that must not be replaced, waiting to be written; there are few kinds, and each is said rarely.
const WAITING_MAX: usize = 64;

/// Which share of the work a worker has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Replica {
    /// Its number from 0 on.
    pub index: u32,
    /// How many there are.
    pub of: u32,
}

impl Replica {
    /// Whether a partition is this worker's.
    pub fn owns(self, partition: i32) -> bool {
        partition.unsigned_abs() % self.of.max(1) == self.index
    }

    /// Whether this worker does what one of them must do for all.
    pub fn is_first(self) -> bool {
        self.index == 0
    }
}

/// What the supervisor told a worker.
#[derive(Debug, Clone)]
pub struct ServiceContext {
    /// The service's name.
    pub name: String,
    /// The fence of this instance.
    pub instance: String,
    /// Its share.
    pub replica: Replica,
    /// Where reports go.
    pub descriptor: Option<RawFd>,
    /// Port of `/health` and `/metrics`; 0 is any.
    pub health_port: u16,
}

/// One line to the supervisor.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Report {
    /// How the work goes.
    Progress(Progress),
    /// The worker does what it is for.
    Ready,
    /// A finite source has come to its end.
    Completed {
        /// The offset after the last record of each partition.
        end_offsets: super::Offsets,
    },
    /// Something failed.
    Error {
        /// One sentence.
        message: String,
    },
}

/// How the work goes.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Progress {
    /// Records handled since the start.
    pub records: u64,
    /// Records handled in the last second.
    pub rate_per_s: f64,
    /// Commits since the start.
    pub commits: u64,
    /// Records that wait in the log.
    pub lag: u64,
    /// Failures since the start.
    pub errors: u64,
    /// Records that were put aside.
    pub dead_letters: u64,
    /// The next offset of each partition, as committed.
    pub committed: super::Offsets,
    /// When that was.
    pub last_commit: Option<DateTime<Utc>>,
    /// Port of `/health` and `/metrics`.
    pub health_port: u16,
}

#[derive(Default)]
struct Outbox {
    progress: Option<Progress>,
    waiting: VecDeque<Report>,
    closing: bool,
    written: bool,
}

type Shared = Arc<(Mutex<Outbox>, Condvar)>;

fn lock(shared: &Shared) -> MutexGuard<'_, Outbox> {
    shared.0.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Writes reports without ever waiting for who reads them. Clones share one descriptor.
#[derive(Clone)]
pub struct Reporter {
    shared: Option<Shared>,
}

impl Reporter {
    /// Takes over a descriptor; without one nothing is written.
    pub fn new(descriptor: Option<RawFd>) -> Self {
        let shared = descriptor.map(|descriptor| {
            // SAFETY: the supervisor opened this descriptor for us, and nothing else in this process uses it.
            let file = File::from(unsafe { OwnedFd::from_raw_fd(descriptor) });
            let shared = Shared::default();
            let writer = shared.clone();
            std::thread::spawn(move || write_reports(&writer, file));
            shared
        });
        Self { shared }
    }

    /// Reports; of progress only the newest is kept while the reader is slow.
    pub fn send(&self, report: Report) {
        let Some(shared) = &self.shared else { return };
        let mut outbox = lock(shared);
        match report {
            Report::Progress(progress) => outbox.progress = Some(progress),
            other => {
                if outbox.waiting.len() == WAITING_MAX {
                    outbox.waiting.pop_front();
                }
                outbox.waiting.push_back(other);
            }
        }
        drop(outbox);
        shared.1.notify_all();
    }

    /// Waits, for a bounded time, until everything is written.
    pub fn close(&self) {
        let Some(shared) = &self.shared else { return };
        let mut outbox = lock(shared);
        outbox.closing = true;
        shared.1.notify_all();
        let unwritten = |outbox: &mut Outbox| !outbox.written;
        // Whether it was written or the time is over: the process ends now.
        drop(shared.1.wait_timeout_while(outbox, CLOSE_TIMEOUT, unwritten));
    }
}

fn write_reports(shared: &Shared, mut file: File) {
    let mut outbox = lock(shared);
    loop {
        let next = outbox.waiting.pop_front().or_else(|| outbox.progress.take().map(Report::Progress));
        let Some(report) = next else {
            if outbox.closing {
                break;
            }
            outbox = shared.1.wait(outbox).unwrap_or_else(PoisonError::into_inner);
            continue;
        };
        drop(outbox);
        let mut line = serde_json::to_vec(&report).expect("a report has only text keys");
        line.push(b'\n');
        let written = file.write_all(&line);
        outbox = lock(shared);
        if let Err(error) = written {
            tracing::warn!(%error, "the supervisor does not take reports any more");
            break;
        }
    }
    outbox.written = true;
    drop(outbox);
    shared.1.notify_all();
}

/// What a running worker works with.
#[derive(Clone)]
pub struct Worker {
    /// Its share.
    pub replica: Replica,
    /// Counts what it does.
    pub meter: Arc<Meter>,
    /// Tells the supervisor.
    pub reporter: Reporter,
    /// Cancelled when it is to stop.
    pub stop: CancellationToken,
}

impl Worker {
    /// Makes a worker that listens to SIGTERM and SIGINT, serves health and metrics, and reports progress.
    ///
    /// # Errors
    /// When the port is taken or signals cannot be listened to.
    pub async fn start(context: &ServiceContext) -> std::io::Result<Self> {
        let worker = Self {
            replica: context.replica,
            meter: Arc::new(Meter::new(&context.name)),
            reporter: Reporter::new(context.descriptor),
            stop: CancellationToken::new(),
        };
        stop_on_signals(worker.stop.clone())?;
        let port = health::serve(context.health_port, worker.meter.clone(), worker.stop.clone()).await?;
        let span = (context.name.as_str(), context.instance.as_str());
        tracing::info!(service.name = span.0, service.instance = span.1, health_port = port, "worker started");
        tokio::spawn(report_progress(worker.clone(), port));
        Ok(worker)
    }

    /// Says that the worker does what it is for. Repeating it is harmless.
    pub fn ready(&self) {
        if self.meter.set_ready() {
            tracing::info!("worker is ready");
            self.reporter.send(Report::Ready);
        }
    }

    /// Counts, logs and reports a failure that the worker goes on after.
    pub fn failed(&self, error: &dyn std::fmt::Display) {
        self.meter.add_error();
        tracing::warn!(%error, "the worker goes on after a failure");
        self.reporter.send(Report::Error { message: error.to_string() });
    }

    /// Ends the reports: an error as the last word when there was one.
    pub fn finish(&self, outcome: &anyhow::Result<()>) {
        if let Err(error) = outcome {
            self.reporter.send(Report::Error { message: crate::errors::sentence(error) });
        }
        self.reporter.send(Report::Progress(self.meter.progress()));
        self.stop.cancel();
        self.reporter.close();
    }
}

async fn report_progress(worker: Worker, port: u16) {
    worker.meter.set_health_port(port);
    let mut every = tokio::time::interval(PROGRESS_EVERY);
    loop {
        tokio::select! {
            () = worker.stop.cancelled() => return,
            _ = every.tick() => worker.reporter.send(Report::Progress(worker.meter.tick())),
        }
    }
}

/// Cancels a token at the first SIGTERM or SIGINT.
///
/// # Errors
/// When the signals cannot be listened to.
pub fn stop_on_signals(stop: CancellationToken) -> std::io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            () = stop.cancelled() => {}
        }
        stop.cancel();
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::os::fd::IntoRawFd;

    #[test]
    fn reports_are_lines_of_json_and_the_last_one_is_written_before_the_end() {
        let (mut reader, writer) = std::io::pipe().unwrap();
        let reporter = Reporter::new(Some(OwnedFd::from(writer).into_raw_fd()));
        reporter.send(Report::Ready);
        reporter.send(Report::Completed { end_offsets: [(0, 7)].into() });
        reporter.close();
        let mut lines = String::new();
        reader.read_to_string(&mut lines).unwrap();
        assert_eq!(lines, "{\"type\":\"ready\"}\n{\"type\":\"completed\",\"end_offsets\":{\"0\":7}}\n");
    }

    #[test]
    fn a_supervisor_that_does_not_read_holds_nobody_up() {
        let (reader, writer) = std::io::pipe().unwrap();
        let reporter = Reporter::new(Some(OwnedFd::from(writer).into_raw_fd()));
        for records in 0..100_000 {
            reporter.send(Report::Progress(Progress { records, ..Progress::default() }));
            reporter.send(Report::Ready);
        }
        drop(reader);
    }

    #[test]
    fn replicas_share_the_partitions() {
        let replicas = [Replica { index: 0, of: 2 }, Replica { index: 1, of: 2 }];
        for partition in 0..8 {
            assert_eq!(replicas.iter().filter(|replica| replica.owns(partition)).count(), 1);
        }
    }
}
