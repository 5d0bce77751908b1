//! Runs: list, one, trigger, and the states that people set.

use std::{fmt::Display, str::FromStr};

use axum::{
    Extension, Json,
    extract::{Path, State},
    http::{HeaderMap, StatusCode, header},
};
use engine::RunRow;
use model::{
    Command, DagId, DagRunState, RunId, RunType, TriggeredBy,
    command::{SetNote, TriggerDagRun},
    door::Note,
};
use serde_json::{Map, Value};
use store::read::{self, DagView, RunFilter, RunOrder, Version};

use super::{
    ALL,
    body::Body,
    bulk::Mask,
    lookup_dag, lookup_run,
    query::{Page, Query, sort_key},
    shapes,
};
use crate::{
    app::App,
    auth::Principal,
    commands,
    error::{ApiError, ApiResult},
};

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
    let dag_ids = if dag_id == ALL { Vec::new() } else { vec![lookup_dag(&app, &dag_id).await?.0.dag_id] };
    let page = query.page();
    let filter = filter_of(dag_ids, page, &mut query)?;
    listed(&app, page, &filter).await
}

/// `POST /api/v2/dags/~/dagRuns/list`: the same with its filters in the body.
pub async fn batch(State(app): State<App>, Path(dag_id): Path<String>, mut body: Body) -> ApiResult<Json<Value>> {
    only_all(&dag_id, "dag_id")?;
    let page = body.page();
    let order = body.text("order_by").map(|text| sort_key(&text, key)).transpose()?;
    let asked = body.texts("dag_ids");
    let filter = RunFilter {
        dag_ids: asked.iter().filter_map(|id| DagId::new(id.as_str()).ok()).collect(),
        states: words(&body.texts("states"))?,
        conf_contains: body.text("conf_contains"),
        logical_date: body.range("logical_date"),
        run_after: body.range("run_after"),
        start_date: body.range("start_date"),
        end_date: body.range("end_date"),
        duration: body.seconds("duration"),
        order: order.into_iter().collect(),
        limit: page.limit,
        offset: page.offset,
        ..RunFilter::default()
    };
    body.finish()?;
    if !asked.is_empty() && filter.dag_ids.is_empty() {
        return Ok(Json(page.answer("dag_runs", Vec::new(), 0)));
    }
    listed(&app, page, &filter).await
}

async fn listed(app: &App, page: Page, filter: &RunFilter) -> ApiResult<Json<Value>> {
    let (runs, total) = read::runs(&app.pool, filter).await?;
    let versions = app.versions.all(&app.pool, runs.iter().map(|run| run.version)).await?;
    let shape = |run: &RunRow| shapes::run(run, versions.get(&run.version).map(|version| &**version));
    Ok(Json(page.answer("dag_runs", runs.iter().map(shape).collect(), total)))
}

/// Batch requests are about everything; what they are limited to stands in their bodies.
///
/// # Errors
/// [`ApiError::BadRequest`] when the path names something.
pub fn only_all(id: &str, name: &str) -> ApiResult<()> {
    if id == ALL {
        return Ok(());
    }
    Err(ApiError::BadRequest(format!("Only `~` is supported as {name} here; the body says what is asked for")))
}

/// Words of an enum in a body's list.
///
/// # Errors
/// [`ApiError::MalformedText`].
pub fn words<T: FromStr<Err: Display>>(texts: &[String]) -> ApiResult<Vec<T>> {
    texts.iter().map(|text| text.parse().map_err(|error: T::Err| ApiError::MalformedText(error.to_string()))).collect()
}

fn filter_of(dag_ids: Vec<DagId>, page: Page, query: &mut Query) -> ApiResult<RunFilter> {
    let filter = RunFilter {
        dag_ids,
        run_ids: Vec::new(),
        states: query.words("state")?,
        run_types: query.words("run_type")?,
        run_id_pattern: query.pattern("run_id_pattern"),
        run_id_prefix: query.prefix("run_id_prefix_pattern"),
        dag_id_pattern: query.pattern("dag_id_pattern"),
        user_pattern: query.pattern("triggering_user_name_pattern"),
        conf_contains: query.text("conf_contains").map(str::to_owned),
        versions: query.numbers("dag_version"),
        duration: query.seconds("duration"),
        logical_date: query.range("logical_date"),
        run_after: query.range("run_after"),
        start_date: query.range("start_date"),
        end_date: query.range("end_date"),
        updated_at: query.range("updated_at"),
        order: query.order(key)?,
        newest: None,
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
        conf: body.conf("conf"),
        note: body.note("note"),
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
    check_conf(version, wish.conf.get())?;
    let answer = commands::send(app, &Command::TriggerDagRun(wish), who).await?;
    let run_id = answer.get("run_id").and_then(Value::as_str).unwrap_or_default();
    lookup_run(app, view.dag_id.as_str(), run_id).await
}

/// The conf against the schemas of the DAG's params.
///
/// # Errors
/// [`ApiError::BadRequest`] with everything that does not fit.
pub fn check_conf(version: &Version, conf: &Map<String, Value>) -> ApiResult<()> {
    version.dag.validate_conf(conf).map(drop).map_err(|mismatches| ApiError::BadRequest(mismatches.join("; ")))
}

/// `PATCH /api/v2/dags/{dag_id}/dagRuns/{dag_run_id}`: set a run to a state, and leave a remark on it.
pub async fn patch(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    Path((dag_id, run_id)): Path<(String, String)>,
    query: Query,
    mut body: Body,
) -> ApiResult<Json<Value>> {
    let change = RunChange::read(&mut body);
    let mask = Mask::of(query.all("update_mask"));
    if let Some(other) = mask.fields().find(|field| !matches!(*field, "state" | "note")) {
        return Err(ApiError::BadRequest(format!("`{other}` is no field of a run that can be updated")));
    }
    body.finish()?;
    let run = lookup_run(&app, &dag_id, &run_id).await?;
    change.carry_out(&app, &run, &mask, &who).await?;
    shaped(&app, &lookup_run(&app, &dag_id, &run_id).await?).await
}

/// What is to be changed of a run.
pub struct RunChange {
    state: Option<DagRunState>,
    /// The remark, when it was sent: none takes an earlier one away.
    note: Option<Option<Note>>,
}

impl RunChange {
    /// Reads it out of a body; what is wrong is noted there.
    pub fn read(body: &mut Body) -> Self {
        Self { note: note_of(body), state: body.text("state").and_then(|word| wanted_state(body, &word)) }
    }

    /// Does what the mask leaves of it.
    ///
    /// # Errors
    /// What the leader answers.
    pub async fn carry_out(&self, app: &App, run: &RunRow, mask: &Mask, who: &Principal) -> ApiResult<()> {
        let (dag_id, run_id) = (run.dag_id.clone(), run.run_id.clone());
        if let Some(state) = self.state.filter(|_| mask.has("state")) {
            let command = Command::MarkDagRun { dag_id: dag_id.clone(), run_id: run_id.clone(), state };
            commands::send(app, &command, who).await?;
        }
        match &self.note {
            Some(note) if mask.has("note") => set_note(app, run, note.clone(), who).await,
            Some(_) | None => Ok(()),
        }
    }
}

/// Leaves a remark on a run.
///
/// # Errors
/// What the leader answers.
pub async fn set_note(app: &App, run: &RunRow, note: Option<Note>, who: &Principal) -> ApiResult<()> {
    let wish = SetNote { dag_id: run.dag_id.clone(), run_id: run.run_id.clone(), tasks: Vec::new(), note };
    commands::send(app, &Command::SetNote(wish), who).await.map(drop)
}

fn wanted_state(body: &mut Body, word: &str) -> Option<DagRunState> {
    match word {
        "queued" => Some(DagRunState::Queued),
        "success" => Some(DagRunState::Success),
        "failed" => Some(DagRunState::Failed),
        other => {
            body.wrong("state", "enum", "Input should be 'queued', 'success' or 'failed'", Value::from(other));
            None
        }
    }
}

/// The member `note`, when it was sent: null and an empty text take a remark away.
pub fn note_of(body: &mut Body) -> Option<Option<Note>> {
    body.has("note").then(|| body.note("note"))
}

/// `DELETE /api/v2/dags/{dag_id}/dagRuns/{dag_run_id}`.
pub async fn delete(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    Path((dag_id, run_id)): Path<(String, String)>,
) -> ApiResult<StatusCode> {
    let run = lookup_run(&app, &dag_id, &run_id).await?;
    let command = Command::DeleteDagRun { dag_id: run.dag_id, run_id: run.run_id };
    commands::send(&app, &command, &who).await?;
    Ok(StatusCode::NO_CONTENT)
}
