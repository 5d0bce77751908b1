//! Pools: defined by rows, used as the leader knows. Every change is a command, so that its counters follow.

use axum::{Extension, Json, extract::State, http::StatusCode};
use link::query::PoolView;
use model::{Pool, RateLimit};
use serde_json::Value;
use store::read::{self, Pattern};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    body::Body,
    bulk::{self, BulkResponse, UpdateMask, bulk_body},
    declare::{Errors, Ignored, OrderBy, OrderKey, Prefix, Sent, answer, body, path_params, query_params},
    query::{Page, matches},
};
use crate::{
    app::App,
    auth::{Principal, rights::Right},
    changes::{
        Managed,
        pools::{NO_LIMIT, PoolBody, Pools, Slots, Wish, only_slots, rate_limit},
    },
    error::{ApiError, ApiResult, FieldError},
    reads::pools::{find, open_slots, uses},
};

/// The fields of the default pool that may be changed.
const DEFAULT_POOL_FIELDS: [&str; 3] = ["slots", "include_deferred", "rate_limit"];

/// The operations.
pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(list, create, bulk)).routes(routes!(one, patch, delete))
}

path_params! {
    /// A pool.
    pub struct PoolPath {
        pool_name: String,
    }
}

query_params! {
    /// Which pools a list has.
    pub struct PoolFilter {
        page: Page,
        order_by: OrderBy<PoolKey>,
        /// Part of the name, whatever its case; `%` and `_` are wildcards, `|` separates alternatives.
        pool_name_pattern: Pattern,
        /// How the name begins.
        pool_name_prefix_pattern: Prefix,
    }
}

/// What pools are ordered by: their names are all that Airflow offers.
#[derive(Debug, Clone, Copy)]
pub struct PoolKey;

impl OrderKey for PoolKey {
    const KEYS: &'static [(&'static str, Self)] = &[("id", Self), ("pool", Self), ("name", Self)];
    const DEFAULT: &'static str = "id";
}

body! {
    /// What a pool is to be changed to.
    pub struct PoolPatchBody {
        /// Its name, which stays.
        pool: Option<String>,
        slots: Option<Slots>,
        description: Sent<Option<String>>,
        /// Whether deferred task instances take slots.
        include_deferred: Option<bool>,
        /// How many attempts may start in a span of time, such as `10/1m`; Airflow has no such limit.
        rate_limit: Sent<Option<String>>,
        /// There are no teams here.
        _team_name: Ignored = "team_name",
    }
}

bulk_body!(PoolBulkBody of PoolBody);

answer! {
    /// A pool and how it is used.
    pub struct PoolResponse {
        name: String,
        /// How many slots it has; -1 without a limit.
        slots: i64,
        description: Option<String>,
        include_deferred: bool,
        occupied_slots: u32,
        running_slots: u32,
        queued_slots: u32,
        scheduled_slots: u32,
        /// How many are free; -1 without a limit.
        open_slots: i64,
        deferred_slots: u32,
        team_name: Option<String>,
        /// How many attempts may start in a span of time, such as `10/1m`.
        rate_limit: Option<String>,
    }
}

answer! {
    /// A part of the list of pools.
    pub struct PoolCollectionResponse {
        pools: Vec<PoolResponse>,
        total_entries: usize,
    }
}

fn shape(pool: Pool, used: Option<&PoolView>) -> PoolResponse {
    // The leader may have heard of a pool a moment before or after the tables: one that it does not know is not used.
    let idle = PoolView::default();
    let used = used.unwrap_or(&idle);
    PoolResponse {
        slots: pool.slots.map_or(NO_LIMIT, i64::from),
        open_slots: open_slots(&pool, used).map_or(NO_LIMIT, i64::from),
        name: pool.name,
        description: Some(pool.description).filter(|text| !text.is_empty()),
        include_deferred: pool.include_deferred,
        occupied_slots: used.occupied,
        running_slots: used.running,
        queued_slots: used.queued,
        scheduled_slots: used.scheduled,
        deferred_slots: used.deferred,
        team_name: None,
        rate_limit: pool.rate_limit.map(|limit| limit.to_string()),
    }
}

async fn shaped(app: &App, name: &str) -> ApiResult<Json<PoolResponse>> {
    let pool = find(app, name).await?;
    Ok(Json(shape(pool, uses(app).await?.get(name))))
}

/// Get Pools
#[utoipa::path(
    get, path = "/api/v2/pools", operation_id = "get_pools", tag = "Pool",
    params(PoolFilter),
    responses((status = 200, description = "Successful Response", body = PoolCollectionResponse), Errors),
    security(("token" = [Right::Read]))
)]
pub async fn list(State(app): State<App>, filter: PoolFilter) -> ApiResult<Json<PoolCollectionResponse>> {
    let mut found = read::pools(&app.pool).await?;
    found.retain(|pool| {
        matches(&filter.pool_name_pattern, &pool.name) && filter.pool_name_prefix_pattern.fits(&pool.name)
    });
    if let Some((PoolKey, direction)) = filter.order_by.0.first() {
        found.sort_by(|a, b| direction.turned(a.name.cmp(&b.name)));
    }
    let total_entries = found.len();
    let used = uses(&app).await?;
    let shaped = filter.page.of(found).into_iter().map(|pool| {
        let used = used.get(&pool.name);
        shape(pool, used)
    });
    Ok(Json(PoolCollectionResponse { pools: shaped.collect(), total_entries }))
}

/// Post Pool
#[utoipa::path(
    post, path = "/api/v2/pools", operation_id = "post_pool", tag = "Pool",
    request_body = PoolBody,
    responses((status = 201, description = "Successful Response", body = PoolResponse), Errors<409>),
    security(("token" = [Right::ChangeAdmin]))
)]
pub async fn create(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    body: Body,
) -> ApiResult<(StatusCode, Json<PoolResponse>)> {
    let id = Pools.create_from(&app, &who, body).await?;
    Ok((StatusCode::CREATED, shaped(&app, &id).await?))
}

/// Bulk Pools
#[utoipa::path(
    patch, path = "/api/v2/pools", operation_id = "bulk_pools", tag = "Pool",
    request_body = PoolBulkBody,
    responses((status = 200, description = "Successful Response", body = BulkResponse), Errors),
    security(("token" = [Right::ChangeAdmin]))
)]
pub async fn bulk(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    body: Body,
) -> ApiResult<Json<BulkResponse>> {
    bulk::apply(&Pools, &app, &who, body).await.map(Json)
}

/// Get Pool
#[utoipa::path(
    get, path = "/api/v2/pools/{pool_name}", operation_id = "get_pool", tag = "Pool",
    params(PoolPath),
    responses((status = 200, description = "Successful Response", body = PoolResponse), Errors<404>),
    security(("token" = [Right::Read]))
)]
pub async fn one(State(app): State<App>, path: PoolPath) -> ApiResult<Json<PoolResponse>> {
    shaped(&app, &path.pool_name).await
}

/// Patch Pool
///
/// Another pool than the default one is sent whole, as in Airflow.
#[utoipa::path(
    patch, path = "/api/v2/pools/{pool_name}", operation_id = "patch_pool", tag = "Pool",
    params(PoolPath, UpdateMask),
    request_body = PoolPatchBody,
    responses((status = 200, description = "Successful Response", body = PoolResponse), Errors<404>),
    security(("token" = [Right::ChangeAdmin]))
)]
pub async fn patch(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    PoolPath { pool_name }: PoolPath,
    UpdateMask { update_mask }: UpdateMask,
    body: PoolPatchBody,
) -> ApiResult<Json<PoolResponse>> {
    if pool_name == Pool::DEFAULT {
        if update_mask.is_open() || !update_mask.fields().all(|field| DEFAULT_POOL_FIELDS.contains(&field)) {
            return Err(only_slots());
        }
    } else {
        find(&app, &pool_name).await?;
        whole(&body)?;
    }
    if body.pool.is_some_and(|name| name != pool_name) {
        return Err(ApiError::BadRequest("A pool can not be renamed: tasks name it. Create another one".to_owned()));
    }
    let wish = Wish {
        name: pool_name.clone(),
        slots: body.slots,
        description: body.description.0.map(Option::unwrap_or_default),
        include_deferred: body.include_deferred,
        rate_limit: limit_of(body.rate_limit.0)?,
    };
    if let Err(reason) = wish.pool().check() {
        let error = FieldError::body("pool", "value_error", format!("Value error, {reason}"), pool_name.into());
        return Err(ApiError::Malformed(vec![error]));
    }
    Pools.update(&app, &who, &wish, &update_mask).await?;
    shaped(&app, &pool_name).await
}

/// The rate limit that was sent.
fn limit_of(sent: Option<Option<String>>) -> ApiResult<Option<Option<RateLimit>>> {
    let Some(text) = sent else { return Ok(None) };
    rate_limit(text.as_deref()).map(Some).map_err(|reason| {
        let message = format!("Value error, {reason}");
        ApiError::Malformed(vec![FieldError::body("rate_limit", "value_error", message, Value::from(text))])
    })
}

/// Refuses a pool that is not sent whole.
fn whole(body: &PoolPatchBody) -> ApiResult<()> {
    let sent = [
        ("pool", body.pool.is_some()),
        ("slots", body.slots.is_some()),
        ("include_deferred", body.include_deferred.is_some()),
    ];
    let missing = |(name, _)| FieldError::body(name, "missing", "Field required", Value::Null);
    let errors: Vec<FieldError> = sent.into_iter().filter(|(_, was_sent)| !was_sent).map(missing).collect();
    if errors.is_empty() { Ok(()) } else { Err(ApiError::Malformed(errors)) }
}

/// Delete Pool
#[utoipa::path(
    delete, path = "/api/v2/pools/{pool_name}", operation_id = "delete_pool", tag = "Pool",
    params(PoolPath),
    responses((status = 204, description = "Successful Response"), Errors<404>),
    security(("token" = [Right::ChangeAdmin]))
)]
pub async fn delete(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    path: PoolPath,
) -> ApiResult<StatusCode> {
    Pools.delete(&app, &who, &path.pool_name).await?;
    Ok(StatusCode::NO_CONTENT)
}
