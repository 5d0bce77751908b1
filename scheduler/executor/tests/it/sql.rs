//! The operators `sql` and `sql_check`.

use std::{
    collections::BTreeMap,
    os::unix::fs::PermissionsExt as _,
    time::{Duration, Instant},
};

use link::ConnectionFields;
use model::{
    EndKind, Operator,
    operator::{Sql, SqlOutput, SqlParameters, SqlSource},
};
use serde_json::json;
use sqlx::{Connection as _, Executor as _, PgConnection};
use url::Url;
use uuid::Uuid;
use windlass_executor::Stop;

use crate::rig::Rig;

fn sql(conn_id: &str, text: &str) -> Sql {
    Sql {
        conn_id: conn_id.into(),
        sql: vec![SqlSource::Text(text.into())],
        parameters: SqlParameters::default(),
        output: SqlOutput::None,
    }
}

/// A rig with a connection `pg` to a database of its own.
pub async fn with_database() -> Rig {
    let url =
        std::env::var("WINDLASS_TEST_DATABASE_URL").expect("WINDLASS_TEST_DATABASE_URL names a PostgreSQL server");
    let name = format!("executor_{}", Uuid::new_v4().simple());
    let mut server = PgConnection::connect(&url).await.unwrap();
    server.execute(format!("CREATE DATABASE {name}").as_str()).await.unwrap();
    let url: Url = url.parse().unwrap();
    let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let socket = url.query_pairs().find(|(key, _)| key == "host").map(|(_, host)| host.into_owned());
    let mut rig = Rig::new();
    let fields = ConnectionFields {
        conn_id: "pg".into(),
        conn_type: "postgres".into(),
        host: socket.or_else(|| url.host_str().map(str::to_owned)),
        schema: Some(name),
        login: some(url.username()),
        password: url.password().map(str::to_owned),
        port: url.port().map(i32::from),
        extra: None,
    };
    rig.leader.connections.insert("pg".into(), fields);
    rig
}

#[tokio::test]
async fn a_script_runs_statement_by_statement_and_says_what_each_did() {
    let rig = with_database().await;
    let script = "CREATE TABLE t (n int, s text, at date);\n\
        INSERT INTO t VALUES (1, :name, '{{ ds }}'), (2, ';', NULL);\n\
        SELECT n, s, at, true AS yes, 1.5::float8 AS f FROM t ORDER BY n;";
    let parameters = SqlParameters::Named(BTreeMap::from([("name".to_owned(), json!("O'Hara"))]));
    let ran = rig.run(Operator::Sql(Sql { parameters, output: SqlOutput::Rows, ..sql("pg", script) })).await;
    assert_eq!(ran.end.kind, EndKind::Success, "{}", ran.text());
    let rows = json!([
        {"n": 1, "s": "O'Hara", "at": "2026-01-30", "yes": true, "f": 1.5},
        {"n": 2, "s": ";", "at": null, "yes": true, "f": 1.5},
    ]);
    assert_eq!(ran.xcom("return_value"), Some(&rows));
    let said = ran.lines("sys").join("\n");
    assert!(said.contains("Statement 2 of 3 (sql[0]): INSERT INTO t") && said.contains("2 rows in"), "{said}");
}

#[tokio::test]
async fn one_template_may_give_all_parameters() {
    let rig = with_database().await;
    let with = |template: &str| {
        let parameters = SqlParameters::Template(template.to_owned());
        Operator::Sql(Sql { parameters, output: SqlOutput::Rows, ..sql("pg", "SELECT :day::text AS day, :n + 1 AS n") })
    };
    let ran = rig.run(with("{{ {'day': ds, 'n': 1} | tojson }}")).await;
    assert_eq!(ran.end.kind, EndKind::Success, "{}", ran.text());
    assert_eq!(ran.xcom("return_value"), Some(&json!([{"day": "2026-01-30", "n": 2}])));
    let ran = rig.run(with("{{ ds }}")).await;
    assert_eq!(ran.end.kind, EndKind::Failed);
    assert!(ran.end.reason.contains("expected a mapping"), "{}", ran.end.reason);
}

#[tokio::test]
async fn a_mistake_is_shown_with_its_place_and_undoes_the_whole_script() {
    let rig = with_database().await;
    let ran = rig.run(Operator::Sql(sql("pg", "CREATE TABLE u (n int);\n-- ä\nSELECT 'ä',\n  nope FROM u"))).await;
    assert_eq!(ran.end.kind, EndKind::Failed);
    assert_eq!(ran.end.reason, "sql[0] line 4 column 3: column \"nope\" does not exist");
    let again = rig.run(Operator::Sql(sql("pg", "CREATE TABLE u (n int)"))).await;
    assert_eq!(again.end.kind, EndKind::Success, "{}", again.end.reason);
}

#[tokio::test]
async fn a_check_fails_when_a_row_comes_back_and_shows_it() {
    let rig = with_database().await;
    let good = rig.run(Operator::SqlCheck(sql("pg", "SELECT 1 WHERE false"))).await;
    assert_eq!(good.end.kind, EndKind::Success);
    let bad = rig.run(Operator::SqlCheck(sql("pg", "SELECT 'AAPL' AS symbol, -1 AS price"))).await;
    assert_eq!(bad.end.reason, "the check sql[0] returned 1 rows; no row may come back: symbol=AAPL, price=-1");
    assert_eq!(bad.lines("out"), ["symbol | price", "AAPL | -1"]);
    let many = rig.run(Operator::SqlCheck(sql("pg", "SELECT n FROM generate_series(1, 50) AS n"))).await;
    assert_eq!(many.end.reason, "the check sql[0] returned 50 rows; no row may come back: n=1; n=2; n=3; …");
    let long = rig.run(Operator::SqlCheck(sql("pg", "SELECT repeat('ä', 5000) AS t"))).await;
    assert!(long.end.reason.chars().count() < 600 && long.end.reason.ends_with("ä…"), "{}", long.end.reason);
}

#[tokio::test]
async fn a_statement_that_runs_too_long_is_ended_on_the_server_too() {
    let mut rig = with_database().await;
    rig.execution_timeout_secs = Some(0.5);
    let ran = rig.run(Operator::Sql(sql("pg", "SELECT pg_sleep(300)"))).await;
    assert_eq!(ran.end.kind, EndKind::TimedOut);
    (rig.stop, rig.execution_timeout_secs) = (Stop::default(), None);
    let running = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND query LIKE '%pg_sleep(300)%' \
                   AND pid <> pg_backend_pid() AND state = 'active'";
    // The server ends it when the cancellation reaches it, which nobody waits for.
    let began = Instant::now();
    loop {
        let check = rig.run(Operator::SqlCheck(sql("pg", running))).await;
        if check.end.kind == EndKind::Success {
            return;
        }
        assert!(began.elapsed() < Duration::from_secs(10), "{}", check.text());
    }
}

#[tokio::test]
async fn an_unknown_connection_is_named() {
    let end = Rig::new().run(Operator::Sql(sql("nope", "SELECT 1"))).await.end;
    assert_eq!(end.reason, "there is no connection \"nope\": not configured");
}

#[tokio::test]
async fn a_leader_that_is_away_keeps_nobody_from_ending_a_task() {
    let mut rig = Rig::new();
    rig.execution_timeout_secs = Some(0.2);
    rig.leader.is_away = true;
    rig.leader.files.insert("a.sql".into(), "SELECT 1".into());
    let began = Instant::now();
    for task in [sql("pg", "SELECT 1"), Sql { sql: vec![SqlSource::File("a.sql".into())], ..sql("pg", "") }] {
        rig.stop = Stop::default();
        let end = rig.run(Operator::Sql(task)).await.end;
        assert_eq!(end.kind, EndKind::TimedOut, "{}", end.reason);
        assert!(end.reason.contains("execution_timeout of 0.2 s"), "{}", end.reason);
    }
    assert!(began.elapsed() < Duration::from_secs(20));
}

#[tokio::test]
async fn a_lake_connection_that_is_not_understood_is_not_another_lake() {
    let mut rig = Rig::new();
    lake_program(&rig, "exit 0");
    for (extra, word) in
        [(r#"{"databse_url": "postgres://x"}"#, "databse_url"), ("{", "JSON"), (r#"{"warehouse": 5}"#, "warehouse")]
    {
        let fields = ConnectionFields {
            conn_id: "other".into(),
            conn_type: "lake".into(),
            host: None,
            schema: None,
            login: None,
            password: None,
            port: None,
            extra: Some(extra.into()),
        };
        rig.leader.connections.insert("other".into(), fields);
        let end = rig.run(Operator::Sql(sql("other", "SELECT 1"))).await.end;
        assert_eq!(end.kind, EndKind::Failed);
        assert!(end.reason.starts_with("connection \"other\": ") && end.reason.contains(word), "{}", end.reason);
    }
}

/// A stand-in for the program that has the embedded engine.
fn lake_program(rig: &Rig, script: &str) {
    let path = rig.program_dir.join("windlass-tasks");
    std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

#[tokio::test]
async fn the_lake_is_served_by_its_own_program_whose_events_become_the_log() {
    let rig = Rig::new();
    lake_program(
        &rig,
        r#"cat > /dev/null; echo "$WINDLASS_LAKE_DATABASE_URL" >&2
[ "$1 $2" = "lake run" ] || exit 7
echo '{"event":"statement","script":"sql[0]","index":1,"of":1,"sql":"SELECT 1"}'
echo '{"event":"rows","columns":["n"],"rows":[[1]]}'
echo '{"event":"done","rows":1,"millis":5}'"#,
    );
    let ran = rig.run(Operator::Sql(Sql { output: SqlOutput::Rows, ..sql("lake", "SELECT {{ ds }}") })).await;
    assert_eq!(ran.end.kind, EndKind::Success, "{}", ran.text());
    assert_eq!(ran.xcom("return_value"), Some(&json!([{"n": 1}])));
    assert!(ran.lines("sys").contains(&"Statement 1 of 1 (sql[0]): SELECT 1".to_owned()));
    assert!(!ran.text().contains("lakesecret"), "{}", ran.text());
    let check = rig.run(Operator::SqlCheck(sql("lake", "SELECT 1"))).await;
    assert_eq!(check.end.reason, "the check sql[0] returned 1 rows; no row may come back: n=1");
}

#[tokio::test]
async fn a_mistake_in_lake_sql_is_shown_with_its_place() {
    let rig = Rig::new();
    lake_program(
        &rig,
        r#"echo '{"event":"error","script":"a.sql","line":12,"column":5,"message":"no such table"}'; exit 1"#,
    );
    let end = rig.run(Operator::Sql(sql("lake", "SELECT 1"))).await.end;
    assert_eq!((end.kind, end.reason.as_str()), (EndKind::Failed, "a.sql line 12 column 5: no such table"));
    lake_program(&rig, "exit 3");
    let end = rig.run(Operator::Sql(sql("lake", "SELECT 1"))).await.end;
    assert!(end.reason.contains("exit code 3"), "{}", end.reason);
}
