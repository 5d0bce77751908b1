//! The schema: `schema.sql` is what the migrations make, and running them again changes nothing.

use sqlx::{Executor, PgPool};

use crate::support::Database;

/// Columns, constraints, indexes, views, settings of tables, sequences, functions and triggers, a line each.
const CATALOGUE: &str = "
    SELECT 'column ' || c.relname || '.' || a.attname || ' ' || format_type(a.atttypid, a.atttypmod)
           || CASE WHEN a.attnotnull THEN ' not null' ELSE '' END
           || a.attidentity::text || coalesce(' default ' || pg_get_expr(d.adbin, d.adrelid), '')
    FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
    LEFT JOIN pg_attrdef d ON (d.adrelid, d.adnum) = (c.oid, a.attnum)
    WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r'
    UNION ALL
    SELECT 'table ' || relname || ' ' || coalesce(reloptions::text, '') FROM pg_class
    WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'S')
    UNION ALL
    SELECT 'constraint ' || conrelid::regclass || ' ' || pg_get_constraintdef(oid) FROM pg_constraint
    WHERE connamespace = 'public'::regnamespace
    UNION ALL
    SELECT indexdef FROM pg_indexes WHERE schemaname = 'public'
    UNION ALL
    SELECT 'view ' || viewname || ' ' || definition FROM pg_views WHERE schemaname = 'public'
    UNION ALL
    SELECT pg_get_functiondef(oid) FROM pg_proc WHERE pronamespace = 'public'::regnamespace
    UNION ALL
    SELECT pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal
    UNION ALL
    SELECT 'sequence ' || sequencename || ' ' || data_type || ' ' || increment_by
           || CASE WHEN last_value >= 1::bigint << 52 THEN ' far' ELSE '' END FROM pg_sequences
    WHERE schemaname = 'public'";

pub async fn catalogue(pool: &PgPool) -> Vec<String> {
    let mut lines: Vec<String> = sqlx::query_scalar(CATALOGUE).fetch_all(pool).await.unwrap();
    lines.retain(|line| !line.contains("_sqlx_migrations"));
    lines.sort();
    lines
}

#[tokio::test]
async fn schema_sql_is_what_the_migrations_make() {
    let migrated = Database::create().await;
    let written = Database::create_empty().await;
    written.pool.execute(include_str!("../../schema.sql")).await.unwrap();
    let (migrated, written) = (catalogue(&migrated.pool).await, catalogue(&written.pool).await);
    assert_eq!(migrated, written, "write what the migrations make into schema.sql");
}

#[tokio::test]
async fn many_processes_may_migrate_at_once_and_again() {
    let database = Database::create_empty().await;
    let mut runs = Vec::new();
    for _ in 0..4 {
        let pool = database.pool.clone();
        runs.push(tokio::spawn(async move { store::migrate(&pool).await }));
    }
    for run in runs {
        run.await.unwrap().unwrap();
    }
    store::migrate(&database.pool).await.unwrap();
    assert_eq!(database.count("leader").await, 1);
    assert_eq!(database.count("leader_lease").await, 1);
}

#[tokio::test]
async fn the_hot_table_has_one_index_and_room_for_its_updates() {
    let database = Database::create().await;
    let mut leader = database.leader().await;
    assert_eq!(database.count("pg_index WHERE indrelid = 'task_instance'::regclass").await, 1);
    let rows: Vec<_> = (0..200).map(|task| crate::support::queued(1, task)).collect();
    leader.apply(&crate::support::starting(&rows)).await.unwrap();
    leader.apply(&crate::support::ending(&rows)).await.unwrap();
    let pages: i64 =
        sqlx::query_scalar("SELECT pg_relation_size('task_instance') / 8192").fetch_one(&database.pool).await.unwrap();
    let index_pages: i64 = sqlx::query_scalar("SELECT pg_relation_size('task_instance_pkey') / 8192")
        .fetch_one(&database.pool)
        .await
        .unwrap();
    assert!(pages <= 8 && index_pages <= 3, "{pages} pages, {index_pages} of its index: updates left the page");
}
