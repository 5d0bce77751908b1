//! The pages: one file and one view struct each. A handler gathers, the view words it, the template only prints.
//!
//! A page is served whole. Asked with the header `windlass-fragment`, it answers with its live part alone, which the
//! script swaps in when something has changed.

pub mod audit;
pub mod clear;
pub mod connections;
pub mod dag;
pub mod dags;
pub mod error;
pub mod forms;
pub mod graph;
pub mod import_errors;
pub mod login;
pub mod pools;
pub mod run;
pub mod run_log;
pub mod runs;
pub mod services;
pub mod state;
pub mod trigger;
pub mod users;
pub mod variables;
pub mod words;

use axum::{
    http::HeaderMap,
    response::{Html, IntoResponse, Redirect, Response},
};
use link::{Query, Reply};
use serde::Serialize;
use store::read;

use crate::{
    app::App,
    assets,
    auth::{Principal, rights::Right},
    error::{ApiError, ApiResult},
};

/// The header by which the script asks for the live part of a page.
const FRAGMENT: &str = "windlass-fragment";

/// Which page of the rail is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Place {
    /// The DAGs and everything of one DAG.
    Dags,
    /// Runs of all DAGs.
    Runs,
    /// Services.
    Services,
    /// Mistakes in DAG files.
    ImportErrors,
    /// Pools.
    Pools,
    /// Connections.
    Connections,
    /// Variables.
    Variables,
    /// The audit log.
    Audit,
    /// Users.
    Users,
    /// One's own password.
    Account,
}

/// What stands around every page.
#[derive(Debug, Clone, Serialize)]
pub struct Frame {
    title: String,
    place: Place,
    user: String,
    role: &'static str,
    csrf: String,
    may_change: bool,
    may_control: bool,
    may_admin: bool,
    may_manage_users: bool,
    foot: Foot,
    import_errors: usize,
}

/// How the cluster stands, at the foot of the rail.
#[derive(Debug, Clone, Serialize)]
struct Foot {
    leader: String,
    workers: String,
    well: bool,
}

impl Frame {
    /// Gathers what every page shows.
    ///
    /// # Errors
    /// When PostgreSQL does not answer.
    pub async fn new(app: &App, who: &Principal, place: Place, title: impl Into<String>) -> ApiResult<Self> {
        let (foot, errors) = tokio::join!(foot(app), read::import_errors(&app.pool));
        let mut files: Vec<String> = errors?.into_iter().map(|error| error.file).collect();
        files.dedup();
        let may = |right: Right| who.role >= right.least_role();
        Ok(Self {
            title: title.into(),
            place,
            user: who.name.clone(),
            role: who.role.name(),
            csrf: app.tokens.form_token(who.token_id),
            may_change: may(Right::ChangeDags),
            may_control: may(Right::ChangeServices),
            may_admin: may(Right::ChangeAdmin),
            may_manage_users: may(Right::ManageUsers),
            foot,
            import_errors: files.len(),
        })
    }
}

async fn foot(app: &App) -> Foot {
    match app.leader.ask(Query::Cluster).await {
        Ok(Reply::Cluster(view)) => {
            let alive: Vec<_> = view.workers.iter().filter(|worker| worker.alive).collect();
            let slots: u32 = alive.iter().map(|worker| worker.slots).sum();
            let used: u32 = alive.iter().map(|worker| worker.used).sum();
            Foot {
                leader: format!("leader {}", view.leader),
                workers: format!("{} · {used} of {slots} slots", words::count(alive.len(), "worker")),
                well: !alive.is_empty(),
            }
        }
        Ok(_) | Err(_) => {
            Foot { leader: "no leader answers".to_owned(), workers: "nothing new starts".to_owned(), well: false }
        }
    }
}

/// A page or its live part, by what was asked for.
///
/// # Errors
/// [`ApiError::Internal`] when a template asks for what its view does not have.
pub fn show(headers: &HeaderMap, name: &str, view: &impl Serialize) -> ApiResult<Response> {
    let template = if headers.contains_key(FRAGMENT) { format!("{name}_live.html") } else { format!("{name}.html") };
    let html = assets::render(&template, view)
        .map_err(|error| ApiError::Internal(format!("the template {template} could not be printed: {error:?}")))?;
    Ok(([("vary", FRAGMENT)], Html(html)).into_response())
}

/// `GET /`: the DAGs.
pub async fn home() -> Redirect {
    Redirect::to("/dags")
}

/// One segment of a path.
#[must_use]
pub fn segment(text: &str) -> String {
    // Form encoding writes a space as `+`, which ids do not have; `~`, `:` and `+` of run ids come out encoded.
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

/// The address of a DAG's page.
#[must_use]
pub fn dag_url(dag_id: &model::DagId) -> String {
    format!("/dags/{}", segment(dag_id.as_str()))
}

/// The address of a run's page.
#[must_use]
pub fn run_url(dag_id: &model::DagId, run_id: &model::RunId) -> String {
    format!("{}/runs/{}", dag_url(dag_id), segment(run_id.as_str()))
}

/// The sentence of the leader, or why there is none.
pub async fn why(app: &App, query: Query) -> (Option<String>, Vec<link::query::TaskWhy>) {
    match app.leader.ask(query).await {
        Ok(Reply::Why { sentence, tasks }) => (Some(sentence).filter(|text| !text.is_empty()), tasks),
        Ok(_) => (None, Vec::new()),
        Err(error) => (Some(error.to_string()), Vec::new()),
    }
}
