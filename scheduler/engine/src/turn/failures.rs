//! DAGs that are paused when their newest runs have all failed (`max_consecutive_failed_dag_runs`).
//!
//! What counts are runs, by their newest, and not how often one of them has ended: a run that fails, is cleared and fails
//! again is one. The newest runs are asked of the store once, and followed in memory from then on. While they are not known
//! the DAG makes and starts no run: it may be paused already.

use model::{DagId, RunKey, Timestamp};

use crate::{Engine, Need, memory::dags::NEWEST_MAX};

impl Engine {
    /// Follows the newest runs of a DAG by its current version, when it may be paused for them.
    pub(crate) fn watch_failures(&mut self, dag_id: &DagId) {
        let Some(dag) = self.dags.get_mut(dag_id) else { return };
        let def = self.versions.get(&dag.row.current);
        let most = def.map_or(0, |def| def.dag.max_consecutive_failed_dag_runs.min(NEWEST_MAX));
        if dag.newest.watch(most) {
            self.facts.want(Need::NewestRuns { dag: dag_id.clone(), most });
        }
    }

    /// Takes what was learnt of newest runs.
    pub(super) fn use_newest_runs(&mut self) {
        for (need, runs) in self.facts.take_newest() {
            let Need::NewestRuns { dag, most } = need else { continue };
            let Some(state) = self.dags.get_mut(&dag).filter(|state| state.newest.most() == most) else { continue };
            let is_late = state.newest.learn(&runs);
            self.failures_changed(&dag);
            if is_late {
                self.pause_if_all_failed(&dag);
            }
            self.unserved.insert(dag);
        }
    }

    /// A run has begun, or has another state.
    pub(crate) fn follow_newest(&mut self, key: RunKey) {
        let row = &self.known_run(key).row;
        let (dag_id, at, state) = (row.dag_id.clone(), row.run_after, row.state);
        self.dag_mut(&dag_id).newest.follow((at, key), state);
        self.failures_changed(&dag_id);
    }

    /// A run is gone: what is behind the known ones may count now.
    pub(super) fn forget_newest(&mut self, dag_id: &DagId, (at, key): (Timestamp, RunKey)) {
        let newest = &mut self.dag_mut(dag_id).newest;
        let most = newest.most();
        if newest.forget((at, key)) {
            self.facts.want(Need::NewestRuns { dag: dag_id.clone(), most });
        }
        self.failures_changed(dag_id);
    }

    /// A run has failed by itself.
    pub(super) fn run_has_failed(&mut self, dag_id: &DagId) {
        if self.dag_mut(dag_id).newest.look_when_known() {
            return;
        }
        self.pause_if_all_failed(dag_id);
    }

    fn pause_if_all_failed(&mut self, dag_id: &DagId) {
        let dag = self.dag_mut(dag_id);
        if dag.newest.have_all_failed() && !dag.row.is_paused {
            dag.row.is_paused = true;
            self.draft.dags.insert(dag_id.clone());
            self.hold_back(dag_id);
        }
    }

    fn failures_changed(&mut self, dag_id: &DagId) {
        let dag = self.dag_mut(dag_id);
        let failed = dag.newest.failed_in_a_row();
        if dag.row.failed_in_a_row != failed {
            dag.row.failed_in_a_row = failed;
            self.draft.dags.insert(dag_id.clone());
        }
    }

    /// A DAG is paused from now on: nothing of it waits for a slot any more.
    pub(super) fn hold_back(&mut self, dag_id: &DagId) {
        for run in self.dag_mut(dag_id).all_running().collect::<Vec<_>>() {
            self.withdraw_all(run);
        }
    }
}
