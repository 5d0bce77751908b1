//! DAGs: lists by PostgreSQL, and what people change.

use axum::{
    Extension, Json,
    extract::{Path, State},
};
use model::{Command, DagId, DagRunState, command::Paused};
use serde_json::{Value, json};
use store::read::{self, DagFilter, DagOrder, DagView, Window};

use super::{body::Body, lookup_dag, query::Query, shapes};
use crate::{
    app::App,
    auth::Principal,
    commands,
    error::{ApiError, ApiResult},
};

/// DAGs that one request pauses or un-pauses: with so many at once it ends within its time.
const CHANGED_MAX: i64 = 1_000;
/// DAGs whose runs one answer counts.
const STATS_MAX: i64 = 10_000;

fn key(name: &str) -> Option<DagOrder> {
    match name {
        "dag_id" | "dag_display_name" => Some(DagOrder::DagId),
        "next_dagrun" => Some(DagOrder::NextRun),
        "state" | "last_run_state" => Some(DagOrder::LastState),
        "start_date" | "last_run_start_date" => Some(DagOrder::LastStart),
        _ => None,
    }
}

/// `GET /api/v2/dags`.
pub async fn list(State(app): State<App>, mut query: Query) -> ApiResult<Json<Value>> {
    let page = query.page();
    let filter = DagFilter { order: query.order(key)?, ..filter_of(&mut query)? };
    query.finish()?;
    let (found, total) = read::dag_list(&app.pool, &filter, page.window()).await?;
    Ok(Json(json!({ "dags": shaped(&app, &found).await?, "total_entries": total })))
}

/// DAGs as the API writes them: only their definitions are read.
async fn shaped(app: &App, dags: &[DagView]) -> ApiResult<Vec<Value>> {
    let versions = app.versions.all(&app.pool, dags.iter().map(|view| view.current)).await?;
    Ok(dags.iter().filter_map(|view| Some(shapes::dag(view, versions.get(&view.current)?))).collect())
}

fn filter_of(query: &mut Query) -> ApiResult<DagFilter> {
    let own = |name: &str, query: &Query| query.all(name).map(str::to_owned).collect();
    Ok(DagFilter {
        paused: query.flag("paused"),
        without_stale: query.flag("exclude_stale").unwrap_or(true),
        with_import_errors: query.flag("has_import_errors"),
        id_pattern: match query.text("dag_id_pattern") {
            Some(_) => query.pattern("dag_id_pattern"),
            None => query.pattern("dag_display_name_pattern"),
        },
        id_prefix: query.prefix("dag_id_prefix_pattern"),
        tags: own("tags", query),
        all_tags: query.text("tags_match_mode") == Some("all"),
        owners: own("owners", query),
        last_states: query.words("last_dag_run_state")?,
        ..DagFilter::default()
    })
}

/// `GET /api/v2/dags/{dag_id}`.
pub async fn one(State(app): State<App>, Path(dag_id): Path<String>) -> ApiResult<Json<Value>> {
    let (view, version) = lookup_dag(&app, &dag_id).await?;
    Ok(Json(shapes::dag(&view, &version)))
}

/// `GET /api/v2/dags/{dag_id}/details`.
pub async fn details(State(app): State<App>, Path(dag_id): Path<String>) -> ApiResult<Json<Value>> {
    let (view, version) = lookup_dag(&app, &dag_id).await?;
    let active = read::active_runs(&app.pool, &view.dag_id).await?;
    Ok(Json(shapes::dag_details(&view, &version, active)))
}

/// `PATCH /api/v2/dags/{dag_id}`: pause and unpause.
pub async fn patch(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    Path(dag_id): Path<String>,
    query: Query,
    body: Body,
) -> ApiResult<Json<Value>> {
    let to = wanted(&query, body)?;
    let (view, _) = lookup_dag(&app, &dag_id).await?;
    commands::send(&app, &Command::PauseDag { dag_id: view.dag_id, to }, &who).await?;
    let (view, version) = lookup_dag(&app, &dag_id).await?;
    Ok(Json(shapes::dag(&view, &version)))
}

/// `PATCH /api/v2/dags`: pause and unpause all that the filters leave. Without a pattern nothing is meant, as in Airflow, so
/// that a forgotten one pauses nothing.
pub async fn patch_many(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    mut query: Query,
    body: Body,
) -> ApiResult<Json<Value>> {
    let to = wanted(&query, body)?;
    let page = query.page();
    let filter = filter_of(&mut query)?;
    let is_limited = ["dag_id_pattern", "dag_id_prefix_pattern"].into_iter().any(|name| query.text(name).is_some());
    query.finish()?;
    if !is_limited {
        return Ok(Json(json!({ "dags": [], "total_entries": 0 })));
    }
    let is_paused = to == Paused::Paused;
    let (mut found, total) = read::dag_list(&app.pool, &filter, Window { limit: CHANGED_MAX, offset: 0 }).await?;
    if total > CHANGED_MAX {
        let text = format!("{total} DAGs are meant, and one request changes at most {CHANGED_MAX}: narrow the pattern");
        return Err(ApiError::BadRequest(text));
    }
    let changing = found.iter().filter(|view| view.is_paused != is_paused);
    pause(&app, changing.map(|view| view.dag_id.clone()).collect(), to, &who).await?;
    found.iter_mut().for_each(|view| view.is_paused = is_paused);
    Ok(Json(json!({ "dags": shaped(&app, &page.of(found)).await?, "total_entries": total })))
}

async fn pause(app: &App, dag_ids: Vec<DagId>, to: Paused, who: &Principal) -> ApiResult<()> {
    commands::send_all(app, dag_ids.into_iter().map(|dag_id| Command::PauseDag { dag_id, to }), who).await
}

/// `is_paused`, the only thing that can be changed.
fn wanted(query: &Query, mut body: Body) -> ApiResult<Paused> {
    if let Some(other) = query.all("update_mask").find(|field| *field != "is_paused") {
        return Err(ApiError::BadRequest(format!(
            "Only `is_paused` field can be updated through the REST API, not `{other}`"
        )));
    }
    if !body.has("is_paused") {
        body.missing("is_paused");
    }
    let is_paused = body.flag("is_paused", false);
    body.finish()?;
    Ok(if is_paused { Paused::Paused } else { Paused::Active })
}

/// `DELETE /api/v2/dags/{dag_id}`: its history goes, and so does the DAG unless its file is still there.
pub async fn delete(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    Path(dag_id): Path<String>,
) -> ApiResult<Json<Value>> {
    let (view, _) = lookup_dag(&app, &dag_id).await?;
    commands::send(&app, &Command::DeleteDag { dag_id: view.dag_id }, &who).await?;
    Ok(Json(Value::Null))
}

/// `GET /api/v2/dagStats`: how many runs each DAG has in each state.
pub async fn stats(State(app): State<App>, query: Query) -> ApiResult<Json<Value>> {
    let asked: Vec<String> = query.all("dag_ids").map(str::to_owned).collect();
    let ids = read::dag_ids(&app.pool, &asked, STATS_MAX).await?;
    let counts = app.run_counts.of(&app.pool, &ids).await?;
    let shape = |id: &DagId| {
        let of_dag = counts.get(id);
        let count = |state: &DagRunState| of_dag.and_then(|counts| counts.get(state)).copied().unwrap_or(0);
        let stats: Vec<Value> =
            DagRunState::ALL.iter().map(|state| json!({ "state": state.name(), "count": count(state) })).collect();
        json!({ "dag_id": id, "dag_display_name": id, "stats": stats })
    };
    let dags: Vec<Value> = ids.iter().map(shape).collect();
    Ok(Json(json!({ "total_entries": dags.len(), "dags": dags })))
}

/// `GET /api/v2/dagTags`: plain texts.
pub async fn tags(State(app): State<App>, mut query: Query) -> ApiResult<Json<Value>> {
    let page = query.page();
    let pattern = query.pattern("tag_name_pattern");
    query.finish()?;
    let (tags, total) = read::dag_tags(&app.pool, &pattern, page.window()).await?;
    Ok(Json(json!({ "tags": tags, "total_entries": total })))
}
