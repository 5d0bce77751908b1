//! Users, their roles, their sessions and their tokens.
//!
//! Passwords are kept as argon2id hashes. Whether a name exists can not be told by how long an answer takes.

mod hashing;
mod manage;
mod provider;
mod rights;
mod roles;
mod tokens;

use sqlx::{PgExecutor, PgPool};

use crate::error::{Doing, StoreError};

pub use manage::{PASSWORD_CHARS_MIN, UserChange, create_user, delete_user, mistakes, set_password, set_role};
pub use provider::{ProviderLogin, ProviderRefusal, log_in_by_provider};
pub use rights::{DagPermission, DagTarget, InvalidPermission, Permissions, Right, Role};
pub use roles::{
    OWN_ROLES_MAX, OWN_ROLES_OF_USER_MAX, OwnRole, RoleChange, create_role, delete_role, own_role, own_roles,
    role_mistakes, set_own_roles, update_role,
};
pub use tokens::{
    ApiToken, Holder, Issued, LIFETIME_DAYS_DEFAULT, LIFETIME_DAYS_MAX, NewApiToken, NewToken, OpenToken,
    SESSIONS_OF_USER_MAX, TOKENS_SHOWN_MAX, TokenKey, TokenLimit, TokenRefusal, create_api_token, end_sessions, holder,
    open_tokens, record_token, revoke_open_token, revoke_token,
};

/// The user that a standalone starts with, and its password.
pub const DEFAULT_USER: &str = "airflow";
/// Users of one page of a list.
pub const USERS_OF_PAGE: i64 = 100;

/// A user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Its number.
    pub id: i64,
    /// Its name.
    pub username: String,
    /// Which of Airflow's roles it has.
    pub role: Role,
    /// The names of its own roles.
    pub own_roles: Vec<String>,
}

impl Account {
    /// The names of all of its roles.
    #[must_use]
    pub fn role_names(&self) -> String {
        let is_needed = self.role != Role::Public || self.own_roles.is_empty();
        let names = is_needed.then_some(self.role.name()).into_iter().chain(self.own_roles.iter().map(String::as_str));
        names.collect::<Vec<_>>().join(", ")
    }
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
    if are_there_any(pool).await? {
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

/// Whether there is a user.
///
/// # Errors
/// [`StoreError::Unreachable`], [`StoreError::Database`].
pub async fn are_there_any(db: impl PgExecutor<'_>) -> Result<bool, StoreError> {
    let any = sqlx::query_scalar!(r#"SELECT EXISTS (SELECT FROM user_account) AS "any!""#);
    any.fetch_one(db).await.doing("reading users")
}

/// The users whose names come after this one, in the order of their names: a page of at most [`USERS_OF_PAGE`].
///
/// # Errors
/// [`StoreError::Unreachable`], [`StoreError::Database`], [`StoreError::Corrupt`].
pub async fn page(db: impl PgExecutor<'_>, after: &str) -> Result<Vec<Account>, StoreError> {
    let rows = sqlx::query_as!(
        AccountRow,
        r#"SELECT id AS "id!", username AS "username!", role AS "role!", own_roles AS "own_roles!"
           FROM user_with_roles WHERE username > $1 ORDER BY username LIMIT $2"#,
        after,
        USERS_OF_PAGE
    );
    rows.fetch_all(db).await.doing("reading users")?.into_iter().map(Account::try_from).collect()
}

/// The user of this name.
///
/// # Errors
/// As [`page`].
pub async fn named(db: impl PgExecutor<'_>, username: &str) -> Result<Option<Account>, StoreError> {
    let row = sqlx::query_as!(
        AccountRow,
        r#"SELECT id AS "id!", username AS "username!", role AS "role!", own_roles AS "own_roles!"
           FROM user_with_roles WHERE username = $1"#,
        username
    );
    row.fetch_optional(db).await.doing("reading a user")?.map(Account::try_from).transpose()
}

/// The user of this name and password; none when either is wrong, and for users of an identity provider, who have no password.
///
/// # Errors
/// [`StoreError::Unreachable`], [`StoreError::Database`].
pub async fn authenticate(pool: &PgPool, username: &str, password: &str) -> Result<Option<Account>, StoreError> {
    let row = sqlx::query!(
        r#"SELECT id AS "id!", username AS "username!", role AS "role!", password_hash AS "password_hash!", provider,
                  own_roles AS "own_roles!"
           FROM user_with_roles WHERE username = $1"#,
        username
    );
    let row = row.fetch_optional(pool).await.doing("reading a user")?;
    let fits = hashing::verify(password.to_owned(), row.as_ref().map(|row| row.password_hash.clone())).await?;
    row.filter(|row| fits && row.provider.is_none())
        .map(|row| {
            Account::try_from(AccountRow {
                id: row.id,
                username: row.username,
                role: row.role,
                own_roles: row.own_roles,
            })
        })
        .transpose()
}

struct AccountRow {
    id: i64,
    username: String,
    role: i16,
    own_roles: Vec<String>,
}

impl TryFrom<AccountRow> for Account {
    type Error = StoreError;

    fn try_from(row: AccountRow) -> Result<Self, StoreError> {
        let AccountRow { id, username, role, own_roles } = row;
        Ok(Self { id, username, role: Role::try_from(role)?, own_roles })
    }
}
