//! Connections and variables: from the environment first, then from the database, where they lie sealed.
//!
//! A secret is never in clear in the database, and never in a `Debug` text.

mod environment;
mod key;

use serde_json::Value;
use sqlx::PgExecutor;

use crate::error::{Doing, StoreError};

pub use key::SecretKey;

/// How the environment is asked: a name to its value.
pub type Environment<'a> = dyn Fn(&str) -> Option<String> + Send + Sync + 'a;

/// A connection with Airflow's fields.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Connection {
    /// Its id.
    pub conn_id: String,
    /// Its type: `postgres`, `lake`, `http` …
    pub conn_type: String,
    /// Host name or address.
    pub host: Option<String>,
    /// Schema or database.
    pub schema: Option<String>,
    /// User.
    pub login: Option<String>,
    /// Password.
    pub password: Option<String>,
    /// Port.
    pub port: Option<i32>,
    /// Further settings, JSON text; may hold secrets.
    pub extra: Option<String>,
    /// What it is for.
    pub description: Option<String>,
}

impl std::fmt::Debug for Connection {
    /// Shows everything but the secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection")
            .field("conn_id", &self.conn_id)
            .field("conn_type", &self.conn_type)
            .field("host", &self.host)
            .finish_non_exhaustive()
    }
}

/// A connection by its id: `WINDLASS_CONN_<ID>` or `AIRFLOW_CONN_<ID>` of the environment, else the stored one.
///
/// # Errors
/// [`StoreError::Refused`] when the environment's text or the sealed row can not be read; [`StoreError::Unreachable`],
/// [`StoreError::Database`].
pub async fn connection(
    db: impl PgExecutor<'_>,
    key: &SecretKey,
    environment: &Environment<'_>,
    conn_id: &str,
) -> Result<Option<Connection>, StoreError> {
    if let Some((name, text)) = environment::find(environment, "CONN", conn_id) {
        return environment::connection(conn_id, &text)
            .map(Some)
            .map_err(|why| StoreError::Refused { reason: format!("{name} is not a connection: {why}") });
    }
    let row = sqlx::query_file!("queries/connection_by_id.sql", conn_id)
        .fetch_optional(db)
        .await
        .doing("reading a connection")?;
    let Some(row) = row else { return Ok(None) };
    Ok(Some(Connection {
        conn_id: row.conn_id,
        conn_type: row.conn_type,
        host: row.host,
        schema: row.schema,
        login: row.login,
        password: open(key, &Place::Password(conn_id), row.password_sealed.as_deref())?,
        port: row.port,
        extra: open(key, &Place::Extra(conn_id), row.extra_sealed.as_deref())?,
        description: row.description,
    }))
}

/// Creates a connection or replaces it.
///
/// # Errors
/// [`StoreError::Unreachable`], [`StoreError::Database`].
pub async fn put_connection(
    db: impl PgExecutor<'_>,
    key: &SecretKey,
    connection: &Connection,
) -> Result<(), StoreError> {
    let id = &connection.conn_id;
    let password = connection.password.as_ref().map(|text| key.seal(&Place::Password(id).name(), text));
    let extra = connection.extra.as_ref().map(|text| key.seal(&Place::Extra(id).name(), text));
    sqlx::query_file!(
        "queries/connection_set.sql",
        id,
        connection.conn_type,
        connection.host,
        connection.schema,
        connection.login,
        connection.port,
        password,
        extra,
        connection.description
    )
    .execute(db)
    .await
    .doing("storing a connection")?;
    Ok(())
}

/// Deletes a connection. False when there is none of this id.
///
/// # Errors
/// [`StoreError::Unreachable`], [`StoreError::Database`].
pub async fn delete_connection(db: impl PgExecutor<'_>, conn_id: &str) -> Result<bool, StoreError> {
    let gone = sqlx::query!("DELETE FROM connection WHERE conn_id = $1", conn_id).execute(db).await;
    Ok(gone.doing("deleting a connection")?.rows_affected() == 1)
}

/// A variable by its key: `WINDLASS_VAR_<KEY>` or `AIRFLOW_VAR_<KEY>` of the environment, else the stored one.
///
/// # Errors
/// [`StoreError::Refused`] when the sealed row can not be read; [`StoreError::Unreachable`], [`StoreError::Database`].
pub async fn variable(
    db: impl PgExecutor<'_>,
    key: &SecretKey,
    environment: &Environment<'_>,
    name: &str,
) -> Result<Option<String>, StoreError> {
    if let Some((_, text)) = environment::find(environment, "VAR", name) {
        return Ok(Some(text));
    }
    let sealed = sqlx::query_scalar!("SELECT value_sealed FROM variable WHERE key = $1", name)
        .fetch_optional(db)
        .await
        .doing("reading a variable")?;
    open(key, &Place::Variable(name), sealed.as_deref())
}

/// Creates a variable or replaces it.
///
/// # Errors
/// [`StoreError::Unreachable`], [`StoreError::Database`].
pub async fn put_variable(
    db: impl PgExecutor<'_>,
    key: &SecretKey,
    name: &str,
    value: &str,
    description: Option<&str>,
) -> Result<(), StoreError> {
    let sealed = key.seal(&Place::Variable(name).name(), value);
    sqlx::query_file!("queries/variable_set.sql", name, sealed, description)
        .execute(db)
        .await
        .doing("storing a variable")?;
    Ok(())
}

/// Deletes a variable. False when there is none of this key.
///
/// # Errors
/// [`StoreError::Unreachable`], [`StoreError::Database`].
pub async fn delete_variable(db: impl PgExecutor<'_>, name: &str) -> Result<bool, StoreError> {
    let gone = sqlx::query!("DELETE FROM variable WHERE key = $1", name).execute(db).await;
    Ok(gone.doing("deleting a variable")?.rows_affected() == 1)
}

/// Where a sealed value lies. It is sealed together with its place, so that it can not be moved to another row.
#[derive(Debug)]
enum Place<'a> {
    Password(&'a str),
    Extra(&'a str),
    Variable(&'a str),
}

impl Place<'_> {
    fn name(&self) -> String {
        match self {
            Self::Password(id) => format!("connection.password/{id}"),
            Self::Extra(id) => format!("connection.extra/{id}"),
            Self::Variable(id) => format!("variable.value/{id}"),
        }
    }
}

fn open(key: &SecretKey, place: &Place<'_>, sealed: Option<&[u8]>) -> Result<Option<String>, StoreError> {
    let name = place.name();
    let opened = sealed.map(|sealed| key.open(&name, sealed)).transpose();
    opened.map_err(|why| StoreError::Refused { reason: format!("{name} can not be decrypted: {why}") })
}

/// Text of a JSON value that may be a text itself.
fn text_of(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
