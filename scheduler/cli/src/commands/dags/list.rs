//! What is known of DAGs.

use std::{collections::BTreeMap, process::ExitCode};

use anyhow::Context;
use serde_json::{Value, json};
use sqlx::PgPool;
use store::read;

use crate::{
    find,
    output::{Listing, Output},
};

/// Mistakes that one call lists; whoever has more mends some first.
const IMPORT_ERRORS_MAX: i64 = 10_000;

/// One line a DAG.
///
/// # Errors
/// When PostgreSQL does not answer.
pub async fn all(pool: &PgPool, output: Output) -> anyhow::Result<()> {
    let dags = read::dags(pool).await?;
    let ids: Vec<_> = dags.iter().map(|dag| dag.dag_id.clone()).collect();
    let latest: BTreeMap<_, _> =
        read::latest_runs(pool, &ids).await?.into_iter().map(|run| (run.dag_id, run.state.name())).collect();
    let mut listing = Listing::new(&["dag_id", "fileloc", "is_paused", "next_dagrun", "last_run_state"]);
    for dag in &dags {
        listing.push([
            json!(dag.dag_id),
            json!(dag.fileloc),
            json!(dag.is_paused),
            json!(dag.next.map(|next| next.run_after)),
            json!(latest.get(&dag.dag_id)),
        ]);
    }
    listing.print(output);
    Ok(())
}

/// A line a property.
///
/// # Errors
/// When there is no such DAG.
pub async fn details(pool: &PgPool, dag_id: &str, output: Output) -> anyhow::Result<()> {
    let view = find::dag(pool, dag_id).await?;
    let version = read::version(pool, view.current).await?.context("the DAG's version is gone")?;
    let dag = &version.dag;
    let params: serde_json::Map<String, Value> =
        dag.params.iter().map(|(name, param)| (name.clone(), param.default.clone())).collect();
    let properties = [
        ("dag_id", json!(dag.dag_id)),
        ("description", json!(dag.description)),
        ("fileloc", json!(view.fileloc)),
        ("is_paused", json!(view.is_paused)),
        ("is_stale", json!(view.is_stale)),
        ("has_import_errors", json!(view.has_import_errors)),
        ("version_number", json!(version.number)),
        ("schedule", json!(dag.schedule)),
        ("start_date", json!(dag.start_date)),
        ("end_date", json!(dag.end_date)),
        ("catchup", json!(dag.catchup == dag::Catchup::All)),
        ("max_active_runs", json!(dag.max_active_runs)),
        ("max_active_tasks", json!(dag.max_active_tasks)),
        ("next_dagrun", json!(view.next.map(|next| next.run_after))),
        ("tags", json!(dag.tags)),
        ("owners", json!(dag.owners)),
        ("params", Value::Object(params)),
        ("tasks", json!(dag.tasks.len())),
    ];
    let mut listing = Listing::new(&["property", "value"]);
    for (name, value) in properties {
        listing.push([json!(name), value]);
    }
    listing.print(output);
    Ok(())
}

/// When the next run of its schedule starts.
///
/// # Errors
/// When there is no such DAG.
pub async fn next_execution(pool: &PgPool, dag_id: &str) -> anyhow::Result<()> {
    let view = find::dag(pool, dag_id).await?;
    match view.next {
        Some(next) => println!("{}", next.run_after.to_rfc3339()),
        None => println!("None"),
    }
    if view.is_paused {
        eprintln!("{} is paused: no run of its schedule starts", view.dag_id);
    }
    Ok(())
}

/// A line a mistake; the status says whether there is one.
///
/// # Errors
/// When PostgreSQL does not answer.
pub async fn import_errors(pool: &PgPool, output: Output) -> anyhow::Result<ExitCode> {
    let errors = read::import_errors(pool, &[], IMPORT_ERRORS_MAX).await?;
    let mut listing = Listing::new(&["filepath", "line", "field", "error"]);
    for error in &errors {
        let text = match &error.suggestion {
            Some(suggestion) => format!("{}; {suggestion}", error.message),
            None => error.message.clone(),
        };
        listing.push([json!(error.file), json!(error.line), json!(error.field), json!(text)]);
    }
    listing.print(output);
    Ok(if errors.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
