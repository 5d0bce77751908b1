//! Storing a turn: all of a plan, or nothing, in one statement and one round trip.
//!
//! A turn that changes only task instances, which is what nearly every one does, uses a statement that has only that;
//! every other turn uses one with a part for each table. Both prove the epoch and every expected state.

mod assets;
mod columns;
mod json;
mod questions;
mod told;

use engine::Plan;
use model::{Epoch, RunKey, Timestamp, TurnNumber};

use crate::{
    connect::Writer,
    error::{StoreError, classify_turn},
    limit,
};
use columns::{ChangedColumns, InstanceColumns};
use json::RareParts;

/// A turn that is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// Its number.
    pub turn: TurnNumber,
    /// Runs of the plan that were left out with their instances, because a run of that id or date is there already.
    /// Memory believes in them, so a leader that finds one loads again.
    pub existing_runs: Vec<RunKey>,
}

/// Stores a turn, or nothing at all. `now` is the instant that it was decided at.
///
/// # Errors
/// [`StoreError::Deposed`] when another leader's epoch is in force; [`StoreError::Diverged`] when a row is not in the state
/// that the turn was decided from; [`StoreError::Unknown`] when the connection broke before the answer: drop the writer
/// and ask [`crate::resume`] on a new one. [`StoreError::Database`] when PostgreSQL refused a value: nothing is stored.
pub async fn apply(writer: &mut Writer, epoch: Epoch, now: Timestamp, plan: &Plan) -> Result<Applied, StoreError> {
    let storing = async {
        writer.renew_plans(plan.new_instances.len()).await?;
        match RareParts::of(plan) {
            None => apply_instances(writer, epoch, now, plan).await,
            Some(rare) => apply_all(writer, epoch, now, plan, &rare).await,
        }
    };
    match tokio::time::timeout(limit::STATEMENT, storing).await {
        Ok(answer) => answer.map_err(classify_turn),
        Err(_) => Err(StoreError::Unknown { reason: format!("no answer within {} s", limit::STATEMENT.as_secs()) }),
    }
}

async fn apply_instances(
    writer: &mut Writer,
    epoch: Epoch,
    now: Timestamp,
    plan: &Plan,
) -> Result<Applied, sqlx::Error> {
    let new = InstanceColumns::of(&plan.new_instances);
    let ChangedColumns { expected, next } = ChangedColumns::of(&plan.instances);
    let turn = sqlx::query_file_scalar!(
        "queries/turn_apply.sql",
        epoch.get(),
        now,
        &new.run_id,
        &new.task_idx,
        &new.map_index,
        &new.try_number,
        &new.state,
        &new.attempt as &[Option<uuid::Uuid>],
        &new.live,
        &new.worker_id as &[Option<i32>],
        &new.queued_at as &[Option<Timestamp>],
        &new.started_at as &[Option<Timestamp>],
        &new.ended_at as &[Option<Timestamp>],
        &next.run_id,
        &next.task_idx,
        &next.map_index,
        &expected,
        &next.try_number,
        &next.state,
        &next.attempt as &[Option<uuid::Uuid>],
        &next.live,
        &next.worker_id as &[Option<i32>],
        &next.queued_at as &[Option<Timestamp>],
        &next.started_at as &[Option<Timestamp>],
        &next.ended_at as &[Option<Timestamp>],
    )
    .fetch_one(writer.connection())
    .await?;
    Ok(Applied { turn: TurnNumber(turn), existing_runs: Vec::new() })
}

async fn apply_all(
    writer: &mut Writer,
    epoch: Epoch,
    now: Timestamp,
    plan: &Plan,
    rare: &RareParts,
) -> Result<Applied, sqlx::Error> {
    let new = InstanceColumns::of(&plan.new_instances);
    let ChangedColumns { expected, next } = ChangedColumns::of(&plan.instances);
    let row = sqlx::query_file!(
        "queries/turn_apply_all.sql",
        epoch.get(),
        now,
        &new.run_id,
        &new.task_idx,
        &new.map_index,
        &new.try_number,
        &new.state,
        &new.attempt as &[Option<uuid::Uuid>],
        &new.live,
        &new.worker_id as &[Option<i32>],
        &new.queued_at as &[Option<Timestamp>],
        &new.started_at as &[Option<Timestamp>],
        &new.ended_at as &[Option<Timestamp>],
        &next.run_id,
        &next.task_idx,
        &next.map_index,
        &expected,
        &next.try_number,
        &next.state,
        &next.attempt as &[Option<uuid::Uuid>],
        &next.live,
        &next.worker_id as &[Option<i32>],
        &next.queued_at as &[Option<Timestamp>],
        &next.started_at as &[Option<Timestamp>],
        &next.ended_at as &[Option<Timestamp>],
        rare.new_runs,
        &rare.new_run_keys,
        rare.runs,
        rare.extras,
        rare.tries,
        rare.xcoms,
        rare.xcoms_dropped,
        rare.failures,
        rare.dags,
        rare.pools,
        &rare.pools_dropped,
        rare.answers,
        &rare.leftovers,
        &rare.runs_dropped,
        &rare.dags_dropped,
        rare.xcoms_deleted,
        rare.backfills,
        rare.backfill_runs,
        rare.instances_dropped,
        rare.forgotten,
        rare.asset_events,
        rare.asset_queue,
        rare.asset_queue_dropped,
        rare.assets_consumed,
        rare.told,
        rare.asked,
        rare.responses,
        rare.format,
        rare.audited,
        rare.pool_starts,
    )
    .fetch_one(writer.connection())
    .await?;
    Ok(Applied { turn: TurnNumber(row.turn), existing_runs: row.existing.into_iter().map(RunKey).collect() })
}
