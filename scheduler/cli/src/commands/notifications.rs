//! `windlass notifications …`: what callbacks have told the outside, and what they could not.

use std::process::ExitCode;

use clap::Subcommand;
use serde_json::json;

use crate::{
    installation::Installation,
    output::{Listing, Output},
    settings::Settings,
};

/// The states that can be asked for.
const STATES: [&str; 4] = ["waiting", "sending", "sent", "failed"];

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Notifications {
    /// One line for each, the newest first.
    List {
        /// Of this DAG alone.
        #[arg(long)]
        dag: Option<String>,
        /// In this state alone.
        #[arg(long, value_parser = STATES)]
        state: Option<String>,
        /// At most so many lines.
        #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=1_000))]
        limit: u16,
        #[command(flatten)]
        output: Output,
    },
}

/// Carries one out.
///
/// # Errors
/// What went wrong, in words for people.
pub async fn run(settings: &Settings, command: Notifications) -> anyhow::Result<ExitCode> {
    Installation::with(settings, async |installation| carry_out(installation, command).await).await?;
    Ok(ExitCode::SUCCESS)
}

async fn carry_out(installation: &Installation<'_>, command: Notifications) -> anyhow::Result<()> {
    let Notifications::List { dag, state, limit, output } = command;
    let found = installation.notifications(dag.as_deref(), state.as_deref(), usize::from(limit)).await?;
    let mut listing = Listing::new(&[
        "happened_at",
        "event",
        "dag_id",
        "run_id",
        "task_id",
        "kind",
        "state",
        "attempts",
        "detail",
        "id",
    ]);
    for one in found {
        listing.push([
            json!(one.happened_at),
            json!(one.event),
            json!(one.dag_id),
            json!(one.run_id),
            json!(one.task_id),
            json!(one.kind),
            json!(one.state),
            json!(one.attempts),
            json!(one.detail),
            json!(one.id),
        ]);
    }
    listing.print(output);
    Ok(())
}
