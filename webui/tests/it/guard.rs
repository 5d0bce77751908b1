//! Who may do what, and what tries to get around it.

use link::transport::tls::{Fingerprint, JoinToken, Secret};
use serde_json::{Value, json};
use store::{
    SecretKey,
    cluster::{self, NewToken},
};
use windlass_webui::{Access, Face, Role, Route, routes};

use crate::support::{PASSWORD, RUN, Server, client};

/// A concrete path of a route, on ids that exist.
pub fn path_of(route: &Route) -> String {
    path_on(route, "stock_data_pipeline")
}

/// The same on another DAG.
pub fn path_on(route: &Route, dag_id: &str) -> String {
    let values = [
        ("{dag_id}", dag_id),
        ("{dag_run_id}", RUN),
        ("{run_id}", RUN),
        ("{task_id}", "silver"),
        ("{map_index}", "-1"),
        ("{try_number}", "2"),
        ("{group_id}", "none"),
        ("{asset_id}", "1"),
        ("{asset_alias_id}", "1"),
        ("{backfill_id}", "1"),
        ("{key}", "none"),
        ("{file_token}", "sample.yaml"),
        ("{version_number}", "1"),
        ("{task_try_number}", "2"),
        ("{xcom_key}", "none"),
        ("{section}", "core"),
        ("{option}", "none"),
        ("{import_error_id}", "1"),
        ("{file}", "windlass.css"),
        ("{name}", "none"),
        ("{replica}", "0"),
        ("{action}", "stop"),
        ("{pool_name}", "none"),
        ("{*variable_key}", "none"),
        ("{connection_id}", "none"),
        ("{event_log_id}", "1"),
        ("{entry_id}", "report:none"),
    ];
    values.iter().fold(route.path.to_string(), |path, (name, value)| path.replace(name, &value.replace('+', "%2B")))
}

/// How a route answers at a path of it.
pub async fn status(server: &Server, path: &str, route: &Route, token: Option<&str>) -> u16 {
    let request = client().request(route.method.parse().unwrap(), server.url(path));
    let request = match token {
        Some(token) => request.bearer_auth(token),
        None => request,
    };
    request.header("content-type", "application/json").body("{}").send().await.unwrap().status().as_u16()
}

#[tokio::test]
async fn every_route_asks_for_a_login_and_for_its_role() {
    let server = Server::start().await;
    let tokens = [
        (Role::Viewer, server.token("viewer").await),
        (Role::User, server.token("user").await),
        (Role::Op, server.token("op").await),
        (Role::Admin, server.token("admin").await),
    ];
    for route in routes().filter(|route| route.path != "/events") {
        let name = format!("{} {}", route.method, route.path);
        let bare = status(&server, &path_of(route), route, None).await;
        if route.access == Access::JoinToken {
            assert_eq!(bare, 401, "{name} without a join token");
            continue;
        }
        let Access::Needs(right) = route.access else {
            // A webhook is proven by its secret.
            let refuses_all = route.operation.ends_with("_all_admins")
                || route.path.contains("login")
                || route.path.ends_with("/webhook");
            assert!(![401, 403].contains(&bare) || refuses_all, "{name}: {bare}");
            continue;
        };
        let refused = if route.face == Face::Page && route.method == "GET" { 303 } else { 401 };
        assert_eq!(bare, refused, "{name} without a login");
        for (role, token) in &tokens {
            let answer = status(&server, &path_of(route), route, Some(token)).await;
            if *role < right.least_role() {
                assert_eq!(answer, 403, "{name} as {}", role.name());
            } else if route.operation.starts_with("get_config") {
                assert_eq!(answer, 403, "{name}: as Airflow, nobody sees the configuration");
            } else if ["test_connection", "enqueue_connection_test"].contains(&&*route.operation) {
                assert_eq!(answer, 403, "{name}: no server tests connections");
            } else if route.face == Face::Api || route.method == "GET" {
                assert!(![401, 403, 405, 500].contains(&answer), "{name} as {}: {answer}", role.name());
            }
        }
    }
}

#[tokio::test]
async fn a_token_is_refused_when_it_is_forged_or_after_the_logout() {
    let server = Server::start().await;
    let get = |token: String| client().get(server.url("/api/v2/dags")).bearer_auth(token).send();
    let bare = client().get(server.url("/api/v2/dags")).send().await.unwrap();
    assert_eq!(bare.status(), 401);
    assert_eq!(bare.json::<Value>().await.unwrap(), json!({"detail": "Not authenticated"}));
    let forged = get("a.b.c".to_owned()).await.unwrap();
    assert_eq!(forged.status(), 403);
    assert_eq!(forged.json::<Value>().await.unwrap(), json!({"detail": "Invalid JWT token"}));
    let token = server.token("viewer").await;
    assert_eq!(get(token.clone()).await.unwrap().status(), 200);
    client().get(server.url("/auth/logout")).bearer_auth(&token).send().await.unwrap();
    assert_eq!(get(token).await.unwrap().status(), 403);
}

#[tokio::test]
async fn another_site_can_not_act_through_a_browser() {
    let server = Server::start().await;
    let token = server.token("user").await;
    let pause = |origin: &'static str| {
        let request = client().patch(server.url("/api/v2/dags/weather_pipeline"));
        let request = request.header("cookie", format!("_token={token}")).json(&json!({"is_paused": false}));
        if origin.is_empty() { request } else { request.header("origin", origin) }.send()
    };
    assert_eq!(pause("http://evil.example").await.unwrap().status(), 403);
    assert_eq!(pause("").await.unwrap().status(), 403);
    let form = client().post(server.url("/dags/weather_pipeline/pause")).header("cookie", format!("_token={token}"));
    let form = form.header("origin", &server.base).form(&[("to", "active"), ("csrf", "guessed")]);
    assert_eq!(form.send().await.unwrap().status(), 403);
    let logout =
        client().get(server.url("/auth/logout")).header("cookie", format!("_token={token}")).send().await.unwrap();
    assert_eq!(logout.status(), 200, "a page with a button");
    let (status, _) = server.page(&token, "/dags").await;
    assert_eq!(status, 200, "a link of another site must not log anybody out");
}

#[tokio::test]
async fn logins_say_little_and_wait_after_many_failures() {
    let server = Server::start().await;
    let login = |body: Value| client().post(server.url("/auth/token")).json(&body).send();
    assert_eq!(login(json!({"username": "", "password": ""})).await.unwrap().status(), 400);
    let missing = login(json!({"username": "viewer"})).await.unwrap();
    assert_eq!(missing.status(), 422);
    assert!(missing.json::<Value>().await.unwrap()["detail"].is_string());
    let more = json!({"username": "viewer", "password": PASSWORD, "role": "Admin"});
    assert_eq!(login(more).await.unwrap().status(), 422, "what nobody reads is refused");
    let other = client().post(server.url("/auth/token")).header("content-type", "text/xml").body("<login/>");
    assert_eq!(other.send().await.unwrap().status(), 415);
    for path in ["/auth/token", "/auth/token/login"] {
        let answer = client().get(server.url(path)).send().await.unwrap();
        assert_eq!(answer.status(), 403, "{path}: nobody gets in without a password");
        assert!(answer.json::<Value>().await.unwrap()["detail"].is_string());
    }
    let form = [("username", "viewer"), ("password", PASSWORD)];
    assert_eq!(client().post(server.url("/auth/token")).form(&form).send().await.unwrap().status(), 201);
    let mut statuses = Vec::new();
    for _ in 0..11 {
        let answer = login(json!({"username": "nobody", "password": "wrong"})).await.unwrap();
        statuses.push(answer.status().as_u16());
    }
    assert_eq!(statuses, [[401; 10].as_slice(), &[429]].concat());
}

#[tokio::test]
async fn the_way_back_is_kept_through_the_login_when_it_is_one_of_ours() {
    let server = Server::start().await;
    let to = async |query: &str| {
        let answer = client().get(server.url(&format!("/api/v2/auth/login{query}"))).send().await.unwrap();
        assert_eq!(answer.status(), 307);
        answer.headers()["location"].to_str().unwrap().to_owned()
    };
    assert_eq!(to("").await, "/login");
    assert_eq!(to("?next=/dags/stock%3Ftab%3Dcode").await, "/login?next=%2Fdags%2Fstock%3Ftab%3Dcode");
    for away in ["https://evil.example/", "//evil.example", "/auth/logout"] {
        assert_eq!(to(&format!("?next={away}")).await, "/login?next=%2F", "{away}");
    }
}

#[tokio::test]
async fn ids_that_lead_elsewhere_are_simply_not_found() {
    let server = Server::start().await;
    let token = server.token("op").await;
    let hostile = ["..", "..%2f..%2fetc%2fpasswd", "%00", "a%2fb", "%2e%2e", "%3Cscript%3E"];
    for id in hostile {
        for path in [
            format!("/api/v2/dags/{id}"),
            format!("/api/v2/dags/stock_data_pipeline/dagRuns/{id}"),
            format!("/api/v2/dags/stock_data_pipeline/dagRuns/{RUN}/taskInstances/{id}/logs/1"),
            format!("/dags/{id}"),
            format!("/dags/stock_data_pipeline/runs/{id}/log?task=silver"),
            format!("/static/{id}"),
        ] {
            let answer = client().get(server.url(&path)).bearer_auth(&token).send().await.unwrap();
            let status = answer.status().as_u16();
            let text = answer.text().await.unwrap();
            // No text has a NUL. A client takes `..` out of a path by itself: then another page answers, which is fine.
            let was_shortened = id.contains("..") || id.contains("%2e");
            let refused = if id == "%00" { vec![404, 422] } else { vec![404, 405] };
            assert!(refused.contains(&status) || (was_shortened && status < 400), "{path}: {status}");
            assert!(!text.contains("<script>alert") && !text.contains("root:"), "{path}");
        }
    }
}

#[tokio::test]
async fn workers_learn_where_the_leader_is_by_their_join_token_alone() {
    let server = Server::start().await;
    let token = JoinToken::generate(Fingerprint::of(b"any"));
    let shown = token.endpoint_secret();
    let key = SecretKey::parse(&format!("{}Bwc=", "BwcH".repeat(10))).unwrap();
    let stored = NewToken { id: "a", secret: "sealed", lookup_hash: &shown.digest(), valid_for: None };
    cluster::replace_token(&server.pool, &key, stored).await.unwrap();
    let ask = |bearer: String| client().get(server.url("/link/endpoint")).bearer_auth(bearer).send();

    let answer = ask(shown.reveal().to_owned()).await.unwrap();
    assert_eq!(answer.status(), 200);
    let seat: Value = answer.json().await.unwrap();
    assert!(seat["epoch"].as_i64().unwrap() > 0 && seat["endpoint"].is_string(), "{seat}");
    for other in [token.secret.reveal().to_owned(), server.token("viewer").await, String::new()] {
        assert_eq!(ask(other).await.unwrap().status(), 401);
    }
    let next = NewToken { id: "b", lookup_hash: &Secret::generate().digest(), ..stored };
    cluster::replace_token(&server.pool, &key, next).await.unwrap();
    let refused: Value = ask(shown.reveal().to_owned()).await.unwrap().json().await.unwrap();
    assert!(refused["detail"].as_str().unwrap().contains("was revoked"), "{refused}");
}
