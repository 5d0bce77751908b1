//! What a branch or a short circuit passes over.

use dag::TaskPos;
use model::{Operator, RunType, TaskEvent, TaskIdx, TaskState, operator::SkipReach};

use crate::{
    Engine,
    memory::{definition::Direction, instance::Place, run::Run},
    timetable::{self, Restriction},
};

/// What a decision passes over.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Skips {
    /// Skipped now, unless something has happened to them already.
    now: Vec<TaskPos>,
    /// Those directly after the task: remembered, so that a clear of one of them skips it again.
    remembered: Vec<TaskPos>,
}

/// A branch named something that its DAG does not have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the branch follows {0:?}, and its DAG has no task or group of that name")]
pub(super) struct UnknownTask(String);

impl Run {
    /// What a branch passes over: the tasks directly after it that are neither followed nor reached from those.
    pub(super) fn skipped_by_branch(&self, branch: TaskPos, follow: &[String]) -> Result<Skips, UnknownTask> {
        let mut followed = Vec::new();
        for id in follow {
            followed.extend(self.def.named(id).ok_or_else(|| UnknownTask(id.clone()))?);
        }
        let mut spared = self.def.reached(followed.iter().copied(), Direction::Downstream);
        spared.extend(followed);
        let direct = &self.def.task(branch).downstream;
        let skipped: Vec<TaskPos> = direct.iter().copied().filter(|next| !spared.contains(next)).collect();
        Ok(Skips { now: skipped.clone(), remembered: skipped })
    }

    /// What a short circuit passes over whose condition does not hold. Teardowns are left to their rule: what was set up is taken
    /// away.
    pub(super) fn skipped_by_short_circuit(&self, pos: TaskPos, reach: SkipReach) -> Skips {
        let is_spared = |next: &TaskPos| self.def.task(*next).phase.is_teardown();
        let direct: Vec<TaskPos> =
            self.def.task(pos).downstream.iter().copied().filter(|next| !is_spared(next)).collect();
        let now = match reach {
            SkipReach::AllDownstream => {
                let all = self.def.reached([pos], Direction::Downstream);
                all.into_iter().filter(|next| !is_spared(next)).collect()
            }
            SkipReach::DirectDownstream => direct.clone(),
        };
        Skips { now, remembered: direct }
    }
}

impl Engine {
    /// What a `latest_only` task decides: what follows it is skipped when there is a newer interval.
    pub(super) fn skip_unless_latest(&mut self, place: Place) {
        let run = self.known_run(place.run);
        if run.def.task(place.task).operator != Operator::LatestOnly || self.is_latest(run) {
            return;
        }
        let direct = run.def.task(place.task).downstream.clone();
        self.skip(place, &Skips { now: direct.clone(), remembered: direct });
    }

    /// Whether a run stands for the newest interval of its schedule. One that somebody has started always does, and one that no
    /// other follows.
    fn is_latest(&self, run: &Run) -> bool {
        if run.row.run_type == RunType::Manual {
            return true;
        }
        let date = run.row.logical_date.unwrap_or(run.row.run_after);
        let (start, end) = run.row.data_interval.unwrap_or((date, date));
        let bounds = Restriction { earliest: Some(end), latest: None, catchup: dag::Catchup::All };
        let next = timetable::next(&run.def.dag.schedule, &bounds, Some((start, end)), self.now);
        next.is_none_or(|next| start <= self.now && self.now <= next.end)
    }

    /// Carries a decision out.
    pub(super) fn skip(&mut self, by: Place, skips: &Skips) {
        if skips.now.is_empty() {
            return;
        }
        let run = self.known_run_mut(by.run);
        for pos in &skips.remembered {
            run.tasks[pos.0].skipped_by += 1;
        }
        let numbers: Vec<TaskIdx> = skips.remembered.iter().map(|pos| run.def.number(*pos)).collect();
        self.write_extra(by, |extra| extra.skips = Some(numbers));
        let run = self.known_run(by.run);
        let places: Vec<Place> = skips.now.iter().flat_map(|pos| run.all_of(*pos)).map(|at| run.place(at)).collect();
        for place in places {
            if self.is_untouched(place) {
                let now = self.now;
                self.step(place, TaskEvent::Skipped);
                self.write(place, |core| core.ended_at = Some(now));
            }
        }
    }

    /// Whether nothing has happened yet to an instance. One that waits for a slot is such a one, too: its row does not say so, and
    /// a leader that takes over would pass over it.
    fn is_untouched(&self, place: Place) -> bool {
        let instance = self.known_run(place.run).instance(place.at());
        let is_undone = instance.stored.is_none_or(|stored| stored == TaskState::NoStatus);
        matches!(instance.core.state, TaskState::NoStatus | TaskState::Scheduled) && is_undone
    }

    /// Forgets what a task has decided: it runs again.
    pub(super) fn forget_skips(&mut self, by: Place) {
        let skipped = self.known_run(by.run).skips_of(by.at());
        if skipped.is_empty() {
            return;
        }
        let run = self.known_run_mut(by.run);
        for pos in &skipped {
            run.tasks[pos.0].skipped_by -= 1;
        }
        self.write_extra(by, |extra| extra.skips = None);
        for pos in skipped {
            self.mark_dirty(by.run, pos);
        }
    }
}
