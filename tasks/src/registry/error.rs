//! The registry's errors, in Confluent's numbers: clients decide by them.

use super::server::CONTENT_TYPE;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

/// What is answered instead of a result.
#[derive(Debug, thiserror::Error)]
pub(super) enum ApiError {
    #[error("Subject '{0}' not found.")]
    SubjectNotFound(String),
    #[error("Version {0} not found.")]
    VersionNotFound(String),
    #[error("Schema {0} not found")]
    SchemaNotFound(String),
    #[error("Subject '{0}' was not deleted first before being permanently deleted")]
    SubjectNotSoftDeleted(String),
    #[error("Subject '{subject}' Version {version} was not deleted first before being permanently deleted")]
    VersionNotSoftDeleted { subject: String, version: i32 },
    #[error("Subject '{0}' does not have subject-level compatibility configured")]
    ConfigNotFound(String),
    #[error("Subject '{0}' does not have subject-level mode configured")]
    ModeNotFound(String),
    #[error(
        "Schema being registered is incompatible with an earlier schema for subject \"{subject}\", details: [{}]",
        objections.join(", ")
    )]
    Incompatible { subject: String, objections: Vec<String> },
    #[error("Invalid schema: {0}")]
    InvalidSchema(String),
    #[error(
        "Invalid mode '{0}'. Valid values are READWRITE and READONLY; schemas cannot be imported with ids of their own"
    )]
    InvalidMode(String),
    #[error("Subject {0} is in read-only mode")]
    ReadOnly(String),
    #[error(
        "The specified version '{0}' is not a valid version id. Allowed values are from 1 on and the string \"latest\""
    )]
    InvalidVersion(String),
    #[error(
        "Invalid compatibility level '{0}'. Valid values are NONE, BACKWARD, FORWARD, FULL, each also with _TRANSITIVE"
    )]
    InvalidCompatibility(String),
    #[error("The request's body is not what is expected here: {0}")]
    InvalidBody(String),
    #[error("Error in the backend data store")]
    Store(#[from] sqlx::Error),
}

impl ApiError {
    /// Confluent's code; its first three digits are the HTTP status.
    fn code(&self) -> u32 {
        match self {
            Self::SubjectNotFound(_) => 40401,
            Self::VersionNotFound(_) => 40402,
            Self::SchemaNotFound(_) => 40403,
            Self::SubjectNotSoftDeleted(_) => 40405,
            Self::VersionNotSoftDeleted { .. } => 40407,
            Self::ConfigNotFound(_) => 40408,
            Self::ModeNotFound(_) => 40409,
            Self::Incompatible { .. } => 409,
            Self::InvalidSchema(_) => 42201,
            Self::InvalidVersion(_) => 42202,
            Self::InvalidCompatibility(_) => 42203,
            Self::InvalidMode(_) => 42204,
            Self::ReadOnly(_) => 42205,
            Self::InvalidBody(_) => 422,
            Self::Store(_) => 50001,
        }
    }

    fn status(&self) -> StatusCode {
        match self {
            Self::SubjectNotFound(_)
            | Self::VersionNotFound(_)
            | Self::SchemaNotFound(_)
            | Self::SubjectNotSoftDeleted(_)
            | Self::VersionNotSoftDeleted { .. }
            | Self::ConfigNotFound(_)
            | Self::ModeNotFound(_) => StatusCode::NOT_FOUND,
            Self::Incompatible { .. } => StatusCode::CONFLICT,
            Self::InvalidSchema(_)
            | Self::InvalidVersion(_)
            | Self::InvalidCompatibility(_)
            | Self::InvalidMode(_)
            | Self::ReadOnly(_)
            | Self::InvalidBody(_) => StatusCode::UNPROCESSABLE_ENTITY,
            Self::Store(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        if let Self::Store(error) = &self {
            tracing::error!(%error, "the registry's database failed");
        }
        let body = json!({"error_code": self.code(), "message": self.to_string()}).to_string();
        (self.status(), [(header::CONTENT_TYPE, CONTENT_TYPE)], body).into_response()
    }
}
