//! What users show instead of their password: sessions, which a login gives and which are signed texts, and API tokens, which
//! are random texts that are shown once and kept as their SHA-256. Both are void as soon as their row says so.

use std::{collections::BTreeSet, fmt};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use chrono::{TimeDelta, Utc};
use model::Timestamp;
use rand::RngCore;
use serde_json::json;
use sha2::{Digest, Sha256};
use sqlx::{PgExecutor, PgPool};
use uuid::Uuid;

use super::{Account, AccountRow, Permissions, Right, Role};
use crate::{
    audit::{self, Actor},
    error::{Doing, StoreError},
    secrets::Mistake,
};

/// How an API token begins, so that people and scanners of repositories know one.
const PREFIX: &str = "windlass_";
/// Random bytes of an API token.
const RANDOM_BYTES: usize = 32;
/// The longest name of an API token.
const NAME_CHARS_MAX: usize = 100;
/// API tokens of one user that hold at the same time.
const OF_USER_MAX: i64 = 100;
/// Sessions of one user that are open at the same time: the oldest ends when another begins. Scripts log in again and again.
pub const SESSIONS_OF_USER_MAX: i64 = 1_000;
/// Days that an API token holds unless something else is said.
pub const LIFETIME_DAYS_DEFAULT: u32 = 90;
/// The most days that one holds.
pub const LIFETIME_DAYS_MAX: u32 = 366;
/// Sessions and tokens that one list has.
pub const TOKENS_SHOWN_MAX: i64 = 500;
/// DAGs that permissions on DAGs reach: whoever needs more has the right to read all.
const DAGS_MAX: i64 = 10_000;

/// A session that begins.
#[derive(Debug, Clone, Copy)]
pub struct NewToken {
    /// Its id.
    pub jti: Uuid,
    /// Whose it is, by number.
    pub user_id: i64,
    /// When it ends by itself.
    pub expires_at: Timestamp,
}

/// Notes that a session began for somebody who has shown the password, with a line in the audit log: `action` is how. One
/// that is not noted is void.
///
/// # Errors
/// [`StoreError::Unreachable`], [`StoreError::Database`].
pub async fn record_token(pool: &PgPool, who: Actor<'_>, token: NewToken, action: &str) -> Result<(), StoreError> {
    const DOING: &str = "noting a token";
    let mut transaction = pool.begin().await.doing(DOING)?;
    sqlx::query!(
        "INSERT INTO token (jti, user_id, expires_at, address, door) VALUES ($1, $2, $3, $4, $5)",
        token.jti,
        token.user_id,
        token.expires_at,
        who.address(),
        who.door()
    )
    .execute(&mut *transaction)
    .await
    .doing(DOING)?;
    sqlx::query!(
        "UPDATE token SET revoked_at = now() WHERE jti = ANY (ARRAY(
             SELECT jti FROM token
             WHERE user_id = $1 AND hash IS NULL AND revoked_at IS NULL AND expires_at > now()
             ORDER BY issued_at DESC, jti OFFSET $2))",
        token.user_id,
        SESSIONS_OF_USER_MAX
    )
    .execute(&mut *transaction)
    .await
    .doing(DOING)?;
    audit::record(&mut *transaction, who, action, &json!({})).await?;
    transaction.commit().await.doing(DOING)
}

/// The text of an API token. It never shows, except to whom it is given.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiToken(String);

impl ApiToken {
    /// A text that is one by its form.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        text.starts_with(PREFIX).then(|| Self(text.to_owned()))
    }

    fn make() -> Self {
        let mut bytes = [0_u8; RANDOM_BYTES];
        rand::rng().fill_bytes(&mut bytes);
        Self(format!("{PREFIX}{}", BASE64_URL_SAFE_NO_PAD.encode(bytes)))
    }

    fn hash(&self) -> Vec<u8> {
        Sha256::digest(&self.0).to_vec()
    }

    /// The text, to be shown once.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for ApiToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiToken(…)")
    }
}

/// An API token that somebody wants.
#[derive(Debug, Clone)]
pub struct NewApiToken<'a> {
    /// Whose it is to be.
    pub username: &'a str,
    /// What it is for.
    pub name: &'a str,
    /// The rights that it is limited to; all of the user's without.
    pub scope: Option<BTreeSet<Right>>,
    /// How many days it holds.
    pub days: u32,
}

/// An API token that was made.
#[derive(Debug, Clone)]
pub struct Issued {
    /// Its id, by which it is revoked.
    pub id: Uuid,
    /// What to send as `Authorization: Bearer`.
    pub text: ApiToken,
    /// When it ends by itself.
    pub expires_at: Timestamp,
}

/// Why an API token was not made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenRefusal {
    /// There is no such user.
    NoUser,
    /// What is wrong with the wish.
    Mistakes(Vec<Mistake>),
}

fn mistakes(wish: &NewApiToken<'_>) -> Vec<Mistake> {
    let mut found = Vec::new();
    if wish.name.trim().is_empty() {
        found.push(Mistake::new("name", "a token needs a name that says what it is for"));
    } else if wish.name.chars().count() > NAME_CHARS_MAX || wish.name.contains(char::is_control) {
        found.push(Mistake::new("name", format!("a token's name is one line of at most {NAME_CHARS_MAX} characters")));
    }
    if !(1..=LIFETIME_DAYS_MAX).contains(&wish.days) {
        found.push(Mistake::new("days", format!("a token holds from 1 to {LIFETIME_DAYS_MAX} days")));
    }
    if wish.scope.as_ref().is_some_and(BTreeSet::is_empty) {
        found.push(Mistake::new("scope", "a token without any right is of no use"));
    }
    found
}

/// Makes an API token, with a line in the audit log.
///
/// # Errors
/// [`StoreError::Unreachable`], [`StoreError::Database`].
pub async fn create_api_token(
    pool: &PgPool,
    who: Actor<'_>,
    wish: &NewApiToken<'_>,
) -> Result<Result<Issued, TokenRefusal>, StoreError> {
    const DOING: &str = "making an API token";
    let found = mistakes(wish);
    if !found.is_empty() {
        return Ok(Err(TokenRefusal::Mistakes(found)));
    }
    let mut transaction = pool.begin().await.doing(DOING)?;
    // The user's row is locked, so that two who count at once do not both find room for the last one.
    let user = sqlx::query_scalar!("SELECT id FROM user_account WHERE username = $1 FOR UPDATE", wish.username);
    let Some(user_id) = user.fetch_optional(&mut *transaction).await.doing(DOING)? else {
        return Ok(Err(TokenRefusal::NoUser));
    };
    let held = sqlx::query_scalar!(
        r#"SELECT count(*) AS "count!" FROM token
           WHERE user_id = $1 AND hash IS NOT NULL AND revoked_at IS NULL AND expires_at > now()"#,
        user_id
    );
    if held.fetch_one(&mut *transaction).await.doing(DOING)? >= OF_USER_MAX {
        let text = format!("{} has {OF_USER_MAX} tokens that hold: revoke one first", wish.username);
        return Ok(Err(TokenRefusal::Mistakes(vec![Mistake::new("name", text)])));
    }
    let issued = Issued {
        id: Uuid::new_v4(),
        text: ApiToken::make(),
        expires_at: Utc::now() + TimeDelta::days(i64::from(wish.days)),
    };
    let scope: Option<Vec<String>> =
        wish.scope.as_ref().map(|scope| scope.iter().map(|right| right.name().to_owned()).collect());
    sqlx::query!(
        "INSERT INTO token (jti, user_id, expires_at, name, hash, scope, address, door)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
        issued.id,
        user_id,
        issued.expires_at,
        wish.name.trim(),
        issued.text.hash(),
        scope.as_deref(),
        who.address(),
        who.door()
    )
    .execute(&mut *transaction)
    .await
    .doing(DOING)?;
    let details = json!({
        "username": wish.username, "id": issued.id, "name": wish.name.trim(), "scope": scope, "expires_at": issued.expires_at,
    });
    audit::record(&mut *transaction, who, "create_api_token", &details).await?;
    transaction.commit().await.doing(DOING)?;
    Ok(Ok(issued))
}

/// What a request shows.
#[derive(Debug, Clone, Copy)]
pub enum TokenKey<'a> {
    /// The id of a session, from its signed text.
    Session(Uuid),
    /// An API token.
    Api(&'a ApiToken),
    /// Either of them by its id, which was shown before.
    Shown(Uuid),
}

/// Who shows a token, and what that allows today.
#[derive(Debug, Clone)]
pub struct Holder {
    /// The token's id.
    pub token_id: Uuid,
    /// The user.
    pub account: Account,
    /// What the user may do, by this token.
    pub permissions: Permissions,
    /// What an API token takes away; none of a session.
    pub limit: Option<TokenLimit>,
}

/// What an API token is limited to, and what its user may do without it: so that whoever is refused is told by what.
#[derive(Debug, Clone)]
pub struct TokenLimit {
    /// The rights of its scope; none when it may do whatever its user may.
    pub scope: Option<Vec<String>>,
    /// What the user may do in a session.
    pub of_user: Permissions,
}

/// Who shows a token, as of today; none when it has expired, is revoked, or its user is gone. That it was used is noted once a
/// minute.
///
/// # Errors
/// [`StoreError::Unreachable`], [`StoreError::Database`], [`StoreError::Corrupt`].
pub async fn holder(pool: &PgPool, key: TokenKey<'_>) -> Result<Option<Holder>, StoreError> {
    const DOING: &str = "checking a token";
    let (id, hash, is_shown) = match key {
        TokenKey::Session(jti) => (Some(jti), None, false),
        TokenKey::Api(token) => (None, Some(token.hash()), false),
        TokenKey::Shown(jti) => (Some(jti), None, true),
    };
    let row = sqlx::query_file!("queries/token_holder.sql", id, hash, is_shown);
    let row = row.fetch_optional(pool).await.doing(DOING)?;
    let Some(row) = row else { return Ok(None) };
    if row.is_noted_late {
        let noted = sqlx::query!("UPDATE token SET last_used_at = now() WHERE jti = $1", row.jti);
        noted.execute(pool).await.doing(DOING)?;
    }
    let role = Role::try_from(row.role)?;
    let given = row.rights.iter().filter_map(|name| Right::named(name));
    let rights: BTreeSet<Right> = role.rights().chain(given).collect();
    let is_limited = row.has_dag_permissions && !(rights.contains(&Right::Read) && rights.contains(&Right::ChangeDags));
    let dags = if is_limited { dag_permissions(pool, row.id).await? } else { Vec::new() };
    let of_user = Permissions::new(rights, dags);
    let account = AccountRow { id: row.id, username: row.username, role: row.role, own_roles: row.own_roles };
    let (token_id, account) = (row.jti, account.try_into()?);
    if !row.is_api_token {
        return Ok(Some(Holder { token_id, account, permissions: of_user, limit: None }));
    }
    let rights = row.scope.as_ref().map(|scope| scope.iter().filter_map(|name| Right::named(name)).collect());
    let permissions = of_user.clone().of_api_token(rights);
    Ok(Some(Holder { token_id, account, permissions, limit: Some(TokenLimit { scope: row.scope, of_user }) }))
}

async fn dag_permissions(db: impl PgExecutor<'_>, user_id: i64) -> Result<Vec<(String, bool)>, StoreError> {
    let rows = sqlx::query_file!("queries/user_dag_permissions.sql", user_id, DAGS_MAX);
    let rows = rows.fetch_all(db).await.doing("reading the permissions of a user")?;
    Ok(rows.into_iter().map(|row| (row.dag_id, row.may_edit)).collect())
}

/// A session or an API token that holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenToken {
    /// Its id.
    pub id: Uuid,
    /// Whose it is.
    pub username: String,
    /// The name of an API token; none for a session.
    pub name: Option<String>,
    /// The rights that an API token is limited to.
    pub scope: Option<Vec<String>>,
    /// Whether it is an API token.
    pub is_api_token: bool,
    /// When it was made.
    pub issued_at: Timestamp,
    /// When it ends by itself.
    pub expires_at: Timestamp,
    /// When it was last used, to the minute.
    pub last_used_at: Option<Timestamp>,
    /// From where it was made.
    pub address: Option<String>,
    /// By which door: ui, api or cli.
    pub door: Option<String>,
}

/// Sessions and API tokens that hold, of one user or of all: the newest [`TOKENS_SHOWN_MAX`].
///
/// # Errors
/// [`StoreError::Unreachable`], [`StoreError::Database`].
pub async fn open_tokens(db: impl PgExecutor<'_>, username: Option<&str>) -> Result<Vec<OpenToken>, StoreError> {
    let rows = sqlx::query_file!("queries/token_open.sql", username, TOKENS_SHOWN_MAX);
    let rows = rows.fetch_all(db).await.doing("reading sessions and tokens")?;
    let open = rows.into_iter().map(|row| OpenToken {
        id: row.jti,
        username: row.username,
        name: row.name,
        scope: row.scope,
        is_api_token: row.is_api_token,
        issued_at: row.issued_at,
        expires_at: row.expires_at,
        last_used_at: row.last_used_at,
        address: row.address,
        door: row.door,
    });
    Ok(open.collect())
}

/// Voids a session or an API token, of this user if one is named, with a line in the audit log; says whether there was one.
///
/// # Errors
/// [`StoreError::Unreachable`], [`StoreError::Database`].
pub async fn revoke_open_token(
    pool: &PgPool,
    who: Actor<'_>,
    username: Option<&str>,
    id: Uuid,
) -> Result<bool, StoreError> {
    const DOING: &str = "revoking a token";
    let mut transaction = pool.begin().await.doing(DOING)?;
    let revoked = sqlx::query_file!("queries/token_revoke_open.sql", id, username);
    let Some(revoked) = revoked.fetch_optional(&mut *transaction).await.doing(DOING)? else { return Ok(false) };
    let details = json!({ "username": revoked.username, "id": id, "name": revoked.name });
    audit::record(&mut *transaction, who, "revoke_token", &details).await?;
    transaction.commit().await.doing(DOING)?;
    Ok(true)
}

/// Voids the session that logs out, with a line in the audit log unless it was void before.
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

/// Voids every session and API token of a user, with a line in the audit log; says how many.
///
/// # Errors
/// [`StoreError::Unreachable`], [`StoreError::Database`].
pub async fn end_sessions(pool: &PgPool, who: Actor<'_>, username: &str) -> Result<u64, StoreError> {
    const DOING: &str = "ending the sessions of a user";
    let mut transaction = pool.begin().await.doing(DOING)?;
    let ended =
        sqlx::query_file!("queries/token_revoke_all.sql", username).execute(&mut *transaction).await.doing(DOING)?;
    let details = json!({ "username": username, "ended": ended.rows_affected() });
    audit::record(&mut *transaction, who, "end_sessions", &details).await?;
    transaction.commit().await.doing(DOING)?;
    Ok(ended.rows_affected())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_long_unique_and_never_printed() {
        let (one, other) = (ApiToken::make(), ApiToken::make());
        assert_ne!(one, other);
        assert_eq!(ApiToken::parse(one.reveal()), Some(one.clone()));
        assert_eq!(ApiToken::parse("eyJhbGciOiJIUzUxMiJ9.e30.x"), None);
        assert!(one.reveal().len() > 40 && one.hash().len() == 32);
        assert!(!format!("{one:?}").contains(&one.reveal()[PREFIX.len()..]));
    }

    #[test]
    fn a_wish_says_everything_that_is_wrong_with_it() {
        let wish = NewApiToken { username: "a", name: " ", scope: Some(BTreeSet::new()), days: 0 };
        let fields: Vec<_> = mistakes(&wish).into_iter().map(|mistake| mistake.field).collect();
        assert_eq!(fields, ["name", "days", "scope"]);
        assert!(mistakes(&NewApiToken { name: "ci", scope: None, days: 366, ..wish.clone() }).is_empty());
        assert_eq!(mistakes(&NewApiToken { name: "a\nb", scope: None, days: 367, ..wish }).len(), 2);
    }
}
