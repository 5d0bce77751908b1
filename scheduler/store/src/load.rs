//! What a new leader starts from: everything that has not ended, and nothing else.
//!
//! What this binary can not read is left out, and told: it concerns its DAG or its run, never the leadership.
//!
//! A run that ended while an attempt of it lived on is loaded as long as that attempt is live: its slot counts.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
};

use engine::{
    BackfillRow, Changes, DagVersion, DeadlineRow, QueuedAssetRow, Snapshot, StoredDag, StoredRun, WorkerJoined,
};
use model::{AssetKey, AttemptId, DagId, DagVersionId, Epoch, Pool, RunId, RunKey, TaskIdx, Timestamp, WorkerId};
use sqlx::{Connection, PgConnection};

pub use crate::rows::Unreadable;
use crate::{
    connect::Writer,
    error::{Doing, StoreError},
    limit::{self, statement, within},
    quarantine::{Kind, Subject},
    rows::{BackfillRecord, DagRecord, RunRecord, corrupt, known_words, with_instances},
};

const DOING: &str = "loading the state";
/// How many run keys one call of the sequence reserves: its INCREMENT.
const RUN_KEYS: i64 = 1000;

/// What a new leader starts from.
#[derive(Debug, Default)]
pub struct Loaded {
    /// Everything that this binary can read.
    pub snapshot: Snapshot,
    /// What it can not. A DAG whose current version is among it stays as it is: nothing new starts, its switch can be set.
    /// A run that is among it, or whose version is, is not touched.
    pub unreadable: Vec<Unreadable>,
}

/// Loads everything that a leader needs, as of one moment.
///
/// # Errors
/// [`StoreError::Unreachable`], [`StoreError::Database`].
pub async fn load(connection: &mut PgConnection) -> Result<Loaded, StoreError> {
    within(limit::LOAD, DOING, load_all(connection)).await
}

async fn load_all(connection: &mut PgConnection) -> Result<Loaded, StoreError> {
    let mut transaction =
        connection.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await.doing(DOING)?;
    // Millions of instances take longer than a turn may.
    sqlx::query!("SET LOCAL statement_timeout = '600s'").execute(&mut *transaction).await.doing(DOING)?;
    let (mut runs, mut unreadable) = load_runs(&mut transaction).await?;
    let dags = load_dags(&mut transaction, &mut unreadable).await?;
    let wanted = dags.iter().map(|dag| dag.current).chain(runs.iter().map(|run| run.run.version)).collect();
    let (versions, mut unknown) = load_versions(&mut transaction, wanted).await?;
    for dag in &dags {
        if let Some(missing) = unknown.get_mut(&dag.current).filter(|missing| missing.dag_id.is_empty()) {
            missing.dag_id = dag.dag_id.to_string();
        }
    }
    let known_dags: BTreeSet<&DagId> = dags.iter().map(|dag| &dag.dag_id).collect();
    for run in
        runs.extract_if(.., |run| unknown.contains_key(&run.run.version) || !known_dags.contains(&run.run.dag_id))
    {
        let (dag_id, what) = (run.run.dag_id.as_str(), format!("run {}", run.run.run_id));
        let why = unknown.get(&run.run.version).map_or("its DAG is not stored", |version| &version.why);
        let subject = Subject::new(Kind::Run, run.run.key.get());
        unreadable.push(Unreadable::new(subject, dag_id, what, &why));
    }
    unreadable.extend(unknown.into_values());
    let snapshot = Snapshot {
        versions,
        pools: load_pools(&mut transaction).await?,
        pool_starts: load_pool_starts(&mut transaction).await?,
        workers: load_workers(&mut transaction, &runs).await?,
        backfills: load_backfills(&mut transaction, &mut unreadable).await?,
        asset_queue: load_asset_queue(&mut transaction).await?,
        last_asset_event: last_asset_event(&mut transaction).await?,
        deadlines: load_deadlines(&mut transaction).await?,
        dags,
        runs,
    };
    transaction.rollback().await.doing(DOING)?;
    Ok(Loaded { snapshot, unreadable })
}

/// Puts what a new leader can not read into quarantine, and takes out what it can.
///
/// # Errors
/// [`StoreError::Deposed`], [`StoreError::Unreachable`], [`StoreError::Database`].
pub async fn hold_unreadable(writer: &mut Writer, epoch: Epoch, unreadable: &[Unreadable]) -> Result<(), StoreError> {
    const DOING: &str = "noting what can not be read";
    let kinds: Vec<String> = unreadable.iter().map(|what| what.subject.kind.name().to_owned()).collect();
    let keys: Vec<String> = unreadable.iter().map(|what| what.subject.key.clone()).collect();
    let reasons: Vec<String> = unreadable.iter().map(Unreadable::reason).collect();
    statement(
        DOING,
        sqlx::query_file_scalar!("queries/quarantine_unreadable.sql", epoch.get(), &kinds, &keys, &reasons)
            .fetch_one(writer.connection()),
    )
    .await?;
    Ok(())
}

/// Keys for runs that will be made. Keys that are not used are lost, and never used by others.
///
/// # Errors
/// [`StoreError::Unreachable`], [`StoreError::Database`].
pub async fn reserve_run_keys(connection: &mut PgConnection) -> Result<Range<i64>, StoreError> {
    const DOING: &str = "reserving run keys";
    let first =
        statement(DOING, sqlx::query_scalar!(r#"SELECT nextval('run_key') AS "first!""#).fetch_one(connection)).await?;
    Ok(first..first + RUN_KEYS)
}

async fn load_runs(connection: &mut PgConnection) -> Result<(Vec<StoredRun>, Vec<Unreadable>), StoreError> {
    let records = sqlx::query_file_as!(RunRecord, "queries/dag_run_to_load.sql")
        .fetch_all(&mut *connection)
        .await
        .doing(DOING)?;
    let (mut runs, mut unreadable) = (Vec::with_capacity(records.len()), Vec::new());
    for run in with_instances(connection, records).await? {
        match run {
            Ok(run) if run.run.state.is_finished() && !run.instances.iter().any(|instance| instance.live) => {}
            Ok(run) => runs.push(run),
            Err(why) => unreadable.push(why),
        }
    }
    Ok((runs, unreadable))
}

async fn load_dags(
    connection: &mut PgConnection,
    unreadable: &mut Vec<Unreadable>,
) -> Result<Vec<StoredDag>, StoreError> {
    let records = sqlx::query_file_as!(DagRecord, "queries/dag_all.sql").fetch_all(connection).await.doing(DOING)?;
    let mut dags = Vec::with_capacity(records.len());
    for record in records {
        let name = record.dag_id.clone();
        match StoredDag::try_from(record) {
            Ok(dag) => dags.push(dag),
            Err(error) => {
                unreadable.push(Unreadable::new(Subject::new(Kind::Dag, &name), name, "its row", &error));
            }
        }
    }
    Ok(dags)
}

async fn load_backfills(
    connection: &mut PgConnection,
    unreadable: &mut Vec<Unreadable>,
) -> Result<Vec<BackfillRow>, StoreError> {
    let records = sqlx::query_file_as!(BackfillRecord, "queries/backfill_to_load.sql")
        .fetch_all(connection)
        .await
        .doing(DOING)?;
    let mut backfills = Vec::with_capacity(records.len());
    for record in records {
        let (dag_id, what) = (record.dag_id.clone(), format!("backfill {}", record.id));
        match BackfillRow::try_from(record) {
            Ok(backfill) => backfills.push(backfill),
            // It waits, with its runs, for a leader that can read it.
            Err(error) => unreadable.push(Unreadable::new(Subject::new(Kind::Dag, &dag_id), &dag_id, what, &error)),
        }
    }
    Ok(backfills)
}

/// An entry that makes no sense is left out: its asset was named by a word that can not be stored any more.
async fn load_asset_queue(connection: &mut PgConnection) -> Result<Vec<QueuedAssetRow>, StoreError> {
    let rows = sqlx::query_file_as!(AssetQueueRecord, "queries/asset_queue_to_load.sql")
        .fetch_all(connection)
        .await
        .doing(DOING)?;
    let entry = |row| {
        let AssetQueueRecord { dag_id, name, uri, first_event, last_event, created_at, newest_at, aliases } = row;
        let (dag_id, asset) = DagId::new(dag_id).ok().zip(AssetKey::of(&name, &uri))?;
        let aliases = aliases.into_iter().collect();
        Some(QueuedAssetRow {
            dag_id,
            asset,
            changes: Changes { first_event, last_event, created_at, newest_at, aliases },
        })
    };
    Ok(rows.into_iter().filter_map(entry).collect())
}

async fn last_asset_event(connection: &mut PgConnection) -> Result<i64, StoreError> {
    let last = sqlx::query_scalar!(r#"SELECT coalesce(max(id), 0) AS "last!" FROM asset_event"#);
    last.fetch_one(connection).await.doing(DOING)
}

/// One that makes no sense is left out: its run or its DAG has an id that can not be stored any more.
async fn load_deadlines(connection: &mut PgConnection) -> Result<Vec<DeadlineRow>, StoreError> {
    let rows = sqlx::query_file!("queries/deadline_to_load.sql").fetch_all(connection).await.doing(DOING)?;
    let read = rows.into_iter().filter_map(|row| {
        Some(DeadlineRow {
            id: row.id,
            run: RunKey(row.run_key),
            dag_id: DagId::new(row.dag_id).ok()?,
            run_id: RunId::new(row.run_id).ok()?,
            version: DagVersionId(row.version_id),
            position: row.position,
            name: row.name,
            kinds: row.kinds,
            at: row.at,
            created_at: row.created_at,
            is_missed: row.missed_at.is_some(),
        })
    });
    Ok(read.collect())
}

struct AssetQueueRecord {
    dag_id: String,
    name: String,
    uri: String,
    first_event: i64,
    last_event: i64,
    created_at: Timestamp,
    newest_at: Timestamp,
    aliases: Vec<String>,
}

/// Versions with the numbers of their tasks; of those that can not be read, or are not stored, why.
pub(crate) async fn load_versions(
    connection: &mut PgConnection,
    wanted: BTreeSet<DagVersionId>,
) -> Result<(Vec<DagVersion>, BTreeMap<DagVersionId, Unreadable>), StoreError> {
    let ids: Vec<i64> = wanted.iter().copied().map(DagVersionId::get).collect();
    let records =
        sqlx::query_file!("queries/dag_version_by_id.sql", &ids).fetch_all(&mut *connection).await.doing(DOING)?;
    let dag_ids: Vec<String> = records.iter().map(|record| record.dag_id.clone()).collect();
    let numbers = task_numbers(connection, &dag_ids).await?;
    let mut versions = Vec::with_capacity(records.len());
    let told = |id: DagVersionId, dag: String, why: &dyn std::fmt::Display| {
        Unreadable::new(Subject::new(Kind::Version, id.get()), dag, format!("version {id}"), why)
    };
    let missing = |id: DagVersionId| (id, told(id, String::new(), &"it is not stored"));
    let mut unreadable: BTreeMap<_, _> = wanted.into_iter().map(missing).collect();
    for record in records {
        let id = DagVersionId(record.id);
        let read = serde_json::from_str::<dag::Dag>(&record.compiled)
            .map_err(|error| corrupt(&error))
            .and_then(|dag| version(id, dag, numbers.get(&record.dag_id)));
        match read {
            Ok(version) => {
                unreadable.remove(&id);
                versions.push(version);
            }
            Err(error) => {
                unreadable.insert(id, told(id, record.dag_id, &error));
            }
        }
    }
    Ok((versions, unreadable))
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
    let rows = sqlx::query!("SELECT name, slots, description, include_deferred, rate_limit FROM pool ORDER BY name")
        .fetch_all(connection)
        .await
        .doing(DOING)?;
    let pools = rows.into_iter().map(|row| Pool {
        name: row.name,
        slots: row.slots.map(|slots| u32::try_from(slots).unwrap_or(0)),
        description: row.description,
        include_deferred: row.include_deferred,
        // One that makes no sense is as good as none: it is shown so, and can be set again.
        rate_limit: row.rate_limit.and_then(|limit| limit.parse().ok()),
    });
    Ok(pools.collect())
}

/// When attempts of pools with a rate limit have started.
async fn load_pool_starts(connection: &mut PgConnection) -> Result<Vec<(String, Vec<Timestamp>)>, StoreError> {
    let rows = sqlx::query!("SELECT name, recent_starts FROM pool WHERE rate_limit IS NOT NULL ORDER BY name")
        .fetch_all(connection)
        .await
        .doing(DOING)?;
    Ok(rows.into_iter().map(|row| (row.name, row.recent_starts)).collect())
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
