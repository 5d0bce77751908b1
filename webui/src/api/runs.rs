//! Runs: list, one, trigger, and the states that people set.

use axum::{
    Extension, Json,
    extract::{Path, State},
    http::{HeaderMap, header},
};
use engine::RunRow;
use model::{Command, DagId, DagRunState, RunId, RunType, TriggeredBy, command::TriggerDagRun};
use serde_json::{Map, Value, json};
use store::read::{self, DagView, RunFilter, RunOrder, Version};

use super::{ALL, body::Body, lookup_dag, lookup_run, query::Query, shapes};
use crate::{
    app::App,
    auth::Principal,
    commands,
    error::{ApiError, ApiResult},
};

/// Airflow's longest note, in characters.
const NOTE_CHARS_MAX: usize = 1000;

fn key(name: &str) -> Option<RunOrder> {
    Some(match name {
        "id" => RunOrder::Id,
        "state" => RunOrder::State,
        "dag_id" => RunOrder::DagId,
        "run_id" | "dag_run_id" => RunOrder::RunId,
        "logical_date" => RunOrder::LogicalDate,
        "run_after" => RunOrder::RunAfter,
        "start_date" => RunOrder::StartDate,
        "end_date" => RunOrder::EndDate,
        "updated_at" => RunOrder::UpdatedAt,
        "conf" => RunOrder::Conf,
        "duration" => RunOrder::Duration,
        _ => return None,
    })
}

/// `GET /api/v2/dags/{dag_id}/dagRuns`; `~` for all DAGs.
pub async fn list(State(app): State<App>, Path(dag_id): Path<String>, mut query: Query) -> ApiResult<Json<Value>> {
    let dag_id = if dag_id == ALL { None } else { Some(lookup_dag(&app, &dag_id).await?.0.dag_id) };
    let filter = filter_of(dag_id, &mut query)?;
    let (runs, total) = read::runs(&app.pool, &filter).await?;
    let versions = app.versions.all(&app.pool, runs.iter().map(|run| run.version)).await?;
    let shape = |run: &RunRow| shapes::run(run, versions.get(&run.version).map(|version| &**version));
    Ok(Json(json!({
        "dag_runs": runs.iter().map(shape).collect::<Vec<_>>(),
        "total_entries": total, "next_cursor": null, "previous_cursor": null, "total_entries_limit": null,
    })))
}

fn filter_of(dag_id: Option<DagId>, query: &mut Query) -> ApiResult<RunFilter> {
    let page = query.page();
    let filter = RunFilter {
        dag_id,
        states: query.words("state")?,
        run_types: query.words("run_type")?,
        run_id_pattern: query.pattern("run_id_pattern"),
        run_id_prefix: query.prefix("run_id_prefix_pattern"),
        dag_id_pattern: query.pattern("dag_id_pattern"),
        logical_date: query.range("logical_date"),
        run_after: query.range("run_after"),
        start_date: query.range("start_date"),
        end_date: query.range("end_date"),
        updated_at: query.range("updated_at"),
        order: query.order(key)?,
        limit: page.limit,
        offset: page.offset,
    };
    query.finish()?;
    Ok(filter)
}

/// `GET /api/v2/dags/{dag_id}/dagRuns/{dag_run_id}`.
pub async fn one(State(app): State<App>, Path((dag_id, run_id)): Path<(String, String)>) -> ApiResult<Json<Value>> {
    let run = lookup_run(&app, &dag_id, &run_id).await?;
    shaped(&app, &run).await
}

/// The answer that shows one run.
///
/// # Errors
/// When PostgreSQL does not answer.
pub async fn shaped(app: &App, run: &RunRow) -> ApiResult<Json<Value>> {
    let version = app.versions.one(&app.pool, run.version).await?;
    Ok(Json(shapes::run(run, Some(&version))))
}

/// `POST /api/v2/dags/{dag_id}/dagRuns`: start a run by hand.
pub async fn trigger(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    Path(dag_id): Path<String>,
    headers: HeaderMap,
    mut body: Body,
) -> ApiResult<Json<Value>> {
    let (view, version) = lookup_dag(&app, &dag_id).await?;
    if !body.has("logical_date") {
        body.missing("logical_date");
    }
    let run_id = body.text("dag_run_id");
    let bounds = (body.instant("data_interval_start"), body.instant("data_interval_end"));
    let mut wish = TriggerDagRun {
        dag_id: view.dag_id.clone(),
        run_id: None,
        logical_date: body.instant("logical_date"),
        data_interval: bounds.0.zip(bounds.1),
        run_after: body.instant("run_after"),
        conf: body.object("conf"),
        note: body.text("note"),
        run_type: RunType::Manual,
        triggered_by: if headers.contains_key(header::REFERER) { TriggeredBy::Ui } else { TriggeredBy::RestApi },
    };
    if bounds.0.is_some() != bounds.1.is_some() {
        let message = "Either both data_interval_start and data_interval_end must be provided or both must be None";
        body.wrong("data_interval_start", "value_error", message, Value::Null);
    }
    if body.take("partition_key").is_some() {
        body.wrong("partition_key", "value_error", "This DAG's schedule has no partitions", Value::Null);
    }
    body.finish()?;
    wish.run_id = run_id.map(parse_run_id).transpose()?;
    let run = start(&app, &view, &version, wish, &who).await?;
    shaped(&app, &run).await
}

fn parse_run_id(text: String) -> ApiResult<RunId> {
    RunId::new(text).map_err(|error| ApiError::BadRequest(error.to_string()))
}

/// Checks a wish for a run and sends it; both doors, REST and page, come here.
///
/// # Errors
/// [`ApiError::BadRequest`] when the conf does not fit the DAG's params, and what the leader answers.
pub async fn start(
    app: &App,
    view: &DagView,
    version: &Version,
    wish: TriggerDagRun,
    who: &Principal,
) -> ApiResult<RunRow> {
    if view.has_import_errors {
        let file = &view.fileloc;
        let text = format!("DAG with dag_id: '{}' has import errors and cannot be triggered: mend {file}", view.dag_id);
        return Err(ApiError::BadRequest(text));
    }
    check_note(wish.note.as_deref())?;
    check_conf(version, &wish.conf)?;
    let answer = commands::send(app, &Command::TriggerDagRun(wish), who).await?;
    let run_id = answer.get("run_id").and_then(Value::as_str).unwrap_or_default();
    lookup_run(app, view.dag_id.as_str(), run_id).await
}

fn check_note(note: Option<&str>) -> ApiResult<()> {
    match note.map(|note| note.chars().count()) {
        Some(length) if length > NOTE_CHARS_MAX => {
            Err(ApiError::MalformedText(format!("a note has at most {NOTE_CHARS_MAX} characters, this one {length}")))
        }
        _ => Ok(()),
    }
}

/// The conf against the schemas of the DAG's params.
///
/// # Errors
/// [`ApiError::BadRequest`] with everything that does not fit.
pub fn check_conf(version: &Version, conf: &Map<String, Value>) -> ApiResult<()> {
    version.dag.validate_conf(conf).map(drop).map_err(|mismatches| ApiError::BadRequest(mismatches.join("; ")))
}

/// `PATCH /api/v2/dags/{dag_id}/dagRuns/{dag_run_id}`: set a run to a state.
pub async fn patch(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    Path((dag_id, run_id)): Path<(String, String)>,
    mut body: Body,
) -> ApiResult<Json<Value>> {
    let state = body.text("state");
    if body.take("note").is_some() {
        body.wrong("note", "value_error", "A note is given when the run is triggered", Value::Null);
    }
    let wish = match state.as_deref() {
        Some("queued") => Some(DagRunState::Queued),
        Some("success") => Some(DagRunState::Success),
        Some("failed") => Some(DagRunState::Failed),
        Some(other) => {
            let message = "Input should be 'queued', 'success' or 'failed'";
            body.wrong("state", "enum", message, Value::from(other));
            None
        }
        None => None,
    };
    body.finish()?;
    let run = lookup_run(&app, &dag_id, &run_id).await?;
    if let Some(state) = wish {
        let command = Command::MarkDagRun { dag_id: run.dag_id.clone(), run_id: run.run_id.clone(), state };
        commands::send(&app, &command, &who).await?;
    }
    shaped(&app, &lookup_run(&app, &dag_id, &run_id).await?).await
}
