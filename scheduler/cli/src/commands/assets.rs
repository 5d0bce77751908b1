//! `windlass assets …`: named data, its events, and the DAGs that write it and wait for it.

use std::process::ExitCode;

use clap::Subcommand;
use serde_json::{Value, json};

use crate::{
    exit::Exit,
    installation::{AssetRow, AssetsWanted, Installation},
    output::{Listing, Output},
    settings::Settings,
};

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Assets {
    /// The assets that DAGs write, read and wait for.
    List {
        /// Only those with this in their name.
        #[arg(long)]
        name: Option<String>,
        /// Also those that no DAG names any more.
        #[arg(long)]
        all: bool,
        /// At most so many.
        #[arg(long, default_value_t = 100)]
        limit: usize,
        #[command(flatten)]
        output: Output,
    },
    /// An asset with everything that is known of it.
    Details {
        /// Its number, name or uri.
        asset: String,
        #[command(flatten)]
        output: Output,
    },
    /// The newest events of an asset, or of all.
    Events {
        /// Its number, name or uri.
        asset: Option<String>,
        /// At most so many.
        #[arg(long, default_value_t = 50)]
        limit: usize,
        #[command(flatten)]
        output: Output,
    },
    /// Start a run of the DAG that writes an asset.
    Materialize {
        /// Its number, name or uri.
        asset: String,
        /// Values for the params of the run, a JSON object.
        #[arg(long, short, value_name = "JSON")]
        conf: Option<String>,
    },
    /// Say that an asset has changed: DAGs that wait for it hear of it.
    Emit {
        /// Its number, name or uri.
        asset: String,
        /// What consumers of the event are told, a JSON object.
        #[arg(long, value_name = "JSON")]
        extra: Option<String>,
    },
}

/// Carries one out.
///
/// # Errors
/// What went wrong, in words for people.
pub async fn run(settings: &Settings, command: Assets) -> anyhow::Result<ExitCode> {
    Installation::with(settings, async |installation| carry_out(installation, command).await).await
}

async fn carry_out(installation: &Installation<'_>, command: Assets) -> anyhow::Result<ExitCode> {
    match command {
        Assets::List { name, all, limit, output } => {
            let wanted = AssetsWanted { name, with_inactive: all, most: limit };
            list(&installation.assets(&wanted).await?, output);
        }
        Assets::Details { asset, output } => details(&installation.asset(&asset).await?, output),
        Assets::Events { asset, limit, output } => {
            events(&installation.asset_events(asset.as_deref(), limit).await?, output);
        }
        Assets::Materialize { asset, conf } => {
            let (dag_id, run_id) = installation.materialize(&asset, conf.as_deref()).await?;
            outln!("{dag_id}: run {run_id} is made");
        }
        Assets::Emit { asset, extra } => {
            let event = installation.create_asset_event(&asset, extra.as_deref()).await?;
            outln!("{}: event {} is made", event["name"].as_str().unwrap_or(&asset), event["id"]);
        }
    }
    Ok(Exit::Done.into())
}

fn list(found: &[AssetRow], output: Output) {
    let mut listing = Listing::new(&["id", "name", "uri", "group", "last_event", "written_by", "awaited_by"]);
    for AssetRow { id, fields } in found {
        listing.push([
            json!(id),
            fields["name"].clone(),
            fields["uri"].clone(),
            fields["group"].clone(),
            fields["last_asset_event"]["timestamp"].clone(),
            json!(dags(&fields["producing_tasks"])),
            json!(dags(&fields["scheduled_dags"])),
        ]);
    }
    listing.print(output);
}

/// The DAGs of references, each once.
fn dags(references: &Value) -> String {
    let mut ids: Vec<&str> =
        references.as_array().into_iter().flatten().filter_map(|reference| reference["dag_id"].as_str()).collect();
    ids.dedup();
    ids.join(", ")
}

fn details(asset: &AssetRow, output: Output) {
    let mut listing = Listing::new(&["property", "value"]);
    for (name, value) in asset.fields.as_object().into_iter().flatten() {
        listing.push([json!(name), value.clone()]);
    }
    listing.print(output);
}

fn events(found: &[Value], output: Output) {
    let columns = &["id", "timestamp", "name", "source_dag_id", "source_task_id", "source_run_id", "extra"];
    let mut listing = Listing::new(columns);
    for event in found {
        listing.push(columns.map(|column| event[column].clone()));
    }
    listing.print(output);
}
