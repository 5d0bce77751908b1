//! How a run starts and ends: its leaves, the dead-lock, its timeout, fail_fast.

use chrono::TimeDelta;
use model::{DagRunEvent, DagRunState, RunKey, TaskEvent, TaskState};

use super::notify::RunReason;
use crate::{
    Effect, Engine,
    memory::{definition::asks_past, instance::Place, run::Run},
};

impl Engine {
    /// A run's limits allow it to begin.
    pub(super) fn start_run(&mut self, key: RunKey) {
        let now = self.now;
        self.change_run(key, DagRunEvent::Started);
        self.known_run_mut(key).row.started_at = Some(now);
        self.watch(key);
    }

    /// Ends a run when nothing in it is unfinished, or when what is unfinished can never run.
    pub(super) fn check_end(&mut self, key: RunKey) {
        if let Some(event) = self.end_of(key) {
            let why = match event {
                DagRunEvent::Succeeded => RunReason::Success,
                _ if self.known_run(key).unfinished == 0 => RunReason::TaskFailure,
                _ => RunReason::Deadlocked,
            };
            self.end_run(key, event);
            self.owe_for_run(key, why);
        }
    }

    /// How a running run ends by what its tasks are; none while it goes on.
    pub(crate) fn end_of(&self, key: RunKey) -> Option<DagRunEvent> {
        let run = self.known_run(key);
        if run.unfinished == 0 {
            let has_failed = run.leaves_failed > 0 || was_stopped(run);
            return Some(if has_failed { DagRunEvent::Failed } else { DagRunEvent::Succeeded });
        }
        let is_stuck = run.pending == 0 && run.parked.is_empty() && !self.may_be_freed_from_outside(key);
        is_stuck.then_some(DagRunEvent::Failed)
    }

    /// Whether a task that waits may be let go by another run.
    fn may_be_freed_from_outside(&self, key: RunKey) -> bool {
        let run = self.known_run(key);
        let unfinished = run.def.dag.positions().filter(|pos| run.unfinished_of(*pos) > 0);
        unfinished.map(|pos| run.def.task(pos)).any(|task| {
            asks_past(task) || task.max_active_tis_per_dag.is_some() || task.max_active_tis_per_dagrun.is_some()
        })
    }

    /// Ends a run and tells its DAG, which may be paused for it and may have another run to start.
    pub(super) fn end_run(&mut self, key: RunKey, event: DagRunEvent) {
        self.change_run(key, event);
        let now = self.now;
        let run = self.known_run_mut(key);
        run.row.ended_at = Some(now);
        run.dirty.clear();
        run.parked.clear();
        let dag_id = run.row.dag_id.clone();
        self.unserved.insert(dag_id.clone());
        // A mark by hand is no failure of its own, as in Airflow; it counts when the next one is.
        if event == DagRunEvent::Failed {
            self.run_has_failed(&dag_id);
        }
    }

    /// Takes a step in the lifecycle of a run: it leaves where it waited or was running, and enters where it is now.
    pub(super) fn change_run(&mut self, key: RunKey, event: DagRunEvent) {
        let run = self.runs.get_mut(&key).expect("only runs in memory are decided");
        let dag = self.dags.get_mut(&run.row.dag_id).expect("every run's DAG is known");
        self.draft.touch_run(&run.row);
        dag.leave(run);
        run.row.state = run.row.state.after(event).expect("the engine asks only for steps that the lifecycle has");
        let is_over = run.row.backfill.is_some_and(|place| dag.active_backfill() != Some(place.id));
        if run.row.state == DagRunState::Queued && is_over {
            // Its backfill is over, and limits it no more.
            run.row.backfill = None;
        }
        dag.enter(run);
        // A run that begins again has not exceeded anything yet.
        if event == DagRunEvent::Cleared && run.row.note.is_some() && run.row.note == over_time(run) {
            run.row.note = None;
        }
        let is_success = run.row.state == DagRunState::Success;
        self.follow_newest(key);
        if is_success {
            self.meet_deadlines(key);
        }
    }

    /// Fails a run that has taken longer than its dagrun_timeout; what it still does is stopped and skipped. Its tasks say
    /// why, and so does the run's note, unless somebody has written one.
    pub(super) fn check_timeout(&mut self, key: RunKey) {
        let Some(run) = self.run(key) else { return };
        let timeout = run.def.dag.dagrun_timeout.and_then(|after| TimeDelta::from_std(after).ok());
        let over = run.row.started_at.zip(timeout).is_some_and(|(start, after)| start + after <= self.now);
        if run.row.state != DagRunState::Running || !over {
            return;
        }
        let note = over_time(run);
        let reason = format!("the run {}", note.as_deref().unwrap_or_default());
        for place in self.unfinished_tasks(key) {
            self.set_final(place, model::task::Mark::Skipped, &reason);
            self.write_extra(place, |extra| extra.reason = Some(reason.clone()));
        }
        self.draft.touch_run(&self.runs[&key].row);
        let row = &mut self.known_run_mut(key).row;
        row.note = row.note.take().or(note);
        self.end_run(key, DagRunEvent::Failed);
        self.owe_for_run(key, RunReason::TimedOut);
    }

    /// The first failure of a DAG with fail_fast ends everything else of the run: what runs fails, what waits is skipped. Teardowns
    /// are left to run, and none that the run does not fail with stops anything.
    pub(super) fn fail_fast(&mut self, failed: Place) {
        let key = failed.run;
        let run = self.known_run(key);
        if !run.def.dag.fail_fast || run.def.task(failed.task).phase.is_ignored() {
            return;
        }
        let is_spared = |place: &Place| run.def.task(place.task).phase.is_teardown();
        let stopped: Vec<Place> = self.unfinished_tasks(key).into_iter().filter(|place| !is_spared(place)).collect();
        for place in stopped {
            let runs = self.core(place).state == TaskState::Running;
            let mark = if runs { model::task::Mark::Failed } else { model::task::Mark::Skipped };
            self.set_final(place, mark, "another task of the run failed, and its DAG has fail_fast");
        }
    }

    pub(super) fn unfinished_tasks(&self, key: RunKey) -> Vec<Place> {
        let run = self.known_run(key);
        run.all().filter(|at| !run.state(*at).is_finished()).map(|at| run.place(at)).collect()
    }

    /// Sets an instance to a final state from outside; a live attempt is stopped.
    pub(super) fn set_final(&mut self, place: Place, mark: model::task::Mark, reason: &str) {
        let now = self.now;
        self.give_up_wait(place, reason);
        self.step(place, TaskEvent::Marked(mark));
        self.write(place, |core| core.ended_at = Some(now));
        if self.known_run(place.run).instance(place.at()).extra.is_some() {
            self.write_extra(place, |extra| extra.wake_at = None);
        }
        if self.core(place).state == TaskState::Failed {
            self.write_extra(place, |extra| extra.reason = Some(reason.to_owned()));
        }
        self.kill(place, reason);
    }

    /// Asks the worker of a live attempt to end it.
    pub(super) fn kill(&mut self, place: Place, reason: &str) {
        let core = self.core(place);
        if let (true, Some(worker), Some(attempt)) = (core.live, core.worker, core.attempt) {
            self.draft.effect(Effect::Kill { worker, attempt, reason: reason.to_owned() });
        }
    }
}

/// Whether a failure has ended everything else of a run: its leaves were skipped for it, and say nothing of how it went.
fn was_stopped(run: &Run) -> bool {
    let counts = |pos: &dag::TaskPos| !run.def.task(*pos).phase.is_ignored();
    run.def.dag.fail_fast && run.def.dag.positions().filter(counts).any(|pos| run.has_in(pos, TaskState::Failed))
}

/// What is said of a run that took too long; none when its DAG sets no limit.
fn over_time(run: &Run) -> Option<String> {
    let limit = run.def.dag.dagrun_timeout?;
    Some(format!("exceeded its dagrun_timeout of {} s", limit.as_secs_f64()))
}
