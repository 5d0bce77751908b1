//! Own roles, permissions on DAGs, API tokens and sessions: who may do what, walked over every route.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use store::users::{self, NewApiToken, OwnRole};
use windlass_webui::{Access, Face, NARROWED, Right, Role, Route, routes};

use crate::{
    guard::{path_of, path_on, status},
    support::{Server, client},
};

/// A user with Airflow's role Public and an own role of its name, with the password of everybody.
pub async fn somebody(server: &Server, name: &str, rights: &[Right], dags: &[&str]) {
    let role = OwnRole {
        name: name.to_owned(),
        rights: rights.iter().copied().collect(),
        dags: dags.iter().map(|text| text.parse().unwrap()).collect(),
    };
    users::create_role(&server.pool, "test".into(), &role).await.unwrap();
    let copy = "INSERT INTO user_account (username, password_hash, role) \
                SELECT $1, password_hash, 4 FROM user_account WHERE username = 'viewer'";
    sqlx::query(copy).bind(name).execute(&server.pool).await.unwrap();
    users::set_own_roles(&server.pool, "test".into(), name, &BTreeSet::from([name.to_owned()])).await.unwrap();
}

async fn api_token(server: &Server, username: &str, scope: Option<&[Right]>) -> String {
    let scope = scope.map(|rights| rights.iter().copied().collect());
    let wish = NewApiToken { username, name: "test", scope, days: 1 };
    let issued = users::create_api_token(&server.pool, "test".into(), &wish).await.unwrap().unwrap();
    issued.text.reveal().to_owned()
}

/// What a right can not be used without.
fn with_needs(right: Right) -> BTreeSet<Right> {
    let needs = match right {
        Right::ChangeDags | Right::ChangeServices => Some(Right::Read),
        Right::ChangeAdmin => Some(Right::ReadAdmin),
        _ => None,
    };
    BTreeSet::from_iter([right].into_iter().chain(needs))
}

/// Refused for everybody, whatever the right.
fn is_refused_for_all(route: &Route) -> bool {
    route.operation.starts_with("get_config")
        || ["test_connection", "enqueue_connection_test"].contains(&&*route.operation)
        // A form without its token.
        || (route.face == Face::Page && route.method != "GET")
}

#[tokio::test]
async fn every_route_is_open_to_its_right_and_to_no_other() {
    let server = Server::start().await;
    for right in Right::GIVEN {
        somebody(&server, right.name(), &[right], &[]).await;
        let held = with_needs(right);
        // The same rights by the role of the user, and by the scope of a token whose user has them all.
        let by_role = api_token(&server, right.name(), None).await;
        let by_scope = api_token(&server, "admin", Some(&[right])).await;
        for route in routes().filter(|route| route.path != "/events" && !is_refused_for_all(route)) {
            let Access::Needs(needed) = route.access else { continue };
            let is_own = [Right::OwnAccount, Right::ChangeOwnView].contains(&needed);
            for (how, token, may) in
                [("role", &by_role, held.contains(&needed)), ("scope", &by_scope, held.contains(&needed) && !is_own)]
            {
                let answer = status(&server, &path_of(route), route, Some(token)).await;
                let name = format!("{} {} with {right} by {how}: {answer}", route.method, route.path);
                assert_eq!(answer == 403, !may, "{name}");
                assert!(![401, 405, 500].contains(&answer), "{name}");
            }
        }
    }
}

#[tokio::test]
async fn whoever_may_see_one_dag_finds_no_trace_of_another() {
    const HIDDEN: &str = "weather";
    let server = Server::start().await;
    let admin = server.user("admin").await;
    assert_eq!(admin.post("/dags/weather_pipeline/dagRuns", json!({"logical_date": null})).await.0, 200);
    somebody(&server, "reader", &[], &["read dag:stock_data_pipeline", "edit dag:not_there_yet"]).await;
    somebody(&server, "editor", &[], &["edit tag:stock"]).await;
    for (user, may_edit) in [("reader", false), ("editor", true)] {
        let token = server.token(user).await;
        for route in routes().filter(|route| route.path != "/events" && !is_refused_for_all(route)) {
            let Access::Needs(right) = route.access else { continue };
            let name = format!("{} {} as {user}", route.method, route.path);
            let may = match right {
                Right::OwnAccount | Right::ChangeOwnView => continue,
                Right::Read => true,
                Right::ChangeDags => may_edit,
                _ => false,
            };
            let is_narrowed = NARROWED.contains(&(&*route.method, &*route.path));
            if route.path.contains("{dag_id}") {
                let other = status(&server, &path_on(route, "weather_pipeline"), route, Some(&token)).await;
                assert_eq!(other, 403, "{name}: another DAG");
                let own = status(&server, &path_on(route, "stock_data_pipeline"), route, Some(&token)).await;
                assert_eq!(own == 403, !may, "{name}: {own}");
                let all = status(&server, &path_on(route, "~"), route, Some(&token)).await;
                assert_eq!(all == 403, !(may && is_narrowed), "{name} of all DAGs: {all}");
            } else {
                let answer = status(&server, &path_of(route), route, Some(&token)).await;
                assert_eq!(answer == 403, !(may && is_narrowed), "{name}: {answer}");
            }
        }
        for (method, path) in NARROWED.iter().filter(|(_, path)| *path != "/events") {
            let path = path.replace("{dag_id}", "~").replace("{dag_run_id}", "~").replace("{task_id}", "~");
            let path = path.replace("{asset_id}", "4711").replace("{asset_alias_id}", "4711");
            let path = if path == "/search" { format!("/search?q={HIDDEN}") } else { path };
            let request = client().request(method.parse().unwrap(), server.url(&path)).bearer_auth(&token);
            let request = if *method == "POST" { request.json(&json!({})) } else { request };
            let answer = request.send().await.unwrap();
            // There is no asset in this installation, so that one of them is not found.
            let is_absent = answer.status() == 404 && path.contains("4711");
            let is_well = answer.status().is_success() || answer.status() == 303 || is_absent;
            assert!(is_well, "{method} {path}: {}", answer.status());
            let text = answer.text().await.unwrap();
            let text = text.replace(&format!("value=\"{HIDDEN}\""), "").replace(&format!("Nothing has {HIDDEN}"), "");
            assert!(!text.contains(HIDDEN), "{method} {path} as {user} tells of {HIDDEN}: {text}");
        }
        let (_, html) = server.page(&token, "/dags").await;
        assert!(html.contains("stock_data_pipeline"), "{html}");
        assert_eq!(html.contains("disabled"), !may_edit, "the buttons of what {user} may not change");
    }
}

#[tokio::test]
async fn a_body_can_not_name_a_dag_that_its_path_does_not() {
    let server = Server::start().await;
    let admin = server.user("admin").await;
    admin.post("/dags/weather_pipeline/dagRuns", json!({"dag_run_id": "w", "logical_date": null})).await;
    somebody(&server, "editor", &[], &["edit tag:stock"]).await;
    let editor = server.user("editor").await;
    let entity = json!({"dag_id": "weather_pipeline", "dag_run_id": "w", "note": "mine"});
    let body = json!({"actions": [{"action": "update", "entities": [entity]}]});
    let (status, answer) = editor.patch("/dags/stock_data_pipeline/dagRuns", body).await;
    assert_eq!(status, 200);
    assert_eq!(answer["update"]["success"], json!([]), "{answer}");
    assert_eq!(answer["update"]["errors"][0]["status_code"], 403, "{answer}");
    let (_, run) = admin.get("/dags/weather_pipeline/dagRuns/w").await;
    assert_eq!(run["note"], Value::Null);
}

#[tokio::test]
async fn a_changed_role_is_in_force_with_the_next_request() {
    let server = Server::start().await;
    somebody(&server, "team", &[], &["read tag:weather"]).await;
    let team = server.user("team").await;
    let ids = |answer: &Value| -> Vec<String> {
        answer["dags"].as_array().unwrap().iter().map(|dag| dag["dag_id"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(ids(&team.get("/dags").await.1), ["weather_pipeline"]);
    assert_eq!(team.patch("/dags/weather_pipeline", json!({"is_paused": false})).await.0, 403);
    let admin = server.token("admin").await;
    let edit = "/roles/edit?name=team";
    let fields = [("name", "team"), ("dags", "edit tag:weather\nread dag:stock_data_pipeline")];
    assert_eq!(server.submit(&admin, edit, "/roles/edit", &fields).await.status(), 303);
    assert_eq!(team.patch("/dags/weather_pipeline", json!({"is_paused": false})).await.0, 200);
    assert_eq!(ids(&team.get("/dags").await.1), ["stock_data_pipeline", "weather_pipeline"]);
    assert_eq!(
        server.submit(&admin, "/roles/delete?name=team", "/roles/delete", &[("name", "team")]).await.status(),
        303
    );
    assert_eq!(team.get("/dags").await.0, 403);
}

#[tokio::test]
async fn roles_are_made_on_their_pages_and_given_to_users() {
    let server = Server::start().await;
    let admin = server.token("admin").await;
    let new = "/roles/new";
    let wrong = [("name", "fin"), ("dags", "write everything")];
    let refused = server.submit(&admin, new, new, &wrong).await;
    assert_eq!(refused.status(), 422);
    let html = refused.text().await.unwrap();
    assert!(html.contains("edit tag:finance") && html.contains("write everything"), "{html}");
    let fields = [("name", "fin"), ("read_admin", "1"), ("dags", "read tag:stock")];
    assert_eq!(server.submit(&admin, new, new, &fields).await.status(), 303);
    assert_eq!(server.submit(&admin, new, new, &fields).await.status(), 409);
    let (_, html) = server.page(&admin, "/roles").await;
    assert!(html.contains("fin") && html.contains("read tag:stock") && html.contains("Viewer"), "{html}");

    let edit = "/users/edit?username=viewer";
    let unknown = [("username", "viewer"), ("role", "Viewer"), ("own_roles", "fin, none")];
    assert_eq!(server.submit(&admin, edit, "/users/edit", &unknown).await.status(), 422);
    let given = [("username", "viewer"), ("role", "Public"), ("own_roles", "fin")];
    assert_eq!(server.submit(&admin, edit, "/users/edit", &given).await.status(), 303);
    let viewer = server.user("viewer").await;
    assert_eq!(viewer.get("/variables").await.0, 200);
    assert_eq!(viewer.get("/dags").await.1["total_entries"], 1);
    assert_eq!(viewer.get("/pools").await.0, 403, "pools are of all DAGs");
    let (_, html) = server.page(&admin, "/users").await;
    assert!(html.contains("<td>fin</td>"), "{html}");
    let (_, html) = server.page(&admin, "/audit?q=update_user").await;
    assert!(html.contains("own_roles"), "{html}");
}

#[tokio::test]
async fn a_token_is_made_on_the_account_page_shown_once_and_revoked() {
    let server = Server::start().await;
    let session = server.token("user").await;
    let page = "/account/tokens";
    let wrong = server.submit(&session, page, page, &[("name", ""), ("days", "400")]).await;
    assert_eq!(wrong.status(), 400);
    let html = wrong.text().await.unwrap();
    assert!(html.contains("needs a name") && html.contains("366 days") && html.contains("any right"), "{html}");
    // A user has no right to manage users, so the tick is none of the form.
    let fields = [("name", "ci"), ("days", "30"), ("read", "1"), ("manage_users", "1")];
    let made = server.submit(&session, page, page, &fields).await.text().await.unwrap();
    let text = made.split("value=\"windlass_").nth(1).unwrap().split('"').next().unwrap();
    let token = format!("windlass_{text}");
    let (_, html) = server.page(&session, page).await;
    assert!(html.contains("ci") && !html.contains(&token) && html.contains("this one"), "{html}");
    let stored: i64 =
        sqlx::query_scalar("SELECT count(*) FROM token WHERE row_to_json(token)::text LIKE '%windlass_%'")
            .fetch_one(&server.pool)
            .await
            .unwrap();
    assert_eq!(stored, 0, "the text is nowhere");

    let ask = |path: &str| client().get(server.url(path)).bearer_auth(&token).send();
    assert_eq!(ask("/api/v2/dags").await.unwrap().status(), 200);
    assert_eq!(ask("/account/tokens").await.unwrap().status(), 403, "a token that is limited makes no others");
    let change = client().patch(server.url("/api/v2/dags/weather_pipeline")).bearer_auth(&token);
    assert_eq!(
        change.json(&json!({"is_paused": false})).send().await.unwrap().status(),
        403,
        "a token for reading changes nothing"
    );
    let cookie = client().get(server.url("/api/v2/dags")).header("cookie", format!("_token={token}"));
    assert_eq!(cookie.send().await.unwrap().status(), 403, "it is no session");
    let forged = format!("{}x", &token[..token.len() - 1]);
    assert_eq!(client().get(server.url("/api/v2/dags")).bearer_auth(forged).send().await.unwrap().status(), 403);

    let id: uuid::Uuid =
        sqlx::query_scalar("SELECT jti FROM token WHERE name = 'ci'").fetch_one(&server.pool).await.unwrap();
    let id = id.to_string();
    let other = server.token("op").await;
    let stolen = server.submit(&other, page, "/account/tokens/revoke", &[("id", id.as_str())]).await;
    assert_eq!(stolen.status(), 404, "nobody revokes the token of another");
    assert_eq!(server.submit(&session, page, "/account/tokens/revoke", &[("id", id.as_str())]).await.status(), 303);
    assert_eq!(ask("/api/v2/dags").await.unwrap().status(), 403);
}

#[tokio::test]
async fn an_api_token_never_opens_the_account_of_its_user() {
    let server = Server::start().await;
    let own = [Right::OwnAccount, Right::ChangeOwnView];
    let routes: Vec<&Route> =
        routes().filter(|route| own.iter().any(|right| route.access == Access::Needs(*right))).collect();
    assert!(routes.iter().filter(|route| route.path.starts_with("/account")).count() >= 5);
    for scope in [None, Some(&Right::GIVEN[..])] {
        let token = api_token(&server, "admin", scope).await;
        for route in &routes {
            let status = status(&server, &path_of(route), route, Some(&token)).await;
            assert_eq!(status, 403, "{} {} with scope {scope:?}", route.method, route.path);
        }
    }
    let session = server.token("admin").await;
    for route in routes.iter().filter(|route| route.method == "GET") {
        let status = status(&server, &path_of(route), route, Some(&session)).await;
        assert_eq!(status, 200, "{} in a session", route.path);
    }
}

#[tokio::test]
async fn who_is_refused_by_the_scope_of_a_token_is_told_so() {
    let server = Server::start().await;
    let refusal = async |user: &str, scope: Option<&[Right]>| {
        let token = api_token(&server, user, scope).await;
        let ask = client().get(server.url("/api/v2/variables")).bearer_auth(token).send().await.unwrap();
        assert_eq!(ask.status(), 403);
        ask.json::<Value>().await.unwrap()["detail"].as_str().unwrap().to_owned()
    };
    let by_scope = refusal("op", Some(&[Right::Read, Right::ChangeDags])).await;
    assert!(by_scope.contains("limited to") && by_scope.contains("takes read_admin"), "{by_scope}");
    assert_eq!(refusal("user", None).await, "Forbidden", "here another role would help, as Airflow says it");
    assert_eq!(refusal("user", Some(&[Right::Read])).await, "Forbidden");
}

#[tokio::test]
async fn many_users_are_listed_by_pages_and_have_a_bounded_number_of_roles() {
    let server = Server::start().await;
    let copy = "INSERT INTO user_account (username, password_hash, role) \
                SELECT 'zz' || lpad(n::text, 3, '0'), password_hash, 0 FROM user_account, generate_series(1, 230) n \
                WHERE username = 'viewer'";
    sqlx::query(copy).execute(&server.pool).await.unwrap();
    let admin = server.token("admin").await;
    let (mut at, mut rows, mut pages) = (Some("/users".to_owned()), 0, 0);
    let next = regex::Regex::new(r#"href="([^"]*users\?after=[^"]+)""#).unwrap();
    while let Some(url) = at {
        let (status, html) = server.page(&admin, &url).await;
        assert_eq!(status, 200, "{url}");
        rows += html.matches("<tr data-row>").count();
        pages += 1;
        at = next.captures(&html).map(|found| found[1].replace("&#x2F;", "/"));
    }
    let all: i64 = sqlx::query_scalar("SELECT count(*) FROM user_account").fetch_one(&server.pool).await.unwrap();
    assert_eq!((i64::try_from(rows).unwrap(), pages), (all, 3));
    let many: BTreeSet<String> = (0..=users::OWN_ROLES_OF_USER_MAX).map(|n| format!("role{n}")).collect();
    let refused = users::set_own_roles(&server.pool, "test".into(), "user", &many).await.unwrap_err();
    assert!(refused.to_string().contains("at most 50 own roles"), "{refused}");
}

#[tokio::test]
async fn who_manages_users_sees_and_ends_their_sessions() {
    let server = Server::start().await;
    let (admin, user) = (server.token("admin").await, server.token("user").await);
    let page = "/users/sessions?username=user";
    let (_, html) = server.page(&admin, page).await;
    assert!(html.contains("session") && html.contains("127.0.0.1"), "{html}");
    assert_eq!(server.page(&user, page).await.0, 403);
    let all = [("username", "user"), ("all", "1")];
    assert_eq!(server.submit(&admin, page, "/users/sessions", &all).await.status(), 303);
    let after = client().get(server.url("/api/v2/dags")).bearer_auth(&user).send().await.unwrap();
    assert_eq!(after.status(), 403);
    assert_eq!(server.page(&admin, "/dags").await.0, 200, "nobody else's");
}

#[tokio::test]
async fn an_old_token_and_one_of_a_user_who_is_gone_are_void() {
    let server = Server::start().await;
    let token = api_token(&server, "user", None).await;
    let ask = || async { client().get(server.url("/api/v2/dags")).bearer_auth(&token).send().await.unwrap().status() };
    assert_eq!(ask().await, 200);
    sqlx::query("UPDATE user_account SET role = 4 WHERE username = 'user'").execute(&server.pool).await.unwrap();
    assert_eq!(Role::Public.name(), "Public");
    assert_eq!(ask().await, 403, "a token has no more than its user has now");
    sqlx::query("UPDATE user_account SET role = 1 WHERE username = 'user'").execute(&server.pool).await.unwrap();
    let past = "UPDATE token SET expires_at = now() - interval '1 second' WHERE name = 'test'";
    sqlx::query(past).execute(&server.pool).await.unwrap();
    assert_eq!(ask().await, 403);
    let again = "UPDATE token SET expires_at = now() + interval '1 hour' WHERE name = 'test'";
    sqlx::query(again).execute(&server.pool).await.unwrap();
    assert_eq!(ask().await, 200);
    users::delete_user(&server.pool, "test".into(), "user").await.unwrap();
    assert_eq!(ask().await, 403);
}
