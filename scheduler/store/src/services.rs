//! Services as rows: the supervisor decides in memory, and stores each replica that it changed.

use model::{Epoch, ServiceKey, ServiceState, Timestamp, WorkerId, operator::ServiceSpec};
use serde::Serialize;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::{
    connect::Writer,
    error::StoreError,
    limit::statement,
    rows::{code, corrupt, dag_id, say_unreadable},
    texts::storable,
};

/// What is wanted of a replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// It runs, until it completes.
    Running,
    /// It does not.
    Stopped,
}

/// A replica of a service.
#[derive(Debug, Clone, PartialEq)]
pub struct ServiceRow {
    /// Which replica.
    pub key: ServiceKey,
    /// What it runs.
    pub spec: ServiceSpec,
    /// SHA-256 of the spec and its passed values.
    pub hash: String,
    /// What is wanted.
    pub wanted: Wanted,
    /// How it stands.
    pub state: ServiceState,
    /// The instance that runs, or ran last.
    pub instance: Option<Uuid>,
    /// The worker that it runs on, or ran on last.
    pub worker: Option<WorkerId>,
    /// Deaths in a row.
    pub deaths: u32,
    /// How often it was started again after a death.
    pub restarts: u32,
    /// The end of its back-off.
    pub not_before: Option<Timestamp>,
    /// When the instance started.
    pub started_at: Option<Timestamp>,
    /// When it last changed its state.
    pub changed_at: Timestamp,
    /// Its newest progress report.
    pub progress: serde_json::Value,
    /// Rises with each report that shows progress.
    pub progress_seq: u64,
    /// When the progress was last stored.
    pub progress_stored_at: Option<Timestamp>,
    /// Why it last died or what it last complained of.
    pub last_error: Option<String>,
}

/// Every replica of every service. One that this binary can not read is left alone, and said in the log.
///
/// # Errors
/// [`StoreError::Unreachable`], [`StoreError::Database`].
pub async fn load_services(connection: &mut PgConnection) -> Result<Vec<ServiceRow>, StoreError> {
    const DOING: &str = "loading services";
    let records =
        statement(DOING, sqlx::query_file_as!(ServiceRecord, "queries/service_all.sql").fetch_all(connection)).await?;
    let read = |record: ServiceRecord| {
        let (dag_id, what) = (record.dag_id.clone(), format!("service {} {}", record.name, record.replica));
        ServiceRow::try_from(record).map_err(|error| say_unreadable(&dag_id, &what, &error)).ok()
    };
    Ok(records.into_iter().filter_map(read).collect())
}

/// Stores replicas as they are now, all or none.
///
/// # Errors
/// [`StoreError::Deposed`], [`StoreError::Unreachable`], [`StoreError::Database`].
pub async fn save_services(writer: &mut Writer, epoch: Epoch, rows: &[ServiceRow]) -> Result<(), StoreError> {
    const DOING: &str = "storing services";
    if rows.is_empty() {
        return Ok(());
    }
    let rows: Vec<StoredService<'_>> = rows.iter().map(StoredService::of).collect();
    let rows = serde_json::to_string(&rows).map_err(|error| corrupt(&error))?;
    statement(
        DOING,
        sqlx::query_file_scalar!("queries/service_save.sql", epoch.get(), rows).fetch_one(writer.connection()),
    )
    .await?;
    Ok(())
}

/// Removes the rows of replicas that nothing declares any more.
///
/// # Errors
/// [`StoreError::Deposed`], [`StoreError::Unreachable`], [`StoreError::Database`].
pub async fn forget_services(writer: &mut Writer, epoch: Epoch, keys: &[ServiceKey]) -> Result<(), StoreError> {
    if keys.is_empty() {
        return Ok(());
    }
    let dags: Vec<&str> = keys.iter().map(|key| key.dag.as_str()).collect();
    let names: Vec<&str> = keys.iter().map(|key| key.name.as_str()).collect();
    let replicas: Vec<i32> = keys.iter().map(|key| key.replica).collect();
    const DOING: &str = "forgetting services";
    statement(
        DOING,
        sqlx::query_file_scalar!(
            "queries/service_forget.sql",
            epoch.get(),
            &dags as &[&str],
            &names as &[&str],
            &replicas
        )
        .fetch_one(writer.connection()),
    )
    .await?;
    Ok(())
}

#[derive(Debug)]
struct ServiceRecord {
    dag_id: String,
    name: String,
    replica: i32,
    spec: serde_json::Value,
    spec_hash: String,
    is_wanted: bool,
    state: i16,
    instance: Option<Uuid>,
    worker_id: Option<i32>,
    deaths: i32,
    restarts: i32,
    not_before: Option<Timestamp>,
    started_at: Option<Timestamp>,
    changed_at: Timestamp,
    progress: serde_json::Value,
    progress_seq: i64,
    progress_stored_at: Option<Timestamp>,
    last_error: Option<String>,
}

impl TryFrom<ServiceRecord> for ServiceRow {
    type Error = StoreError;

    fn try_from(row: ServiceRecord) -> Result<Self, StoreError> {
        Ok(Self {
            key: ServiceKey { dag: dag_id(&row.dag_id)?, name: row.name, replica: row.replica },
            spec: serde_json::from_value(row.spec).map_err(|error| corrupt(&error))?,
            hash: row.spec_hash,
            wanted: if row.is_wanted { Wanted::Running } else { Wanted::Stopped },
            state: code(row.state)?,
            instance: row.instance,
            worker: row.worker_id.map(WorkerId),
            deaths: row.deaths.unsigned_abs(),
            restarts: row.restarts.unsigned_abs(),
            not_before: row.not_before,
            started_at: row.started_at,
            changed_at: row.changed_at,
            progress: row.progress,
            progress_seq: row.progress_seq.unsigned_abs(),
            progress_stored_at: row.progress_stored_at,
            last_error: row.last_error,
        })
    }
}

/// A row on its way to the database; JSON values travel as text.
#[derive(Serialize)]
struct StoredService<'a> {
    dag_id: &'a str,
    name: &'a str,
    replica: i32,
    spec: String,
    spec_hash: &'a str,
    is_wanted: bool,
    state: i16,
    instance: Option<Uuid>,
    worker_id: Option<i32>,
    deaths: u32,
    restarts: u32,
    not_before: Option<Timestamp>,
    started_at: Option<Timestamp>,
    changed_at: Timestamp,
    progress: String,
    progress_seq: u64,
    progress_stored_at: Option<Timestamp>,
    last_error: Option<String>,
}

impl<'a> StoredService<'a> {
    fn of(row: &'a ServiceRow) -> Self {
        Self {
            dag_id: row.key.dag.as_str(),
            name: &row.key.name,
            replica: row.key.replica,
            spec: serde_json::to_string(&row.spec).expect("a spec is plain data"),
            spec_hash: &row.hash,
            is_wanted: row.wanted == Wanted::Running,
            state: row.state.code(),
            instance: row.instance,
            worker_id: row.worker.map(WorkerId::get),
            deaths: row.deaths,
            restarts: row.restarts,
            not_before: row.not_before,
            started_at: row.started_at,
            changed_at: row.changed_at,
            progress: row.progress.to_string(),
            progress_seq: row.progress_seq,
            progress_stored_at: row.progress_stored_at,
            last_error: row.last_error.as_ref().map(storable),
        }
    }
}
