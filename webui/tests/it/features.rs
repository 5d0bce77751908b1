//! What users have of their own, and what the server says of DAGs.

use serde_json::{Value, json};

use crate::support::{Client, Server};

const STOCK: &str = "/dags/stock_data_pipeline";

/// Asks for a list that has no rows.
async fn empty(client: &Client, path: &str, list: &str) {
    let (status, answer) = client.get(path).await;
    assert_eq!((status, &answer[list], &answer["total_entries"]), (200, &json!([]), &json!(0)), "{path}: {answer}");
}

#[tokio::test]
async fn a_dag_is_the_favorite_of_who_marks_it() {
    let server = Server::start().await;
    let (viewer, user) = (server.user("viewer").await, server.user("user").await);
    let (mark, unmark) = (format!("{STOCK}/favorite"), format!("{STOCK}/unfavorite"));
    assert_eq!(viewer.post(&unmark, Value::Null).await.0, 409, "it is none yet");
    assert_eq!(viewer.post(&mark, Value::Null).await, (204, Value::Null));
    let (status, again) = viewer.post(&mark, Value::Null).await;
    assert_eq!((status, again["detail"]["reason"].is_string()), (409, true), "{again}");
    assert_eq!(user.post(&unmark, Value::Null).await.0, 409, "of somebody else");
    assert_eq!(viewer.post(&unmark, Value::Null).await.0, 204);
    assert_eq!(viewer.post("/dags/none/favorite", Value::Null).await.0, 404);
    viewer.post(&mark, Value::Null).await;
    sqlx::query("DELETE FROM dag WHERE dag_id = 'stock_data_pipeline'").execute(&server.pool).await.unwrap();
    let left: i64 = sqlx::query_scalar("SELECT count(*) FROM dag_favorite").fetch_one(&server.pool).await.unwrap();
    assert_eq!(left, 0, "marks go with their DAG");
}

#[tokio::test]
async fn a_pool_that_does_not_exist_is_warned_of() {
    let server = Server::start().await;
    let viewer = server.user("viewer").await;
    empty(&viewer, "/dagWarnings", "dag_warnings").await;
    let renamed = "UPDATE pool SET name = 'another' WHERE name = 'default_pool'";
    sqlx::query(renamed).execute(&server.pool).await.unwrap();
    let (_, warnings) = viewer.get("/dagWarnings?order_by=-dag_id").await;
    let dags: Vec<_> = warnings["dag_warnings"].as_array().unwrap().iter().map(|one| &one["dag_id"]).collect();
    assert_eq!(dags, ["weather_pipeline", "stock_data_pipeline"], "{warnings}");
    let (_, one) = viewer.get("/dagWarnings?dag_id=weather_pipeline&warning_type=non-existent%20pool").await;
    let message = one["dag_warnings"][0]["message"].as_str().unwrap();
    assert!(one["total_entries"] == 1 && message.contains("default_pool"), "{one}");
    assert_eq!(viewer.get("/dagWarnings?limit=1&offset=1").await.1["total_entries"], 2);
    empty(&viewer, "/dagWarnings?warning_type=asset%20conflict", "dag_warnings").await;
    empty(&viewer, "/dagWarnings?dag_id=a%2Fb", "dag_warnings").await;
    assert_eq!(viewer.get("/dagWarnings?warning_type=other").await.0, 422);
    assert_eq!(viewer.get("/dagWarnings?order_by=owner").await.0, 400);
}
