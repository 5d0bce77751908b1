//! Users, their roles, and the tokens that are issued to them.
//!
//! Passwords are kept as argon2id hashes. Whether a name exists can not be told by how long an answer takes.

mod hashing;
mod manage;
mod provider;

use model::{Timestamp, UnknownCode};
use serde_json::json;
use sqlx::{PgExecutor, PgPool};
use uuid::Uuid;

use crate::{
    audit::{self, Actor},
    error::{Doing, StoreError},
};

pub use manage::{PASSWORD_CHARS_MIN, UserChange, create_user, delete_user, mistakes, set_password, set_role};
pub use provider::{ProviderLogin, ProviderRefusal, log_in_by_provider};

/// The user that a standalone starts with, and its password.
pub const DEFAULT_USER: &str = "airflow";

/// Airflow's roles: each may do what those before it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Sees everything but secrets.
    Viewer,
    /// Also runs DAGs and clears tasks.
    User,
    /// Also connections, variables, pools.
    Op,
    /// Also users.
    Admin,
}

impl Role {
    /// Every role, the weakest first.
    pub const ALL: [Self; 4] = [Self::Viewer, Self::User, Self::Op, Self::Admin];

    /// Its name, as Airflow has it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Viewer => "Viewer",
            Self::User => "User",
            Self::Op => "Op",
            Self::Admin => "Admin",
        }
    }

    const fn code(self) -> i16 {
        match self {
            Self::Viewer => 0,
            Self::User => 1,
            Self::Op => 2,
            Self::Admin => 3,
        }
    }

    fn unknown(found: &dyn std::fmt::Display) -> UnknownCode {
        let known = Self::ALL.map(Self::name).join(", ");
        UnknownCode { what: "role", found: found.to_string(), known }
    }
}

impl TryFrom<i16> for Role {
    type Error = UnknownCode;
    fn try_from(code: i16) -> Result<Self, UnknownCode> {
        Self::ALL.into_iter().find(|role| role.code() == code).ok_or_else(|| Self::unknown(&code))
    }
}

impl std::str::FromStr for Role {
    type Err = UnknownCode;
    fn from_str(text: &str) -> Result<Self, UnknownCode> {
        Self::ALL.into_iter().find(|role| role.name().eq_ignore_ascii_case(text)).ok_or_else(|| Self::unknown(&text))
    }
}

/// A user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Its number.
    pub id: i64,
    /// Its name.
    pub username: String,
    /// What it may do.
    pub role: Role,
}

/// A user that is to be created.
#[derive(Debug, Clone, Copy)]
pub struct NewUser<'a> {
    /// Its name.
    pub username: &'a str,
    /// Its password, in clear.
    pub password: &'a str,
    /// What it may do.
    pub role: Role,
}

/// Creates a user, or gives it another password and role.
///
/// # Errors
/// [`StoreError::Unreachable`], [`StoreError::Database`].
pub async fn put_user(pool: &PgPool, user: NewUser<'_>) -> Result<(), StoreError> {
    let hash = hashing::hash(user.password.to_owned()).await?;
    sqlx::query_file!("queries/user_account_set.sql", user.username, hash, user.role.code())
        .execute(pool)
        .await
        .doing("storing a user")?;
    Ok(())
}

/// Creates `airflow` with the password `airflow`, when there is no user yet.
///
/// # Errors
/// [`StoreError::Unreachable`], [`StoreError::Database`].
pub async fn create_default_user(pool: &PgPool) -> Result<(), StoreError> {
    if !all(pool).await?.is_empty() {
        return Ok(());
    }
    put_user(pool, NewUser { username: DEFAULT_USER, password: DEFAULT_USER, role: Role::Admin }).await
}

/// Whether the default user still has its default password, which is worth a warning.
///
/// # Errors
/// [`StoreError::Unreachable`], [`StoreError::Database`].
pub async fn has_default_password(pool: &PgPool) -> Result<bool, StoreError> {
    Ok(authenticate(pool, DEFAULT_USER, DEFAULT_USER).await?.is_some())
}

/// Every user, by name.
///
/// # Errors
/// [`StoreError::Unreachable`], [`StoreError::Database`].
pub async fn all(db: impl PgExecutor<'_>) -> Result<Vec<Account>, StoreError> {
    let rows = sqlx::query!("SELECT id, username, role FROM user_account ORDER BY username")
        .fetch_all(db)
        .await
        .doing("reading users")?;
    rows.into_iter().map(|row| account(row.id, row.username, row.role)).collect()
}

/// The user of this name and password; none when either is wrong, and for users of an identity provider, who have no password.
///
/// # Errors
/// [`StoreError::Unreachable`], [`StoreError::Database`].
pub async fn authenticate(pool: &PgPool, username: &str, password: &str) -> Result<Option<Account>, StoreError> {
    let row = sqlx::query!(
        "SELECT id, username, role, password_hash, provider FROM user_account WHERE username = $1",
        username
    )
    .fetch_optional(pool)
    .await
    .doing("reading a user")?;
    let fits = hashing::verify(password.to_owned(), row.as_ref().map(|row| row.password_hash.clone())).await?;
    row.filter(|row| fits && row.provider.is_none()).map(|row| account(row.id, row.username, row.role)).transpose()
}

/// A token that is issued.
#[derive(Debug, Clone, Copy)]
pub struct NewToken {
    /// Its id.
    pub jti: Uuid,
    /// Whose it is, by number.
    pub user_id: i64,
    /// When it ends by itself.
    pub expires_at: Timestamp,
}

/// Notes that a token was issued to somebody who has shown the password, with a line in the audit log: `action` is how. One
/// that is not noted is void.
///
/// # Errors
/// [`StoreError::Unreachable`], [`StoreError::Database`].
pub async fn record_token(pool: &PgPool, who: Actor<'_>, token: NewToken, action: &str) -> Result<(), StoreError> {
    const DOING: &str = "noting a token";
    let mut transaction = pool.begin().await.doing(DOING)?;
    sqlx::query!(
        "INSERT INTO token (jti, user_id, expires_at) VALUES ($1, $2, $3)",
        token.jti,
        token.user_id,
        token.expires_at
    )
    .execute(&mut *transaction)
    .await
    .doing(DOING)?;
    audit::record(&mut *transaction, who, action, &json!({})).await?;
    transaction.commit().await.doing(DOING)
}

/// The user of a token, as of today; none when the token has expired, is revoked, or its user is gone.
///
/// # Errors
/// [`StoreError::Unreachable`], [`StoreError::Database`].
pub async fn of_token(db: impl PgExecutor<'_>, jti: Uuid) -> Result<Option<Account>, StoreError> {
    let row = sqlx::query_file!("queries/token_user.sql", jti).fetch_optional(db).await.doing("checking a token")?;
    row.map(|row| account(row.id, row.username, row.role)).transpose()
}

/// Voids a token, with a line in the audit log unless it was void before.
///
/// # Errors
/// [`StoreError::Unreachable`], [`StoreError::Database`].
pub async fn revoke_token(pool: &PgPool, who: Actor<'_>, jti: Uuid) -> Result<(), StoreError> {
    const DOING: &str = "revoking a token";
    let mut transaction = pool.begin().await.doing(DOING)?;
    let revoked = sqlx::query!("UPDATE token SET revoked_at = now() WHERE jti = $1 AND revoked_at IS NULL", jti)
        .execute(&mut *transaction)
        .await
        .doing(DOING)?;
    if revoked.rows_affected() > 0 {
        audit::record(&mut *transaction, who, "logout", &json!({})).await?;
    }
    transaction.commit().await.doing(DOING)
}

fn account(id: i64, username: String, role: i16) -> Result<Account, StoreError> {
    Ok(Account { id, username, role: Role::try_from(role)? })
}
