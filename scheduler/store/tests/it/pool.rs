//! What the pool hands out.

use sqlx::Connection as _;

use crate::support::Database;

#[tokio::test]
async fn whoever_gives_up_while_a_transaction_begins_takes_nobodys_writes_along() {
    let database = Database::create().await;
    sqlx::raw_sql("CREATE TABLE kept (n int)").execute(&database.pool).await.unwrap();
    let mut other = sqlx::PgConnection::connect(&database.url).await.unwrap();
    let mut given_up = 0;
    for written in 1..=50_i64 {
        let mut connection = database.pool.acquire().await.unwrap();
        tokio::select! {
            biased;
            // The server was fast.
            begun = connection.begin() => drop(begun.unwrap()),
            // BEGIN is sent, and its answer is nobody's any more.
            () = std::future::ready(()) => given_up += 1,
        }
        drop(connection);
        sqlx::raw_sql("INSERT INTO kept VALUES (1)").execute(&database.pool).await.unwrap();
        let seen: i64 = sqlx::query_scalar("SELECT count(*) FROM kept").fetch_one(&mut other).await.unwrap();
        assert_eq!(seen, written);
    }
    assert!(given_up > 0);
}
