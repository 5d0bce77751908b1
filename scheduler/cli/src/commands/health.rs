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

/// Since when a scheduler that is not well was not seen at work.
#[must_use]
pub fn silent_since(health: &Value) -> Option<String> {
    let scheduler = &health["scheduler"];
    if scheduler["status"] == "healthy" {
        return None;
    }
    let last = scheduler["latest_scheduler_heartbeat"].as_str();
    Some(last.map_or_else(|| " (not seen at work yet)".to_owned(), |at| format!(" (last seen at work at {at})")))
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
                    let since = if *part == "scheduler" { silent_since(&health) } else { None };
                    println!("{part}: {}{}", status.as_str().unwrap_or("unknown"), since.unwrap_or_default());
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_a_scheduler_that_is_not_well_has_a_time_since_when() {
        let of = |status: &str, at: Value| {
            silent_since(&json!({"scheduler": {"status": status, "latest_scheduler_heartbeat": at}}))
        };
        assert_eq!(of("healthy", json!("2026-11-30T05:00:00Z")), None);
        let said = of("unhealthy", json!("2026-11-30T05:00:00Z")).unwrap();
        assert!(said.contains("2026-11-30T05:00:00Z"), "{said}");
        assert!(of("unhealthy", Value::Null).unwrap().contains("not seen"));
    }
}
