//! What users have of their own, and what the server says of DAGs.

use serde_json::Value;

use crate::support::Server;

const STOCK: &str = "/dags/stock_data_pipeline";

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
