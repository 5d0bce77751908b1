//! Stored variables, for those who manage them. What attempts see is [`super::variable`].

use serde_json::json;
use sqlx::{PgConnection, PgExecutor, PgPool};

use super::{Creation, Deletion, Entry, Mistake, Place, SecretKey, Together, open};
use crate::{
    audit::{self, Actor},
    error::{Doing, StoreError},
};

/// The longest key, in characters, as in Airflow.
pub const KEY_CHARS_MAX: usize = 250;
/// The longest value and description, in bytes.
const VALUE_BYTES_MAX: usize = 512 * 1024;

/// A variable. Its `Debug` text is without the value.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Variable {
    /// Its key.
    pub key: String,
    /// Its value.
    pub value: String,
    /// What it is for.
    pub description: Option<String>,
}

impl std::fmt::Debug for Variable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Variable").field("key", &self.key).finish_non_exhaustive()
    }
}

/// A stored variable.
#[derive(Debug, Clone)]
pub struct Stored {
    /// It; with an empty value when that can not be opened.
    pub variable: Variable,
    /// Why its value can not be opened.
    pub problem: Option<String>,
}

impl Variable {
    /// What is wrong with it, field by field.
    #[must_use]
    pub fn mistakes(&self) -> Vec<Mistake> {
        let mut found = Vec::new();
        if self.key.trim().is_empty() {
            found.push(Mistake::new("key", "a variable needs a key"));
        }
        if self.key.chars().count() > KEY_CHARS_MAX {
            found.push(Mistake::new("key", format!("a key has at most {KEY_CHARS_MAX} characters")));
        }
        let description = self.description.as_deref().unwrap_or_default();
        for (field, text) in [("key", self.key.as_str()), ("value", &self.value), ("description", description)] {
            if text.contains('\0') {
                found.push(Mistake::new(field, "NUL characters can not be stored"));
            }
            if text.len() > VALUE_BYTES_MAX {
                found.push(Mistake::new(field, format!("at most {VALUE_BYTES_MAX} bytes")));
            }
        }
        found
    }
}

/// Every stored variable, by key.
///
/// # Errors
/// [`StoreError::Unreachable`], [`StoreError::Database`].
pub async fn all(db: impl PgExecutor<'_>, key: &SecretKey) -> Result<Vec<Stored>, StoreError> {
    let rows = sqlx::query!("SELECT key, value_sealed, description FROM variable ORDER BY key")
        .fetch_all(db)
        .await
        .doing("reading variables")?;
    Ok(rows.into_iter().map(|row| stored(key, row.key, &row.value_sealed, row.description)).collect())
}

/// A stored variable by its key.
///
/// # Errors
/// [`StoreError::Unreachable`], [`StoreError::Database`].
pub async fn find(db: impl PgExecutor<'_>, key: &SecretKey, name: &str) -> Result<Option<Stored>, StoreError> {
    let row = sqlx::query!("SELECT value_sealed, description FROM variable WHERE key = $1", name)
        .fetch_optional(db)
        .await
        .doing("reading a variable")?;
    Ok(row.map(|row| stored(key, name.to_owned(), &row.value_sealed, row.description)))
}

pub(super) fn stored(key: &SecretKey, name: String, sealed: &[u8], description: Option<String>) -> Stored {
    let (value, problem) = match open(key, &Place::Variable(&name), Some(sealed)) {
        Ok(value) => (value.unwrap_or_default(), None),
        Err(error) => (String::new(), Some(error.to_string())),
    };
    Stored { variable: Variable { key: name, value, description }, problem }
}

/// Creates a variable.
///
/// # Errors
/// [`StoreError::Unreachable`], [`StoreError::Database`].
pub async fn create_in(
    together: &mut Together,
    key: &SecretKey,
    who: Actor<'_>,
    variable: &Variable,
) -> Result<Creation, StoreError> {
    const DOING: &str = "creating a variable";
    let db = together.connection();
    // The row is ours from here on, or it is somebody else's.
    let claim =
        sqlx::query!("INSERT INTO variable (key, value_sealed) VALUES ($1, '') ON CONFLICT DO NOTHING", variable.key);
    if claim.execute(&mut *db).await.doing(DOING)?.rows_affected() == 0 {
        return Ok(Creation::Exists);
    }
    write(db, key, variable).await?;
    audit::record(&mut *db, who, "post_variable", &json!({ "key": variable.key })).await?;
    Ok(Creation::Created)
}

/// Changes a stored variable; `change` sees its value, and may refuse: nothing is changed then. None when there is none of
/// this key.
///
/// # Errors
/// [`StoreError::Refused`] when its value can not be opened; [`StoreError::Unreachable`], [`StoreError::Database`].
pub async fn update_in<E: Send>(
    together: &mut Together,
    key: &SecretKey,
    who: Actor<'_>,
    name: &str,
    change: impl FnOnce(Variable) -> Result<Variable, E> + Send,
) -> Result<Option<Result<Variable, E>>, StoreError> {
    const DOING: &str = "changing a variable";
    let db = together.connection();
    let row = sqlx::query!("SELECT value_sealed, description FROM variable WHERE key = $1 FOR UPDATE", name)
        .fetch_optional(&mut *db)
        .await
        .doing(DOING)?;
    let Some(row) = row else { return Ok(None) };
    let value = open(key, &Place::Variable(name), Some(&row.value_sealed))?.unwrap_or_default();
    let old = Variable { key: name.to_owned(), value, description: row.description };
    let changed = match change(old) {
        Ok(changed) => Variable { key: name.to_owned(), ..changed },
        Err(refused) => return Ok(Some(Err(refused))),
    };
    write(db, key, &changed).await?;
    audit::record(&mut *db, who, "patch_variable", &json!({ "key": name })).await?;
    Ok(Some(Ok(changed)))
}

/// Deletes a variable.
///
/// # Errors
/// [`StoreError::Unreachable`], [`StoreError::Database`].
pub async fn delete_in(together: &mut Together, who: Actor<'_>, name: &str) -> Result<Deletion, StoreError> {
    let entry = Entry { who, action: "delete_variable", details: json!({ "key": name }) };
    super::delete(together, sqlx::query!("DELETE FROM variable WHERE key = $1", name), entry).await
}

/// Creates a variable by itself.
///
/// # Errors
/// As [`create_in`].
pub async fn create(
    pool: &PgPool,
    key: &SecretKey,
    who: Actor<'_>,
    variable: &Variable,
) -> Result<Creation, StoreError> {
    let mut together = Together::begin(pool).await?;
    let done = create_in(&mut together, key, who, variable).await?;
    together.commit().await?;
    Ok(done)
}

/// Changes a stored variable by itself.
///
/// # Errors
/// As [`update_in`].
pub async fn update<E: Send>(
    pool: &PgPool,
    key: &SecretKey,
    who: Actor<'_>,
    name: &str,
    change: impl FnOnce(Variable) -> Result<Variable, E> + Send,
) -> Result<Option<Result<Variable, E>>, StoreError> {
    let mut together = Together::begin(pool).await?;
    let done = update_in(&mut together, key, who, name, change).await?;
    together.commit().await?;
    Ok(done)
}

/// Deletes a variable by itself.
///
/// # Errors
/// As [`delete_in`].
pub async fn delete(pool: &PgPool, who: Actor<'_>, name: &str) -> Result<Deletion, StoreError> {
    let mut together = Together::begin(pool).await?;
    let done = delete_in(&mut together, who, name).await?;
    together.commit().await?;
    Ok(done)
}

async fn write(db: &mut PgConnection, key: &SecretKey, variable: &Variable) -> Result<(), StoreError> {
    let sealed = key.seal(&Place::Variable(&variable.key).name(), &variable.value);
    let statement = sqlx::query_file!("queries/variable_set.sql", variable.key, sealed, variable.description);
    statement.execute(db).await.doing("storing a variable")?;
    Ok(())
}
