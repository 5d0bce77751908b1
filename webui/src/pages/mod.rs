//! The pages: one file and one view struct each. A handler gathers, the view words it, the template only prints.
//!
//! A page is served whole. Asked with the header `windlass-fragment`, it answers with its live part alone, which the
//! script swaps in when something has changed.

pub mod approvals;
pub mod asset;
pub mod asset_list;
pub mod audit;
pub mod backfill;
pub mod bundles;
pub mod clear;
pub mod connections;
pub mod dag;
pub mod dags;
pub mod docs;
pub mod error;
pub mod forecast;
pub mod forms;
pub mod import_errors;
mod lineage;
pub mod login;
mod markdown;
pub mod notifications;
pub mod oidc;
pub mod picture;
pub mod pools;
pub mod preferences;
pub mod roles;
pub mod run;
pub mod run_log;
pub mod runs;
pub mod search;
pub mod services;
pub mod state;
pub mod task;
pub mod tokens;
pub mod trigger;
pub mod users;
pub mod variables;
pub mod view;

use axum::{
    http::HeaderMap,
    response::{Html, IntoResponse, Redirect, Response},
};
use link::{Query, Reply};
pub use model::page::segment;
use schemars::JsonSchema;
use serde::Serialize;
use store::read::{self, FileFilter};

use view::{Page, Part};

use crate::{
    app::App,
    assets,
    auth::{Principal, rights::Right},
    error::ApiResult,
    live::{FRAGMENT, Watched, is_fragment},
    reads::instances::TaskOfRun,
    words,
};

/// Which page of the rail is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Place {
    /// The DAGs and everything of one DAG.
    Dags,
    /// Runs of all DAGs.
    Runs,
    /// Assets.
    Assets,
    /// Services.
    Services,
    /// Mistakes in DAG files.
    ImportErrors,
    /// Where DAG files come from.
    Bundles,
    /// Pools.
    Pools,
    /// Connections.
    Connections,
    /// Variables.
    Variables,
    /// The audit log.
    Audit,
    /// What will happen.
    Forecast,
    /// What was told to the outside.
    Notifications,
    /// Questions of tasks.
    Approvals,
    /// Users.
    Users,
    /// Roles.
    Roles,
    /// What the REST API has.
    Docs,
    /// One's own password.
    Account,
    /// What belongs to no page of the rail.
    Elsewhere,
}

/// What stands around every page.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Frame {
    title: String,
    place: Place,
    user: String,
    roles: String,
    csrf: String,
    may_change: bool,
    may_read_all: bool,
    may_control: bool,
    may_admin: bool,
    may_manage_users: bool,
    foot: Foot,
    import_errors: usize,
    theme: &'static str,
    zone: &'static str,
    /// How far changes had been heard of when the page was asked for.
    seen: String,
}

/// How the cluster stands, at the foot of the rail.
#[derive(Debug, Clone, Serialize, JsonSchema)]
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
        let all = FileFilter::default();
        let (foot, broken) = tokio::join!(foot(app), async {
            // Files are of all DAGs.
            if who.may(Right::Read) { read::broken_file_count(&app.pool, &all).await } else { Ok(0) }
        });
        let broken = broken?;
        let may = |right: Right| who.may(right);
        Ok(Self {
            title: title.into(),
            place,
            user: who.name.clone(),
            roles: who.roles.clone(),
            // What is rendered for all who may do the same has no session: the script gives its forms the page's token.
            csrf: if who.token_id.is_nil() { String::new() } else { app.tokens.form_token(who.token_id) },
            may_change: who.permissions.has_somewhere(Right::ChangeDags),
            may_read_all: may(Right::Read),
            may_control: may(Right::ChangeServices),
            may_admin: may(Right::ChangeAdmin),
            may_manage_users: may(Right::ManageUsers),
            foot,
            import_errors: usize::try_from(broken).unwrap_or(0),
            theme: who.prefs.theme.name(),
            zone: who.prefs.zone.name(),
            seen: who.came_at.to_string(),
        })
    }

    /// Of a page that is about one DAG: what may be done is what may be done with it.
    #[must_use]
    pub fn about(self, who: &Principal, dag_id: &model::DagId) -> Self {
        Self { may_change: who.permissions.has_on(Right::ChangeDags, dag_id.as_str()), ..self }
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
/// [`crate::error::ApiError::Internal`] when a template asks for what its view does not have.
pub fn show(headers: &HeaderMap, view: &impl Page) -> ApiResult<Response> {
    let html = assets::render(if is_fragment(headers) { Part::Live } else { Part::Page }, view)?;
    Ok(([("vary", FRAGMENT)], Html(html)).into_response())
}

/// The same of a page that is told when what it shows has changed.
///
/// # Errors
/// As [`show`].
pub fn show_live(headers: &HeaderMap, view: &impl Page, watched: Watched) -> ApiResult<Response> {
    let mut page = show(headers, view)?;
    page.extensions_mut().insert(watched);
    Ok(page)
}

/// `GET /`: the DAGs.
pub async fn home() -> Redirect {
    Redirect::to("/dags")
}

/// The address of a DAG's page.
#[must_use]
pub fn dag_url(dag_id: &model::DagId) -> String {
    model::page::of_dag(dag_id)
}

/// The address of a run's page.
#[must_use]
pub fn run_url(dag_id: &model::DagId, run_id: &model::RunId) -> String {
    model::page::of_run(dag_id, run_id)
}

/// The address of a task instance's page.
#[must_use]
pub fn task_url(of: &TaskOfRun) -> String {
    task_page(of, of.key.map)
}

/// The same without saying which instance.
#[must_use]
pub fn task_path(of: &TaskOfRun) -> String {
    task_page(of, model::MapIndex::UNMAPPED)
}

fn task_page(of: &TaskOfRun, map: model::MapIndex) -> String {
    model::page::of_task((&of.run.dag_id, &of.run.run_id), &of.task().task_id, map)
}

/// An address with one more parameter.
#[must_use]
pub fn with_query(url: &str, name: &str, value: &str) -> String {
    let sign = if url.contains('?') { '&' } else { '?' };
    format!("{url}{sign}{name}={}", segment(value))
}

/// A fact of a page's head: its name, its words, the exact form of them, and where they lead.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Fact(&'static str, String, Option<String>, Option<String>);

impl Fact {
    /// A fact in words.
    #[must_use]
    pub fn new(name: &'static str, words: impl Into<String>) -> Self {
        Self(name, words.into(), None, None)
    }

    /// An instant, with its exact time on hover.
    #[must_use]
    pub fn at(name: &'static str, moment: words::Moment) -> Self {
        Self(name, moment.words, Some(moment.exact), None)
    }

    /// The same, with the exact form of its words.
    #[must_use]
    pub fn exactly(self, exact: impl Into<String>) -> Self {
        Self(self.0, self.1, Some(exact.into()), self.3)
    }

    /// The same, as a link.
    #[must_use]
    pub fn to(self, url: impl Into<String>) -> Self {
        Self(self.0, self.1, self.2, Some(url.into()))
    }
}

/// A part of a page with its own address.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Tab {
    word: &'static str,
    url: String,
    chosen: bool,
}

/// The tabs of a page: name in the address and word. The first one is shown when the address names none.
#[must_use]
pub fn tabs(url: &str, chosen: &str, all: &[(&'static str, &'static str)]) -> Vec<Tab> {
    let known = all.iter().any(|(name, _)| *name == chosen);
    let tab = |(number, (name, word)): (usize, &(&'static str, &'static str))| Tab {
        word,
        url: if number == 0 { url.to_owned() } else { with_query(url, "tab", name) },
        chosen: if known { *name == chosen } else { number == 0 },
    };
    all.iter().enumerate().map(tab).collect()
}

/// The sentence of the leader, or why there is none.
pub async fn why(app: &App, query: Query) -> (Option<String>, Vec<link::query::TaskWhy>) {
    match app.leader.ask(query).await {
        Ok(Reply::Why { sentence, tasks }) => (Some(sentence).filter(|text| !text.is_empty()), tasks),
        Ok(_) => (None, Vec::new()),
        Err(error) => (Some(error.to_string()), Vec::new()),
    }
}
