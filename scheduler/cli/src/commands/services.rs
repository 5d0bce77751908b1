//! `windlass services …`: what runs for long, and how it does.

use std::process::ExitCode;

use anyhow::Context;
use clap::Subcommand;
use model::{
    DagId, ServiceKey,
    command::{Command, ServiceAction},
    door::Text,
};
use serde_json::{Value, json};
use store::read::ServiceView;

use crate::{
    access::Access,
    console,
    exit::Failure,
    output::{Format, Listing, Output},
    settings::Settings,
};

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Services {
    /// One line a service.
    List(#[command(flatten)] Output),
    /// Everything that is known of a service.
    Status {
        /// `dag_id/name`, or the name alone when only one DAG has it.
        service: String,
        #[command(flatten)]
        output: Output,
    },
    /// Stop it and start it.
    Restart {
        /// `dag_id/name`, or the name alone.
        service: String,
    },
    /// Stop it, until it is started or its DAG is triggered again.
    Stop {
        /// `dag_id/name`, or the name alone.
        service: String,
    },
    /// Start it after a stop.
    Start {
        /// `dag_id/name`, or the name alone.
        service: String,
    },
    /// Print its log.
    Logs {
        /// `dag_id/name`, or the name alone.
        service: String,
        /// Which replica.
        #[arg(long, default_value_t = 0)]
        replica: i32,
    },
}

/// Carries one out.
///
/// # Errors
/// When the service is not known, or nothing runs.
pub async fn run(settings: &Settings, command: Services) -> anyhow::Result<ExitCode> {
    let access = Access::open(settings).await?;
    let done = carry_out(settings, &access, command).await;
    access.close().await;
    done.map(|()| ExitCode::SUCCESS)
}

async fn carry_out(settings: &Settings, access: &Access, command: Services) -> anyhow::Result<()> {
    let services = store::read::services(access.pool().await?).await?;
    match command {
        Services::List(output) => list(&services, output),
        Services::Status { service, output } => status(&find(&services, &service)?, output),
        Services::Restart { service } => control(access, &services, &service, ServiceAction::Restart).await?,
        Services::Stop { service } => control(access, &services, &service, ServiceAction::Stop).await?,
        Services::Start { service } => control(access, &services, &service, ServiceAction::Start).await?,
        Services::Logs { service, replica } => {
            let key = ServiceKey { replica, ..find(&services, &service)?[0].key.clone() };
            print_log(settings, key)?;
        }
    }
    Ok(())
}

fn list(services: &[ServiceView], output: Output) {
    let mut listing =
        Listing::new(&["service", "state", "records", "records_per_second", "lag", "restarts", "last_error"]);
    for service in services {
        let number = |name: &str| service.progress[name].as_f64().map_or(Value::Null, |n| json!(n.round() as i64));
        listing.push([
            json!(service.key.to_string()),
            json!(service.state.to_string()),
            number("records"),
            number("rate_per_s"),
            number("lag"),
            json!(service.restarts),
            json!(service.last_error),
        ]);
    }
    listing.print(output);
}

fn status(services: &[&ServiceView], output: Output) {
    let mut listing =
        Listing::new(&["service", "state", "wanted", "worker", "start_date", "restarts", "last_error", "progress"]);
    for service in services {
        listing.push([
            json!(service.key.to_string()),
            json!(service.state.to_string()),
            json!(if service.is_wanted { "running" } else { "stopped" }),
            json!(service.worker),
            json!(service.started_at),
            json!(service.restarts),
            json!(service.last_error),
            service.progress.clone(),
        ]);
    }
    match output.format {
        Format::Table => out!("{}", listing.properties()),
        _ => listing.print(output),
    }
}

fn find<'s>(services: &'s [ServiceView], wanted: &str) -> anyhow::Result<Vec<&'s ServiceView>> {
    let (dag, name) = wanted.split_once('/').map_or((None, wanted), |(dag, name)| (Some(dag), name));
    let found: Vec<_> = services
        .iter()
        .filter(|service| service.key.name == name && dag.is_none_or(|dag| service.key.dag.as_str() == dag))
        .collect();
    let Some(first) = found.first() else {
        let known: Vec<_> =
            services.iter().map(|service| format!("{}/{}", service.key.dag, service.key.name)).collect();
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        return Err(Failure::missing(format!("there is no service {wanted}; known are: {known}")));
    };
    if found.iter().any(|service| service.key.dag != first.key.dag) {
        return Err(Failure::refused(format!("several DAGs have a service {name}; write dag_id/{name}")));
    }
    Ok(found)
}

async fn control(access: &Access, services: &[ServiceView], wanted: &str, action: ServiceAction) -> anyhow::Result<()> {
    let key = &find(services, wanted)?[0].key;
    let (dag_id, name): (DagId, _) = (key.dag.clone(), Text::new(key.name.clone()).context("the service's name")?);
    access.command(Command::ControlService { dag_id, name, action }).await?;
    outln!(
        "{}/{}: {} asked",
        key.dag,
        key.name,
        match action {
            ServiceAction::Start => "start",
            ServiceAction::Restart => "restart",
            ServiceAction::Stop => "stop",
        }
    );
    Ok(())
}

/// Reads the log where the worker of this machine writes it.
fn print_log(settings: &Settings, key: ServiceKey) -> anyhow::Result<()> {
    const CHUNK_BYTES: u32 = 1024 * 1024;
    let folder = settings.home.join("logs");
    let name = link::query::LogName::Service(key);
    let mut offset = 0;
    loop {
        let chunk = executor::log::read(&folder, &name, offset, CHUNK_BYTES)?;
        if chunk.bytes.is_empty() || !console::is_open() {
            return Ok(());
        }
        offset += chunk.bytes.len() as u64;
        for line in String::from_utf8_lossy(&chunk.bytes).lines() {
            let record: serde_json::Value = serde_json::from_str(line).unwrap_or_default();
            outln!("{} {}", record["ts"].as_str().unwrap_or(""), record["text"].as_str().unwrap_or(line));
        }
    }
}
