//! `windlass health`: does this installation answer?

use std::{process::ExitCode, time::Duration};

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

/// Asks `/api/v2/monitor/health`.
///
/// # Errors
/// When no client can be made.
pub async fn run(settings: &Settings, options: &Health) -> anyhow::Result<ExitCode> {
    let client = reqwest::Client::builder().timeout(ANSWER_WITHIN).build()?;
    let url = format!("http://{}/api/v2/monitor/health", settings.address());
    let answer = match client.get(&url).send().await {
        Ok(response) => response.json::<Value>().await,
        Err(error) => Err(error),
    };
    match answer {
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
                eprintln!("nothing answers on {url}: {error}");
            }
            Ok(ExitCode::FAILURE)
        }
    }
}
