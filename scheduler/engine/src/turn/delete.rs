//! Deletion of history: what goes is neither at work nor changed in the same turn.

use model::{DagId, DagRunState, RunId, RunKey};
use serde_json::{Value, json};

use super::{command::Refusal, schedule::next_due};
use crate::{Engine, memory::run::Previous};

impl Engine {
    /// Removes a run with everything that belongs to it.
    pub(super) fn delete_run(&mut self, dag_id: &DagId, run_id: &RunId) -> Result<Value, Refusal> {
        let key = self.find_run(dag_id, run_id).ok_or_else(|| Refusal::no_run(dag_id, run_id))?;
        let run = self.known_run(key);
        if run.row.state == DagRunState::Running {
            return Err(Refusal::Conflict(format!(
                "The DagRun with dag_id: `{dag_id}` and run_id: `{run_id}` cannot be deleted in {} state",
                run.row.state
            )));
        }
        self.check_idle(key)?;
        self.drop_run(key);
        self.draft.plan.runs_dropped.push(key);
        Ok(json!({}))
    }

    /// Removes a DAG's runs, and the DAG itself when no file defines it; else it begins anew.
    pub(super) fn delete_dag(&mut self, dag_id: &DagId) -> Result<Value, Refusal> {
        let dag = self.dags.get(dag_id).ok_or_else(|| Refusal::no_dag(dag_id))?;
        if dag.all_running().next().is_some() {
            return Err(Refusal::Conflict(format!("Task instances of dag with id: '{dag_id}' are still running")));
        }
        let keys: Vec<RunKey> = dag.runs.values().copied().collect();
        for key in &keys {
            self.check_idle(*key)?;
        }
        let mut changing = self.draft.backfills.values().chain(self.draft.plan.backfills.iter().map(|row| &row.dag_id));
        let backfill_changes = changing.any(|dag| dag == dag_id);
        let queue_changes = self.draft.queued_assets.iter().any(|(dag, _)| dag == dag_id);
        if self.draft.dags.contains(dag_id) || backfill_changes || queue_changes {
            return Err(changes_now(&format!("the DAG {dag_id}")));
        }
        for key in keys {
            self.drop_run(key);
        }
        self.dag_mut(dag_id).backfill = None;
        self.forget_assets(dag_id);
        self.deadlines.forget_dag(dag_id);
        if self.dag_mut(dag_id).row.is_stale {
            let gone = self.dags.remove(dag_id);
            self.unserved.remove(dag_id);
            if let Some(gone) = gone {
                self.doubtful.insert(gone.row.current);
            }
        } else {
            self.restart_schedule(dag_id);
        }
        self.draft.plan.dags_dropped.push(dag_id.clone());
        Ok(json!({}))
    }

    /// The schedule of a DAG starts as if the DAG were new.
    fn restart_schedule(&mut self, dag_id: &DagId) {
        let now = self.now;
        let current = self.dag_mut(dag_id).row.current;
        let def = self.versions.get(&current).cloned();
        let row = &mut self.dag_mut(dag_id).row;
        row.last_interval = None;
        row.next = def.and_then(|def| next_due(&def, None, now));
        // None of its runs is left.
        let newest = &mut self.dag_mut(dag_id).newest;
        newest.learn(&[]);
        let failed = newest.failed_in_a_row();
        self.dag_mut(dag_id).row.failed_in_a_row = failed;
        self.draft.dags.insert(dag_id.clone());
        self.unserved.insert(dag_id.clone());
    }

    /// Nothing of the run is at work, and nothing of it changes in this turn: a row is deleted or written, not both.
    fn check_idle(&self, key: RunKey) -> Result<(), Refusal> {
        let run = self.known_run(key);
        if run.live > 0 {
            return Err(Refusal::Conflict(format!(
                "an attempt of run {} has not ended yet; try again when it has",
                run.row.run_id
            )));
        }
        if self.draft.runs.contains(&key) {
            return Err(changes_now(&format!("the run {}", run.row.run_id)));
        }
        Ok(())
    }

    /// Takes a run out of memory, and what this turn would have stored of its instances.
    fn drop_run(&mut self, key: RunKey) {
        let run = self.runs.get(&key).expect("only runs in memory are dropped");
        let (dag_id, run_after) = (run.row.dag_id.clone(), run.row.run_after);
        self.dags.get_mut(&dag_id).expect("every run's DAG is known").leave(run);
        self.forget_newest(&dag_id, (run_after, key));
        self.withdraw_all(key);
        self.let_go(key);
        drop(self.deadlines.take_of(key));
        // Those whose previous run it was have another one before them.
        for follower in self.followers.remove(&key).unwrap_or_default() {
            self.known_run_mut(follower).previous = Previous::Unknown;
            self.ask_previous(follower);
        }
        self.draft.visitors.remove(&key);
        self.draft.instances.retain(|instance, _| instance.run != key);
        // Another run may start in its place.
        self.unserved.insert(dag_id);
    }
}

fn changes_now(what: &str) -> Refusal {
    Refusal::Conflict(format!("{what} is changing at this very moment; try again"))
}
