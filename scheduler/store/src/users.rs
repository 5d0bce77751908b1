//! Users, their roles, and the tokens that are issued to them.
//!
//! Passwords are kept as argon2id hashes. Whether a name exists can not be told by how long an answer takes.

mod manage;

use std::sync::LazyLock;

use argon2::{
    Argon2, PasswordHash, PasswordVerifier,
    password_hash::{PasswordHasher, SaltString, rand_core::OsRng},
};
use model::{Timestamp, UnknownCode};
use sqlx::{PgExecutor, PgPool};
use uuid::Uuid;

use crate::error::{Doing, StoreError};

pub use manage::{UserChange, create_user, delete_user, mistakes, set_password, set_role};

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
    let hash = hash(user.password.to_owned()).await?;
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

/// The user of this name and password; none when either is wrong.
///
/// # Errors
/// [`StoreError::Unreachable`], [`StoreError::Database`].
pub async fn authenticate(pool: &PgPool, username: &str, password: &str) -> Result<Option<Account>, StoreError> {
    let row = sqlx::query!("SELECT id, username, role, password_hash FROM user_account WHERE username = $1", username)
        .fetch_optional(pool)
        .await
        .doing("reading a user")?;
    let hash = row.as_ref().map_or_else(|| NOBODYS_HASH.clone(), |row| row.password_hash.clone());
    let fits = verify(password.to_owned(), hash).await?;
    row.filter(|_| fits).map(|row| account(row.id, row.username, row.role)).transpose()
}

/// Notes that a token was issued. One that is not noted is void.
///
/// # Errors
/// [`StoreError::Unreachable`], [`StoreError::Database`].
pub async fn record_token(
    db: impl PgExecutor<'_>,
    jti: Uuid,
    user_id: i64,
    expires_at: Timestamp,
) -> Result<(), StoreError> {
    sqlx::query!("INSERT INTO token (jti, user_id, expires_at) VALUES ($1, $2, $3)", jti, user_id, expires_at)
        .execute(db)
        .await
        .doing("noting a token")?;
    Ok(())
}

/// The user of a token, as of today; none when the token has expired, is revoked, or its user is gone.
///
/// # Errors
/// [`StoreError::Unreachable`], [`StoreError::Database`].
pub async fn of_token(db: impl PgExecutor<'_>, jti: Uuid) -> Result<Option<Account>, StoreError> {
    let row = sqlx::query_file!("queries/token_user.sql", jti).fetch_optional(db).await.doing("checking a token")?;
    row.map(|row| account(row.id, row.username, row.role)).transpose()
}

/// Voids a token.
///
/// # Errors
/// [`StoreError::Unreachable`], [`StoreError::Database`].
pub async fn revoke_token(db: impl PgExecutor<'_>, jti: Uuid) -> Result<(), StoreError> {
    sqlx::query!("UPDATE token SET revoked_at = now() WHERE jti = $1 AND revoked_at IS NULL", jti)
        .execute(db)
        .await
        .doing("revoking a token")?;
    Ok(())
}

/// What the password of a name that does not exist is compared with, so that it takes as long.
static NOBODYS_HASH: LazyLock<String> = LazyLock::new(|| hash_now("nobody"));

fn account(id: i64, username: String, role: i16) -> Result<Account, StoreError> {
    Ok(Account { id, username, role: Role::try_from(role)? })
}

/// Hashing takes tens of milliseconds on purpose, so it runs apart from the threads that serve.
async fn hash(password: String) -> Result<String, StoreError> {
    tokio::task::spawn_blocking(move || hash_now(&password)).await.map_err(|error| crate::rows::corrupt(&error))
}

fn hash_now(password: &str) -> String {
    let salt = SaltString::generate(&mut OsRng);
    let hash = Argon2::default().hash_password(password.as_bytes(), &salt);
    hash.expect("the default parameters and a generated salt are valid").to_string()
}

async fn verify(password: String, hash: String) -> Result<bool, StoreError> {
    let compare = move || {
        PasswordHash::new(&hash)
            .map(|hash| Argon2::default().verify_password(password.as_bytes(), &hash).is_ok())
            .map_err(|error| crate::rows::corrupt(&error))
    };
    tokio::task::spawn_blocking(compare).await.map_err(|error| crate::rows::corrupt(&error))?
}
