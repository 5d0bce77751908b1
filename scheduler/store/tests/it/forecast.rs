//! What is learnt of tasks, and a forecast of what is stored.

use std::time::Duration;

use chrono::TimeDelta;
use engine::{Plan, TiRow};
use model::{DagRunState, TaskIdx, TaskState};
use store::forecast::{Question, foretell, lessons};

use crate::support::{Database, dag_id, noon, queued, run};

/// An attempt that has succeeded after so many seconds.
fn succeeded(run: i64, task: i32, secs: i64) -> TiRow {
    let ended = noon() + TimeDelta::seconds(secs);
    TiRow {
        state: TaskState::Success,
        live: false,
        started_at: Some(noon()),
        ended_at: Some(ended),
        ..queued(run, task)
    }
}

#[tokio::test]
async fn the_middle_of_the_last_successful_attempts_is_learnt_in_one_statement() {
    let database = Database::create().await;
    let mut leader = database.leader().await;
    let version = leader.store_dag("d", &["a", "b", "c"]).await;
    let runs: Vec<i64> = (1..=12).collect();
    let mut rows: Vec<TiRow> =
        runs.iter().map(|key| succeeded(*key, 0, if *key <= 2 { 9_000 } else { *key })).collect();
    let mut failed = succeeded(12, 1, 50);
    failed.state = TaskState::Failed;
    rows.extend([failed, succeeded(11, 1, 70)]);
    let mut expanded = succeeded(12, 2, 5);
    expanded.extra.map_length = Some(7);
    rows.push(expanded);
    let new_runs = runs.iter().map(|key| {
        let row = run(&version, *key);
        engine::RunRow { run_after: row.run_after + TimeDelta::hours(*key), ..row }
    });
    let extras = rows.iter().filter(|row| row.extra != Default::default()).map(|row| (row.key, row.extra.clone()));
    let plan = Plan { new_runs: new_runs.collect(), extras: extras.collect(), new_instances: rows, ..Plan::default() };
    leader.apply(&plan).await.unwrap();

    let mut connection = database.pool.acquire().await.unwrap();
    let learnt = lessons(&mut connection, &["d".to_owned(), "none".to_owned()]).await.unwrap();
    let of = |task: i32| learnt[&(dag_id("d"), TaskIdx(task))];
    assert_eq!((of(0).attempts, of(0).secs), (10, 7.5), "the two oldest runs are not looked at: 3 to 12 s remain");
    assert_eq!((of(1).attempts, of(1).secs), (1, 70.0), "what has failed teaches nothing");
    assert_eq!(of(2).map_length, Some(7));
    assert_eq!(learnt.len(), 3);
    drop(connection);

    let told = foretell(&database.pool, Question::hours(2, Duration::from_secs(60))).await.unwrap();
    assert_eq!((told.until - told.from).num_hours(), 2);
    assert_eq!(told.total_dag_runs, 12, "{told:?}");
    assert!(
        told.dag_runs
            .iter()
            .all(|run| run.why.as_ref().is_some_and(|why| why.contains("DAG is paused")) || run.end_date.is_some())
    );
    sqlx::query("UPDATE dag SET is_paused = false").execute(&database.pool).await.unwrap();
    let told = foretell(&database.pool, Question::hours(2, Duration::from_secs(60))).await.unwrap();
    let ended = |state| told.dag_runs.iter().filter(|run| run.state == state).count();
    assert_eq!((ended(DagRunState::Success), ended(DagRunState::Failed)), (11, 1), "{told:?}");
    for hours in [0, 169] {
        let refused = foretell(&database.pool, Question::hours(hours, Duration::ZERO)).await.unwrap_err();
        assert!(refused.to_string().contains("1 to 168 hours"), "{refused}");
    }
    let cut = foretell(&database.pool, Question::hours(2, Duration::ZERO)).await.unwrap();
    assert!(cut.cut_because.unwrap().contains("it was given 0 s"));
}
