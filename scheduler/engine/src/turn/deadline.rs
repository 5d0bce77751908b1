//! By when runs have to have succeeded: set when they are queued, dropped when they succeed in time, missed else.

use chrono::TimeDelta;
use dag::{Deadline, DeadlineReference};
use model::{CallbackEvent, DagId, RunKey, Timestamp};

use crate::{
    Engine, Need,
    memory::{deadlines::DeadlineKey, timers::Timer},
    state::{DeadlineRow, RunRow},
};

/// Which deadlines of a run are set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Which {
    /// All of them: the run is new.
    All,
    /// Those that are counted from when it was queued: it is queued again.
    Queued,
}

impl Engine {
    /// Sets the deadlines of a run that is queued.
    pub(super) fn set_deadlines(&mut self, key: RunKey, which: Which) {
        let run = self.known_run(key);
        let def = std::sync::Arc::clone(&run.def);
        for (position, deadline) in (0_i16..).zip(&def.dag.deadlines) {
            let is_queued = match deadline.reference {
                DeadlineReference::QueuedAt | DeadlineReference::AverageRuntime { .. } => true,
                DeadlineReference::LogicalDate | DeadlineReference::At(_) => false,
            };
            if which == Which::Queued && !is_queued {
                continue;
            }
            self.drop_deadline((key, position));
            match (deadline.reference, reference(deadline, &self.known_run(key).row)) {
                (DeadlineReference::AverageRuntime { max_runs, .. }, _) => {
                    self.deadlines.unknown.insert((key, position));
                    let dag = self.known_run(key).row.dag_id.clone();
                    self.facts.want(Need::AverageRuntime { dag, most: max_runs });
                }
                (_, Some(from)) => self.set_deadline((key, position), from),
                (_, None) => {}
            }
        }
    }

    /// Sets a deadline that is counted from an instant. One beyond the calendar's end is none.
    fn set_deadline(&mut self, key: DeadlineKey, from: Timestamp) {
        let id = self.draft.notification_id().0;
        let run = self.known_run(key.0);
        let Some(deadline) = usize::try_from(key.1).ok().and_then(|at| run.def.dag.deadlines.get(at)) else { return };
        let at = TimeDelta::from_std(deadline.interval).ok().and_then(|after| from.checked_add_signed(after));
        let Some(at) = at else { return };
        let row = DeadlineRow {
            id,
            run: key.0,
            dag_id: run.row.dag_id.clone(),
            run_id: run.row.run_id.clone(),
            version: run.row.version,
            position: key.1,
            name: deadline.name.clone(),
            kinds: deadline.callbacks.iter().map(|callback| callback.kind().to_owned()).collect(),
            at,
            created_at: self.now,
            is_missed: false,
        };
        self.draft.plan.deadlines.push(row.clone());
        self.deadlines.pending.insert(key, row);
        self.timers.set(at, Timer::Deadline(key.0, key.1));
    }

    /// Sets what waits for how long runs take on average.
    pub(super) fn use_average_runtimes(&mut self) {
        for (need, runtimes) in self.facts.take_runtimes() {
            let Need::AverageRuntime { dag, most } = need else { continue };
            for key in self.deadlines.unknown.clone() {
                self.use_average(key, (&dag, most), &runtimes);
            }
        }
    }

    fn use_average(&mut self, key: DeadlineKey, (dag, most): (&DagId, u32), runtimes: &[TimeDelta]) {
        let Some(run) = self.run(key.0) else {
            self.deadlines.unknown.remove(&key);
            return;
        };
        let deadline = usize::try_from(key.1).ok().and_then(|at| run.def.dag.deadlines.get(at));
        let asks = match deadline.map(|deadline| deadline.reference) {
            Some(DeadlineReference::AverageRuntime { max_runs, min_runs }) if max_runs == most => Some(min_runs),
            _ => None,
        };
        let (true, Some(min_runs)) = (run.row.dag_id == *dag, asks) else { return };
        let queued_at = run.row.queued_at;
        self.deadlines.unknown.remove(&key);
        let number = i32::try_from(runtimes.len()).unwrap_or(i32::MAX);
        if number == 0 || u32::try_from(number).unwrap_or(0) < min_runs {
            return;
        }
        let whole = runtimes.iter().try_fold(TimeDelta::zero(), |sum, one| sum.checked_add(one));
        let from = whole.and_then(|whole| queued_at.checked_add_signed(whole / number));
        if let Some(from) = from {
            self.set_deadline(key, from);
        }
    }

    /// Nothing of a run is missed any more.
    pub(super) fn meet_deadlines(&mut self, key: RunKey) {
        for row in self.deadlines.take_of(key) {
            self.draft.drop_deadline(row.id);
        }
    }

    fn drop_deadline(&mut self, key: DeadlineKey) {
        if let Some(row) = self.deadlines.pending.remove(&key) {
            self.draft.drop_deadline(row.id);
        }
    }

    /// A run has not succeeded in time, unless the deadline is another one by now.
    pub(super) fn check_deadline(&mut self, key: DeadlineKey) {
        if self.deadlines.pending.get(&key).is_none_or(|row| row.at > self.now) {
            return;
        }
        let Some(row) = self.deadlines.pending.remove(&key) else { return };
        self.draft.miss_deadline(row.id);
        self.owe_for_deadline(&row);
    }
}

/// What a deadline is counted from; none when the run has no such instant, or it is not known yet.
fn reference(deadline: &Deadline, run: &RunRow) -> Option<Timestamp> {
    match deadline.reference {
        DeadlineReference::QueuedAt => Some(run.queued_at),
        DeadlineReference::LogicalDate => run.logical_date,
        DeadlineReference::At(at) => Some(at),
        DeadlineReference::AverageRuntime { .. } => None,
    }
}

impl Engine {
    /// What a missed deadline owes to the outside.
    fn owe_for_deadline(&mut self, row: &DeadlineRow) {
        for (position, kind) in (0_i16..).zip(&row.kinds) {
            let id = self.draft.notification_id();
            self.draft.plan.notifications.push(crate::NotificationRow {
                id,
                dag_id: row.dag_id.clone(),
                run: row.run,
                run_id: row.run_id.clone(),
                version: row.version,
                event: CallbackEvent::DeadlineMissed,
                position,
                kind: kind.clone(),
                deadline: Some(row.position),
                task: None,
                reason: Some(format!("the run had not succeeded by {}", row.at.to_rfc3339())),
                at: self.now,
            });
        }
    }
}
