//! Every page to work in: that it is whole, that it prints what users wrote as text, and that its forms work alone.

use crate::support::{HOSTILE_LINE, RUN, Server, client};

const DAG: &str = "/dags/stock_data_pipeline";

fn run() -> String {
    format!("{DAG}/runs/{}", RUN.replace('+', "%2B"))
}

/// Fails with the page when it lacks something, or has what must not be there.
async fn expect(server: &Server, token: &str, path: &str, pieces: &[&str]) {
    let (status, html) = server.page(token, path).await;
    assert_eq!(status, 200, "{path}: {html}");
    for piece in pieces {
        assert!(html.contains(piece), "{path} lacks {piece:?}: {html}");
    }
    for hostile in [HOSTILE_LINE, "<script>alert", "<img src=x", "href=\"javascript"] {
        assert!(!html.contains(hostile), "{path} prints {hostile}");
    }
}

#[tokio::test]
async fn a_dag_has_its_grid_its_graph_its_runs_its_code_and_its_details() {
    let server = Server::start().await;
    let token = server.token("viewer").await;
    expect(&server, &token, DAG, &["every day at 00:00", "silver · ", "failed · try 1 · 9.0 s", "role=\"group\""])
        .await;
    expect(&server, &token, &format!("{DAG}?tab=graph"), &["<svg class=\"graph", "data-node=\"5\"", "marker-end"])
        .await;
    expect(&server, &token, &format!("{DAG}?tab=runs&state=failed"), &["manual__5", "1 in all"]).await;
    expect(&server, &token, &format!("{DAG}?tab=code"), &["dag_id: stock_data_pipeline", "version 1"]).await;
    let details = ["Stock &lt;script&gt;", "<h3>", "full_refresh", "runs at once", "id=\"task-gold\""];
    expect(&server, &token, &format!("{DAG}?tab=details"), &details).await;
    let (status, _) = server.page(&token, &format!("{DAG}?tab=code&version=7")).await;
    assert_eq!(status, 404);
}

#[tokio::test]
async fn the_rest_api_is_told_whole_from_its_own_document() {
    let server = Server::start().await;
    let document: serde_json::Value =
        client().get(server.url("/openapi.json")).send().await.unwrap().json().await.unwrap();
    let (status, html) = server.page(&server.token("viewer").await, "/docs").await;
    assert_eq!(status, 200, "{html}");
    let members = |value: &serde_json::Value| value.as_object().unwrap().clone();
    let mut operations = 0;
    for (path, item) in members(&document["paths"]) {
        assert!(html.contains(&format!(">{}<", path.replace('/', "&#x2F;"))), "{path} is not told");
        for (method, operation) in members(&item) {
            let id = operation["operationId"].as_str().unwrap();
            assert!(html.contains(&format!("id=\"op-{id}\"")), "{method} {path}, {id}, is not told");
            operations += 1;
        }
    }
    assert!(operations >= 128 && html.contains(&format!("{operations} operations")), "{operations}");
    for name in members(&document["components"]["schemas"]).keys() {
        assert!(html.contains(&format!("id=\"type-{name}\"")), "the type {name} is not told");
    }
    // Every link within the page leads to a part of it, and nothing is loaded from elsewhere.
    for link in html.split("href=\"#").skip(1).map(|rest| rest.split('"').next().unwrap()) {
        assert!(html.contains(&format!("id=\"{link}\"")), "#{link} leads nowhere");
    }
    assert!(!html.contains("src=\"http") && !html.contains("href=\"http"), "{html}");
    let (_, few) = server.page(&server.token("viewer").await, "/docs?q=get_pools").await;
    assert!(few.contains("1 operation") && few.contains("op-get_pools") && !few.contains("op-get_variables"), "{few}");
}

#[tokio::test]
async fn what_users_wrote_is_text_wherever_it_is_shown() {
    let server = Server::start().await;
    let hostile = "UPDATE dag_version SET compiled = replace(replace(compiled::text, '\"weather\"', '\"<script>alert(3)</script>\"'), \
                   '\"hourly weather\"', '\"<img src=x onerror=alert(4)>\"')::json";
    sqlx::query(hostile).execute(&server.pool).await.unwrap();
    let row = "UPDATE dag SET description = '<img src=x onerror=alert(4)>' WHERE dag_id = 'weather_pipeline'";
    sqlx::query(row).execute(&server.pool).await.unwrap();
    let doc = "UPDATE dag_version SET compiled = jsonb_set(compiled::jsonb, '{doc_md}', \
               '\"[x](javascript:alert(5)) [y](https://y.example/?\\\"><script>alert(6)</script>) `<script>alert(7)`\"')::json";
    sqlx::query(doc).execute(&server.pool).await.unwrap();
    let params = r#"UPDATE dag_version SET compiled = jsonb_set(compiled::jsonb, '{params}', '{"p": {"schema": {"type": "string",
        "title": "<script>alert(8)</script>", "section": "<img src=x>", "examples": ["\"><script>alert(9)"]},
        "default": "\"><script>alert(10)</script>", "description": "<script>alert(11)</script>"}}')::json"#;
    sqlx::query(params).execute(&server.pool).await.unwrap();
    let token = server.token("user").await;
    let other = "/dags/weather_pipeline";
    expect(&server, &token, "/dags?q=weather", &["&lt;script&gt;alert(3)", "&lt;img src=x"]).await;
    expect(&server, &token, other, &["&lt;script&gt;alert(3)"]).await;
    expect(&server, &token, &format!("{other}?tab=details"), &["&lt;script&gt;alert(7)", "alert(11)"]).await;
    expect(&server, &token, &format!("{other}/trigger"), &["&lt;script&gt;alert(8)", "&lt;script&gt;alert(10)"]).await;
    expect(&server, &token, "/search?q=<script>alert(1)", &["&lt;script&gt;alert(1)"]).await;
    expect(&server, &token, "/search?q=weather", &["&lt;img src=x"]).await;
}

#[tokio::test]
async fn a_run_shows_its_graph_its_times_and_why_its_tasks_wait() {
    let server = Server::start().await;
    let token = server.token("user").await;
    let pieces = [
        "silver is running: 41 %",
        "waits for silver",
        "<svg class=\"graph",
        "class=\"tick\"",
        "now-line",
        "run before",
    ];
    expect(&server, &token, &run(), &pieces).await;
    expect(&server, &token, &run(), &["tab=code&amp;version=1", "as success", "query 1 of 2"]).await;
    let failed = format!("{DAG}/runs/manual__5");
    expect(&server, &token, &failed, &["silver failed (try 1 of 3)", "f-failed", "run after"]).await;
}

#[tokio::test]
async fn a_task_instance_shows_its_log_its_fields_its_values_and_its_tries() {
    let server = Server::start().await;
    let token = server.token("user").await;
    let url = format!("{}/tasks/silver", run());
    let attempt: uuid::Uuid = sqlx::query_scalar("SELECT attempt FROM task_instance WHERE run_id = 13 AND live")
        .fetch_one(&server.pool)
        .await
        .unwrap();
    let (task,): (i32,) = sqlx::query_as("SELECT task_idx FROM task_instance WHERE run_id = 13 AND live")
        .fetch_one(&server.pool)
        .await
        .unwrap();
    server.leader.raw_log(model::AttemptId(attempt), concat!(
        r#"{"ts":"2026-11-21T00:01:12.031Z","stream":"sys","text":"Rendered fields","rendered":{"sql":"SELECT '<script>alert(1)'","rows":3}}"#, "\n",
        r#"{"ts":"2026-11-21T00:01:12.031Z","stream":"err","text":"\u001b[31mred\u001b[0m <script>alert(2)</script>"}"#, "\n",
    ));
    sqlx::query("INSERT INTO xcom (run_id, task_idx, map_index, key, value) VALUES (13, $1, -1, '<img src=x>', '{\"a\": \"<script>alert(3)\"}')")
        .bind(task).execute(&server.pool).await.unwrap();
    sqlx::query("INSERT INTO task_try (run_id, task_idx, map_index, try_number, state, reason) VALUES (13, $1, -1, 1, 5, '<script>alert(4)')")
        .bind(task).execute(&server.pool).await.unwrap();
    let log = [
        "<span class=\"a-red\">red</span>",
        "class=\"err\"",
        "&lt;script&gt;alert(2)",
        "silver is running",
        "try 1",
        "bronze_checks",
        "gold",
    ];
    expect(&server, &token, &url, &log).await;
    expect(&server, &token, &format!("{url}?find=ALERT"), &["1 of the last 2 lines have &quot;ALERT&quot;"]).await;
    expect(
        &server,
        &token,
        &format!("{url}?tab=rendered"),
        &["<h2>sql</h2>", "&lt;script&gt;alert(1)", "<h2>rows</h2>"],
    )
    .await;
    expect(&server, &token, &format!("{url}?tab=xcom"), &["&lt;img src=x&gt;", "&lt;script&gt;alert(3)"]).await;
    expect(
        &server,
        &token,
        &format!("{url}?tab=details"),
        &["trigger rule", "&lt;script&gt;alert(4)", &attempt.to_string()],
    )
    .await;
    let file = client()
        .get(server.url(&format!("{url}/log.txt")))
        .header("cookie", format!("_token={token}"))
        .send()
        .await
        .unwrap();
    assert!(file.headers()["content-disposition"].to_str().unwrap().starts_with("attachment"));
    assert_eq!(file.headers()["content-type"], "text/plain; charset=utf-8");
    assert!(file.text().await.unwrap().contains("err \u{1b}[31mred"));
    let marked =
        server.submit(&token, &url, &format!("{url}/mark"), &[("state", "success"), ("map_index", "-1")]).await;
    assert_eq!(marked.status(), 303);
    let refused = server.submit(&token, &url, &format!("{url}/mark"), &[("state", "running")]).await;
    assert_eq!(refused.status(), 400);
    let (status, _) = server.page(&token, &format!("{}/tasks/none", run())).await;
    assert_eq!(status, 404);
}

#[tokio::test]
async fn times_are_shown_in_the_chosen_zone_and_the_theme_is_kept() {
    let server = Server::start().await;
    let token = server.token("viewer").await;
    let fields = [("theme", "dark"), ("zone", "Asia/Kolkata"), ("back", "/runs")];
    let kept = server.submit(&token, "/preferences", "/preferences", &fields).await;
    assert_eq!((kept.status().as_u16(), kept.headers()["location"].to_str().unwrap()), (303, "/runs"));
    let cookies: Vec<_> = kept.headers().get_all("set-cookie").iter().map(|cookie| cookie.to_str().unwrap()).collect();
    assert!(cookies[0].starts_with("theme=dark;") && cookies[1].starts_with("zone=Asia/Kolkata;"), "{cookies:?}");
    let request =
        client().get(server.url(&run())).header("cookie", format!("_token={token}; theme=dark; zone=Asia/Kolkata"));
    let html = request.send().await.unwrap().text().await.unwrap();
    assert!(html.contains("data-theme=\"dark\"") && html.contains("Asia&#x2F;Kolkata · "), "{html}");
    let refused = server.submit(&token, "/preferences", "/preferences", &[("zone", "Atlantis/Poseidonis")]).await;
    assert_eq!(refused.status(), 400);
}

#[tokio::test]
async fn a_search_leads_to_dags_tasks_runs_and_what_one_may_do() {
    let server = Server::start().await;
    let viewer = server.token("viewer").await;
    let user = server.token("user").await;
    expect(&server, &user, "/search?q=stock", &["stock_data_pipeline\"", "Trigger stock", "Pause stock"]).await;
    expect(&server, &user, "/search?q=weather", &["Un-pause weather_pipeline"]).await;
    expect(&server, &viewer, "/search?q=report", &["publish_quality_report", "#task-publish_quality_report"]).await;
    expect(&server, &viewer, "/search?q=manual__1", &["manual__12\""]).await;
    let (_, html) = server.page(&viewer, "/search?q=stock").await;
    assert!(!html.contains("Pause stock") && !html.contains("Trigger stock"), "{html}");
    let (_, html) = server.page(&viewer, "/search?q=%25").await;
    assert!(html.contains("Nothing has"), "a wildcard is a letter like any other: {html}");
}

#[tokio::test]
async fn a_form_keeps_what_was_typed_and_tells_each_mistake_at_its_field() {
    let server = Server::start().await;
    let token = server.token("user").await;
    let form = format!("{DAG}/trigger");
    let fields = [
        ("whole", "1"),
        ("param.rows", "many"),
        ("run_id", "<b>"),
        ("conf", "{"),
        ("note", "kept"),
        ("logical_date", "soon"),
    ];
    let refused = server.submit(&token, &form, &form, &fields).await;
    assert_eq!(refused.status(), 400);
    let html = refused.text().await.unwrap();
    for piece in
        ["is not a whole number", "this is not JSON", "is not a date with a time", "value=\"kept\"", "value=\"many\""]
    {
        assert!(html.contains(piece), "{piece}: {html}");
    }
    assert!(!html.contains("<b>\""), "{html}");
    let fields = [
        ("whole", "1"),
        ("param.rows", "4"),
        ("run_id", "typed"),
        ("conf", "{\"extra\": [1]}"),
        ("logical_date", "2026-11-01T00:00"),
    ];
    let started = server.submit(&token, &form, &form, &fields).await;
    assert_eq!(started.headers()["location"], format!("{DAG}/runs/typed"));
    expect(&server, &token, &format!("{DAG}/runs/typed"), &["&quot;rows&quot;: 4", "&quot;extra&quot;"]).await;
}

#[tokio::test]
async fn an_import_error_shows_its_line_with_a_mark() {
    let server = Server::start().await;
    let token = server.token("viewer").await;
    let insert = "INSERT INTO import_error (file, position, message, line, col, field, suggestion, excerpt) VALUES \
                  ('a.yaml', 0, 'unknown field', 3, 5, 'tasks[0].bash_comand', 'did you mean \"bash_command\"?', \
                   '    bash_comand: <script>alert(1)</script>')";
    sqlx::query(insert).execute(&server.pool).await.unwrap();
    let pieces = ["line 3, column 5", "<mark>bash_comand</mark>", "&lt;script&gt;", "did you mean"];
    expect(&server, &token, "/import-errors", &pieces).await;
}

#[tokio::test]
async fn mistakes_that_are_not_shown_are_told_of() {
    let server = Server::start().await;
    let token = server.token("viewer").await;
    let rows = "INSERT INTO import_error (file, position, message) SELECT 'f' || f || '.yaml', p, 'wrong'
        FROM generate_series(1, 110) f, generate_series(0, 99) p";
    sqlx::raw_sql(rows).execute(&server.pool).await.unwrap();
    expect(&server, &token, "/import-errors", &["the first 500 mistakes", "110 files"]).await;
    let viewer = server.user("viewer").await;
    let (_, list) = viewer.get("/importErrors?limit=100").await;
    let texts: Vec<usize> = list["import_errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|error| error["stack_trace"].as_str().unwrap().lines().count())
        .collect();
    assert_eq!(
        (texts, &list["total_entries"]),
        (vec![100; 100], &serde_json::json!(110)),
        "every file with all that is known of it"
    );
}

#[tokio::test]
async fn a_page_of_dags_beyond_the_end_says_so_and_leads_back() {
    let server = Server::start().await;
    let token = server.token("viewer").await;
    for page in ["7", "999", "99999999", "9223372036854775807"] {
        expect(&server, &token, &format!("/dags?page={page}"), &["The list ends before this page", "none of 2 here"])
            .await;
    }
    let (_, first) = server.page(&token, "/dags?page=-1").await;
    assert!(first.contains("weather_pipeline") && !first.contains("The list ends"));
}

#[tokio::test]
async fn what_is_in_quarantine_is_shown_and_released() {
    let server = Server::start().await;
    let (viewer, admin) = (server.token("viewer").await, server.token("admin").await);
    let insert = "INSERT INTO quarantine (kind, key, reason, failures, held_at) VALUES \
                  ('report', 'one ended', '<b>too large</b>', 3, now()), ('version', '7', 'unreadable', 1, now()), \
                  ('report', 'counted', 'once', 1, NULL)";
    sqlx::query(insert).execute(&server.pool).await.unwrap();
    expect(&server, &viewer, "/import-errors", &["one ended", "&lt;b&gt;too large", "3 failures", "unreadable"]).await;
    let (_, html) = server.page(&viewer, "/import-errors").await;
    assert!(!html.contains("Release</button>") && !html.contains("counted"), "{html}");

    let client = server.user("admin").await;
    let (_, list) = client.get("/quarantine?limit=1").await;
    assert_eq!((list["total_entries"].as_i64(), list["quarantine_entries"].as_array().unwrap().len()), (Some(2), 1));
    let (_, entry) = client.get("/quarantine/report:one%20ended").await;
    assert_eq!((entry["reason"].as_str(), entry["failures"].as_i64()), (Some("<b>too large</b>"), Some(3)));
    for id in ["report:counted", "nothing:1", "nothing", "report:%00"] {
        assert_ne!(client.get(&format!("/quarantine/{id}")).await.0, 200, "{id}");
    }
    let released = client.post("/quarantine/version:7/release", serde_json::json!({})).await;
    assert_eq!((released.0, released.1["released"].as_bool()), (200, Some(true)));
    assert_eq!(client.post("/quarantine/version:7/release", serde_json::json!({})).await.0, 404);
    assert_eq!(server.user("op").await.post("/quarantine/report:none/release", serde_json::json!({})).await.0, 404);
    assert_eq!(server.user("user").await.post("/quarantine/report:none/release", serde_json::json!({})).await.0, 403);

    let fields = [("entry_id", "report:one ended")];
    let answer = server.submit(&admin, "/import-errors", "/quarantine/release", &fields).await;
    assert_eq!(answer.headers()["location"], "/import-errors");
    assert_eq!(client.get("/quarantine").await.1["total_entries"], 0);
    let audit = "SELECT count(*) FROM audit_log WHERE action = 'release_quarantine'";
    assert_eq!(sqlx::query_scalar::<_, i64>(audit).fetch_one(&server.pool).await.unwrap(), 2);
}

#[tokio::test]
async fn the_list_is_narrowed_by_owner_and_tag() {
    let server = Server::start().await;
    let token = server.token("viewer").await;
    expect(&server, &token, "/dags?owner=data", &["owner: data", "stock_data_pipeline"]).await;
    let (_, html) = server.page(&token, "/dags?owner=data&tag=weather").await;
    assert!(html.contains("No DAG fits"), "{html}");
}
