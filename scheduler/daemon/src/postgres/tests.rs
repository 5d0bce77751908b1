//! The private PostgreSQL with real processes: stopped, killed, adopted, and asked for what it must not give.

use nix::sys::signal::{Signal, kill};
use sqlx::{Connection, Executor, PgConnection};

use super::*;

/// A home where the server's user can reach it, whoever runs the tests.
fn home() -> tempfile::TempDir {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o711)).unwrap();
    folder
}

async fn count(url: &str) -> i64 {
    let mut connection = PgConnection::connect(url).await.unwrap();
    sqlx::query_scalar("SELECT count(*) FROM kept").fetch_one(&mut connection).await.unwrap()
}

async fn keep_a_row(url: &str) {
    let mut connection = PgConnection::connect(url).await.unwrap();
    connection.execute("CREATE TABLE kept (n int); INSERT INTO kept VALUES (1)").await.unwrap();
}

#[tokio::test]
async fn it_starts_stops_is_adopted_and_recovers_on_one_home() {
    let home = home();
    let first = EmbeddedPostgres::start(home.path()).await.unwrap();
    keep_a_row(first.state_url()).await;
    let running = EmbeddedPostgres::running(home.path()).await.unwrap();
    assert_eq!(running, *first.urls());
    let second = EmbeddedPostgres::start(home.path()).await.unwrap_err();
    assert!(matches!(second, PostgresError::InUse { .. }), "{second}");

    // The process that looks after it is gone, the server is not.
    let (pid, port) = (first.server.pid(), first.server.port());
    drop(first);
    let adopted = EmbeddedPostgres::start(home.path()).await.unwrap();
    assert_eq!((adopted.server.pid(), adopted.server.port()), (pid, port));
    assert_eq!(count(adopted.state_url()).await, 1);

    // The server is killed, and its pid file stays behind.
    drop(adopted);
    kill(pid, Signal::SIGKILL).unwrap();
    let recovered = EmbeddedPostgres::start(home.path()).await.unwrap();
    assert_ne!(recovered.server.pid(), pid);
    assert_eq!(count(recovered.state_url()).await, 1);

    recovered.stop().await;
    let gone = EmbeddedPostgres::running(home.path()).await.unwrap_err();
    assert!(matches!(gone, PostgresError::NotRunning { .. }), "{gone}");
}

#[tokio::test]
async fn the_lakes_role_can_not_see_the_state_and_nobody_comes_in_without_a_password() {
    let home = home();
    let postgres = EmbeddedPostgres::start(home.path()).await.unwrap();
    let mut lake = PgConnection::connect(postgres.lake_url()).await.unwrap();
    lake.execute("CREATE TABLE offsets (n int)").await.unwrap();
    let to_state = postgres.lake_url().replace("/windlass_lake", "/windlass");
    assert!(PgConnection::connect(&to_state).await.is_err(), "the lake's role reads the state");
    let (before, after) = postgres.state_url().split_once('@').unwrap();
    let without = format!("{}:wrong@{after}", before.rsplit_once(':').unwrap().0);
    assert!(PgConnection::connect(&without).await.is_err(), "a wrong password is let in");
    let fsync: String = sqlx::query_scalar("SHOW fsync").fetch_one(&mut lake).await.unwrap();
    assert_eq!(fsync, "on");
    assert!(!format!("{:?}", postgres.urls()).contains(&postgres.state_url()[20..40]));
    drop(lake);
    postgres.stop().await;
}
