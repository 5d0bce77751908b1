//! `windlass health`: does this installation answer?

use std::{process::ExitCode, time::Duration};

use anyhow::Context as _;
use clap::Args;
use reqwest::Url;
use serde_json::{Value, json};

use crate::{
    exit::{Exit, Failure},
    output::{Listing, Output},
    server::{Auth, Server},
    settings::Settings,
};

/// Whoever asks does not want to wait.
const ANSWER_WITHIN: Duration = Duration::from_secs(3);

/// Options of `health`.
#[derive(Debug, Args)]
pub struct Health {
    /// Say nothing, only end with the status: 0 when all is well, 1 when something is not, 6 when nothing answers.
    #[arg(long)]
    quiet: bool,
    #[command(flatten)]
    output: Output,
}

/// What `/api/v2/monitor/health` answers: of the server that is named, else of this machine's.
///
/// # Errors
/// When nothing answers there.
pub async fn ask_health(settings: &Settings) -> anyhow::Result<Value> {
    let here = || Url::parse(&format!("http://{}", settings.api_address())).context("this machine's address");
    let url = settings.server.url.clone().map_or_else(here, Ok)?;
    let nothing = || Failure::unreachable(format!("nothing answers on {url}"));
    let server = Server::at(url.clone(), Auth::Nobody)?;
    match tokio::time::timeout(ANSWER_WITHIN, server.get(&["monitor", "health"], &[])).await {
        Ok(health) => Ok(health?),
        Err(_) => Err(nothing()),
    }
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
/// When nothing answers.
pub async fn run(settings: &Settings, options: &Health) -> anyhow::Result<ExitCode> {
    let health = match ask_health(settings).await {
        Ok(health) => health,
        Err(error) if options.quiet => return Ok(Exit::of(&error).into()),
        Err(error) => return Err(error),
    };
    let mut listing = Listing::new(&["component", "status", "latest_heartbeat"]);
    let parts = [("metadatabase", None), ("scheduler", Some("latest_scheduler_heartbeat"))];
    for (part, heartbeat) in parts {
        let heartbeat = heartbeat.map(|name| health[part][name].clone());
        listing.push([json!(part), health[part]["status"].clone(), json!(heartbeat)]);
    }
    let is_healthy = parts.iter().all(|(part, _)| health[*part]["status"] == "healthy");
    if !options.quiet {
        listing.print(options.output);
        if let Some(since) = silent_since(&health) {
            errln!("the scheduler is not well{since}");
        }
    }
    Ok(if is_healthy { ExitCode::SUCCESS } else { Exit::Error.into() })
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
