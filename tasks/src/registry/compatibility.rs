//! Asking whether a schema may follow what a subject has, without registering it.

use super::avro::AvroSchema;
use super::error::ApiError;
use super::level::{LEVEL_DEFAULT, Level};
use super::server::{Answer, Checked, Json, Options, checked, find_version};
use crate::pg::registry::{self as store, Precedents};
use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use serde_json::json;
use sqlx::PgPool;

/// What speaks against a schema, by the level in force.
pub(super) fn objections(schema: &AvroSchema, precedents: &Precedents) -> Vec<String> {
    level_of(precedents).objections(schema, &precedents.versions)
}

/// The level in force; what is stored was checked when it was set.
fn level_of(precedents: &Precedents) -> Level {
    precedents.compatibility.as_deref().and_then(|level| level.parse().ok()).unwrap_or(LEVEL_DEFAULT)
}

/// Against all versions that the level names.
pub(super) async fn with_subject(
    State(pool): State<PgPool>,
    Path(subject): Path<String>,
    Query(options): Query<Options>,
    bytes: Bytes,
) -> Answer {
    let Checked { schema, .. } = checked(&bytes, &options)?;
    let precedents = precedents(&pool, &subject).await?;
    Ok(verdict(&objections(&schema, &precedents), &options))
}

/// Against one version, whatever versions the level names.
pub(super) async fn with_version(
    State(pool): State<PgPool>,
    Path((subject, number)): Path<(String, String)>,
    Query(options): Query<Options>,
    bytes: Bytes,
) -> Answer {
    let Checked { schema, .. } = checked(&bytes, &options)?;
    let precedents = precedents(&pool, &subject).await?;
    let version = match find_version(&pool, (subject, number.clone()), &Options::default()).await {
        Ok(version) => version,
        // Whatever comes first fits.
        Err(ApiError::SubjectNotFound(_)) if number == "latest" => return Ok(verdict(&[], &options)),
        Err(error) => return Err(error),
    };
    Ok(verdict(&level_of(&precedents).objections(&schema, &[version]), &options))
}

async fn precedents(pool: &PgPool, subject: &str) -> Result<Precedents, ApiError> {
    let mut connection = pool.acquire().await?;
    Ok(store::precedents(&mut connection, subject).await?)
}

fn verdict(objections: &[String], options: &Options) -> Json {
    let is_compatible = objections.is_empty();
    Json(match options.verbose {
        true => json!({"is_compatible": is_compatible, "messages": objections}),
        false => json!({"is_compatible": is_compatible}),
    })
}
