//! `windlass health`: does this installation answer?

use std::{process::ExitCode, time::Duration};

use anyhow::Context as _;
use clap::Args;
use serde_json::Value;

use crate::settings::Settings;

/// The answer is local; whoever asks does not want to wait.
const ANSWER_WITHIN: Duration = Duration::from_secs(3);

/// Options of `health`.
#[derive(Debug, Args)]
pub struct Health {
    /// Say nothing, only end with status 0 or 1.
    #[arg(long)]
    quiet: bool,
}

/// What `/api/v2/monitor/health` answers.
///
/// # Errors
/// When nothing answers there.
pub async fn ask_health(settings: &Settings) -> anyhow::Result<Value> {
    let client = reqwest::Client::builder().timeout(ANSWER_WITHIN).build()?;
    let url = format!("http://{}/api/v2/monitor/health", settings.api_address());
    let nothing = || format!("nothing answers on {url}");
    client.get(&url).send().await.with_context(nothing)?.json().await.with_context(nothing)
}

/// Says how the parts are.
///
/// # Errors
/// When no client can be made.
pub async fn run(settings: &Settings, options: &Health) -> anyhow::Result<ExitCode> {
    match ask_health(settings).await {
        Ok(health) => {
            let parts = ["metadatabase", "scheduler"].map(|part| (part, health[part]["status"].clone()));
            if !options.quiet {
                for (part, status) in &parts {
                    println!("{part}: {}", status.as_str().unwrap_or("unknown"));
                }
            }
            let healthy = parts.iter().all(|(_, status)| status == "healthy");
            Ok(if healthy { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        Err(error) => {
            if !options.quiet {
                eprintln!("{error:#}");
            }
            Ok(ExitCode::FAILURE)
        }
    }
}
