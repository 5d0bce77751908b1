//! What is known of DAGs.

use std::process::ExitCode;

use serde_json::json;

use crate::{
    exit::Exit,
    installation::Installation,
    output::{Listing, Output},
};

/// One line a DAG.
///
/// # Errors
/// When the installation does not answer.
pub async fn all(installation: &Installation<'_>, output: Output) -> anyhow::Result<()> {
    let dags = installation.dags().await?;
    let latest = installation.last_states(&dags).await?;
    let mut listing = Listing::new(&["dag_id", "fileloc", "owners", "is_paused", "next_dagrun", "last_run_state"]);
    for dag in &dags {
        listing.push([
            json!(dag.dag_id),
            json!(dag.fileloc),
            json!(dag.owners.join(", ")),
            json!(dag.is_paused),
            json!(dag.next_dagrun),
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
pub async fn details(installation: &Installation<'_>, dag_id: &str, output: Output) -> anyhow::Result<()> {
    let mut listing = Listing::new(&["property", "value"]);
    for (name, value) in installation.dag_details(dag_id).await? {
        listing.push([json!(name), value]);
    }
    listing.print(output);
    Ok(())
}

/// When the next run of its schedule starts.
///
/// # Errors
/// When there is no such DAG.
pub async fn next_execution(installation: &Installation<'_>, dag_id: &str) -> anyhow::Result<()> {
    let dag = installation.dag(dag_id).await?;
    match dag.next_dagrun {
        Some(next) => outln!("{}", next.to_rfc3339()),
        None => outln!("None"),
    }
    if dag.is_paused {
        errln!("{} is paused: no run of its schedule starts", dag.dag_id);
    }
    Ok(())
}

/// A line a mistake; the status says whether there is one.
///
/// # Errors
/// When the installation does not answer.
pub async fn import_errors(installation: &Installation<'_>, output: Output) -> anyhow::Result<ExitCode> {
    let mistakes = installation.import_errors().await?;
    let mut listing = Listing::new(&["filepath", "line", "field", "error"]);
    for mistake in &mistakes {
        listing.push([json!(mistake.file), json!(mistake.line), json!(mistake.field), json!(mistake.text)]);
    }
    listing.print(output);
    Ok(if mistakes.is_empty() { ExitCode::SUCCESS } else { Exit::Error.into() })
}
