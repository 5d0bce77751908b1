//! SQL on a PostgreSQL connection. Several statements are one transaction: all of them or none.

use std::time::Duration;

use futures::{StreamExt as _, TryStreamExt as _};
use link::ConnectionFields;
use model::operator::SqlOutput;
use pgconnect::Target;
use serde_json::Value;
use sqlx::{
    Column as _, Connection as _, Either, Executor as _, PgConnection, Row as _, TypeInfo as _, ValueRef as _,
    postgres::{PgConnectOptions, PgDatabaseError, PgErrorPosition, PgRow},
};

use super::{
    Purpose, ROWS_SHOWN_MAX, Script, Table, Work, extra,
    script::{Statement, position, statements},
    shown,
};
use crate::Outcome;

const PORT: u16 = 5432;
/// How long ending a statement from beside may take.
const CONNECT_WAIT: Duration = Duration::from_secs(15);
/// So many rows are kept of a statement whose rows are wanted, and so many bytes of them: an XCom's limit is far below.
const ROWS_KEPT_MAX: usize = 10_000;
const KEPT_BYTES_MAX: usize = 1024 * 1024;
/// PostgreSQL's code for a statement that must not be in a transaction with others.
const ACTIVE_TRANSACTION: &str = "25001";
/// Lets the server notice a client that is gone while a statement runs; older servers do not know it.
const NOTICE_LOST_CLIENT: &str = "SET client_connection_check_interval = '5s'";

/// What a statement gave: counted in whole, kept in part. A row that nobody will look at is never stored.
#[derive(Default)]
struct Given {
    columns: Vec<String>,
    rows: Vec<Vec<Value>>,
    count: u64,
    kept_bytes: usize,
    rows_max: usize,
}

/// Runs the scripts.
pub(super) async fn run(work: &Work<'_>, fields: &ConnectionFields) -> Result<Table, Outcome> {
    let refused =
        |error: &dyn std::fmt::Display| Outcome::failed(format!("connecting to {:?}: {error}", fields.conn_id));
    let target = target(fields).map_err(|reason| refused(&reason))?;
    let connecting = async {
        let mut connection = target.connect().await?;
        let backend = prepare(&mut connection).await?;
        Ok::<_, sqlx::Error>((connection, backend))
    };
    let (mut connection, backend) = tokio::select! {
        connected = connecting => connected.map_err(|error| refused(&error))?,
        cause = work.stop.requested() => return Err(cause.into()),
    };
    tokio::select! {
        outcome = run_scripts(work, &mut connection) => {
            // What matters was committed; a connection that does not close nicely is closed anyway.
            let _ = connection.close().await;
            outcome
        }
        cause = work.stop.requested() => {
            end_backend(&target, backend).await;
            Err(cause.into())
        }
    }
}

/// The server of a connection. Each key of its `extra` is a parameter of libpq, and acts or is refused by name.
fn target(fields: &ConnectionFields) -> Result<Target, String> {
    let host = fields.host.as_deref().unwrap_or("localhost");
    let port = fields.port.and_then(|port| u16::try_from(port).ok()).unwrap_or(PORT);
    let mut options = PgConnectOptions::new_without_pgpass().port(port).application_name("windlass");
    options = if host.starts_with('/') { options.socket(host) } else { options.host(host) };
    if let Some(login) = &fields.login {
        options = options.username(login);
    }
    if let Some(password) = &fields.password {
        options = options.password(password);
    }
    if let Some(database) = &fields.schema {
        options = options.database(database);
    }
    extra(fields)?.iter().try_fold(Target::new(options), |target, (key, value)| {
        let text = match value {
            Value::String(text) => text.clone(),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => value.to_string(),
        };
        target.with(key, &text).map_err(|error| format!("its extra {key:?}: {error}"))
    })
}

async fn prepare(connection: &mut PgConnection) -> Result<i32, sqlx::Error> {
    connection.execute("SET standard_conforming_strings = on").await?;
    if connection.execute(NOTICE_LOST_CLIENT).await.is_err() {
        tracing::debug!("a PostgreSQL server does not know client_connection_check_interval");
    }
    sqlx::query_scalar("SELECT pg_backend_pid()").fetch_one(connection).await
}

/// Ends the statement that runs: closing the connection alone would let it go on.
async fn end_backend(target: &Target, backend: i32) {
    let end = async {
        let mut connection = target.connect().await?;
        sqlx::query("SELECT pg_terminate_backend($1)").bind(backend).execute(&mut connection).await?;
        connection.close().await
    };
    match tokio::time::timeout(CONNECT_WAIT, end).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(%error, "a PostgreSQL statement could not be ended"),
        Err(_) => tracing::warn!("a PostgreSQL statement could not be ended in time"),
    }
}

async fn run_scripts(work: &Work<'_>, connection: &mut PgConnection) -> Result<Table, Outcome> {
    let all: Vec<(&Script, Statement<'_>)> = work
        .scripts
        .iter()
        .flat_map(|script| statements(&script.sql).into_iter().map(move |one| (script, one)))
        .collect();
    // One statement is a transaction by itself, and some, such as VACUUM, refuse to be in another.
    let in_transaction = all.len() > 1;
    if in_transaction {
        connection.execute("BEGIN").await.map_err(|error| Outcome::failed(error.to_string()))?;
    }
    let mut last = Given::default();
    let mut offended = None;
    for (at, (script, statement)) in all.iter().enumerate() {
        work.say(&format!("Statement {} of {} ({}): {}", at + 1, all.len(), script.name, shown(statement.text)));
        let rows_max = rows_wanted(work, at + 1 == all.len());
        last = run_statement(work, connection, (script, statement), rows_max, in_transaction).await?;
        if work.purpose == Purpose::Check {
            // Rows that a statement changed, rather than gave, are no finding.
            let found = if last.rows.is_empty() { 0 } else { last.count };
            work.checked(&script.name, statement.text, found, &last.columns, &last.rows);
            if found > 0 {
                // All checks run, so that one look shows everything that is wrong.
                let first = || work.offended(&script.name, last.count, &last.columns, &last.rows);
                offended.get_or_insert_with(first);
            }
        }
    }
    if let Some(outcome) = offended {
        return Err(outcome);
    }
    if in_transaction {
        connection.execute("COMMIT").await.map_err(|error| Outcome::failed(format!("COMMIT: {error}")))?;
    }
    Ok(Table { columns: last.columns, rows: last.rows })
}

async fn run_statement(
    work: &Work<'_>,
    connection: &mut PgConnection,
    (script, statement): (&Script, &Statement<'_>),
    rows_max: usize,
    in_transaction: bool,
) -> Result<Given, Outcome> {
    let began = tokio::time::Instant::now();
    let given = give(connection, statement.text, rows_max).await;
    let given = given.map_err(|error| {
        if in_transaction
            && error.as_database_error().and_then(|error| error.code()).as_deref() == Some(ACTIVE_TRANSACTION)
        {
            work.say(
                "The statements of a task are one transaction, which this one can not be in: give it a task of its own",
            );
        }
        failure(work, script, statement, &error)
    })?;
    work.say(&format!("{} rows in {} ms", given.count, began.elapsed().as_millis()));
    Ok(given)
}

/// How many rows of a statement anybody will look at.
fn rows_wanted(work: &Work<'_>, is_last: bool) -> usize {
    match (work.purpose, work.output) {
        (Purpose::Check, _) => ROWS_SHOWN_MAX,
        (Purpose::Execute, SqlOutput::Rows) if is_last => ROWS_KEPT_MAX,
        (Purpose::Execute, SqlOutput::Rows | SqlOutput::None) => 0,
    }
}

async fn give(connection: &mut PgConnection, statement: &str, rows_max: usize) -> Result<Given, sqlx::Error> {
    let mut given = Given { rows_max, ..Given::default() };
    let mut results = sqlx::raw_sql(statement).fetch_many(connection).fuse();
    while let Some(result) = results.try_next().await? {
        match result {
            Either::Left(done) => given.count = given.count.max(done.rows_affected()),
            Either::Right(row) => given.add(&row)?,
        }
    }
    Ok(given)
}

impl Given {
    fn add(&mut self, row: &PgRow) -> Result<(), sqlx::Error> {
        if self.columns.is_empty() {
            self.columns = row.columns().iter().map(|column| column.name().to_owned()).collect();
        }
        self.count += 1;
        if self.rows.len() < self.rows_max && self.kept_bytes < KEPT_BYTES_MAX {
            for at in 0..row.len() {
                self.kept_bytes += row.try_get_raw(at)?.as_bytes().map_or(0, <[u8]>::len);
            }
            self.rows.push((0..row.len()).map(|at| json_of(row, at)).collect::<Result<_, _>>()?);
        }
        Ok(())
    }
}

/// A value as JSON: the simple protocol gives texts, so that any type can be shown.
fn json_of(row: &PgRow, at: usize) -> Result<Value, sqlx::Error> {
    let raw = row.try_get_raw(at)?;
    if raw.is_null() {
        return Ok(Value::Null);
    }
    let text = raw.as_str().map_err(sqlx::Error::Decode)?;
    let as_json = || serde_json::from_str(text).unwrap_or_else(|_| text.into());
    Ok(match raw.type_info().name() {
        "BOOL" => Value::Bool(text == "t"),
        "INT2" | "INT4" | "INT8" | "FLOAT4" | "FLOAT8" | "JSON" | "JSONB" => as_json(),
        _ => text.into(),
    })
}

fn failure(work: &Work<'_>, script: &Script, statement: &Statement<'_>, error: &sqlx::Error) -> Outcome {
    let database = error.as_database_error().and_then(|error| error.try_downcast_ref::<PgDatabaseError>());
    let offset = match database.and_then(PgDatabaseError::position) {
        Some(PgErrorPosition::Original(at)) => {
            let characters = statement.text.char_indices().nth(at.saturating_sub(1));
            statement.offset + characters.map_or(0, |(bytes, _)| bytes)
        }
        Some(PgErrorPosition::Internal { .. }) | None => statement.offset,
    };
    let place = position(&script.sql, offset);
    let message = database.map_or_else(|| error.to_string(), |error| error.message().to_owned());
    for more in
        [database.and_then(PgDatabaseError::detail), database.and_then(PgDatabaseError::hint)].into_iter().flatten()
    {
        work.say(more);
    }
    Outcome::failed(format!("{} line {} column {}: {message}", script.name, place.line, place.column))
}
