//! Pools: every change is a command, so that the leader's counters follow.

use std::collections::{BTreeMap, BTreeSet};

use model::{Command, Pool, RateLimit, door::Text};
use serde_json::Value;
use store::read;
use utoipa::openapi::{RefOr, schema::Schema};

use super::{Change, Managed, Mask, commands, name_in};
use crate::{
    app::App,
    auth::Principal,
    declare::{Flag, Ignored, Member, Sent, body, schema},
    error::{ApiError, ApiResult},
    http::body::Body,
    reads::pools::missing,
};

/// What Airflow's clients write for a pool without a limit.
pub const NO_LIMIT: i64 = -1;

body! {
    /// A pool as it is to be.
    pub struct PoolBody {
        name: String => schema::text_like(r"\S", 1, Pool::NAME_CHARS_MAX),
        slots: Slots,
        description: Sent<Option<String>>,
        /// Whether deferred task instances take slots.
        include_deferred: Sent<Flag<false>>,
        /// How many attempts may start in a span of time, such as `10/1m`; Airflow has no such limit.
        rate_limit: Sent<Option<String>>,
        /// There are no teams here.
        _team_name: Ignored = "team_name",
    }
}

/// How many slots a pool has; none when there is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slots(pub Option<u32>);

impl Member for Slots {
    const REQUIRED: bool = true;

    fn read(body: &mut Body, name: &str) -> Self {
        let slots = body.required_integer(name);
        if slots < NO_LIMIT {
            let message = "Input should be greater than or equal to -1";
            body.wrong(name, "greater_than_equal", message, Value::from(slots));
        } else if slots > i64::from(Pool::SLOTS_MAX) {
            let message = format!("Input should be less than or equal to {}", Pool::SLOTS_MAX);
            body.wrong(name, "less_than_equal", message, Value::from(slots));
        }
        Self((slots != NO_LIMIT).then(|| u32::try_from(slots).unwrap_or(u32::MAX)))
    }

    fn schema() -> RefOr<Schema> {
        schema::integer(NO_LIMIT, Pool::SLOTS_MAX).into()
    }
}

/// Null stands for what was not sent.
impl Member for Option<Slots> {
    const REQUIRED: bool = false;

    fn read(body: &mut Body, name: &str) -> Self {
        if body.has_value(name) {
            return Some(Slots::read(body, name));
        }
        body.take(name);
        None
    }

    fn schema() -> RefOr<Schema> {
        schema::nullable(Slots::schema()).into()
    }
}

/// The resource, for bulk requests.
pub struct Pools;

/// A pool as a client wants it: its name, and the fields that were sent.
#[derive(Default)]
pub struct Wish {
    /// Its name.
    pub name: String,
    /// Its slots.
    pub slots: Option<Slots>,
    /// What it is for.
    pub description: Option<String>,
    /// Whether deferred task instances take slots.
    pub include_deferred: Option<bool>,
    /// How many attempts may start in a span of time; none inside for no such limit.
    pub rate_limit: Option<Option<RateLimit>>,
}

/// The rate limit of a text; none of an empty one.
///
/// # Errors
/// What is wrong with it, in words for people.
pub fn rate_limit(text: Option<&str>) -> Result<Option<RateLimit>, String> {
    let text = text.map(str::trim).filter(|text| !text.is_empty());
    text.map(str::parse).transpose().map_err(|error: model::NoRateLimit| error.to_string())
}

impl Wish {
    /// The pool with the fields of another one where nothing was sent, or where the mask means others.
    fn over(&self, old: Pool, mask: &Mask) -> Pool {
        Pool {
            name: old.name,
            slots: self.slots.filter(|_| mask.has("slots")).map_or(old.slots, |slots| slots.0),
            description: self.description.clone().filter(|_| mask.has("description")).unwrap_or(old.description),
            include_deferred: self
                .include_deferred
                .filter(|_| mask.has("include_deferred"))
                .unwrap_or(old.include_deferred),
            rate_limit: self.rate_limit.filter(|_| mask.has("rate_limit")).unwrap_or(old.rate_limit),
        }
    }

    /// A new pool.
    pub fn pool(&self) -> Pool {
        let nothing = Pool {
            name: self.name.clone(),
            slots: Some(0),
            description: String::new(),
            include_deferred: false,
            rate_limit: None,
        };
        self.over(nothing, &Mask::default())
    }
}

impl Managed for Pools {
    type Id = String;
    type Wish = Wish;
    const SEVERAL: &'static str = "pools with these pool names";

    fn read(&self, body: &mut Body, _: &Mask) -> Wish {
        let was_named = body.has("name");
        let PoolBody { name, slots, description, include_deferred, rate_limit: wanted, _team_name: _ } =
            PoolBody::read(body);
        let limit = wanted.0.map(|text| rate_limit(text.as_deref()).map_err(|reason| (text, reason)));
        let limit = limit.transpose().unwrap_or_else(|(text, reason)| {
            body.wrong("rate_limit", "value_error", format!("Value error, {reason}"), Value::from(text));
            None
        });
        let wish = Wish {
            name,
            slots: Some(slots),
            description: description.0.map(Option::unwrap_or_default),
            include_deferred: include_deferred.0.map(|flag| flag.0),
            rate_limit: limit,
        };
        // What is wrong with its slots was said of them.
        if was_named && let Err(reason) = (Pool { slots: None, ..wish.pool() }).check() {
            body.wrong("name", "value_error", format!("Value error, {reason}"), Value::from(wish.name.as_str()));
        }
        wish
    }

    fn id<'w>(&self, wish: &'w Wish) -> &'w String {
        &wish.name
    }

    fn named(&self, entity: &Value) -> Option<String> {
        name_in(entity, "name")
    }

    async fn known(&self, app: &App, of: BTreeSet<String>) -> ApiResult<BTreeSet<String>> {
        Ok(read::pools(&app.pool).await?.into_iter().map(|pool| pool.name).filter(|name| of.contains(name)).collect())
    }

    async fn carry_out(
        &self,
        app: &App,
        who: &Principal,
        changes: &[Change<'_, Self>],
    ) -> ApiResult<Vec<ApiResult<()>>> {
        let pools: BTreeMap<String, Pool> =
            read::pools(&app.pool).await?.into_iter().map(|pool| (pool.name.clone(), pool)).collect();
        let commands = changes.iter().map(|change| command(&pools, change)).collect();
        let done = commands::send_those(app, commands, who).await?;
        Ok(changes.iter().zip(done).map(|(change, done)| said(change, done)).collect())
    }
}

/// The command that carries out a change of these pools, or why there is none.
fn command(pools: &BTreeMap<String, Pool>, change: &Change<'_, Pools>) -> ApiResult<Command> {
    match change {
        Change::Create(wish) => Ok(Command::CreatePool(wish.pool())),
        Change::Update(wish, mask) => {
            let old = pools.get(&wish.name).ok_or_else(|| missing(&wish.name))?;
            let changed = wish.over(old.clone(), mask);
            if changed.name == Pool::DEFAULT && changed.description != old.description {
                return Err(only_slots());
            }
            Ok(Command::SetPool(changed))
        }
        Change::Delete(name) if *name == Pool::DEFAULT => {
            Err(ApiError::BadRequest("Default Pool can't be deleted".to_owned()))
        }
        Change::Delete(name) => Ok(Command::DeletePool { name: Text::new(name.as_str())? }),
    }
}

/// What came of a change. Only what is made can be there already.
fn said(change: &Change<'_, Pools>, done: ApiResult<Value>) -> ApiResult<()> {
    match (change, done) {
        (Change::Create(_), Err(ApiError::Conflict(detail))) => Err(ApiError::AlreadyExists(detail)),
        (_, done) => done.map(drop),
    }
}

/// What is said when another field of the default pool is to change.
pub fn only_slots() -> ApiError {
    ApiError::BadRequest("Only slots and included_deferred can be modified on Default Pool".to_owned())
}
