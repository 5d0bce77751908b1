//! `windlass version`: this program's version, and that of the server when one is named.

use clap::Args;
use serde::Deserialize;
use serde_json::json;

use crate::{
    output::{Listing, Output},
    server::{Auth, Server},
    settings::Settings,
};

/// Options of `version`.
#[derive(Debug, Args)]
pub struct Version {
    #[command(flatten)]
    output: Output,
}

/// Prints them.
///
/// # Errors
/// When the server does not answer.
pub async fn run(settings: &Settings, options: &Version) -> anyhow::Result<()> {
    #[derive(Deserialize)]
    struct Answer {
        version: String,
        git_version: Option<String>,
    }
    let mut listing = Listing::new(&["program", "version", "airflow_api"]);
    listing.push([json!("windlass"), json!(env!("CARGO_PKG_VERSION")), json!(null)]);
    if let Some(url) = &settings.server.url {
        let server = Server::at(url.clone(), Auth::Nobody)?;
        let answer: Answer = server.get(&["version"], &[]).await?;
        listing.push([json!(server.name()), json!(answer.git_version), json!(answer.version)]);
    }
    listing.print(options.output);
    Ok(())
}
