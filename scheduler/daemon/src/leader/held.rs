//! Quarantine in the leader: what can not be taken in although it is alone in its turn is counted, tried again, and then left
//! out until a person releases it.

use std::collections::BTreeSet;

use engine::Event;
use model::{AttemptEnd, AttemptId, DagId, DagVersionId, EndKind, WorkerId};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use store::{
    StoreError,
    quarantine::{self, Kind, Released, Standing, Subject},
};

use super::{batch::Batch, reign::Reign};

/// The start of the reason of an end that is taken in place of what a worker said.
const IN_ITS_PLACE: &str = "the worker's report of its end can not be stored";

/// The end of the key of a DAG whose file is gone.
const GONE: &str = " gone";

/// What is held, as the store has it.
#[derive(Debug, Default)]
pub struct Held(BTreeSet<Subject>);

impl Held {
    /// What an earlier leadership has held.
    pub(super) fn of(subjects: BTreeSet<Subject>) -> Self {
        Self(subjects)
    }

    /// Whether nothing is.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether an event is held back.
    pub(super) fn has(&self, event: &Event) -> bool {
        !self.0.is_empty() && subject(event).is_some_and(|subject| self.0.contains(&subject))
    }

    /// Whether a worker's Hello is held back.
    pub(super) fn has_worker(&self, worker: WorkerId) -> bool {
        !self.0.is_empty() && self.0.contains(&Subject::new(Kind::Worker, worker.get()))
    }
}

/// A report of an end, kept for its release.
#[derive(Debug, Serialize, Deserialize)]
struct Report {
    worker: WorkerId,
    attempt: AttemptId,
    end: AttemptEnd,
}

impl Reign {
    /// Counts the failure of an event that was alone in its turn: what is taken next in its place, if anything is. Tried
    /// often enough it is held, and a command is answered.
    pub(super) async fn blame(&mut self, event: Event, error: StoreError) -> Result<Option<Event>, StoreError> {
        if let Event::Command { id, .. } = event {
            self.bury(id, &format!("it can not be carried out: {error}")).await?;
            return Ok(None);
        }
        let Some(subject) = subject(&event) else { return Err(error) };
        let (reason, content) = (reason(&event, &error), content(&event));
        let standing = quarantine::count(&mut self.writer, self.epoch, &subject, &reason, content.as_ref()).await?;
        if standing == Standing::Counted {
            return Ok(Some(event));
        }
        tracing::error!(%subject, reason, "in quarantine: the leader goes on without it until it is released");
        if self.held.0.insert(subject) {
            self.quarantined += 1;
        }
        Ok(self.in_its_place(event, &error))
    }

    fn in_its_place(&mut self, event: Event, error: &StoreError) -> Option<Event> {
        match event {
            Event::AttemptEnded { worker, attempt, end } if !is_in_its_place(&end) => {
                let told = AttemptEnd::new(EndKind::Failed, format!("{IN_ITS_PLACE}: {error}"));
                let end = AttemptEnd { ran_micros: end.ran_micros, ..told }.into();
                Some(Event::AttemptEnded { worker, attempt, end })
            }
            Event::WorkerJoined(joined) => {
                // It comes again with a new Hello, which is refused as long as it is held.
                self.peers.hang_up(joined.worker);
                None
            }
            Event::AttemptEnded { .. }
            | Event::AttemptStarted { .. }
            | Event::AttemptDeferred { .. }
            | Event::WorkerSilent(_)
            | Event::WorkerLeaving(_)
            | Event::WorkerLost(_)
            | Event::DagVersionStored { .. }
            | Event::DagGone(_)
            | Event::Command { .. }
            | Event::Continue => None,
        }
    }

    /// Takes what people have released into a batch.
    pub(super) async fn take_released(&mut self, batch: &mut Batch) -> Result<(), StoreError> {
        if self.held.is_empty() {
            return Ok(());
        }
        for Released { subject, content } in quarantine::take_released(&mut self.writer, self.epoch).await? {
            tracing::info!(%subject, "released from quarantine: it is tried again");
            if self.held.0.remove(&subject) {
                self.quarantined = self.quarantined.saturating_sub(1);
            }
            batch.events.extend(self.again(subject, content).await?);
        }
        Ok(())
    }

    /// What a release brings again; what a report said before its end has no use after it.
    async fn again(&mut self, subject: Subject, content: Option<Value>) -> Result<Option<Event>, StoreError> {
        match subject.kind {
            Kind::Report => {
                let report = content.and_then(|content| serde_json::from_value::<Report>(content).ok());
                Ok(report.map(|Report { worker, attempt, end }| Event::AttemptEnded {
                    worker,
                    attempt,
                    end: end.into(),
                }))
            }
            Kind::Definition if subject.key.ends_with(GONE) => {
                let dag = DagId::new(subject.key.trim_end_matches(GONE)).ok();
                Ok(dag.filter(|dag| !self.folders.defines(dag)).map(Event::DagGone))
            }
            Kind::Definition => {
                let Ok(id) = subject.key.parse().map(DagVersionId) else { return Ok(None) };
                let version = store::versions::current(self.writer.connection(), id).await?;
                Ok(version.map(|version| Event::DagVersionStored { version }))
            }
            // A worker says Hello by itself. What could not be read is read by the next leadership.
            Kind::Command | Kind::Worker | Kind::Version | Kind::Dag | Kind::Run => Ok(None),
        }
    }
}

/// What an event is counted as; none when nothing outside has brought it.
fn subject(event: &Event) -> Option<Subject> {
    Some(match event {
        Event::Command { id, .. } => Subject::new(Kind::Command, id.get()),
        Event::AttemptStarted { attempt, .. } => Subject::new(Kind::Report, format!("{attempt} started")),
        Event::AttemptDeferred { attempt, .. } => Subject::new(Kind::Report, format!("{attempt} deferred")),
        Event::AttemptEnded { attempt, end, .. } => {
            let in_its_place = if is_in_its_place(end) { ", in place of what was said" } else { "" };
            Subject::new(Kind::Report, format!("{attempt} ended{in_its_place}"))
        }
        Event::WorkerJoined(joined) => Subject::new(Kind::Worker, joined.worker.get()),
        Event::WorkerSilent(worker) => Subject::new(Kind::Worker, format!("{} silent", worker.get())),
        Event::WorkerLeaving(worker) => Subject::new(Kind::Worker, format!("{} leaving", worker.get())),
        Event::WorkerLost(worker) => Subject::new(Kind::Worker, format!("{} lost", worker.get())),
        Event::DagVersionStored { version } => Subject::new(Kind::Definition, version.id.get()),
        Event::DagGone(dag) => Subject::new(Kind::Definition, format!("{dag}{GONE}")),
        Event::Continue => return None,
    })
}

fn is_in_its_place(end: &AttemptEnd) -> bool {
    end.kind == EndKind::Failed && end.xcoms.is_empty() && end.reason.starts_with(IN_ITS_PLACE)
}

fn content(event: &Event) -> Option<Value> {
    let Event::AttemptEnded { worker, attempt, end } = event else { return None };
    serde_json::to_value(Report { worker: *worker, attempt: *attempt, end: AttemptEnd::clone(end) }).ok()
}

fn reason(event: &Event, error: &StoreError) -> String {
    match event {
        Event::DagVersionStored { version } => format!("DAG {}: {error}", version.dag.dag_id),
        Event::WorkerJoined(joined) => format!("worker {}: {error}", joined.name),
        Event::Command { .. }
        | Event::AttemptStarted { .. }
        | Event::AttemptDeferred { .. }
        | Event::AttemptEnded { .. }
        | Event::WorkerSilent(_)
        | Event::WorkerLeaving(_)
        | Event::WorkerLost(_)
        | Event::DagGone(_)
        | Event::Continue => error.to_string(),
    }
}
