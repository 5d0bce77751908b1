//! The compatibility levels and modes of subjects, and of all of them: those are kept under the empty subject.

use super::error::ApiError;
use super::level::{LEVEL_DEFAULT, Level};
use super::server::{Answer, Json, Options, body};
use crate::pg::registry as store;
use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use serde::Deserialize;
use serde_json::json;
use sqlx::PgPool;

/// The subject whose settings are those of all.
const ALL_SUBJECTS: &str = "";
/// What may change.
const READ_WRITE: &str = "READWRITE";
/// What may not.
const READ_ONLY: &str = "READONLY";

#[derive(Deserialize)]
struct LevelBody {
    compatibility: String,
}

#[derive(Deserialize)]
struct ModeBody {
    mode: String,
}

/// The level of all subjects.
pub(super) async fn level(State(pool): State<PgPool>) -> Answer {
    let level = store::compatibility(&pool, ALL_SUBJECTS).await?;
    let level = level.unwrap_or_else(|| LEVEL_DEFAULT.as_str().to_owned());
    Ok(Json(json!({"compatibilityLevel": level})))
}

/// The level of a subject.
pub(super) async fn subject_level(
    State(pool): State<PgPool>,
    Path(subject): Path<String>,
    Query(options): Query<Options>,
) -> Answer {
    match store::compatibility(&pool, &subject).await? {
        Some(set) => Ok(Json(json!({"compatibilityLevel": set}))),
        None if options.default_to_global => level(State(pool)).await,
        None => Err(ApiError::ConfigNotFound(subject)),
    }
}

/// Sets the level of all subjects.
pub(super) async fn set_level(State(pool): State<PgPool>, bytes: Bytes) -> Answer {
    store_level(&pool, ALL_SUBJECTS, &bytes).await
}

/// Sets the level of a subject.
pub(super) async fn set_subject_level(State(pool): State<PgPool>, Path(subject): Path<String>, bytes: Bytes) -> Answer {
    store_level(&pool, &subject, &bytes).await
}

async fn store_level(pool: &PgPool, subject: &str, bytes: &Bytes) -> Answer {
    let LevelBody { compatibility } = body(bytes)?;
    let level: Level = compatibility.parse().map_err(|_| ApiError::InvalidCompatibility(compatibility))?;
    store::set_compatibility(pool, subject, level.as_str()).await?;
    Ok(Json(json!({"compatibility": level.as_str()})))
}

/// Gives all subjects the default level again; answers the one in force then.
pub(super) async fn reset_level(State(pool): State<PgPool>) -> Answer {
    store::delete_compatibility(&pool, ALL_SUBJECTS).await?;
    level(State(pool)).await
}

/// Gives a subject the level of all again; answers the one that it had.
pub(super) async fn delete_subject_level(State(pool): State<PgPool>, Path(subject): Path<String>) -> Answer {
    match store::delete_compatibility(&pool, &subject).await? {
        Some(gone) => Ok(Json(json!({"compatibilityLevel": gone}))),
        None => Err(ApiError::SubjectNotFound(subject)),
    }
}

/// The mode of all subjects.
pub(super) async fn mode(State(pool): State<PgPool>) -> Answer {
    let mode = store::mode(&pool, ALL_SUBJECTS).await?.unwrap_or_else(|| READ_WRITE.to_owned());
    Ok(Json(json!({"mode": mode})))
}

/// The mode of a subject.
pub(super) async fn subject_mode(
    State(pool): State<PgPool>,
    Path(subject): Path<String>,
    Query(options): Query<Options>,
) -> Answer {
    match store::mode(&pool, &subject).await? {
        Some(set) => Ok(Json(json!({"mode": set}))),
        None if options.default_to_global => mode(State(pool)).await,
        None => Err(ApiError::ModeNotFound(subject)),
    }
}

/// Sets the mode of all subjects.
pub(super) async fn set_mode(State(pool): State<PgPool>, bytes: Bytes) -> Answer {
    store_mode(&pool, ALL_SUBJECTS, &bytes).await
}

/// Sets the mode of a subject.
pub(super) async fn set_subject_mode(State(pool): State<PgPool>, Path(subject): Path<String>, bytes: Bytes) -> Answer {
    store_mode(&pool, &subject, &bytes).await
}

async fn store_mode(pool: &PgPool, subject: &str, bytes: &Bytes) -> Answer {
    let ModeBody { mode } = body(bytes)?;
    if ![READ_WRITE, READ_ONLY].contains(&mode.as_str()) {
        return Err(ApiError::InvalidMode(mode));
    }
    store::set_mode(pool, subject, &mode).await?;
    Ok(Json(json!({"mode": mode})))
}

/// Gives a subject the mode of all again; answers the one that it had.
pub(super) async fn delete_mode(State(pool): State<PgPool>, Path(subject): Path<String>) -> Answer {
    match store::delete_mode(&pool, &subject).await? {
        Some(gone) => Ok(Json(json!({"mode": gone}))),
        None => Err(ApiError::SubjectNotFound(subject)),
    }
}

/// Refuses a change of a subject that must not change.
pub(super) async fn demand_writable(pool: &PgPool, subject: &str) -> Result<(), ApiError> {
    let mode = match store::mode(pool, subject).await? {
        Some(mode) => Some(mode),
        None => store::mode(pool, ALL_SUBJECTS).await?,
    };
    if mode.as_deref() == Some(READ_ONLY) { Err(ApiError::ReadOnly(subject.to_owned())) } else { Ok(()) }
}
