//! Trino, pyiceberg and the embedded engine on the same tables: each makes one, each adds rows to all, each reads all, and all
//! rows are equal, whatever their types hold.

use std::{
    io::Write as _,
    process::{Command, Stdio},
};

use serde_json::{Value, json};
use windlass_e2e::{program, project};

use crate::{readers::python, stack::Stack};

/// The columns of every table.
const COLUMNS: &str = "id BIGINT NOT NULL, whole INTEGER, exact DECIMAL(18, 4), near DOUBLE, day DATE, \
                       at TIMESTAMP(6) WITH TIME ZONE, clock TIMESTAMP(6), flag BOOLEAN, name VARCHAR";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Engine {
    Embedded,
    Trino,
    PyIceberg,
}

const ENGINES: [Engine; 3] = [Engine::Embedded, Engine::Trino, Engine::PyIceberg];

impl Engine {
    fn table(self, schema: &str) -> String {
        format!("{schema}.by_{self:?}").to_lowercase()
    }
}

/// The rows that an engine adds to a table: plain ones, nulls everywhere, and the edges of what the types hold.
fn rows(first: i64) -> [Value; 4] {
    [
        json!([
            first,
            42,
            "12345.6789",
            0.1,
            "2026-01-30",
            "2026-01-30T14:30:00.123456Z",
            "2026-01-30T14:30:00.500000",
            true,
            "naïve 🦀 名前 'quoted' \"twice\", \\ and a\ttab"
        ]),
        json!([first + 1, null, null, null, null, null, null, null, null]),
        json!([
            first + 2,
            i32::MIN,
            "-99999999999999.9999",
            -1e300,
            "1969-12-31",
            "1969-12-31T23:59:59.999999Z",
            "1900-02-28T00:00:00.000001",
            false,
            ""
        ]),
        json!([
            first + 3,
            i32::MAX,
            "0.0001",
            "NaN",
            "2400-02-29",
            "2400-02-29T00:00:00.000000Z",
            "9999-12-31T23:59:59.999999",
            true,
            "e\u{301} and é"
        ]),
    ]
}

/// A row as SQL that both SQL engines read.
fn select(row: &Value) -> String {
    const TYPES: [&str; 9] = [
        "BIGINT",
        "INTEGER",
        "DECIMAL(18, 4)",
        "DOUBLE",
        "DATE",
        "TIMESTAMP(6) WITH TIME ZONE",
        "TIMESTAMP(6)",
        "BOOLEAN",
        "VARCHAR",
    ];
    let value = |(value, kind): (&Value, &str)| match value {
        Value::String(text) if kind.starts_with("TIMESTAMP") => {
            format!("CAST('{}' AS {kind})", text.replace('T', " ").replace('Z', " UTC"))
        }
        Value::String(text) => format!("CAST('{}' AS {kind})", text.replace('\'', "''")),
        other => format!("CAST({other} AS {kind})"),
    };
    let values = row.as_array().unwrap().iter().zip(TYPES).map(value);
    // The embedded engine wants each column of a SELECT to have a name of its own.
    let named: Vec<String> = values.enumerate().map(|(column, value)| format!("{value} AS c{column}")).collect();
    format!("SELECT {}", named.join(", "))
}

/// What a program says on its standard output; that is the error of one that fails, whose log is printed.
fn answer(command: &mut Command, input: &str) -> Result<String, String> {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    if output.status.success() {
        return Ok(said);
    }
    println!("{}", String::from_utf8_lossy(&output.stderr));
    Err(said)
}

fn output(command: &mut Command, input: &str) -> String {
    answer(command, input).unwrap_or_else(|said| panic!("{command:?}: {said}"))
}

/// Runs a statement, or gives the reason why it was refused.
async fn try_run(stack: &Stack, engine: Engine, statement: &str) -> Result<(), String> {
    match engine {
        Engine::Embedded => {
            let request = json!({"mode": "execute", "scripts": [{"name": "agree.sql", "sql": statement}]}).to_string();
            let mut command = stack.command(program("windlass-tasks"));
            command.args(["lake", "run"]);
            // Other writers go on meanwhile.
            let ran = tokio::task::spawn_blocking(move || answer(&mut command, &request));
            ran.await.unwrap().map(drop)
        }
        Engine::Trino => stack.try_trino(statement).await.map(drop).map_err(|error| error.to_string()),
        Engine::PyIceberg => unreachable!("pyiceberg has no SQL"),
    }
}

async fn run(stack: &Stack, engine: Engine, statement: &str) {
    try_run(stack, engine, statement).await.unwrap_or_else(|reason| panic!("{engine:?}: {reason}\n{statement}"));
}

fn pyiceberg(stack: &Stack, command: &str, table: &str, input: &str) -> String {
    output(stack.command(python()).arg(project().join("e2e/python/agree.py")).args([command, table]), input)
}

async fn make(stack: &Stack, engine: Engine, schema: &str) {
    let table = engine.table(schema);
    match engine {
        Engine::Embedded | Engine::Trino => {
            run(stack, engine, &format!("CREATE SCHEMA IF NOT EXISTS lake.{schema}")).await;
            let create =
                format!("CREATE TABLE IF NOT EXISTS lake.{table} ({COLUMNS}) WITH (partitioning = ARRAY['month(at)'])");
            run(stack, engine, &create).await;
        }
        Engine::PyIceberg => drop(pyiceberg(stack, "make", &table, "")),
    }
}

async fn add(stack: &Stack, engine: Engine, table: &str, rows: &[Value]) {
    match engine {
        Engine::Embedded | Engine::Trino => {
            let selects: Vec<String> = rows.iter().map(select).collect();
            run(stack, engine, &format!("INSERT INTO lake.{table} {}", selects.join(" UNION ALL "))).await;
        }
        Engine::PyIceberg => {
            let lines: String = rows.iter().map(|row| format!("{row}\n")).collect();
            pyiceberg(stack, "add", table, &lines);
        }
    }
}

/// Every row of a table, in the form of [`rows`].
async fn read(stack: &Stack, engine: Engine, table: &str) -> Vec<Value> {
    let all = format!("SELECT * FROM lake.{table} ORDER BY id");
    let rows: Vec<Value> = match engine {
        Engine::Embedded => {
            let mut query = stack.command(program("windlass-tasks"));
            let said = output(query.args(["lake", "query", &all, "--format", "json"]), "");
            let objects: Vec<serde_json::Map<String, Value>> = serde_json::from_str(&said).unwrap();
            objects.into_iter().map(|row| row.into_iter().map(|(_, value)| value).collect()).collect()
        }
        Engine::Trino => stack.trino(&all).await,
        Engine::PyIceberg => {
            let said = pyiceberg(stack, "read", table, "");
            said.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
        }
    };
    rows.into_iter().map(|row| row.as_array().unwrap().iter().enumerate().map(uniform).collect()).collect()
}

/// Engines write instants in two ways, and leave zeros at the end of a fraction out.
fn uniform((column, value): (usize, &Value)) -> Value {
    let (Some(text), 5 | 6) = (value.as_str(), column) else { return value.clone() };
    let zone = if column == 5 { "Z" } else { "" };
    let text = text.trim_end_matches(" UTC").trim_end_matches('Z').replace(' ', "T");
    let (seconds, fraction) = text.split_once('.').unwrap_or((&text, ""));
    Value::String(format!("{seconds}.{fraction:0<6}{zone}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_engine_writes_every_other_reads() {
    let Some(stack) = Stack::of_environment().await else { return };
    let schema = format!("agree_{:08x}", rand::random::<u32>());
    for maker in ENGINES {
        make(&stack, maker, &schema).await;
        let table = maker.table(&schema);
        let mut expected = Vec::new();
        // The maker's rows come first; then each of the others adds to what it did not make.
        for (turn, writer) in [maker].into_iter().chain(ENGINES.into_iter().filter(|other| *other != maker)).enumerate()
        {
            let fresh = rows(10 * turn as i64);
            add(&stack, writer, &table, &fresh).await;
            expected.extend(fresh);
            for reader in ENGINES {
                let found = read(&stack, reader, &table).await;
                assert_eq!(
                    found.len(),
                    expected.len(),
                    "{table} as {reader:?} reads it after {writer:?} has added rows"
                );
                for (found, expected) in found.iter().zip(&expected) {
                    assert_eq!(found, expected, "{table} as {reader:?} reads it after {writer:?} has added rows");
                }
            }
        }
    }
}

/// How many rows each writer adds, one statement a row.
const TURNS: i64 = 5;
/// How often a writer begins anew when others were faster.
const REPEATS_MAX: usize = 50;

#[tokio::test(flavor = "multi_thread")]
async fn writers_of_all_engines_at_once_lose_and_double_nothing() {
    let Some(stack) = Stack::of_environment().await else { return };
    let schema = format!("agree_{:08x}", rand::random::<u32>());
    make(&stack, Engine::Embedded, &schema).await;
    let table = Engine::Embedded.table(&schema);
    tokio::join!(
        insert_all(&stack, Engine::Embedded, &table, 100),
        insert_all(&stack, Engine::Embedded, &table, 200),
        insert_all(&stack, Engine::Trino, &table, 300),
        merge_all(&stack, Engine::Embedded, &table, 400),
        merge_all(&stack, Engine::Trino, &table, 500),
    );
    let expected: Vec<i64> = (1..=5).flat_map(|writer| (0..TURNS).map(move |turn| writer * 100 + turn)).collect();
    for reader in ENGINES {
        let found: Vec<i64> = read(&stack, reader, &table).await.iter().map(|row| row[0].as_i64().unwrap()).collect();
        assert_eq!(found, expected, "as {reader:?} reads it");
    }
}

async fn insert_all(stack: &Stack, engine: Engine, table: &str, first: i64) {
    for id in first..first + TURNS {
        insist(stack, engine, &format!("INSERT INTO lake.{table} {}", select(&rows(id)[0]))).await;
    }
}

/// Merges each row twice: the second time finds it there.
async fn merge_all(stack: &Stack, engine: Engine, table: &str, first: i64) {
    for id in (first..first + TURNS).flat_map(|id| [id, id]) {
        let merge = format!(
            "MERGE INTO lake.{table} AS t USING ({}) AS s ON t.id = s.c0 WHEN NOT MATCHED THEN INSERT \
             (id, whole, exact, near, day, at, clock, flag, name) \
             VALUES (s.c0, s.c1, s.c2, s.c3, s.c4, s.c5, s.c6, s.c7, s.c8)",
            select(&rows(id)[0])
        );
        insist(stack, engine, &merge).await;
    }
}

/// Repeats a statement that was refused because somebody else was faster: it has changed nothing then.
async fn insist(stack: &Stack, engine: Engine, statement: &str) {
    for _ in 0..REPEATS_MAX {
        match try_run(stack, engine, statement).await {
            Ok(()) => return,
            Err(reason) if CONFLICTS.iter().any(|conflict| reason.contains(conflict)) => {
                println!("{engine:?}: {reason}")
            }
            Err(reason) => panic!("{engine:?}: {reason}\n{statement}"),
        }
    }
    panic!("{engine:?} was refused {REPEATS_MAX} times: {statement}");
}

/// What a refused commit is called.
const CONFLICTS: &[&str] = &["ICEBERG_COMMIT_ERROR", "TRANSACTION_CONFLICT", "was changed by another writer"];
