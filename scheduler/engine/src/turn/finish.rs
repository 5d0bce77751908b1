//! The end of a turn: the difference between memory and store becomes the plan.

use std::collections::{BTreeMap, BTreeSet};

use model::{MapIndex, RunKey, TaskState, TiKey, XComValue};

use crate::{
    DagChange, Engine, Plan, RunChange, TiChange,
    memory::{
        draft::{Before, Draft},
        instance::Core,
    },
};

impl Engine {
    pub(super) fn finish(&mut self) -> Plan {
        self.facts.forget_answers();
        let mut draft = std::mem::take(&mut self.draft);
        let mut plan = std::mem::take(&mut draft.plan);
        keep_last(&mut plan.xcoms);
        self.plan_runs(&draft, &mut plan);
        for (key, before) in std::mem::take(&mut draft.instances) {
            self.plan_instance(key, &before, &mut draft.instances_dropped, &mut plan);
        }
        plan.instances_dropped.extend(draft.instances_dropped.keys().copied());
        plan.dags.extend(draft.dags.iter().filter_map(|dag| self.dags.get(dag)).map(|dag| DagChange {
            dag_id: dag.row.dag_id.clone(),
            is_paused: dag.row.is_paused,
            is_stale: dag.row.is_stale,
            next: dag.row.next,
            last_interval: dag.row.last_interval,
            failed_in_a_row: dag.row.failed_in_a_row,
            is_draining: dag.row.is_draining,
            passed_over: dag.row.passed_over,
        }));
        let active = draft.backfills.values().filter_map(|dag| self.dags.get(dag)?.backfill.as_ref());
        plan.backfills.extend(active.map(|backfill| backfill.row.clone()));
        let started = draft.pools_started.iter().filter(|name| self.pools.has(name));
        plan.pool_starts.extend(started.map(|name| (name.clone(), self.pools.starts(name))));
        self.plan_assets(&mut plan, &draft.queued_assets);
        self.forget_finished(&draft);
        self.forget_versions();
        plan
    }

    fn plan_runs(&mut self, draft: &Draft, plan: &mut Plan) {
        for key in &draft.runs {
            let run = self.known_run_mut(*key);
            match run.stored {
                None => plan.new_runs.push(run.row.clone()),
                Some(expected) if draft.run_rows.get(key) != Some(&run.row) => {
                    plan.runs.push(RunChange { expected, row: run.row.clone() });
                }
                Some(_) => continue,
            }
            run.stored = Some(run.row.state);
            plan.changed_runs.insert(*key, run.row.dag_id.clone());
        }
    }

    fn plan_instance(
        &mut self,
        key: TiKey,
        before: &Before,
        dropped: &mut BTreeMap<TiKey, TaskState>,
        plan: &mut Plan,
    ) {
        // A task that has left the run's version without ever having had a row leaves nothing behind.
        let run = self.known_run_mut(key.run);
        let dag_id = (!plan.changed_runs.contains_key(&key.run)).then(|| run.row.dag_id.clone());
        let Some(instance) = run.with_row_mut(key.task, key.map) else { return };
        let state = instance.state_to_store();
        let was = Core { state: before.stored.unwrap_or(TaskState::NoStatus), ..before.core };
        let is = Core { state, ..instance.core };
        let extra_changed = instance.extra != before.extra;
        plan.changed_runs.extend(dag_id.map(|dag_id| (key.run, dag_id)));
        // The rows of an expanded task are how many instances it has.
        let is_new = before.stored.is_none() && key.map != MapIndex::UNMAPPED;
        if was == is && !extra_changed && !is_new {
            return;
        }
        let row = instance.row(key);
        // A row that was to go in this turn stays, when another instance takes its place.
        match before.stored.or_else(|| dropped.remove(&key)) {
            Some(expected) => plan.instances.push(TiChange { expected, row }),
            None => plan.new_instances.push(row),
        }
        if extra_changed {
            plan.extras.push((key, instance.extra()));
        }
        instance.stored = Some(state);
    }

    /// Runs that have ended, and of which nothing lives any more, leave memory.
    fn forget_finished(&mut self, draft: &Draft) {
        let touched: BTreeSet<RunKey> = draft.runs.union(&draft.visitors).copied().collect();
        for key in touched {
            if self.run(key).is_some_and(|run| run.row.state.is_finished() && run.live == 0) {
                self.let_go(key);
            }
        }
    }
}

/// Of XComs that were left under one key in one turn the last one counts: a row is written once.
fn keep_last(xcoms: &mut Vec<(TiKey, XComValue)>) {
    let mut seen = BTreeSet::new();
    xcoms.reverse();
    xcoms.retain(|(instance, xcom)| seen.insert((*instance, xcom.key.clone())));
    xcoms.reverse();
}
