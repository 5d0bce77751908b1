//! Clear: task instances run again.

use std::{collections::BTreeSet, sync::Arc};

use model::{
    DagRunEvent, MapIndex, RunKey, TaskEvent, TaskIdx, TaskState, TiKey,
    command::{ClearEffect, ClearTaskInstances, ClearVersion, EndedRuns},
};
use serde_json::Value;

use super::{
    command::Refusal,
    deadline::Which,
    selection::{Missing, Purpose, names},
};
use crate::{
    Engine,
    memory::{
        definition::Definition,
        instance::{Place, TiPos},
        run::tries_after,
    },
    selection::is_cleared,
};

impl Engine {
    pub(super) fn clear(&mut self, clear: &ClearTaskInstances) -> Result<Value, Refusal> {
        let keys = self.find_runs(&clear.dag_id, clear.runs())?;
        // Refusals come before anything changes.
        let moves = clear.effect == ClearEffect::Apply && clear.version == ClearVersion::Latest;
        if moves {
            self.check_latest(&keys, clear)?;
            for key in &keys {
                self.move_to_latest(*key);
            }
        }
        let mut chosen = self.select_in(&keys, &clear.tasks, (clear.relatives, Purpose::Clear))?;
        for (key, tasks) in &mut chosen {
            let run = self.known_run(*key);
            tasks.retain(|at| is_cleared(run.state(*at), clear.only));
        }
        let listed = self.listed(&chosen);
        if clear.effect == ClearEffect::Apply {
            for (key, tasks) in chosen.iter().filter(|(_, tasks)| !tasks.is_empty()) {
                self.clear_tasks(*key, tasks, clear.ended_runs);
            }
        }
        Ok(listed)
    }

    /// Whether these runs can go on with the newest version, and the tasks to clear are in it.
    fn check_latest(&self, keys: &[RunKey], clear: &ClearTaskInstances) -> Result<(), Refusal> {
        let current = self.dags.get(&clear.dag_id).and_then(|dag| self.versions.get(&dag.row.current));
        let latest = current.ok_or_else(|| Refusal::no_dag(&clear.dag_id))?;
        names(latest, &clear.tasks, (clear.relatives, Purpose::Clear), Missing::Refused)?;
        for run in keys.iter().map(|key| self.known_run(*key)).filter(|run| run.def.id != latest.id) {
            if let Some(at) = run.all().find(|at| run.instance(*at).core.live) {
                return Err(Refusal::Conflict(format!(
                    "the run {} can not go on with the newest version while its task {} is {}",
                    run.row.run_id,
                    run.def.task(at.task).task_id,
                    run.state(at)
                )));
            }
        }
        Ok(())
    }

    /// Clears tasks of a run. One that is not over goes on; one that had ended begins again, or stays ended.
    pub(super) fn clear_tasks(&mut self, key: RunKey, chosen: &BTreeSet<TiPos>, ended_runs: EndedRuns) {
        for at in chosen {
            self.clear_one(self.known_run(key).place(*at));
        }
        match ended_runs {
            EndedRuns::StayEnded if self.known_run(key).row.state.is_finished() => {}
            EndedRuns::StayEnded | EndedRuns::GoOn => self.reopen(key),
        }
    }

    /// A cleared run that had ended waits for its start again.
    fn reopen(&mut self, key: RunKey) {
        let was_finished = self.known_run(key).row.state.is_finished();
        if was_finished {
            self.change_run(key, DagRunEvent::Cleared);
        } else {
            self.draft.touch_run(&self.runs[&key].row);
        }
        let now = self.now;
        let run = self.known_run_mut(key);
        run.row.clear_number += 1;
        run.row.queued_at = now;
        let dag_id = run.row.dag_id.clone();
        if was_finished {
            (run.row.started_at, run.row.ended_at) = (None, None);
            self.unserved.insert(dag_id);
        }
        self.set_deadlines(key, Which::Queued);
    }

    fn clear_one(&mut self, place: Place) {
        let run = self.known_run(place.run);
        let core = run.instance(place.at()).core;
        if core == crate::memory::instance::Core::BLANK || core.state == TaskState::Restarting {
            return;
        }
        let max_tries = tries_after(core.try_number.get(), run.def.task(place.task).retries);
        self.forget_skips(place);
        match core.state {
            TaskState::Queued | TaskState::Running => {
                self.step(place, TaskEvent::Cleared);
                self.kill(place, "it was cleared while it ran");
            }
            TaskState::NoStatus
            | TaskState::Scheduled
            | TaskState::Success
            | TaskState::Failed
            | TaskState::Skipped
            | TaskState::UpstreamFailed
            | TaskState::Removed
            | TaskState::Restarting
            | TaskState::UpForRetry
            | TaskState::UpForReschedule
            | TaskState::Deferred
            | TaskState::AwaitingInput => self.clear_idle(place),
        }
        self.write_extra(place, |extra| {
            extra.max_tries = Some(max_tries);
            extra.infrastructure_losses = 0;
            extra.lost_at = None;
            extra.wake_at = None;
            extra.reason = None;
            extra.exit_code = None;
            extra.forget_pokes();
        });
    }

    /// Clears an instance that is not running; one whose old attempt still lives keeps it until that has ended.
    fn clear_idle(&mut self, place: Place) {
        self.give_up_wait(place, "it was cleared while it waited");
        if self.core(place).live {
            self.step(place, TaskEvent::Cleared);
            return;
        }
        self.keep_try(place);
        self.write(place, |core| {
            core.step(TaskEvent::Cleared);
            core.forget_attempt();
        });
    }

    /// Pins a run to the newest version of its DAG. Rows of tasks that have left the DAG become `removed`; a task that has come
    /// back begins again, and so does one that waits for an answer to a question that it does not put any more.
    pub(super) fn move_to_latest(&mut self, key: RunKey) {
        let current = self.dag_of(key).row.current;
        let latest = Arc::clone(self.versions.get(&current).expect("the newest version was looked up before"));
        if latest.id == self.known_run(key).def.id {
            return;
        }
        self.draft.touch_run(&self.runs[&key].row);
        // Tickets are for the old version's demands.
        self.withdraw_all(key);
        for place in self.places_with_rows_not_in(key, &latest) {
            self.step(place, TaskEvent::Removed);
        }
        let back: Vec<(TaskIdx, MapIndex)> = self.known_run(key).strays.keys().copied().collect();
        self.replace_run(key, &latest);
        for (task, map) in back {
            if let Some(place) = self.place_of(TiKey { run: key, task, map }) {
                self.clear_one(place);
            }
        }
        for place in self.places_that_ask_no_more(key) {
            self.clear_one(place);
        }
    }

    /// Instances that wait for an answer, and whose task puts no question in this version.
    fn places_that_ask_no_more(&self, key: RunKey) -> Vec<Place> {
        let run = self.known_run(key);
        let asks_no_more = |at: &TiPos| {
            let task = run.def.task(at.task);
            run.instance(*at).core.state == TaskState::AwaitingInput
                && (task.operator.asking().is_none() || task.expand.is_some())
        };
        run.all().filter(asks_no_more).map(|at| run.place(at)).collect()
    }

    fn places_with_rows_not_in(&self, key: RunKey, latest: &Definition) -> Vec<Place> {
        let run = self.known_run(key);
        let leaves = |at: &TiPos| {
            let instance = run.instance(*at);
            let has_row = instance.stored.is_some() && instance.core.state != TaskState::Removed;
            let there = latest.position(run.def.number(at.task));
            let may_stay = |pos| at.map == MapIndex::UNMAPPED || latest.task(pos).expand.is_some();
            has_row && !there.is_some_and(may_stay)
        };
        run.all().filter(leaves).map(|at| run.place(at)).collect()
    }
}
