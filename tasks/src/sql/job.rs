//! How the scheduler runs scripts: one JSON request, answered by JSON lines, one an event.
//!
//! All scripts are read before the first statement runs. In [`Mode::Check`] every statement is a query and any row that it
//! gives is a failure; all of them run, so that one look at the log shows everything that is wrong.

use std::io::{self, Write};
use std::time::Instant;

use anyhow::Context as _;
use futures::StreamExt;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::cells::Cells;
use super::command::Command;
use super::engine::{Outcome, SqlEngine};
use super::error::{Position, SqlError};
use super::script::{self, Statement};

/// Rows of one result that are handed on: enough to see what is wrong, and never a log full of data.
const ROWS_MAX: usize = 100;
/// Rows of a failed check that stand in the message itself.
const ROWS_TOLD_MAX: usize = 3;
/// Characters of them.
const ROWS_TOLD_CHARACTERS: usize = 400;
/// Characters of a statement that the log shows.
const SHOWN_CHARACTERS: usize = 200;

/// What is to be done.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// Whether rows are results or failures.
    pub mode: Mode,
    /// Whether results are wanted.
    #[serde(default)]
    pub output: Output,
    /// The scripts, in order.
    pub scripts: Vec<Script>,
}

/// Whether rows are results or failures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Statements are run.
    Execute,
    /// Statements are queries that must not give a row.
    Check,
}

/// Whether results are wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Output {
    /// Only how many rows there were.
    #[default]
    None,
    /// The first rows, too.
    Rows,
}

/// A SQL file, its templates rendered.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Script {
    /// Its name, for messages.
    pub name: String,
    /// Its text.
    pub sql: String,
}

/// How a request ended; everything else has been said in events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// All statements ran, and no check gave a row.
    Passed,
    /// A statement failed, or a check gave rows.
    Failed,
}

#[derive(Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum Event<'a> {
    Statement { script: &'a str, index: usize, of: usize, sql: String },
    Rows { columns: Vec<String>, rows: Vec<Vec<Value>> },
    Done { rows: u64, millis: u128 },
    Error { script: &'a str, line: u64, column: u64, message: String },
}

/// A result, as far as it is handed on.
#[derive(Default)]
struct Preview {
    columns: Vec<String>,
    rows: Vec<Vec<Value>>,
    count: u64,
}

/// A statement and the script that it is from.
struct Step<'a> {
    script: &'a str,
    index: usize,
    of: usize,
    statement: Statement,
}

/// Runs a request and writes its events.
///
/// # Errors
/// When events cannot be written; a statement's failure is an event and a [`Verdict`].
pub async fn run(engine: &SqlEngine, request: &Request, events: &mut impl Write) -> anyhow::Result<Verdict> {
    let steps = match read(request) {
        Ok(steps) => steps,
        Err(refused) => {
            let position = refused.error.position().unwrap_or(Position::START);
            emit(events, &failure(refused.script, position, refused.error.message()))?;
            return Ok(Verdict::Failed);
        }
    };
    match request.mode {
        Mode::Execute => execute(engine, &steps, request.output, events).await,
        Mode::Check => check(engine, &steps, events).await,
    }
}

struct Refused<'a> {
    script: &'a str,
    error: SqlError,
}

fn read(request: &Request) -> Result<Vec<Step<'_>>, Refused<'_>> {
    let mut steps = Vec::new();
    for script in &request.scripts {
        let refused = |error| Refused { script: &script.name, error };
        let statements = script::parse(&script.sql).map_err(refused)?;
        let of = statements.len();
        for (index, statement) in (1..).zip(statements) {
            if request.mode == Mode::Check && !matches!(statement.command, Command::Select(_)) {
                let message =
                    format!("a check consists of SELECT statements, but this is {}", statement.command.name());
                return Err(refused(SqlError::at(statement.position, message)));
            }
            steps.push(Step { script: &script.name, index, of, statement });
        }
    }
    Ok(steps)
}

async fn execute(
    engine: &SqlEngine,
    steps: &[Step<'_>],
    output: Output,
    events: &mut impl Write,
) -> anyhow::Result<Verdict> {
    for step in steps {
        announce(step, events)?;
        let start = Instant::now();
        match run_step(engine, &step.statement).await {
            Ok(preview) => {
                if output == Output::Rows && !preview.columns.is_empty() {
                    emit(events, &Event::Rows { columns: preview.columns, rows: preview.rows })?;
                }
                emit(events, &Event::Done { rows: preview.count, millis: start.elapsed().as_millis() })?;
            }
            Err(error) => {
                report(step, &error, events)?;
                return Ok(Verdict::Failed);
            }
        }
    }
    Ok(Verdict::Passed)
}

async fn check(engine: &SqlEngine, steps: &[Step<'_>], events: &mut impl Write) -> anyhow::Result<Verdict> {
    let mut first_failure = None;
    let mut failures = 0;
    for step in steps {
        announce(step, events)?;
        let start = Instant::now();
        match run_step(engine, &step.statement).await {
            Ok(preview) => {
                let count = preview.count;
                if count > 0 {
                    first_failure.get_or_insert_with(|| (step, count, told(&preview)));
                    failures += 1;
                    emit(events, &Event::Rows { columns: preview.columns, rows: preview.rows })?;
                }
                emit(events, &Event::Done { rows: count, millis: start.elapsed().as_millis() })?;
            }
            Err(error) => {
                report(step, &error, events)?;
                return Ok(Verdict::Failed);
            }
        }
    }
    let Some((step, count, rows)) = first_failure else { return Ok(Verdict::Passed) };
    let message = format!(
        "{failures} of {} checks found something; the first one returned {count} row(s), and none may come back: {rows}",
        steps.len()
    );
    emit(events, &failure(step.script, step.statement.position, message))?;
    Ok(Verdict::Failed)
}

/// The first rows of a check on one line, for the message of its failure.
fn told(preview: &Preview) -> String {
    let cell = |(name, value): (&String, &Value)| match value {
        Value::String(text) => format!("{name}={text}"),
        other => format!("{name}={other}"),
    };
    let row = |row: &Vec<Value>| preview.columns.iter().zip(row).map(cell).collect::<Vec<_>>().join(", ");
    let told = preview.rows.iter().take(ROWS_TOLD_MAX).map(row).collect::<Vec<_>>().join("; ");
    match told.char_indices().nth(ROWS_TOLD_CHARACTERS) {
        Some((at, _)) => format!("{}…", &told[..at]),
        None if preview.rows.len() > ROWS_TOLD_MAX => format!("{told}; …"),
        None => told,
    }
}

async fn run_step(engine: &SqlEngine, statement: &Statement) -> Result<Preview, SqlError> {
    let mut rows = match engine.run(statement).await? {
        Outcome::Ready => return Ok(Preview::default()),
        Outcome::Changed(count) => return Ok(Preview { count, ..Preview::default() }),
        Outcome::Rows(rows) => rows,
    };
    let running = |error| SqlError::running(&error, statement.position);
    let columns = rows.schema().fields().iter().map(|field| field.name().clone()).collect();
    let mut preview = Preview { columns, ..Preview::default() };
    while let Some(batch) = rows.next().await {
        let batch = batch.map_err(running)?;
        let cells = Cells::new(&batch).map_err(|error| running(error.into()))?;
        let wanted = cells.rows().min(ROWS_MAX - preview.rows.len());
        preview.rows.extend((0..wanted).map(|row| cells.json_row(row)));
        preview.count += batch.num_rows() as u64;
    }
    Ok(preview)
}

fn announce(step: &Step<'_>, events: &mut impl Write) -> anyhow::Result<()> {
    let sql = step.statement.text.chars().take(SHOWN_CHARACTERS).collect();
    emit(events, &Event::Statement { script: step.script, index: step.index, of: step.of, sql })
}

fn report(step: &Step<'_>, error: &SqlError, events: &mut impl Write) -> anyhow::Result<()> {
    let position = error.position().unwrap_or(step.statement.position);
    emit(events, &failure(step.script, position, error.message()))
}

fn failure(script: &str, at: Position, message: String) -> Event<'_> {
    Event::Error { script, line: at.line, column: at.column, message }
}

/// Each event is flushed, so that the log shows a statement while it runs.
fn emit(events: &mut impl Write, event: &Event<'_>) -> anyhow::Result<()> {
    let write = |events: &mut dyn Write| -> io::Result<()> {
        serde_json::to_writer(&mut *events, event)?;
        events.write_all(b"\n")?;
        events.flush()
    };
    write(events).context("writing an event to standard output")
}
