//! What holds on a real Trino.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use link::ConnectionFields;
use model::{
    EndKind, Operator,
    operator::{Sql, SqlParameters},
};
use serde_json::json;
use windlass_executor::StopCause;

use super::{connection, logged, rig_with, rows, sql, with_trino};
use crate::rig::Rig;

/// A query that nobody waits for to end.
pub const ENDLESS: &str = "SELECT count(*) FROM tpch.sf1000.lineitem a CROSS JOIN tpch.sf1000.lineitem b";

/// The id in `Query … on Trino`.
pub fn id_in(line: &str) -> String {
    line.split("Query ").nth(1).unwrap().split(' ').next().unwrap().to_owned()
}

/// What Trino says about queries.
pub async fn runtime(rig: &Rig, query: &str) -> serde_json::Value {
    let mut other = Rig::new();
    other.leader = rig.leader.clone();
    let ran = other.run(rows(query)).await;
    ran.xcom("return_value").unwrap_or_else(|| panic!("{}", ran.text())).clone()
}

#[tokio::test]
async fn values_come_with_their_types() {
    let Some(rig) = with_trino() else { return };
    let query = "SELECT 1 AS i, BIGINT '9007199254740993' AS big, DECIMAL '12.50' AS d, 0.1e0 AS f, nan() AS nan, true AS b, \
        'ä''' AS s, CAST(NULL AS varchar) AS nothing, DATE '2026-01-30' AS day, TIMESTAMP '2026-01-30 14:30:00' AS local, \
        TIMESTAMP '2026-01-30 14:30:00.000001 UTC' AS ts, TIMESTAMP '2026-01-30 14:30:00 Europe/Zurich' AS zoned, \
        ARRAY[DECIMAL '1.0', NULL] AS list, MAP(ARRAY['k'], ARRAY[TIMESTAMP '2026-01-30 14:30:00.5']) AS pairs, \
        CAST(ROW(1, 'x') AS ROW(a integer, b varchar)) AS nested, JSON '{\"a\": [1]}' AS doc, :name AS bound";
    let parameters = SqlParameters::Named(BTreeMap::from([("name".to_owned(), json!("O'Hara"))]));
    let Operator::Sql(keys) = rows(query) else { unreachable!("rows makes this operator") };
    let ran = rig.run(Operator::Sql(Sql { parameters, ..keys })).await;
    let expected = json!([{
        "i": 1, "big": 9_007_199_254_740_993_i64, "d": "12.50", "f": 0.1, "nan": "NaN", "b": true,
        "s": "ä'", "nothing": null, "day": "2026-01-30", "local": "2026-01-30T14:30:00",
        "ts": "2026-01-30T14:30:00.000001Z", "zoned": "2026-01-30T14:30:00+01:00",
        "list": ["1.0", null], "pairs": {"k": "2026-01-30T14:30:00.500"},
        "nested": {"a": 1, "b": "x"}, "doc": {"a": [1]}, "bound": "O'Hara",
    }]);
    assert_eq!(ran.xcom("return_value"), Some(&expected), "{}", ran.text());
    let said = ran.lines("sys").join("\n");
    for part in ["Statement 1 of 1 (sql[0]): SELECT 1", "/ui/query.html?", "1 rows in ", "Trino: elapsed "] {
        assert!(said.contains(part), "{part} is not in\n{said}");
    }
}

/// The most memory that this process has had, in bytes.
fn peak_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

#[tokio::test]
async fn a_million_rows_are_paged_through_in_bounded_memory() {
    const BYTES_MAX: u64 = 150 * 1024 * 1024;
    let Some(rig) = with_trino() else { return };
    let before = peak_memory();
    let ran = rig.run(Operator::Sql(sql("SELECT * FROM tpch.sf1.orders LIMIT 1000000"))).await;
    assert_eq!(ran.end.kind, EndKind::Success, "{}", ran.text());
    assert!(ran.text().contains("1000000 rows in "), "{}", ran.text());
    let grown = peak_memory() - before;
    println!("memory grew by {grown} bytes: {}", ran.text());
    assert!(grown < BYTES_MAX, "memory grew by {grown} bytes");
}

#[tokio::test]
async fn too_many_rows_for_an_xcom_are_refused_and_counted() {
    let Some(rig) = with_trino() else { return };
    let ran = rig.run(rows("SELECT * FROM tpch.tiny.orders")).await;
    assert_eq!(ran.end.kind, EndKind::Failed);
    assert!(ran.end.reason.contains("over the limit"), "{}", ran.end.reason);
    assert!(ran.text().contains("15000 rows in "), "{}", ran.text());
}

#[tokio::test]
async fn a_killed_query_ends_on_trino_within_a_second() {
    let Some(rig) = with_trino() else { return };
    let killing = async {
        let id = id_in(&logged(&rig, " on Trino: ").await);
        logged(&rig, "RUNNING: ").await;
        rig.stop.request(StopCause { kind: EndKind::Killed, reason: "marked failed".into() });
        (id, Instant::now())
    };
    let (ran, (id, killed)) = tokio::join!(rig.run(Operator::Sql(sql(ENDLESS))), killing);
    assert!(killed.elapsed() < Duration::from_secs(1), "{:?}", killed.elapsed());
    assert_eq!(ran.end.kind, EndKind::Killed);
    let states = format!("SELECT state, error_code FROM system.runtime.queries WHERE query_id = '{id}'");
    let expected = json!([{"state": "FAILED", "error_code": "USER_CANCELED"}]);
    assert_eq!(runtime(&rig, &states).await, expected);
}

#[tokio::test]
async fn an_execution_timeout_ends_the_query_on_trino_too() {
    let Some(mut rig) = with_trino() else { return };
    rig.execution_timeout_secs = Some(3.0);
    let ran = rig.run(Operator::Sql(sql(ENDLESS))).await;
    assert_eq!(ran.end.kind, EndKind::TimedOut, "{}", ran.text());
    let id = id_in(ran.lines("sys").iter().find(|line| line.contains(" on Trino: ")).unwrap());
    let states = format!("SELECT state FROM system.runtime.queries WHERE query_id = '{id}'");
    assert_eq!(runtime(&rig, &states).await, json!([{"state": "FAILED"}]));
}

#[tokio::test]
async fn a_mistake_is_shown_with_its_place_in_the_script() {
    let Some(rig) = with_trino() else { return };
    let ran = rig.run(Operator::Sql(sql("SELECT 1;\n-- ä\n SELECT 'ä',\n   nope FROM tpch.tiny.nation"))).await;
    assert_eq!(ran.end.kind, EndKind::Failed);
    let expected =
        "sql[0] line 4 column 4: Column 'nope' cannot be resolved (COLUMN_NOT_FOUND, code 47, user error; query ";
    assert!(ran.end.reason.starts_with(expected), "{}", ran.end.reason);
    let said = ran.lines("sys");
    assert!(
        said.contains(&"   nope FROM tpch.tiny.nation".to_owned()) && said.contains(&"   ^".to_owned()),
        "{said:?}"
    );
}

#[tokio::test]
async fn a_session_lasts_from_statement_to_statement() {
    let Some(mut rig) = with_trino() else { return };
    let fields = rig.leader.connections.get_mut("trino").unwrap();
    fields.extra = Some(r#"{"session_properties": {"query_max_run_time": "55m"}, "timezone": "Europe/Zurich"}"#.into());
    let script = "SET SESSION query_max_execution_time = '44m'; USE tpch.tiny; \
        PREPARE p FROM SELECT count(*) AS n, current_timezone() AS zone FROM nation WHERE regionkey = ?; EXECUTE p USING 1";
    let ran = rig.run(rows(script)).await;
    assert_eq!(ran.xcom("return_value"), Some(&json!([{"n": 5, "zone": "Europe/Zurich"}])), "{}", ran.text());
    let script = "SET SESSION query_max_execution_time = '44m'; SHOW SESSION LIKE 'query_max_%n%'";
    let shown = rig.run(rows(script)).await;
    let shown = shown.xcom("return_value").unwrap().to_string();
    assert!(shown.contains("\"44m\"") && shown.contains("\"55m\""), "{shown}");
}

#[tokio::test]
async fn a_check_shows_the_rows_that_should_not_be() {
    let Some(rig) = with_trino() else { return };
    let good = rig.run(Operator::SqlCheck(sql("SELECT 1 WHERE false"))).await;
    assert_eq!(good.end.kind, EndKind::Success, "{}", good.text());
    let check = "SELECT 1 WHERE false; SELECT 'AAPL' AS symbol, DECIMAL '-1.5' AS price; SELECT 2 WHERE false";
    let bad = rig.run(Operator::SqlCheck(sql(check))).await;
    assert_eq!(bad.end.reason, "the check sql[0] returned 1 rows; no row may come back: symbol=AAPL, price=-1.5");
    assert_eq!(bad.lines("out"), ["symbol | price", "AAPL | -1.5"]);
    assert!(bad.text().contains("Statement 3 of 3"), "every check is looked at: {}", bad.text());
}

#[tokio::test]
async fn a_wrong_catalogue_and_a_changed_row_count_are_told() {
    let Some(rig) = with_trino() else { return };
    let table = format!("memory.default.t_{}", uuid::Uuid::new_v4().simple());
    let script = format!("CREATE TABLE {table} (n integer); INSERT INTO {table} SELECT * FROM UNNEST(sequence(1, 42))");
    let ran = rig.run(Operator::Sql(sql(&script))).await;
    assert!(ran.text().contains("42 rows in "), "{}", ran.text());
    let ran = rig.run(Operator::Sql(sql("SELECT * FROM nowhere.a.b"))).await;
    assert!(ran.end.reason.contains("CATALOG_NOT_FOUND"), "{}", ran.end.reason);
    let ran = rig.run(Operator::Sql(sql(&format!("DROP TABLE {table}")))).await;
    assert_eq!(ran.end.kind, EndKind::Success, "{}", ran.text());
}

/// `TRINO_TLS_URL_TEST`, `trino://user:password@host:port/catalog`, whose certificate the PEM file `TRINO_TLS_PEM_TEST`
/// vouches for.
#[tokio::test]
async fn a_password_goes_over_tls_to_a_server_that_the_file_vouches_for() {
    let (Ok(url), Ok(pem)) = (std::env::var("TRINO_TLS_URL_TEST"), std::env::var("TRINO_TLS_PEM_TEST")) else {
        println!("skipped: TRINO_TLS_URL_TEST and TRINO_TLS_PEM_TEST name no Trino");
        return;
    };
    let fields = connection(&url.parse().unwrap());
    let password = fields.password.clone().unwrap();
    let with =
        |extra: serde_json::Value| rig_with(ConnectionFields { extra: Some(extra.to_string()), ..fields.clone() });
    let good = with(json!({"protocol": "https", "verify": pem}));
    let ran = good.run(rows("SELECT current_user AS me")).await;
    assert_eq!(ran.xcom("return_value"), Some(&json!([{"me": fields.login}])), "{}", ran.text());
    let unknown = with(json!({"protocol": "https"})).run(rows("SELECT 1")).await;
    assert!(unknown.end.reason.contains("certificate"), "{}", unknown.end.reason);
    let unverified = with(json!({"protocol": "https", "verify": "false"})).run(rows("SELECT 1 AS n")).await;
    assert_eq!(unverified.end.kind, EndKind::Success, "{}", unverified.text());
    let clear = with(json!({"protocol": "http"})).run(rows("SELECT 1")).await;
    assert!(clear.end.reason.contains("set protocol to https"), "{}", clear.end.reason);
    let mut wrong = good;
    wrong.leader.connections.get_mut("trino").unwrap().password = Some("another".into());
    let refused = wrong.run(rows("SELECT 1")).await;
    assert!(refused.end.reason.contains("HTTP 401"), "{}", refused.end.reason);
    for ran in [ran, unknown, unverified, clear, refused] {
        assert!(!ran.text().contains(&password) && !ran.end.reason.contains(&password), "{}", ran.text());
    }
}
