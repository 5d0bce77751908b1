//! Pools: what the tables say of them, and how they are used, which the leader knows alone.

use std::collections::BTreeMap;

use link::{Query as Question, Reply, query::PoolView};
use model::Pool;
use store::read;

use crate::{
    app::App,
    error::{ApiError, ApiResult},
};

/// How the leader says that pools are used.
///
/// # Errors
/// [`ApiError::NoLeader`]: nobody else knows.
pub async fn uses(app: &App) -> ApiResult<BTreeMap<String, PoolView>> {
    match app.leader.ask(Question::Pools).await? {
        Reply::Pools { pools } => Ok(pools.into_iter().map(|pool| (pool.name.clone(), pool)).collect()),
        Reply::NotFound { detail } => Err(ApiError::NoLeader(detail)),
        Reply::Why { .. } | Reply::Log(_) | Reply::Cluster(_) | Reply::Tried { .. } | Reply::Noted => {
            Err(ApiError::Internal("the leader answered another question than that for pools".to_owned()))
        }
    }
}

/// A pool by its name.
///
/// # Errors
/// [`ApiError::NotFound`].
pub async fn find(app: &App, name: &str) -> ApiResult<Pool> {
    let found = read::pools(&app.pool).await?.into_iter().find(|pool| pool.name == name);
    found.ok_or_else(|| missing(name))
}

/// How many slots are free; none when there is no limit.
#[must_use]
pub fn open_slots(pool: &Pool, used: &PoolView) -> Option<u32> {
    pool.slots.map(|slots| slots.saturating_sub(used.occupied))
}

/// There is no pool of this name.
pub fn missing(name: &str) -> ApiError {
    ApiError::NotFound(format!("The Pool with name: `{name}` was not found"))
}
