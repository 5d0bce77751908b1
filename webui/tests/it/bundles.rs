//! Bundles of DAG files by REST and on their page: deployed, listed, rolled back; and what hosts of git tell.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hmac::{Hmac, Mac as _};
use serde_json::{Value, json};
use sha2::Sha256;

use crate::support::{Server, client};

fn files(files: &[(&str, &[u8])]) -> Value {
    files.iter().map(|(name, bytes)| ((*name).to_owned(), Value::from(STANDARD.encode(bytes)))).collect()
}

#[tokio::test]
async fn a_deployment_is_a_revision_that_lists_show_and_that_can_be_rolled_back() {
    let server = Server::start().await;
    let (op, viewer) = (server.user("op").await, server.user("viewer").await);
    // Larger than any other route takes.
    let large = vec![b'x'; 900_000];
    let first = files(&[("a.yaml", b"one"), ("sql/large.sql", &large), ("sql/larger.sql", &large)]);
    let body = json!({"files": first, "message": "First"});
    let (status, done) = op.post("/dagBundles/team/revisions", body.clone()).await;
    assert_eq!((status, &done["has_changed"]), (200, &json!(true)), "{done}");
    let revision = done["bundle_version"].as_str().unwrap().to_owned();
    assert_eq!(op.post("/dagBundles/team/revisions", body).await.1["has_changed"], false);
    let second = json!({"files": files(&[("a.yaml", b"two")]), "message": "Second", "author": "Ann"});
    let (_, done) = op.post("/dagBundles/team/revisions", second).await;

    let (_, bundles) = viewer.get("/dagBundles").await;
    let (folder, team) = (&bundles["dag_bundles"][0], &bundles["dag_bundles"][1]);
    assert_eq!(
        (&folder["name"], &folder["kind"], &folder["dag_count"]),
        (&"dags-folder".into(), &"local".into(), &2.into())
    );
    assert_eq!((&team["name"], &team["kind"], &team["author"]), (&"team".into(), &"pushed".into(), &"Ann".into()));
    assert_eq!((&team["bundle_version"], &team["deployed_by"]), (&done["bundle_version"], &"op".into()));
    let (_, revisions) = viewer.get("/dagBundles/team/revisions?limit=1").await;
    assert_eq!((&revisions["total_entries"], &revisions["revisions"][0]["message"]), (&2.into(), &"Second".into()));
    assert_eq!(revisions["revisions"][0]["deployed_from"], "127.0.0.1");

    let back = json!({"bundle_version": &revision[..10]});
    let (status, done) = op.post("/dagBundles/team/rollback", back).await;
    assert_eq!((status, &done["bundle_version"]), (200, &json!(revision)), "{done}");
    let (_, found) = viewer.get("/dagBundles/team").await;
    assert_eq!((&found["dag_bundle"]["bundle_version"], &found["dags"]), (&json!(revision), &json!([])));
    let (_, log) = op.get("/eventLogs?event=rollback_bundle").await;
    assert_eq!((&log["total_entries"], &log["event_logs"][0]["owner"]), (&1.into(), &"op".into()));

    let token = server.token("op").await;
    let (status, page) = server.page(&token, "/bundles").await;
    assert_eq!(status, 200);
    assert!(page.contains("team") && page.contains(&revision[..12]) && page.contains("Roll back"), "{page}");
    let (_, page) = server.page(&server.token("viewer").await, "/bundles").await;
    assert!(!page.contains("Roll back") && !page.contains("/bundles/delete"), "who may not is offered nothing");

    assert_eq!(viewer.delete("/dagBundles/team").await, 403);
    assert_eq!(op.delete("/dagBundles/dags-folder").await, 400);
    let answer = server.submit(&token, "/bundles/delete?name=team", "/bundles/delete", &[("name", "team")]).await;
    assert_eq!(answer.status(), 303);
    assert_eq!(op.get("/dagBundles/team").await.0, 404);
    assert_eq!(op.delete("/dagBundles/team").await, 404);
    let body = json!({"files": files(&[("a.yaml", b"one")])});
    assert_eq!(op.post("/dagBundles/team/revisions", body).await.0, 200, "its name is free again");
    assert_eq!(op.delete("/dagBundles/team").await, 204);
}

#[tokio::test]
async fn what_is_refused_is_named_and_leaves_nothing() {
    let server = Server::start().await;
    let op = server.user("op").await;
    let good = json!({"files": files(&[("a.yaml", b"x")])});
    for user in ["viewer", "user"] {
        assert_eq!(server.user(user).await.post("/dagBundles/team/revisions", good.clone()).await.0, 403);
        let back = json!({"bundle_version": "123456"});
        assert_eq!(server.user(user).await.post("/dagBundles/team/rollback", back).await.0, 403);
        assert_eq!(server.user(user).await.post("/dagBundles/team/poll", json!({})).await.0, 403);
    }
    let refused = async |name: &str, body: Value| {
        let (status, answer) = op.post(&format!("/dagBundles/{name}/revisions"), body).await;
        assert!([400, 422].contains(&status), "{status}: {answer}");
        answer["detail"].to_string()
    };
    for name in ["../x.yaml", "/etc/passwd", "a/../../b", "a\\b"] {
        let why = refused("team", json!({"files": {name: "eA=="}})).await;
        assert!(why.contains(name.split(['/', '\\']).next_back().unwrap()), "{why}");
    }
    assert!(refused("team", json!({"files": {"a.yaml": "no base64!"}})).await.contains("a.yaml"));
    assert!(refused("team", json!({"files": {"a.yaml": 7}})).await.contains("a.yaml"));
    let large = vec![b'x'; 1024 * 1024 + 1];
    assert!(refused("team", json!({"files": files(&[("large.sql", &large)])})).await.contains("large.sql"));
    assert!(refused("team", json!({})).await.contains("files"), "an empty body takes no DAG out of force");
    assert!(refused("team", json!({"files": {}, "mesage": "x"})).await.contains("mesage"));
    assert!(refused("dags-folder", good.clone()).await.contains("DAG folder"));
    assert!(refused("a%20b", good).await.contains("bundle name"));
    assert_eq!(op.get("/dagBundles/team").await.0, 404);
    assert_eq!(op.get("/dagBundles/a%20b/revisions").await.0, 404);
    assert_eq!(op.post("/dagBundles/team/rollback", json!({"bundle_version": "123456"})).await.0, 404);
    assert_eq!(op.post("/dagBundles/team/poll", json!({})).await.0, 404);
    let left: i64 = sqlx::query_scalar("SELECT count(*) FROM bundle").fetch_one(&server.pool).await.unwrap();
    assert_eq!(left, 0);
}

fn signed(secret: &str, body: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(body.as_bytes());
    format!("sha256={}", hex::encode(mac.finalize().into_bytes()))
}

#[tokio::test]
async fn a_webhook_asks_for_a_poll_when_it_knows_the_secret_and_for_nothing_else() {
    let server = Server::start().await;
    let op = server.user("op").await;
    let connection = json!({"connection_id": "hook", "conn_type": "git", "password": "the secret"});
    assert_eq!(op.post("/connections", connection).await.0, 201);
    let rows = r#"INSERT INTO bundle (name, kind, settings) VALUES
        ('repo', 'git', '{"tracking_ref": "main", "webhook_conn_id": "hook", "repo_url": "https://github.com/a/b", "view_url_template": "https://github.com/a/b/tree/{version}"}'),
        ('silent', 'git', '{"tracking_ref": "main"}'),
        ('dangling', 'git', '{"tracking_ref": "main", "webhook_conn_id": "nosuch"}'),
        ('pushed', 'pushed', '{"webhook_conn_id": "hook"}')"#;
    sqlx::query(rows).execute(&server.pool).await.unwrap();
    let knock = async |bundle: &str, header: &str, value: String, body: &str| {
        let url = server.url(&format!("/api/v2/dagBundles/{bundle}/webhook"));
        let answer = client().post(url).header(header, value).body(body.to_owned()).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    };
    let asked = async || {
        let row = "SELECT count(*) FROM bundle WHERE poll_asked_at IS NOT NULL";
        sqlx::query_scalar::<_, i64>(row).fetch_one(&server.pool).await.unwrap()
    };
    const SIGNATURE: &str = "x-hub-signature-256";
    let push = r#"{"ref": "refs/heads/main", "after": "0123"}"#;
    let nobody = knock("nosuch", SIGNATURE, signed("the secret", push), push).await;
    assert_eq!(nobody.0, 403);
    for (bundle, secret, body) in [
        ("repo", "another secret", push),
        ("repo", "", push),
        ("silent", "the secret", push),
        ("dangling", "", push),
        ("pushed", "the secret", push),
        ("a%20b", "the secret", push),
    ] {
        let refused = knock(bundle, SIGNATURE, signed(secret, body), body).await;
        assert_eq!(refused, nobody, "{bundle}: nobody learns what is wrong");
    }
    assert_eq!(knock("repo", SIGNATURE, signed("the secret", "{}"), push).await, nobody, "of another body");
    assert_eq!(knock("repo", "x-gitlab-token", "the secre".to_owned(), push).await, nobody);
    assert_eq!(knock("repo", "x-other", "the secret".to_owned(), push).await, nobody);
    assert_eq!(asked().await, 0);

    let elsewhere = r#"{"ref": "refs/heads/feature"}"#;
    let (status, answer) = knock("repo", SIGNATURE, signed("the secret", elsewhere), elsewhere).await;
    assert_eq!((status, answer.contains("\"is_polled\":false"), asked().await), (202, true, 0), "{answer}");
    let (status, answer) = knock("repo", SIGNATURE, signed("the secret", push), push).await;
    assert_eq!((status, answer.contains("\"is_polled\":true"), asked().await), (202, true, 1), "{answer}");
    sqlx::query("UPDATE bundle SET poll_asked_at = NULL").execute(&server.pool).await.unwrap();
    assert_eq!(knock("repo", "x-gitlab-token", "the secret".to_owned(), push).await.0, 202);
    assert_eq!(asked().await, 1);
    sqlx::query("UPDATE bundle SET is_active = false WHERE name = 'repo'").execute(&server.pool).await.unwrap();
    assert_eq!(knock("repo", SIGNATURE, signed("the secret", push), push).await, nobody);
    let large = "x".repeat(1024 * 1024 + 1);
    assert_eq!(knock("repo", SIGNATURE, signed("the secret", &large), &large).await.0, 413);
}

#[tokio::test]
async fn a_bundle_of_git_shows_its_state_and_its_versions_lead_to_the_revision() {
    let server = Server::start().await;
    let rows = r#"
        INSERT INTO bundle (name, kind, settings, poll_error, poll_failures, polled_at) VALUES ('repo', 'git',
            '{"tracking_ref": "main", "repo_url": "https://github.com/a/b", "subdir": "d", "view_url_template": "https://github.com/a/b/tree/{version}/{subdir}"}',
            'https://github.com/a/b: git ls-remote: <script>alert(1)</script>', 3, now());
        INSERT INTO bundle_revision (bundle_name, revision, author, message, made_by, file_count, byte_count)
            VALUES ('repo', '0123456789abcdef', 'Ann', '<img src=x>', 'windlass', 1, 2);
        UPDATE bundle SET current_revision = (SELECT id FROM bundle_revision), current_since = now();
        UPDATE dag SET bundle_name = 'repo' WHERE dag_id = 'weather_pipeline';
        UPDATE dag_version SET bundle_name = 'repo', bundle_version = '0123456789abcdef' WHERE dag_id = 'weather_pipeline';
        INSERT INTO import_error (bundle_name, file, position, message) VALUES ('repo', './', 0, 'can not be renewed')"#;
    sqlx::raw_sql(rows).execute(&server.pool).await.unwrap();
    let viewer = server.user("viewer").await;
    let url = "https://github.com/a/b/tree/0123456789abcdef/d";
    let (_, bundle) = viewer.get("/dagBundles/repo").await;
    assert_eq!((&bundle["dag_bundle"]["view_url"], &bundle["dag_bundle"]["poll_failures"]), (&json!(url), &json!(3)));
    assert_eq!(bundle["dags"][0]["dag_id"], "weather_pipeline");
    let (_, dags) = viewer.get("/dags?bundle_name=repo").await;
    assert_eq!((&dags["total_entries"], &dags["dags"][0]["bundle_version"]), (&json!(1), &json!("0123456789abcdef")));
    assert_eq!(viewer.get("/dags?bundle_version=0123456789abcdef").await.1["total_entries"], 1);
    assert_eq!(viewer.get("/dags?bundle_name=dags-folder").await.1["total_entries"], 1);
    let (_, versions) = viewer.get("/dags/~/dagVersions?bundle_name=repo").await;
    let version = &versions["dag_versions"][0];
    assert_eq!((&version["bundle_url"], &version["bundle_version"]), (&json!(url), &json!("0123456789abcdef")));
    assert_eq!(viewer.get("/dags/~/dagVersions?bundle_version=0123456789abcdef").await.1["total_entries"], 1);
    let (_, errors) = viewer.get("/importErrors?bundle_name=repo").await;
    assert_eq!((&errors["total_entries"], &errors["import_errors"][0]["bundle_name"]), (&json!(1), &json!("repo")));
    let id = &errors["import_errors"][0]["import_error_id"];
    assert_eq!(viewer.get(&format!("/importErrors/{id}")).await.1["filename"], "./");

    let token = server.token("viewer").await;
    let (_, page) = server.page(&token, "/bundles").await;
    let escaped = url.replace('/', "&#x2F;");
    for piece in ["&lt;script&gt;alert(1)", "&lt;img src=x", "3 failures", "below d", &escaped, "1 file with errors"] {
        assert!(page.contains(piece), "{piece}: {page}");
    }
    assert!(!page.contains("<script>alert") && !page.contains("<img src=x"));
    let (_, page) = server.page(&token, "/dags/weather_pipeline?tab=code").await;
    assert!(page.contains("0123456789ab") && page.contains(&escaped), "{page}");
    let (_, page) = server.page(&token, "/import-errors").await;
    assert!(page.contains("of bundle"), "{page}");
}
