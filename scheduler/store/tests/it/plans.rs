//! The plans of the hot statements, pinned from an empty database on.

use sqlx::{Connection, Executor, PgConnection};
use store::Writer;

use crate::support::{Database, Leader, ending, queued, starting};

const TURN: &str = include_str!("../../queries/turn_apply.sql");
const TURN_WITH_ALL: &str = include_str!("../../queries/turn_apply_all.sql");

/// Statements of housekeeping and of the inbox with the numbers of their parameters.
const LOOSE: [(&str, usize); 6] = [
    (include_str!("../../queries/inbox_deliver.sql"), 3),
    (include_str!("../../queries/inbox_answer_sweep.sql"), 1),
    (include_str!("../../queries/blob_drop_unused.sql"), 2),
    (include_str!("../../queries/quarantine_unreadable.sql"), 4),
    (include_str!("../../queries/worker_forget.sql"), 1),
    (include_str!("../../queries/dag_version_drop_old.sql"), 3),
];

/// The plan that a leader's connection makes for a statement it has not run yet.
async fn generic_plan(writer: &mut Writer, statement: &str, parameters: usize) -> String {
    let connection = writer.connection();
    connection.execute(format!("PREPARE hot AS {statement}").as_str()).await.unwrap();
    let nulls = vec!["NULL"; parameters].join(", ");
    let explain = format!("EXPLAIN (VERBOSE) EXECUTE hot ({nulls})");
    let lines: Vec<String> = sqlx::query_scalar(&explain).fetch_all(&mut *connection).await.unwrap();
    connection.execute("DEALLOCATE hot").await.unwrap();
    lines.join("\n")
}

fn assert_pinned(plan: &str) {
    assert!(plan.contains("Index Scan using task_instance_pkey"), "{plan}");
    assert!(!plan.contains("Seq Scan on public.task_instance "), "{plan}");
    assert!(!plan.contains("Hash Join") && !plan.contains("Merge Join") && !plan.contains("JIT"), "{plan}");
    assert!(plan.contains("$14"), "the plan is made for any parameters: {plan}");
}

#[tokio::test]
async fn a_turn_finds_its_rows_by_their_key_in_an_empty_database() {
    let database = Database::create().await;
    let mut leader = database.leader().await;
    assert_pinned(&generic_plan(&mut leader.writer, TURN, 25).await);
    let plan = generic_plan(&mut leader.writer, TURN_WITH_ALL, 55).await;
    assert_pinned(&plan);
    assert!(!plan.contains("Seq Scan on public.asset"), "{plan}");
    for key in ["dag_run_pkey", "inbox_pkey", "xcom_pkey", "dag_pkey", "asset_by_name"] {
        assert!(
            plan.contains(&format!("using {key}")) || plan.contains(&format!("Scan on {key}")),
            "{key} is not used: {plan}"
        );
    }
}

#[tokio::test]
async fn a_turn_finds_its_rows_by_their_key_in_a_full_database() {
    let database = Database::create().await;
    database
        .pool
        .execute(
            "INSERT INTO task_instance (run_id, task_idx, map_index, try_number, state, live)
             SELECT run, task, -1, 1, 4, false FROM generate_series(1, 500) run, generate_series(0, 99) task;
             ANALYZE",
        )
        .await
        .unwrap();
    let mut leader = Leader::take_over(&database.url, "second").await;
    assert_pinned(&generic_plan(&mut leader.writer, TURN, 25).await);
}

/// The first turns of a new cluster are planned while its tables are empty, and known to be.
#[tokio::test]
async fn a_turn_is_planned_anew_as_the_tables_grow() {
    let database = Database::create().await;
    let mut leader = database.leader().await;
    database.pool.execute("VACUUM ANALYZE").await.unwrap();
    let rows: Vec<_> = (0..400).map(|task| queued(1, task)).collect();
    for some in rows.chunks(100) {
        leader.apply(&starting(some)).await.unwrap();
        leader.apply(&ending(some)).await.unwrap();
    }
    let kept = "SELECT name FROM pg_prepared_statements WHERE statement LIKE '-- Stores a turn that changes nothing%'";
    let connection = leader.writer.connection();
    let name: String = sqlx::query_scalar(kept).fetch_one(&mut *connection).await.unwrap();
    let explain = format!("EXPLAIN (VERBOSE) EXECUTE {name} ({})", vec!["NULL"; 25].join(", "));
    let plan: Vec<String> = sqlx::query_scalar(&explain).fetch_all(&mut *connection).await.unwrap();
    let plan = plan.join("\n");
    assert_pinned(&plan);
    assert!(!plan.contains("Join Filter: ((ti."), "each change looks through all instances:\n{plan}");
}

/// The leader's connection has nested loops only: a join that no index serves reads one table whole for each row of another.
#[tokio::test]
async fn no_statement_reads_a_table_for_each_row_of_another() {
    let database = Database::create().await;
    let mut leader = database.leader().await;
    for (statement, parameters) in LOOSE {
        let plan = generic_plan(&mut leader.writer, statement, parameters).await;
        assert!(!plan.contains("Join Filter"), "{statement}\n{plan}");
    }
    // As an inbox is that was emptied: a scan of it looks cheaper than a look-up.
    database.pool.execute("VACUUM ANALYZE").await.unwrap();
    for (statement, parameters) in &LOOSE[..5] {
        let plan = generic_plan(&mut leader.writer, statement, *parameters).await;
        assert!(!plan.contains("Join Filter"), "{statement}\n{plan}");
    }
    let plan = generic_plan(&mut leader.writer, TURN_WITH_ALL, 55).await;
    let (_, taken) = plan.split_once("Delete on public.inbox").unwrap();
    let (taken, _) = taken.split_once("CTE answered").unwrap();
    assert!(taken.contains("Index Cond: (inbox.id = ANY"), "{taken}");
}

#[tokio::test]
async fn a_takeover_looks_only_at_runs_that_have_not_ended() {
    let database = Database::create().await;
    database
        .pool
        .execute(
            "INSERT INTO dag_run (id, dag_id, run_id, run_type, triggered_by, version_id, state, run_after, queued_at, conf)
             SELECT n, 'etl', 'r' || n, 0, 5, 1, CASE WHEN n % 1000 = 0 THEN 1 ELSE 2 END, now(), now(), '{}'
             FROM generate_series(1, 20000) n;
             ANALYZE",
        )
        .await
        .unwrap();
    let mut connection = PgConnection::connect(&database.url).await.unwrap();
    let explain = format!("EXPLAIN {}", include_str!("../../queries/dag_run_to_load.sql"));
    let lines: Vec<String> = sqlx::query_scalar(&explain).fetch_all(&mut connection).await.unwrap();
    assert!(lines.join("\n").contains("dag_run_to_load"), "{lines:?}");
}

/// A DAG may have ten thousand tasks: what a statement has just added is not looked through for each row that follows.
#[tokio::test]
async fn new_tasks_cost_the_same_each_however_many_there_are() {
    const TASKS: u64 = 3_000;
    const PAGES_EACH_MAX: u64 = 20;
    let database = Database::create().await;
    let mut leader = database.leader().await;
    let connection = leader.writer.connection();
    let number = include_str!("../../queries/dag_task_number.sql");
    connection.execute(format!("PREPARE number AS {number}").as_str()).await.unwrap();
    let ids: Vec<String> = (0..TASKS).map(|task| format!("t{task}")).collect();
    let explain = format!(
        "EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) EXECUTE number ('{{{}}}', '{{{}}}')",
        vec!["wide"; ids.len()].join(","),
        ids.join(",")
    );
    let told: serde_json::Value = sqlx::query_scalar(&explain).fetch_one(&mut *connection).await.unwrap();
    let pages = told[0]["Plan"]["Shared Hit Blocks"].as_u64().unwrap();
    assert!(pages > TASKS && pages < TASKS * PAGES_EACH_MAX, "{pages} pages were looked at: {told:#}");
    let last: i32 = sqlx::query_scalar("SELECT max(task_idx) FROM dag_task").fetch_one(&database.pool).await.unwrap();
    assert_eq!(u64::try_from(last).unwrap(), TASKS - 1);
}
