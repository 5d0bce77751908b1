//! Ways to PostgreSQL: the pool for everyone, and the leader's own pinned connection.
//!
//! A server older than 14 and a transaction pooler are refused at the start, not found out by a lost lock later.

use std::time::Duration;

use pgconnect::{Target, is_out_of_transactions};
use sqlx::{
    ConnectOptions as _, Connection, Executor as _, PgConnection, PgPool,
    migrate::{Migrate as _, MigrateError},
    postgres::PgPoolOptions,
};

use crate::{
    error::{Doing, StoreError},
    limit::{self, within},
};

/// Enough for pages and commands of one process; PostgreSQL allows 100 in all.
const POOL_CONNECTIONS_MAX: u32 = 12;
/// Connections on which a web server looks up who shows a token; each is used for a fraction of a millisecond.
const TOKEN_CONNECTIONS_MAX: u32 = 4;
/// How long a caller waits for a free connection before it hears that there is none.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);
/// The oldest server that has what the queries use, as `server_version_num`.
const SERVER_VERSION_MIN: i32 = 140_000;

/// Settings of every connection. A server that lost its client, or a client that sleeps in a transaction, must not
/// hold a lock for longer than a takeover may take.
const SESSION: [(&str, &str); 4] = [
    ("timezone", "UTC"),
    ("tcp_user_timeout", "5s"),
    ("idle_in_transaction_session_timeout", "10s"),
    ("lock_timeout", "10s"),
];

/// Further settings of the leader's connection. A plan made while the tables were empty would scan them for ever;
/// without the other methods it can only be the index lookup that is right at every size.
const PINNED: [(&str, &str); 7] = [
    ("jit", "off"),
    ("enable_seqscan", "off"),
    ("enable_hashjoin", "off"),
    ("enable_mergejoin", "off"),
    ("plan_cache_mode", "force_generic_plan"),
    ("synchronous_commit", "on"),
    ("statement_timeout", "30s"),
];

/// Further settings of a web server's connections. Its statements vary with what is asked, so each is planned for its own
/// values; compiling a plan would take longer than the whole answer may.
const BROWSING: [(&str, &str); 2] = [("jit", "off"), ("plan_cache_mode", "force_custom_plan")];

/// The same of those connections on which a web server looks up who shows a token. It is one statement with the same plan for
/// everybody, and planning it takes ten times as long as answering it.
const CHECKING_TOKENS: [(&str, &str); 2] = [("jit", "off"), ("plan_cache_mode", "force_generic_plan")];

/// How long a statement of a web server may take unless it is set: pages answer within milliseconds, and whoever asks for
/// more than this has to ask for less.
pub const STATEMENT_TIMEOUT: Duration = Duration::from_secs(5);

/// The connection that a leader stores its turns on. There is one, and nothing else uses it while a turn is stored.
#[derive(Debug)]
pub struct Writer {
    connection: PgConnection,
    growth: Growth,
}

/// How much a connection has stored since its plans were made. A plan is made once and kept, and one that was made while the
/// tables were empty may look through all of `task_instance` for each row that changes: it is only made anew when the table is
/// analysed, which may be a minute and a hundred thousand rows later.
#[derive(Debug)]
struct Growth {
    instances: usize,
    plans_until: usize,
}

impl Growth {
    /// Up to here any plan is fast enough; and each time that it has doubled, plans are made anew for a few milliseconds.
    const FIRST: usize = 100;

    /// Takes note of rows that are about to be stored, and says whether plans are out of date.
    fn outgrows(&mut self, instances: usize) -> bool {
        let outgrown = self.instances > self.plans_until;
        if outgrown {
            self.plans_until = self.instances.saturating_mul(2);
        }
        self.instances = self.instances.saturating_add(instances);
        outgrown
    }
}

impl Writer {
    /// Opens it, with the settings that pin its plans.
    ///
    /// # Errors
    /// [`StoreError::Unreachable`] and [`StoreError::Database`] when there is no connection to be had.
    pub async fn connect(url: &str) -> Result<Self, StoreError> {
        const CONNECTING: &str = "connecting the leader to PostgreSQL";
        let target = target(url, "windlass leader")?.map(|options| options.options(PINNED));
        let connecting = async { target.connect().await.doing(CONNECTING) };
        let growth = Growth { instances: 0, plans_until: Growth::FIRST };
        Ok(Self { connection: within(limit::CONNECT, CONNECTING, connecting).await?, growth })
    }

    /// Has plans made anew when the tables have outgrown them; `instances` are about to be stored.
    pub(crate) async fn renew_plans(&mut self, instances: usize) -> Result<(), sqlx::Error> {
        if self.growth.outgrows(instances) {
            self.connection.execute("DISCARD PLANS").await?;
        }
        Ok(())
    }

    /// The connection itself, for reads of the leader.
    pub fn connection(&mut self) -> &mut PgConnection {
        &mut self.connection
    }

    /// Says goodbye to the server.
    pub async fn close(self) {
        const CLOSING: &str = "closing the leader's connection";
        let closing = async { self.connection.close().await.doing(CLOSING) };
        if let Err(error) = within(limit::LEASE, CLOSING, closing).await {
            tracing::debug!(%error, "the leader's connection was not closed in order");
        }
    }
}

/// Opens a pool, and refuses a server or a way to it that can not carry Windlass.
///
/// # Errors
/// [`StoreError::Unsuitable`] for a server before 14 or behind a transaction pooler; [`StoreError::Unreachable`].
pub async fn open(url: &str) -> Result<PgPool, StoreError> {
    open_as(target(url, "windlass")?, &[]).await
}

/// The connections of a web server.
#[derive(Debug, Clone)]
pub struct WebPools {
    /// For all that is asked and changed.
    pub pool: PgPool,
    /// For the one question that every request asks first: who shows its token. Its statement is planned once, and waits for no
    /// list.
    pub tokens: PgPool,
}

impl WebPools {
    /// Waits until no connection is used any more, and closes them.
    pub async fn close(&self) {
        tokio::join!(self.pool.close(), self.tokens.close());
    }
}

/// Opens the pools of a web server: its statements end after `statement_timeout`, so that no list holds a connection for long.
///
/// # Errors
/// As [`open`].
pub async fn open_for_web(url: &str, statement_timeout: Duration) -> Result<WebPools, StoreError> {
    let timeout = statement_timeout.as_millis().to_string();
    let timeout = ("statement_timeout", timeout.as_str());
    let [jit, plans] = BROWSING;
    let pool = open_as(target(url, "windlass web")?, &[jit, plans, timeout]).await?;
    let [jit, plans] = CHECKING_TOKENS;
    let target = target(url, "windlass web tokens")?;
    let options = target.settled().await.doing("connecting to PostgreSQL")?.options([jit, plans, timeout]);
    // Nothing begins a transaction on these, so that what sqlx does by itself before each use is enough.
    let tokens = PgPoolOptions::new().max_connections(TOKEN_CONNECTIONS_MAX).acquire_timeout(ACQUIRE_TIMEOUT);
    let tokens = tokens.connect_with(options).await.doing("connecting to PostgreSQL")?;
    Ok(WebPools { pool, tokens })
}

async fn open_as(target: Target, settings: &[(&str, &str)]) -> Result<PgPool, StoreError> {
    let options = target.settled().await.doing("connecting to PostgreSQL")?.options(settings.iter().copied());
    let pool = PgPoolOptions::new()
        .max_connections(POOL_CONNECTIONS_MAX)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .before_acquire(|connection, _| Box::pin(is_out_of_transactions(connection)))
        // That question is answered by a connection that is alive, and by no other.
        .test_before_acquire(false)
        .connect_with(options)
        .await
        .doing("connecting to PostgreSQL")?;
    refuse_old_server(&pool).await?;
    refuse_pooler(&pool).await?;
    Ok(pool)
}

/// Brings the schema to this binary's version. Any number of processes may do it at once: they take turns.
///
/// # Errors
/// [`StoreError::Database`] with the migration that failed.
pub async fn migrate(pool: &PgPool) -> Result<(), StoreError> {
    // A newer program may have been here: its migrations only add, and `leader.format` says when that is not so.
    let mut migrator = sqlx::migrate!();
    migrator.set_ignore_missing(true);
    migrator.run(pool).await.map_err(sqlx::Error::from).doing("migrating the state database")
}

/// Refuses a schema that is older than this program. One that is newer will do: migrations only add.
///
/// # Errors
/// [`StoreError::Unsuitable`] with what is missing; [`StoreError::Unreachable`], [`StoreError::Database`].
pub async fn check_schema(pool: &PgPool) -> Result<(), StoreError> {
    let pending = pending_migrations(pool).await?;
    if pending.is_empty() {
        return Ok(());
    }
    let reason = format!("its schema is older than this program ({}): run `windlass db migrate`", pending.join(", "));
    Err(StoreError::Unsuitable { reason })
}

/// Whether the database holds tables of ours, of whatever version.
///
/// # Errors
/// [`StoreError::Unreachable`], [`StoreError::Database`].
pub async fn has_schema(pool: &PgPool) -> Result<bool, StoreError> {
    sqlx::query_scalar!(r#"SELECT to_regclass('leader') IS NOT NULL AS "has!""#)
        .fetch_one(pool)
        .await
        .doing("looking at the schema")
}

/// The migrations of this binary that the database has not had yet, by name. Changes nothing.
///
/// # Errors
/// [`StoreError::Unreachable`], [`StoreError::Database`].
pub async fn pending_migrations(pool: &PgPool) -> Result<Vec<String>, StoreError> {
    /// PostgreSQL's code for a table that does not exist: nothing was ever applied.
    const UNDEFINED_TABLE: &str = "42P01";
    let mut connection = pool.acquire().await.doing("looking at the schema")?;
    let applied = match connection.list_applied_migrations().await {
        Ok(applied) => applied,
        Err(MigrateError::Execute(sqlx::Error::Database(error)))
            if error.code().as_deref() == Some(UNDEFINED_TABLE) =>
        {
            Vec::new()
        }
        Err(error) => return Err(sqlx::Error::from(error)).doing("looking at the schema"),
    };
    let is_pending = |version: i64| !applied.iter().any(|applied| applied.version == version);
    let migrator = sqlx::migrate!();
    let pending = migrator.iter().filter(|migration| is_pending(migration.version));
    Ok(pending.map(|migration| format!("{:04} {}", migration.version, migration.description)).collect())
}

/// How to connect, with the settings of every connection.
pub(crate) fn target(url: &str, name: &str) -> Result<Target, StoreError> {
    let target = Target::parse(url)
        .map_err(|error| StoreError::Refused { reason: format!("the database URL can not be used: {error}") })?;
    Ok(target.named(name).map(|options| options.options(SESSION).disable_statement_logging()))
}

/// The server's `server_version_num`.
pub(crate) async fn server_version(pool: &PgPool) -> Result<i32, StoreError> {
    sqlx::query_scalar!(r#"SELECT current_setting('server_version_num')::int AS "version!""#)
        .fetch_one(pool)
        .await
        .doing("asking PostgreSQL for its version")
}

async fn refuse_old_server(pool: &PgPool) -> Result<(), StoreError> {
    let version = server_version(pool).await?;
    if version >= SERVER_VERSION_MIN {
        return Ok(());
    }
    Err(StoreError::Unsuitable {
        reason: format!("its version is {}, and 14 is the oldest that will do", version / 10_000),
    })
}

/// Two connections that are open at the same time have two backends, and keep them, unless a pooler deals them out.
async fn refuse_pooler(pool: &PgPool) -> Result<(), StoreError> {
    const DOING: &str = "looking for a connection pooler";
    let mut first = pool.acquire().await.doing(DOING)?;
    let mut second = pool.acquire().await.doing(DOING)?;
    let before = backend(&mut first).await?;
    let mut transaction = second.begin().await.doing(DOING)?;
    let other = backend(&mut transaction).await?;
    let after = backend(&mut first).await?;
    transaction.rollback().await.doing(DOING)?;
    if before == after && before != other {
        return Ok(());
    }
    let reason = "a transaction pooler stands before it, and Windlass needs sessions of its own (locks, LISTEN): \
                  give the address of PostgreSQL itself";
    Err(StoreError::Unsuitable { reason: reason.to_owned() })
}

async fn backend(connection: &mut PgConnection) -> Result<i32, StoreError> {
    sqlx::query_scalar!(r#"SELECT pg_backend_pid() AS "pid!""#)
        .fetch_one(connection)
        .await
        .doing("looking for a connection pooler")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plans_are_made_anew_each_time_that_what_was_stored_has_doubled() {
        let mut growth = Growth { instances: 0, plans_until: Growth::FIRST };
        let renewed = (0..100_000).filter(|_| growth.outgrows(10)).count();
        assert_eq!(renewed, 14, "after 110 instances, 220, and so on to a million");
        assert!(!growth.outgrows(0));
    }
}
