//! What the leader asks of memory: whose a live attempt is, and how pools are used.

use std::collections::BTreeSet;

use model::{AttemptId, DagId, Operator, RunId, TaskId, TaskState, TiKey, Timestamp, WorkerId};

use crate::{Engine, PoolSlots, WorkerJoined};

/// How a pool is used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolUse {
    /// Its name.
    pub name: String,
    /// Whether it exists: tasks may name one that does not, and wait for it.
    pub exists: bool,
    /// How many slots it has; none for no limit.
    pub total: Option<u32>,
    /// How they are used.
    pub slots: PoolSlots,
    /// Who gets its next slots.
    pub next: Vec<(DagId, RunId, TaskId)>,
}

/// Runs that have not ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RunCounts {
    /// Those that wait to start.
    pub queued: usize,
    /// Those that run.
    pub running: usize,
}

/// DAGs that a file defines.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DagCounts {
    /// Those that may run.
    pub active: usize,
    /// Those that are held back.
    pub paused: usize,
}

/// Which services a DAG declares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Declares {
    /// Those of its newest version, by name.
    Services(BTreeSet<String>),
    /// No file defines the DAG any more.
    NoFile,
    /// The DAG was deleted.
    NoDag,
}

impl Engine {
    /// Which services a DAG declares.
    #[must_use]
    pub fn declares(&self, dag: &DagId) -> Declares {
        let Some(state) = self.dags.get(dag) else { return Declares::NoDag };
        if state.row.is_stale {
            return Declares::NoFile;
        }
        let tasks = self.versions.get(&state.row.current).into_iter().flat_map(|version| &version.dag.tasks);
        let services = tasks.filter_map(|task| match &task.operator {
            Operator::Service(declared) => Some(declared.services.iter().map(|service| service.name.clone())),
            _ => None,
        });
        Declares::Services(services.flatten().collect())
    }

    /// How many instances of unfinished runs are in a state.
    #[must_use]
    pub fn instances_in(&self, state: TaskState) -> u32 {
        self.census.of(state)
    }

    /// How many runs have not ended.
    #[must_use]
    pub fn run_counts(&self) -> RunCounts {
        self.dags.values().fold(RunCounts::default(), |counts, dag| RunCounts {
            queued: counts.queued + dag.all_queued(),
            running: counts.running + dag.all_running().count(),
        })
    }

    /// How many DAGs there are.
    #[must_use]
    pub fn dag_counts(&self) -> DagCounts {
        let defined = || self.dags.values().filter(|dag| !dag.row.is_stale);
        let paused = defined().filter(|dag| dag.row.is_paused).count();
        DagCounts { active: defined().count() - paused, paused }
    }

    /// The live attempts of a worker.
    #[must_use]
    pub fn attempts_on(&self, worker: WorkerId) -> BTreeSet<AttemptId> {
        self.workers.get(worker).map(|known| known.live.iter().copied().collect()).unwrap_or_default()
    }

    /// The first live attempts of a worker, so many at most.
    #[must_use]
    pub fn some_attempts_on(&self, worker: WorkerId, most: usize) -> Vec<AttemptId> {
        self.workers.get(worker).map(|known| known.live.iter().take(most).copied().collect()).unwrap_or_default()
    }

    /// Workers that can be given something, as they introduced themselves: what a load of memory does not know.
    #[must_use]
    pub fn connected_workers(&self) -> Vec<WorkerJoined> {
        self.workers.connected().cloned().collect()
    }

    /// Whether nothing of a DAG is at work, so that it can be deleted.
    #[must_use]
    pub fn is_dag_idle(&self, dag_id: &DagId) -> bool {
        let Some(dag) = self.dags.get(dag_id) else { return false };
        dag.all_running().next().is_none() && dag.runs.values().all(|key| self.known_run(*key).live == 0)
    }

    /// How many live attempts a worker has.
    #[must_use]
    pub fn attempt_count_on(&self, worker: WorkerId) -> usize {
        self.workers.get(worker).map_or(0, |known| known.live.len())
    }

    /// How many slots of a worker its attempts take: waits and services take none.
    #[must_use]
    pub fn slots_used_on(&self, worker: WorkerId) -> u32 {
        self.workers.get(worker).map_or(0, |known| known.used)
    }

    /// The instance of a live attempt.
    #[must_use]
    pub fn instance_of_attempt(&self, attempt: AttemptId) -> Option<TiKey> {
        self.attempts.get(&attempt).copied()
    }

    /// When a live attempt was assigned.
    #[must_use]
    pub fn assigned_at(&self, attempt: AttemptId) -> Option<Timestamp> {
        self.core(self.place_of(*self.attempts.get(&attempt)?)?).queued_at
    }

    /// How every pool is used, with the first few that wait for each.
    #[must_use]
    pub fn pool_uses(&self, waiting_max: usize) -> Vec<PoolUse> {
        let one = |name: &str| PoolUse {
            name: name.to_owned(),
            exists: self.pools.has(name),
            total: self.pools.total(name),
            slots: self.pools.slots_in_use(name),
            next: self.ready.next_in(name, waiting_max).into_iter().filter_map(|key| self.ids_of(key)).collect(),
        };
        self.pools.names().into_iter().map(one).collect()
    }

    fn ids_of(&self, instance: TiKey) -> Option<(DagId, RunId, TaskId)> {
        let place = self.place_of(instance)?;
        let run = self.run(place.run)?;
        Some((run.row.dag_id.clone(), run.row.run_id.clone(), run.def.task(place.task).task_id.clone()))
    }

    /// The DAG of a live attempt.
    #[must_use]
    pub fn dag_of_attempt(&self, attempt: AttemptId) -> Option<DagId> {
        let instance = self.attempts.get(&attempt)?;
        Some(self.run(instance.run)?.row.dag_id.clone())
    }
}
