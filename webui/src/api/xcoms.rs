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
use store::read::{self, Pattern, XComEntry};

use super::{
    ALL,
    body::Body,
    instance_filter::Keep,
    instances::{lookup, runs_of},
    parse_task,
    query::{Query, matches},
    shapes::{instant, instant_or_null},
};
use crate::{
    app::App,
    auth::Principal,
    commands,
    error::{ApiError, ApiResult},
    instances::{self, TaskOfRun},
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
    let keep = Keep::of_query(&mut query)?;
    let filter = Filter::of(&mut query);
    query.finish()?;
    let task = if task_id == ALL { None } else { Some(parse_task(&task_id)?) };
    let runs = runs_of(&app, &dag_id, &run_id, &keep).await?;
    let keys: Vec<_> = runs.iter().map(|run| run.key).collect();
    let instances = instances::of_runs(&app, runs).await?;
    let entries = read::xcom_entries(&app.pool, &keys, None).await?;
    let mut found: Vec<Value> = Vec::new();
    for entry in entries.iter().filter(|entry| filter.keeps(entry)) {
        let of = instances.iter().find(|of| of.key.run == entry.run && of.key.task == entry.task);
        if let Some(of) = of.filter(|of| task.as_ref().is_none_or(|task| *task == of.task().task_id)) {
            found.push(shape(of, entry));
        }
    }
    let total = found.len();
    Ok(Json(json!({ "xcom_entries": page.of(found), "total_entries": total })))
}

/// Which XComs a list is limited to.
struct Filter {
    key: Option<String>,
    pattern: Pattern,
    maps: Vec<i32>,
}

impl Filter {
    fn of(query: &mut Query) -> Self {
        Self {
            key: query.text("xcom_key").map(str::to_owned),
            pattern: query.pattern("xcom_key_pattern"),
            maps: query.numbers("map_index"),
        }
    }

    fn keeps(&self, entry: &XComEntry) -> bool {
        self.key.as_ref().is_none_or(|key| *key == entry.key)
            && matches(&self.pattern, &entry.key)
            && (self.maps.is_empty() || self.maps.contains(&entry.map.get()))
    }
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
    let entry = find(&app, &of, &key).await?.ok_or_else(|| missing(&key))?;
    let mut shaped = shape(&of, &entry);
    shaped["value"] = match who.may_see(&key, entry.value) {
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
    if find(&app, &of, key.as_str()).await?.is_some() {
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
    find(&app, &of, &key).await?.ok_or_else(|| missing(&key))?;
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
    find(&app, &of, &key).await?.ok_or_else(|| missing(&key))?;
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
    let (key, value) = (key.into_string(), value.into_value());
    let entry = XComEntry { run: of.key.run, task: of.key.task, map: of.key.map, key, value };
    let mut shaped = shape(of, &entry);
    shaped["value"] = entry.value;
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

async fn find(app: &App, of: &TaskOfRun, key: &str) -> ApiResult<Option<XComEntry>> {
    let entries = read::xcom_entries(&app.pool, &[of.key.run], Some(of.key.task)).await?;
    Ok(entries.into_iter().find(|entry| entry.map == of.key.map && entry.key == key))
}

fn missing(key: &str) -> ApiError {
    ApiError::NotFound(format!("XCom entry with key: `{key}` not found"))
}

/// An entry without its value. It is as old as the attempt's end that left it.
fn shape(of: &TaskOfRun, entry: &XComEntry) -> Value {
    let row = of.stored.as_ref().map(|stored| &stored.row);
    let left_at = row.and_then(|row| row.ended_at.or(row.started_at)).unwrap_or(of.run.queued_at);
    json!({
        "key": entry.key, "timestamp": instant(left_at),
        "logical_date": instant_or_null(of.run.logical_date), "run_after": instant(of.run.run_after),
        "map_index": entry.map.get(),
        "task_id": of.task().task_id, "task_display_name": of.task().task_id,
        "dag_id": of.run.dag_id, "dag_display_name": of.run.dag_id, "run_id": of.run.run_id,
    })
}
