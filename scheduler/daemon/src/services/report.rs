//! What services say of themselves, and what is said of them.

use chrono::TimeDelta;
use link::ServiceStatus;
use model::{Capability, ServiceEvent, ServiceState, Timestamp, operator::ReadyWhen};
use serde_json::Value;
use store::Wanted;

use super::replica::{Replica, Touched};

/// Progress comes each second; storing it so often would be a write a second for nobody.
const PROGRESS_STORED_EVERY: TimeDelta = TimeDelta::seconds(2);

impl Replica {
    /// Takes a line that its instance wrote.
    pub(super) fn report(&mut self, now: Timestamp, line: &Value) -> Touched {
        match line.get("type").and_then(Value::as_str) {
            Some("progress") => self.progressed(now, line),
            Some("ready") => self.says_ready(now),
            Some("completed") => self.step(now, ServiceEvent::Finished),
            Some("error") => self.complained(line),
            Some(_) | None => Touched::default(),
        }
    }

    fn progressed(&mut self, now: Timestamp, line: &Value) -> Touched {
        let moved = line.get("records") != self.row.progress.get("records")
            || line.get("committed") != self.row.progress.get("committed");
        let changed = *line != self.row.progress;
        line.clone_into(&mut self.row.progress);
        self.row.progress_seq += u64::from(moved);
        let ready = self.reaches_metric(line) && self.step(now, ServiceEvent::BecameReady).store;
        let due = self.row.progress_stored_at.is_none_or(|at| now - at >= PROGRESS_STORED_EVERY);
        let store = ready || (changed && due);
        if store {
            self.row.progress_stored_at = Some(now);
        }
        Touched { store, stop: false, tell: ready }
    }

    fn reaches_metric(&self, line: &Value) -> bool {
        match &self.row.spec.ready_when {
            ReadyWhen::Metric { name, at_least } => line.get(name).and_then(Value::as_f64) >= Some(*at_least),
            ReadyWhen::Started | ReadyWhen::CaughtUp => false,
        }
    }

    fn says_ready(&mut self, now: Timestamp) -> Touched {
        match self.row.spec.ready_when {
            ReadyWhen::Started | ReadyWhen::CaughtUp => self.step(now, ServiceEvent::BecameReady),
            ReadyWhen::Metric { .. } => Touched::default(),
        }
    }

    fn complained(&mut self, line: &Value) -> Touched {
        self.row.last_error = line.get("message").and_then(Value::as_str).map(ToOwned::to_owned);
        Touched::CHANGED
    }

    pub(super) fn forget_progress(&mut self) {
        self.row.progress = Value::Null;
        self.row.last_error = None;
        self.row.deaths = 0;
    }

    /// How it stands, for the attempt that declared it.
    pub(super) fn status(&self) -> ServiceStatus {
        ServiceStatus {
            key: self.row.key.clone(),
            state: self.row.state,
            progress: self.row.progress_seq,
            sentence: self.sentence(),
        }
    }

    /// How it stands, in one sentence.
    #[must_use]
    pub fn sentence(&self) -> String {
        let number = |name: &str| self.row.progress.get(name).and_then(Value::as_u64);
        let mut parts = Vec::new();
        if let Some(records) = number("records") {
            parts.push(format!("{records} records"));
        }
        if let Some(lag) = number("lag") {
            parts.push(format!("{lag} behind"));
        }
        match (&self.row.state, &self.row.last_error) {
            (ServiceState::BackOff | ServiceState::Starting, Some(error)) => parts.push(format!("last error: {error}")),
            (ServiceState::Starting | ServiceState::Stopped, None)
                if self.row.worker.is_none() && self.row.wanted == Wanted::Running =>
            {
                parts.push(
                    match self.row.spec.capability() {
                        Capability::Docker => "waits for a worker with docker: start one where the Docker engine runs",
                        Capability::Light | Capability::Process | Capability::LakeLocal => "waits for a worker",
                    }
                    .to_owned(),
                );
            }
            _ => {}
        }
        if parts.is_empty() { self.row.state.name().to_owned() } else { parts.join(", ") }
    }
}
