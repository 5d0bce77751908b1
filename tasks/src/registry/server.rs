//! Confluent's REST interface, as far as producers and consumers use it.
//!
//! Registration is idempotent, and held against the subject's compatibility level. Only Avro without references to other
//! schemas is served; anything else is refused as an invalid schema.

use super::avro::AvroSchema;
use super::error::ApiError;
use super::schema::{Fingerprint, fingerprint, normalised};
use super::{compatibility, config};
use crate::pg::registry::{self as store, Deletion, NewSchema, Precedents, VersionRow, Versions};
use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, Query, State};
use axum::http::header;
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use metrics::{Page, http::Requests};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};
use sqlx::PgPool;
use std::net::SocketAddr;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// What every answer is.
pub(super) const CONTENT_TYPE: &str = "application/vnd.schemaregistry.v1+json";
/// The only type of schema served.
const AVRO: &str = "AVRO";
/// The largest body; a schema of a thousand fields has a tenth of it.
const BODY_BYTES_MAX: usize = 1 << 20;

/// Serves the registry on an address until `stop`.
///
/// # Errors
/// When the address is taken, or none of this machine.
pub async fn serve(pool: PgPool, address: SocketAddr, stop: CancellationToken) -> std::io::Result<()> {
    let listener = TcpListener::bind(address).await?;
    tracing::info!(address = %listener.local_addr()?, "schema registry serves");
    serve_on(listener, pool, stop).await
}

/// Serves the registry on a socket until `stop`.
///
/// # Errors
/// When the socket fails.
pub async fn serve_on(listener: TcpListener, pool: PgPool, stop: CancellationToken) -> std::io::Result<()> {
    let requests = Requests::default();
    let mut shown = metrics::registry(env!("CARGO_PKG_VERSION"));
    requests.register(&mut shown);
    let timed = router(pool).layer(from_fn_with_state(requests, metrics::http::time));
    // Prometheus' own questions are not timed.
    let router = timed.merge(Page::new(shown).router());
    axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned()).await
}

fn router(pool: PgPool) -> Router {
    Router::new()
        .route("/", get(|| async { Json(json!({})) }))
        .route("/subjects", get(subjects))
        .route("/subjects/{subject}", post(lookup).delete(delete_subject))
        .route("/subjects/{subject}/versions", get(versions).post(register))
        .route("/subjects/{subject}/versions/{version}", get(version).delete(delete_version))
        .route("/subjects/{subject}/versions/{version}/schema", get(version_schema))
        .route("/schemas/types", get(|| async { Json(json!([AVRO])) }))
        .route("/schemas/ids/{id}", get(schema))
        .route("/schemas/ids/{id}/schema", get(schema_text))
        .route("/schemas/ids/{id}/subjects", get(schema_subjects))
        .route("/schemas/ids/{id}/versions", get(schema_versions))
        .route("/subjects/{subject}/versions/{version}/referencedby", get(referenced_by))
        .route("/compatibility/subjects/{subject}/versions", post(compatibility::with_subject))
        .route("/compatibility/subjects/{subject}/versions/{version}", post(compatibility::with_version))
        .route("/config", get(config::level).put(config::set_level).delete(config::reset_level))
        .route(
            "/config/{subject}",
            get(config::subject_level).put(config::set_subject_level).delete(config::delete_subject_level),
        )
        .route("/mode", get(config::mode).put(config::set_mode))
        .route("/mode/{subject}", put(config::set_subject_mode).get(config::subject_mode).delete(config::delete_mode))
        .route("/contexts", get(|| async { Json(json!(["."])) }))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(pool)
}

/// A JSON answer with the registry's content type.
pub(super) struct Json(pub(super) Value);

impl IntoResponse for Json {
    fn into_response(self) -> Response {
        ([(header::CONTENT_TYPE, CONTENT_TYPE)], self.0.to_string()).into_response()
    }
}

pub(super) type Answer = Result<Json, ApiError>;

#[derive(Deserialize)]
pub(super) struct SchemaBody {
    #[serde(default)]
    schema: String,
    #[serde(rename = "schemaType")]
    schema_type: Option<String>,
    #[serde(default)]
    references: Option<Vec<Value>>,
}

/// What may stand behind the question mark.
#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Options {
    #[serde(deserialize_with = "flag")]
    deleted: bool,
    #[serde(deserialize_with = "flag")]
    permanent: bool,
    #[serde(deserialize_with = "flag")]
    pub(super) default_to_global: bool,
    #[serde(deserialize_with = "flag")]
    pub(super) verbose: bool,
    #[serde(deserialize_with = "flag")]
    pub(super) normalize: bool,
    subject_prefix: Option<String>,
}

/// Python's clients write `True`, all others `true`.
fn flag<'de, D: Deserializer<'de>>(input: D) -> Result<bool, D::Error> {
    Ok(String::deserialize(input)?.eq_ignore_ascii_case("true"))
}

impl Options {
    fn versions(&self) -> Versions {
        if self.deleted { Versions::All } else { Versions::Live }
    }

    fn deletion(&self) -> Deletion {
        if self.permanent { Deletion::Permanent } else { Deletion::Soft }
    }
}

/// Clients send several content types; what counts is that the body is JSON of the right form.
pub(super) fn body<T: DeserializeOwned>(bytes: &Bytes) -> Result<T, ApiError> {
    serde_json::from_slice(bytes).map_err(|error| ApiError::InvalidBody(error.to_string()))
}

/// A schema that can be registered.
pub(super) struct Checked {
    text: String,
    fingerprint: Fingerprint,
    pub(super) schema: AvroSchema,
}

/// The schema of a request's body.
pub(super) fn checked(bytes: &Bytes, options: &Options) -> Result<Checked, ApiError> {
    let body: SchemaBody = body(bytes)?;
    if let Some(other) = body.schema_type.as_deref().filter(|kind| *kind != AVRO) {
        return Err(ApiError::InvalidSchema(format!("schemas of type {other} are not served, only {AVRO}")));
    }
    if body.references.as_ref().is_some_and(|references| !references.is_empty()) {
        return Err(ApiError::InvalidSchema("references to other schemas are not served".to_owned()));
    }
    let text = match options.normalize {
        true => normalised(&body.schema).map_err(ApiError::InvalidSchema)?,
        false => body.schema,
    };
    let fingerprint = fingerprint(&text).map_err(ApiError::InvalidSchema)?;
    let schema = AvroSchema::parse(&text).map_err(ApiError::InvalidSchema)?;
    Ok(Checked { text, fingerprint, schema })
}

/// A version's number, or nothing for the newest.
fn version_number(text: &str) -> Result<Option<i32>, ApiError> {
    match text {
        "latest" | "-1" => Ok(None),
        _ => match text.parse() {
            Ok(number) if number > 0 => Ok(Some(number)),
            _ => Err(ApiError::InvalidVersion(text.to_owned())),
        },
    }
}

async fn register(
    State(pool): State<PgPool>,
    Path(subject): Path<String>,
    Query(options): Query<Options>,
    bytes: Bytes,
) -> Answer {
    let Checked { text, fingerprint, schema } = checked(&bytes, &options)?;
    config::demand_writable(&pool, &subject).await?;
    let new = NewSchema { schema_type: AVRO, fingerprint: &fingerprint, schema: &text };
    let judge = |precedents: &Precedents| match compatibility::objections(&schema, precedents) {
        objections if objections.is_empty() => Ok(()),
        objections => Err(ApiError::Incompatible { subject: subject.clone(), objections }),
    };
    let id = store::register(&pool, &subject, new, judge).await?;
    Ok(Json(json!({"id": id})))
}

async fn lookup(
    State(pool): State<PgPool>,
    Path(subject): Path<String>,
    Query(options): Query<Options>,
    bytes: Bytes,
) -> Answer {
    let Checked { fingerprint, .. } = checked(&bytes, &options)?;
    known_subject(&pool, &subject, &options).await?;
    let found = store::lookup(&pool, &subject, &fingerprint, options.versions()).await?;
    found.map(version_body).ok_or(ApiError::SchemaNotFound(format!("of this text under '{subject}'")))
}

async fn subjects(State(pool): State<PgPool>, Query(options): Query<Options>) -> Answer {
    let prefix = options.subject_prefix.as_deref().unwrap_or_default();
    Ok(Json(json!(store::subjects(&pool, prefix, options.versions()).await?)))
}

/// The versions of a subject, which has to have some.
pub(super) async fn known_subject(pool: &PgPool, subject: &str, options: &Options) -> Result<Vec<i32>, ApiError> {
    let versions = store::versions(pool, subject, options.versions()).await?;
    if versions.is_empty() { Err(ApiError::SubjectNotFound(subject.to_owned())) } else { Ok(versions) }
}

async fn versions(State(pool): State<PgPool>, Path(subject): Path<String>, Query(options): Query<Options>) -> Answer {
    Ok(Json(json!(known_subject(&pool, &subject, &options).await?)))
}

/// A version of a subject, both of which have to be there.
pub(super) async fn find_version(
    pool: &PgPool,
    (subject, number): (String, String),
    options: &Options,
) -> Result<VersionRow, ApiError> {
    let wanted = version_number(&number)?;
    known_subject(pool, &subject, options).await?;
    let found = store::version(pool, &subject, wanted, options.versions()).await?;
    found.ok_or(ApiError::VersionNotFound(number))
}

async fn version(
    State(pool): State<PgPool>,
    Path(path): Path<(String, String)>,
    Query(options): Query<Options>,
) -> Answer {
    find_version(&pool, path, &options).await.map(version_body)
}

/// No schema refers to another one here, but what is asked for has to be there.
async fn referenced_by(
    State(pool): State<PgPool>,
    Path(path): Path<(String, String)>,
    Query(options): Query<Options>,
) -> Answer {
    find_version(&pool, path, &options).await?;
    Ok(Json(json!([])))
}

async fn version_schema(
    State(pool): State<PgPool>,
    Path(path): Path<(String, String)>,
    Query(options): Query<Options>,
) -> Result<Response, ApiError> {
    let found = find_version(&pool, path, &options).await?;
    Ok(([(header::CONTENT_TYPE, CONTENT_TYPE)], found.schema).into_response())
}

fn version_body(row: VersionRow) -> Json {
    Json(json!({"subject": row.subject, "version": row.version, "id": row.schema_id, "schema": row.schema}))
}

async fn delete_subject(
    State(pool): State<PgPool>,
    Path(subject): Path<String>,
    Query(options): Query<Options>,
) -> Answer {
    config::demand_writable(&pool, &subject).await?;
    let gone = store::delete(&pool, &subject, None, options.deletion()).await?;
    if !gone.is_empty() {
        return Ok(Json(json!(gone)));
    }
    let live = store::versions(&pool, &subject, Versions::Live).await?;
    Err(if live.is_empty() { ApiError::SubjectNotFound(subject) } else { ApiError::SubjectNotSoftDeleted(subject) })
}

async fn delete_version(
    State(pool): State<PgPool>,
    Path((subject, number)): Path<(String, String)>,
    Query(options): Query<Options>,
) -> Answer {
    config::demand_writable(&pool, &subject).await?;
    let which = if options.permanent { Versions::All } else { Versions::Live };
    let all = Options { deleted: which == Versions::All, ..Options::default() };
    let found = find_version(&pool, (subject.clone(), number), &all).await?;
    let gone = store::delete(&pool, &subject, Some(found.version), options.deletion()).await?;
    match gone.first() {
        Some(version) => Ok(Json(json!(version))),
        None => Err(ApiError::VersionNotSoftDeleted { subject, version: found.version }),
    }
}

async fn schema_by_id(pool: &PgPool, id: &str) -> Result<(i32, String), ApiError> {
    let missing = || ApiError::SchemaNotFound(id.to_owned());
    let number: i32 = id.parse().map_err(|_| missing())?;
    Ok((number, store::schema(pool, number).await?.ok_or_else(missing)?))
}

async fn schema(State(pool): State<PgPool>, Path(id): Path<String>) -> Answer {
    let (_, text) = schema_by_id(&pool, &id).await?;
    Ok(Json(json!({"schema": text})))
}

async fn schema_text(State(pool): State<PgPool>, Path(id): Path<String>) -> Result<Response, ApiError> {
    let (_, text) = schema_by_id(&pool, &id).await?;
    Ok(([(header::CONTENT_TYPE, CONTENT_TYPE)], text).into_response())
}

async fn schema_subjects(State(pool): State<PgPool>, Path(id): Path<String>) -> Answer {
    let (number, _) = schema_by_id(&pool, &id).await?;
    let mut subjects: Vec<String> =
        store::schema_uses(&pool, number).await?.into_iter().map(|row| row.subject).collect();
    subjects.dedup();
    Ok(Json(json!(subjects)))
}

async fn schema_versions(State(pool): State<PgPool>, Path(id): Path<String>) -> Answer {
    let (number, _) = schema_by_id(&pool, &id).await?;
    let uses = store::schema_uses(&pool, number).await?;
    let uses: Vec<Value> =
        uses.into_iter().map(|row| json!({"subject": row.subject, "version": row.version})).collect();
    Ok(Json(json!(uses)))
}
