//! Backfills: there are none yet, so that lists are empty and none is found.

use axum::{Json, extract::State};
use model::door::{Conf, Instant, Zone};
use serde::Serialize;
use serde_json::{Map, Value};
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
    auth::rights::Right,
    error::{ApiError, ApiResult},
};

/// Why there is no backfill, and what to do.
const NO_BACKFILLS: &str =
    "Backfills can not be made yet: let the DAG catch up, or trigger a run for each logical date";

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
        _page: Page,
        _order_by: OrderBy<BackfillKey> = "order_by",
        dag_id: String,
    }
}

body! {
    /// A backfill that is wanted.
    pub struct BackfillPostBody {
        dag_id: String,
        /// A date alone is one in UTC.
        _from_date: BackfillDate = "from_date",
        /// A date alone is one in UTC.
        _to_date: BackfillDate = "to_date",
        _run_backwards: Flag<false> = "run_backwards",
        _dag_run_conf: Conf = "dag_run_conf",
        _reprocess_behavior: ReprocessBehavior = "reprocess_behavior",
        _max_active_runs: RunsAtOnce = "max_active_runs",
        _run_on_latest_version: Option<bool> = "run_on_latest_version",
    }
}

/// An end of the range of dates.
pub struct BackfillDate;

impl Member for BackfillDate {
    const REQUIRED: bool = true;

    fn read(body: &mut Body, name: &str) -> Self {
        if !body.has(name) {
            body.missing(name);
            return Self;
        }
        let given = body.take_or_null(name);
        let read = given.as_str().map(|text| Instant::parse(text, Zone::Utc));
        match read {
            Some(Ok(_)) => {}
            Some(Err(error)) => {
                let (kind, message) = instant_mistake(error);
                body.wrong(name, kind, message, given);
            }
            None => body.wrong(name, "datetime_type", "Input should be a valid datetime", given),
        }
        Self
    }

    fn schema() -> RefOr<Schema> {
        schema::instant().into()
    }
}

/// How many of its runs go on at once.
pub struct RunsAtOnce;

impl Member for RunsAtOnce {
    const REQUIRED: bool = false;

    fn read(body: &mut Body, name: &str) -> Self {
        if let Some(number) = body.integer(name)
            && number < 1
        {
            let message = "Input should be greater than or equal to 1";
            body.wrong(name, "greater_than_equal", message, number.into());
        }
        Self
    }

    fn schema() -> RefOr<Schema> {
        Schema::from(schema::of(Type::Integer).minimum(Some(1)).default(Some(10.into()))).into()
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

fn missing(path: &BackfillPath) -> ApiError {
    ApiError::NotFound(format!("Backfill with id {} not found", path.backfill_id))
}

async fn refused(app: &App, body: &BackfillPostBody) -> ApiError {
    match lookup_dag(app, &body.dag_id).await {
        Ok(_) => ApiError::NotThere(NO_BACKFILLS.into()),
        Err(error) => error,
    }
}

/// List Backfills
#[utoipa::path(
    get, path = "/api/v2/backfills", operation_id = "list_backfills", tag = "Backfill",
    params(BackfillFilter),
    responses((status = 200, description = "Successful Response", body = BackfillCollectionResponse), Errors<404>),
    security(("token" = [Right::Read]))
)]
pub async fn list(State(app): State<App>, filter: BackfillFilter) -> ApiResult<Json<BackfillCollectionResponse>> {
    lookup_dag(&app, &filter.dag_id).await?;
    Ok(Json(BackfillCollectionResponse { backfills: Vec::new(), total_entries: 0 }))
}

/// Create Backfill
///
/// Not yet.
#[utoipa::path(
    post, path = "/api/v2/backfills", operation_id = "create_backfill", tag = "Backfill",
    request_body = BackfillPostBody,
    responses((status = 200, description = "Successful Response", body = BackfillResponse), Errors<404, 409, 501>),
    security(("token" = [Right::ChangeDags]))
)]
pub async fn create(State(app): State<App>, body: BackfillPostBody) -> ApiError {
    refused(&app, &body).await
}

/// Create Backfill Dry Run
///
/// Not yet.
#[utoipa::path(
    post, path = "/api/v2/backfills/dry_run", operation_id = "create_backfill_dry_run", tag = "Backfill",
    request_body = BackfillPostBody,
    responses(
        (status = 200, description = "Successful Response", body = DryRunBackfillCollectionResponse),
        Errors<404, 409, 501>,
    ),
    security(("token" = [Right::ChangeDags]))
)]
pub async fn dry_run(State(app): State<App>, body: BackfillPostBody) -> ApiError {
    refused(&app, &body).await
}

/// Get Backfill
#[utoipa::path(
    get, path = "/api/v2/backfills/{backfill_id}", operation_id = "get_backfill", tag = "Backfill",
    params(BackfillPath),
    responses((status = 200, description = "Successful Response", body = BackfillResponse), Errors<404>),
    security(("token" = [Right::Read]))
)]
pub async fn one(path: BackfillPath) -> ApiError {
    missing(&path)
}

/// Pause Backfill
#[utoipa::path(
    put, path = "/api/v2/backfills/{backfill_id}/pause", operation_id = "pause_backfill", tag = "Backfill",
    params(BackfillPath),
    responses((status = 200, description = "Successful Response", body = BackfillResponse), Errors<404, 409>),
    security(("token" = [Right::ChangeDags]))
)]
pub async fn pause(path: BackfillPath) -> ApiError {
    missing(&path)
}

/// Unpause Backfill
#[utoipa::path(
    put, path = "/api/v2/backfills/{backfill_id}/unpause", operation_id = "unpause_backfill", tag = "Backfill",
    params(BackfillPath),
    responses((status = 200, description = "Successful Response", body = BackfillResponse), Errors<404, 409>),
    security(("token" = [Right::ChangeDags]))
)]
pub async fn unpause(path: BackfillPath) -> ApiError {
    missing(&path)
}

/// Cancel Backfill
#[utoipa::path(
    put, path = "/api/v2/backfills/{backfill_id}/cancel", operation_id = "cancel_backfill", tag = "Backfill",
    params(BackfillPath),
    responses((status = 200, description = "Successful Response", body = BackfillResponse), Errors<404, 409>),
    security(("token" = [Right::ChangeDags]))
)]
pub async fn cancel(path: BackfillPath) -> ApiError {
    missing(&path)
}
