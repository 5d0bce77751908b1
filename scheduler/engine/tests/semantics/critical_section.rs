//! Who is given a slot under pools, weights and limits.
//!
//! Airflow's answer is that of one pass over the first candidates; a turn goes on until nothing more fits. So all that
//! Airflow queues has to be queued, in order, and what is queued beyond that has to fit every limit.

mod limits;

use std::{cmp::Reverse, collections::BTreeMap};

use dag::TaskPos;
use engine::{Effect, StoredDag};
use model::{DagId, DagRunState, DagVersionId, Pool, RunKey, TaskIdx, TaskState, TiKey, Timestamp};
use serde::Deserialize;
use serde_json::Value;

use crate::{
    dags::{dag_of, task, version},
    mirror::Mirror,
    rows,
    sections::{Outcome, read},
    world::World,
};

/// Where tasks wait that keep others from being scheduled.
const WAITING_ROOM: &str = "waiting_room";

#[derive(Deserialize)]
struct Case {
    pools: Vec<PoolCase>,
    dags: Vec<DagCase>,
    max_tis: u32,
    expected_queued_in_order: Vec<String>,
}

#[derive(Deserialize)]
struct PoolCase {
    name: String,
    slots: i64,
    #[serde(default)]
    include_deferred: bool,
}

#[derive(Deserialize)]
struct DagCase {
    dag_id: String,
    max_active_tasks: u32,
    #[serde(default)]
    paused: bool,
    tasks: Vec<TaskCase>,
    runs: Vec<RunCase>,
}

#[derive(Deserialize)]
struct TaskCase {
    task_id: String,
    priority_weight: i32,
    pool: String,
    pool_slots: u32,
    max_active_tis_per_dag: Option<u32>,
    max_active_tis_per_dagrun: Option<u32>,
}

#[derive(Deserialize)]
struct RunCase {
    run_id: String,
    logical_date: Timestamp,
    state: DagRunState,
    tis: BTreeMap<String, Option<TaskState>>,
}

/// What orders an instance, and its name.
type Candidate = (i32, Timestamp, String);

pub fn granted(case: &Value) -> Outcome {
    let case: Case = read(case);
    let mut world = World::new(Vec::new());
    world.mirror = stored(&case);
    world.reload();
    let plan = world.join(2, case.max_tis);
    let candidates = candidates(&case);
    // A wait that a worker takes is no grant of a slot.
    let is_wait = |key: &TiKey| world.mirror.instances[key].state == TaskState::Deferred;
    let granted = plan.effects.iter().filter_map(|effect| match effect {
        Effect::Assign { key, .. } if is_wait(key) => None,
        Effect::Assign { key, .. } => Some(candidates[key].clone()),
        Effect::Kill { .. } => None,
    });
    let granted: Vec<Candidate> = granted.collect();
    let actual: Vec<String> = granted.iter().map(|(.., name)| name.clone()).collect();
    let expected = &case.expected_queued_in_order;
    let agrees = granted.is_sorted_by_key(|(weight, date, _)| (Reverse(*weight), *date))
        && expected.iter().all(|name| actual.contains(name))
        && limits::hold(&case, &actual);
    Outcome::when(agrees, expected, &actual)
}

/// Keys of runs in the order of the case.
fn runs_of(case: &Case) -> impl Iterator<Item = (RunKey, DagVersionId, &DagCase, &RunCase)> {
    let versions = (1..).map(DagVersionId).zip(&case.dags);
    let runs = versions.flat_map(|(version, dag)| dag.runs.iter().map(move |run| (version, dag, run)));
    (1..).map(RunKey).zip(runs).map(|(key, (version, dag, run))| (key, version, dag, run))
}

/// A DAG's tasks come after as many others that each of them waits for.
fn number(dag: &DagCase, index: usize) -> TaskIdx {
    TaskIdx(i32::try_from(dag.tasks.len() + index).unwrap())
}

fn candidates(case: &Case) -> BTreeMap<TiKey, Candidate> {
    let mut all = BTreeMap::new();
    for (key, _, dag, run) in runs_of(case) {
        for (index, task) in dag.tasks.iter().enumerate() {
            let name = format!("{}/{}/{}", dag.dag_id, run.run_id, task.task_id);
            let candidate = (task.priority_weight, run.logical_date, name);
            all.insert(TiKey::unmapped(key, number(dag, index)), candidate);
        }
    }
    all
}

fn stored(case: &Case) -> Mirror {
    let mut mirror = Mirror::default();
    for pool in &case.pools {
        let pool = pool_of(&pool.name, u32::try_from(pool.slots).ok(), pool.include_deferred);
        mirror.pools.insert(pool.name.clone(), pool);
    }
    mirror.pools.insert(WAITING_ROOM.to_owned(), pool_of(WAITING_ROOM, None, false));
    for (dag, id) in case.dags.iter().zip(1..) {
        let dag_id = DagId::new(&dag.dag_id).unwrap();
        mirror.versions.push(version(id, compiled(dag)));
        let row = StoredDag::new(dag_id.clone(), DagVersionId(id), dag.paused);
        mirror.dags.insert(dag_id, row);
    }
    for (key, version, dag, run) in runs_of(case) {
        mirror.runs.insert(key, rows::run(key, &dag.dag_id, &run.run_id, version, run.state, run.logical_date));
        for (index, task) in dag.tasks.iter().enumerate() {
            store_instance(&mut mirror, dag, run.tis[&task.task_id], key, index);
        }
    }
    mirror
}

/// What is scheduled waits for nothing any more; everything else, for one that is deferred, so that it stays as it is.
fn store_instance(mirror: &mut Mirror, dag: &DagCase, state: Option<TaskState>, run: RunKey, index: usize) {
    let waits_for = TiKey::unmapped(run, TaskIdx(i32::try_from(index).unwrap()));
    let before = if state == Some(TaskState::Scheduled) { TaskState::Success } else { TaskState::Deferred };
    mirror.instances.insert(waits_for, rows::instance(waits_for, before));
    if let Some(state) = state.filter(|state| *state != TaskState::Scheduled) {
        let key = TiKey::unmapped(run, number(dag, index));
        mirror.instances.insert(key, rows::instance(key, state));
    }
}

fn compiled(dag: &DagCase) -> dag::Dag {
    let waited_for = dag.tasks.iter().map(|known| {
        let mut waited_for = task(&format!("before_{}", known.task_id));
        waited_for.pool = WAITING_ROOM.to_owned();
        waited_for
    });
    let tasks = dag.tasks.iter().enumerate().map(|(index, known)| {
        let mut task = task(&known.task_id);
        task.upstream = vec![TaskPos(index)];
        (task.priority_weight, task.effective_weight) = (known.priority_weight, known.priority_weight);
        (task.pool, task.pool_slots) = (known.pool.clone(), known.pool_slots);
        task.max_active_tis_per_dag = known.max_active_tis_per_dag;
        task.max_active_tis_per_dagrun = known.max_active_tis_per_dagrun;
        task
    });
    let mut compiled = dag_of(&dag.dag_id, waited_for.chain(tasks).collect());
    compiled.max_active_tasks = dag.max_active_tasks;
    compiled
}

fn pool_of(name: &str, slots: Option<u32>, include_deferred: bool) -> Pool {
    Pool { name: name.to_owned(), slots, description: String::new(), include_deferred, rate_limit: None }
}
