//! What will happen, by REST and on its page.

use serde_json::{Value, json};

use crate::support::Server;

#[tokio::test]
async fn the_next_hours_are_foretold_of_what_is_stored() {
    let server = Server::start().await;
    // The samples of these tests run on nobody, which no leader would leave.
    sqlx::query("UPDATE task_instance SET worker_id = 1 WHERE live").execute(&server.pool).await.unwrap();
    let viewer = server.user("viewer").await;
    let (status, told) = viewer.get("/forecast?hours=6&default_duration=30").await;
    assert_eq!(status, 200, "{told}");
    let instant = |value: &Value| value.as_str().unwrap().parse::<model::Timestamp>().unwrap();
    assert_eq!((instant(&told["until"]) - instant(&told["from"])).num_hours(), 6);
    assert_eq!(told["cut_because"], Value::Null);
    let runs = told["dag_runs"].as_array().unwrap();
    assert_eq!(told["total_dag_runs"], json!(runs.len()));
    let known: i64 =
        sqlx::query_scalar("SELECT count(*) FROM dag_run WHERE state IN (0, 1)").fetch_one(&server.pool).await.unwrap();
    let there = runs.iter().filter(|run| run["is_foreseen"] == false).count();
    assert_eq!(i64::try_from(there).unwrap(), known, "{runs:?}");
    assert!(known > 0, "something runs");
    for wrong in ["hours=0", "hours=169", "hours=x", "default_duration=-1"] {
        assert_eq!(viewer.get(&format!("/forecast?{wrong}")).await.0, 422, "{wrong}");
    }
    let token = server.token("viewer").await;
    let (status, html) = server.page(&token, "/forecast").await;
    assert!(status == 200 && html.contains("Deadlines that will be missed") && html.contains("24 hours"), "{html}");
    assert!(html.contains(r#"<a href="/forecast" aria-current="page">Forecast</a>"#), "{html}");
    assert_eq!(server.page(&token, "/forecast?hours=nonsense").await.0, 200);
    crate::roles::somebody(&server, "team", &[], &["read tag:weather"]).await;
    assert_eq!(server.user("team").await.get("/forecast").await.0, 403, "it tells of every DAG");
}
