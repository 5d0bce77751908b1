//! Pages as browsers get them.

use crate::support::{HOSTILE_LINE, PASSWORD, RUN, Server, client};

#[tokio::test]
async fn every_page_is_whole_and_escapes_what_users_wrote() {
    let server = Server::start().await;
    let token = server.token("op").await;
    sqlx::query("UPDATE dag_run SET note = '<img src=x onerror=alert(1)>'").execute(&server.pool).await.unwrap();
    sqlx::query("INSERT INTO import_error (file, position, message, line) VALUES ('<b>.yaml', 0, '<script>alert(2)</script>', 3)")
        .execute(&server.pool)
        .await
        .unwrap();
    let run = format!("/dags/stock_data_pipeline/runs/{}", RUN.replace('+', "%2B"));
    let pages = [
        ("/dags", "silver is running: 41 % of its query"),
        ("/dags?state=Paused", "weather_pipeline"),
        ("/dags/stock_data_pipeline", "every day at 00:00"),
        ("/dags/stock_data_pipeline/trigger", "Rebuild silver and gold"),
        (run.as_str(), "query 1 of 2"),
        (&format!("{run}?task=gold"), "waits for silver"),
        (&format!("{run}/clear?task=silver&downstream=1"), "This will run 3 task instances again"),
        ("/runs?state=failed", "manual__5"),
        ("/services", "Services would be here"),
        ("/import-errors", "&lt;script&gt;alert(2)"),
    ];
    for (path, expected) in pages {
        let (status, html) = server.page(&token, path).await;
        assert_eq!(status, 200, "{path}: {html}");
        assert!(html.contains(expected), "{path} lacks {expected:?}: {html}");
        for hostile in [HOSTILE_LINE, "<script>alert", "<img src=x", "<b>.yaml"] {
            assert!(!html.contains(hostile), "{path} prints {hostile}");
        }
    }
}

#[tokio::test]
async fn a_page_forbids_what_it_does_not_need() {
    let server = Server::start().await;
    let answer = client().get(server.url("/login")).send().await.unwrap();
    let policy = answer.headers()["content-security-policy"].to_str().unwrap().to_owned();
    assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
    assert_eq!(answer.headers()["x-content-type-options"], "nosniff");
    assert!(answer.headers().contains_key("x-request-id"));
    let (status, html) = server.page("", "/nowhere").await;
    assert_eq!(status, 404);
    assert!(html.contains("There is no such page"));
}

#[tokio::test]
async fn the_login_page_sets_a_cookie_and_leads_back() {
    let server = Server::start().await;
    let sent = client().get(server.url("/dags?q=a")).send().await.unwrap();
    assert_eq!(sent.headers()["location"], "/login?next=%2Fdags%3Fq%3Da");
    let login = |password: &'static str, next: &'static str, origin: String| {
        let fields = [("username", "viewer"), ("password", password), ("next", next)];
        client().post(server.url("/login")).header("origin", origin).form(&fields).send()
    };
    let home = server.base.clone();
    let back = login(PASSWORD, "/dags?q=a", home.clone()).await.unwrap();
    assert_eq!((back.status().as_u16(), back.headers()["location"].to_str().unwrap()), (303, "/dags?q=a"));
    let cookie = back.headers()["set-cookie"].to_str().unwrap();
    assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Lax"), "{cookie}");
    let away = login(PASSWORD, "//evil.example", home.clone()).await.unwrap();
    assert_eq!(away.headers()["location"], "/");
    let wrong = login("wrong", "/", home).await.unwrap();
    assert_eq!(wrong.status(), 401);
    assert!(wrong.text().await.unwrap().contains("Name or password is wrong"));
    assert_eq!(login(PASSWORD, "/", "http://evil.example".to_owned()).await.unwrap().status(), 403);
}

#[tokio::test]
async fn a_dag_is_paused_and_triggered_by_plain_forms() {
    let server = Server::start().await;
    let token = server.token("user").await;
    let switched =
        server.submit(&token, "/dags", "/dags/stock_data_pipeline/pause", &[("to", "paused"), ("back", "/dags")]).await;
    assert_eq!((switched.status().as_u16(), switched.headers()["location"].to_str().unwrap()), (303, "/dags"));
    let (_, html) = server.page(&token, "/dags?state=Paused").await;
    assert!(html.contains("stock_data_pipeline is paused"));
    let form = "/dags/stock_data_pipeline/trigger";
    let fields = [("whole", "1"), ("param.rows", "3"), ("param.full_refresh", "true"), ("run_id", "from_page")];
    let started = server.submit(&token, form, form, &fields).await;
    assert_eq!(started.headers()["location"], "/dags/stock_data_pipeline/runs/from_page");
    let (_, html) = server.page(&token, "/dags/stock_data_pipeline/runs/from_page").await;
    assert!(html.contains("&quot;rows&quot;: 3") && html.contains("&quot;full_refresh&quot;: true"), "{html}");
    let bad = [("whole", "1"), ("param.rows", "0"), ("param.full_refresh", "false"), ("note", "kept as typed")];
    let refused = server.submit(&token, form, form, &bad).await;
    assert_eq!(refused.status(), 400);
    let html = refused.text().await.unwrap();
    assert!(html.contains("rows") && html.contains("kept as typed"), "{html}");
}

#[tokio::test]
async fn a_fragment_is_the_live_part_alone() {
    let server = Server::start().await;
    let token = server.token("viewer").await;
    let request = client().get(server.url("/dags")).header("cookie", format!("_token={token}"));
    let html = request.header("windlass-fragment", "1").send().await.unwrap().text().await.unwrap();
    assert!(html.contains("stock_data_pipeline") && !html.contains("<html"), "{html}");
}

/// Serves the sample rows until it is interrupted, to look at the pages; it prints where and a token for the cookie.
#[tokio::test]
#[ignore = "runs until it is interrupted"]
async fn a_server_to_look_at() {
    let server = Server::start().await;
    let address =
        std::env::var("WINDLASS_LOOK_FILE").expect("WINDLASS_LOOK_FILE names the file to write the address to");
    std::fs::write(address, format!("{} {}", server.base, server.token("op").await)).unwrap();
    std::future::pending::<()>().await;
}
