//! Services, pools and the leader.

use model::{Pool, ServiceKey, ServiceState, Timestamp, WorkerId};
use serde_json::Value;
use sqlx::{PgExecutor, types::Json};
use uuid::Uuid;

use super::DOING;
use crate::{
    error::{Doing, StoreError},
    rows::{code, corrupt, dag_id},
};

/// A replica of a service.
#[derive(Debug, Clone, PartialEq)]
pub struct ServiceView {
    /// Which replica.
    pub key: ServiceKey,
    /// Its state.
    pub state: ServiceState,
    /// Whether it is meant to run.
    pub is_wanted: bool,
    /// Its declaration.
    pub spec: Value,
    /// The id of its process, the fence of what it writes.
    pub instance: Option<Uuid>,
    /// Its worker, which has its log.
    pub worker_id: Option<WorkerId>,
    /// The name of its worker.
    pub worker: Option<String>,
    /// How often it was started again.
    pub restarts: i32,
    /// When it is started again, while it pauses.
    pub not_before: Option<Timestamp>,
    /// When its process started.
    pub started_at: Option<Timestamp>,
    /// When its state changed.
    pub changed_at: Timestamp,
    /// What it reported last: records, rate_per_s, lag, errors, last_commit …
    pub progress: Value,
    /// Why it ended badly the last time.
    pub last_error: Option<String>,
}

/// Who leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaderView {
    /// Its name; empty when nobody has led yet.
    pub holder: String,
    /// The leadership.
    pub epoch: i64,
    /// A number that the leader raises each second; whoever sees it twice unchanged knows that nobody leads.
    pub lease: i64,
}

/// Every replica of every service.
///
/// # Errors
/// [`StoreError`] when PostgreSQL does not answer or a row makes no sense.
pub async fn services(db: impl PgExecutor<'_>) -> Result<Vec<ServiceView>, StoreError> {
    let rows = sqlx::query_file!("queries/read_services.sql").fetch_all(db).await.doing(DOING)?;
    rows.into_iter()
        .map(|row| {
            let dag = dag_id(&row.dag_id)?;
            Ok(ServiceView {
                key: ServiceKey { dag, name: row.name, replica: row.replica },
                state: code(row.state)?,
                is_wanted: row.is_wanted,
                spec: row.spec.0,
                instance: row.instance,
                worker_id: row.worker_id.map(WorkerId),
                worker: row.worker,
                restarts: row.restarts,
                not_before: row.not_before,
                started_at: row.started_at,
                changed_at: row.changed_at,
                progress: row.progress.0,
                last_error: row.last_error,
            })
        })
        .collect()
}

/// Every pool, with how many slots attempts that live hold in it is the leader's to know; this is the definition.
///
/// # Errors
/// [`StoreError`] when PostgreSQL does not answer or a row makes no sense.
pub async fn pools(db: impl PgExecutor<'_>) -> Result<Vec<Pool>, StoreError> {
    let rows = sqlx::query!("SELECT name, slots, description, include_deferred, rate_limit FROM pool ORDER BY name");
    let rows = rows.fetch_all(db).await.doing(DOING)?;
    rows.into_iter()
        .map(|row| {
            let slots = row.slots.map(u32::try_from).transpose().map_err(|error| corrupt(&error))?;
            let rate_limit = row.rate_limit.and_then(|limit| limit.parse().ok());
            let (description, include_deferred) = (row.description, row.include_deferred);
            Ok(Pool { name: row.name, slots, description, include_deferred, rate_limit })
        })
        .collect()
}

/// Who leads, by the database.
///
/// # Errors
/// [`StoreError`] when PostgreSQL does not answer.
pub async fn leader(db: impl PgExecutor<'_>) -> Result<LeaderView, StoreError> {
    let row =
        sqlx::query_as!(LeaderView, "SELECT l.holder, l.epoch, s.seq AS lease FROM leader l CROSS JOIN leader_lease s");
    row.fetch_one(db).await.doing(DOING)
}
