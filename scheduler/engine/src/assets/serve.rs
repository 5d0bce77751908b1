//! Runs of DAGs whose condition holds.

use std::{collections::BTreeSet, sync::Arc};

use model::{DagId, RunId, RunKey, RunType, Timestamp, TriggeredBy};

use super::{ConsumedAssetRow, Entry, QueuedAssetRow};
use crate::{Engine, RunRow, memory::definition::Definition, needs::run_id_at, turn::active_runs_max};

/// The letters of the end of a run's id, as in Airflow.
const LETTERS: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

/// How many of them.
const LETTERS_COUNT: u32 = 8;

/// Whether a DAG's run by assets could be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AssetRun {
    /// It is made, or there is none to make.
    Settled,
    /// It lacks a run key, or room in this turn.
    NotYet,
}

impl Engine {
    /// Makes the runs of all DAGs whose condition holds and that may have one: once an event has reached its fixpoint.
    pub(crate) fn serve_assets(&mut self) {
        if self.assets.ripe.is_empty() {
            return;
        }
        let ripe: Vec<DagId> = self.assets.ripe.iter().filter(|dag| self.unserved.contains(*dag)).cloned().collect();
        for dag in ripe {
            self.make_asset_run(&dag);
        }
    }

    /// Makes the run that a DAG's assets ask for, when its limit allows it.
    pub(crate) fn make_asset_run(&mut self, dag_id: &DagId) -> AssetRun {
        let Some(def) = self.asset_run_to_make(dag_id) else { return AssetRun::Settled };
        if self.draft.is_full() {
            self.leave_rest();
            return AssetRun::NotYet;
        }
        let Some(key) = self.draft.run_key() else { return AssetRun::NotYet };
        let run_after = self.take_queue(dag_id, key);
        let row = RunRow {
            run_type: RunType::AssetTriggered,
            triggered_by: TriggeredBy::Asset,
            run_after,
            ..self.blank_run(key, dag_id, self.asset_run_id(key, run_after), &def)
        };
        self.make_run(row, &def);
        AssetRun::Settled
    }

    /// The version that a DAG's run by assets is made with; none when there is none to make now.
    pub(crate) fn asset_run_to_make(&self, dag_id: &DagId) -> Option<Arc<Definition>> {
        let dag = self.dags.get(dag_id).filter(|_| self.assets.ripe.contains(dag_id))?;
        let def = self.serving(dag_id).filter(|_| !dag.newest.is_open())?;
        if !def.dag.allows(RunType::AssetTriggered) {
            return None;
        }
        (dag.unfinished_runs() < active_runs_max(&def)).then_some(def)
    }

    /// A run takes all that has changed along. When the last of it happened.
    fn take_queue(&mut self, dag_id: &DagId, run: RunKey) -> Timestamp {
        self.assets.ripe.remove(dag_id);
        let changed = std::mem::take(&mut self.dag_mut(dag_id).assets.changed);
        let newest = changed.values().map(|changes| changes.newest_at).max().unwrap_or(self.now);
        for (asset, changes) in changed {
            self.draft.queued_assets.insert((dag_id.clone(), asset.clone()));
            self.draft.plan.assets_consumed.push(ConsumedAssetRow {
                run,
                dag_id: dag_id.clone(),
                asset,
                first_event: changes.first_event,
                last_event: changes.last_event,
            });
        }
        newest
    }

    /// The id of a run by assets: two in one instant are told apart by letters made of the run's number, which nobody else has.
    fn asset_run_id(&self, key: RunKey, at: Timestamp) -> RunId {
        let mut rest = key.get().unsigned_abs().wrapping_mul(0x9e37_79b9_7f4a_7c15) % 62_u64.pow(LETTERS_COUNT);
        let letters = (0..LETTERS_COUNT).map(|_| {
            let letter = LETTERS[usize::try_from(rest % 62).unwrap_or(0)];
            rest /= 62;
            char::from(letter)
        });
        let begin = run_id_at(RunType::AssetTriggered, at);
        RunId::new(format!("{begin}_{}", letters.collect::<String>())).expect("a date and letters are a valid run id")
    }

    /// A DAG's current version waits for what it names from now on; what has changed and is not named any more is forgotten.
    pub(crate) fn follow_assets(&mut self, dag_id: &DagId) {
        let Some(dag) = self.dags.get_mut(dag_id) else { return };
        let def = self.versions.get(&dag.row.current).map(Arc::clone);
        let condition = def.as_ref().and_then(|def| def.dag.assets.as_ref());
        // One that can not be read may name what has changed.
        let forgotten = if def.is_some() { dag.assets.keep_only(condition) } else { Vec::new() };
        self.assets.follow(dag_id, &mut dag.assets, condition);
        self.draft.queued_assets.extend(forgotten.into_iter().map(|asset| (dag_id.clone(), asset)));
    }

    /// A DAG that is loaded waits for what its current version names.
    pub(crate) fn index_assets(&mut self, dag_id: &DagId) {
        let Some(dag) = self.dags.get_mut(dag_id) else { return };
        let condition = self.versions.get(&dag.row.current).and_then(|def| def.dag.assets.as_ref());
        self.assets.follow(dag_id, &mut dag.assets, condition);
    }

    /// A DAG is gone, or begins anew: it waits for nothing that has happened.
    pub(crate) fn forget_assets(&mut self, dag_id: &DagId) {
        self.assets.ripe.remove(dag_id);
        if let Some(dag) = self.dags.get_mut(dag_id) {
            dag.assets.changed.clear();
            if dag.row.is_stale {
                self.assets.follow(dag_id, &mut dag.assets, None);
            }
        }
    }

    /// What the plan stores of queues: the entries that were touched, as they are now, or their end.
    pub(crate) fn plan_assets(&self, plan: &mut crate::Plan, touched: &BTreeSet<Entry>) {
        for (dag_id, asset) in touched {
            let changes = self.dags.get(dag_id).and_then(|dag| dag.assets.changed.get(asset));
            match changes.cloned() {
                Some(changes) => {
                    plan.asset_queue.push(QueuedAssetRow { dag_id: dag_id.clone(), asset: asset.clone(), changes });
                }
                None => plan.asset_queue_dropped.push((dag_id.clone(), asset.clone())),
            }
        }
    }
}
