//! Versions are stored once by their content, and a task keeps its number.

use std::sync::Arc;

use dag::{DagFile, DagFileError};
use model::{BundleFile, TaskIdx};
use store::{FileBatch, StoreError};

use crate::support::{Database, compile, dag_id};

#[tokio::test]
async fn the_same_content_is_the_same_version() {
    let database = Database::create().await;
    let mut leader = database.leader().await;
    let first = leader.store_dag("etl", &["a", "b"]).await;
    let again = leader.store_dag("etl", &["a", "b"]).await;
    assert_eq!(first, again);
    assert_eq!(database.count("dag_version").await, 1);
    let second = leader.store_dag("etl", &["a", "c"]).await;
    assert_ne!(first.id, second.id);
    // Back to the older content: the older version is current again.
    leader.store_dag("etl", &["a", "b"]).await;
    let dags = store::load(leader.writer.connection()).await.unwrap().snapshot.dags;
    assert_eq!(dags[0].current, first.id);
}

#[tokio::test]
async fn a_version_shows_its_file_as_it_was_last_read() {
    let database = Database::create().await;
    let mut leader = database.leader().await;
    let epoch = leader.epoch();
    let mut compiled = compile("etl", &["a"]);
    let version = store::store_version(&mut leader.writer, epoch, &compiled).await.unwrap();
    let source = async || store::read::source(&database.pool, version.id).await.unwrap().unwrap();
    assert_eq!(source().await.as_bytes(), &*compiled.source.bytes);
    compiled.source = DagFile::of("test.yaml", b"# What it is for");
    let again = store::store_version(&mut leader.writer, epoch, &compiled).await.unwrap();
    assert_eq!((again.id, source().await.as_str()), (version.id, "# What it is for"));
    sqlx::query("UPDATE dag_version SET source_sha256 = NULL").execute(&database.pool).await.unwrap();
    assert_eq!(source().await, compiled.canonical_yaml, "a version that was stored before");
}

#[tokio::test]
async fn a_task_keeps_its_number_and_a_number_is_never_used_again() {
    let database = Database::create().await;
    let mut leader = database.leader().await;
    let number = |version: &engine::DagVersion, task: &str| {
        let position = version.dag.tasks.iter().position(|known| known.task_id.as_str() == task).unwrap();
        version.task_idx[position]
    };
    let first = leader.store_dag("etl", &["a", "b", "c"]).await;
    let (b, c) = (number(&first, "b"), number(&first, "c"));
    let second = leader.store_dag("etl", &["c", "x"]).await;
    assert_eq!(number(&second, "c"), c);
    assert_eq!(number(&second, "x"), TaskIdx(3));
    let third = leader.store_dag("etl", &["b", "y"]).await;
    assert_eq!((number(&third, "b"), number(&third, "y")), (b, TaskIdx(4)));
    let other = leader.store_dag("other", &["a"]).await;
    assert_eq!(number(&other, "a"), TaskIdx(0));
}

#[tokio::test]
async fn the_pause_switch_is_set_at_first_sight_only() {
    let database = Database::create().await;
    let mut leader = database.leader().await;
    let epoch = leader.epoch();
    let mut compiled = compile("etl", &["a"]);
    compiled.dag.is_paused_upon_creation = true;
    store::store_version(&mut leader.writer, epoch, &compiled).await.unwrap();
    compiled.dag.is_paused_upon_creation = false;
    "changed".clone_into(&mut compiled.content_hash);
    store::store_version(&mut leader.writer, epoch, &compiled).await.unwrap();
    sqlx::query("UPDATE dag SET is_stale = true").execute(&database.pool).await.unwrap();
    let dag = &store::load(leader.writer.connection()).await.unwrap().snapshot.dags[0];
    assert!(dag.is_paused && dag.is_stale);
    assert!(store::stored_files(leader.writer.connection()).await.unwrap().dags.is_empty());
    store::store_version(&mut leader.writer, epoch, &compiled).await.unwrap();
    let stored = store::stored_files(leader.writer.connection()).await.unwrap();
    let stored = &stored.dags[&dag_id("etl")];
    assert_eq!((stored.fileloc.as_str(), stored.content_hash.as_str()), ("test.yaml", "changed"));
    assert_eq!(stored.source_sha256.as_ref(), Some(&compiled.source.sha256));
}

#[tokio::test]
async fn files_are_kept_by_their_hash_and_may_not_be_large() {
    let database = Database::create().await;
    let mut leader = database.leader().await;
    let epoch = leader.epoch();
    let sha256 = "ab".repeat(32);
    let file = |bytes: Vec<u8>| DagFile { name: "q.sql".to_owned(), sha256: sha256.clone(), bytes: Arc::from(bytes) };
    let mut compiled = compile("etl", &["a"]);
    compiled.files = vec![file(b"SELECT 1".to_vec()), file(b"SELECT 1".to_vec())];
    store::store_version(&mut leader.writer, epoch, &compiled).await.unwrap();
    let stored = store::blob(&database.pool, &sha256).await.unwrap();
    assert_eq!(stored.as_deref(), Some(&b"SELECT 1"[..]));
    assert_eq!(store::blob(&database.pool, "not a hash").await.unwrap(), None);

    compiled.files = vec![file(vec![0; dag::FILE_BYTES_MAX + 1])];
    let refused = store::store_version(&mut leader.writer, epoch, &compiled).await.unwrap_err();
    assert!(matches!(&refused, StoreError::Refused { reason } if reason.contains("q.sql")), "{refused:?}");
}

#[tokio::test]
async fn import_errors_of_a_file_are_replaced_together() {
    let database = Database::create().await;
    let mut leader = database.leader().await;
    let epoch = leader.epoch();
    let error = |line: usize| DagFileError {
        dag_id: None,
        file: "bad.yaml".to_owned(),
        line,
        column: line,
        field: "tasks.a.retries".to_owned(),
        message: "expected a number".to_owned(),
        suggestion: None,
        excerpt: Some("retries: many".to_owned()),
    };
    let (first, second) = ([error(3), error(0)], [error(0), error(7)]);
    let bad = BundleFile::in_folder("bad.yaml");
    let mut set = async |errors: &[DagFileError]| {
        let batch = FileBatch { dags: Vec::new(), errors: vec![(&bad, errors)] };
        store::store_files(&mut leader.writer, epoch, &batch).await.unwrap();
        store::stored_files(leader.writer.connection()).await.unwrap().errors
    };
    assert_eq!(set(&first).await[&bad], first);
    assert_eq!(
        database.count("import_error WHERE line IS NULL OR (line = 3 AND col = 3 AND excerpt = 'retries: many')").await,
        2
    );
    sqlx::query("UPDATE import_error SET found_at = '2026-01-01'").execute(&database.pool).await.unwrap();
    assert_eq!(set(&second).await[&bad], second);
    let old = "import_error WHERE found_at = '2026-01-01' AND line IS NULL";
    assert_eq!((database.count(old).await, database.count("import_error").await), (1, 2), "one was there before");
    assert!(set(&[]).await.is_empty());
}

#[tokio::test]
async fn a_batch_is_stored_as_a_whole_or_not_at_all() {
    let database = Database::create().await;
    let mut leader = database.leader().await;
    let epoch = leader.epoch();
    let old = leader.store_dag("a", &["x", "y"]).await;
    let (a, b, mut c) = (compile("a", &["y", "z"]), compile("b", &["x"]), compile("c", &["x"]));
    let batch = FileBatch { dags: vec![(&a).into(), (&b).into()], errors: Vec::new() };
    let stored = store::store_files(&mut leader.writer, epoch, &batch).await.unwrap();
    assert_eq!(stored[0].task_idx.to_vec(), [TaskIdx(1), TaskIdx(2)], "{old:?}");
    assert_eq!(stored[1].task_idx.to_vec(), [TaskIdx(0)]);
    assert_eq!(store::store_files(&mut leader.writer, epoch, &batch).await.unwrap(), stored);

    c.dag.description = Some("a\0b".to_owned());
    let d = compile("d", &["x"]);
    let file = BundleFile::in_folder("c.yaml");
    let batch = FileBatch { dags: vec![(&d).into(), (&c).into()], errors: vec![(&file, &[])] };
    let refused = store::store_files(&mut leader.writer, epoch, &batch).await.unwrap_err();
    assert!(refused.refuses_value() && !refused.ends_leadership(), "{refused:?}");
    assert_eq!(database.count("dag").await, 2);
    let twice = FileBatch { dags: vec![(&d).into(), (&d).into()], errors: Vec::new() };
    let refused = store::store_files(&mut leader.writer, epoch, &twice).await.unwrap_err();
    assert!(matches!(&refused, StoreError::Refused { reason } if reason.contains("DAG d")), "{refused:?}");
}

#[tokio::test]
async fn a_definition_keeps_the_order_of_its_keys() {
    let database = Database::create().await;
    let mut leader = database.leader().await;
    let epoch = leader.epoch();
    let compiled = compile("etl", &["a"]);
    store::store_version(&mut leader.writer, epoch, &compiled).await.unwrap();
    let stored: String =
        sqlx::query_scalar("SELECT compiled::text FROM dag_version").fetch_one(&database.pool).await.unwrap();
    assert_eq!(stored, serde_json::to_string(&compiled.dag).unwrap());
}

#[tokio::test]
async fn a_relative_start_date_is_pinned_when_its_dag_is_first_seen() {
    let database = Database::create().await;
    let mut leader = database.leader().await;
    let epoch = leader.epoch();
    let compiled = |task: &str| {
        let text = format!("dag_id: etl\nstart_date: 2 days\ntasks: [{{task_id: {task}, operator: empty}}]");
        dag::load("test.yaml", &text, &dag::Content::default()).dags.pop().unwrap()
    };
    let first = store::store_version(&mut leader.writer, epoch, &compiled("a")).await.unwrap();
    let seen: model::Timestamp =
        sqlx::query_scalar("SELECT first_seen_at FROM dag").fetch_one(&database.pool).await.unwrap();
    let midnight = seen.date_naive().and_time(chrono::NaiveTime::MIN).and_utc();
    assert_eq!(first.dag.start_date, Some(midnight - chrono::TimeDelta::days(2)));
    // Three days later there is another version, and the date is the same.
    sqlx::query("UPDATE dag SET first_seen_at = first_seen_at - interval '3 days'")
        .execute(&database.pool)
        .await
        .unwrap();
    let later = store::store_version(&mut leader.writer, epoch, &compiled("b")).await.unwrap();
    assert_eq!(later.dag.start_date, Some(midnight - chrono::TimeDelta::days(5)));
    let loaded = store::versions::current(leader.writer.connection(), later.id).await.unwrap().unwrap();
    assert_eq!((loaded.dag.start_date, loaded.dag.relative_start), (later.dag.start_date, later.dag.relative_start));
}
