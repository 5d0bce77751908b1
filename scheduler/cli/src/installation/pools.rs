//! Pools. Beside a leader every change is a command, so that tasks that wait get new slots at once.

use anyhow::Context;
use model::{Command, Pool, RateLimit, door::Text};
use serde::Deserialize;
use serde_json::{Value, json};
use store::{pools::PoolChange, read};

use super::{Here, Installation};
use crate::exit::Failure;

/// What stands for no limit.
pub const NO_LIMIT: i64 = -1;
/// It is there always, and its description stays.
const DEFAULT_POOL: &str = "default_pool";

/// A pool as the API writes it.
#[derive(Deserialize)]
struct Row {
    name: String,
    slots: i64,
    description: Option<String>,
    #[serde(default)]
    include_deferred: bool,
    #[serde(default)]
    rate_limit: Option<RateLimit>,
}

/// The slots of a number.
///
/// # Errors
/// When there can not be so many.
pub fn slots_of(number: i64) -> anyhow::Result<Option<u32>> {
    if number == NO_LIMIT {
        return Ok(None);
    }
    u32::try_from(number)
        .map(Some)
        .map_err(|_| Failure::refused(format!("{number} slots are not possible; -1 stands for no limit")))
}

impl Installation<'_> {
    /// Every pool.
    ///
    /// # Errors
    /// When the installation does not answer.
    pub async fn pools(&self) -> anyhow::Result<Vec<Pool>> {
        let server = match self {
            Self::Here(here) => return Ok(read::pools(here.access.pool().await?).await?),
            Self::Server(server) => server,
        };
        let pool = |row: Row| {
            Ok(Pool {
                slots: slots_of(row.slots)?,
                name: row.name,
                description: row.description.unwrap_or_default(),
                include_deferred: row.include_deferred,
                rate_limit: row.rate_limit,
            })
        };
        server.list(&["pools"], "pools", &[]).await?.into_iter().map(pool).collect()
    }

    /// One pool.
    ///
    /// # Errors
    /// When there is none of this name.
    pub async fn pool(&self, name: &str) -> anyhow::Result<Pool> {
        let found = self.pools().await?.into_iter().find(|pool| pool.name == name);
        found.ok_or_else(|| Failure::missing(format!("there is no pool {name}")))
    }

    /// Creates a pool or changes it.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn set_pool(&self, pool: Pool) -> anyhow::Result<()> {
        let server = match self {
            Self::Here(here) => return here.change_pool(PoolChange::Set(pool)).await,
            Self::Server(server) => server,
        };
        let slots = pool.slots.map_or(NO_LIMIT, i64::from);
        let mut body = json!({
            "pool": pool.name, "slots": slots, "description": pool.description, "include_deferred": pool.include_deferred,
            "rate_limit": pool.rate_limit,
        });
        let mask: &[_] = match pool.name.as_str() {
            DEFAULT_POOL => {
                &[("update_mask", "slots"), ("update_mask", "include_deferred"), ("update_mask", "rate_limit")]
            }
            _ => &[],
        };
        match server.patch::<Value>(&["pools", &pool.name], mask, &body).await {
            Err(error) if error.is_missing() => {
                // What is made is called by another member than what is changed.
                body["name"] = body["pool"].take();
                body.as_object_mut().context("it was made as an object")?.remove("pool");
                server.post::<Value>(&["pools"], &body).await?;
            }
            done => drop(done?),
        }
        Ok(())
    }

    /// Deletes a pool.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn delete_pool(&self, name: &str) -> anyhow::Result<()> {
        match self {
            Self::Here(here) => here.change_pool(PoolChange::Delete(name.to_owned())).await,
            Self::Server(server) => Ok(server.delete(&["pools", name]).await?),
        }
    }
}

impl Here<'_> {
    async fn change_pool(&self, change: PoolChange) -> anyhow::Result<()> {
        if self.access.is_alone() {
            return self.access.change_pool(change).await;
        }
        let command = match change {
            PoolChange::Set(pool) => Command::SetPool(pool),
            PoolChange::Delete(name) => Command::DeletePool { name: Text::new(name).context("the pool's name")? },
        };
        self.access.command(command).await.map(drop)
    }
}
