//! The tables of the schema registry.
//!
//! A schema has one id for ever, found by the fingerprint of its canonical form; a subject's versions are numbered from 1
//! upwards. Registration runs under one advisory lock, so that it gives the same answer to all who ask at once.

use sqlx::{PgConnection, PgExecutor, PgPool, Row, postgres::PgRow};

/// Names the registry's lock among the advisory locks of this database.
const REGISTRY_LOCK: i64 = 0x0057_4c52;

/// A schema under a subject.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VersionRow {
    /// The subject.
    pub subject: String,
    /// Its version there.
    pub version: i32,
    /// The schema's id everywhere.
    pub schema_id: i32,
    /// The schema as it was registered first.
    pub schema: String,
}

/// A schema to be found or stored.
#[derive(Debug, Clone, Copy)]
pub struct NewSchema<'a> {
    /// `AVRO`.
    pub schema_type: &'a str,
    /// SHA-256 of the canonical form.
    pub fingerprint: &'a [u8],
    /// The text.
    pub schema: &'a str,
}

/// Which versions a question is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Versions {
    /// Those that were not deleted.
    Live,
    /// Deleted ones too.
    All,
}

/// How a deletion is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deletion {
    /// Hidden, but ids and versions stay known.
    Soft,
    /// Removed; only what was hidden before can be.
    Permanent,
}

const VERSION_COLUMNS: &str = "SELECT v.subject, v.version, v.schema_id, s.schema
    FROM registry_version AS v JOIN registry_schema AS s USING (schema_id) ";

fn version_of(row: &PgRow) -> Result<VersionRow, sqlx::Error> {
    Ok(VersionRow {
        subject: row.try_get(0)?,
        version: row.try_get(1)?,
        schema_id: row.try_get(2)?,
        schema: row.try_get(3)?,
    })
}

/// What a new schema is judged by.
#[derive(Debug)]
pub struct Precedents {
    /// The level that is set, for the subject or else for all.
    pub compatibility: Option<String>,
    /// The subject's live versions, in their order.
    pub versions: Vec<VersionRow>,
}

/// Registers a schema under a subject and gives its id, the same one each time. One that the subject does not have yet is
/// put before the judge, and nobody else registers anything meanwhile.
///
/// # Errors
/// The judge's, and when the database refuses.
pub async fn register<E: From<sqlx::Error>>(
    pool: &PgPool,
    subject: &str,
    schema: NewSchema<'_>,
    judge: impl FnOnce(&Precedents) -> Result<(), E>,
) -> Result<i32, E> {
    let mut tx = pool.begin().await?;
    sqlx::query("SELECT pg_advisory_xact_lock($1)").bind(REGISTRY_LOCK).execute(&mut *tx).await?;
    if let Some(known) = lookup(&mut *tx, subject, schema.fingerprint, Versions::Live).await? {
        return Ok(known.schema_id);
    }
    judge(&precedents(&mut tx, subject).await?)?;
    let schema_id = find_or_store(&mut tx, schema).await?;
    sqlx::query(include_str!("../../queries/registry_register.sql"))
        .bind(subject)
        .bind(schema_id)
        .execute(&mut *tx)
        .await?;
    tx.commit().await?;
    Ok(schema_id)
}

/// What a new schema of a subject would be judged by.
///
/// # Errors
/// When the database refuses.
pub async fn precedents(db: &mut PgConnection, subject: &str) -> Result<Precedents, sqlx::Error> {
    let compatibility: Option<String> = sqlx::query_scalar(
        "SELECT compatibility FROM registry_config WHERE subject IN ($1, '') ORDER BY subject DESC LIMIT 1",
    )
    .bind(subject)
    .fetch_optional(&mut *db)
    .await?;
    let sql = format!("{VERSION_COLUMNS} WHERE v.subject = $1 AND NOT v.deleted ORDER BY v.version");
    let rows = sqlx::query(&sql).bind(subject).fetch_all(db).await?;
    Ok(Precedents { compatibility, versions: rows.iter().map(version_of).collect::<Result<_, _>>()? })
}

async fn find_or_store(tx: &mut PgConnection, schema: NewSchema<'_>) -> Result<i32, sqlx::Error> {
    let known: Option<i32> = sqlx::query_scalar("SELECT schema_id FROM registry_schema WHERE fingerprint = $1")
        .bind(schema.fingerprint)
        .fetch_optional(&mut *tx)
        .await?;
    if let Some(schema_id) = known {
        return Ok(schema_id);
    }
    sqlx::query_scalar(
        "INSERT INTO registry_schema (schema_type, fingerprint, schema) VALUES ($1, $2, $3) RETURNING schema_id",
    )
    .bind(schema.schema_type)
    .bind(schema.fingerprint)
    .bind(schema.schema)
    .fetch_one(tx)
    .await
}

/// The version under which a subject has a schema, by its fingerprint.
///
/// # Errors
/// When the database refuses.
pub async fn lookup(
    db: impl PgExecutor<'_>,
    subject: &str,
    fingerprint: &[u8],
    which: Versions,
) -> Result<Option<VersionRow>, sqlx::Error> {
    let sql = format!(
        "{VERSION_COLUMNS} WHERE v.subject = $1 AND s.fingerprint = $2 AND (NOT v.deleted OR $3)
         ORDER BY v.version DESC LIMIT 1"
    );
    let row = sqlx::query(&sql).bind(subject).bind(fingerprint).bind(which == Versions::All).fetch_optional(db).await?;
    row.as_ref().map(version_of).transpose()
}

/// The subjects whose name starts with `prefix`, sorted.
///
/// # Errors
/// When the database refuses.
pub async fn subjects(pool: &PgPool, prefix: &str, which: Versions) -> Result<Vec<String>, sqlx::Error> {
    sqlx::query_scalar(
        "SELECT DISTINCT subject FROM registry_version
         WHERE starts_with(subject, $1) AND (NOT deleted OR $2) ORDER BY subject",
    )
    .bind(prefix)
    .bind(which == Versions::All)
    .fetch_all(pool)
    .await
}

/// The versions of a subject in their order.
///
/// # Errors
/// When the database refuses.
pub async fn versions(pool: &PgPool, subject: &str, which: Versions) -> Result<Vec<i32>, sqlx::Error> {
    sqlx::query_scalar(
        "SELECT version FROM registry_version WHERE subject = $1 AND (NOT deleted OR $2) ORDER BY version",
    )
    .bind(subject)
    .bind(which == Versions::All)
    .fetch_all(pool)
    .await
}

/// One version of a subject; without a number the newest.
///
/// # Errors
/// When the database refuses.
pub async fn version(
    pool: &PgPool,
    subject: &str,
    number: Option<i32>,
    which: Versions,
) -> Result<Option<VersionRow>, sqlx::Error> {
    let sql = format!(
        "{VERSION_COLUMNS} WHERE v.subject = $1 AND ($2::int IS NULL OR v.version = $2) AND (NOT v.deleted OR $3)
         ORDER BY v.version DESC LIMIT 1"
    );
    let row = sqlx::query(&sql).bind(subject).bind(number).bind(which == Versions::All).fetch_optional(pool).await?;
    row.as_ref().map(version_of).transpose()
}

/// A schema by its id.
///
/// # Errors
/// When the database refuses.
pub async fn schema(pool: &PgPool, schema_id: i32) -> Result<Option<String>, sqlx::Error> {
    sqlx::query_scalar("SELECT schema FROM registry_schema WHERE schema_id = $1")
        .bind(schema_id)
        .fetch_optional(pool)
        .await
}

/// Where a schema is registered: subjects with versions, sorted.
///
/// # Errors
/// When the database refuses.
pub async fn schema_uses(pool: &PgPool, schema_id: i32) -> Result<Vec<VersionRow>, sqlx::Error> {
    let sql = format!("{VERSION_COLUMNS} WHERE v.schema_id = $1 AND NOT v.deleted ORDER BY v.subject, v.version");
    let rows = sqlx::query(&sql).bind(schema_id).fetch_all(pool).await?;
    rows.iter().map(version_of).collect()
}

/// Deletes the live versions of a subject, or one of them, and gives their numbers.
///
/// # Errors
/// When the database refuses.
pub async fn delete(
    pool: &PgPool,
    subject: &str,
    number: Option<i32>,
    deletion: Deletion,
) -> Result<Vec<i32>, sqlx::Error> {
    let sql = match deletion {
        Deletion::Soft => {
            "WITH gone AS (UPDATE registry_version SET deleted = true
                WHERE subject = $1 AND ($2::int IS NULL OR version = $2) AND NOT deleted RETURNING version)
             SELECT version FROM gone ORDER BY version"
        }
        Deletion::Permanent => {
            "WITH gone AS (DELETE FROM registry_version
                WHERE subject = $1 AND ($2::int IS NULL OR version = $2) AND deleted RETURNING version)
             SELECT version FROM gone ORDER BY version"
        }
    };
    sqlx::query_scalar(sql).bind(subject).bind(number).fetch_all(pool).await
}

/// The compatibility level set for a subject; the empty subject is the level of all.
///
/// # Errors
/// When the database refuses.
pub async fn compatibility(pool: &PgPool, subject: &str) -> Result<Option<String>, sqlx::Error> {
    sqlx::query_scalar("SELECT compatibility FROM registry_config WHERE subject = $1")
        .bind(subject)
        .fetch_optional(pool)
        .await
}

/// Sets the compatibility level of a subject; the empty subject is the level of all.
///
/// # Errors
/// When the database refuses.
pub async fn set_compatibility(pool: &PgPool, subject: &str, level: &str) -> Result<(), sqlx::Error> {
    sqlx::query("INSERT INTO registry_config VALUES ($1, $2) ON CONFLICT (subject) DO UPDATE SET compatibility = $2")
        .bind(subject)
        .bind(level)
        .execute(pool)
        .await?;
    Ok(())
}

/// Forgets the compatibility level of a subject and gives it; the empty subject is the level of all.
///
/// # Errors
/// When the database refuses.
pub async fn delete_compatibility(pool: &PgPool, subject: &str) -> Result<Option<String>, sqlx::Error> {
    sqlx::query_scalar("DELETE FROM registry_config WHERE subject = $1 RETURNING compatibility")
        .bind(subject)
        .fetch_optional(pool)
        .await
}

/// The mode set for a subject; the empty subject is the mode of all.
///
/// # Errors
/// When the database refuses.
pub async fn mode(pool: &PgPool, subject: &str) -> Result<Option<String>, sqlx::Error> {
    sqlx::query_scalar("SELECT mode FROM registry_mode WHERE subject = $1").bind(subject).fetch_optional(pool).await
}

/// Sets the mode of a subject; the empty subject is the mode of all.
///
/// # Errors
/// When the database refuses.
pub async fn set_mode(pool: &PgPool, subject: &str, mode: &str) -> Result<(), sqlx::Error> {
    sqlx::query("INSERT INTO registry_mode VALUES ($1, $2) ON CONFLICT (subject) DO UPDATE SET mode = $2")
        .bind(subject)
        .bind(mode)
        .execute(pool)
        .await?;
    Ok(())
}

/// Forgets the mode of a subject and gives it.
///
/// # Errors
/// When the database refuses.
pub async fn delete_mode(pool: &PgPool, subject: &str) -> Result<Option<String>, sqlx::Error> {
    sqlx::query_scalar("DELETE FROM registry_mode WHERE subject = $1 RETURNING mode")
        .bind(subject)
        .fetch_optional(pool)
        .await
}
