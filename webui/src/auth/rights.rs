//! Roles, rights, and the routes whose access is written here: pages, and what does not declare itself yet (see
//! [`crate::declare`] for what does).
//!
//! A route that neither declares its right nor stands here is refused for everybody: a new one fails closed.

use std::borrow::Cow;

pub use store::users::{Right, Role};

/// Who may use a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Anybody, without a login.
    Public,
    /// A worker that shows what its join token gives it.
    JoinToken,
    /// Who is logged in and has the right.
    Needs(Right),
    /// Nobody: it was not said who.
    Closed,
}

/// Whether a route answers programs or people, which decides how it refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Face {
    /// JSON.
    Api,
    /// A page: whoever is not logged in is sent to the login page.
    Page,
}

/// One route.
#[derive(Debug, Clone)]
pub struct Route {
    /// `GET`, `POST`, `PATCH`.
    pub method: Cow<'static, str>,
    /// The path as the router has it.
    pub path: Cow<'static, str>,
    /// Who may use it.
    pub access: Access,
    /// How it refuses.
    pub face: Face,
    /// Airflow's name of the operation; empty for what is not part of the REST API.
    pub operation: Cow<'static, str>,
}

const fn public(method: &'static str, path: &'static str, face: Face, operation: &'static str) -> Route {
    Route {
        method: Cow::Borrowed(method),
        path: Cow::Borrowed(path),
        access: Access::Public,
        face,
        operation: Cow::Borrowed(operation),
    }
}

const fn worker(method: &'static str, path: &'static str) -> Route {
    Route {
        method: Cow::Borrowed(method),
        path: Cow::Borrowed(path),
        access: Access::JoinToken,
        face: Face::Api,
        operation: Cow::Borrowed(""),
    }
}

const fn rest(method: &'static str, path: &'static str, right: Right, operation: &'static str) -> Route {
    Route {
        method: Cow::Borrowed(method),
        path: Cow::Borrowed(path),
        access: Access::Needs(right),
        face: Face::Api,
        operation: Cow::Borrowed(operation),
    }
}

const fn page(method: &'static str, path: &'static str, right: Right) -> Route {
    Route {
        method: Cow::Borrowed(method),
        path: Cow::Borrowed(path),
        access: Access::Needs(right),
        face: Face::Page,
        operation: Cow::Borrowed(""),
    }
}

/// Every route that does not declare itself.
pub const WRITTEN: &[Route] = &[
    public("GET", "/auth/logout", Face::Page, ""),
    public("POST", "/auth/logout", Face::Page, ""),
    // Numbers, states and names of pools; no secret, no text of users. Prometheus logs in nowhere.
    public("GET", "/metrics", Face::Api, ""),
    public("GET", "/openapi.json", Face::Api, ""),
    public("GET", "/login", Face::Page, ""),
    public("POST", "/login", Face::Page, ""),
    public("GET", "/auth/oidc/login", Face::Page, ""),
    public("GET", "/auth/oidc/callback", Face::Page, ""),
    public("GET", "/static/{file}", Face::Page, ""),
    worker("GET", "/link/endpoint"),
    // Connections whose ids are words that are routes of their own.
    rest("GET", "/api/v2/connections/test", Right::ReadAdmin, ""),
    rest("PATCH", "/api/v2/connections/test", Right::ChangeAdmin, ""),
    rest("DELETE", "/api/v2/connections/test", Right::ChangeAdmin, ""),
    rest("GET", "/api/v2/connections/defaults", Right::ReadAdmin, ""),
    rest("PATCH", "/api/v2/connections/defaults", Right::ChangeAdmin, ""),
    rest("DELETE", "/api/v2/connections/defaults", Right::ChangeAdmin, ""),
    rest("PATCH", "/api/v2/connections/enqueue-test", Right::ChangeAdmin, ""),
    rest("DELETE", "/api/v2/connections/enqueue-test", Right::ChangeAdmin, ""),
    page("GET", "/", Right::Read),
    page("GET", "/dags", Right::Read),
    page("GET", "/dags/{dag_id}", Right::Read),
    page("GET", "/dags/{dag_id}/trigger", Right::Read),
    page("POST", "/dags/{dag_id}/trigger", Right::ChangeDags),
    page("GET", "/dags/{dag_id}/backfill", Right::Read),
    page("POST", "/dags/{dag_id}/backfill", Right::ChangeDags),
    page("POST", "/dags/{dag_id}/backfills/{backfill_id}/{action}", Right::ChangeDags),
    page("POST", "/dags/{dag_id}/pause", Right::ChangeDags),
    page("POST", "/dags/{dag_id}/drain", Right::ChangeDags),
    page("POST", "/dags/{dag_id}/favorite", Right::Read),
    page("GET", "/dags/{dag_id}/runs/{run_id}", Right::Read),
    page("GET", "/dags/{dag_id}/runs/{run_id}/tasks/{task_id}", Right::Read),
    page("GET", "/dags/{dag_id}/runs/{run_id}/tasks/{task_id}/log", Right::Read),
    page("GET", "/dags/{dag_id}/runs/{run_id}/tasks/{task_id}/log.txt", Right::Read),
    page("POST", "/dags/{dag_id}/runs/{run_id}/tasks/{task_id}/mark", Right::ChangeDags),
    page("POST", "/dags/{dag_id}/runs/{run_id}/tasks/{task_id}/answer", Right::ChangeDags),
    page("GET", "/dags/{dag_id}/runs/{run_id}/clear", Right::Read),
    page("POST", "/dags/{dag_id}/runs/{run_id}/clear", Right::ChangeDags),
    page("POST", "/dags/{dag_id}/runs/{run_id}/mark", Right::ChangeDags),
    page("GET", "/runs", Right::Read),
    page("GET", "/assets", Right::Read),
    page("GET", "/assets/{asset_id}", Right::Read),
    page("POST", "/assets/{asset_id}/{action}", Right::ChangeDags),
    page("GET", "/services", Right::Read),
    page("GET", "/services/{dag_id}/{name}/{replica}/log", Right::Read),
    page("POST", "/services/{dag_id}/{name}/{action}", Right::ChangeServices),
    page("GET", "/approvals", Right::Read),
    page("GET", "/import-errors", Right::Read),
    page("GET", "/bundles", Right::Read),
    page("GET", "/bundles/delete", Right::ChangeAdmin),
    page("POST", "/bundles/delete", Right::ChangeAdmin),
    page("POST", "/bundles/poll", Right::ChangeAdmin),
    page("POST", "/bundles/rollback", Right::ChangeAdmin),
    page("POST", "/quarantine/release", Right::ChangeAdmin),
    page("GET", "/pools", Right::Read),
    page("GET", "/pools/new", Right::ChangeAdmin),
    page("POST", "/pools/new", Right::ChangeAdmin),
    page("GET", "/pools/edit", Right::ChangeAdmin),
    page("POST", "/pools/edit", Right::ChangeAdmin),
    page("GET", "/pools/delete", Right::ChangeAdmin),
    page("POST", "/pools/delete", Right::ChangeAdmin),
    page("GET", "/connections", Right::ReadAdmin),
    page("GET", "/connections/new", Right::ChangeAdmin),
    page("POST", "/connections/new", Right::ChangeAdmin),
    page("GET", "/connections/edit", Right::ChangeAdmin),
    page("POST", "/connections/edit", Right::ChangeAdmin),
    page("GET", "/connections/delete", Right::ChangeAdmin),
    page("POST", "/connections/delete", Right::ChangeAdmin),
    page("GET", "/variables", Right::ReadAdmin),
    page("GET", "/variables/new", Right::ChangeAdmin),
    page("POST", "/variables/new", Right::ChangeAdmin),
    page("GET", "/variables/edit", Right::ChangeAdmin),
    page("POST", "/variables/edit", Right::ChangeAdmin),
    page("GET", "/variables/delete", Right::ChangeAdmin),
    page("POST", "/variables/delete", Right::ChangeAdmin),
    page("GET", "/users", Right::ManageUsers),
    page("GET", "/users/new", Right::ManageUsers),
    page("POST", "/users/new", Right::ManageUsers),
    page("GET", "/users/edit", Right::ManageUsers),
    page("POST", "/users/edit", Right::ManageUsers),
    page("GET", "/users/delete", Right::ManageUsers),
    page("POST", "/users/delete", Right::ManageUsers),
    page("GET", "/users/sessions", Right::ManageUsers),
    page("POST", "/users/sessions", Right::ManageUsers),
    page("GET", "/roles", Right::ManageUsers),
    page("GET", "/roles/new", Right::ManageUsers),
    page("POST", "/roles/new", Right::ManageUsers),
    page("GET", "/roles/edit", Right::ManageUsers),
    page("POST", "/roles/edit", Right::ManageUsers),
    page("GET", "/roles/delete", Right::ManageUsers),
    page("POST", "/roles/delete", Right::ManageUsers),
    page("GET", "/audit", Right::ReadAdmin),
    page("GET", "/forecast", Right::Read),
    page("GET", "/notifications", Right::Read),
    page("GET", "/account", Right::OwnAccount),
    page("POST", "/account", Right::OwnAccount),
    page("GET", "/account/tokens", Right::OwnAccount),
    page("POST", "/account/tokens", Right::OwnAccount),
    page("POST", "/account/tokens/revoke", Right::OwnAccount),
    page("GET", "/docs", Right::ChangeOwnView),
    page("GET", "/search", Right::Read),
    page("GET", "/preferences", Right::ChangeOwnView),
    page("POST", "/preferences", Right::ChangeOwnView),
    page("GET", "/events", Right::Read),
];

/// The operations and pages of all DAGs that tell who may see some DAGs of these alone, by method and path. Any other route that
/// names no DAG is for those who may see, or change, every DAG: a new one fails closed.
pub const NARROWED: &[(&str, &str)] = &[
    ("GET", "/"),
    ("GET", "/dags"),
    ("GET", "/runs"),
    ("GET", "/search"),
    ("GET", "/services"),
    ("GET", "/approvals"),
    ("GET", "/notifications"),
    ("GET", "/assets"),
    ("GET", "/assets/{asset_id}"),
    // A stream tells of the subjects that its user may see.
    ("GET", "/events"),
    ("GET", "/api/v2/dags"),
    ("GET", "/api/v2/dagStats"),
    ("GET", "/api/v2/dagTags"),
    ("GET", "/api/v2/dagWarnings"),
    ("GET", "/api/v2/notifications"),
    ("GET", "/api/v2/assets"),
    ("GET", "/api/v2/assets/{asset_id}"),
    ("GET", "/api/v2/assets/aliases"),
    ("GET", "/api/v2/assets/aliases/{asset_alias_id}"),
    ("GET", "/api/v2/assets/events"),
    ("GET", "/api/v2/assets/{asset_id}/queuedEvents"),
    ("GET", "/api/v2/dags/{dag_id}/dagRuns"),
    ("POST", "/api/v2/dags/{dag_id}/dagRuns/list"),
    ("GET", "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances"),
    ("POST", "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/list"),
    ("GET", "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}/xcomEntries"),
    ("GET", "/api/v2/dags/{dag_id}/dagVersions"),
    ("GET", "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/hitlDetails"),
];
