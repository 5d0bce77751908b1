//! `windlass-tasks lake …`: queries, listings and the scheduler's scripts. Standard output carries results only.

use std::io::{self, Read as _, Write};
use std::process::ExitCode;

use anyhow::Context as _;
use arrow::array::RecordBatch;
use clap::Subcommand;
use futures::StreamExt;

use super::command::Command;
use super::engine::SqlEngine;
use super::error::{Position, SqlError};
use super::job::{self, Request, Verdict};
pub use super::print::Format;
use super::print::Printer;
use super::upkeep::{self, Common, Expire, Sweep, Vacuum};
use super::{listing, script};
use crate::lake::upkeep::Task;
use crate::lake::{Lake, LakeSettings, files, table_name};

/// A request is some SQL files of at most 16 MiB in all; more than this is not one.
const REQUEST_BYTES_MAX: u64 = 64 << 20;

/// What can be done with the lake.
#[derive(Debug, Subcommand)]
pub enum LakeCommand {
    /// Run a SELECT and print its rows
    Query {
        /// The SELECT; tables are schema.table or lake.schema.table
        sql: String,
        /// What rows are printed as
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
    /// List the tables with their rows, files and bytes
    Tables {
        /// What rows are printed as
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
    /// List the data files of a table
    Files {
        /// The table: schema.table or lake.schema.table
        table: String,
        /// What rows are printed as
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
    /// Make few large files of the many small ones that a stream leaves behind
    Compact(Common),
    /// Forget old snapshots of Iceberg tables; their files go with the next sweep
    Expire(Expire),
    /// Delete files of Iceberg tables that no snapshot names any more
    Sweep(Sweep),
    /// Delete replaced files of the Delta table, write a checkpoint, and shorten its log
    Vacuum(Vacuum),
    /// Run the scripts of one JSON request from standard input and answer with JSON lines
    Run,
}

/// Carries a command out. What fails is told on standard error, except to the scheduler, who gets it as an event.
///
/// # Errors
/// When the lake cannot be reached, the SQL is wrong, or the result cannot be written.
pub async fn run(command: LakeCommand) -> anyhow::Result<ExitCode> {
    let printed = match command {
        LakeCommand::Query { sql, format } => query(&sql, format).await,
        LakeCommand::Tables { format } => tables(format).await,
        LakeCommand::Files { table, format } => list_files(&table, format).await,
        LakeCommand::Compact(common) => keep_up(Task::Compact, &common).await,
        LakeCommand::Expire(asked) => keep_up(asked.task(), &asked.common).await,
        LakeCommand::Sweep(asked) => keep_up(asked.task(), &asked.common).await,
        LakeCommand::Vacuum(asked) => keep_up(asked.task(), &asked.common).await,
        LakeCommand::Run => return run_job().await,
    };
    match printed {
        Err(error) if is_closed_pipe(&error) => Ok(ExitCode::SUCCESS),
        other => other.map(|()| ExitCode::SUCCESS),
    }
}

async fn query(sql: &str, format: Format) -> anyhow::Result<()> {
    let select = only_select(sql)?;
    let engine = SqlEngine::new(open().await?)?;
    let (position, query) = (select.position, select.query);
    let mut rows = engine.select(&query, position).await?;
    let mut printer = Printer::new(output(), format, &rows.schema())?;
    while let Some(batch) = rows.next().await {
        printer.print(&batch.map_err(|error| SqlError::running(&error, position))?)?;
    }
    Ok(printer.finish()?)
}

struct Select {
    position: Position,
    query: Box<datafusion::sql::sqlparser::ast::Query>,
}

/// The one SELECT of a text; everything else is refused.
fn only_select(sql: &str) -> Result<Select, SqlError> {
    let mut statements = script::parse(sql).map_err(|error| match error {
        SqlError::Statement { position, message } if message.contains("is not available here") => {
            let what = message.split(" is not available here").next().unwrap_or("this statement").to_owned();
            SqlError::at(position, format!("{what} is refused: lake query only reads, with one SELECT"))
        }
        other => other,
    })?;
    if let Some(second) = statements.get(1) {
        return Err(SqlError::at(second.position, "lake query takes one SELECT, but here a second statement starts"));
    }
    let Some(only) = statements.pop() else {
        return Err(SqlError::at(Position::START, "there is no statement; write a SELECT"));
    };
    match only.command {
        Command::Select(query) => Ok(Select { position: only.position, query }),
        other => {
            let message = format!("{} is refused: lake query only reads, with one SELECT", other.name());
            Err(SqlError::at(only.position, message))
        }
    }
}

async fn tables(format: Format) -> anyhow::Result<()> {
    let rows = files::tables(&open().await?).await?;
    print_all(&listing::tables(&rows)?, format)
}

async fn list_files(table: &str, format: Format) -> anyhow::Result<()> {
    let name = table_name(table)?;
    let rows = files::files(&open().await?, &name).await?;
    print_all(&listing::files(&rows)?, format)
}

/// Prints what was done to every table, then fails if one of them did.
async fn keep_up(task: Task, common: &Common) -> anyhow::Result<()> {
    task.check().map_err(anyhow::Error::msg)?;
    let report = upkeep::run(&open().await?, task, common).await?;
    print_all(&upkeep::rows(&report)?, common.format)?;
    match upkeep::failure(&report) {
        Some(failure) => Err(failure.into()),
        None => Ok(()),
    }
}

async fn run_job() -> anyhow::Result<ExitCode> {
    let mut text = String::new();
    io::stdin()
        .lock()
        .take(REQUEST_BYTES_MAX)
        .read_to_string(&mut text)
        .context("reading the request from standard input")?;
    let request: Request =
        serde_json::from_str(&text).context("the request on standard input is not the expected JSON")?;
    let engine = SqlEngine::new(open().await?)?;
    Ok(match job::run(&engine, &request, &mut io::stdout()).await? {
        Verdict::Passed => ExitCode::SUCCESS,
        Verdict::Failed => ExitCode::FAILURE,
    })
}

async fn open() -> anyhow::Result<Lake> {
    Ok(Lake::connect(&LakeSettings::from_env()?).await?)
}

fn print_all(batch: &RecordBatch, format: Format) -> anyhow::Result<()> {
    let mut printer = Printer::new(output(), format, &batch.schema())?;
    printer.print(batch)?;
    Ok(printer.finish()?)
}

fn output() -> impl Write {
    io::BufWriter::new(io::stdout())
}

/// A reader such as `head` that has seen enough is no failure.
fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_select_passes() {
        assert!(only_select("WITH a AS (SELECT 1 AS x) SELECT x FROM a;").is_ok());
        for (sql, complaint) in [
            ("INSERT INTO gold.x SELECT 1", "line 1, column 1: INSERT is refused: lake query only reads"),
            ("CREATE TABLE IF NOT EXISTS gold.x (a BIGINT)", "CREATE TABLE is refused"),
            ("COPY gold.x TO '/tmp/x'", "is refused: lake query only reads"),
            ("SET a = 1", "is refused"),
            ("SELECT 1; SELECT 2", "line 1, column 11: lake query takes one SELECT"),
            ("-- nothing", "there is no statement"),
        ] {
            let message = only_select(sql).err().expect(sql).to_string();
            assert!(message.contains(complaint), "{sql}: {message}");
        }
    }
}
