//! Stored connections, for those who manage them. What attempts see is [`super::connection`].

use serde_json::{Value, json};
use sqlx::{PgConnection, PgExecutor, PgPool};

use super::{Connection, ConnectionRow, Creation, Deletion, Entry, Mistake, Place, SecretKey, Together};
use crate::{
    audit::{self, Actor},
    error::{Doing, StoreError},
};

/// The longest id, in characters, as in Airflow.
pub const ID_CHARS_MAX: usize = 200;
/// The longest type, host, schema and login, in characters, as in Airflow.
pub const TEXT_CHARS_MAX: usize = 500;
/// The longest password, extra and description, in bytes: keys and certificates fit.
const LONG_BYTES_MAX: usize = 64 * 1024;

/// A stored connection.
#[derive(Debug, Clone)]
pub struct Stored {
    /// Its fields; without secrets when those can not be opened.
    pub connection: Connection,
    /// Why its secrets can not be opened.
    pub problem: Option<String>,
}

impl Connection {
    /// What is wrong with it, field by field.
    #[must_use]
    pub fn mistakes(&self) -> Vec<Mistake> {
        let mut found = Vec::new();
        found.extend(id_mistake(&self.conn_id));
        if self.conn_type.trim().is_empty() {
            found.push(Mistake::new("conn_type", "a connection needs a type, such as postgres or http"));
        }
        let short = [
            ("conn_type", Some(&self.conn_type)),
            ("host", self.host.as_ref()),
            ("schema", self.schema.as_ref()),
            ("login", self.login.as_ref()),
        ];
        let long = [
            ("password", self.password.as_ref()),
            ("extra", self.extra.as_ref()),
            ("description", self.description.as_ref()),
        ];
        for (field, text) in short.iter().filter_map(|(field, text)| Some((*field, (*text)?))) {
            if text.chars().count() > TEXT_CHARS_MAX {
                found.push(Mistake::new(field, format!("at most {TEXT_CHARS_MAX} characters")));
            }
        }
        for (field, text) in long.iter().filter_map(|(field, text)| Some((*field, (*text)?))) {
            if text.len() > LONG_BYTES_MAX {
                found.push(Mistake::new(field, format!("at most {LONG_BYTES_MAX} bytes")));
            }
        }
        for (field, text) in short.iter().chain(&long) {
            if text.is_some_and(|text| text.contains('\0')) {
                found.push(Mistake::new(field, "NUL characters can not be stored"));
            }
        }
        if self.port.is_some_and(|port| !(0..=i32::from(u16::MAX)).contains(&port)) {
            found.push(Mistake::new("port", "a port is a number from 0 to 65535"));
        }
        if self.extra.as_ref().is_some_and(|extra| !extra.trim().is_empty() && !is_object(extra)) {
            found.push(Mistake::new("extra", r#"a JSON object is expected, such as {"sslmode": "require"}"#));
        }
        found
    }
}

fn id_mistake(id: &str) -> Option<Mistake> {
    let is_allowed = |c: char| c.is_alphanumeric() || matches!(c, '_' | '.' | '-');
    if id.is_empty() {
        Some(Mistake::new("connection_id", "a connection needs an id"))
    } else if !id.chars().all(is_allowed) {
        Some(Mistake::new("connection_id", "an id has letters, digits and _ . - only"))
    } else if id.chars().count() > ID_CHARS_MAX {
        Some(Mistake::new("connection_id", format!("an id has at most {ID_CHARS_MAX} characters")))
    } else {
        None
    }
}

fn is_object(text: &str) -> bool {
    matches!(serde_json::from_str(text), Ok(Value::Object(_)))
}

/// Every stored connection, by id.
///
/// # Errors
/// [`StoreError::Unreachable`], [`StoreError::Database`].
pub async fn all(db: impl PgExecutor<'_>, key: &SecretKey) -> Result<Vec<Stored>, StoreError> {
    let rows = sqlx::query_as!(
        ConnectionRow,
        "SELECT conn_id, conn_type, host, schema, login, port, password_sealed, extra_sealed, description
         FROM connection ORDER BY conn_id"
    );
    let rows = rows.fetch_all(db).await.doing("reading connections")?;
    Ok(rows.into_iter().map(|row| stored(row, key)).collect())
}

/// A stored connection by its id.
///
/// # Errors
/// [`StoreError::Unreachable`], [`StoreError::Database`].
pub async fn find(db: impl PgExecutor<'_>, key: &SecretKey, conn_id: &str) -> Result<Option<Stored>, StoreError> {
    let row = sqlx::query_file_as!(ConnectionRow, "queries/connection_by_id.sql", conn_id);
    let row = row.fetch_optional(db).await.doing("reading a connection")?;
    Ok(row.map(|row| stored(row, key)))
}

pub(super) fn stored(row: ConnectionRow, key: &SecretKey) -> Stored {
    let bare = ConnectionRow { password_sealed: None, extra_sealed: None, ..row.clone() };
    match row.open(key) {
        Ok(connection) => Stored { connection, problem: None },
        Err(error) => Stored { connection: bare.without_secrets(), problem: Some(error.to_string()) },
    }
}

/// Creates a connection.
///
/// # Errors
/// [`StoreError::Unreachable`], [`StoreError::Database`].
pub async fn create_in(
    together: &mut Together,
    key: &SecretKey,
    who: Actor<'_>,
    connection: &Connection,
) -> Result<Creation, StoreError> {
    const DOING: &str = "creating a connection";
    let db = together.connection();
    // The row is ours from here on, or it is somebody else's.
    let claim = sqlx::query!(
        "INSERT INTO connection (conn_id, conn_type) VALUES ($1, $2) ON CONFLICT DO NOTHING",
        connection.conn_id,
        connection.conn_type
    );
    if claim.execute(&mut *db).await.doing(DOING)?.rows_affected() == 0 {
        return Ok(Creation::Exists);
    }
    write(db, key, connection).await?;
    audit::record(&mut *db, who, "post_connection", &told(connection)).await?;
    Ok(Creation::Created)
}

/// Changes a stored connection; `change` sees it with its secrets, and may refuse: nothing is changed then. None when there is
/// none of this id.
///
/// # Errors
/// [`StoreError::Refused`] when its secrets can not be opened; [`StoreError::Unreachable`], [`StoreError::Database`].
pub async fn update_in<E: Send>(
    together: &mut Together,
    key: &SecretKey,
    who: Actor<'_>,
    conn_id: &str,
    change: impl FnOnce(Connection) -> Result<Connection, E> + Send,
) -> Result<Option<Result<Connection, E>>, StoreError> {
    const DOING: &str = "changing a connection";
    let db = together.connection();
    let row = sqlx::query_as!(
        ConnectionRow,
        "SELECT conn_id, conn_type, host, schema, login, port, password_sealed, extra_sealed, description
         FROM connection WHERE conn_id = $1 FOR UPDATE",
        conn_id
    );
    let Some(row) = row.fetch_optional(&mut *db).await.doing(DOING)? else { return Ok(None) };
    let changed = match change(row.open(key)?) {
        Ok(changed) => Connection { conn_id: conn_id.to_owned(), ..changed },
        Err(refused) => return Ok(Some(Err(refused))),
    };
    write(db, key, &changed).await?;
    audit::record(&mut *db, who, "patch_connection", &told(&changed)).await?;
    Ok(Some(Ok(changed)))
}

/// Deletes a connection.
///
/// # Errors
/// [`StoreError::Unreachable`], [`StoreError::Database`].
pub async fn delete_in(together: &mut Together, who: Actor<'_>, conn_id: &str) -> Result<Deletion, StoreError> {
    let entry = Entry { who, action: "delete_connection", details: json!({ "connection_id": conn_id }) };
    super::delete(together, sqlx::query!("DELETE FROM connection WHERE conn_id = $1", conn_id), entry).await
}

/// Creates a connection by itself.
///
/// # Errors
/// As [`create_in`].
pub async fn create(
    pool: &PgPool,
    key: &SecretKey,
    who: Actor<'_>,
    connection: &Connection,
) -> Result<Creation, StoreError> {
    let mut together = Together::begin(pool).await?;
    let done = create_in(&mut together, key, who, connection).await?;
    together.commit().await?;
    Ok(done)
}

/// Changes a stored connection by itself.
///
/// # Errors
/// As [`update_in`].
pub async fn update<E: Send>(
    pool: &PgPool,
    key: &SecretKey,
    who: Actor<'_>,
    conn_id: &str,
    change: impl FnOnce(Connection) -> Result<Connection, E> + Send,
) -> Result<Option<Result<Connection, E>>, StoreError> {
    let mut together = Together::begin(pool).await?;
    let done = update_in(&mut together, key, who, conn_id, change).await?;
    together.commit().await?;
    Ok(done)
}

/// Deletes a connection by itself.
///
/// # Errors
/// As [`delete_in`].
pub async fn delete(pool: &PgPool, who: Actor<'_>, conn_id: &str) -> Result<Deletion, StoreError> {
    let mut together = Together::begin(pool).await?;
    let done = delete_in(&mut together, who, conn_id).await?;
    together.commit().await?;
    Ok(done)
}

async fn write(db: &mut PgConnection, key: &SecretKey, connection: &Connection) -> Result<(), StoreError> {
    let id = &connection.conn_id;
    let password = connection.password.as_ref().map(|text| key.seal(&Place::Password(id).name(), text));
    let extra = connection.extra.as_ref().map(|text| key.seal(&Place::Extra(id).name(), text));
    let statement = sqlx::query_file!(
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
    );
    statement.execute(db).await.doing("storing a connection")?;
    Ok(())
}

/// What the audit log keeps: which one and of what type. Any field may hold a secret that somebody put in the wrong place.
fn told(connection: &Connection) -> Value {
    json!({ "connection_id": connection.conn_id, "conn_type": connection.conn_type })
}
