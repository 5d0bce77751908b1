//! DAGs. An installation has thousands at most, so lists are filtered and ordered here, on rows and cached versions.

use std::{cmp::Ordering, collections::BTreeMap, sync::Arc};

use axum::{
    Extension, Json,
    extract::{Path, State},
};
use futures::{StreamExt, TryStreamExt, stream};
use model::{Command, DagId, DagRunState, Timestamp, command::Paused};
use serde_json::{Value, json};
use store::read::{self, DagView, RunBrief, Version};

use super::{
    body::Body,
    lookup_dag,
    query::{Query, in_order, matches},
    shapes,
};
use crate::{
    app::App,
    auth::Principal,
    commands,
    error::{ApiError, ApiResult},
};

/// Commands of one request that wait for the leader at once: it takes them in one turn, and each holds a connection.
const COMMANDS_AT_ONCE: usize = 16;

/// A DAG with what lists filter and order by.
struct Entry {
    view: DagView,
    version: Arc<Version>,
    last_run: Option<RunBrief>,
}

/// What lists can be ordered by.
#[derive(Debug, Clone, Copy)]
enum Key {
    DagId,
    NextRun,
    LastState,
    LastStart,
}

fn key(name: &str) -> Option<Key> {
    match name {
        "dag_id" | "dag_display_name" => Some(Key::DagId),
        "next_dagrun" => Some(Key::NextRun),
        "state" | "last_run_state" => Some(Key::LastState),
        "start_date" | "last_run_start_date" => Some(Key::LastStart),
        _ => None,
    }
}

/// `GET /api/v2/dags`.
pub async fn list(State(app): State<App>, mut query: Query) -> ApiResult<Json<Value>> {
    let page = query.page();
    let order = query.order(key)?;
    let keep = Keep::of(&mut query)?;
    query.finish()?;
    let mut found: Vec<Entry> = entries(&app).await?.into_iter().filter(|entry| keep.keeps(entry)).collect();
    in_order(&mut found, &order, Key::DagId, compare);
    let total = found.len();
    let dags: Vec<Value> = page.of(found).iter().map(|entry| shapes::dag(&entry.view, &entry.version)).collect();
    Ok(Json(json!({ "dags": dags, "total_entries": total })))
}

async fn entries(app: &App) -> ApiResult<Vec<Entry>> {
    let views = read::dags(&app.pool).await?;
    let versions = app.versions.all(&app.pool, views.iter().map(|view| view.current)).await?;
    let ids: Vec<DagId> = views.iter().map(|view| view.dag_id.clone()).collect();
    let mut last: BTreeMap<DagId, RunBrief> =
        read::latest_runs(&app.pool, &ids).await?.into_iter().map(|run| (run.dag_id.clone(), run)).collect();
    let entry = |view: DagView| {
        let version = Arc::clone(versions.get(&view.current)?);
        let last_run = last.remove(&view.dag_id);
        Some(Entry { view, version, last_run })
    };
    Ok(views.into_iter().filter_map(entry).collect())
}

/// Which DAGs a list is limited to.
struct Keep {
    id_pattern: read::Pattern,
    prefix: Option<String>,
    tags: Vec<String>,
    all_tags: bool,
    owners: Vec<String>,
    paused: Option<bool>,
    without_stale: bool,
    with_import_errors: Option<bool>,
    last_states: Vec<DagRunState>,
}

impl Keep {
    fn of(query: &mut Query) -> ApiResult<Self> {
        let own = |name: &str, query: &Query| query.all(name).map(str::to_owned).collect();
        Ok(Self {
            paused: query.flag("paused"),
            without_stale: query.flag("exclude_stale").unwrap_or(true),
            with_import_errors: query.flag("has_import_errors"),
            id_pattern: match query.text("dag_id_pattern") {
                Some(_) => query.pattern("dag_id_pattern"),
                None => query.pattern("dag_display_name_pattern"),
            },
            prefix: query.prefix("dag_id_prefix_pattern"),
            tags: own("tags", query),
            all_tags: query.text("tags_match_mode") == Some("all"),
            owners: own("owners", query),
            last_states: query.words("last_dag_run_state")?,
        })
    }

    fn keeps(&self, entry: &Entry) -> bool {
        let Entry { view, version, last_run } = entry;
        let has_tag = |tag: &String| version.dag.tags.contains(tag);
        let last_state = last_run.as_ref().map(|run| run.state);
        matches(&self.id_pattern, view.dag_id.as_str())
            && self.prefix.as_ref().is_none_or(|prefix| view.dag_id.as_str().starts_with(prefix))
            && (self.tags.is_empty()
                || if self.all_tags { self.tags.iter().all(has_tag) } else { self.tags.iter().any(has_tag) })
            && (self.owners.is_empty() || self.owners.iter().any(|owner| version.dag.owners.contains(owner)))
            && self.paused.is_none_or(|paused| paused == view.is_paused)
            && !(self.without_stale && view.is_stale)
            && self.with_import_errors.is_none_or(|errors| errors == view.has_import_errors)
            && (self.last_states.is_empty() || last_state.is_some_and(|state| self.last_states.contains(&state)))
    }
}

fn compare(key: Key, a: &Entry, b: &Entry) -> Ordering {
    let start = |entry: &Entry| -> Option<Timestamp> { entry.last_run.as_ref().and_then(|run| run.started_at) };
    let state = |entry: &Entry| entry.last_run.as_ref().map(|run| run.state.name());
    match key {
        Key::DagId => a.view.dag_id.cmp(&b.view.dag_id),
        Key::NextRun => a.view.next.map(|next| next.run_after).cmp(&b.view.next.map(|next| next.run_after)),
        Key::LastState => state(a).cmp(&state(b)),
        Key::LastStart => start(a).cmp(&start(b)),
    }
}

/// `GET /api/v2/dags/{dag_id}`.
pub async fn one(State(app): State<App>, Path(dag_id): Path<String>) -> ApiResult<Json<Value>> {
    let (view, version) = lookup_dag(&app, &dag_id).await?;
    Ok(Json(shapes::dag(&view, &version)))
}

/// `GET /api/v2/dags/{dag_id}/details`.
pub async fn details(State(app): State<App>, Path(dag_id): Path<String>) -> ApiResult<Json<Value>> {
    let (view, version) = lookup_dag(&app, &dag_id).await?;
    let states = read::run_states(&app.pool).await?;
    let active = states.iter().filter(|(id, ..)| *id == view.dag_id).map(|(.., count)| count).sum();
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
    let keep = Keep::of(&mut query)?;
    let is_limited = ["dag_id_pattern", "dag_id_prefix_pattern"].into_iter().any(|name| query.text(name).is_some());
    query.finish()?;
    if !is_limited {
        return Ok(Json(json!({ "dags": [], "total_entries": 0 })));
    }
    let mut found = entries(&app).await?;
    found.retain(|entry| keep.keeps(entry));
    let changing = found.iter().filter(|entry| entry.view.is_paused != (to == Paused::Paused));
    pause(&app, changing.map(|entry| entry.view.dag_id.clone()).collect(), to, &who).await?;
    let total = found.len();
    let shown: Vec<DagId> = page.of(found).into_iter().map(|entry| entry.view.dag_id).collect();
    let changed = entries(&app).await?;
    let dags = changed.iter().filter(|entry| shown.contains(&entry.view.dag_id));
    let dags: Vec<Value> = dags.map(|entry| shapes::dag(&entry.view, &entry.version)).collect();
    Ok(Json(json!({ "dags": dags, "total_entries": total })))
}

async fn pause(app: &App, dag_ids: Vec<DagId>, to: Paused, who: &Principal) -> ApiResult<()> {
    let send = |dag_id| async move { commands::send(app, &Command::PauseDag { dag_id, to }, who).await.map(drop) };
    stream::iter(dag_ids).map(send).buffer_unordered(COMMANDS_AT_ONCE).try_collect().await
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
    let asked: Vec<&str> = query.all("dag_ids").collect();
    let mut ids: Vec<DagId> = read::dags(&app.pool).await?.into_iter().map(|view| view.dag_id).collect();
    ids.retain(|id| asked.is_empty() || asked.contains(&id.as_str()));
    let counts = read::run_counts(&app.pool, &ids).await?;
    let count = |id: &DagId, state: DagRunState| {
        counts.iter().find(|(of, in_state, _)| of == id && *in_state == state).map_or(0, |(.., count)| *count)
    };
    let shape = |id: &DagId| {
        let stats: Vec<Value> =
            DagRunState::ALL.iter().map(|state| json!({ "state": state.name(), "count": count(id, *state) })).collect();
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
    let mut tags: Vec<String> = entries(&app).await?.iter().flat_map(|entry| entry.version.dag.tags.clone()).collect();
    tags.retain(|tag| matches(&pattern, tag));
    tags.sort();
    tags.dedup();
    let total = tags.len();
    Ok(Json(json!({ "tags": page.of(tags), "total_entries": total })))
}
