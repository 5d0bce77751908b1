//! Old history goes in steps, and what may still be needed stays.

use chrono::TimeDelta;
use sqlx::Executor as _;
use store::{
    maintenance::Swept,
    retention::{self, Cleaner, Kind, Retention},
};

use crate::support::{Database, Leader, noon};

/// `count` runs a day apart, the last one yesterday, with one task instance each: all ended, but the oldest one still runs
/// and the second oldest has an attempt that may live.
async fn history(database: &Database, leader: &mut Leader, count: i64) {
    let version = leader.store_dag("d", &["a"]).await;
    let runs = format!(
        "INSERT INTO dag_run (id, dag_id, run_id, run_type, triggered_by, version_id, state, run_after, queued_at, ended_at,
                              conf, has_leftovers)
         SELECT n, 'd', 'r' || n, 1, 1, {}, CASE WHEN n = 1 THEN 1 ELSE 2 END, at, at, CASE WHEN n > 1 THEN at END, '{{}}', n = 2
         FROM (SELECT n, now() - ({count} + 1 - n) * interval '1 day' AS at FROM generate_series(1, {count}) AS n) AS made",
        version.id.0
    );
    database.pool.execute(runs.as_str()).await.unwrap();
    let instances = "INSERT INTO task_instance (run_id, task_idx, map_index, try_number, state, live)
                     SELECT id, 1, -1, 1, 3, false FROM dag_run";
    database.pool.execute(instances).await.unwrap();
}

async fn clean(cleaner: &mut Cleaner, leader: &mut Leader) -> usize {
    let epoch = leader.epoch();
    for step in 1..1_000 {
        if cleaner.step(&mut leader.writer, epoch, chrono::Utc::now()).await.unwrap().left == Swept::All {
            return step;
        }
    }
    panic!("it never comes to an end");
}

#[tokio::test]
async fn a_wish_takes_old_runs_in_steps_and_leaves_what_may_be_needed() {
    let database = Database::create().await;
    let mut leader = database.leader().await;
    history(&database, &mut leader, 5_000).await;
    let before = chrono::Utc::now() - TimeDelta::hours(36);
    retention::request(&database.pool, "me", &[Kind::Runs], before).await.unwrap();
    assert_eq!(retention::count(&database.pool, Kind::Runs, before).await.unwrap(), 4_998);

    let mut cleaner = Cleaner::new(Retention::default());
    let steps = clean(&mut cleaner, &mut leader).await;
    assert!(steps >= 3, "in one step of {steps}");
    // It runs; its attempt may live; it is young.
    let left: Vec<i64> =
        sqlx::query_scalar("SELECT id FROM dag_run ORDER BY id").fetch_all(&database.pool).await.unwrap();
    assert_eq!(left, [1, 2, 5_000]);
    assert_eq!(database.count("dropped_run").await, 4_997);
    assert_eq!(database.count("clean_request").await, 0, "the wish is done");
    assert_eq!(database.count("audit_log WHERE action = 'db_clean' AND who = 'me'").await, 1);

    // The newest ended run stays however old it is: the next one may depend on it.
    retention::request(&database.pool, "me", &[Kind::Runs], chrono::Utc::now()).await.unwrap();
    clean(&mut cleaner, &mut leader).await;
    assert_eq!(database.count("dag_run WHERE id = 5000").await, 1);
}

/// Keys of runs are handed out in ranges, so a page may end with a run that is younger than those behind it.
#[tokio::test]
async fn a_young_run_at_the_end_of_a_page_hides_no_old_ones() {
    let database = Database::create().await;
    let mut leader = database.leader().await;
    history(&database, &mut leader, 5_000).await;
    database.pool.execute("UPDATE dag_run SET queued_at = now(), ended_at = now() WHERE id = 2000").await.unwrap();
    let before = chrono::Utc::now() - TimeDelta::hours(36);
    retention::request(&database.pool, "me", &[Kind::Runs], before).await.unwrap();
    let (mut cleaner, epoch) = (Cleaner::default(), leader.epoch());
    let first = cleaner.step(&mut leader.writer, epoch, chrono::Utc::now()).await.unwrap();
    assert_eq!((first.left, first.rows, first.runs), (Swept::Some, 1_997, 1_997));
    clean(&mut cleaner, &mut leader).await;
    let left: Vec<i64> =
        sqlx::query_scalar("SELECT id FROM dag_run ORDER BY id").fetch_all(&database.pool).await.unwrap();
    assert_eq!(left, [1, 2, 2_000, 5_000]);
}

#[tokio::test]
async fn settings_delete_without_a_wish_and_a_leader_of_another_time_deletes_nothing() {
    let database = Database::create().await;
    let mut leader = database.leader().await;
    history(&database, &mut leader, 100).await;
    let audit = "INSERT INTO audit_log (at, who, action, details)
                 SELECT now() - n * interval '1 day', 'me', 'x', '{}' FROM generate_series(100, 1, -1) AS n";
    database.pool.execute(audit).await.unwrap();
    let failures = "INSERT INTO task_failure (run_id, task_idx, map_index, try_number, failed_at, reason)
                    SELECT 1, 1, -1, 1, now() - n * interval '1 day', 'x' FROM generate_series(1, 100) AS n";
    database.pool.execute(failures).await.unwrap();

    let keep = Retention { runs: Some(TimeDelta::days(30)), audit: Some(TimeDelta::days(60)) };
    let mut old = Leader::take_over(&database.url, "old").await;
    let mut new = Leader::take_over(&database.url, "new").await;
    let epoch = old.epoch();
    assert!(Cleaner::new(keep).step(&mut old.writer, epoch, chrono::Utc::now()).await.is_err());
    assert_eq!(database.count("dag_run").await, 100);

    clean(&mut Cleaner::new(keep), &mut new).await;
    assert_eq!(database.count("dag_run").await, 31);
    assert_eq!(database.count("audit_log WHERE action = 'x'").await, 59);
    assert_eq!(database.count("task_failure").await, 29);
}

#[tokio::test]
async fn versions_without_runs_go_with_the_files_that_only_they_name() {
    let database = Database::create().await;
    let mut leader = database.leader().await;
    let used = leader.store_dag("d", &["a"]).await;
    let unused = leader.store_dag("d", &["a", "b"]).await;
    let current = leader.store_dag("d", &["a", "b", "c"]).await;
    let plan = format!(
        "UPDATE dag SET current_version = {current}; UPDATE dag_version SET created_at = now() - interval '9 days';
         INSERT INTO dag_run (id, dag_id, run_id, run_type, triggered_by, version_id, state, run_after, queued_at, conf)
         VALUES (1, 'd', 'r', 1, 1, {used}, 1, now(), now(), '{{}}');
         INSERT INTO dag (dag_id, current_version, fileloc, is_paused) VALUES ('d', {current}, 'd.yaml', false) ON CONFLICT DO NOTHING;
         INSERT INTO blob (sha256, bytes) VALUES (sha256('named'), 'named'), (sha256('forgotten'), 'forgotten');
         UPDATE dag_version SET source_sha256 = sha256('named') WHERE id = {current};
         UPDATE dag_version SET source_sha256 = sha256('forgotten') WHERE id = {unused}",
        current = current.id.0,
        used = used.id.0,
        unused = unused.id.0
    );
    database.pool.execute(plan.as_str()).await.unwrap();
    retention::request(&database.pool, "me", &[Kind::Versions], noon() - TimeDelta::days(10_000)).await.unwrap();
    clean(&mut Cleaner::default(), &mut leader).await;
    assert_eq!(database.count("dag_version").await, 3, "none is that old");

    retention::request(&database.pool, "me", &[Kind::Versions], chrono::Utc::now()).await.unwrap();
    clean(&mut Cleaner::default(), &mut leader).await;
    let left: Vec<i64> =
        sqlx::query_scalar("SELECT id FROM dag_version ORDER BY id").fetch_all(&database.pool).await.unwrap();
    assert_eq!(left, [used.id.0, current.id.0]);
    assert_eq!(database.count("blob WHERE bytes = 'named'").await, 1);
    assert_eq!(database.count("blob WHERE bytes = 'forgotten'").await, 0);
}
