//! Creating, changing and deleting users, each with its line in the audit log. There is always a user who is Admin.

use std::collections::BTreeSet;

use serde_json::json;
use sqlx::{PgConnection, PgPool};

use super::{DEFAULT_USER, NewUser, Role, hashing::hash};
use crate::{
    audit::{self, Actor},
    error::{Doing, StoreError},
    secrets::{Creation, Mistake},
};

/// The longest name of a user, in characters.
pub(super) const NAME_CHARS_MAX: usize = 128;
/// The longest password, in bytes: hashing takes time in proportion.
const PASSWORD_BYTES_MAX: usize = 1024;

/// What became of a wish to change a user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UserChange {
    /// It is done.
    Done,
    /// There is no user of this name.
    Missing,
    /// Nobody would be left who may manage users; nothing was changed.
    LastAdmin,
    /// An identity provider knows the password; nothing was changed.
    OfProvider,
}

/// Fewer different characters are a key that was held down.
const DIFFERENT_CHARS_MIN: usize = 4;

/// The shortest password, in characters, unless the installation says otherwise.
pub const PASSWORD_CHARS_MIN: usize = 8;

/// What is wrong with a name and a password of at least so many characters, field by field. The login that a fresh
/// installation is documented to have is let through: whoever must not have it is refused elsewhere.
#[must_use]
pub fn mistakes(username: &str, password: &str, chars_min: usize) -> Vec<Mistake> {
    let mut found = Vec::new();
    if username.is_empty() {
        found.push(Mistake::new("username", "a user needs a name"));
    } else if !username.chars().all(is_name_char) {
        found.push(Mistake::new("username", "a name has letters, digits and _ . - @ + only"));
    } else if username.chars().count() > NAME_CHARS_MAX {
        found.push(Mistake::new("username", format!("a name has at most {NAME_CHARS_MAX} characters")));
    }
    if password.is_empty() {
        found.push(Mistake::new("password", "a user needs a password"));
    } else if password.chars().count() < chars_min && (username, password) != (DEFAULT_USER, DEFAULT_USER) {
        found.push(Mistake::new("password", format!("a password has at least {chars_min} characters")));
    } else if (username, password) != (DEFAULT_USER, DEFAULT_USER) && is_guessed_first(username, password) {
        let text = format!("a password is not the name, and has at least {DIFFERENT_CHARS_MIN} different characters");
        found.push(Mistake::new("password", text));
    } else if password.contains('\0') {
        found.push(Mistake::new("password", "a password has no NUL character"));
    } else if password.len() > PASSWORD_BYTES_MAX {
        found.push(Mistake::new("password", format!("a password has at most {PASSWORD_BYTES_MAX} bytes")));
    }
    found
}

/// Whether a name may have this character.
pub(super) fn is_name_char(c: char) -> bool {
    c.is_alphanumeric() || "_.-@+".contains(c)
}

/// Whether whoever guesses a password begins with it: the name with a little more, or one key many times.
fn is_guessed_first(username: &str, password: &str) -> bool {
    let (name, typed) = (username.to_lowercase(), password.to_lowercase());
    let rest = typed.replacen(&name, "", 1);
    let is_mostly_name = !name.is_empty() && typed.contains(&name) && rest.chars().count() < 4;
    is_mostly_name || password.chars().collect::<BTreeSet<char>>().len() < DIFFERENT_CHARS_MIN
}

/// Creates a user.
///
/// # Errors
/// [`StoreError::Unreachable`], [`StoreError::Database`].
pub async fn create_user(pool: &PgPool, who: Actor<'_>, user: NewUser<'_>) -> Result<Creation, StoreError> {
    const DOING: &str = "creating a user";
    let hash = hash(user.password.to_owned()).await?;
    let mut transaction = pool.begin().await.doing(DOING)?;
    let made = sqlx::query!(
        "INSERT INTO user_account (username, password_hash, role) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
        user.username,
        hash,
        user.role.code()
    );
    if made.execute(&mut *transaction).await.doing(DOING)?.rows_affected() == 0 {
        return Ok(Creation::Exists);
    }
    let details = json!({ "username": user.username, "role": user.role.name() });
    audit::record(&mut *transaction, who, "create_user", &details).await?;
    transaction.commit().await.doing(DOING)?;
    Ok(Creation::Created)
}

/// Gives a user another password. Every token of the user is void from then on.
///
/// # Errors
/// [`StoreError::Unreachable`], [`StoreError::Database`].
pub async fn set_password(
    pool: &PgPool,
    who: Actor<'_>,
    username: &str,
    password: &str,
) -> Result<UserChange, StoreError> {
    const DOING: &str = "changing a password";
    let hash = hash(password.to_owned()).await?;
    let mut transaction = pool.begin().await.doing(DOING)?;
    let changed = sqlx::query_file!("queries/user_account_password.sql", username, hash)
        .fetch_optional(&mut *transaction)
        .await
        .doing(DOING)?;
    match changed {
        None => return Ok(UserChange::Missing),
        Some(changed) if changed.is_of_provider => return Ok(UserChange::OfProvider),
        Some(_) => {}
    }
    sqlx::query_file!("queries/token_revoke_all.sql", username).execute(&mut *transaction).await.doing(DOING)?;
    audit::record(&mut *transaction, who, "reset_password", &json!({ "username": username })).await?;
    transaction.commit().await.doing(DOING)?;
    Ok(UserChange::Done)
}

/// Gives a user another role, in force with its next request.
///
/// # Errors
/// [`StoreError::Unreachable`], [`StoreError::Database`].
pub async fn set_role(pool: &PgPool, who: Actor<'_>, username: &str, role: Role) -> Result<UserChange, StoreError> {
    const DOING: &str = "changing a role";
    let mut transaction = pool.begin().await.doing(DOING)?;
    if role != Role::Admin && is_last_admin(&mut transaction, username).await? {
        return Ok(UserChange::LastAdmin);
    }
    let changed = sqlx::query!("UPDATE user_account SET role = $2 WHERE username = $1", username, role.code())
        .execute(&mut *transaction)
        .await
        .doing(DOING)?;
    if changed.rows_affected() == 0 {
        return Ok(UserChange::Missing);
    }
    audit::record(&mut *transaction, who, "update_user", &json!({ "username": username, "role": role.name() })).await?;
    transaction.commit().await.doing(DOING)?;
    Ok(UserChange::Done)
}

/// Deletes a user, and with it its tokens.
///
/// # Errors
/// [`StoreError::Unreachable`], [`StoreError::Database`].
pub async fn delete_user(pool: &PgPool, who: Actor<'_>, username: &str) -> Result<UserChange, StoreError> {
    const DOING: &str = "deleting a user";
    let mut transaction = pool.begin().await.doing(DOING)?;
    if is_last_admin(&mut transaction, username).await? {
        return Ok(UserChange::LastAdmin);
    }
    let gone = sqlx::query!("DELETE FROM user_account WHERE username = $1", username).execute(&mut *transaction).await;
    if gone.doing(DOING)?.rows_affected() == 0 {
        return Ok(UserChange::Missing);
    }
    audit::record(&mut *transaction, who, "delete_user", &json!({ "username": username })).await?;
    transaction.commit().await.doing(DOING)?;
    Ok(UserChange::Done)
}

/// Whether nobody else is Admin. Locks the rows of all, so that two who go at once do not both find the other.
async fn is_last_admin(db: &mut PgConnection, username: &str) -> Result<bool, StoreError> {
    let admin = Role::Admin.code();
    let names = sqlx::query_scalar!("SELECT username FROM user_account WHERE role = $1 ORDER BY id FOR UPDATE", admin)
        .fetch_all(db)
        .await
        .doing("looking for users who are Admin")?;
    Ok(names.iter().any(|name| name == username) && names.len() == 1)
}
