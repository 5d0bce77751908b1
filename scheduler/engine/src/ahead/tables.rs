//! The rows that decide, in memory.

use std::collections::{BTreeMap, BTreeSet};

use chrono::TimeDelta;
use model::{
    AssetKey, BackfillId, DagId, DagRunState, DagVersionId, Pool, RunId, RunKey, RunType, TaskIdx, TiKey, Timestamp,
    WorkerId,
};
use uuid::Uuid;

use crate::{
    BackfillRow, DagVersion, DeadlineRow, Event, Fact, Need, Plan, PreviousCounts, QueuedAssetRow, RunRow, Snapshot,
    StoredDag, StoredRun, TiRow, WorkerJoined,
};

/// The tables of a store, as far as they decide something.
///
/// What always holds: after [`Tables::apply`] of every plan since they were made, [`Tables::snapshot`] is what a leader would load
/// from a store that has taken the same plans.
#[derive(Debug, Clone, Default)]
pub struct Tables {
    versions: BTreeMap<DagVersionId, DagVersion>,
    /// The version that each DAG goes on with.
    current: BTreeMap<DagId, DagVersionId>,
    dags: BTreeMap<DagId, StoredDag>,
    pools: BTreeMap<String, Pool>,
    pool_starts: BTreeMap<String, Vec<Timestamp>>,
    runs: BTreeMap<RunKey, RunRow>,
    of_dag: BTreeMap<DagId, OfDag>,
    instances: BTreeMap<TiKey, TiRow>,
    workers: BTreeMap<WorkerId, WorkerJoined>,
    backfills: BTreeMap<BackfillId, BackfillRow>,
    asset_queue: BTreeMap<(DagId, AssetKey), QueuedAssetRow>,
    last_asset_event: i64,
    deadlines: BTreeMap<Uuid, DeadlineRow>,
}

/// The runs of a DAG, by what they are looked for.
#[derive(Debug, Clone, Default)]
struct OfDag {
    by_id: BTreeMap<RunId, RunKey>,
    by_date: BTreeMap<Timestamp, RunKey>,
    by_due: BTreeSet<(Timestamp, RunKey)>,
}

impl Tables {
    /// The rows that a leader loads, and runs that have ended and may be asked for.
    #[must_use]
    pub fn of(snapshot: Snapshot, past: Vec<StoredRun>) -> Self {
        let mut tables = Self {
            current: snapshot.dags.iter().map(|dag| (dag.dag_id.clone(), dag.current)).collect(),
            versions: snapshot.versions.into_iter().map(|version| (version.id, version)).collect(),
            dags: snapshot.dags.into_iter().map(|dag| (dag.dag_id.clone(), dag)).collect(),
            pools: snapshot.pools.into_iter().map(|pool| (pool.name.clone(), pool)).collect(),
            pool_starts: snapshot.pool_starts.into_iter().collect(),
            workers: snapshot.workers.into_iter().map(|worker| (worker.worker, worker)).collect(),
            backfills: snapshot.backfills.into_iter().map(|backfill| (backfill.id, backfill)).collect(),
            asset_queue: snapshot
                .asset_queue
                .into_iter()
                .map(|row| ((row.dag_id.clone(), row.asset.clone()), row))
                .collect(),
            last_asset_event: snapshot.last_asset_event,
            deadlines: snapshot.deadlines.into_iter().map(|row| (row.id, row)).collect(),
            ..Self::default()
        };
        snapshot.runs.into_iter().chain(past).for_each(|run| tables.learn(run));
        tables
    }

    /// Takes a run that the store has; one that is known already stays as it is.
    pub fn learn(&mut self, run: StoredRun) {
        if !self.runs.contains_key(&run.run.key) {
            self.instances.extend(run.instances.into_iter().map(|row| (row.key, row)));
            self.insert(run.run);
        }
    }

    /// Takes what a turn was told, as far as the store knows it before the turn: versions and workers.
    pub fn hear(&mut self, event: &Event) {
        match event {
            Event::DagVersionStored { version } => {
                let dag = version.dag.dag_id.clone();
                if let Some(row) = self.dags.get_mut(&dag) {
                    row.current = version.id;
                }
                self.current.insert(dag, version.id);
                self.versions.insert(version.id, version.clone());
            }
            Event::WorkerJoined(joined) => {
                self.workers.insert(joined.worker, joined.clone());
            }
            Event::WorkerLost(worker) => {
                self.workers.remove(worker);
            }
            Event::Command { .. }
            | Event::AttemptStarted { .. }
            | Event::AttemptDeferred { .. }
            | Event::AttemptEnded { .. }
            | Event::WorkerSilent(_)
            | Event::WorkerLeaving(_)
            | Event::DagGone(_)
            | Event::Continue => {}
        }
    }

    /// Applies a plan.
    pub fn apply(&mut self, plan: &Plan) {
        plan.new_runs.iter().for_each(|row| self.insert(row.clone()));
        plan.runs.iter().for_each(|change| self.insert(change.row.clone()));
        for key in &plan.instances_dropped {
            self.instances.remove(key);
        }
        let changed = plan.instances.iter().map(|change| &change.row);
        self.instances.extend(plan.new_instances.iter().chain(changed).map(|row| (row.key, row.clone())));
        for change in &plan.dags {
            let Some(current) = self.current.get(&change.dag_id).copied() else { continue };
            let row = StoredDag::after(change, current);
            self.dags.insert(change.dag_id.clone(), row);
        }
        self.backfills.extend(plan.backfills.iter().map(|row| (row.id, row.clone())));
        for pool in &plan.pools {
            self.pools.insert(pool.name.clone(), pool.clone());
            if pool.rate_limit.is_none() {
                self.pool_starts.remove(&pool.name);
            }
        }
        self.pool_starts.extend(plan.pool_starts.iter().cloned());
        for name in &plan.pools_dropped {
            self.pools.remove(name);
            self.pool_starts.remove(name);
        }
        self.apply_assets(plan);
        self.apply_deadlines(plan);
        for key in &plan.runs_dropped {
            self.remove(*key);
        }
        plan.dags_dropped.iter().for_each(|dag| self.drop_dag(dag));
    }

    fn apply_assets(&mut self, plan: &Plan) {
        let newest = plan.asset_events.iter().map(|event| event.id).max();
        self.last_asset_event = newest.unwrap_or(self.last_asset_event).max(self.last_asset_event);
        for entry in &plan.asset_queue_dropped {
            self.asset_queue.remove(entry);
        }
        let queued = plan.asset_queue.iter().map(|row| ((row.dag_id.clone(), row.asset.clone()), row.clone()));
        self.asset_queue.extend(queued);
    }

    fn apply_deadlines(&mut self, plan: &Plan) {
        self.deadlines.extend(plan.deadlines.iter().map(|row| (row.id, row.clone())));
        for missed in &plan.deadlines_missed {
            if let Some(row) = self.deadlines.get_mut(missed) {
                row.is_missed = true;
            }
        }
        for met in &plan.deadlines_dropped {
            self.deadlines.remove(met);
        }
    }

    fn drop_dag(&mut self, dag: &DagId) {
        let runs = self.of_dag.get(dag).map(|of| of.by_id.values().copied().collect::<Vec<_>>()).unwrap_or_default();
        runs.into_iter().for_each(|key| self.remove(key));
        self.backfills.retain(|_, row| row.dag_id != *dag);
        self.asset_queue.retain(|(of, _), _| of != dag);
        if self.dags.get(dag).is_some_and(|row| row.is_stale) {
            self.dags.remove(dag);
            self.current.remove(dag);
        }
    }

    fn insert(&mut self, row: RunRow) {
        if let Some(before) = self.runs.get(&row.key) {
            let old = (before.logical_date, before.run_after);
            let of = self.of_dag.entry(row.dag_id.clone()).or_default();
            if let Some(date) = old.0 {
                of.by_date.remove(&date);
            }
            of.by_due.remove(&(old.1, row.key));
        }
        let of = self.of_dag.entry(row.dag_id.clone()).or_default();
        of.by_id.insert(row.run_id.clone(), row.key);
        of.by_due.insert((row.run_after, row.key));
        if let Some(date) = row.logical_date {
            of.by_date.insert(date, row.key);
        }
        self.runs.insert(row.key, row);
    }

    fn remove(&mut self, key: RunKey) {
        let Some(row) = self.runs.remove(&key) else { return };
        if let Some(of) = self.of_dag.get_mut(&row.dag_id) {
            of.by_id.remove(&row.run_id);
            of.by_due.remove(&(row.run_after, key));
            if let Some(date) = row.logical_date.filter(|date| of.by_date.get(date) == Some(&key)) {
                of.by_date.remove(&date);
            }
        }
        let gone: Vec<TiKey> = self.instances_of(key).map(|row| row.key).collect();
        gone.iter().for_each(|key| {
            self.instances.remove(key);
        });
        self.deadlines.retain(|_, deadline| deadline.run != key);
    }

    /// The instances of a run that have rows.
    pub fn instances_of(&self, run: RunKey) -> impl Iterator<Item = &TiRow> {
        let first = TiKey { run, task: TaskIdx(i32::MIN), map: model::MapIndex(i32::MIN) };
        self.instances.range(first..).map(|(_, row)| row).take_while(move |row| row.key.run == run)
    }

    /// The instances of a task in a run that have rows.
    pub fn instances_of_task(&self, run: RunKey, task: TaskIdx) -> impl Iterator<Item = &TiRow> {
        let first = TiKey { run, task, map: model::MapIndex(i32::MIN) };
        let last = TiKey { run, task, map: model::MapIndex(i32::MAX) };
        self.instances.range(first..=last).map(|(_, row)| row)
    }

    /// A run.
    #[must_use]
    pub fn run(&self, key: RunKey) -> Option<&RunRow> {
        self.runs.get(&key)
    }

    /// Every run, the oldest first.
    pub fn runs(&self) -> impl Iterator<Item = &RunRow> {
        self.runs.values()
    }

    /// An instance.
    #[must_use]
    pub fn instance(&self, key: TiKey) -> Option<&TiRow> {
        self.instances.get(&key)
    }

    /// A DAG's row.
    #[must_use]
    pub fn dag(&self, dag: &DagId) -> Option<&StoredDag> {
        self.dags.get(dag)
    }

    /// Every DAG's row.
    pub fn dags(&self) -> impl Iterator<Item = &StoredDag> {
        self.dags.values()
    }

    /// A version.
    #[must_use]
    pub fn version(&self, id: DagVersionId) -> Option<&DagVersion> {
        self.versions.get(&id)
    }

    /// A deadline that is pending or missed.
    #[must_use]
    pub fn deadline(&self, id: Uuid) -> Option<&DeadlineRow> {
        self.deadlines.get(&id)
    }

    /// The workers that are known.
    pub fn workers(&self) -> impl Iterator<Item = &WorkerJoined> {
        self.workers.values()
    }

    /// The pools.
    pub fn pools(&self) -> impl Iterator<Item = &Pool> {
        self.pools.values()
    }

    /// The key that a new run may have.
    #[must_use]
    pub fn next_run_key(&self) -> i64 {
        self.runs.keys().next_back().map_or(1, |key| key.get().saturating_add(1))
    }

    /// What a leader would load.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let unfinished: Vec<StoredRun> = self.runs.values().filter_map(|run| self.unfinished(run)).collect();
        let is_needed: BTreeSet<DagVersionId> = (unfinished.iter().map(|stored| stored.run.version))
            .chain(self.dags.values().map(|dag| dag.current))
            .chain(self.deadlines.values().map(|row| row.version))
            .collect();
        let known: BTreeSet<RunKey> = unfinished.iter().map(|stored| stored.run.key).collect();
        Snapshot {
            versions: self.versions.values().filter(|version| is_needed.contains(&version.id)).cloned().collect(),
            dags: self.dags.values().cloned().collect(),
            pools: self.pools.values().cloned().collect(),
            pool_starts: self.pool_starts.iter().map(|(pool, starts)| (pool.clone(), starts.clone())).collect(),
            runs: unfinished,
            workers: self.workers.values().cloned().collect(),
            backfills: self.backfills.values().filter(|row| row.completed_at.is_none()).cloned().collect(),
            asset_queue: self.asset_queue.values().cloned().collect(),
            last_asset_event: self.last_asset_event,
            deadlines: self
                .deadlines
                .values()
                .filter(|row| !row.is_missed || known.contains(&row.run))
                .cloned()
                .collect(),
        }
    }

    fn unfinished(&self, run: &RunRow) -> Option<StoredRun> {
        let stays = !run.state.is_finished() || self.instances_of(run.key).any(|row| row.live);
        stays.then(|| self.stored(run))
    }

    fn stored(&self, run: &RunRow) -> StoredRun {
        StoredRun { run: run.clone(), instances: self.instances_of(run.key).cloned().collect() }
    }

    /// The ended runs that unfinished ones, or the next of a DAG, may ask for: all others can be forgotten.
    #[must_use]
    pub fn past(&self) -> Vec<StoredRun> {
        let keys: BTreeSet<RunKey> = self.of_dag.values().flat_map(|of| self.past_of(of)).collect();
        keys.into_iter().filter_map(|key| self.runs.get(&key)).map(|run| self.stored(run)).collect()
    }

    fn past_of(&self, of: &OfDag) -> Vec<RunKey> {
        let is_over = |key: &RunKey| self.runs[key].state.is_finished();
        let is_by_hand = |key: &RunKey| self.runs[key].run_type == RunType::Manual;
        let mut kept = Vec::new();
        // The last of either kind before the run that is looked at, from the oldest on.
        let (mut any, mut made) = (None, None);
        for key in of.by_date.values() {
            if !is_over(key) {
                kept.extend(any.into_iter().chain(made));
            }
            any = Some(*key);
            made = if is_by_hand(key) { made } else { Some(*key) };
        }
        kept.extend(any.into_iter().chain(made));
        kept.retain(is_over);
        kept
    }

    /// Forgets the ended runs that nothing may ask for any more.
    pub fn forget_past(&mut self) {
        let mut kept: BTreeSet<RunKey> = self.past().into_iter().map(|stored| stored.run.key).collect();
        kept.extend(self.runs.values().filter_map(|run| self.unfinished(run)).map(|stored| stored.run.key));
        let gone: Vec<RunKey> = self.runs.keys().filter(|key| !kept.contains(key)).copied().collect();
        gone.into_iter().for_each(|key| self.remove(key));
        self.backfills.retain(|_, row| row.completed_at.is_none());
    }

    /// Answers what the engine asks. `stored` is what the store has said to the same question: it knows ended runs that are not
    /// here, and runs that are here are newer than what it says of them.
    #[must_use]
    pub fn fact(&self, need: Need, stored: Option<&Fact>) -> Fact {
        match &need {
            Need::Run { dag, run } => {
                let here = self.of_dag.get(dag).and_then(|of| of.by_id.get(run)).and_then(|key| self.runs.get(key));
                Fact::Run { run: here.map(|row| Box::new(self.stored(row))).or_else(|| stored_run(stored)), need }
            }
            Need::PreviousRun { dag, before, counts } => {
                let here = self.previous(dag, *before, *counts).map(|row| Box::new(self.stored(row)));
                let there = stored_run(stored).filter(|run| !self.runs.contains_key(&run.run.key));
                Fact::Run { run: [here, there].into_iter().flatten().max_by_key(|run| run.run.logical_date), need }
            }
            Need::RunExists { dag, run, logical_date } => {
                let of = self.of_dag.get(dag);
                let by_id = of.and_then(|of| of.by_id.get(run));
                let by_date = || of.and_then(|of| of.by_date.get(logical_date.as_ref()?));
                let here = by_id.or_else(by_date).and_then(|key| self.runs.get(key));
                let there = match stored {
                    Some(Fact::Exists { existing, .. }) => existing.clone(),
                    _ => None,
                };
                Fact::Exists { existing: here.map(|row| (row.key, row.run_id.clone(), row.state)).or(there), need }
            }
            Need::NewestRuns { dag, most } => Fact::NewestRuns { runs: self.newest(dag, *most as usize, stored), need },
            Need::AverageRuntime { dag, most } => {
                Fact::Runtimes { runtimes: self.runtimes(dag, *most as usize, stored), need }
            }
            Need::Version(id) => {
                let there = match stored {
                    Some(Fact::Version { version, .. }) => version.clone(),
                    _ => None,
                };
                Fact::Version { version: self.versions.get(id).cloned().map(Box::new).or(there), need }
            }
        }
    }

    /// The latest run of a DAG before a date.
    pub(super) fn previous(&self, dag: &DagId, before: Timestamp, counts: PreviousCounts) -> Option<&RunRow> {
        let earlier = self.of_dag.get(dag)?.by_date.range(..before).rev().filter_map(|(_, key)| self.runs.get(key));
        let counted = |row: &&RunRow| counts == PreviousCounts::EveryRun || row.run_type != RunType::Manual;
        earlier.into_iter().find(counted)
    }

    fn newest(&self, dag: &DagId, most: usize, stored: Option<&Fact>) -> Vec<(Timestamp, RunKey, DagRunState)> {
        let here = self.of_dag.get(dag).into_iter().flat_map(|of| of.by_due.iter().rev().take(most));
        let here = here.map(|(due, key)| (*due, *key, self.runs[key].state));
        let there = match stored {
            Some(Fact::NewestRuns { runs, .. }) => runs.as_slice(),
            _ => &[],
        };
        let unknown = there.iter().filter(|(_, key, _)| !self.runs.contains_key(key)).copied();
        let mut runs: Vec<_> = here.chain(unknown).collect();
        runs.sort_by(|one, other| other.cmp(one));
        runs.truncate(most);
        runs
    }

    fn runtimes(&self, dag: &DagId, most: usize, stored: Option<&Fact>) -> Vec<TimeDelta> {
        let of_dag = self.of_dag.get(dag).into_iter().flat_map(|of| of.by_due.iter().rev().take(most));
        let ended = of_dag.map(|(_, key)| &self.runs[key]).filter(|run| run.state == DagRunState::Success);
        let mut took: Vec<_> = ended.filter_map(|run| Some((run.ended_at?, run.ended_at? - run.started_at?))).collect();
        took.sort_by(|one, other| other.cmp(one));
        let there = match stored {
            Some(Fact::Runtimes { runtimes, .. }) => runtimes.as_slice(),
            _ => &[],
        };
        took.into_iter().map(|(_, took)| took).chain(there.iter().copied()).take(most).collect()
    }
}

fn stored_run(stored: Option<&Fact>) -> Option<Box<StoredRun>> {
    if let Some(Fact::Run { run, .. }) = stored { run.clone() } else { None }
}
