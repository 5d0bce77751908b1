//! The pages of what people manage, with plain forms and without a script.

use crate::support::{PASSWORD, Server, client};

#[tokio::test]
async fn a_connection_is_made_changed_and_deleted_by_plain_forms() {
    let server = Server::start().await;
    let token = server.token("op").await;
    let (_, html) = server.page(&token, "/connections").await;
    assert!(html.contains("Connections would be here"), "{html}");
    let (_, html) = server.page(&token, "/connections/new?type=http").await;
    assert!(
        html.contains("Address, such as https:&#x2F;&#x2F;api.example.org") && html.contains("name=\"extra\""),
        "{html}"
    );
    let new = "/connections/new";
    let bad = [
        ("connection_id", "a b"),
        ("conn_type", "http"),
        ("port", "x"),
        ("password", "canary-pw"),
        ("host", "<b>typed"),
    ];
    let refused = server.submit(&token, new, new, &bad).await;
    assert_eq!(refused.status(), 422);
    let html = refused.text().await.unwrap();
    assert!(html.contains("id=\"fault-connection_id\"") && html.contains("id=\"fault-port\""), "{html}");
    assert!(html.contains("&lt;b&gt;typed") && !html.contains("canary-pw"), "what was typed stays: {html}");
    let good = [
        ("connection_id", "api"),
        ("conn_type", "http"),
        ("password", "canary-pw"),
        ("port", "443"),
        ("extra", r#"{"token": "canary-token", "region": "eu"}"#),
    ];
    assert_eq!(server.submit(&token, new, new, &good).await.status(), 303);
    assert_eq!(server.submit(&token, new, new, &good).await.status(), 409);
    let edit = "/connections/edit?id=api";
    let (_, html) = server.page(&token, edit).await;
    assert!(html.contains("&quot;region&quot;") && !html.contains("canary"), "{html}");
    let changed = [
        ("connection_id", "api"),
        ("conn_type", "http"),
        ("host", "h"),
        ("port", ""),
        ("password", ""),
        ("extra", r#"{"token": "***", "region": "us"}"#),
    ];
    assert_eq!(server.submit(&token, edit, "/connections/edit", &changed).await.status(), 303);
    let stored = server.connection("api").await;
    assert_eq!((stored.password.as_deref(), stored.port, stored.host.as_deref()), (Some("canary-pw"), None, Some("h")));
    assert_eq!(stored.extra.as_deref(), Some(r#"{"token":"canary-token","region":"us"}"#));
    let ask = "/connections/delete?id=api";
    let (_, html) = server.page(&token, ask).await;
    assert!(html.contains("Delete the connection api?"), "{html}");
    assert_eq!(server.submit(&token, ask, "/connections/delete", &[("id", "api")]).await.status(), 303);
    assert_eq!(server.page(&token, ask).await.0, 404);
}

#[tokio::test]
async fn a_variable_keeps_its_secret_when_the_form_comes_back_as_it_was_shown() {
    let server = Server::start().await;
    let token = server.token("op").await;
    let new = "/variables/new";
    let fields = [("key", "db/password"), ("value", "canary-value"), ("description", "<script>alert(1)</script>")];
    assert_eq!(server.submit(&token, new, new, &fields).await.status(), 303);
    let (_, html) = server.page(&token, "/variables?q=DB").await;
    assert!(html.contains("***") && html.contains("&lt;script&gt;") && !html.contains("canary"), "{html}");
    let edit = "/variables/edit?key=db%2Fpassword";
    let same = [("key", "db/password"), ("value", "***"), ("description", "mine")];
    assert_eq!(server.submit(&token, edit, "/variables/edit", &same).await.status(), 303);
    assert_eq!(server.variable("db/password").await, "canary-value");
    let (_, html) = server.page(&token, "/variables?q=nothing").await;
    assert!(html.contains("No variable matches"), "{html}");
}

#[tokio::test]
async fn a_pools_page_shows_its_use_and_its_forms_change_it() {
    let server = Server::start().await;
    let viewer = server.token("viewer").await;
    let (_, html) = server.page(&viewer, "/pools").await;
    assert!(html.contains("3 running, 1 queued") && html.contains("2 slots wanted"), "{html}");
    assert!(html.contains("stock_data_pipeline · gold") && !html.contains("/pools/edit"), "{html}");
    let token = server.token("op").await;
    let new = "/pools/new";
    let fields = [("name", "etl"), ("slots", "-1"), ("description", "x"), ("include_deferred", "1")];
    assert_eq!(server.submit(&token, new, new, &fields).await.status(), 303);
    let refused = server.submit(&token, new, new, &[("name", "more"), ("slots", "many")]).await;
    assert_eq!(refused.status(), 422);
    let edit = "/pools/edit?name=etl";
    let (_, html) = server.page(&token, edit).await;
    assert!(html.contains("value=\"-1\"") && html.contains(" checked"), "{html}");
    let smaller = [("name", "etl"), ("slots", "2"), ("description", "y")];
    assert_eq!(server.submit(&token, edit, "/pools/edit", &smaller).await.status(), 303);
    let (_, pool) = server.user("op").await.get("/pools/etl").await;
    assert_eq!((&pool["slots"], &pool["include_deferred"]), (&2.into(), &false.into()));
    let default = [("name", "default_pool"), ("slots", "64"), ("description", "Default pool")];
    assert_eq!(server.submit(&token, "/pools/edit?name=default_pool", "/pools/edit", &default).await.status(), 303);
    assert_eq!(server.submit(&token, edit, "/pools/delete", &[("name", "default_pool")]).await.status(), 400);
    assert_eq!(server.submit(&token, edit, "/pools/delete", &[("name", "etl")]).await.status(), 303);
    server.leader.leave();
    let (status, html) = server.page(&viewer, "/pools").await;
    assert!(status == 200 && html.contains("does not answer"), "{html}");
}

#[tokio::test]
async fn users_are_managed_by_admins_and_everybody_changes_the_own_password() {
    let server = Server::start().await;
    let admin = server.token("admin").await;
    let (_, html) = server.page(&admin, "/users").await;
    assert!(html.contains("viewer") && html.contains(">you<"), "{html}");
    let new = "/users/new";
    let ann = [("username", "ann"), ("role", "User"), ("password", PASSWORD)];
    assert_eq!(server.submit(&admin, new, new, &ann).await.status(), 303);
    assert_eq!(server.submit(&admin, new, new, &ann).await.status(), 409);
    assert_eq!(server.submit(&admin, new, new, &[("username", "a b"), ("role", "User")]).await.status(), 422);
    let edit = "/users/edit?username=admin";
    let down = [("username", "admin"), ("role", "Op")];
    assert_eq!(server.submit(&admin, edit, "/users/edit", &down).await.status(), 409, "the only Admin stays");
    assert_eq!(server.submit(&admin, edit, "/users/delete", &[("username", "admin")]).await.status(), 400);

    let token = server.token("ann").await;
    assert_eq!(server.page(&token, "/users").await.0, 403);
    let wrong = [("current", "guess"), ("password", "new ones"), ("again", "new ones")];
    assert_eq!(server.submit(&token, "/account", "/account", &wrong).await.status(), 422);
    let short = [("current", PASSWORD), ("password", "seven77"), ("again", "seven77")];
    assert_eq!(server.submit(&token, "/account", "/account", &short).await.status(), 422);
    let right = [("current", PASSWORD), ("password", "new ones"), ("again", "new ones")];
    let changed = server.submit(&token, "/account", "/account", &right).await;
    assert_eq!(changed.headers()["location"], "/login");
    let old = client().get(server.url("/api/v2/dags")).bearer_auth(&token).send().await.unwrap();
    assert_eq!(old.status(), 403, "a new password ends every token");
    let (_, html) = server.page(&admin, "/audit?q=reset_password").await;
    assert!(html.contains("reset_password") && html.contains("ann"), "{html}");
    assert_eq!(server.submit(&admin, edit, "/users/delete", &[("username", "ann")]).await.status(), 303);
}
