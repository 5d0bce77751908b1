//! The operator `sql_sensor`: the first value of a query's first row.

use futures::{FutureExt as _, future::BoxFuture};
use minijinja::Value as Template;
use model::operator::{Sql, SqlOutput, SqlSensor};
use serde_json::Value;

use super::{Found, Sight, watch};
use crate::{
    Attempt, Executor, Outcome, Stop,
    branch::is_yes,
    sql::{Query, Table},
};

/// Waits for what a query gives.
pub(crate) struct SqlSensorExecutor {
    keys: SqlSensor,
}

struct Question<'k> {
    query: Query,
    keys: &'k SqlSensor,
}

impl SqlSensorExecutor {
    /// An executor for one task.
    pub(crate) fn new(keys: SqlSensor) -> Self {
        Self { keys }
    }

    async fn outcome(&self, attempt: &Attempt, stop: &Stop) -> Result<Outcome, Outcome> {
        let sql = Sql {
            conn_id: self.keys.conn_id.clone(),
            sql: vec![self.keys.sql.clone()],
            parameters: self.keys.parameters.clone(),
            output: SqlOutput::Rows,
        };
        let mut question = Question { query: Query::prepare(attempt, &sql).await?, keys: &self.keys };
        Ok(watch(&mut question, &self.keys.poking, attempt, stop).await)
    }
}

impl Executor for SqlSensorExecutor {
    fn run<'a>(&'a self, attempt: &'a Attempt, stop: &'a Stop) -> BoxFuture<'a, Outcome> {
        self.outcome(attempt, stop).map(|outcome| outcome.unwrap_or_else(|outcome| outcome)).boxed()
    }
}

impl Question<'_> {
    async fn judge(&self, attempt: &Attempt, table: Table) -> Result<Found, Outcome> {
        let Some(row) = table.rows.into_iter().next() else {
            let seen = "the query gave no row";
            let fails = self.keys.fail_on_empty;
            return if fails {
                Err(Outcome::failed(format!("{seen} (fail_on_empty)")))
            } else {
                Ok(Found::NotYet(seen.to_owned()))
            };
        };
        let value = row.first().cloned().unwrap_or_default();
        let seen = format!("the query gave {value}");
        if let Some(failure) = &self.keys.failure
            && holds(attempt, ("failure", failure), &value, &row).await?
        {
            return Err(Outcome::failed(format!("{seen}, for which failure holds")));
        }
        let there = match &self.keys.success {
            Some(success) => holds(attempt, ("success", success), &value, &row).await?,
            None => is_true(&value),
        };
        Ok(if there { Found::There(seen) } else { Found::NotYet(seen) })
    }
}

impl Sight for Question<'_> {
    fn look<'a>(&'a mut self, attempt: &'a Attempt, stop: &'a Stop) -> BoxFuture<'a, Result<Found, Outcome>> {
        async move {
            let table = self.query.run(attempt, stop).await?;
            self.judge(attempt, table).await
        }
        .boxed()
    }
}

/// Whether a template over the row holds.
async fn holds(
    attempt: &Attempt,
    (field, template): (&'static str, &str),
    value: &Value,
    row: &[Value],
) -> Result<bool, Outcome> {
    let (template, value, row) = (template.to_owned(), Template::from_serialize(value), Template::from_serialize(row));
    let rendered = attempt
        .render(move |renderer| Ok(is_yes(&renderer.with("value", value).with("row", row).value(field, &template)?)));
    Ok(rendered.await?)
}

/// As Python sees truth.
fn is_true(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(value) => *value,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(fields) => !fields.is_empty(),
    }
}
