//! Every route with the access that it asks for: what the operations of the REST API declare, and what is written in
//! [`rights::WRITTEN`] for pages and for resources that declare nothing yet.

use std::{collections::BTreeMap, sync::OnceLock};

use serde_json::Value;

use super::rights::{Access, Face, Right, Route, WRITTEN};

/// How the document of the operations names the one way to say who asks.
pub const SECURITY_SCHEME: &str = "token";

/// Paths of the router, each with its routes.
type Table = BTreeMap<String, Vec<Route>>;

static TABLE: OnceLock<Table> = OnceLock::new();

/// Hands down what the operations declare, which stand above this module; those of the first call stay.
pub fn hand_down(declared: impl FnOnce() -> Value) {
    TABLE.get_or_init(|| {
        let mut table = Table::new();
        for route in routes_of(&declared()).into_iter().chain(WRITTEN.iter().cloned()) {
            table.entry(route.path.to_string()).or_default().push(route);
        }
        table
    });
}

/// Every route; none before they were handed down.
pub fn routes() -> impl Iterator<Item = &'static Route> {
    TABLE.get().into_iter().flat_map(BTreeMap::values).flatten()
}

/// The routes of a path as the router has it; none when nobody said who may use it.
#[must_use]
pub fn routes_at(path: &str) -> &'static [Route] {
    TABLE.get().and_then(|table| table.get(path)).map_or(&[], Vec::as_slice)
}

/// The route of a method and a path of the router. `HEAD` is `GET` without a body.
#[must_use]
pub fn route(method: &str, path: &str) -> Option<&'static Route> {
    let method = if method == "HEAD" { "GET" } else { method };
    routes_at(path).iter().find(|route| route.method == method)
}

/// What a document declares.
fn routes_of(document: &Value) -> Vec<Route> {
    let members = |value: &Value| value.as_object().cloned().unwrap_or_default();
    let mut found = Vec::new();
    for (path, item) in members(&document["paths"]) {
        for (method, operation) in members(&item).into_iter().filter(|(_, operation)| operation.is_object()) {
            found.push(Route {
                method: method.to_ascii_uppercase().into(),
                path: path.clone().into(),
                access: access(&operation["security"]),
                face: Face::Api,
                operation: operation["operationId"].as_str().unwrap_or_default().to_owned().into(),
            });
        }
    }
    found
}

/// Who may use an operation. One that does not say it, or says it in another way than ours, is for nobody.
fn access(security: &Value) -> Access {
    let [requirement] = security.as_array().map_or(&[][..], Vec::as_slice) else { return Access::Closed };
    let Some(schemes) = requirement.as_object() else { return Access::Closed };
    if schemes.is_empty() {
        return Access::Public;
    }
    let right = match schemes.get(SECURITY_SCHEME).and_then(Value::as_array).map(Vec::as_slice) {
        Some([name]) if schemes.len() == 1 => name.as_str().and_then(Right::named),
        _ => None,
    };
    right.map_or(Access::Closed, Access::Needs)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::json;

    use super::*;
    use crate::{auth::rights::Role, routes};

    #[test]
    fn a_route_stands_once_in_the_table() {
        let distinct: BTreeSet<_> = routes().map(|route| (&route.method, &route.path)).collect();
        assert_eq!(distinct.len(), routes().count());
    }

    #[test]
    fn every_operation_says_who_may_use_it() {
        let closed: Vec<_> = routes().filter(|route| route.access == Access::Closed).collect();
        assert!(closed.is_empty(), "{closed:?}");
    }

    #[test]
    fn an_operation_without_a_right_is_closed() {
        assert_eq!(access(&json!([{"token": ["read"]}])), Access::Needs(Right::Read));
        assert_eq!(access(&json!([{}])), Access::Public);
        for unclear in [
            json!(null),
            json!([]),
            json!([{"token": []}]),
            json!([{"token": ["write"]}]),
            json!([{"token": ["read", "manage_users"]}]),
            json!([{"other": ["read"]}]),
            json!([{"token": ["read"], "other": []}]),
            json!([{"token": ["read"]}, {}]),
        ] {
            assert_eq!(access(&unclear), Access::Closed, "{unclear}");
        }
        let document = json!({"paths": {"/a": {"get": {"operationId": "a"}, "summary": "no operation"}}});
        let [route] = &routes_of(&document)[..] else { panic!("one operation") };
        assert_eq!((&*route.method, &*route.path, route.access), ("GET", "/a", Access::Closed));
    }

    #[test]
    fn what_changes_something_is_never_public_but_the_login_and_webhooks() {
        let open: BTreeSet<_> = routes()
            .filter(|route| route.access == Access::Public && route.method != "GET")
            .map(|route| &*route.path)
            .collect();
        // The webhook asks for the secret of its bundle.
        let webhook = "/api/v2/dagBundles/{bundle_name}/webhook";
        assert_eq!(open, BTreeSet::from(["/auth/token", "/auth/token/cli", "/auth/logout", "/login", webhook]));
    }

    #[test]
    fn a_viewer_changes_nothing_but_what_is_its_own() {
        for route in routes().filter(|route| route.method != "GET" && !route.path.ends_with("/list")) {
            if let Access::Needs(right) = route.access
                && ![Right::OwnAccount, Right::ChangeOwnView].contains(&right)
                && !route.path.ends_with("favorite")
            {
                assert!(right.least_role() > Role::Viewer, "{} {}", route.method, route.path);
            }
        }
    }
}
