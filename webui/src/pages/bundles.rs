//! Where DAG files come from: the DAG folder, repositories, what people push; which revision is in force, and how the last poll went.

use axum::{
    Extension,
    extract::State,
    http::HeaderMap,
    response::{IntoResponse, Redirect, Response},
};
use model::BundleName;
use schemars::JsonSchema;
use serde::Serialize;
use store::{
    bundles,
    read::{self, BundleView, RevisionView, Window},
};

use super::{
    Frame, Place,
    error::PageResult,
    forms::Deletion,
    show as print,
    words::{self, Clock, Moment, count},
};
use crate::{
    app::App,
    auth::{Principal, form::PageForm},
    changes,
    http::query::Query,
    reads::bundles::{bundle_name, lookup_bundle, view_url},
};

/// So many of the newest revisions of a bundle are shown; the command line and REST have all.
const REVISIONS_SHOWN_MAX: i64 = 5;

/// What the page shows.
#[derive(Serialize, JsonSchema)]
pub struct View {
    frame: Frame,
    bundles: Vec<Row>,
}

/// A bundle.
#[derive(Serialize, JsonSchema)]
struct Row {
    name: String,
    kind: String,
    is_active: bool,
    dags: String,
    broken: Option<String>,
    source: Option<String>,
    view_url: Option<String>,
    poll: Option<Poll>,
    passed_over: Option<String>,
    revisions: Vec<Revision>,
    more: i64,
    /// Whether it can be deleted.
    can_go: bool,
}

/// How a repository was polled last.
#[derive(Serialize, JsonSchema)]
struct Poll {
    at: Option<Moment>,
    error: Option<String>,
    failures: String,
}

#[derive(Serialize, JsonSchema)]
struct Revision {
    revision: String,
    short: String,
    is_current: bool,
    author: Option<String>,
    message: Option<String>,
    by: String,
    from: Option<String>,
    at: Moment,
    size: String,
}

/// `GET /bundles`.
pub async fn show(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    headers: HeaderMap,
) -> PageResult<Response> {
    let clock = Clock::of(&who);
    let mut rows = Vec::new();
    for bundle in read::bundles(&app.pool, None).await? {
        let window = Window { limit: REVISIONS_SHOWN_MAX, offset: 0 };
        let (revisions, total) = match bundle_name(&bundle.name) {
            Ok(name) if !name.is_folder() => read::revisions(&app.pool, &name, window).await?,
            Ok(_) | Err(_) => (Vec::new(), 0),
        };
        rows.push(row(bundle, revisions, total, &clock));
    }
    let frame = Frame::new(&app, &who, Place::Bundles, "DAG bundles").await?;
    Ok(print(&headers, &View { frame, bundles: rows })?)
}

/// `POST /bundles/rollback`.
pub async fn rollback(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    form: PageForm,
) -> PageResult<Response> {
    let (name, _) = lookup_bundle(&app, form.text("bundle_name")).await?;
    bundles::rollback(&app.pool, who.actor(), &name, form.text("bundle_version"))
        .await
        .map_err(crate::error::ApiError::from)?;
    Ok(Redirect::to("/bundles").into_response())
}

/// The question, and the words around it.
const DELETION: Deletion = Deletion {
    place: Place::Bundles,
    kind: "bundle",
    back: ("/bundles", "DAG bundles"),
    consequence: "All of its revisions go. Its DAGs become stale, as those of a file that is deleted; their runs stay.",
    action: "/bundles/delete",
    member: "name",
};

/// `GET /bundles/delete?name=…`: asks.
pub async fn ask(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    headers: HeaderMap,
    query: Query,
) -> PageResult<Response> {
    let (name, _) = lookup_bundle(&app, query.text("name").unwrap_or_default()).await?;
    DELETION.ask(&app, &who, &headers, name.to_string()).await
}

/// `POST /bundles/delete`.
pub async fn delete(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    form: PageForm,
) -> PageResult<Response> {
    changes::bundles::delete(&app, &who, form.text("name")).await?;
    Ok(Redirect::to("/bundles").into_response())
}

/// `POST /bundles/poll`.
pub async fn poll(State(app): State<App>, form: PageForm) -> PageResult<Response> {
    let (name, _) = lookup_bundle(&app, form.text("bundle_name")).await?;
    // One that is not polled has no such button.
    let _is_polled = bundles::ask_poll(&app.pool, &name).await.map_err(crate::error::ApiError::from)?;
    Ok(Redirect::to("/bundles").into_response())
}

fn row(bundle: BundleView, revisions: Vec<RevisionView>, total: i64, clock: &Clock) -> Row {
    let text = |name: &str| bundle.settings[name].as_str().map(str::to_owned);
    let source = match (text("repo_url"), text("tracking_ref"), text("subdir")) {
        (Some(url), Some(branch), Some(subdir)) => Some(format!("{url}, {branch}, below {subdir}")),
        (Some(url), Some(branch), None) => Some(format!("{url}, {branch}")),
        _ => None,
    };
    let poll = (bundle.kind == "git").then(|| Poll {
        at: bundle.polled_at.map(|at| clock.moment(at)),
        error: bundle.poll_error.clone(),
        failures: count(usize::try_from(bundle.poll_failures).unwrap_or(0), "failure"),
    });
    let number = |number: i64| usize::try_from(number).unwrap_or(0);
    Row {
        can_go: bundle.kind == "pushed" || (bundle.kind == "git" && !bundle.is_active),
        view_url: view_url(&bundle),
        dags: count(number(bundle.dags), "DAG"),
        broken: (bundle.broken_files > 0).then(|| count(number(bundle.broken_files), "file")),
        more: (total - REVISIONS_SHOWN_MAX).max(0),
        revisions: revisions.into_iter().map(|one| revision(one, clock)).collect(),
        passed_over: bundle.passed_over.as_deref().map(short),
        kind: match bundle.name.as_str() {
            BundleName::FOLDER => "the DAG folder of the schedulers".to_owned(),
            _ if bundle.kind == "git" => "from git".to_owned(),
            _ => "pushed".to_owned(),
        },
        name: bundle.name,
        is_active: bundle.is_active,
        source,
        poll,
    }
}

fn revision(one: RevisionView, clock: &Clock) -> Revision {
    let title = |message: String| message.lines().next().unwrap_or_default().to_owned();
    Revision {
        short: short(&one.revision),
        revision: one.revision,
        is_current: one.is_current,
        author: one.author,
        message: one.message.map(title),
        by: one.made_by,
        from: one.address.or(one.door),
        at: clock.moment(one.made_at),
        size: format!("{}, {} bytes", count(usize::try_from(one.files).unwrap_or(0), "file"), words::number(one.bytes)),
    }
}

/// As much of a revision as people compare.
fn short(revision: &str) -> String {
    revision.chars().take(12).collect()
}
