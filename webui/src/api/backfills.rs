//! Backfills: runs for the dates of a range, tried dry, made, held back and ended.

use axum::{Extension, Json, extract::State};
use engine::BackfillRow;
use model::{
    BackfillOrder,
    command::{ClearVersion, CreateBackfill, Paused},
    door::{Conf, Instant, Zone},
};
use serde::Serialize;
use serde_json::{Map, Value};
use store::read::{self, BackfillFilter as OfDag, Direction};
use utoipa::{
    ToSchema,
    openapi::{
        RefOr,
        schema::{Schema, Type},
    },
};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    absent::order_names,
    body::{Body, instant_mistake},
    declare::{At, Errors, Flag, Member, OrderBy, answer, body, path_params, query_params, schema},
    lookup_dag,
    query::Page,
};
use crate::{
    app::App,
    auth::{Principal, rights::Right},
    changes::backfills,
    error::{ApiError, ApiResult},
    reads::{lookup::lookup_backfill, names::Names},
};

/// The operations.
pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(dry_run))
        .routes(routes!(one))
        .routes(routes!(pause))
        .routes(routes!(unpause))
        .routes(routes!(cancel))
}

path_params! {
    /// A backfill.
    pub struct BackfillPath {
        backfill_id: i64,
    }
}

order_names!(
    /// What backfills are ordered by.
    BackfillKey: "id"
);

query_params! {
    /// Whose backfills a list has.
    pub struct BackfillFilter {
        page: Page,
        order_by: OrderBy<BackfillKey>,
        dag_id: String,
    }
}

body! {
    /// A backfill that is wanted.
    pub struct BackfillPostBody {
        dag_id: String,
        /// A date alone is one in UTC.
        from_date: BackfillDate,
        /// A date alone is one in UTC.
        to_date: BackfillDate,
        run_backwards: Flag<false>,
        dag_run_conf: Conf,
        reprocess_behavior: ReprocessBehavior,
        max_active_runs: RunsAtOnce,
        /// Whether runs that run again go on with the newest version of the DAG: they do unless this is false.
        run_on_latest_version: Option<bool>,
    }
}

impl BackfillPostBody {
    fn wish(self, dag_id: model::DagId) -> ApiResult<CreateBackfill> {
        let given = |date: BackfillDate| date.0.ok_or_else(|| ApiError::MalformedText("a date is missing".to_owned()));
        Ok(CreateBackfill {
            dag_id,
            from_date: given(self.from_date)?,
            to_date: given(self.to_date)?,
            order: if self.run_backwards.0 { BackfillOrder::Backwards } else { BackfillOrder::Forwards },
            reprocess_behavior: self.reprocess_behavior.word(),
            max_active_runs: self.max_active_runs.0,
            conf: self.dag_run_conf,
            version: if self.run_on_latest_version == Some(false) { ClearVersion::Own } else { ClearVersion::Latest },
        })
    }
}

/// An end of the range of dates; none when what was given is refused.
pub struct BackfillDate(Option<Instant>);

impl Member for BackfillDate {
    const REQUIRED: bool = true;

    fn read(body: &mut Body, name: &str) -> Self {
        if !body.has(name) {
            body.missing(name);
            return Self(None);
        }
        let given = body.take_or_null(name);
        let read = given.as_str().map(|text| Instant::parse(text, Zone::Utc));
        match read {
            Some(Ok(date)) => return Self(Some(date)),
            Some(Err(error)) => {
                let (kind, message) = instant_mistake(error);
                body.wrong(name, kind, message, given);
            }
            None => body.wrong(name, "datetime_type", "Input should be a valid datetime", given),
        }
        Self(None)
    }

    fn schema() -> RefOr<Schema> {
        schema::instant().into()
    }
}

/// How many of its runs go on at once.
pub struct RunsAtOnce(u32);

impl Member for RunsAtOnce {
    const REQUIRED: bool = false;

    fn read(body: &mut Body, name: &str) -> Self {
        let Some(number) = body.integer(name) else { return Self(CreateBackfill::MAX_ACTIVE_RUNS) };
        if number < 1 {
            let message = "Input should be greater than or equal to 1";
            body.wrong(name, "greater_than_equal", message, number.into());
        }
        // More than can be stored is more than there will ever be.
        Self(u32::try_from(number.max(1)).unwrap_or(u32::MAX).min(CreateBackfill::MAX_ACTIVE_RUNS_MAX))
    }

    fn schema() -> RefOr<Schema> {
        let default = CreateBackfill::MAX_ACTIVE_RUNS;
        Schema::from(schema::of(Type::Integer).minimum(Some(1)).default(Some(default.into()))).into()
    }
}

/// Which of the runs that there are run again.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ReprocessBehavior {
    /// Those that failed.
    Failed,
    /// All that have ended.
    Completed,
    /// None.
    None,
}

impl ReprocessBehavior {
    const fn word(self) -> model::ReprocessBehavior {
        match self {
            Self::Failed => model::ReprocessBehavior::Failed,
            Self::Completed => model::ReprocessBehavior::Completed,
            Self::None => model::ReprocessBehavior::None,
        }
    }
}

impl From<model::ReprocessBehavior> for ReprocessBehavior {
    fn from(word: model::ReprocessBehavior) -> Self {
        match word {
            model::ReprocessBehavior::Failed => Self::Failed,
            model::ReprocessBehavior::Completed => Self::Completed,
            model::ReprocessBehavior::None => Self::None,
        }
    }
}

impl Member for ReprocessBehavior {
    const REQUIRED: bool = false;

    fn read(body: &mut Body, name: &str) -> Self {
        match body.text(name).as_deref() {
            Some("failed") => Self::Failed,
            Some("completed") => Self::Completed,
            None | Some("none") => Self::None,
            Some(other) => {
                body.wrong(name, "enum", "Input should be 'failed', 'completed' or 'none'", other.into());
                Self::None
            }
        }
    }

    fn schema() -> RefOr<Schema> {
        schema::words(["failed", "completed", "none"]).into()
    }
}

answer! {
    /// A part of the list of backfills.
    pub struct BackfillCollectionResponse {
        backfills: Vec<BackfillResponse>,
        total_entries: usize,
    }
}

answer! {
    /// A backfill.
    pub struct BackfillResponse {
        id: i64,
        dag_id: String,
        dag_display_name: String,
        from_date: At,
        to_date: At,
        dag_run_conf: Option<Map<String, Value>>,
        is_paused: bool,
        reprocess_behavior: ReprocessBehavior,
        max_active_runs: i64,
        created_at: At,
        completed_at: Option<At>,
        updated_at: At,
    }
}

answer! {
    /// The runs that a backfill would make.
    pub struct DryRunBackfillCollectionResponse {
        backfills: Vec<DryRunBackfillResponse>,
        total_entries: usize,
    }
}

answer! {
    /// A run that a backfill would make.
    pub struct DryRunBackfillResponse {
        logical_date: Option<At>,
        partition_key: Option<String>,
        partition_date: Option<At>,
    }
}

impl BackfillResponse {
    fn of(row: BackfillRow, names: &Names) -> Self {
        Self {
            id: row.id.get(),
            dag_display_name: names.name(row.dag_id.as_str()),
            dag_id: row.dag_id.to_string(),
            from_date: row.from_date.into(),
            to_date: row.to_date.into(),
            dag_run_conf: Some(row.conf),
            is_paused: row.is_paused,
            reprocess_behavior: row.reprocess_behavior.into(),
            max_active_runs: row.max_active_runs.into(),
            created_at: row.created_at.into(),
            completed_at: row.completed_at.map(At),
            updated_at: row.updated_at.into(),
        }
    }
}

async fn answered(app: &App, row: BackfillRow) -> ApiResult<Json<BackfillResponse>> {
    let names = Names::of(app, [row.dag_id.as_str()]).await?;
    Ok(Json(BackfillResponse::of(row, &names)))
}

/// List Backfills
#[utoipa::path(
    get, path = "/api/v2/backfills", operation_id = "list_backfills", tag = "Backfill",
    params(BackfillFilter),
    responses((status = 200, description = "Successful Response", body = BackfillCollectionResponse), Errors<404>),
    security(("token" = [Right::Read]))
)]
pub async fn list(State(app): State<App>, filter: BackfillFilter) -> ApiResult<Json<BackfillCollectionResponse>> {
    let (dag, _) = lookup_dag(&app, &filter.dag_id).await?;
    let order = filter.order_by.0.first().map_or(Direction::Ascending, |(_, direction)| *direction);
    let Page { limit, offset } = filter.page;
    let (rows, total_entries) = read::backfills(&app.pool, &OfDag { dag_id: dag.dag_id, order, offset, limit }).await?;
    let names = Names::of(&app, rows.iter().map(|row| row.dag_id.as_str())).await?;
    let backfills = rows.into_iter().map(|row| BackfillResponse::of(row, &names)).collect();
    Ok(Json(BackfillCollectionResponse { backfills, total_entries }))
}

/// Create Backfill
///
/// Its runs are made in pieces: of a long range at most a thousand wait at a time.
#[utoipa::path(
    post, path = "/api/v2/backfills", operation_id = "create_backfill", tag = "Backfill",
    request_body = BackfillPostBody,
    responses((status = 200, description = "Successful Response", body = BackfillResponse), Errors<404, 409>),
    security(("token" = [Right::ChangeDags]))
)]
pub async fn create(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    body: BackfillPostBody,
) -> ApiResult<Json<BackfillResponse>> {
    let (dag, version) = lookup_dag(&app, &body.dag_id).await?;
    let wish = body.wish(dag.dag_id.clone())?;
    answered(&app, backfills::create(&app, &dag, &version, wish, &who).await?).await
}

/// Create Backfill Dry Run
///
/// The dates for which runs would be made, or run again, now.
#[utoipa::path(
    post, path = "/api/v2/backfills/dry_run", operation_id = "create_backfill_dry_run", tag = "Backfill",
    request_body = BackfillPostBody,
    responses(
        (status = 200, description = "Successful Response", body = DryRunBackfillCollectionResponse),
        Errors<404, 409>,
    ),
    security(("token" = [Right::ChangeDags]))
)]
pub async fn dry_run(
    State(app): State<App>,
    body: BackfillPostBody,
) -> ApiResult<Json<DryRunBackfillCollectionResponse>> {
    let (dag, version) = lookup_dag(&app, &body.dag_id).await?;
    let wish = body.wish(dag.dag_id)?;
    let dates = backfills::dry_run(&app, &version, &wish).await?;
    let backfills: Vec<_> = dates
        .into_iter()
        .filter(|date| date.reason.is_none())
        .map(|date| DryRunBackfillResponse {
            logical_date: Some(date.logical_date.into()),
            partition_key: None,
            partition_date: None,
        })
        .collect();
    Ok(Json(DryRunBackfillCollectionResponse { total_entries: backfills.len(), backfills }))
}

/// Get Backfill
#[utoipa::path(
    get, path = "/api/v2/backfills/{backfill_id}", operation_id = "get_backfill", tag = "Backfill",
    params(BackfillPath),
    responses((status = 200, description = "Successful Response", body = BackfillResponse), Errors<404>),
    security(("token" = [Right::Read]))
)]
pub async fn one(State(app): State<App>, path: BackfillPath) -> ApiResult<Json<BackfillResponse>> {
    answered(&app, lookup_backfill(&app, path.backfill_id).await?).await
}

/// Pause Backfill
#[utoipa::path(
    put, path = "/api/v2/backfills/{backfill_id}/pause", operation_id = "pause_backfill", tag = "Backfill",
    params(BackfillPath),
    responses((status = 200, description = "Successful Response", body = BackfillResponse), Errors<404, 409>),
    security(("token" = [Right::ChangeDags]))
)]
pub async fn pause(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    path: BackfillPath,
) -> ApiResult<Json<BackfillResponse>> {
    let row = lookup_backfill(&app, path.backfill_id).await?;
    answered(&app, backfills::pause(&app, row, Paused::Paused, &who).await?).await
}

/// Unpause Backfill
#[utoipa::path(
    put, path = "/api/v2/backfills/{backfill_id}/unpause", operation_id = "unpause_backfill", tag = "Backfill",
    params(BackfillPath),
    responses((status = 200, description = "Successful Response", body = BackfillResponse), Errors<404, 409>),
    security(("token" = [Right::ChangeDags]))
)]
pub async fn unpause(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    path: BackfillPath,
) -> ApiResult<Json<BackfillResponse>> {
    let row = lookup_backfill(&app, path.backfill_id).await?;
    answered(&app, backfills::pause(&app, row, Paused::Active, &who).await?).await
}

/// Cancel Backfill
///
/// Its runs that wait fail, those that are running go on.
#[utoipa::path(
    put, path = "/api/v2/backfills/{backfill_id}/cancel", operation_id = "cancel_backfill", tag = "Backfill",
    params(BackfillPath),
    responses((status = 200, description = "Successful Response", body = BackfillResponse), Errors<404, 409>),
    security(("token" = [Right::ChangeDags]))
)]
pub async fn cancel(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    path: BackfillPath,
) -> ApiResult<Json<BackfillResponse>> {
    let row = lookup_backfill(&app, path.backfill_id).await?;
    answered(&app, backfills::cancel(&app, row, &who).await?).await
}
