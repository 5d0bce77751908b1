//! Connections and variables: from the environment first, then from the database, where they lie sealed.
//!
//! A secret is never in clear in the database, and never in a `Debug` text. Whoever changes one leaves a line in the
//! audit log, in the same transaction and without the value.

mod check;
pub mod connections;
mod environment;
mod key;
mod list;
mod reseal;
pub mod uri;
pub mod variables;

use std::fmt;

use serde_json::Value;
use sqlx::{PgConnection, PgExecutor, PgPool, Postgres, Transaction, postgres::PgArguments, query::Query};

use crate::{
    audit::{self, Actor},
    error::{Doing, StoreError},
};

pub use check::check_key;
pub use environment::{Kind, defined};
pub use key::SecretKey;
pub use list::{
    ConnectionOrder, SecretFilter, VariableOrder, connection_page, connections_named, variable_page, variables_named,
};
pub use reseal::{Resealed, reseal};

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

impl fmt::Debug for Connection {
    /// Shows everything but the secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
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
    if let Some((name, text)) = environment::find(environment, Kind::Connection, conn_id) {
        return environment::connection(conn_id, &text)
            .map(Some)
            .map_err(|why| StoreError::Refused { reason: format!("{name} is not a connection: {why}") });
    }
    let row = sqlx::query_file_as!(ConnectionRow, "queries/connection_by_id.sql", conn_id)
        .fetch_optional(db)
        .await
        .doing("reading a connection")?;
    let Some(row) = row else { return Ok(None) };
    row.open(key).map(Some)
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
    if let Some((_, text)) = environment::find(environment, Kind::Variable, name) {
        return Ok(Some(text));
    }
    let sealed = sqlx::query_scalar!("SELECT value_sealed FROM variable WHERE key = $1", name)
        .fetch_optional(db)
        .await
        .doing("reading a variable")?;
    open(key, &Place::Variable(name), sealed.as_deref())
}

/// What became of a wish to create something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Creation {
    /// It is there now.
    Created,
    /// One of its name was there, and is unchanged.
    Exists,
}

/// What became of a wish to delete something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deletion {
    /// It is gone.
    Deleted,
    /// There was none of its name.
    Missing,
}

/// What the audit log says of a change.
struct Entry<'a> {
    who: Actor<'a>,
    action: &'static str,
    details: Value,
}

/// Carries out a statement that deletes a row by its name, and notes it if there was one.
async fn delete(
    together: &mut Together,
    statement: Query<'_, Postgres, PgArguments>,
    entry: Entry<'_>,
) -> Result<Deletion, StoreError> {
    const DOING: &str = "deleting a connection or a variable";
    if statement.execute(together.connection()).await.doing(DOING)?.rows_affected() == 0 {
        return Ok(Deletion::Missing);
    }
    audit::record(together.connection(), entry.who, entry.action, &entry.details).await?;
    Ok(Deletion::Deleted)
}

/// Changes of connections or variables that are stored together or not at all.
#[derive(Debug)]
pub struct Together(Transaction<'static, Postgres>);

impl Together {
    /// Begins.
    ///
    /// # Errors
    /// [`StoreError::Unreachable`], [`StoreError::Database`].
    pub async fn begin(pool: &PgPool) -> Result<Self, StoreError> {
        pool.begin().await.doing("beginning to change connections or variables").map(Self)
    }

    /// Stores all of them.
    ///
    /// # Errors
    /// [`StoreError::Unreachable`], [`StoreError::Database`]: none is stored then.
    pub async fn commit(self) -> Result<(), StoreError> {
        self.0.commit().await.doing("storing connections or variables")
    }

    fn connection(&mut self) -> &mut PgConnection {
        &mut self.0
    }
}

/// A mistake in a field of something that is to be stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// The field, by its name in REST and forms.
    pub field: &'static str,
    /// What is wrong with it, for people.
    pub text: String,
}

impl Mistake {
    pub(crate) fn new(field: &'static str, text: impl Into<String>) -> Self {
        Self { field, text: text.into() }
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.text)
    }
}

/// A connection as its row has it.
#[derive(Clone, sqlx::FromRow)]
struct ConnectionRow {
    conn_id: String,
    conn_type: String,
    host: Option<String>,
    schema: Option<String>,
    login: Option<String>,
    port: Option<i32>,
    password_sealed: Option<Vec<u8>>,
    extra_sealed: Option<Vec<u8>>,
    description: Option<String>,
}

impl ConnectionRow {
    fn open(self, key: &SecretKey) -> Result<Connection, StoreError> {
        let password = open(key, &Place::Password(&self.conn_id), self.password_sealed.as_deref())?;
        let extra = open(key, &Place::Extra(&self.conn_id), self.extra_sealed.as_deref())?;
        Ok(Connection { password, extra, ..self.without_secrets() })
    }

    fn without_secrets(self) -> Connection {
        let Self { conn_id, conn_type, host, schema, login, port, description, .. } = self;
        Connection { conn_id, conn_type, host, schema, login, port, description, password: None, extra: None }
    }
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
