//! What a new leader starts from: everything that has not ended, and nothing else.
//!
//! A run that ended while an attempt of it lived on is loaded as long as that attempt is live: its slot counts.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
};

use engine::{DagVersion, Snapshot, StoredDag, StoredRun, WorkerJoined};
use model::{AttemptId, DagVersionId, Pool, TaskIdx, WorkerId};
use sqlx::{Connection, PgConnection};

use crate::{
    error::{Doing, StoreError},
    rows::{DagRecord, RunRecord, known_words, with_instances},
};

const DOING: &str = "loading the state";
/// How many run keys one call of the sequence reserves: its INCREMENT.
const RUN_KEYS: i64 = 1000;

/// Loads everything that a leader needs, as of one moment.
///
/// # Errors
/// [`StoreError::Unreachable`], [`StoreError::Database`], and [`StoreError::Corrupt`] when a newer version wrote something
/// that this one does not know.
pub async fn load(connection: &mut PgConnection) -> Result<Snapshot, StoreError> {
    let mut transaction =
        connection.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await.doing(DOING)?;
    let runs = load_runs(&mut transaction).await?;
    let dags = load_dags(&mut transaction).await?;
    let wanted = dags.iter().map(|dag| dag.current).chain(runs.iter().map(|run| run.run.version)).collect();
    let snapshot = Snapshot {
        versions: load_versions(&mut transaction, wanted).await?,
        pools: load_pools(&mut transaction).await?,
        workers: load_workers(&mut transaction, &runs).await?,
        dags,
        runs,
    };
    transaction.rollback().await.doing(DOING)?;
    Ok(snapshot)
}

/// A version that is not in the snapshot: that of a run which was asked for with [`crate::facts::fact`].
///
/// # Errors
/// [`StoreError::Unreachable`], [`StoreError::Database`].
pub async fn load_version(connection: &mut PgConnection, id: DagVersionId) -> Result<Option<DagVersion>, StoreError> {
    Ok(load_versions(connection, BTreeSet::from([id])).await?.pop())
}

/// Keys for runs that will be made. Keys that are not used are lost, and never used by others.
///
/// # Errors
/// [`StoreError::Unreachable`], [`StoreError::Database`].
pub async fn reserve_run_keys(connection: &mut PgConnection) -> Result<Range<i64>, StoreError> {
    let first = sqlx::query_scalar!(r#"SELECT nextval('run_key') AS "first!""#)
        .fetch_one(connection)
        .await
        .doing("reserving run keys")?;
    Ok(first..first + RUN_KEYS)
}

async fn load_runs(connection: &mut PgConnection) -> Result<Vec<StoredRun>, StoreError> {
    let records = sqlx::query_file_as!(RunRecord, "queries/dag_run_to_load.sql")
        .fetch_all(&mut *connection)
        .await
        .doing(DOING)?;
    let mut runs = with_instances(connection, records).await?;
    runs.retain(|run| !run.run.state.is_finished() || run.instances.iter().any(|instance| instance.live));
    Ok(runs)
}

async fn load_dags(connection: &mut PgConnection) -> Result<Vec<StoredDag>, StoreError> {
    let records = sqlx::query_file_as!(DagRecord, "queries/dag_all.sql").fetch_all(connection).await.doing(DOING)?;
    records.into_iter().map(StoredDag::try_from).collect()
}

/// Versions with the numbers of their tasks.
pub(crate) async fn load_versions(
    connection: &mut PgConnection,
    wanted: BTreeSet<DagVersionId>,
) -> Result<Vec<DagVersion>, StoreError> {
    let ids: Vec<i64> = wanted.into_iter().map(DagVersionId::get).collect();
    let records =
        sqlx::query_file!("queries/dag_version_by_id.sql", &ids).fetch_all(&mut *connection).await.doing(DOING)?;
    let dag_ids: Vec<String> = records.iter().map(|record| record.dag_id.clone()).collect();
    let numbers = task_numbers(connection, &dag_ids).await?;
    records
        .into_iter()
        .map(|record| version(DagVersionId(record.id), record.compiled.0, numbers.get(&record.dag_id)))
        .collect()
}

/// The numbers of the tasks of some DAGs.
pub(crate) async fn task_numbers(
    connection: &mut PgConnection,
    dag_ids: &[String],
) -> Result<BTreeMap<String, BTreeMap<String, TaskIdx>>, StoreError> {
    let rows = sqlx::query!("SELECT dag_id, task_id, task_idx FROM dag_task WHERE dag_id = ANY ($1)", dag_ids)
        .fetch_all(connection)
        .await
        .doing(DOING)?;
    let mut numbers: BTreeMap<String, BTreeMap<String, TaskIdx>> = BTreeMap::new();
    for row in rows {
        numbers.entry(row.dag_id).or_default().insert(row.task_id, TaskIdx(row.task_idx));
    }
    Ok(numbers)
}

/// A version, its tasks numbered.
pub(crate) fn version(
    id: DagVersionId,
    dag: dag::Dag,
    numbers: Option<&BTreeMap<String, TaskIdx>>,
) -> Result<DagVersion, StoreError> {
    let number = |task: &dag::Task| {
        numbers.and_then(|numbers| numbers.get(task.task_id.as_str())).copied().ok_or_else(|| StoreError::Corrupt {
            what: format!("task {} of DAG {} has no number", task.task_id, dag.dag_id),
        })
    };
    let task_idx = dag.tasks.iter().map(number).collect::<Result<Vec<_>, _>>()?.into();
    Ok(DagVersion { id, dag: dag.into(), task_idx })
}

async fn load_pools(connection: &mut PgConnection) -> Result<Vec<Pool>, StoreError> {
    let rows = sqlx::query!("SELECT name, slots, description, include_deferred FROM pool ORDER BY name")
        .fetch_all(connection)
        .await
        .doing(DOING)?;
    let pools = rows.into_iter().map(|row| Pool {
        name: row.name,
        slots: row.slots.map(|slots| u32::try_from(slots).unwrap_or(0)),
        description: row.description,
        include_deferred: row.include_deferred,
    });
    Ok(pools.collect())
}

async fn load_workers(connection: &mut PgConnection, runs: &[StoredRun]) -> Result<Vec<WorkerJoined>, StoreError> {
    let mut attempts: BTreeMap<WorkerId, BTreeSet<AttemptId>> = BTreeMap::new();
    for instance in runs.iter().flat_map(|run| &run.instances).filter(|instance| instance.live) {
        if let (Some(worker), Some(attempt)) = (instance.worker, instance.attempt) {
            attempts.entry(worker).or_default().insert(attempt);
        }
    }
    let held: Vec<i32> = attempts.keys().map(|worker| worker.get()).collect();
    let rows = sqlx::query_file!("queries/worker_to_load.sql", &held).fetch_all(connection).await.doing(DOING)?;
    let workers = rows.into_iter().map(|row| WorkerJoined {
        worker: WorkerId(row.id),
        name: row.name,
        slots: u32::try_from(row.slots).unwrap_or(0),
        queues: row.queues.into_iter().collect(),
        capabilities: known_words(row.capabilities),
        // It says so itself when it joins; until then it is given nothing.
        operators: BTreeSet::new(),
        attempts: attempts.remove(&WorkerId(row.id)).unwrap_or_default(),
        leaving: false,
    });
    Ok(workers.collect())
}
