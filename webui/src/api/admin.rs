//! Pools, variables and connections, to read. Sealed values are never opened here, so none can leak.

use std::collections::BTreeMap;

use axum::{Json, extract::State};
use model::{DagRunState, TaskState};
use serde_json::{Value, json};
use store::read::{self, RunFilter};

use super::query::{Query, matches};
use crate::{app::App, error::ApiResult, instances};

/// So many running runs are counted for the use of pools.
const RUNS_MAX: i64 = 1_000;

/// What stands for a value that is kept secret.
const MASK: &str = "***";

/// `GET /api/v2/pools`.
pub async fn pools(State(app): State<App>, mut query: Query) -> ApiResult<Json<Value>> {
    let page = query.page();
    let pattern = query.pattern("pool_name_pattern");
    query.finish()?;
    let mut pools = read::pools(&app.pool).await?;
    pools.retain(|pool| matches(&pattern, &pool.name));
    let total = pools.len();
    let used = slots_in_use(&app).await?;
    let shape = |pool: &model::Pool| {
        let slots = pool.slots.map_or(-1, i64::from);
        let (running, queued) = used.get(&pool.name).copied().unwrap_or_default();
        let open = if slots < 0 { -1 } else { (slots - running - queued).max(0) };
        json!({
            "name": pool.name, "slots": slots, "description": pool.description, "include_deferred": pool.include_deferred,
            "occupied_slots": running + queued, "running_slots": running, "queued_slots": queued,
            "scheduled_slots": 0, "deferred_slots": 0, "open_slots": open, "team_name": null,
        })
    };
    let shaped: Vec<Value> = page.of(pools).iter().map(shape).collect();
    Ok(Json(json!({ "pools": shaped, "total_entries": total })))
}

/// Running and queued slots of each pool: those of attempts that live, in runs that have not ended.
async fn slots_in_use(app: &App) -> ApiResult<BTreeMap<String, (i64, i64)>> {
    let active = RunFilter { states: vec![DagRunState::Running], limit: RUNS_MAX, ..RunFilter::default() };
    let (runs, _) = read::runs(&app.pool, &active).await?;
    let mut used: BTreeMap<String, (i64, i64)> = BTreeMap::new();
    for of in instances::of_runs(app, runs).await? {
        let Some(stored) = of.stored.as_ref().filter(|stored| stored.row.live) else { continue };
        let (running, queued) = used.entry(of.task().pool.clone()).or_default();
        let slots = i64::from(of.task().pool_slots);
        if stored.row.state == TaskState::Queued { *queued += slots } else { *running += slots }
    }
    Ok(used)
}

/// `GET /api/v2/variables`: values stay sealed.
pub async fn variables(State(app): State<App>, mut query: Query) -> ApiResult<Json<Value>> {
    let page = query.page();
    let pattern = query.pattern("variable_key_pattern");
    query.finish()?;
    let mut variables = read::variables(&app.pool).await?;
    variables.retain(|(key, _)| matches(&pattern, key));
    let total = variables.len();
    let shape = |(key, description): (String, Option<String>)| json!({ "key": key, "value": MASK, "description": description, "is_encrypted": true, "team_name": null });
    let shaped: Vec<Value> = page.of(variables).into_iter().map(shape).collect();
    Ok(Json(json!({ "variables": shaped, "total_entries": total })))
}

/// `GET /api/v2/connections`: passwords and further settings stay sealed.
pub async fn connections(State(app): State<App>, mut query: Query) -> ApiResult<Json<Value>> {
    let page = query.page();
    let pattern = query.pattern("connection_id_pattern");
    query.finish()?;
    let mut connections = read::connections(&app.pool).await?;
    connections.retain(|connection| matches(&pattern, &connection.conn_id));
    let total = connections.len();
    let shape = |one: &read::ConnectionView| {
        json!({
            "connection_id": one.conn_id, "conn_type": one.conn_type, "description": one.description,
            "host": one.host, "login": one.login, "schema": one.schema, "port": one.port,
            "password": one.has_password.then_some(MASK), "extra": one.has_extra.then_some(MASK), "team_name": null,
        })
    };
    let shaped: Vec<Value> = page.of(connections).iter().map(shape).collect();
    Ok(Json(json!({ "connections": shaped, "total_entries": total })))
}
