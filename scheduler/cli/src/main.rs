//! The command `windlass`: everything that a user or a machine starts.

#[macro_use]
mod console;

mod access;
mod airflow;
mod ask;
mod commands;
mod exit;
mod exposed;
mod find;
mod fleet;
mod installation;
mod known;
mod output;
mod production;
mod progress;
mod reach;
mod secret_input;
mod server;
mod settings;
mod standalone;
mod text;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use exit::Exit;
use known::Unread;
use reach::Reach;
use server::ServerChoice;
use settings::{Loudness, Settings};

/// A DAG scheduler with Airflow's words: one binary, one PostgreSQL, DAGs in YAML.
#[derive(Debug, Parser)]
#[command(name = "windlass", version, propagate_version = true)]
struct Cli {
    /// How log lines are written [env: WINDLASS_LOG_FORMAT] [default: text]
    #[arg(long, global = true, value_enum, value_name = "FORMAT")]
    log_format: Option<settings::LogFormat>,
    /// The server that the command is carried out by, instead of this machine's databases [env: WINDLASS_SERVER_URL]
    #[arg(long, global = true, value_name = "URL")]
    server: Option<String>,
    /// A file with the token for the server; without it WINDLASS_TOKEN, WINDLASS_TOKEN_FILE, or the login that is kept
    #[arg(long, global = true, value_name = "FILE")]
    token_file: Option<std::path::PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run everything in one process tree: private PostgreSQL, event log, leader, worker, UI.
    Standalone,
    /// Check the settings in the environment without starting anything.
    CheckSettings,
    /// Say whether the web server and the leader answer.
    Health(commands::health::Health),
    /// Print the version of this program, and of the server when one is named.
    Version(commands::version::Version),
    /// Log in at a server and keep its token for this user.
    Login(commands::login::LogIn),
    /// Log out at a server and delete the token that is kept for it.
    Logout,
    /// Print the script by which a shell completes this command's words.
    Completion(commands::completion::Completion),
    /// List, check and control DAGs.
    #[command(subcommand)]
    Dags(commands::dags::Dags),
    /// List, show, clear and set runs.
    #[command(subcommand)]
    Runs(commands::runs::Runs),
    /// Run a DAG for the dates of a range: begin, follow, hold back and end backfills.
    #[command(subcommand)]
    Backfill(commands::backfill::Backfill),
    /// List what tasks ask people, and answer it.
    #[command(subcommand)]
    Approvals(commands::approvals::Approvals),
    /// List assets and their events, have one made, say that one has changed.
    #[command(subcommand)]
    Assets(commands::assets::Assets),
    /// List tasks, print their logs, say why they wait, clear and set them.
    #[command(subcommand)]
    Tasks(commands::instances::Tasks),
    /// List and control services.
    #[command(subcommand)]
    Services(commands::services::Services),
    /// Manage connections.
    #[command(subcommand)]
    Connections(commands::connections::Connections),
    /// Manage variables.
    #[command(subcommand)]
    Variables(commands::variables::Variables),
    /// Manage pools.
    #[command(subcommand)]
    Pools(commands::pools::Pools),
    /// Take over what another scheduler has.
    #[command(subcommand)]
    Import(commands::import::Import),
    /// List and release what the leader could not take in.
    #[command(subcommand)]
    Quarantine(commands::quarantine::Quarantine),
    /// Foretell runs, pools that are too small and missed deadlines: the scheduler run ahead in simulated time.
    Forecast(commands::forecast::ForecastWish),
    /// Show what was told to the outside by callbacks, and what could not be.
    #[command(subcommand)]
    Notifications(commands::notifications::Notifications),
    /// Manage users.
    #[command(subcommand)]
    Users(commands::users::Users),
    /// Manage roles of the installation's own.
    #[command(subcommand)]
    Roles(commands::roles::Roles),
    /// Make, list and revoke API tokens and sessions.
    #[command(subcommand)]
    Tokens(commands::tokens::Tokens),
    /// Query the lake: `windlass lake query "SELECT …"`, `tables`, `files TABLE`.
    #[command(disable_help_flag = true)]
    Lake(commands::tasks::Arguments),
    /// Look at the event log: `windlass topics list|describe|produce|consume`.
    #[command(disable_help_flag = true)]
    Topics(commands::tasks::Arguments),
    /// Lead, or stand by until the leader is gone; any number may run on one DATABASE_URL.
    Scheduler(fleet::scheduler::Scheduler),
    /// Run attempts for the leader of the moment; needs a join token and no database.
    Worker(fleet::worker::Worker),
    /// Serve the UI and the REST API, beside schedulers on the same DATABASE_URL.
    Api(fleet::api::Api),
    /// Print the token by which workers join, list workers.
    #[command(subcommand)]
    Workers(commands::workers::Workers),
    /// Look at everything that this installation needs, and say what is wrong and what to do.
    Doctor(commands::doctor::Doctor),
    /// Migrate, check, clean, back up and restore the state database.
    #[command(subcommand)]
    Db(commands::db::Db),
}

impl Command {
    /// Where it can be carried out.
    const fn reach(&self) -> Reach {
        match self {
            Self::Dags(dags) => dags.reach(),
            Self::Health(_)
            | Self::Version(_)
            | Self::Login(_)
            | Self::Logout
            | Self::Runs(_)
            | Self::Approvals(_)
            | Self::Backfill(_)
            | Self::Assets(_)
            | Self::Tasks(_)
            | Self::Connections(_)
            | Self::Variables(_)
            | Self::Import(_)
            | Self::Quarantine(_)
            | Self::Forecast(_)
            | Self::Notifications(_)
            | Self::Pools(_) => Reach::Anywhere,
            Self::Services(_)
            | Self::Users(_)
            | Self::Roles(_)
            | Self::Tokens(_)
            | Self::Lake(_)
            | Self::Topics(_)
            | Self::Workers(_)
            | Self::Doctor(_)
            | Self::Db(_) => Reach::Databases,
            Self::Standalone
            | Self::CheckSettings
            | Self::Completion(_)
            | Self::Scheduler(_)
            | Self::Worker(_)
            | Self::Api(_) => Reach::Machine,
        }
    }
}

fn main() -> ExitCode {
    // Guards and launchers are beside every worker and must stay small: no runtime, no logging, no arguments of ours.
    let mut arguments = std::env::args_os().skip(1);
    match arguments.next() {
        Some(first) if first == "guard" => return daemon::guard::main(arguments),
        Some(first) if first == "launcher" => return executor::process::launcher_main(),
        Some(_) | None => {}
    }
    let cli = Cli::parse();
    match run(cli).and_then(|code| console::result().map(|()| code)) {
        Ok(code) => code,
        Err(error) => {
            errln!("windlass: {error:#}");
            Exit::of(&error).into()
        }
    }
}

/// A mistyped setting would count as one that is not set: whoever starts a process is told.
fn name_mistyped_settings(command: &Command) {
    for Unread { name, nearest, .. } in known::unread(known::of_environment()).filter(|unread| unread.is_mistyped) {
        let text = format!("{name} is set, and nothing reads it; did you mean {nearest}?");
        match command {
            Command::Standalone | Command::Scheduler(_) | Command::Worker(_) | Command::Api(_) => {
                tracing::warn!("{text}")
            }
            Command::CheckSettings => errln!("windlass: {text}"),
            _ => {}
        }
    }
}

#[tokio::main]
async fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    let mut settings = Settings::from_environment()?;
    settings.log_format = cli.log_format.unwrap_or(settings.log_format);
    settings.server = ServerChoice::of(cli.server, cli.token_file)?;
    let command = cli.command;
    command.reach().check(&settings.server)?;
    settings.start_logging(match command {
        Command::Standalone | Command::Scheduler(_) | Command::Worker(_) | Command::Api(_) => Loudness::Server,
        _ => Loudness::Client,
    });
    name_mistyped_settings(&command);
    match command {
        Command::Standalone => standalone::run(&settings).await,
        Command::CheckSettings => settings.check().map(|()| ExitCode::SUCCESS),
        Command::Health(health) => commands::health::run(&settings, &health).await,
        Command::Version(version) => commands::version::run(&settings, &version).await.map(|()| ExitCode::SUCCESS),
        Command::Login(login) => commands::login::log_in(&settings, login).await.map(|()| ExitCode::SUCCESS),
        Command::Logout => commands::login::log_out(&settings).await.map(|()| ExitCode::SUCCESS),
        Command::Completion(completion) => {
            commands::completion::run::<Cli>(&completion);
            Ok(ExitCode::SUCCESS)
        }
        Command::Dags(dags) => commands::dags::run(&settings, dags).await,
        Command::Assets(assets) => commands::assets::run(&settings, assets).await,
        Command::Approvals(approvals) => commands::approvals::run(&settings, approvals).await,
        Command::Backfill(backfill) => commands::backfill::run(&settings, backfill).await,
        Command::Runs(runs) => commands::runs::run(&settings, runs).await,
        Command::Tasks(tasks) => commands::instances::run(&settings, tasks).await,
        Command::Services(services) => commands::services::run(&settings, services).await,
        Command::Connections(connections) => commands::connections::run(&settings, connections).await,
        Command::Variables(variables) => commands::variables::run(&settings, variables).await,
        Command::Import(import) => commands::import::run(&settings, import).await,
        Command::Quarantine(quarantine) => commands::quarantine::run(&settings, quarantine).await,
        Command::Forecast(wish) => commands::forecast::run(&settings, &wish).await,
        Command::Notifications(command) => commands::notifications::run(&settings, command).await,
        Command::Pools(pools) => commands::pools::run(&settings, pools).await,
        Command::Users(users) => commands::users::run(&settings, users).await,
        Command::Roles(roles) => commands::roles::run(&settings, roles).await,
        Command::Tokens(tokens) => commands::tokens::run(&settings, tokens).await,
        Command::Lake(arguments) => commands::tasks::run(&settings, "lake", &arguments).await,
        Command::Topics(arguments) => commands::tasks::run(&settings, "topics", &arguments).await,
        Command::Scheduler(options) => fleet::scheduler::run(&settings, options).await,
        Command::Worker(options) => fleet::worker::run(&settings, options).await,
        Command::Api(options) => fleet::api::run(&settings, &options).await,
        Command::Workers(workers) => commands::workers::run(&settings, workers).await,
        Command::Doctor(doctor) => commands::doctor::run(&settings, &doctor).await,
        Command::Db(db) => commands::db::run(&settings, db).await,
    }
}
