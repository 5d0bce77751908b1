//! XComs: list, read, leave, replace and remove.

use axum::{
    Extension, Json,
    extract::{Path, State},
    http::StatusCode,
};
use model::{
    Command, MapIndex, XComValue,
    command::XComName,
    door::{InvalidText, Json as Storable, XComKey},
};
use serde_json::{Value, json};
use store::read::{self, RunFilter, XComEntry, XComFilter};

use super::{
    ALL,
    body::Body,
    instance_filter::Keep,
    instances::{Scope, lookup, runs_of, scope},
    parse_task,
    query::{Query, counted},
    shapes::{instant, instant_or_null},
};
use crate::{
    app::App,
    auth::Principal,
    commands,
    error::{ApiError, ApiResult},
    instances::TaskOfRun,
};

type OfTask = Path<(String, String, String)>;
type OfXCom = Path<(String, String, String, String)>;

/// `GET …/taskInstances/{task_id}/xcomEntries`; `~` for all DAGs, runs, tasks.
pub async fn list(
    State(app): State<App>,
    Path((dag_id, run_id, task_id)): OfTask,
    mut query: Query,
) -> ApiResult<Json<Value>> {
    let page = query.page();
    let mut keep = Keep::of_query(&mut query)?;
    let key = query.text("xcom_key").map(str::to_owned);
    let key_pattern = query.pattern("xcom_key_pattern");
    let map_indexes = query.numbers("map_index");
    query.finish()?;
    let task_id = if task_id == ALL { None } else { Some(parse_task(&task_id)?) };
    let run = match scope(&app, &dag_id, &run_id).await? {
        Scope::Run(run) => Some(run.key),
        Scope::Runs(dag_ids) => {
            keep.dag_ids = dag_ids;
            None
        }
    };
    let runs = if run.is_some() { RunFilter::default() } else { runs_of(&keep) };
    let filter = XComFilter { runs, run, task_id, key, key_pattern, map_indexes, window: page.window() };
    let _search = app.searches.enter().await?;
    let (found, total) = read::xcom_entries(&app.pool, &filter).await?;
    let shaped: Vec<Value> = found.iter().map(shape).collect();
    Ok(Json(counted("xcom_entries", shaped, total)))
}

/// `GET …/xcomEntries/{xcom_key}`: with its value, as JSON or as text.
pub async fn one(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    Path((dag_id, run_id, task_id, key)): OfXCom,
    mut query: Query,
) -> ApiResult<Json<Value>> {
    let map = query.numbers("map_index").first().copied().map_or(MapIndex::UNMAPPED, MapIndex);
    let stringify = query.flag("stringify").unwrap_or(false);
    // Values are JSON here: there is nothing to deserialize.
    query.flag("deserialize");
    query.finish()?;
    let of = lookup(&app, &dag_id, &run_id, &task_id, map).await?;
    let value = read::xcom_value(&app.pool, of.key, &key).await?.ok_or_else(|| missing(&key))?;
    let value = who.may_see(&key, value);
    let mut shaped = shape(&entry_of(&of, key));
    shaped["value"] = match value {
        Value::String(text) => Value::String(text),
        value if stringify => Value::String(value.to_string()),
        value => value,
    };
    Ok(Json(shaped))
}

/// `POST …/xcomEntries`.
pub async fn create(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    Path((dag_id, run_id, task_id)): OfTask,
    mut body: Body,
) -> ApiResult<(StatusCode, Json<Value>)> {
    let key = body.text("key");
    if key.as_deref().is_none_or(str::is_empty) {
        body.missing("key");
    }
    let (map, value) = value_of(&mut body);
    body.finish()?;
    let key = key_of(key.unwrap_or_default())?;
    let of = lookup(&app, &dag_id, &run_id, &task_id, map).await?;
    if read::xcom_value(&app.pool, of.key, key.as_str()).await?.is_some() {
        return Err(ApiError::Conflict(format!(
            "The XCom with key: `{key}` with mentioned task instance already exists."
        )));
    }
    Ok((StatusCode::CREATED, set(&app, &of, key, value, &who).await?))
}

/// `PATCH …/xcomEntries/{xcom_key}`.
pub async fn update(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    Path((dag_id, run_id, task_id, key)): OfXCom,
    mut body: Body,
) -> ApiResult<Json<Value>> {
    let (map, value) = value_of(&mut body);
    body.finish()?;
    let of = lookup(&app, &dag_id, &run_id, &task_id, map).await?;
    read::xcom_value(&app.pool, of.key, &key).await?.ok_or_else(|| missing(&key))?;
    set(&app, &of, key_of(key)?, value, &who).await
}

/// `DELETE …/xcomEntries/{xcom_key}`.
pub async fn delete(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    Path((dag_id, run_id, task_id, key)): OfXCom,
    mut query: Query,
) -> ApiResult<StatusCode> {
    let map = query.numbers("map_index").first().copied().map_or(MapIndex::UNMAPPED, MapIndex);
    query.finish()?;
    let of = lookup(&app, &dag_id, &run_id, &task_id, map).await?;
    read::xcom_value(&app.pool, of.key, &key).await?.ok_or_else(|| missing(&key))?;
    commands::send(&app, &Command::DeleteXCom(name_of(&of, key_of(key)?)), &who).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn key_of(text: String) -> ApiResult<XComKey> {
    XComKey::new(text).map_err(|error: InvalidText| ApiError::BadRequest(format!("the XCom's key: {error}")))
}

/// `map_index` and `value`, which may be null and may not be absent.
fn value_of(body: &mut Body) -> (MapIndex, Value) {
    let map = body.map_index();
    if !body.has("value") {
        body.missing("value");
    }
    (map, body.take_or_null("value"))
}

async fn set(app: &App, of: &TaskOfRun, key: XComKey, value: Value, who: &Principal) -> ApiResult<Json<Value>> {
    let bytes = value.to_string().len();
    if bytes > XComValue::BYTES_MAX {
        return Err(ApiError::BadRequest(format!(
            "an XCom has at most {} bytes as JSON, this one {bytes}",
            XComValue::BYTES_MAX
        )));
    }
    let xcom = name_of(of, key.clone());
    let value = Storable::new(value).map_err(|error| ApiError::BadRequest(error.to_string()))?;
    commands::send(app, &Command::SetXCom { xcom, value: value.clone() }, who).await?;
    let mut shaped = shape(&entry_of(of, key.into_string()));
    shaped["value"] = value.into_value();
    Ok(Json(shaped))
}

fn name_of(of: &TaskOfRun, key: XComKey) -> XComName {
    XComName {
        dag_id: of.run.dag_id.clone(),
        run_id: of.run.run_id.clone(),
        task_id: of.task().task_id.clone(),
        map_index: of.key.map,
        key,
    }
}

/// An XCom of an instance. It is as old as the attempt's end that left it.
fn entry_of(of: &TaskOfRun, key: String) -> XComEntry {
    let row = of.stored.as_ref().map(|stored| &stored.row);
    let left_at = row.and_then(|row| row.ended_at.or(row.started_at)).unwrap_or(of.run.queued_at);
    XComEntry { left_at, ..XComEntry::of_run(&of.run, of.task().task_id.clone(), of.key.map, key) }
}

fn missing(key: &str) -> ApiError {
    ApiError::NotFound(format!("XCom entry with key: `{key}` not found"))
}

/// An entry without its value.
fn shape(entry: &XComEntry) -> Value {
    json!({
        "key": entry.key, "timestamp": instant(entry.left_at),
        "logical_date": instant_or_null(entry.logical_date), "run_after": instant(entry.run_after),
        "map_index": entry.map.get(),
        "task_id": entry.task_id, "task_display_name": entry.task_id,
        "dag_id": entry.dag_id, "dag_display_name": entry.dag_id, "run_id": entry.run_id,
    })
}
