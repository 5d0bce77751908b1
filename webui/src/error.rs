//! Every way in which a request can fail, its status and its shape: the one place that knows them.
//!
//! Shapes are Airflow's: `{"detail": "…"}`, and for a 422 a list with a place for each mistake.

use std::{borrow::Cow, time::Duration};

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use link::NoLeader;
use model::{Answer, AnswerStatus, door::InvalidText, masking};
use serde::Serialize;
use serde_json::{Value, json};
use store::StoreError;
use utoipa::ToSchema;

use crate::{auth::limiter::Refusal, http::load::Refused};

/// How the store names what it was doing when it was looking for the rows of a list.
const A_LIST: &str = "this list of ";

/// The result of a handler.
pub type ApiResult<T> = Result<T, ApiError>;

/// A request failed.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// Nobody is logged in.
    #[error("Not authenticated")]
    Unauthenticated,
    /// What a worker shows is of no join token in use.
    #[error("{0}; `windlass workers token` prints the one in use")]
    JoinToken(&'static str),
    /// Name or password do not match.
    #[error("Invalid credentials")]
    BadLogin,
    /// The token is forged, expired or revoked.
    #[error("Invalid JWT token")]
    InvalidToken,
    /// The role does not allow it, or the request came from another site.
    #[error("Forbidden")]
    Forbidden,
    /// Nobody may do it, whatever the role.
    #[error("{0}")]
    Refused(String),
    /// What was named does not exist.
    #[error("{0}")]
    NotFound(String),
    /// It contradicts what is there.
    #[error("{0}")]
    Conflict(String),
    /// One of its name is there already; Airflow answers with an object.
    #[error("{0}")]
    AlreadyExists(String),
    /// It makes no sense.
    #[error("{0}")]
    BadRequest(String),
    /// More bytes than a body may have.
    #[error("the body is too large: at most {bytes_max} bytes are taken")]
    TooLarge {
        /// How many are taken.
        bytes_max: usize,
    },
    /// The body did not come in its time.
    #[error("the body did not come within {} s. Nothing was changed", .within.as_secs_f32())]
    TooSlow {
        /// How long it was waited for.
        within: Duration,
    },
    /// The answer exists, but not in a form that the client takes.
    #[error("{0}")]
    NotAcceptable(String),
    /// The body is of a kind that is not read.
    #[error("{0}")]
    UnknownKind(&'static str),
    /// What exists can not be changed in this way.
    #[error("{0}")]
    NotAllowed(String),
    /// Airflow has it, Windlass does not.
    #[error("{0}")]
    NotThere(Cow<'static, str>),
    /// Parts of the request are malformed.
    #[error("the request is malformed: {}", summary(.0))]
    Malformed(Vec<FieldError>),
    /// The same, where Airflow answers with a text.
    #[error("{0}")]
    MalformedText(String),
    /// Too many failed logins.
    #[error("too many failed logins; try again in {retry_after_secs} seconds")]
    TooManyLogins {
        /// When to try again.
        retry_after_secs: u64,
    },
    /// Others log in, and it did not come to this one's turn.
    #[error("too many people log in at this moment; try again in a second")]
    CrowdedLogins,
    /// No leader took the command or answered the question; nothing was changed.
    #[error("the scheduler does not answer: {0}. Nothing was changed; try again in a few seconds")]
    NoLeader(String),
    /// The leader has the command and has not said what came of it.
    #[error(
        "the leader has taken the command and has not answered yet: it may still be carried out, so look before you send it again"
    )]
    Undecided,
    /// Too much is asked for at once; nothing was changed.
    #[error("{0}. Nothing was changed; try again in a few seconds")]
    Busy(String),
    /// The answer did not come in time.
    #[error("{}", gave_up(*.after_secs, *.changes))]
    GaveUp {
        /// How long it was waited for.
        after_secs: u64,
        /// Whether the request was to change something.
        changes: bool,
    },
    /// What is asked for can not be found in the time that one request has.
    #[error(
        "{0} would take longer than one request may: limit it to a DAG, to runs, or to a range of dates (run_after_gte)"
    )]
    TooHeavy(String),
    /// PostgreSQL does not answer.
    #[error("the database does not answer in time; try again in a few seconds")]
    Database(#[source] StoreError),
    /// A mistake of the program.
    #[error("an unexpected error; the server's log has it under the request's id")]
    Internal(String),
}

/// One malformed part of a request.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = ValidationError)]
pub struct FieldError {
    /// The kind of mistake, in pydantic's words.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// Where it is: `["body", "conf"]`, `["query", "limit"]`.
    pub loc: Vec<String>,
    /// What is wrong, for people.
    pub msg: String,
    /// What was given.
    #[schema(required = false)]
    pub input: Value,
}

impl FieldError {
    /// A mistake in a member of the body.
    pub fn body(member: &str, kind: &'static str, msg: impl Into<String>, input: Value) -> Self {
        // What was given is told back, and a secret is told to nobody.
        let input = if masking::is_secret_name(member) { masking::MASK.into() } else { masking::masked(&input) };
        Self { kind, loc: vec!["body".to_owned(), member.to_owned()], msg: msg.into(), input }
    }

    /// A mistake in a query parameter.
    pub fn query(name: &str, kind: &'static str, msg: impl Into<String>, input: &str) -> Self {
        Self { kind, loc: vec!["query".to_owned(), name.to_owned()], msg: msg.into(), input: Value::from(input) }
    }

    /// A header that has to be there.
    #[must_use]
    pub fn missing_header(name: &str) -> Self {
        let loc = vec!["header".to_owned(), name.to_owned()];
        Self { kind: "missing", loc, msg: "Field required".to_owned(), input: Value::Null }
    }

    /// A part of the path that names nothing.
    #[must_use]
    pub fn path_text(name: &str, msg: impl Into<String>, input: &str) -> Self {
        let loc = vec!["path".to_owned(), name.to_owned()];
        Self { kind: "value_error", loc, msg: msg.into(), input: Value::from(input) }
    }

    /// A part of the path that should be a whole number.
    #[must_use]
    pub fn path(name: &str, input: &str) -> Self {
        let msg = "Input should be a valid integer, unable to parse string as an integer".to_owned();
        Self { kind: "int_parsing", loc: vec!["path".to_owned(), name.to_owned()], msg, input: Value::from(input) }
    }
}

fn gave_up(after_secs: u64, changes: bool) -> String {
    let state = if changes {
        "What had not begun is withdrawn; what was done before stays, and the audit log has it"
    } else {
        "Nothing was changed"
    };
    format!("the answer did not come within {after_secs} s. {state}")
}

fn summary(errors: &[FieldError]) -> String {
    let texts: Vec<_> =
        errors.iter().map(|error| format!("{}: {}", error.loc.last().map_or("", String::as_str), error.msg)).collect();
    texts.join("; ")
}

impl ApiError {
    /// The status of the answer.
    #[must_use]
    pub const fn status(&self) -> StatusCode {
        match self {
            Self::Unauthenticated | Self::BadLogin | Self::JoinToken(_) => StatusCode::UNAUTHORIZED,
            Self::InvalidToken | Self::Forbidden | Self::Refused(_) => StatusCode::FORBIDDEN,
            Self::NotFound(_) => StatusCode::NOT_FOUND,
            Self::Conflict(_) | Self::AlreadyExists(_) => StatusCode::CONFLICT,
            Self::BadRequest(_) | Self::TooHeavy(_) => StatusCode::BAD_REQUEST,
            Self::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::TooSlow { .. } => StatusCode::REQUEST_TIMEOUT,
            Self::NotAcceptable(_) => StatusCode::NOT_ACCEPTABLE,
            Self::UnknownKind(_) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::NotAllowed(_) => StatusCode::METHOD_NOT_ALLOWED,
            Self::NotThere(_) => StatusCode::NOT_IMPLEMENTED,
            Self::Malformed(_) | Self::MalformedText(_) => StatusCode::UNPROCESSABLE_ENTITY,
            Self::TooManyLogins { .. } | Self::CrowdedLogins => StatusCode::TOO_MANY_REQUESTS,
            Self::NoLeader(_) | Self::Busy(_) | Self::Database(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::GaveUp { .. } | Self::Undecided => StatusCode::GATEWAY_TIMEOUT,
            Self::Internal(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// When the client may try again, if waiting helps.
    #[must_use]
    pub const fn retry_after_secs(&self) -> Option<u64> {
        match self {
            Self::TooManyLogins { retry_after_secs } => Some(*retry_after_secs),
            Self::CrowdedLogins => Some(1),
            Self::NoLeader(_) | Self::Busy(_) | Self::Database(_) => Some(5),
            _ => None,
        }
    }

    /// Writes what only the operator should see to the log; done once, where the error becomes an answer.
    pub(crate) fn log(&self) {
        match self {
            Self::Database(error) => tracing::error!(%error, "a request failed: PostgreSQL did not answer it"),
            Self::Internal(text) => tracing::error!(error = %text, "a request failed unexpectedly"),
            Self::NoLeader(_) | Self::Undecided | Self::GaveUp { .. } => {
                tracing::warn!(error = %self, "a request was not answered in time");
            }
            _ => {}
        }
    }

    /// An answer of the leader: what was done, or why not.
    ///
    /// # Errors
    /// Every status but [`AnswerStatus::Done`].
    pub(crate) fn of_answer(answer: Answer) -> ApiResult<Value> {
        let detail = || answer.body.get("detail").and_then(Value::as_str).unwrap_or("refused").to_owned();
        match answer.status {
            AnswerStatus::Done => Ok(answer.body),
            AnswerStatus::NotFound => Err(Self::NotFound(detail())),
            AnswerStatus::Conflict => Err(Self::Conflict(detail())),
            AnswerStatus::Invalid => Err(Self::BadRequest(detail())),
            AnswerStatus::Forbidden => Err(Self::Refused(detail())),
        }
    }
}

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Guesses { retry_after_secs } => Self::TooManyLogins { retry_after_secs },
            Refusal::Crowd => Self::CrowdedLogins,
        }
    }
}

impl From<NoLeader> for ApiError {
    fn from(error: NoLeader) -> Self {
        Self::NoLeader(error.reason)
    }
}

impl From<InvalidText> for ApiError {
    fn from(error: InvalidText) -> Self {
        Self::BadRequest(error.to_string())
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unreachable { .. } => Self::Database(error),
            StoreError::Refused { reason } => Self::BadRequest(reason),
            // A list can be asked for with more limits; whoever asks for anything else can only come back.
            StoreError::TooHeavy { doing } if doing.starts_with(A_LIST) => Self::TooHeavy(doing.to_owned()),
            StoreError::TooHeavy { .. } => Self::Database(error),
            other => match other.refused_value() {
                Some(reason) => {
                    // What comes from outside passes the door before it comes here: this one went past it.
                    tracing::warn!(error = %other, "a request holds a value that PostgreSQL refuses");
                    Self::BadRequest(format!("the database has no such value: {reason}"))
                }
                None => Self::Internal(other.to_string()),
            },
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        self.log();
        let body = match &self {
            Self::Malformed(errors) => json!({ "detail": errors }),
            Self::AlreadyExists(message) => json!({ "detail": {
                "reason": "Unique constraint violation", "statement": "hidden", "orig_error": "hidden", "message": message,
            } }),
            other => json!({ "detail": other.to_string() }),
        };
        with_retry(&self, (self.status(), Json(body)).into_response())
    }
}

/// Adds `Retry-After` where waiting helps, and marks what there was no room for.
pub(crate) fn with_retry(error: &ApiError, mut response: Response) -> Response {
    if let Some(secs) = error.retry_after_secs() {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(secs));
    }
    if matches!(error, ApiError::Busy(_) | ApiError::CrowdedLogins) {
        response.extensions_mut().insert(Refused);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_can_ask_for_less_is_told_to() {
        let of = |doing| ApiError::from(StoreError::TooHeavy { doing });
        let list = of("this list of runs");
        assert_eq!(list.status(), StatusCode::BAD_REQUEST);
        assert!(list.to_string().starts_with("this list of runs would take longer"), "{list}");
        let page = of("reading for a page");
        assert_eq!((page.status(), page.retry_after_secs()), (StatusCode::SERVICE_UNAVAILABLE, Some(5)), "{page}");
    }
}
