//! DAGs: lists by PostgreSQL, and what people change.

use axum::{Extension, Json, extract::State};
use model::{Command, DagId, DagRunState, command::Paused};
use serde_json::Value;
use std::str::FromStr;
use store::{
    favorites,
    read::{self, DagFilter, DagOrder, DagView, Direction, Marked, Pattern, Range, TagFilter, Timetable, Window},
};
use utoipa::openapi::schema::Schema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    dag_shapes::{self, DAGDetailsResponse, DAGResponse},
    declare::{Errors, Flag, OrderBy, OrderKey, Prefix, Word, answer, body, path_params, query_params, schema, words},
    lookup_dag,
    query::Page,
};
use crate::{
    app::App,
    auth::{Principal, rights::Right},
    changes::{Mask, commands},
    error::{ApiError, ApiResult},
    reads::names::Names,
};

/// DAGs that one request pauses or un-pauses: with so many at once it ends within its time.
const CHANGED_MAX: i64 = 1_000;
/// DAGs whose runs one answer counts.
const STATS_MAX: i64 = 10_000;

/// The operations.
pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list, patch_many))
        .routes(routes!(one, patch, delete))
        .routes(routes!(details))
        .routes(routes!(stats))
        .routes(routes!(tags))
}

path_params! {
    /// A DAG.
    pub struct DagPath {
        dag_id: String,
    }
}

query_params! {
    /// Which DAGs a list has.
    pub struct DagListFilter {
        page: Page,
        order_by: OrderBy<DagOrder>,
        tags: Vec<String>,
        /// Whether one of the tags is enough, which it is unless all are asked for.
        tags_match_mode: Option<TagsMatchMode>,
        owners: Vec<String>,
        /// Part of the id, whatever its case; `%` and `_` are wildcards, `|` separates alternatives.
        dag_id_pattern: Pattern,
        /// How the id begins.
        dag_id_prefix_pattern: Prefix,
        /// Part of the name that is shown, which is the id.
        dag_display_name_pattern: Pattern,
        /// How that name begins.
        dag_display_name_prefix_pattern: Prefix,
        /// Whether DAGs that no file defines any more are left out.
        exclude_stale: Flag<true>,
        paused: Option<bool>,
        has_import_errors: Option<bool>,
        /// The state of the newest run.
        last_dag_run_state: Vec<DagRunState>,
        /// The bundle whose file defines it; `dags-folder` is the DAG folder.
        bundle_name: Option<String>,
        /// The DAG folder has no versions: those are of DAGs.
        bundle_version: Option<String>,
        /// Whether it waits for assets.
        has_asset_schedule: Option<bool>,
        /// Part of the name or uri of an asset that it waits for, writes or reads.
        asset_dependency: Option<String>,
        /// When the newest run began.
        dag_run_start_date: Range,
        /// When the newest run ended.
        dag_run_end_date: Range,
        /// The state of the newest run.
        dag_run_state: Vec<DagRunState>,
        /// Whether who asks has marked it as a favorite.
        is_favorite: Option<bool>,
        /// By what runs are due: a class of Airflow's timetables, such as `CronTriggerTimetable`, with or without its module.
        timetable_type: Vec<String>,
    }
}

query_params! {
    /// What a change is limited to.
    pub struct PauseMask {
        /// The field that is changed, which is `is_paused`.
        update_mask: Mask => pause_mask(),
    }
}

fn pause_mask() -> Schema {
    schema::nullable(schema::list(schema::words(["is_paused"])))
}

query_params! {
    /// Which DAGs are changed.
    pub struct DagPatchFilter {
        page: Page,
        /// The field that is changed, which is `is_paused`.
        update_mask: Mask => pause_mask(),
        tags: Vec<String>,
        /// Whether one of the tags is enough, which it is unless all are asked for.
        tags_match_mode: Option<TagsMatchMode>,
        owners: Vec<String>,
        /// Part of the id; without this one or the next nothing is changed.
        dag_id_pattern: Pattern,
        /// How the id begins.
        dag_id_prefix_pattern: Prefix,
        /// Whether DAGs that no file defines any more are left out.
        exclude_stale: Flag<true>,
        paused: Option<bool>,
        /// Whether any pattern was given, were it `~` for everything.
        is_limited: IsLimited,
    }
}

query_params! {
    /// Whose runs are counted.
    pub struct DagStatsFilter {
        /// Of all DAGs when none is named.
        dag_ids: Vec<String>,
    }
}

query_params! {
    /// Which tags a list has.
    pub struct DagTagFilter {
        page: Page,
        order_by: OrderBy<TagKey>,
        /// Part of the name, whatever its case; `%` and `_` are wildcards, `|` separates alternatives.
        tag_name_pattern: Pattern,
        /// How the name begins.
        tag_name_prefix_pattern: Prefix,
    }
}

/// Whether a query limits the DAGs by their ids: a request that changes DAGs has to.
pub struct IsLimited(bool);

impl super::declare::Param for IsLimited {
    fn read(query: &mut super::query::Query, _: &str) -> Self {
        Self(["dag_id_pattern", "dag_id_prefix_pattern"].into_iter().any(|name| query.text(name).is_some()))
    }

    fn declare(_: &str) -> Vec<super::declare::param::Declared> {
        Vec::new()
    }
}

/// Whether all tags are asked for, or one of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TagsMatchMode {
    /// One of them.
    Any,
    /// All of them.
    All,
}

impl FromStr for TagsMatchMode {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "any" => Ok(Self::Any),
            "all" => Ok(Self::All),
            _ => Err("Input should be 'any' or 'all'"),
        }
    }
}

impl Word for TagsMatchMode {
    fn names() -> Vec<&'static str> {
        vec!["any", "all"]
    }
}

impl OrderKey for DagOrder {
    const KEYS: &'static [(&'static str, Self)] = &[
        ("dag_id", Self::DagId),
        ("dag_display_name", Self::Name),
        ("next_dagrun", Self::NextRun),
        ("state", Self::LastState),
        ("start_date", Self::LastStart),
        ("last_run_state", Self::LastState),
        ("last_run_start_date", Self::LastStart),
    ];
    const DEFAULT: &'static str = "dag_id";
}

/// What tags are ordered by: they are names.
#[derive(Debug, Clone, Copy)]
pub struct TagKey;

impl OrderKey for TagKey {
    const KEYS: &'static [(&'static str, Self)] = &[("name", Self)];
    const DEFAULT: &'static str = "name";
}

body! {
    /// What a DAG is to be changed to.
    pub struct DAGPatchBody {
        is_paused: bool,
    }
}

answer! {
    /// A part of the list of DAGs.
    pub struct DAGCollectionResponse {
        dags: Vec<DAGResponse>,
        total_entries: i64,
    }
}

answer! {
    /// How many runs DAGs have.
    pub struct DagStatsCollectionResponse {
        dags: Vec<DagStatsResponse>,
        total_entries: usize,
    }
}

answer! {
    /// How many runs a DAG has in each state.
    pub struct DagStatsResponse {
        dag_id: String,
        dag_display_name: String,
        stats: Vec<DagStatsStateResponse>,
    }
}

answer! {
    /// How many runs are in a state.
    pub struct DagStatsStateResponse {
        state: words::DagRunState,
        count: i64,
    }
}

answer! {
    /// A part of the list of tags.
    pub struct DAGTagCollectionResponse {
        tags: Vec<String>,
        total_entries: i64,
    }
}

impl DagListFilter {
    fn dags(self, who: &Principal) -> Option<DagFilter> {
        let timetables: Vec<Timetable> = self.timetable_type.iter().filter_map(|name| timetable_of(name)).collect();
        if timetables.is_empty() && !self.timetable_type.is_empty() {
            return None;
        }
        let states = match (self.last_dag_run_state, self.dag_run_state) {
            (some, none) | (none, some) if none.is_empty() => some,
            (some, others) => {
                let both: Vec<DagRunState> = some.into_iter().filter(|state| others.contains(state)).collect();
                if both.is_empty() {
                    return None;
                }
                both
            }
        };
        Some(DagFilter {
            visible: who.visible(),
            paused: self.paused,
            without_stale: self.exclude_stale.0,
            with_import_errors: self.has_import_errors,
            id_pattern: self.dag_id_pattern,
            id_prefix: self.dag_id_prefix_pattern.0,
            name_pattern: self.dag_display_name_pattern,
            name_prefix: self.dag_display_name_prefix_pattern.0,
            tags: self.tags,
            all_tags: self.tags_match_mode == Some(TagsMatchMode::All),
            owners: self.owners,
            bundle: self.bundle_name,
            bundle_version: self.bundle_version,
            marked: self.is_favorite.map(|is_marked| Marked { by: who.name.clone(), is_marked }),
            last_states: states,
            last_started: self.dag_run_start_date,
            last_ended: self.dag_run_end_date,
            timetables,
            waits_for_assets: self.has_asset_schedule,
            asset: self.asset_dependency,
            order: self.order_by.0,
            ..DagFilter::default()
        })
    }
}

/// The timetable of a class of Airflow's.
fn timetable_of(name: &str) -> Option<Timetable> {
    Some(match name.rsplit('.').next()? {
        "NullTimetable" => Timetable::Never,
        "AssetTriggeredTimetable" => Timetable::Assets,
        "AssetOrTimeSchedule" => Timetable::AssetsOrTime,
        "OnceTimetable" => Timetable::Once,
        "ContinuousTimetable" => Timetable::Continuous,
        "CronTriggerTimetable" => Timetable::CronTrigger,
        "MultipleCronTriggerTimetable" => Timetable::SeveralCronTriggers,
        "CronDataIntervalTimetable" => Timetable::CronDataInterval,
        "DeltaTriggerTimetable" => Timetable::DeltaTrigger,
        "DeltaDataIntervalTimetable" => Timetable::DeltaDataInterval,
        _ => return None,
    })
}

/// DAGs as the API writes them: only their definitions are read.
async fn shaped(app: &App, dags: &[DagView]) -> ApiResult<Vec<DAGResponse>> {
    let versions = app.versions.all(&app.pool, dags.iter().map(|view| view.current)).await?;
    Ok(dags.iter().filter_map(|view| Some(dag_shapes::dag(view, versions.get(&view.current)?))).collect())
}

const fn no_dags() -> DAGCollectionResponse {
    DAGCollectionResponse { dags: Vec::new(), total_entries: 0 }
}

/// Get Dags
#[utoipa::path(
    get, path = "/api/v2/dags", operation_id = "get_dags", tag = "DAG",
    params(DagListFilter),
    responses((status = 200, description = "Successful Response", body = DAGCollectionResponse), Errors<501>),
    security(("token" = [Right::Read]))
)]
pub async fn list(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    filter: DagListFilter,
) -> ApiResult<Json<DAGCollectionResponse>> {
    let window = filter.page.window();
    let Some(filter) = filter.dags(&who) else { return Ok(Json(no_dags())) };
    let (found, total_entries) = read::dag_list(&app.pool, &filter, window).await?;
    Ok(Json(DAGCollectionResponse { dags: shaped(&app, &found).await?, total_entries }))
}

/// Get Dag
#[utoipa::path(
    get, path = "/api/v2/dags/{dag_id}", operation_id = "get_dag", tag = "DAG",
    params(DagPath),
    responses((status = 200, description = "Successful Response", body = DAGResponse), Errors<404>),
    security(("token" = [Right::Read]))
)]
pub async fn one(State(app): State<App>, path: DagPath) -> ApiResult<Json<DAGResponse>> {
    let (view, version) = lookup_dag(&app, &path.dag_id).await?;
    Ok(Json(dag_shapes::dag(&view, &version)))
}

/// Get Dag Details
#[utoipa::path(
    get, path = "/api/v2/dags/{dag_id}/details", operation_id = "get_dag_details", tag = "DAG",
    params(DagPath),
    responses((status = 200, description = "Successful Response", body = DAGDetailsResponse), Errors<404>),
    security(("token" = [Right::Read]))
)]
pub async fn details(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    path: DagPath,
) -> ApiResult<Json<DAGDetailsResponse>> {
    let (view, version) = lookup_dag(&app, &path.dag_id).await?;
    let active = read::active_runs(&app.pool, &view.dag_id).await?;
    let is_favorite = favorites::is_marked(&app.pool, &who.name, &view.dag_id).await?;
    Ok(Json(dag_shapes::dag_details(&view, &version, active, is_favorite)))
}

/// Patch Dag
///
/// Pauses or un-pauses a DAG.
#[utoipa::path(
    patch, path = "/api/v2/dags/{dag_id}", operation_id = "patch_dag", tag = "DAG",
    params(DagPath, PauseMask),
    request_body = DAGPatchBody,
    responses((status = 200, description = "Successful Response", body = DAGResponse), Errors<404>),
    security(("token" = [Right::ChangeDags]))
)]
pub async fn patch(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    path: DagPath,
    mask: PauseMask,
    body: DAGPatchBody,
) -> ApiResult<Json<DAGResponse>> {
    let to = wanted(&mask.update_mask, &body)?;
    let (view, _) = lookup_dag(&app, &path.dag_id).await?;
    commands::send(&app, &Command::PauseDag { dag_id: view.dag_id, to }, &who).await?;
    let (view, version) = lookup_dag(&app, &path.dag_id).await?;
    Ok(Json(dag_shapes::dag(&view, &version)))
}

/// Patch Dags
///
/// Pauses or un-pauses all DAGs that the filters leave. Without a pattern of ids nothing is meant, as in Airflow, so that a
/// forgotten one pauses nothing.
#[utoipa::path(
    patch, path = "/api/v2/dags", operation_id = "patch_dags", tag = "DAG",
    params(DagPatchFilter),
    request_body = DAGPatchBody,
    responses((status = 200, description = "Successful Response", body = DAGCollectionResponse), Errors<404>),
    security(("token" = [Right::ChangeDags]))
)]
pub async fn patch_many(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    filter: DagPatchFilter,
    body: DAGPatchBody,
) -> ApiResult<Json<DAGCollectionResponse>> {
    let to = wanted(&filter.update_mask, &body)?;
    if !filter.is_limited.0 {
        return Ok(Json(no_dags()));
    }
    let meant = DagFilter {
        paused: filter.paused,
        without_stale: filter.exclude_stale.0,
        id_pattern: filter.dag_id_pattern,
        id_prefix: filter.dag_id_prefix_pattern.0,
        tags: filter.tags,
        all_tags: filter.tags_match_mode == Some(TagsMatchMode::All),
        owners: filter.owners,
        ..DagFilter::default()
    };
    let (mut found, total_entries) =
        read::dag_list(&app.pool, &meant, Window { limit: CHANGED_MAX, offset: 0 }).await?;
    if total_entries > CHANGED_MAX {
        let text = format!(
            "{total_entries} DAGs are meant, and one request changes at most {CHANGED_MAX}: narrow the pattern"
        );
        return Err(ApiError::BadRequest(text));
    }
    let is_paused = to == Paused::Paused;
    let changing = found.iter().filter(|view| view.is_paused != is_paused);
    pause(&app, changing.map(|view| view.dag_id.clone()).collect(), to, &who).await?;
    found.iter_mut().for_each(|view| view.is_paused = is_paused);
    Ok(Json(DAGCollectionResponse { dags: shaped(&app, &filter.page.of(found)).await?, total_entries }))
}

async fn pause(app: &App, dag_ids: Vec<DagId>, to: Paused, who: &Principal) -> ApiResult<()> {
    commands::send_all(app, dag_ids.into_iter().map(|dag_id| Command::PauseDag { dag_id, to }), who).await
}

/// `is_paused`, the only thing that can be changed.
fn wanted(mask: &Mask, body: &DAGPatchBody) -> ApiResult<Paused> {
    if let Some(other) = mask.fields().find(|field| *field != "is_paused") {
        return Err(ApiError::BadRequest(format!(
            "Only `is_paused` field can be updated through the REST API, not `{other}`"
        )));
    }
    Ok(if body.is_paused { Paused::Paused } else { Paused::Active })
}

/// Delete Dag
///
/// Its history goes, and so does the DAG unless its file is still there.
#[utoipa::path(
    delete, path = "/api/v2/dags/{dag_id}", operation_id = "delete_dag", tag = "DAG",
    params(DagPath),
    responses((status = 200, description = "Successful Response", body = Value), Errors<404, 409>),
    security(("token" = [Right::ChangeDags]))
)]
pub async fn delete(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    path: DagPath,
) -> ApiResult<Json<Value>> {
    let (view, _) = lookup_dag(&app, &path.dag_id).await?;
    commands::send(&app, &Command::DeleteDag { dag_id: view.dag_id }, &who).await?;
    Ok(Json(Value::Null))
}

/// Get Dag Stats
///
/// How many runs each DAG has in each state.
#[utoipa::path(
    get, path = "/api/v2/dagStats", operation_id = "get_dag_stats", tag = "DagStats",
    params(DagStatsFilter),
    responses((status = 200, description = "Successful Response", body = DagStatsCollectionResponse), Errors<404>),
    security(("token" = [Right::Read]))
)]
pub async fn stats(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    filter: DagStatsFilter,
) -> ApiResult<Json<DagStatsCollectionResponse>> {
    let ids = read::dag_ids(&app.pool, &filter.dag_ids, &who.visible(), STATS_MAX).await?;
    let counts = app.run_counts.of(&app.pool, &ids).await?;
    let names = Names::of(&app, ids.iter().map(DagId::as_str)).await?;
    let shape = |id: &DagId| {
        let of_dag = counts.get(id);
        let count = |state: &DagRunState| of_dag.and_then(|counts| counts.get(state)).copied().unwrap_or(0);
        let one =
            |state: &DagRunState| DagStatsStateResponse { state: words::DagRunState(*state), count: count(state) };
        DagStatsResponse {
            dag_id: id.to_string(),
            dag_display_name: names.name(id.as_str()),
            stats: DagRunState::ALL.iter().map(one).collect(),
        }
    };
    let dags: Vec<DagStatsResponse> = ids.iter().map(shape).collect();
    Ok(Json(DagStatsCollectionResponse { total_entries: dags.len(), dags }))
}

/// Get Dag Tags
///
/// Plain texts.
#[utoipa::path(
    get, path = "/api/v2/dagTags", operation_id = "get_dag_tags", tag = "DAG",
    params(DagTagFilter),
    responses((status = 200, description = "Successful Response", body = DAGTagCollectionResponse), Errors),
    security(("token" = [Right::Read]))
)]
pub async fn tags(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    filter: DagTagFilter,
) -> ApiResult<Json<DAGTagCollectionResponse>> {
    let meant = TagFilter {
        visible: who.visible(),
        pattern: filter.tag_name_pattern,
        prefix: filter.tag_name_prefix_pattern.0,
        direction: filter.order_by.0.first().map_or(Direction::Ascending, |(TagKey, direction)| *direction),
    };
    let (tags, total_entries) = read::dag_tags(&app.pool, &meant, filter.page.window()).await?;
    Ok(Json(DAGTagCollectionResponse { tags, total_entries }))
}
