//! The operators `sql` and `sql_check`: statements on a connection, what they did in the log.
//!
//! `postgres` and `trino` connections are served here; `lake` connections by the program `windlass-tasks`, which has the
//! embedded engine. `conn_id: lake` may be configured as any of them. A check succeeds when none of its queries returns a row; the rows are the evidence in the log.

mod checks;
mod lake;
mod postgres;
mod script;
mod trino;

pub(crate) use trino::mask as mask_trino;

use futures::{FutureExt as _, future::BoxFuture};
use link::ConnectionFields;
use model::operator::{Sql, SqlOutput, SqlSource};
use serde_json::{Map, Value, json};

use crate::{Attempt, Executor, LakeSettings, Outcome, Stop, attempt::NoConnection, log::Stream};
use checks::Checks;

/// The connection that is the embedded lake unless it is configured otherwise.
const LAKE: &str = "lake";
/// So many offending rows of a check are shown: enough to see what is wrong.
const ROWS_SHOWN_MAX: usize = 100;
/// So many of them stand in the failure's reason, which pages show in a line.
const ROWS_TOLD_MAX: usize = 3;
/// So much of them does.
const ROWS_TOLD_CHARS_MAX: usize = 400;
/// So much of a statement is shown.
const STATEMENT_CHARS_SHOWN: usize = 200;

/// What the statements are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Their effect.
    Execute,
    /// To show that no row comes back.
    Check,
}

/// Runs SQL.
pub(crate) struct SqlExecutor {
    keys: Sql,
    purpose: Purpose,
}

/// A piece of SQL, rendered, with its parameters in place.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
struct Script {
    /// Its file, or its place in the task.
    name: String,
    /// Its text.
    sql: String,
}

/// What an engine is to do.
struct Work<'a> {
    attempt: &'a Attempt,
    stop: &'a Stop,
    scripts: &'a [Script],
    purpose: Purpose,
    output: SqlOutput,
    checks: &'a Checks,
}

/// Where to run.
enum Engine {
    Postgres(Box<ConnectionFields>),
    Trino(Box<ConnectionFields>),
    Lake(LakeSettings),
}

impl SqlExecutor {
    /// An executor for one task.
    pub(crate) fn new(keys: Sql, purpose: Purpose) -> Self {
        Self { keys, purpose }
    }

    async fn outcome(&self, attempt: &Attempt, stop: &Stop) -> Result<Outcome, Outcome> {
        let query = Query::prepare(attempt, &self.keys).await?;
        let checks = Checks::default();
        let table = query.run_for(self.purpose, attempt, stop, &checks).await;
        match self.purpose {
            // What was found is handed on by a failed check, too.
            Purpose::Check => {
                Ok(table.map_or_else(|failed| failed, |_| Outcome::success()).returned(checks.into_value()))
            }
            Purpose::Execute => table.map(|table| match self.keys.output {
                SqlOutput::Rows => Outcome::success().returned(objects(&table.columns, table.rows)),
                SqlOutput::None => Outcome::success(),
            }),
        }
    }
}

/// SQL that is rendered and knows where to run.
pub(crate) struct Query {
    engine: Engine,
    scripts: Vec<Script>,
    output: SqlOutput,
}

/// What the last statement gave.
#[derive(Debug, Default)]
pub(crate) struct Table {
    columns: Vec<String>,
    /// Its rows, each with a value a column.
    pub(crate) rows: Vec<Vec<Value>>,
}

impl Query {
    /// Renders the SQL, shows it in the log, and looks its connection up.
    ///
    /// # Errors
    /// How the attempt ends when that is not possible.
    pub(crate) async fn prepare(attempt: &Attempt, keys: &Sql) -> Result<Self, Outcome> {
        let (conn_id, scripts) = render(attempt, keys).await?;
        let engine = engine(attempt, &conn_id).await.map_err(Outcome::failed)?;
        Ok(Self { engine, scripts, output: keys.output })
    }

    /// Runs it, as often as it is wanted.
    ///
    /// # Errors
    /// How the attempt ends: a mistake in the SQL, or a stop, which ends the statement on its server too.
    pub(crate) async fn run(&self, attempt: &Attempt, stop: &Stop) -> Result<Table, Outcome> {
        self.run_for(Purpose::Execute, attempt, stop, &Checks::default()).await
    }

    async fn run_for(
        &self,
        purpose: Purpose,
        attempt: &Attempt,
        stop: &Stop,
        checks: &Checks,
    ) -> Result<Table, Outcome> {
        let work = Work { attempt, stop, scripts: &self.scripts, purpose, output: self.output, checks };
        match &self.engine {
            Engine::Postgres(fields) => postgres::run(&work, fields).await,
            Engine::Trino(fields) => trino::run(&work, fields).await,
            Engine::Lake(settings) => lake::run(&work, settings).await,
        }
    }
}

async fn render(attempt: &Attempt, keys: &Sql) -> Result<(String, Vec<Script>), Outcome> {
    let sources = sources(attempt, keys).await.map_err(Outcome::failed)?;
    let keys = keys.clone();
    let rendered = attempt.render(move |renderer| {
        let conn_id = renderer.text("conn_id", &keys.conn_id)?;
        let parameters = renderer.json("parameters", &json!(keys.parameters))?;
        let render = |(name, text): &(String, String)| Ok((name.clone(), renderer.text(name, text)?));
        Ok((conn_id, parameters, sources.iter().map(render).collect::<Result<Vec<_>, _>>()?))
    });
    let (conn_id, parameters, texts) = rendered.await?;
    let parameters = named(parameters).map_err(Outcome::failed)?;
    let shown: Vec<&String> = texts.iter().map(|(_, text)| text).collect();
    attempt.log_rendered(json!({"conn_id": conn_id, "sql": shown, "parameters": parameters}));
    let bind = |(name, text): (String, String)| Script { name, sql: script::bind(&text, &parameters) };
    Ok((conn_id, texts.into_iter().map(bind).collect()))
}

/// Parameters by name; those that one template gives are JSON text.
fn named(parameters: Value) -> Result<Value, String> {
    const SHOWN_MAX: usize = 200;
    let Value::String(text) = parameters else { return Ok(parameters) };
    match serde_json::from_str(&text) {
        Ok(object @ Value::Object(_)) => Ok(object),
        Ok(_) | Err(_) => {
            let shown: String = text.chars().take(SHOWN_MAX).collect();
            Err(format!(
                "parameters gives {shown:?}; expected a mapping as JSON, such as {{{{ ti.xcom_pull('x') | tojson }}}} gives"
            ))
        }
    }
}

async fn sources(attempt: &Attempt, keys: &Sql) -> Result<Vec<(String, String)>, String> {
    let mut texts = Vec::with_capacity(keys.sql.len());
    for (at, source) in keys.sql.iter().enumerate() {
        texts.push(match source {
            SqlSource::File(name) => (name.clone(), attempt.file_text(name).await?),
            SqlSource::Text(text) => (format!("sql[{at}]"), text.clone()),
        });
    }
    Ok(texts)
}

impl Executor for SqlExecutor {
    fn run<'a>(&'a self, attempt: &'a Attempt, stop: &'a Stop) -> BoxFuture<'a, Outcome> {
        self.outcome(attempt, stop).map(|outcome| outcome.unwrap_or_else(|outcome| outcome)).boxed()
    }
}

async fn engine(attempt: &Attempt, conn_id: &str) -> Result<Engine, String> {
    let fields = match attempt.connection(conn_id).await {
        Ok(fields) => fields,
        Err(NoConnection::Missing { .. }) if conn_id == LAKE => return embedded_lake(attempt).map(Engine::Lake),
        Err(error) => return Err(error.to_string()),
    };
    match fields.conn_type.as_str() {
        "postgres" | "postgresql" => Ok(Engine::Postgres(fields)),
        "trino" => Ok(Engine::Trino(fields)),
        "lake" => configured_lake(attempt, &fields)
            .map(Engine::Lake)
            .map_err(|error| format!("connection {conn_id:?}: {error}")),
        other => Err(format!("connection {conn_id:?} has the type {other:?}; sql runs on postgres, trino and lake")),
    }
}

fn embedded_lake(attempt: &Attempt) -> Result<LakeSettings, String> {
    let missing = "this worker has no embedded lake: set WINDLASS_LAKE_DATABASE_URL and WINDLASS_LAKE_WAREHOUSE for it, \
                   or configure the connection";
    attempt.worker.lake.clone().ok_or_else(|| missing.to_owned())
}

/// A `lake` connection may name another catalogue or warehouse in its extra settings.
fn configured_lake(attempt: &Attempt, fields: &ConnectionFields) -> Result<LakeSettings, String> {
    let extra = extra(fields)?;
    only_known(&extra, &["database_url", "warehouse"])?;
    let text = |name: &str| match extra.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(format!("its {name} is no text")),
    };
    match (text("database_url")?, text("warehouse")?) {
        (Some(database_url), Some(warehouse)) => Ok(LakeSettings { database_url, warehouse }),
        (database_url, warehouse) => {
            let embedded = embedded_lake(attempt)?;
            Ok(LakeSettings {
                database_url: database_url.unwrap_or(embedded.database_url),
                warehouse: warehouse.unwrap_or(embedded.warehouse),
            })
        }
    }
}

fn extra(fields: &ConnectionFields) -> Result<Map<String, Value>, String> {
    fields.extra_settings().map_err(|error| format!("its extra is not a JSON object: {error}"))
}

/// Refuses a setting that nothing here would heed.
fn only_known(extra: &Map<String, Value>, known: &[&str]) -> Result<(), String> {
    match extra.keys().find(|name| !known.contains(&name.as_str())) {
        Some(name) => Err(format!("its extra has {name:?}, which is no setting here: {} are", known.join(", "))),
        None => Ok(()),
    }
}

impl Work<'_> {
    fn say(&self, text: &str) {
        self.attempt.log.system(text);
    }

    /// Shows the rows of a check, or of a last statement, one line each.
    fn show_rows(&self, columns: &[String], rows: &[Vec<Value>]) {
        self.attempt.log.line(Stream::Out, &columns.join(" | "));
        for row in rows.iter().take(ROWS_SHOWN_MAX) {
            let cells: Vec<String> = row.iter().map(cell).collect();
            self.attempt.log.line(Stream::Out, &cells.join(" | "));
        }
    }

    /// Notes what a check found, and shows it.
    fn checked(&self, script: &str, statement: &str, count: u64, columns: &[String], rows: &[Vec<Value>]) {
        self.checks.add(script, statement, count, columns, rows);
        if count > 0 {
            self.show_rows(columns, rows);
        }
    }

    /// The failure of a check, with the first rows that it found.
    fn offended(&self, script: &str, count: u64, columns: &[String], rows: &[Vec<Value>]) -> Outcome {
        let found = told(columns, rows);
        Outcome::failed(format!("the check {script} returned {count} rows; no row may come back: {found}"))
    }
}

/// The first rows on one line, for the reason of a failure; the log has more of them.
fn told(columns: &[String], rows: &[Vec<Value>]) -> String {
    let row = |row: &Vec<Value>| {
        let cells: Vec<String> =
            columns.iter().zip(row).map(|(name, value)| format!("{name}={}", cell(value))).collect();
        cells.join(", ")
    };
    let told = rows.iter().take(ROWS_TOLD_MAX).map(row).collect::<Vec<_>>().join("; ");
    let more = if rows.len() > ROWS_TOLD_MAX { "; …" } else { "" };
    match told.char_indices().nth(ROWS_TOLD_CHARS_MAX) {
        Some((at, _)) => format!("{}…", &told[..at]),
        None => format!("{told}{more}"),
    }
}

fn cell(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "NULL".to_owned(),
        other => other.to_string(),
    }
}

fn objects(columns: &[String], rows: Vec<Vec<Value>>) -> Value {
    let names = distinct(columns);
    rows.into_iter().map(|row| Value::Object(names.iter().cloned().zip(row).collect())).collect()
}

/// The names of columns as keys of an object: a further column of one name is `name_2`, `name_3` …, so that none is lost.
fn distinct(columns: &[String]) -> Vec<String> {
    let mut names: Vec<String> = Vec::with_capacity(columns.len());
    for column in columns {
        let numbered = (2..).map(|number| format!("{column}_{number}"));
        let free = std::iter::once(column.clone()).chain(numbered).find(|name| {
            // Nor may a made-up name hide a column that really has it.
            !names.contains(name) && (name == column || !columns.contains(name))
        });
        names.push(free.expect("there are more numbers than columns"));
    }
    names
}

/// The beginning of a statement on one line; what is said before it is in its file.
fn shown(statement: &str) -> String {
    let line = script::without_lead(statement).split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(STATEMENT_CHARS_SHOWN) {
        Some((at, _)) => format!("{}…", &line[..at]),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_of_one_name_are_all_there() {
        let columns = ["id", "id", "id_2", "id"].map(str::to_owned);
        let row = vec![json!(1), json!(2), json!(3), json!(4)];
        assert_eq!(objects(&columns, vec![row]), json!([{"id": 1, "id_3": 2, "id_2": 3, "id_4": 4}]));
    }
}
