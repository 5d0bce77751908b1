//! The command line: which subcommand does what, with what it needs.

use crate::kafka_exporter::Exporter;
use crate::lake::{Lake, LakeSettings};
use crate::registry::{self, RegistryClient};
use crate::runtime::embedded::EmbeddedLog;
use crate::runtime::kafka::KafkaLog;
use crate::runtime::service::{Worker, stop_on_signals};
use crate::runtime::{EventLog, open_log};
use crate::settings::{self, LogChoice, SinkLimits, StockSettings, process_environment};
use crate::sql::cli::LakeCommand;
use crate::stock::producer::Producer;
use crate::stock::sink::Sink;
use crate::topics::{self, TopicsCommand};
use crate::{errors, operators, pg, sql};
use anyhow::Context as _;
use clap::{Parser, Subcommand};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

/// What is logged unless `WINDLASS_LOG` says otherwise. Delta's own word on a commit that another writer came before is
/// left out: it is an everyday event, and who commits deals with it.
const LOG_DEFAULT: &str = "warn,windlass_tasks=info,deltalake_core::kernel::transaction=off";

/// Streaming workers and the lake of Windlass.
#[derive(Debug, Parser)]
#[command(name = "windlass-tasks", version)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Ask and change the lake's tables.
    #[command(subcommand)]
    Lake(LakeCommand),
    /// Look at topics and put records into them.
    #[command(subcommand)]
    Topics(TopicsCommand),
    /// Carry out a Kafka operator for the scheduler.
    #[command(subcommand, hide = true)]
    Kafka(KafkaCommand),
    /// Serve the schema registry.
    SchemaRegistry {
        /// The address of this machine to listen on. There is no login: keep it in a network of its own.
        #[arg(long, default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
        host: IpAddr,
        /// The port.
        #[arg(long, default_value_t = 8081)]
        port: u16,
    },
    /// Show Prometheus a Kafka cluster and its readers, under the names of kafka_exporter.
    KafkaExporter {
        /// Where /metrics is served.
        #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:9308")]
        listen: SocketAddr,
    },
    /// Produce trades from STOCK_SOURCE to the topic.
    StockProducer {
        /// Only check the settings and the source.
        #[arg(long)]
        check: bool,
    },
    /// Write the topic's trades into the bronze tables.
    BronzeSink,
}

#[derive(Debug, Subcommand)]
enum KafkaCommand {
    /// Carry out the request on standard input, and answer with JSON lines
    Run,
}

/// Runs a command. Its failure is printed, once, with its causes.
pub fn main(cli: Cli) -> ExitCode {
    log_to_stderr(cli.command.log_format());
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&anyhow::Error::from(error).context("cannot start the runtime")),
    };
    let outcome = runtime.block_on(run(cli.command));
    // Threads that still read a file or hash one are not waited for.
    runtime.shutdown_background();
    match outcome {
        Ok(code) => code,
        Err(error) => failed(&error),
    }
}

/// How log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LogFormat {
    Text,
    /// A JSON object a line.
    Json,
}

impl Command {
    /// Servers write as `WINDLASS_LOG_FORMAT` says. The lines of all others are read in the log of a task or a service, which
    /// gives each its time and place itself.
    fn log_format(&self) -> LogFormat {
        let is_server = matches!(self, Self::SchemaRegistry { .. } | Self::KafkaExporter { .. });
        let is_json = || process_environment("WINDLASS_LOG_FORMAT").is_some_and(|format| format.trim() == "json");
        if is_server && is_json() { LogFormat::Json } else { LogFormat::Text }
    }
}

fn log_to_stderr(format: LogFormat) {
    let filter = EnvFilter::try_from_env("WINDLASS_LOG").unwrap_or_else(|_| EnvFilter::new(LOG_DEFAULT));
    // Below this it writes what it sends, and that starts with the keys.
    let filter = filter.add_directive("tungstenite=info".parse().expect("the directive is constant and well-formed"));
    let logging = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(false);
    match format {
        LogFormat::Text => logging.init(),
        LogFormat::Json => logging.json().flatten_event(true).init(),
    }
}

fn failed(error: &anyhow::Error) -> ExitCode {
    eprintln!("windlass-tasks: {}", errors::sentence(error));
    ExitCode::FAILURE
}

async fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Lake(command) => return sql::cli::run(command).await,
        Command::Kafka(KafkaCommand::Run) => return operators::run().await,
        Command::Topics(command) => run_topics(command).await?,
        Command::SchemaRegistry { host, port } => serve_registry(SocketAddr::from((host, port))).await?,
        Command::KafkaExporter { listen } => export_kafka(listen).await?,
        Command::StockProducer { check: true } => drop(StockSettings::from_env(&process_environment)?),
        Command::StockProducer { check: false } => produce_stocks().await?,
        Command::BronzeSink => sink_stocks().await?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn run_topics(command: TopicsCommand) -> anyhow::Result<()> {
    let log: Arc<dyn EventLog> = match LogChoice::from_env(&process_environment)? {
        LogChoice::Kafka(settings) => Arc::new(KafkaLog::new(&settings)?),
        LogChoice::Embedded => {
            Arc::new(EmbeddedLog::new(pg::connect(&settings::database_url(&process_environment)?).await?))
        }
    };
    topics::run(&*log, command, &mut std::io::stdout()).await
}

async fn serve_registry(address: SocketAddr) -> anyhow::Result<()> {
    let pool = pg::connect(&settings::database_url(&process_environment)?).await?;
    let stop = CancellationToken::new();
    stop_on_signals(stop.clone())?;
    registry::server::serve(pool, address, stop)
        .await
        .with_context(|| format!("cannot serve the schema registry on {address}"))
}

async fn export_kafka(listen: SocketAddr) -> anyhow::Result<()> {
    let env = &process_environment;
    let LogChoice::Kafka(kafka) = LogChoice::from_env(env)? else {
        anyhow::bail!("KAFKA_BOOTSTRAP_SERVERS is not set; it must be hosts with ports, such as kafka:29092");
    };
    // Without the lake only consumer groups are shown.
    let lake = match settings::database_url(env) {
        Ok(url) => Some(pg::connect(&url).await?),
        Err(_) => None,
    };
    let stop = CancellationToken::new();
    stop_on_signals(stop.clone())?;
    Exporter { kafka, listen, lake }.run(stop).await
}

async fn produce_stocks() -> anyhow::Result<()> {
    let env = &process_environment;
    let settings = StockSettings::from_env(env)?;
    let registry = RegistryClient::with(settings::registry_access(env)?)?;
    let database_url = settings::database_url(env)?;
    let worker = Worker::start(&settings::service_context(env, "stock-producer")?).await?;
    let outcome = async {
        let pool = pg::connect(&database_url).await?;
        let log = open_log(&LogChoice::from_env(env)?, &pool)?;
        Producer { worker: worker.clone(), log, pool, registry, settings }.run().await
    }
    .await;
    worker.finish(&outcome);
    outcome
}

async fn sink_stocks() -> anyhow::Result<()> {
    let env = &process_environment;
    // Only the producer has a source's keys; the sink asks whether the source ends, and where its trades are.
    let source = settings::stock_source(env)?;
    replay::check(&source)?;
    let topic = settings::stock_topic(env);
    let limits = SinkLimits::from_env(env)?;
    let registry = RegistryClient::with(settings::registry_access(env)?)?;
    let lake_settings = LakeSettings::from_env()?;
    let worker = Worker::start(&settings::service_context(env, "bronze-sink")?).await?;
    let outcome = async {
        let lake = Lake::connect(&lake_settings).await?;
        let log = open_log(&LogChoice::from_env(env)?, lake.pool())?;
        Sink { worker: worker.clone(), log, lake, registry, limits, topic, source }.run().await
    }
    .await;
    worker.finish(&outcome);
    outcome
}
