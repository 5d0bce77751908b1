//! Bundles of DAG files, their revisions, and how another one comes into force. Airflow's REST API has no such thing.

use std::collections::BTreeMap;

use axum::{
    Extension, Json,
    extract::{DefaultBodyLimit, Request, State},
    http::{HeaderMap, StatusCode},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use dag::Content;
use model::{BundleName, door::Text};
use serde_json::{Map, Value};
use store::{
    bundles::{self, Authorship, InForce, NewRevision},
    read::{self, BundleDag, BundleView, RevisionView},
};
use tokio::sync::Semaphore;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    body::Body,
    declare::{At, Errors, answer, body, errors::HTTPExceptionResponse, path_params, query_params},
    query::Page,
};
use crate::{
    app::App,
    auth::{Principal, rights::Right},
    changes::{
        self,
        webhooks::{self, Heard},
    },
    error::{ApiError, ApiResult},
    http::intake,
    reads::bundles::{bundle_name, lookup_bundle, view_url},
    router::DEPLOY_BYTES_MAX,
};

/// Deployments whose bodies are held at once.
static ROOM: Semaphore = Semaphore::const_new(2);

/// The operations.
pub fn routes() -> OpenApiRouter<App> {
    let deployments = OpenApiRouter::new().routes(routes!(deploy, revisions));
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(one, delete))
        .routes(routes!(rollback))
        .routes(routes!(poll))
        .routes(routes!(webhook))
        .merge(deployments.layer(DefaultBodyLimit::max(DEPLOY_BYTES_MAX)))
}

path_params! {
    /// A bundle.
    pub struct BundlePath {
        /// `dags-folder` is the DAG folder.
        bundle_name: String,
    }
}

query_params! {
    /// Which part of the list is meant.
    pub struct RevisionsFilter {
        page: Page,
    }
}

body! {
    /// What is to come into force.
    pub struct DeployBody {
        /// The content of each file in base64, by its name below the bundle's root.
        files: Map<String, Value>,
        /// What it is about.
        message: Option<String>,
        /// Who wrote it, when that is somebody else than who sends it.
        author: Option<String>,
    }
}

body! {
    /// Which revision is to come into force again.
    pub struct RollbackBody {
        /// The revision, or its first characters, six at least.
        bundle_version: String,
    }
}

answer! {
    /// A bundle of DAG files.
    pub struct DagBundleResponse {
        name: String,
        /// `local` for the DAG folder; `git`, `pushed`.
        kind: String,
        /// Whether it is still wanted.
        is_active: bool,
        /// The revision in force.
        bundle_version: Option<String>,
        author: Option<String>,
        message: Option<String>,
        /// Who brought it: a user, or the scheduler.
        deployed_by: Option<String>,
        in_force_since: Option<At>,
        /// The revision that somebody has rolled back from: it does not come into force again by itself.
        passed_over: Option<String>,
        view_url: Option<String>,
        /// Where it comes from.
        settings: BTreeMap<String, Value>,
        last_poll: Option<At>,
        poll_failures: i32,
        poll_error: Option<String>,
        /// How many DAGs its files define.
        dag_count: i64,
        /// How many of its files have mistakes.
        import_error_count: i64,
    }
}

answer! {
    /// All bundles.
    pub struct DagBundleCollectionResponse {
        dag_bundles: Vec<DagBundleResponse>,
        total_entries: usize,
    }
}

answer! {
    /// A DAG of a bundle.
    pub struct BundleDagResponse {
        dag_id: String,
        /// The digest of the DAG's file and of all that it refers to.
        content_hash: String,
        relative_fileloc: String,
    }
}

answer! {
    /// A bundle with what its files define.
    pub struct DagBundleDetailsResponse {
        dag_bundle: DagBundleResponse,
        dags: Vec<BundleDagResponse>,
    }
}

answer! {
    /// A revision of a bundle.
    pub struct BundleRevisionResponse {
        bundle_name: String,
        bundle_version: String,
        is_current: bool,
        author: Option<String>,
        message: Option<String>,
        authored_at: Option<At>,
        deployed_at: At,
        deployed_by: String,
        deployed_from: Option<String>,
        /// By which way: ui, api, cli.
        door: Option<String>,
        file_count: i32,
        byte_count: i64,
    }
}

answer! {
    /// A part of a bundle's revisions, newest first.
    pub struct BundleRevisionCollectionResponse {
        revisions: Vec<BundleRevisionResponse>,
        total_entries: i64,
    }
}

answer! {
    /// What is in force now.
    pub struct InForceResponse {
        bundle_name: String,
        bundle_version: String,
        /// Whether something else was in force before.
        has_changed: bool,
    }
}

answer! {
    /// What came of a wish for a poll.
    pub struct PollResponse {
        bundle_name: String,
        /// Whether the bundle is polled now.
        is_polled: bool,
    }
}

/// Get Dag Bundles
#[utoipa::path(
    get, path = "/api/v2/dagBundles", operation_id = "get_dag_bundles", tag = "DagBundle",
    responses((status = 200, description = "Successful Response", body = DagBundleCollectionResponse), Errors),
    security(("token" = [Right::Read]))
)]
pub async fn list(State(app): State<App>) -> ApiResult<Json<DagBundleCollectionResponse>> {
    let dag_bundles: Vec<_> = read::bundles(&app.pool, None).await?.into_iter().map(shape).collect();
    Ok(Json(DagBundleCollectionResponse { total_entries: dag_bundles.len(), dag_bundles }))
}

/// Get Dag Bundle
#[utoipa::path(
    get, path = "/api/v2/dagBundles/{bundle_name}", operation_id = "get_dag_bundle", tag = "DagBundle",
    params(BundlePath),
    responses((status = 200, description = "Successful Response", body = DagBundleDetailsResponse), Errors<404>),
    security(("token" = [Right::Read]))
)]
pub async fn one(
    State(app): State<App>,
    BundlePath { bundle_name }: BundlePath,
) -> ApiResult<Json<DagBundleDetailsResponse>> {
    let (name, found) = lookup_bundle(&app, &bundle_name).await?;
    let dag = |BundleDag { dag_id, content_hash, fileloc }| BundleDagResponse {
        dag_id: dag_id.to_string(),
        content_hash,
        relative_fileloc: fileloc,
    };
    let dags = read::bundle_dags(&app.pool, &name).await?.into_iter().map(dag).collect();
    Ok(Json(DagBundleDetailsResponse { dag_bundle: shape(found), dags }))
}

/// Get Dag Bundle Revisions
#[utoipa::path(
    get, path = "/api/v2/dagBundles/{bundle_name}/revisions", operation_id = "get_dag_bundle_revisions",
    tag = "DagBundle",
    params(BundlePath, RevisionsFilter),
    responses((status = 200, description = "Successful Response", body = BundleRevisionCollectionResponse), Errors<404>),
    security(("token" = [Right::Read]))
)]
pub async fn revisions(
    State(app): State<App>,
    BundlePath { bundle_name }: BundlePath,
    RevisionsFilter { page }: RevisionsFilter,
) -> ApiResult<Json<BundleRevisionCollectionResponse>> {
    let (name, _) = lookup_bundle(&app, &bundle_name).await?;
    let (found, total_entries) = read::revisions(&app.pool, &name, page.window()).await?;
    let revisions = found.into_iter().map(|one| revision(&name, one)).collect();
    Ok(Json(BundleRevisionCollectionResponse { revisions, total_entries }))
}

/// Deploy Dag Bundle
///
/// Brings files into force as one revision. A bundle of a new name is made; the same files as are in force change nothing.
#[utoipa::path(
    post, path = "/api/v2/dagBundles/{bundle_name}/revisions", operation_id = "deploy_dag_bundle", tag = "DagBundle",
    params(BundlePath),
    request_body = DeployBody,
    responses((status = 200, description = "Successful Response", body = InForceResponse), Errors<400>),
    security(("token" = [Right::ChangeAdmin]))
)]
pub async fn deploy(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    BundlePath { bundle_name }: BundlePath,
    request: Request,
) -> ApiResult<Json<InForceResponse>> {
    let _room = ROOM.try_acquire().map_err(|_| ApiError::Busy("others deploy at this moment".to_owned()))?;
    let name = BundleName::new(&bundle_name).map_err(|error| ApiError::BadRequest(error.to_string()))?;
    let DeployBody { files, message, author } = {
        let mut sent = Body::parse(&intake::read(request, DEPLOY_BYTES_MAX).await?)?;
        if !sent.has_value("files") {
            sent.missing("files");
        }
        let read = DeployBody::read(&mut sent);
        sent.finish()?;
        read
    };
    let authorship = Authorship {
        author: checked(author)?.or_else(|| Some(who.name.clone())),
        message: checked(message)?,
        at: None,
    };
    // Decoding and hashing take a moment for as much as may come.
    let content = tokio::task::spawn_blocking(move || content(&files));
    let content = content.await.map_err(|error| ApiError::Internal(error.to_string()))??;
    let revision = content.hash();
    let new = NewRevision { bundle: &name, revision: &revision, authorship: &authorship, content: &content };
    Ok(Json(in_force(&name, bundles::deploy(&app.pool, who.actor(), &new).await?)))
}

fn checked(text: Option<String>) -> ApiResult<Option<String>> {
    Ok(text.map(Text::new).transpose()?.map(Text::into_string))
}

fn content(files: &Map<String, Value>) -> ApiResult<Content> {
    let mut content = Content::default();
    for (name, value) in files {
        let wrong = || ApiError::BadRequest(format!("file {name:?}: expected its content in base64"));
        let bytes = STANDARD.decode(value.as_str().ok_or_else(wrong)?).map_err(|_| wrong())?;
        content.add(name, &bytes).map_err(|error| ApiError::BadRequest(error.to_string()))?;
    }
    Ok(content)
}

/// Delete Dag Bundle
///
/// One that was pushed, with all of its revisions. It is refused while runs of its DAGs are running. Its DAGs become stale, as those
/// of a file that is deleted; their runs stay.
#[utoipa::path(
    delete, path = "/api/v2/dagBundles/{bundle_name}", operation_id = "delete_dag_bundle", tag = "DagBundle",
    params(BundlePath),
    responses((status = 204, description = "Successful Response"), Errors<404, 409>),
    security(("token" = [Right::ChangeAdmin]))
)]
pub async fn delete(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    BundlePath { bundle_name }: BundlePath,
) -> ApiResult<StatusCode> {
    changes::bundles::delete(&app, &who, &bundle_name).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Rollback Dag Bundle
///
/// Brings a revision that is still kept into force again. A bundle of git stays there until its branch has another commit.
#[utoipa::path(
    post, path = "/api/v2/dagBundles/{bundle_name}/rollback", operation_id = "rollback_dag_bundle", tag = "DagBundle",
    params(BundlePath),
    request_body = RollbackBody,
    responses((status = 200, description = "Successful Response", body = InForceResponse), Errors<400, 404>),
    security(("token" = [Right::ChangeAdmin]))
)]
pub async fn rollback(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    BundlePath { bundle_name }: BundlePath,
    RollbackBody { bundle_version }: RollbackBody,
) -> ApiResult<Json<InForceResponse>> {
    let (name, _) = lookup_bundle(&app, &bundle_name).await?;
    Ok(Json(in_force(&name, bundles::rollback(&app.pool, who.actor(), &name, &bundle_version).await?)))
}

/// Poll Dag Bundle
#[utoipa::path(
    post, path = "/api/v2/dagBundles/{bundle_name}/poll", operation_id = "poll_dag_bundle", tag = "DagBundle",
    params(BundlePath),
    responses((status = 202, description = "Successful Response", body = PollResponse), Errors<404>),
    security(("token" = [Right::ChangeAdmin]))
)]
pub async fn poll(
    State(app): State<App>,
    BundlePath { bundle_name: text }: BundlePath,
) -> ApiResult<(StatusCode, Json<PollResponse>)> {
    let name = bundle_name(&text)?;
    if !bundles::ask_poll(&app.pool, &name).await? {
        return Err(ApiError::NotFound(format!(
            "The DAG bundle with name: `{name}` was not found, or it is not fetched from git"
        )));
    }
    Ok((StatusCode::ACCEPTED, Json(PollResponse { bundle_name: name.to_string(), is_polled: true })))
}

/// Dag Bundle Webhook
///
/// For hosts of git: tells that something was pushed. It is proven by `X-Hub-Signature-256` (GitHub, Gitea, Forgejo) or `X-Gitlab-Token`
/// with the secret of the bundle; without one there is no webhook.
#[utoipa::path(
    post, path = "/api/v2/dagBundles/{bundle_name}/webhook", operation_id = "dag_bundle_webhook", tag = "DagBundle",
    params(BundlePath),
    request_body(content = BTreeMap<String, Value>, description = "What the host tells of the push.", content_type = "application/json"),
    responses(
        (status = 202, description = "Successful Response", body = PollResponse),
        (status = 403, description = "Forbidden", body = HTTPExceptionResponse),
        (status = 503, description = "Service Unavailable", body = HTTPExceptionResponse),
    ),
    security(())
)]
pub async fn webhook(
    State(app): State<App>,
    BundlePath { bundle_name }: BundlePath,
    headers: HeaderMap,
    request: Request,
) -> ApiResult<(StatusCode, Json<PollResponse>)> {
    let body = intake::read(request, webhooks::BODY_BYTES_MAX).await?;
    let heard = webhooks::heard(&app, &bundle_name, &headers, &body).await?;
    Ok((StatusCode::ACCEPTED, Json(PollResponse { bundle_name, is_polled: heard == Heard::Asked })))
}

fn in_force(name: &BundleName, done: InForce) -> InForceResponse {
    InForceResponse { bundle_name: name.to_string(), bundle_version: done.revision, has_changed: done.has_changed }
}

fn shape(bundle: BundleView) -> DagBundleResponse {
    DagBundleResponse {
        view_url: view_url(&bundle),
        name: bundle.name,
        kind: bundle.kind,
        is_active: bundle.is_active,
        bundle_version: bundle.revision,
        author: bundle.author,
        message: bundle.message,
        deployed_by: bundle.made_by,
        in_force_since: bundle.since.map(At),
        passed_over: bundle.passed_over,
        settings: bundle.settings.as_object().cloned().unwrap_or_default().into_iter().collect(),
        last_poll: bundle.polled_at.map(At),
        poll_failures: bundle.poll_failures,
        poll_error: bundle.poll_error,
        dag_count: bundle.dags,
        import_error_count: bundle.broken_files,
    }
}

fn revision(bundle: &BundleName, one: RevisionView) -> BundleRevisionResponse {
    BundleRevisionResponse {
        bundle_name: bundle.to_string(),
        bundle_version: one.revision,
        is_current: one.is_current,
        author: one.author,
        message: one.message,
        authored_at: one.authored_at.map(At),
        deployed_at: At(one.made_at),
        deployed_by: one.made_by,
        deployed_from: one.address,
        door: one.door,
        file_count: one.files,
        byte_count: one.bytes,
    }
}
