//! `windlass services …`: what runs for long, and how it does.

use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Subcommand;
use model::{
    DagId, ServiceKey,
    command::{Command, ServiceAction},
    door::Text,
};
use store::read::ServiceView;

use crate::{access::Access, settings::Settings, text};

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Services {
    /// One line a service.
    List,
    /// Everything that is known of a service.
    Status {
        /// `dag_id/name`, or the name alone when only one DAG has it.
        service: String,
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
        Services::List => print!("{}", list(&services)),
        Services::Status { service } => {
            for service in find(&services, &service)? {
                print!("{}", status(service));
            }
        }
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

fn list(services: &[ServiceView]) -> String {
    let rows: Vec<Vec<String>> = services
        .iter()
        .map(|service| {
            let number = |name: &str| service.progress[name].as_f64().map_or_else(String::new, |n| format!("{n:.0}"));
            vec![
                service.key.to_string(),
                service.state.to_string(),
                number("records"),
                number("rate_per_s"),
                number("lag"),
                service.restarts.to_string(),
                service.last_error.clone().unwrap_or_default(),
            ]
        })
        .collect();
    text::table(&["service", "state", "records", "per second", "lag", "restarts", "last error"], &rows)
}

fn status(service: &ServiceView) -> String {
    let shown = |value: &Option<String>| value.clone().unwrap_or_else(|| "none".to_owned());
    format!(
        "{}\n  state       {}\n  wanted      {}\n  worker      {}\n  started     {}\n  restarts    {}\n  last error  {}\n  progress    {}\n",
        service.key,
        service.state,
        if service.is_wanted { "running" } else { "stopped" },
        shown(&service.worker),
        service.started_at.map_or_else(|| "never".to_owned(), |at| at.to_rfc3339()),
        service.restarts,
        shown(&service.last_error),
        service.progress,
    )
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
        bail!(
            "there is no service {wanted}; known are: {}",
            if known.is_empty() { "none" } else { "" }.to_owned() + &known.join(", ")
        );
    };
    if found.iter().any(|service| service.key.dag != first.key.dag) {
        bail!("several DAGs have a service {name}; write dag_id/{name}");
    }
    Ok(found)
}

async fn control(access: &Access, services: &[ServiceView], wanted: &str, action: ServiceAction) -> anyhow::Result<()> {
    let key = &find(services, wanted)?[0].key;
    let (dag_id, name): (DagId, _) = (key.dag.clone(), Text::new(key.name.clone()).context("the service's name")?);
    access.command(Command::ControlService { dag_id, name, action }).await?;
    println!(
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
        if chunk.bytes.is_empty() {
            return Ok(());
        }
        offset += chunk.bytes.len() as u64;
        for line in String::from_utf8_lossy(&chunk.bytes).lines() {
            let record: serde_json::Value = serde_json::from_str(line).unwrap_or_default();
            println!("{} {}", record["ts"].as_str().unwrap_or(""), record["text"].as_str().unwrap_or(line));
        }
    }
}
