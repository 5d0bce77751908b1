//! A store in memory: it applies plans as PostgreSQL would, and refuses what it would refuse.

use std::collections::BTreeMap;

use engine::{
    BackfillRow, BackfillRunRow, DagVersion, Fact, Need, Plan, PreviousCounts, ResponseRow, RunRow, Snapshot,
    StoredDag, StoredRun, TiRow, WorkerJoined,
};
use model::{BackfillId, DagId, Pool, RunId, RunKey, RunType, TaskState, TiKey, Timestamp, command::AnswerStatus};

use crate::{asset_tables::AssetTables, told::Told};

#[derive(Debug, Default, Clone)]
pub struct Mirror {
    pub versions: Vec<DagVersion>,
    pub dags: BTreeMap<DagId, StoredDag>,
    pub pools: BTreeMap<String, Pool>,
    pub pool_starts: BTreeMap<String, Vec<Timestamp>>,
    pub runs: BTreeMap<RunKey, RunRow>,
    pub instances: BTreeMap<TiKey, TiRow>,
    pub workers: Vec<WorkerJoined>,
    pub backfills: BTreeMap<BackfillId, BackfillRow>,
    /// What came of each date, by backfill and place.
    pub seen: BTreeMap<(BackfillId, i32), BackfillRunRow>,
    pub tries: BTreeMap<(TiKey, i16), TaskState>,
    /// Questions by instance and try, with their answers.
    pub questions: BTreeMap<(TiKey, i16), Option<ResponseRow>>,
    pub assets: AssetTables,
    pub told: Told,
    pub audited: Vec<engine::AuditedRow>,
    pub answers: Vec<(AnswerStatus, serde_json::Value)>,
}

impl Mirror {
    /// Applies a plan; every expected state has to be there.
    pub fn apply(&mut self, plan: &Plan) {
        for row in &plan.new_runs {
            let same_date = |other: &RunRow| {
                other.dag_id == row.dag_id
                    && (other.run_id == row.run_id
                        || other.logical_date.is_some() && other.logical_date == row.logical_date)
            };
            assert!(!self.runs.values().any(same_date), "{} exists", row.run_id);
            assert!(self.runs.insert(row.key, row.clone()).is_none(), "the key of {} is taken", row.run_id);
        }
        for change in &plan.runs {
            let row = self.runs.get_mut(&change.row.key).expect("a changed run exists");
            assert_eq!(row.state, change.expected, "{}", row.run_id);
            *row = change.row.clone();
        }
        for key in &plan.instances_dropped {
            assert!(self.instances.remove(key).is_some(), "{key:?} was there");
        }
        for row in &plan.new_instances {
            assert_ne!(row.state, TaskState::Scheduled);
            assert!(self.runs.contains_key(&row.key.run));
            assert!(self.instances.insert(row.key, row.clone()).is_none(), "{:?} exists", row.key);
        }
        for change in &plan.instances {
            let row = self.instances.get_mut(&change.row.key).expect("a changed instance exists");
            assert_eq!(row.state, change.expected, "{:?}", row.key);
            assert_ne!(change.row.state, TaskState::Scheduled);
            *row = change.row.clone();
        }
        for (key, extra) in &plan.extras {
            assert_eq!(self.instances[key].extra, *extra, "side rows say what the instance says");
        }
        for row in &plan.tries {
            let before = self.tries.insert((row.key, row.try_number.get()), row.state);
            assert!(before.is_none(), "try {} of {:?} is history already", row.try_number, row.key);
        }
        for row in &plan.asked {
            self.questions.insert((row.key, row.try_number.get()), row.response.clone());
        }
        for row in &plan.responses {
            let question = self.questions.get_mut(&(row.key, row.try_number.get()));
            let question = question.expect("only what was asked is answered");
            assert_eq!(*question, None, "a question is answered once");
            *question = Some(row.clone());
        }
        self.apply_rest(plan);
    }

    fn apply_rest(&mut self, plan: &Plan) {
        for change in &plan.dags {
            let current = self.dags.get(&change.dag_id).map(|dag| dag.current);
            let newest = self.versions.iter().filter(|v| v.dag.dag_id == change.dag_id).map(|v| v.id).max();
            self.dags.insert(change.dag_id.clone(), StoredDag::after(change, newest.or(current).unwrap()));
        }
        for row in &plan.backfills {
            let other = |known: &&BackfillRow| known.dag_id == row.dag_id && known.id != row.id;
            let active = self.backfills.values().filter(other).find(|known| known.completed_at.is_none());
            assert!(row.completed_at.is_some() || active.is_none(), "a DAG has one backfill at a time");
            self.backfills.insert(row.id, row.clone());
        }
        for row in &plan.backfill_runs {
            let before = self.seen.insert((row.backfill, row.ordinal), row.clone());
            assert!(before.is_none(), "a date of a backfill is looked at once");
        }
        for pool in &plan.pools {
            self.pools.insert(pool.name.clone(), pool.clone());
            if pool.rate_limit.is_none() {
                self.pool_starts.remove(&pool.name);
            }
        }
        for (pool, starts) in &plan.pool_starts {
            self.pool_starts.insert(pool.clone(), starts.clone());
        }
        for dag in &plan.dags_dropped {
            self.runs.retain(|_, run| run.dag_id != *dag);
            self.backfills.retain(|_, backfill| backfill.dag_id != *dag);
            self.seen.retain(|(id, _), _| self.backfills.contains_key(id));
            if self.dags.get(dag).is_some_and(|dag| dag.is_stale) {
                self.dags.remove(dag);
                self.versions.retain(|version| version.dag.dag_id != *dag);
            }
        }
        self.tries.retain(|(key, _), _| !plan.forgotten.contains(key));
        self.questions.retain(|(key, _), _| !plan.forgotten.contains(key));
        self.runs.retain(|key, _| !plan.runs_dropped.contains(key));
        self.instances.retain(|key, _| self.runs.contains_key(&key.run));
        for name in &plan.pools_dropped {
            self.pools.remove(name);
            self.pool_starts.remove(name);
        }
        self.audited.extend(plan.audited.iter().cloned());
        self.assets.apply(plan);
        self.told.apply(plan);
        self.told.check(plan, &self.versions, &self.runs);
        self.told.keep(&self.runs, plan);
        self.answers.extend(plan.answers.iter().map(|(_, answer)| (answer.status, answer.body.clone())));
    }

    /// What a new leader loads.
    pub fn snapshot(&self) -> Snapshot {
        let unfinished = self
            .runs
            .values()
            .filter(|run| !run.state.is_finished() || self.instances_of(run.key).iter().any(|instance| instance.live));
        Snapshot {
            versions: self.versions.clone(),
            dags: self.dags.values().cloned().collect(),
            pools: self.pools.values().cloned().collect(),
            pool_starts: self.pool_starts.clone().into_iter().collect(),
            runs: unfinished.map(|run| self.stored(run)).collect(),
            workers: self.workers.clone(),
            backfills: self.backfills.values().filter(|row| row.completed_at.is_none()).cloned().collect(),
            asset_queue: self.assets.queue.values().cloned().collect(),
            last_asset_event: self.assets.events.last().map_or(0, |event| event.id),
            deadlines: self.told.deadlines.values().cloned().collect(),
        }
    }

    /// Answers a question.
    pub fn fact(&self, need: Need) -> Fact {
        match &need {
            Need::Run { dag, run } => {
                let found = self.runs.values().find(|row| row.dag_id == *dag && row.run_id == *run);
                Fact::Run { run: found.map(|row| Box::new(self.stored(row))), need }
            }
            Need::NewestRuns { dag, most } => {
                let of_dag = self.runs.values().filter(|row| row.dag_id == *dag);
                let mut runs: Vec<_> = of_dag.map(|row| (row.run_after, row.key, row.state)).collect();
                runs.sort_by(|one, other| other.cmp(one));
                runs.truncate(*most as usize);
                Fact::NewestRuns { need, runs }
            }
            Need::PreviousRun { dag, before, counts } => {
                let counted = |row: &&RunRow| {
                    row.dag_id == *dag
                        && row.logical_date.is_some_and(|date| date < *before)
                        && (*counts == PreviousCounts::EveryRun || row.run_type != RunType::Manual)
                };
                let found = self.runs.values().filter(counted).max_by_key(|row| row.logical_date);
                Fact::Run { run: found.map(|row| Box::new(self.stored(row))), need }
            }
            Need::RunExists { dag, run, logical_date } => {
                let same = |row: &&RunRow| {
                    row.dag_id == *dag
                        && (row.run_id == *run || logical_date.is_some() && row.logical_date == *logical_date)
                };
                let found = self.runs.values().find(same);
                Fact::Exists { existing: found.map(|row| (row.key, row.run_id.clone(), row.state)), need }
            }
            Need::AverageRuntime { dag, most } => {
                let took =
                    |run: &&RunRow| (run.dag_id == *dag).then(|| Some(run.ended_at? - run.started_at?)).flatten();
                let ended = self.runs.values().filter(|run| run.state == model::DagRunState::Success);
                let mut ended: Vec<_> = ended.filter_map(|run| Some((run.ended_at?, took(&run)?))).collect();
                ended.sort_by(|one, other| other.cmp(one));
                let runtimes = ended.into_iter().map(|(_, took)| took).take(*most as usize).collect();
                Fact::Runtimes { need, runtimes }
            }
            Need::Version(id) => {
                let version = self.versions.iter().find(|version| version.id == *id).cloned().map(Box::new);
                Fact::Version { need, version }
            }
        }
    }

    pub fn instances_of(&self, run: RunKey) -> Vec<TiRow> {
        self.instances.values().filter(|row| row.key.run == run).cloned().collect()
    }

    pub fn run(&self, run: &str) -> &RunRow {
        let run = RunId::new(run).unwrap();
        self.runs.values().find(|row| row.run_id == run).expect("the run is stored")
    }

    fn stored(&self, row: &RunRow) -> StoredRun {
        StoredRun { run: row.clone(), instances: self.instances_of(row.key) }
    }
}
