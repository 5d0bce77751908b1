//! Pools: defined by rows, used as the leader knows. Every change is a command, so that its counters follow.

use std::collections::{BTreeMap, BTreeSet};

use axum::{
    Extension, Json,
    extract::{Path, State},
    http::StatusCode,
};
use link::{Query as Question, Reply, query::PoolView};
use model::{Command, Pool, door::Text};
use serde_json::{Value, json};
use store::read;

use super::{
    body::Body,
    bulk::{self, Managed, Mask},
    query::{Query, matches},
};
use crate::{
    app::App,
    auth::Principal,
    commands,
    error::{ApiError, ApiResult},
};

/// What Airflow's clients write for a pool without a limit.
const NO_LIMIT: i64 = -1;
/// The fields of the default pool that may be changed.
const DEFAULT_POOL_FIELDS: [&str; 2] = ["slots", "include_deferred"];

/// The resource, for bulk requests.
pub struct Pools;

/// A pool as a client wants it, and which members it sent.
pub struct Wish {
    pool: Pool,
    sent: BTreeSet<String>,
}

impl Managed for Pools {
    type Id = String;
    type Wish = Wish;
    const SEVERAL: &'static str = "pools with these pool names";

    fn read(&self, body: &mut Body, _: &Mask) -> Wish {
        let sent = body.names();
        if !sent.contains("slots") {
            body.missing("slots");
        }
        read_as(body, "name")
    }

    fn id<'w>(&self, wish: &'w Wish) -> &'w String {
        &wish.pool.name
    }

    fn named(&self, entity: &Value) -> Option<String> {
        bulk::name_in(entity, "name")
    }

    async fn known(&self, app: &App, of: BTreeSet<String>) -> ApiResult<BTreeSet<String>> {
        Ok(read::pools(&app.pool).await?.into_iter().map(|pool| pool.name).filter(|name| of.contains(name)).collect())
    }

    async fn create(&self, app: &App, who: &Principal, wish: &Wish) -> ApiResult<()> {
        match commands::send(app, &Command::CreatePool(wish.pool.clone()), who).await {
            Err(ApiError::Conflict(detail)) => Err(ApiError::AlreadyExists(detail)),
            other => other.map(drop),
        }
    }

    async fn update(&self, app: &App, who: &Principal, wish: &Wish, mask: &Mask) -> ApiResult<()> {
        let Wish { pool: new, sent } = wish;
        let is_meant = |field: &str| sent.contains(field) && mask.has(field);
        let old = find(app, &new.name).await?;
        if is_meant("description") && old.name == Pool::DEFAULT && new.description != old.description {
            return Err(only_slots());
        }
        let changed = Pool {
            slots: if is_meant("slots") { new.slots } else { old.slots },
            description: if is_meant("description") { new.description.clone() } else { old.description },
            include_deferred: if is_meant("include_deferred") { new.include_deferred } else { old.include_deferred },
            name: old.name,
        };
        commands::send(app, &Command::SetPool(changed), who).await.map(drop)
    }

    async fn delete(&self, app: &App, who: &Principal, name: &String) -> ApiResult<()> {
        if name == Pool::DEFAULT {
            return Err(ApiError::BadRequest("Default Pool can't be deleted".to_owned()));
        }
        commands::send(app, &Command::DeletePool { name: Text::new(name.as_str())? }, who).await.map(drop)
    }
}

fn only_slots() -> ApiError {
    ApiError::BadRequest("Only slots and included_deferred can be modified on Default Pool".to_owned())
}

/// Reads a pool whose name is in the member `name_field`: Airflow calls it `pool` in one body and `name` in the others.
fn read_as(body: &mut Body, name_field: &'static str) -> Wish {
    let mut sent = body.names();
    body.take("team_name");
    let name = body.required_text(name_field);
    let slots = body.integer("slots").unwrap_or(0);
    let limit = if slots == NO_LIMIT { None } else { Some(u32::try_from(slots).unwrap_or(u32::MAX)) };
    if slots < NO_LIMIT {
        let message = "Input should be greater than or equal to -1";
        body.wrong("slots", "greater_than_equal", message, Value::from(slots));
    }
    let description = body.text("description").unwrap_or_default();
    let pool = Pool { name, slots: limit, description, include_deferred: body.flag("include_deferred", false) };
    if slots >= NO_LIMIT
        && sent.contains(name_field)
        && let Err(reason) = pool.check()
    {
        body.wrong(name_field, "value_error", format!("Value error, {reason}"), Value::from(pool.name.as_str()));
    }
    sent.insert("name".to_owned());
    Wish { pool, sent }
}

/// How the leader says that pools are used.
///
/// # Errors
/// [`ApiError::NoLeader`]: nobody else knows.
pub async fn uses(app: &App) -> ApiResult<BTreeMap<String, PoolView>> {
    match app.leader.ask(Question::Pools).await? {
        Reply::Pools { pools } => Ok(pools.into_iter().map(|pool| (pool.name.clone(), pool)).collect()),
        Reply::NotFound { detail } => Err(ApiError::NoLeader(detail)),
        Reply::Why { .. } | Reply::Log(_) | Reply::Cluster(_) => {
            Err(ApiError::Internal("the leader answered another question than that for pools".to_owned()))
        }
    }
}

/// A pool by its name.
///
/// # Errors
/// [`ApiError::NotFound`].
pub async fn find(app: &App, name: &str) -> ApiResult<Pool> {
    let found = read::pools(&app.pool).await?.into_iter().find(|pool| pool.name == name);
    found.ok_or_else(|| ApiError::NotFound(format!("The Pool with name: `{name}` was not found")))
}

/// How many slots are free; none when there is no limit.
#[must_use]
pub fn open_slots(pool: &Pool, used: &PoolView) -> Option<u32> {
    pool.slots.map(|slots| slots.saturating_sub(used.occupied))
}

fn shape(pool: &Pool, used: Option<&PoolView>) -> Value {
    // The leader may have heard of a pool a moment before or after the tables: one that it does not know is not used.
    let idle = PoolView::default();
    let used = used.unwrap_or(&idle);
    json!({
        "name": pool.name, "slots": pool.slots.map_or(NO_LIMIT, i64::from), "description": pool.description,
        "include_deferred": pool.include_deferred,
        "occupied_slots": used.occupied, "running_slots": used.running, "queued_slots": used.queued,
        "scheduled_slots": used.scheduled, "deferred_slots": used.deferred,
        "open_slots": open_slots(pool, used).map_or(NO_LIMIT, i64::from), "team_name": null,
    })
}

async fn shaped(app: &App, name: &str) -> ApiResult<Json<Value>> {
    let pool = find(app, name).await?;
    Ok(Json(shape(&pool, uses(app).await?.get(name))))
}

/// `GET /api/v2/pools`.
pub async fn list(State(app): State<App>, mut query: Query) -> ApiResult<Json<Value>> {
    let page = query.page();
    let order = query.order(|name| matches!(name, "id" | "name" | "pool").then_some(()))?;
    let pattern = query.pattern("pool_name_pattern");
    let prefix = query.prefix("pool_name_prefix_pattern");
    query.finish()?;
    let mut found = read::pools(&app.pool).await?;
    found.retain(|pool| {
        matches(&pattern, &pool.name) && prefix.as_ref().is_none_or(|prefix| pool.name.starts_with(prefix))
    });
    if let Some((_, direction)) = order.first() {
        found.sort_by(|a, b| direction.turned(a.name.cmp(&b.name)));
    }
    let total = found.len();
    let used = uses(&app).await?;
    let shaped: Vec<Value> = page.of(found).iter().map(|pool| shape(pool, used.get(&pool.name))).collect();
    Ok(Json(json!({ "pools": shaped, "total_entries": total })))
}

/// `POST /api/v2/pools`.
pub async fn create(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    body: Body,
) -> ApiResult<(StatusCode, Json<Value>)> {
    let id = Pools.create_from(&app, &who, body).await?;
    Ok((StatusCode::CREATED, shaped(&app, &id).await?))
}

/// `PATCH /api/v2/pools`.
pub async fn bulk(State(app): State<App>, Extension(who): Extension<Principal>, body: Body) -> ApiResult<Json<Value>> {
    bulk::apply(&Pools, &app, &who, body).await.map(Json)
}

/// `GET /api/v2/pools/{pool_name}`.
pub async fn one(State(app): State<App>, Path(name): Path<String>) -> ApiResult<Json<Value>> {
    shaped(&app, &name).await
}

/// `PATCH /api/v2/pools/{pool_name}?update_mask=…`: another pool than the default one is sent whole, as in Airflow.
pub async fn patch(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    Path(name): Path<String>,
    query: Query,
    mut body: Body,
) -> ApiResult<Json<Value>> {
    let mask = Mask::of(query.all("update_mask"));
    let sent = body.names();
    let is_default = name == Pool::DEFAULT;
    if is_default && (mask.is_open() || !mask.fields().all(|field| DEFAULT_POOL_FIELDS.contains(&field))) {
        return Err(only_slots());
    }
    if is_default {
        body.fill_in("pool", &name);
    }
    let wish = read_as(&mut body, "pool");
    for field in ["slots", "include_deferred"].into_iter().filter(|field| !is_default && !sent.contains(*field)) {
        body.missing(field);
    }
    body.finish()?;
    if wish.pool.name != name {
        return Err(ApiError::BadRequest("A pool can not be renamed: tasks name it. Create another one".to_owned()));
    }
    Pools.update(&app, &who, &wish, &mask).await?;
    shaped(&app, &name).await
}

/// `DELETE /api/v2/pools/{pool_name}`.
pub async fn delete(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    Path(name): Path<String>,
) -> ApiResult<StatusCode> {
    Pools.delete(&app, &who, &name).await?;
    Ok(StatusCode::NO_CONTENT)
}
