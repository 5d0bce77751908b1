//! What the processes of one cluster share: its authority, its secrets, the tokens by which workers join.
//!
//! Everything secret is sealed with the key that is not in the database; whoever has another key hears so, and never gets
//! secrets of its own beside the cluster's.

use std::time::Duration;

use model::{Epoch, Timestamp};
use sqlx::{PgConnection, PgExecutor, PgPool};

use crate::{
    audit::{self, Actor},
    error::{Doing, StoreError},
    secrets::SecretKey,
};

const READING_TOKEN: &str = "reading a join token";
const MAKING_TOKEN: &str = "making a join token";

/// A secret of the whole cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClusterSecret {
    /// The authority that signs the certificates of leaders.
    Authority,
    /// What api processes show to the leader.
    Api,
    /// What logins are signed with.
    Signing,
}

/// A join token as it is kept.
#[derive(Clone)]
pub struct StoredToken {
    /// Its id.
    pub id: String,
    /// Its secret, in clear.
    pub secret: String,
    /// Whether it is in use.
    pub state: TokenState,
}

/// Whether a join token is in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenState {
    /// It is.
    Valid,
    /// Its time has passed.
    Expired(Timestamp),
    /// Another one took its place.
    Revoked(Timestamp),
}

/// A join token that is to be stored.
#[derive(Clone, Copy)]
pub struct NewToken<'a> {
    /// Its id.
    pub id: &'a str,
    /// Its secret, in clear.
    pub secret: &'a str,
    /// SHA-256 of what workers show to api processes.
    pub lookup_hash: &'a [u8],
    /// How long it is good for; until it is revoked when absent.
    pub valid_for: Option<Duration>,
}

/// Where the leader is, as the last takeover has written it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaderSeat {
    /// The leadership; 0 when nobody has led yet.
    pub epoch: Epoch,
    /// Its name.
    pub holder: String,
    /// Its address.
    pub endpoint: String,
}

impl ClusterSecret {
    const fn name(self) -> &'static str {
        match self {
            Self::Authority => "authority",
            Self::Api => "api",
            Self::Signing => "signing",
        }
    }

    fn place(self) -> String {
        secret_place(self.name())
    }

    /// All of them.
    pub const ALL: [Self; 3] = [Self::Authority, Self::Api, Self::Signing];
}

/// What a secret of the cluster is sealed together with.
pub(crate) fn secret_place(name: &str) -> String {
    format!("cluster_secret/{name}")
}

/// What a join token is sealed together with.
pub(crate) fn token_place(id: &str) -> String {
    format!("join_token/{id}")
}

/// A secret of the cluster, made by `make` when it is asked for the first time. Processes that ask at once get the same.
///
/// # Errors
/// [`StoreError::Refused`] when it was sealed with another key; [`StoreError::Unreachable`], [`StoreError::Database`].
pub async fn secret(
    pool: &PgPool,
    key: &SecretKey,
    which: ClusterSecret,
    make: impl FnOnce() -> String + Send,
) -> Result<String, StoreError> {
    const DOING: &str = "reading a secret of the cluster";
    let mut sealed = stored_secret(pool, which).await?;
    if sealed.is_none() {
        let made = key.seal(&which.place(), &make());
        sqlx::query!(
            "INSERT INTO cluster_secret (name, sealed) VALUES ($1, $2) ON CONFLICT DO NOTHING",
            which.name(),
            made
        )
        .execute(pool)
        .await
        .doing(DOING)?;
        sealed = stored_secret(pool, which).await?;
    }
    let sealed = sealed.ok_or(StoreError::Corrupt { what: format!("the cluster's secret {which:?} is gone") })?;
    open(key, &which.place(), &sealed)
}

/// Forgets a secret of the cluster, so that the next process that starts makes a new one. With the authority go the join
/// tokens, which name it, and the workers' certificates, which it has signed; what was taken back stays so.
///
/// # Errors
/// [`StoreError::Unreachable`], [`StoreError::Database`].
pub async fn rotate_secret(
    pool: &PgPool,
    which: ClusterSecret,
    who: impl Into<Actor<'_>> + Send,
) -> Result<(), StoreError> {
    const DOING: &str = "rotating a secret of the cluster";
    let mut transaction = pool.begin().await.doing(DOING)?;
    sqlx::query!("DELETE FROM cluster_secret WHERE name = $1", which.name())
        .execute(&mut *transaction)
        .await
        .doing(DOING)?;
    if which == ClusterSecret::Authority {
        sqlx::query!("UPDATE join_token SET revoked_at = now() WHERE revoked_at IS NULL")
            .execute(&mut *transaction)
            .await
            .doing(DOING)?;
        sqlx::query!("DELETE FROM worker_certificate WHERE revoked_at IS NULL")
            .execute(&mut *transaction)
            .await
            .doing(DOING)?;
    }
    let details = serde_json::json!({"which": which.name()});
    audit::record(&mut *transaction, who, "rotate_cluster_secret", &details).await?;
    transaction.commit().await.doing(DOING)
}

async fn stored_secret(db: impl PgExecutor<'_>, which: ClusterSecret) -> Result<Option<Vec<u8>>, StoreError> {
    sqlx::query_scalar!("SELECT sealed FROM cluster_secret WHERE name = $1", which.name())
        .fetch_optional(db)
        .await
        .doing("reading a secret of the cluster")
}

fn open(key: &SecretKey, place: &str, sealed: &[u8]) -> Result<String, StoreError> {
    key.open(place, sealed).map_err(|why| StoreError::Refused {
        reason: format!(
            "{place} can not be decrypted: {why}. Every process of a cluster needs the same WINDLASS_SECRET_KEY"
        ),
    })
}

/// The join token that is not revoked; it may have expired.
///
/// # Errors
/// As [`secret`].
pub async fn current_token(db: impl PgExecutor<'_>, key: &SecretKey) -> Result<Option<StoredToken>, StoreError> {
    let row = sqlx::query_file!("queries/join_token_current.sql").fetch_optional(db).await.doing(READING_TOKEN)?;
    row.map(|row| stored(key, row.id, &row.sealed, state(row.expired_at, None))).transpose()
}

/// The join token with this id, whatever became of it.
///
/// # Errors
/// As [`secret`].
pub async fn token(db: impl PgExecutor<'_>, key: &SecretKey, id: &str) -> Result<Option<StoredToken>, StoreError> {
    let row = sqlx::query_file!("queries/join_token_by_id.sql", id).fetch_optional(db).await.doing(READING_TOKEN)?;
    row.map(|row| stored(key, row.id, &row.sealed, state(row.expired_at, row.revoked_at))).transpose()
}

/// How the token stands whose holder shows this to an api process; none when nobody was given it.
///
/// # Errors
/// [`StoreError::Unreachable`], [`StoreError::Database`].
pub async fn token_of_lookup(db: impl PgExecutor<'_>, lookup_hash: &[u8]) -> Result<Option<TokenState>, StoreError> {
    let row = sqlx::query_file!("queries/join_token_by_lookup.sql", lookup_hash);
    let row = row.fetch_optional(db).await.doing(READING_TOKEN)?;
    Ok(row.map(|row| state(row.expired_at, row.revoked_at)))
}

/// Stores a token when none is in use. What is in use then is to be read again: another process may have been faster.
///
/// # Errors
/// [`StoreError::Unreachable`], [`StoreError::Database`].
pub async fn add_first_token(
    pool: &PgPool,
    key: &SecretKey,
    who: Actor<'_>,
    token: NewToken<'_>,
) -> Result<(), StoreError> {
    let mut transaction = pool.begin().await.doing(MAKING_TOKEN)?;
    insert(&mut transaction, key, who, token).await?;
    transaction.commit().await.doing(MAKING_TOKEN)
}

/// Stores a token in place of the one in use, which is revoked.
///
/// # Errors
/// [`StoreError::Unreachable`], [`StoreError::Database`].
pub async fn replace_token(
    pool: &PgPool,
    key: &SecretKey,
    who: Actor<'_>,
    token: NewToken<'_>,
) -> Result<(), StoreError> {
    let mut transaction = pool.begin().await.doing(MAKING_TOKEN)?;
    sqlx::query!("UPDATE join_token SET revoked_at = now() WHERE revoked_at IS NULL")
        .execute(&mut *transaction)
        .await
        .doing(MAKING_TOKEN)?;
    insert(&mut transaction, key, who, token).await?;
    transaction.commit().await.doing(MAKING_TOKEN)
}

/// With a line in the audit log: whoever has the token can run a worker.
async fn insert(
    connection: &mut PgConnection,
    key: &SecretKey,
    who: Actor<'_>,
    token: NewToken<'_>,
) -> Result<(), StoreError> {
    let sealed = key.seal(&token_place(token.id), token.secret);
    let valid_secs = token.valid_for.map(|time| time.as_secs_f64());
    sqlx::query_file!("queries/join_token_add.sql", token.id, sealed, token.lookup_hash, valid_secs)
        .execute(&mut *connection)
        .await
        .doing(MAKING_TOKEN)?;
    let details = serde_json::json!({ "id": token.id, "valid_for_seconds": valid_secs });
    audit::record(&mut *connection, who, "make_worker_admission", &details).await
}

fn stored(key: &SecretKey, id: String, sealed: &[u8], state: TokenState) -> Result<StoredToken, StoreError> {
    let secret = open(key, &token_place(&id), sealed)?;
    Ok(StoredToken { id, secret, state })
}

/// `expired_at` is given only when it has passed.
fn state(expired_at: Option<Timestamp>, revoked_at: Option<Timestamp>) -> TokenState {
    match (revoked_at, expired_at) {
        (Some(at), _) => TokenState::Revoked(at),
        (None, Some(at)) => TokenState::Expired(at),
        (None, None) => TokenState::Valid,
    }
}

/// Where the leader is.
///
/// # Errors
/// [`StoreError::Unreachable`], [`StoreError::Database`].
pub async fn leader_seat(db: impl PgExecutor<'_>) -> Result<LeaderSeat, StoreError> {
    let row = sqlx::query!("SELECT epoch, holder, endpoint FROM leader")
        .fetch_one(db)
        .await
        .doing("looking for the leader")?;
    Ok(LeaderSeat { epoch: Epoch(row.epoch), holder: row.holder, endpoint: row.endpoint })
}
