//! Pools while nobody leads: a command line that holds the whole installation changes them by a turn of its own.
//!
//! Beside a leader they are changed by commands, so that its counters follow; this takes the lead, as any other write of
//! pools does, and a leader that was there after all is deposed and loads again.

use engine::Plan;
use model::Pool;
use serde_json::json;
use sqlx::Executor as _;

use crate::{
    audit::{self, Actor},
    connect::Writer,
    error::{Doing, StoreError},
    leader::{Candidate, lead},
    limit::{self, within},
    turn,
};

const DOING: &str = "changing pools";

/// What to do with a pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PoolChange {
    /// Create it or replace it.
    Set(Pool),
    /// Remove it; no harm when it is not there.
    Delete(String),
}

/// Carries changes out.
///
/// # Errors
/// [`StoreError::Refused`] for a pool that breaks a rule, before anything is changed; [`StoreError::Deposed`] when somebody
/// began to lead at this moment; [`StoreError::Unreachable`], [`StoreError::Database`].
pub async fn change_alone(writer: &mut Writer, who: Actor<'_>, changes: Vec<PoolChange>) -> Result<(), StoreError> {
    let mut plan = Plan::default();
    let mut told = Vec::new();
    for change in changes {
        match change {
            PoolChange::Set(pool) => {
                pool.check().map_err(|reason| StoreError::Refused { reason })?;
                told.push(("patch_pool", json!(pool)));
                plan.pools.push(pool);
            }
            PoolChange::Delete(name) if name == Pool::DEFAULT => {
                let reason = format!("{name} can not be deleted: every task that names no pool uses it");
                return Err(StoreError::Refused { reason });
            }
            PoolChange::Delete(name) => {
                told.push(("delete_pool", json!({ "name": name })));
                plan.pools_dropped.push(name);
            }
        }
    }
    let candidate = Candidate { holder: format!("{} at the command line", who.name), endpoint: String::new() };
    let leadership = lead(writer, &candidate).await?;
    within(limit::STATEMENT, DOING, async {
        // The turn is a statement of this transaction: what it changes and what the audit log says of it are one.
        writer.connection().execute("BEGIN").await.doing(DOING)?;
        for (action, details) in told {
            audit::record(writer.connection(), who, action, &details).await?;
        }
        turn::apply(writer, leadership.epoch, leadership.now, &plan).await?;
        writer.connection().execute("COMMIT").await.doing(DOING)?;
        Ok(())
    })
    .await
}
