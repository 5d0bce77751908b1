//! The way to an installation's databases: beside a running standalone, on a given server, or, with nothing running, on
//! the private PostgreSQL, which is then started for the command and stopped after it.

use std::{collections::BTreeMap, time::Duration};

use anyhow::Context;
use daemon::{
    home::{Home, HomeError, HomeLock},
    postgres::{EmbeddedPostgres, Urls},
};
use model::{AnswerStatus, Command};
use nix::unistd::{Uid, User};
use sqlx::PgPool;
use store::audit::Actor;
use store::{
    Hints, SecretKey, Writer, inbox,
    inbox::Withdrawal,
    pools::{self, PoolChange},
};
use tokio::sync::OnceCell;

use crate::{
    exit::{Exit, Failure},
    fleet,
    settings::Settings,
};

/// A leader answers within milliseconds; one that is taking over within this.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// A living leader raises its lease each second.
const LEASE_MOVES_WITHIN: Duration = Duration::from_millis(2_500);

/// An open way, to be closed.
#[derive(Debug)]
pub struct Access {
    urls: Urls,
    own: Option<(EmbeddedPostgres, HomeLock)>,
    pool: OnceCell<PgPool>,
}

impl Access {
    /// Finds or starts the databases.
    ///
    /// # Errors
    /// When the home or PostgreSQL can not be used.
    pub async fn open(settings: &Settings) -> anyhow::Result<Self> {
        if let Some(urls) = settings.given_databases() {
            return Ok(Self { urls, own: None, pool: OnceCell::new() });
        }
        let home = Home::open(&settings.home)?;
        match home.lock() {
            Ok(lock) => {
                let postgres = EmbeddedPostgres::start(home.root()).await?;
                Ok(Self { urls: postgres.urls().clone(), own: Some((postgres, lock)), pool: OnceCell::new() })
            }
            Err(HomeError::InUse { .. }) => {
                let urls = EmbeddedPostgres::running(home.root())
                    .await
                    .context("a standalone holds this home, but its PostgreSQL is not up yet; try again in a moment")?;
                Ok(Self { urls, own: None, pool: OnceCell::new() })
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The way to databases that somebody else keeps running.
    #[must_use]
    pub fn beside(urls: &Urls) -> Self {
        Self { urls: urls.clone(), own: None, pool: OnceCell::new() }
    }

    /// The state database. Only the private one, which nobody else uses now, is brought to this version: a command on
    /// somebody's laptop must not change the schema of a server.
    ///
    /// # Errors
    /// When it can not be reached, or its schema is older than this program.
    pub async fn pool(&self) -> anyhow::Result<&PgPool> {
        let connect = || async {
            let pool = store::open(&self.urls.state).await?;
            if self.is_alone() {
                store::migrate(&pool).await?;
            } else {
                store::connect::check_schema(&pool).await?;
            }
            Ok::<_, store::StoreError>(pool)
        };
        Ok(self.pool.get_or_try_init(connect).await?)
    }

    /// Brings the state database to this version.
    ///
    /// # Errors
    /// When it can not be reached, or a migration fails.
    pub async fn migrate(&self) -> anyhow::Result<()> {
        let pool = store::open(&self.urls.state).await?;
        let done = store::migrate(&pool).await;
        pool.close().await;
        Ok(done?)
    }

    /// Whether the state database holds tables of Windlass.
    ///
    /// # Errors
    /// When it can not be reached.
    pub async fn has_tables(&self) -> anyhow::Result<bool> {
        let pool = store::open(&self.urls.state).await?;
        let has = store::connect::has_schema(&pool).await;
        pool.close().await;
        Ok(has?)
    }

    /// Whether somebody leads on the state database now.
    ///
    /// # Errors
    /// When it can not be reached.
    pub async fn leads_somebody(&self) -> anyhow::Result<bool> {
        if self.is_alone() || !self.has_tables().await? {
            return Ok(false);
        }
        let pool = store::open(&self.urls.state).await?;
        let moves = lease_moves(&pool).await;
        pool.close().await;
        Ok(moves?)
    }

    /// Where the databases are.
    #[must_use]
    pub const fn urls(&self) -> &Urls {
        &self.urls
    }

    /// What this version would change in the schema.
    ///
    /// # Errors
    /// When the database can not be reached.
    pub async fn pending_migrations(&self) -> anyhow::Result<Vec<String>> {
        let pool = store::open(&self.urls.state).await?;
        let pending = store::connect::pending_migrations(&pool).await;
        pool.close().await;
        Ok(pending?)
    }

    /// What `windlass-tasks` needs to know of this installation.
    #[must_use]
    pub fn task_environment(&self, settings: &Settings) -> BTreeMap<&'static str, String> {
        BTreeMap::from([
            ("WINDLASS_LAKE_DATABASE_URL", self.urls.lake.clone()),
            ("WINDLASS_LAKE_WAREHOUSE", settings.warehouse.clone()),
            ("SCHEMA_REGISTRY_URL", settings.registry()),
        ])
    }

    /// Asks the leader for something and waits until it is done.
    ///
    /// # Errors
    /// What the leader says against it, or that there is no leader; then nothing was changed.
    pub async fn command(&self, command: Command) -> anyhow::Result<serde_json::Value> {
        let pool = self.pool().await?;
        let hints = Hints::listen(pool).await?;
        let id = inbox::submit(pool, &command, Actor::at_the_command_line(&caller())).await?;
        let answer = match inbox::await_answer(pool, &hints, id, ANSWER_WITHIN).await? {
            Some(answer) => answer,
            None => match inbox::cancel_command(pool, id).await? {
                Withdrawal::Withdrawn => {
                    let text = "no leader answers; is `windlass standalone` running on this home?";
                    return Err(Failure::unreachable(text));
                }
                Withdrawal::AlreadyTaken => inbox::await_answer(pool, &hints, id, ANSWER_WITHIN)
                    .await?
                    .context("the leader has taken the command, but does not answer")?,
            },
        };
        match answer.status {
            AnswerStatus::Done => Ok(answer.body),
            status @ (AnswerStatus::NotFound
            | AnswerStatus::Conflict
            | AnswerStatus::Invalid
            | AnswerStatus::Forbidden) => {
                let exit = if status == AnswerStatus::NotFound { Exit::NotFound } else { Exit::Refused };
                Err(Failure::of(exit, answer.body["detail"].as_str().unwrap_or("the leader refused")))
            }
        }
    }

    /// What connections and variables of this installation are sealed with.
    ///
    /// # Errors
    /// When it can not be read.
    pub fn secret_key(settings: &Settings) -> anyhow::Result<SecretKey> {
        fleet::settings::installation_key(&Home::open(&settings.home)?)
    }

    /// Whether this command holds the whole installation, so that nobody can lead it.
    #[must_use]
    pub const fn is_alone(&self) -> bool {
        self.own.is_some()
    }

    /// Changes a pool while nobody leads.
    ///
    /// # Errors
    /// When the pool breaks a rule, or PostgreSQL does not answer.
    pub async fn change_pool(&self, change: PoolChange) -> anyhow::Result<()> {
        self.pool().await?;
        let mut writer = Writer::connect(&self.urls.state).await?;
        let done = pools::change_alone(&mut writer, Actor::at_the_command_line(&caller()), vec![change]).await;
        writer.close().await;
        Ok(done?)
    }

    /// Stops what was started for this command.
    pub async fn close(self) {
        if let Some(pool) = self.pool.into_inner() {
            pool.close().await;
        }
        if let Some((postgres, _lock)) = self.own {
            postgres.stop().await;
        }
    }
}

/// Who is at the terminal, for the audit log: the user of this machine as the kernel knows it. The environment is not asked, which
/// says what anybody likes; the door of the line tells such a user from one of Windlass's with the same name.
#[must_use]
pub fn caller() -> String {
    let uid = Uid::current();
    User::from_uid(uid).ok().flatten().map_or_else(|| format!("uid {uid}"), |user| user.name)
}

/// Whether somebody raises the lease, as a living leader does.
///
/// # Errors
/// When the database does not answer.
pub async fn lease_moves(pool: &PgPool) -> Result<bool, store::StoreError> {
    let before = store::diagnosis::lease(pool).await?;
    tokio::time::sleep(LEASE_MOVES_WITHIN).await;
    Ok(store::diagnosis::lease(pool).await? != before)
}
