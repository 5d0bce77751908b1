//! What becomes of a run of a schedule that is due while another run of its DAG is active.
//!
//! Active is what is running, and what waits for nothing but its turn to run, whatever made it; runs of backfills have limits of
//! their own and are not meant. A run that is not made leaves a line in the audit log and is told by why; one that ends for a newer
//! one says so in its note and its tasks. Which runs a DAG with catchup makes up is no question of overlap: the two exclude each other.

use model::{DagId, DagRunEvent, RunKey, TaskState, task::Mark};
use serde_json::json;

use super::notify::RunReason;
use crate::{AuditedRow, DueRun, Engine};

impl Engine {
    /// Whether a run of a DAG is running, or waits for nothing but its turn.
    pub(super) fn has_active_run(&self, dag_id: &DagId) -> bool {
        !self.active_runs(dag_id).is_empty()
    }

    fn active_runs(&self, dag_id: &DagId) -> Vec<RunKey> {
        let Some(dag) = self.dags.get(dag_id) else { return Vec::new() };
        let waiting = dag.queued.iter().take_while(|(starts_at, _)| *starts_at <= self.now).map(|(_, key)| *key);
        dag.running.iter().copied().chain(waiting).collect()
    }

    /// A run is due, and is not made because another one is active.
    pub(super) fn pass_over(&mut self, dag_id: &DagId, due: DueRun) {
        let in_the_way = self.active_runs(dag_id).first().map(|key| self.known_run(*key).row.run_id.clone());
        self.dag_mut(dag_id).row.passed_over = Some(due.run_after);
        self.draft.plan.audited.push(AuditedRow {
            dag_id: dag_id.clone(),
            run_id: None,
            action: "pass_over_dag_run",
            details: json!({
                "logical_date": due.logical_date,
                "run_after": due.run_after,
                "reason": "another run was active, and the DAG has overlap: skip",
                "active_run": in_the_way,
            }),
        });
    }

    /// Every other active run of a DAG ends, because this one is due: what is at work fails and is stopped, what waits is skipped.
    pub(super) fn cancel_older(&mut self, dag_id: &DagId, newer: RunKey) {
        let newer_id = self.known_run(newer).row.run_id.clone();
        let note = format!("cancelled because {newer_id} was due, and the DAG has overlap: cancel_older");
        for key in self.active_runs(dag_id).into_iter().filter(|key| *key != newer) {
            self.cancel_run(key, &note);
            self.draft.plan.audited.push(AuditedRow {
                dag_id: dag_id.clone(),
                run_id: Some(self.known_run(key).row.run_id.clone()),
                action: "cancel_dag_run",
                details: json!({ "reason": note, "newer_run": newer_id }),
            });
        }
    }

    /// Fails a run that is queued or running, and says why at its tasks, and in its note unless somebody has written one. It counts
    /// as a failure that somebody has set: it does not pause its DAG by itself.
    fn cancel_run(&mut self, key: RunKey, note: &str) {
        let reason = format!("its run was {note}");
        for place in self.unfinished_tasks(key) {
            let at_work =
                matches!(self.core(place).state, TaskState::Queued | TaskState::Running | TaskState::Restarting);
            self.set_final(place, if at_work { Mark::Failed } else { Mark::Skipped }, &reason);
            self.write_extra(place, |extra| extra.reason = Some(reason.clone()));
        }
        self.draft.touch_run(&self.runs[&key].row);
        let row = &mut self.known_run_mut(key).row;
        row.note = row.note.take().or_else(|| Some(note.to_owned()));
        self.end_run(key, DagRunEvent::MarkedFailed);
        self.owe_for_run(key, RunReason::Cancelled);
    }
}
