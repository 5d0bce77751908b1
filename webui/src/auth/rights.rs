//! Roles, and the table of every route with the right that it asks for.
//!
//! A route that is not in the table is refused for everybody: a new one fails closed.

pub use store::users::Role;

/// What a route does, which decides who may use it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Right {
    /// Read DAGs, runs, task instances, logs, services, pools.
    Read,
    /// Change DAGs and runs: pause, trigger, clear, mark.
    ChangeDags,
    /// Read variables and connections.
    ReadAdmin,
    /// Start, restart and stop services.
    ChangeServices,
    /// Choose how pages look to one's own browser.
    ChangeOwnView,
}

impl Right {
    /// The least role that has it.
    #[must_use]
    pub const fn least_role(self) -> Role {
        match self {
            Self::Read | Self::ChangeOwnView => Role::Viewer,
            Self::ChangeDags => Role::User,
            Self::ReadAdmin | Self::ChangeServices => Role::Op,
        }
    }
}

/// Who may use a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Anybody, without a login.
    Public,
    /// Who is logged in and has the right.
    Needs(Right),
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
#[derive(Debug, Clone, Copy)]
pub struct Route {
    /// `GET`, `POST`, `PATCH`.
    pub method: &'static str,
    /// The path as the router has it.
    pub path: &'static str,
    /// Who may use it.
    pub access: Access,
    /// How it refuses.
    pub face: Face,
    /// Airflow's name of the operation; empty for what is not part of the REST API.
    pub operation: &'static str,
}

const fn public(method: &'static str, path: &'static str, face: Face, operation: &'static str) -> Route {
    Route { method, path, access: Access::Public, face, operation }
}

const fn api(method: &'static str, path: &'static str, right: Right, operation: &'static str) -> Route {
    Route { method, path, access: Access::Needs(right), face: Face::Api, operation }
}

const fn page(method: &'static str, path: &'static str, right: Right) -> Route {
    Route { method, path, access: Access::Needs(right), face: Face::Page, operation: "" }
}

/// Every route.
pub const ROUTES: &[Route] = &[
    public("POST", "/auth/token", Face::Api, "create_token"),
    public("POST", "/auth/token/cli", Face::Api, "create_token_cli"),
    public("GET", "/auth/logout", Face::Page, ""),
    public("POST", "/auth/logout", Face::Page, ""),
    public("GET", "/api/v2/auth/logout", Face::Page, "logout"),
    public("GET", "/api/v2/auth/login", Face::Page, "login"),
    public("GET", "/api/v2/version", Face::Api, "get_version"),
    public("GET", "/api/v2/monitor/health", Face::Api, "get_health"),
    public("GET", "/openapi.json", Face::Api, ""),
    public("GET", "/login", Face::Page, ""),
    public("POST", "/login", Face::Page, ""),
    public("GET", "/static/{file}", Face::Page, ""),
    api("GET", "/api/v2/dags", Right::Read, "get_dags"),
    api("GET", "/api/v2/dags/{dag_id}", Right::Read, "get_dag"),
    api("PATCH", "/api/v2/dags/{dag_id}", Right::ChangeDags, "patch_dag"),
    api("GET", "/api/v2/dags/{dag_id}/details", Right::Read, "get_dag_details"),
    api("GET", "/api/v2/dags/{dag_id}/tasks", Right::Read, "get_tasks"),
    api("GET", "/api/v2/dags/{dag_id}/tasks/{task_id}", Right::Read, "get_task"),
    api("GET", "/api/v2/dagTags", Right::Read, "get_dag_tags"),
    api("GET", "/api/v2/dags/{dag_id}/dagRuns", Right::Read, "get_dag_runs"),
    api("POST", "/api/v2/dags/{dag_id}/dagRuns", Right::ChangeDags, "trigger_dag_run"),
    api("GET", "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}", Right::Read, "get_dag_run"),
    api("PATCH", "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}", Right::ChangeDags, "patch_dag_run"),
    api("POST", "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/clear", Right::ChangeDags, "clear_dag_run"),
    api("GET", "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances", Right::Read, "get_task_instances"),
    api("GET", "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}", Right::Read, "get_task_instance"),
    api(
        "GET",
        "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}/{map_index}",
        Right::Read,
        "get_mapped_task_instance",
    ),
    api(
        "GET",
        "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}/tries",
        Right::Read,
        "get_task_instance_tries",
    ),
    api(
        "GET",
        "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}/logs/{try_number}",
        Right::Read,
        "get_log",
    ),
    api("POST", "/api/v2/dags/{dag_id}/clearTaskInstances", Right::ChangeDags, "post_clear_task_instances"),
    api("GET", "/api/v2/importErrors", Right::Read, "get_import_errors"),
    api("GET", "/api/v2/importErrors/{import_error_id}", Right::Read, "get_import_error"),
    api("GET", "/api/v2/pools", Right::Read, "get_pools"),
    api("GET", "/api/v2/variables", Right::ReadAdmin, "get_variables"),
    api("GET", "/api/v2/connections", Right::ReadAdmin, "get_connections"),
    page("GET", "/", Right::Read),
    page("GET", "/dags", Right::Read),
    page("GET", "/dags/{dag_id}", Right::Read),
    page("GET", "/dags/{dag_id}/trigger", Right::Read),
    page("POST", "/dags/{dag_id}/trigger", Right::ChangeDags),
    page("POST", "/dags/{dag_id}/pause", Right::ChangeDags),
    page("GET", "/dags/{dag_id}/runs/{run_id}", Right::Read),
    page("GET", "/dags/{dag_id}/runs/{run_id}/tasks/{task_id}", Right::Read),
    page("GET", "/dags/{dag_id}/runs/{run_id}/tasks/{task_id}/log", Right::Read),
    page("GET", "/dags/{dag_id}/runs/{run_id}/tasks/{task_id}/log.txt", Right::Read),
    page("POST", "/dags/{dag_id}/runs/{run_id}/tasks/{task_id}/mark", Right::ChangeDags),
    page("GET", "/dags/{dag_id}/runs/{run_id}/clear", Right::Read),
    page("POST", "/dags/{dag_id}/runs/{run_id}/clear", Right::ChangeDags),
    page("POST", "/dags/{dag_id}/runs/{run_id}/mark", Right::ChangeDags),
    page("GET", "/runs", Right::Read),
    page("GET", "/services", Right::Read),
    page("GET", "/services/{dag_id}/{name}/{replica}/log", Right::Read),
    page("POST", "/services/{dag_id}/{name}/{action}", Right::ChangeServices),
    page("GET", "/import-errors", Right::Read),
    page("GET", "/search", Right::Read),
    page("GET", "/preferences", Right::Read),
    page("POST", "/preferences", Right::ChangeOwnView),
    page("GET", "/events", Right::Read),
];

/// The route of a method and a path of the router. `HEAD` is `GET` without a body.
#[must_use]
pub fn route(method: &str, path: &str) -> Option<&'static Route> {
    let method = if method == "HEAD" { "GET" } else { method };
    ROUTES.iter().find(|route| route.method == method && route.path == path)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_route_stands_once_in_the_table() {
        let distinct: BTreeSet<_> = ROUTES.iter().map(|route| (route.method, route.path)).collect();
        assert_eq!(distinct.len(), ROUTES.len());
    }

    #[test]
    fn what_changes_something_is_never_public_but_the_login() {
        let open: Vec<_> = ROUTES
            .iter()
            .filter(|route| route.access == Access::Public && route.method != "GET")
            .map(|route| route.path)
            .collect();
        assert_eq!(open, ["/auth/token", "/auth/token/cli", "/auth/logout", "/login"]);
    }

    #[test]
    fn a_viewer_changes_nothing_but_its_own_view() {
        let own_view = Access::Needs(Right::ChangeOwnView);
        let changes = ROUTES.iter().filter(|route| route.method != "GET" && route.access != own_view);
        for route in changes {
            if let Access::Needs(right) = route.access {
                assert!(right.least_role() > Role::Viewer, "{} {}", route.method, route.path);
            }
        }
    }
}
