//! Users whom an identity provider vouches for: made at their first login, and kept as the provider has them at each.
//!
//! Who somebody is, is the provider's name and its subject, never the username: a user of the same name who has a password, or comes
//! from another provider, is somebody else. Nobody knows such a user's password, and none that is set later is taken.

use std::collections::BTreeSet;

use rand::RngCore as _;
use serde_json::json;
use sqlx::{PgConnection, PgPool};

use super::{
    Account, AccountRow, Role,
    hashing::hash,
    manage::{NAME_CHARS_MAX, is_name_char},
    roles,
};
use crate::{
    audit::{self, Actor},
    error::{Doing, StoreError},
};

const DOING: &str = "logging a provider's user in";
/// The longest name of a provider and of its subjects, in bytes.
const IDENTITY_BYTES_MAX: usize = 1024;

/// Somebody that a provider vouches for.
#[derive(Debug, Clone, Copy)]
pub struct ProviderLogin<'a> {
    /// The provider: its issuer.
    pub provider: &'a str,
    /// Who it is there, for good.
    pub subject: &'a str,
    /// The name to go by.
    pub username: &'a str,
    /// The roles that follow from what the provider says.
    pub roles: &'a [String],
}

/// Why somebody that a provider vouches for is not logged in.
#[derive(Debug, thiserror::Error)]
pub enum ProviderRefusal {
    /// The name can not be that of a user.
    #[error("{name:?} can not be a user's name: it has 1 to {NAME_CHARS_MAX} letters, digits and _ . - @ + only")]
    Name {
        /// It.
        name: String,
    },
    /// Somebody else has the name.
    #[error(
        "there is another user {name:?}, who does not come from this provider; whoever administers users has to delete or \
         rename one of them"
    )]
    NameTaken {
        /// It.
        name: String,
    },
    /// None of the roles is there. Whoever had one loses it, with every session and token.
    #[error("no role that there is follows from what the provider says")]
    NoRole,
    /// The store can not say.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The user of a provider, made or changed to what the provider says now, with a line in the audit log for either.
///
/// # Errors
/// [`ProviderRefusal`]: nothing was changed then, but for a user who has no role any more.
pub async fn log_in_by_provider(
    pool: &PgPool,
    who: Actor<'_>,
    login: ProviderLogin<'_>,
) -> Result<Account, ProviderRefusal> {
    let ProviderLogin { provider, subject, username, roles: named } = login;
    let chars = username.chars().count();
    if chars == 0 || chars > NAME_CHARS_MAX || !username.chars().all(is_name_char) {
        return Err(ProviderRefusal::Name { name: username.chars().take(NAME_CHARS_MAX).collect() });
    }
    let is_text = |text: &str| !text.is_empty() && text.len() <= IDENTITY_BYTES_MAX && !text.contains('\0');
    if !is_text(provider) || !is_text(subject) {
        return Err(
            StoreError::Refused { reason: "the provider's name or subject can not be stored".to_owned() }.into()
        );
    }
    // Of Airflow's roles the strongest, and every own one.
    let (given, own): (Vec<_>, Vec<_>) = named.iter().partition(|role| role.parse::<Role>().is_ok());
    let role = given.iter().filter_map(|role| role.parse::<Role>().ok()).max().unwrap_or(Role::Public);
    let own: BTreeSet<String> = own.into_iter().cloned().collect();
    let is_new = find(&mut *pool.acquire().await.doing(DOING)?, provider, subject).await?.is_none();
    // It takes its time, so before anything is locked.
    let password = if is_new { Some(nobodys_password().await?) } else { None };
    let mut transaction = pool.begin().await.doing(DOING)?;
    let known = match find(&mut transaction, provider, subject).await? {
        Some(known) => known,
        None => {
            let password = match password {
                Some(password) => password,
                None => nobodys_password().await?,
            };
            if insert(&mut transaction, login, role, &password).await? {
                let details = json!({ "username": username, "role": role.name(), "provider": provider });
                audit::record(&mut *transaction, who, "create_user", &details).await?;
            }
            // Another browser of the same person may have been faster; else the name is somebody else's.
            let taken = || ProviderRefusal::NameTaken { name: username.to_owned() };
            find(&mut transaction, provider, subject).await?.ok_or_else(taken)?
        }
    };
    let own = roles::give(&mut transaction, known.id, &own).await?;
    if role == Role::Public && own.is_empty() {
        if !is_new && (known.role != Role::Public || !known.own_roles.is_empty()) {
            shut_out(&mut transaction, who, provider, &known).await?;
            transaction.commit().await.doing(DOING)?;
        }
        return Err(ProviderRefusal::NoRole);
    }
    if known.username != username || known.role != role || !own.iter().eq(&known.own_roles) {
        if !update(&mut transaction, known.id, username, role).await? {
            return Err(ProviderRefusal::NameTaken { name: username.to_owned() });
        }
        let before = json!({ "username": known.username, "role": known.role.name(), "own_roles": known.own_roles });
        let details = json!({
            "username": username, "role": role.name(), "own_roles": own, "before": before, "provider": provider,
        });
        audit::record(&mut *transaction, who, "update_user", &details).await?;
    }
    transaction.commit().await.doing(DOING)?;
    Ok(Account { id: known.id, username: username.to_owned(), role, own_roles: own.into_iter().collect() })
}

/// Takes everything from a user to whom the provider gives no role any more: what was begun earlier ends, too.
async fn shut_out(db: &mut PgConnection, who: Actor<'_>, provider: &str, known: &Account) -> Result<(), StoreError> {
    sqlx::query!("UPDATE user_account SET role = $2 WHERE id = $1", known.id, Role::Public.code())
        .execute(&mut *db)
        .await
        .doing(DOING)?;
    let ended =
        sqlx::query_file!("queries/token_revoke_all.sql", known.username).execute(&mut *db).await.doing(DOING)?;
    let details = json!({
        "username": known.username, "role": Role::Public.name(), "own_roles": [], "provider": provider,
        "before": { "role": known.role.name(), "own_roles": known.own_roles }, "ended": ended.rows_affected(),
    });
    audit::record(&mut *db, who, "update_user", &details).await
}

async fn find(db: &mut PgConnection, provider: &str, subject: &str) -> Result<Option<Account>, StoreError> {
    let row = sqlx::query_as!(
        AccountRow,
        r#"SELECT u.id, u.username, u.role, w.own_roles AS "own_roles!"
           FROM user_account u JOIN user_with_roles w ON w.id = u.id
           WHERE u.provider = $1 AND u.provider_subject = $2 FOR UPDATE OF u"#,
        provider,
        subject
    );
    let row = row.fetch_optional(db).await.doing(DOING)?;
    row.map(Account::try_from).transpose()
}

/// The hash of a password that is forgotten at once: comparing with it takes as long as with another.
async fn nobodys_password() -> Result<String, StoreError> {
    let mut password = [0; 32];
    rand::rng().fill_bytes(&mut password);
    hash(hex::encode(password)).await
}

/// Whether the user was made: not when the name or the identity is there already.
async fn insert(
    db: &mut PgConnection,
    login: ProviderLogin<'_>,
    role: Role,
    password_hash: &str,
) -> Result<bool, StoreError> {
    let made = sqlx::query!(
        "INSERT INTO user_account (username, password_hash, role, provider, provider_subject)
         VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING",
        login.username,
        password_hash,
        role.code(),
        login.provider,
        login.subject
    );
    Ok(made.execute(db).await.doing(DOING)?.rows_affected() > 0)
}

/// Whether the user was changed: not when the name is somebody else's.
async fn update(db: &mut PgConnection, id: i64, username: &str, role: Role) -> Result<bool, StoreError> {
    let changed = sqlx::query!(
        "UPDATE user_account SET username = $2, role = $3
         WHERE id = $1 AND NOT EXISTS (SELECT FROM user_account AS other WHERE other.username = $2 AND other.id <> $1)",
        id,
        username,
        role.code()
    );
    match changed.execute(db).await {
        Ok(done) => Ok(done.rows_affected() > 0),
        // Somebody took the name in this moment.
        Err(sqlx::Error::Database(error)) if error.is_unique_violation() => Ok(false),
        Err(error) => Err(error).doing(DOING),
    }
}
