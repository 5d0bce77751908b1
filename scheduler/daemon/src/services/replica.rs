//! One replica of a service: its desired state, its instance, and how it came here.

use chrono::TimeDelta;
use link::{ServiceExit, ServiceStart};
use model::{
    ServiceEvent, ServiceKey, ServiceState, Timestamp, WorkerId, command::ServiceAction, operator::ServiceSpec,
};
use store::{ServiceRow, Wanted};
use uuid::Uuid;

use super::back_off;

/// A replica that has lived so long begins its back-off anew when it dies.
const STEADY: TimeDelta = TimeDelta::seconds(60);

/// A replica, with the row that is stored of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Replica {
    pub(super) row: ServiceRow,
}

/// What a step asks of the supervisor.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Touched {
    /// The row is to be stored.
    pub store: bool,
    /// The instance is to be stopped.
    pub stop: bool,
    /// Attempts that wait for it are to be told.
    pub tell: bool,
}

impl Touched {
    pub(super) const CHANGED: Self = Self { store: true, stop: false, tell: true };
    const STOPPING: Self = Self { store: true, stop: true, tell: true };
    const NOTHING: Self = Self { store: false, stop: false, tell: false };
}

impl Replica {
    /// A replica that is wanted for the first time.
    pub(super) fn new(key: ServiceKey, spec: ServiceSpec, hash: String, now: Timestamp) -> Self {
        let row = ServiceRow {
            key,
            spec,
            hash,
            wanted: Wanted::Running,
            state: ServiceState::Stopped,
            instance: None,
            worker: None,
            deaths: 0,
            restarts: 0,
            not_before: None,
            started_at: None,
            changed_at: now,
            progress: serde_json::Value::Null,
            progress_seq: 0,
            progress_stored_at: None,
            last_error: None,
        };
        Self { row }
    }

    /// Goes on from its stored row.
    #[must_use]
    pub fn from_row(row: ServiceRow) -> Self {
        Self { row }
    }

    /// What is stored of it.
    #[must_use]
    pub fn row(&self) -> ServiceRow {
        self.row.clone()
    }

    /// How it stands.
    #[must_use]
    pub fn state(&self) -> ServiceState {
        self.row.state
    }

    /// Which replica it is.
    #[must_use]
    pub fn key(&self) -> &ServiceKey {
        &self.row.key
    }

    /// The worker that it runs on, or ran on last.
    #[must_use]
    pub fn worker(&self) -> Option<WorkerId> {
        self.row.worker
    }

    /// The instance, when its process may exist.
    #[must_use]
    pub fn living(&self) -> Option<Uuid> {
        self.row.instance.filter(|_| self.row.state.is_alive())
    }

    /// The end of its back-off, while it is in one.
    pub(super) fn back_at(&self) -> Option<Timestamp> {
        let waits = self.row.wanted == Wanted::Running && self.row.state == ServiceState::BackOff;
        self.row.not_before.filter(|_| waits)
    }

    /// Whether it should be started now.
    pub(super) fn is_due(&self, now: Timestamp) -> bool {
        let startable = matches!(self.row.state, ServiceState::BackOff | ServiceState::Stopped);
        self.row.wanted == Wanted::Running && startable && self.row.not_before.is_none_or(|at| at <= now)
    }

    /// Takes a step of the lifecycle; a step that does not exist is news of the past and changes nothing.
    pub(super) fn step(&mut self, now: Timestamp, event: ServiceEvent) -> Touched {
        match self.row.state.after(event) {
            Ok(next) if next != self.row.state => {
                self.row.state = next;
                self.row.changed_at = now;
                Touched::CHANGED
            }
            Ok(_) | Err(_) => Touched::NOTHING,
        }
    }

    /// Becomes a new instance on a worker.
    pub(super) fn start(&mut self, now: Timestamp, worker: WorkerId, instance: Uuid) -> Option<ServiceStart> {
        if !self.step(now, ServiceEvent::Wanted).store {
            return None;
        }
        self.row.instance = Some(instance);
        self.row.worker = Some(worker);
        self.row.not_before = None;
        self.row.started_at = None;
        Some(ServiceStart { instance, key: self.row.key.clone(), spec: self.row.spec.clone() })
    }

    pub(super) fn started(&mut self, now: Timestamp) -> Touched {
        let touched = self.step(now, ServiceEvent::Started);
        if touched.store {
            self.row.started_at = Some(now);
            if self.row.spec.ready_when == model::operator::ReadyWhen::Started {
                self.step(now, ServiceEvent::BecameReady);
            }
        }
        touched
    }

    pub(super) fn exited(&mut self, now: Timestamp, exit: &ServiceExit) -> Touched {
        if self.row.state == ServiceState::Stopping {
            self.row.started_at = None;
            return self.step(now, ServiceEvent::StopDone);
        }
        self.died(now, &exit.reason)
    }

    /// It is gone with its worker: no fault of its own, so it may start again at once.
    pub(super) fn lost(&mut self, now: Timestamp, reason: &str) -> Touched {
        let event = if self.row.state == ServiceState::Stopping { ServiceEvent::StopDone } else { ServiceEvent::Died };
        let touched = self.step(now, event);
        if touched.store {
            self.row.last_error = Some(reason.to_owned());
            self.row.restarts += 1;
            self.row.not_before = None;
        }
        touched
    }

    fn died(&mut self, now: Timestamp, reason: &str) -> Touched {
        let lived = self.row.started_at.map_or(TimeDelta::zero(), |at| now - at);
        let touched = self.step(now, ServiceEvent::Died);
        if touched.store {
            self.row.deaths = if lived >= STEADY { 1 } else { self.row.deaths.saturating_add(1) };
            self.row.restarts += 1;
            self.row.not_before = Some(now + back_off(self.row.deaths));
            self.row.last_error = Some(reason.to_owned());
        }
        touched
    }

    /// A task declares it: the same again changes nothing, a changed one replaces what runs.
    pub(super) fn declared(&mut self, now: Timestamp, spec: &ServiceSpec, hash: &str) -> Touched {
        let was_stopped = std::mem::replace(&mut self.row.wanted, Wanted::Running) == Wanted::Stopped;
        if self.row.hash == hash {
            return if was_stopped { Touched::CHANGED } else { Touched::NOTHING };
        }
        spec.clone_into(&mut self.row.spec);
        hash.clone_into(&mut self.row.hash);
        self.forget_progress();
        self.ask_to_stop(now, ServiceEvent::StopAsked)
    }

    pub(super) fn control(&mut self, now: Timestamp, action: ServiceAction) -> Touched {
        self.row.wanted = match action {
            ServiceAction::Start | ServiceAction::Restart => Wanted::Running,
            ServiceAction::Stop => Wanted::Stopped,
        };
        self.row.not_before = None;
        self.row.deaths = 0;
        match action {
            ServiceAction::Start if self.row.state == ServiceState::Completed => {
                self.ask_to_stop(now, ServiceEvent::StopAsked)
            }
            ServiceAction::Start => Touched::CHANGED,
            ServiceAction::Restart | ServiceAction::Stop => self.ask_to_stop(now, ServiceEvent::StopAsked),
        }
    }

    /// Ends the instance, if there is one; without one the replica is stopped at once.
    pub(super) fn ask_to_stop(&mut self, now: Timestamp, event: ServiceEvent) -> Touched {
        let touched = self.step(now, event);
        self.row.not_before = None;
        if self.row.state == ServiceState::Stopping { Touched::STOPPING } else { Touched { store: true, ..touched } }
    }
}
