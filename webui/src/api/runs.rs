//! Runs: list, one, trigger, and the states that people set.

use axum::{
    Extension, Json,
    extract::State,
    http::{HeaderMap, StatusCode, header},
};
use engine::RunRow;
use model::{
    Command, DagId, DagRunState, ID_CHARS_MAX, RunId, RunType, TriggeredBy,
    command::{SetNote, TriggerDagRun},
    door::{Conf, Instant, Note},
};
use serde_json::Value;
use store::read::{self, Direction, Part, Pattern, Range, RunFilter, RunOrder, SecondsRange, Visible};
use utoipa::openapi::{RefOr, schema::Schema};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    ALL,
    body::Body,
    cursor::CursorPage,
    declare::{
        Errors, Member, Never, NeverDated, OrderBy, OrderKey, Prefix, Sent, Words, body, member::words_in,
        param::sort_words, path_params, query_params, schema,
    },
    lookup_dag, lookup_run,
    query::{Page, sort_key},
    run_answer::{DAGRunCollectionResponse, DAGRunResponse, as_cleared, as_made},
};
use crate::{
    app::App,
    auth::{Principal, rights::Right},
    changes::{Mask, commands, runs::start},
    error::{ApiError, ApiResult},
};

/// The operations.
pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(list, trigger)).routes(routes!(batch)).routes(routes!(one, patch, delete))
}

path_params! {
    /// A DAG.
    pub struct DagPath {
        dag_id: String,
    }
}

path_params! {
    /// What a batch request is about: its body says it.
    pub struct EveryDagPath {
        dag_id: String => schema::words([ALL]),
    }
}

path_params! {
    /// A run.
    pub struct RunPath {
        dag_id: String,
        dag_run_id: String,
    }
}

impl OrderKey for RunOrder {
    const KEYS: &'static [(&'static str, Self)] = &[
        ("id", Self::Id),
        ("state", Self::State),
        ("dag_id", Self::DagId),
        ("run_id", Self::RunId),
        ("dag_run_id", Self::RunId),
        ("logical_date", Self::LogicalDate),
        ("run_after", Self::RunAfter),
        ("start_date", Self::StartDate),
        ("end_date", Self::EndDate),
        ("updated_at", Self::UpdatedAt),
        ("conf", Self::Conf),
        ("duration", Self::Duration),
        // No run has one, so the number alone orders them.
        ("partition_date", Self::Id),
    ];
    const DEFAULT: &'static str = "id";
}

query_params! {
    /// Which runs a list has.
    pub struct RunsQuery {
        page: CursorPage,
        order_by: OrderBy<RunOrder>,
        state: Vec<DagRunState>,
        run_type: Vec<RunType>,
        /// Part of the run's id, whatever its case; `%` and `_` are wildcards, `|` separates alternatives.
        run_id_pattern: Pattern,
        /// How the run's id begins.
        run_id_prefix_pattern: Prefix,
        /// Part of the DAG's id.
        dag_id_pattern: Pattern,
        /// How the DAG's id begins.
        dag_id_prefix_pattern: Prefix,
        /// Part of the name of the user who triggered the run.
        triggering_user_name_pattern: Pattern,
        /// How the name of the user begins who triggered the run.
        triggering_user_name_prefix_pattern: Prefix,
        /// A text in the run's conf as JSON.
        conf_contains: Option<String>,
        /// Numbers of the DAG versions that runs are pinned to.
        dag_version: Vec<i32>,
        /// The content of the DAG version that runs are pinned to.
        bundle_version: Option<String>,
        duration: SecondsRange,
        logical_date: Range,
        run_after: Range,
        start_date: Range,
        end_date: Range,
        updated_at: Range,
        /// No run has a partition: none fits.
        partition_key_pattern: Never,
        /// No run has a partition: none fits.
        partition_key_prefix_pattern: Never,
        /// No run has a partition: none fits.
        partition_date_gte: NeverDated,
        /// No run has a partition: none fits.
        partition_date_lte: NeverDated,
        /// Part of the name or uri of an asset whose events the run has taken up.
        consuming_asset_pattern: Pattern,
    }
}

impl RunsQuery {
    /// Whether it asks for what no run has.
    const fn means_none(&self) -> bool {
        self.partition_key_pattern.is_asked
            || self.partition_key_prefix_pattern.is_asked
            || self.partition_date_gte.is_asked
            || self.partition_date_lte.is_asked
    }

    fn filter(self, dag_ids: Vec<DagId>, visible: Visible) -> RunFilter {
        RunFilter {
            visible,
            dag_ids,
            run_ids: Vec::new(),
            states: self.state,
            run_types: self.run_type,
            run_id_pattern: self.run_id_pattern,
            run_id_prefix: self.run_id_prefix_pattern.0,
            dag_id_pattern: self.dag_id_pattern,
            dag_id_prefix: self.dag_id_prefix_pattern.0,
            user_pattern: self.triggering_user_name_pattern,
            user_prefix: self.triggering_user_name_prefix_pattern.0,
            conf_contains: self.conf_contains,
            versions: self.dag_version,
            content_hash: self.bundle_version,
            consumed_asset: self.consuming_asset_pattern,
            duration: self.duration,
            logical_date: self.logical_date,
            run_after: self.run_after,
            start_date: self.start_date,
            end_date: self.end_date,
            updated_at: self.updated_at,
            order: self.order_by.0,
            newest: None,
            limit: self.page.page.limit,
            offset: self.page.page.offset,
        }
    }
}

body! {
    /// Which runs a list has, in the body of a batch request.
    pub struct DAGRunsBatchBody {
        page: Page,
        /// An attribute to order by, descending after a `-`.
        order_by: Option<String> => schema::nullable(sort_words::<RunOrder>()),
        dag_ids: Vec<String>,
        states: RunStates,
        /// A text in the run's conf as JSON.
        conf_contains: Option<String>,
        logical_date: Range,
        run_after: Range,
        start_date: Range,
        end_date: Range,
        duration: SecondsRange,
    }
}

body! {
    /// A run that is to be made.
    pub struct TriggerDAGRunPostBody {
        dag_run_id: Option<String> => schema::nullable(schema::text_like(r"^[A-Za-z0-9_.~:+-]+$", 1, ID_CHARS_MAX)),
        data_interval_start: Option<Instant>,
        data_interval_end: Option<Instant>,
        /// The date that the run stands for; null for none.
        logical_date: OrNull<Instant>,
        /// The earliest start.
        run_after: Option<Instant>,
        conf: Conf,
        note: Option<Note>,
        /// There are no partitions yet.
        partition_key: Option<String>,
    }
}

/// A member that has to be there and may be null.
pub struct OrNull<T>(pub Option<T>);

impl<T> Member for OrNull<T>
where
    Option<T>: Member,
{
    const REQUIRED: bool = true;

    fn read(body: &mut Body, name: &str) -> Self {
        if !body.has(name) {
            body.missing(name);
        }
        Self(Option::<T>::read(body, name))
    }

    fn schema() -> RefOr<Schema> {
        Option::<T>::schema()
    }
}

/// States of runs. Airflow allows null among them, which no run has.
pub struct RunStates {
    states: Vec<DagRunState>,
    is_null_only: bool,
}

impl Member for RunStates {
    const REQUIRED: bool = false;

    fn read(body: &mut Body, name: &str) -> Self {
        let listed = body.list(name);
        let (null, named): (Vec<Value>, Vec<Value>) = listed.into_iter().partition(Value::is_null);
        let is_null_only = named.is_empty() && !null.is_empty();
        Self { states: words_in(body, name, named), is_null_only }
    }

    fn schema() -> RefOr<Schema> {
        Words::<DagRunState>::schema()
    }
}

query_params! {
    /// What a change is limited to.
    pub struct RunMask {
        /// The fields that are changed; without any, all that are sent.
        update_mask: Mask => schema::nullable(schema::list(schema::words(["state", "note"]))),
    }
}

body! {
    /// What a run is to be changed to.
    pub struct DAGRunPatchBody {
        state: Option<MutableState>,
        /// Null or an empty text takes the note away.
        note: Sent<Option<Note>>,
    }
}

/// A state that a run can be set to.
#[derive(Debug, Clone, Copy)]
pub struct MutableState(DagRunState);

impl MutableState {
    const ALL: [DagRunState; 3] = [DagRunState::Queued, DagRunState::Success, DagRunState::Failed];
}

impl Member for Option<MutableState> {
    const REQUIRED: bool = false;

    fn read(body: &mut Body, name: &str) -> Self {
        let word = body.text(name)?;
        let found = MutableState::ALL.into_iter().find(|state| state.name() == word);
        if found.is_none() {
            body.wrong(name, "enum", "Input should be 'queued', 'success' or 'failed'", Value::from(word));
        }
        found.map(MutableState)
    }

    fn schema() -> RefOr<Schema> {
        schema::nullable(schema::words(MutableState::ALL.map(DagRunState::name))).into()
    }
}

/// Get Dag Runs
///
/// `~` stands for all DAGs.
#[utoipa::path(
    get, path = "/api/v2/dags/{dag_id}/dagRuns", operation_id = "get_dag_runs", tag = "DagRun",
    params(DagPath, RunsQuery),
    responses((status = 200, description = "Successful Response", body = DAGRunCollectionResponse), Errors<404>),
    security(("token" = [Right::Read]))
)]
pub async fn list(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    DagPath { dag_id }: DagPath,
    query: RunsQuery,
) -> ApiResult<Json<DAGRunCollectionResponse>> {
    let dag_ids = if dag_id == ALL { Vec::new() } else { vec![lookup_dag(&app, &dag_id).await?.0.dag_id] };
    if query.means_none() {
        return Ok(Json(DAGRunCollectionResponse::whole(Vec::new(), 0)));
    }
    let page = query.page.clone();
    let part = read::run_part(&app.pool, &query.filter(dag_ids, who.visible()), &page.walk).await?;
    DAGRunCollectionResponse::of(&app, &page, &part).await.map(Json)
}

/// Get List Dag Runs Batch
///
/// The same with its filters in the body.
#[utoipa::path(
    post, path = "/api/v2/dags/{dag_id}/dagRuns/list", operation_id = "get_list_dag_runs_batch", tag = "DagRun",
    params(EveryDagPath),
    request_body = DAGRunsBatchBody,
    responses((status = 200, description = "Successful Response", body = DAGRunCollectionResponse), Errors<404>),
    security(("token" = [Right::Read]))
)]
pub async fn batch(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    EveryDagPath { dag_id }: EveryDagPath,
    body: DAGRunsBatchBody,
) -> ApiResult<Json<DAGRunCollectionResponse>> {
    only_all(&dag_id, "dag_id")?;
    let order = one_key(body.order_by.as_deref())?;
    let dag_ids: Vec<DagId> = body.dag_ids.iter().filter_map(|id| DagId::new(id.as_str()).ok()).collect();
    if body.states.is_null_only || (!body.dag_ids.is_empty() && dag_ids.is_empty()) {
        return Ok(Json(DAGRunCollectionResponse::whole(Vec::new(), 0)));
    }
    let filter = RunFilter {
        visible: who.visible(),
        dag_ids,
        states: body.states.states,
        conf_contains: body.conf_contains,
        logical_date: body.logical_date,
        run_after: body.run_after,
        start_date: body.start_date,
        end_date: body.end_date,
        duration: body.duration,
        order: order.into_iter().collect(),
        limit: body.page.limit,
        offset: body.page.offset,
        ..RunFilter::default()
    };
    let (rows, total) = read::runs(&app.pool, &filter).await?;
    let part = Part { rows, total, next: None, previous: None };
    DAGRunCollectionResponse::of(&app, &CursorPage::of(body.page), &part).await.map(Json)
}

/// The `order_by` of a batch request.
///
/// # Errors
/// [`ApiError::BadRequest`] for an attribute that nothing can be ordered by.
pub fn one_key<K: OrderKey>(text: Option<&str>) -> ApiResult<Option<(K, Direction)>> {
    let key = |name: &str| K::KEYS.iter().find(|(known, _)| *known == name).map(|(_, key)| key.clone());
    text.map(|text| sort_key(text, key)).transpose()
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

/// Get Dag Run
#[utoipa::path(
    get, path = "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}", operation_id = "get_dag_run", tag = "DagRun",
    params(RunPath),
    responses((status = 200, description = "Successful Response", body = DAGRunResponse), Errors<404>),
    security(("token" = [Right::Read]))
)]
pub async fn one(State(app): State<App>, path: RunPath) -> ApiResult<Json<DAGRunResponse>> {
    let run = lookup_run(&app, &path.dag_id, &path.dag_run_id).await?;
    DAGRunResponse::read(&app, &run).await.map(Json)
}

/// Trigger Dag Run
///
/// The answer is the run as it was made, and so it is queued.
#[utoipa::path(
    post, path = "/api/v2/dags/{dag_id}/dagRuns", operation_id = "trigger_dag_run", tag = "DagRun",
    params(DagPath),
    request_body = TriggerDAGRunPostBody,
    responses((status = 200, description = "Successful Response", body = DAGRunResponse), Errors<404, 409>),
    security(("token" = [Right::ChangeDags]))
)]
pub async fn trigger(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    DagPath { dag_id }: DagPath,
    headers: HeaderMap,
    mut body: Body,
) -> ApiResult<Json<DAGRunResponse>> {
    let (view, version) = lookup_dag(&app, &dag_id).await?;
    let asked = TriggerDAGRunPostBody::read(&mut body);
    refuse_half_an_interval(&mut body, (&asked.data_interval_start, &asked.data_interval_end));
    refuse_a_partition(&mut body, asked.partition_key.as_deref());
    body.finish()?;
    let wish = TriggerDagRun {
        dag_id: view.dag_id.clone(),
        run_id: asked.dag_run_id.map(parse_run_id).transpose()?,
        logical_date: asked.logical_date.0,
        data_interval: asked.data_interval_start.zip(asked.data_interval_end),
        run_after: asked.run_after,
        conf: asked.conf,
        note: asked.note,
        run_type: RunType::Manual,
        triggered_by: if headers.contains_key(header::REFERER) { TriggeredBy::Ui } else { TriggeredBy::RestApi },
    };
    let run = start(&app, &view, &version, wish, &who).await?;
    DAGRunResponse::read(&app, &as_made(run)).await.map(Json)
}

/// An interval has a beginning and an end, or there is none.
pub(super) fn refuse_half_an_interval<T>(body: &mut Body, (start, end): (&Option<T>, &Option<T>)) {
    if start.is_some() != end.is_some() {
        let message = "Either both data_interval_start and data_interval_end must be provided or both must be None";
        body.wrong("data_interval_start", "value_error", message, Value::Null);
    }
}

/// No schedule has partitions.
pub(super) fn refuse_a_partition(body: &mut Body, partition_key: Option<&str>) {
    if partition_key.is_some() {
        body.wrong("partition_key", "value_error", "This DAG's schedule has no partitions", Value::Null);
    }
}

pub(super) fn parse_run_id(text: String) -> ApiResult<RunId> {
    RunId::new(text).map_err(|error| ApiError::BadRequest(error.to_string()))
}

/// Patch Dag Run
///
/// Sets a run to a state, and leaves a note on it.
#[utoipa::path(
    patch, path = "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}", operation_id = "patch_dag_run", tag = "DagRun",
    params(RunPath, RunMask),
    request_body = DAGRunPatchBody,
    responses((status = 200, description = "Successful Response", body = DAGRunResponse), Errors<404, 409>),
    security(("token" = [Right::ChangeDags]))
)]
pub async fn patch(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    path: RunPath,
    RunMask { update_mask: mask }: RunMask,
    body: DAGRunPatchBody,
) -> ApiResult<Json<DAGRunResponse>> {
    if let Some(other) = mask.fields().find(|field| !matches!(*field, "state" | "note")) {
        return Err(ApiError::BadRequest(format!("`{other}` is no field of a run that can be updated")));
    }
    let run = lookup_run(&app, &path.dag_id, &path.dag_run_id).await?;
    RunChange::of(body.state, body.note).carry_out(&app, &run, &mask, &who).await?;
    let now = lookup_run(&app, &path.dag_id, &path.dag_run_id).await?;
    DAGRunResponse::read(&app, &as_cleared(&run, now)).await.map(Json)
}

/// What is to be changed of a run.
pub struct RunChange {
    state: Option<DagRunState>,
    /// The remark, when it was sent: none takes an earlier one away.
    note: Option<Option<Note>>,
}

impl RunChange {
    /// What was sent.
    #[must_use]
    pub fn of(state: Option<MutableState>, note: Sent<Option<Note>>) -> Self {
        Self { state: state.map(|state| state.0), note: note.0 }
    }

    /// Does what the mask leaves of it.
    ///
    /// # Errors
    /// What the leader answers.
    pub async fn carry_out(&self, app: &App, run: &RunRow, mask: &Mask, who: &Principal) -> ApiResult<()> {
        for command in self.commands(run.dag_id.clone(), run.run_id.clone(), mask) {
            commands::send(app, &command, who).await?;
        }
        Ok(())
    }

    /// The commands that do it: the state first.
    #[must_use]
    pub fn commands(&self, dag_id: DagId, run_id: RunId, mask: &Mask) -> Vec<Command> {
        let mut commands = Vec::new();
        if let Some(state) = self.state.filter(|_| mask.has("state")) {
            commands.push(Command::MarkDagRun { dag_id: dag_id.clone(), run_id: run_id.clone(), state });
        }
        if let Some(note) = self.note.clone().filter(|_| mask.has("note")) {
            commands.push(Command::SetNote(SetNote { dag_id, run_id, tasks: Vec::new(), note }));
        }
        commands
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

/// Delete Dag Run
#[utoipa::path(
    delete, path = "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}", operation_id = "delete_dag_run", tag = "DagRun",
    params(RunPath),
    responses((status = 204, description = "Successful Response"), Errors<404, 409>),
    security(("token" = [Right::ChangeDags]))
)]
pub async fn delete(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    path: RunPath,
) -> ApiResult<StatusCode> {
    let run = lookup_run(&app, &path.dag_id, &path.dag_run_id).await?;
    let command = Command::DeleteDagRun { dag_id: run.dag_id, run_id: run.run_id };
    commands::send(&app, &command, &who).await?;
    Ok(StatusCode::NO_CONTENT)
}
