//! `windlass workers …`: how workers join, and who has joined.

use std::{process::ExitCode, sync::Arc, time::Duration};

use anyhow::bail;
use clap::Subcommand;
use daemon::cluster::SeatFinder;
use link::{LeaderPort as _, Query, RemotePort, Reply, query::WorkerView};

use crate::{
    fleet::{Schema, Shared},
    settings::Settings,
    text,
};

/// The longest life of a token, in hours: ten years.
const VALID_HOURS_MAX: i64 = 24 * 3653;

/// What to do with workers.
#[derive(Debug, Subcommand)]
pub enum Workers {
    /// Print the token by which workers join; it is made when there is none.
    Token(Token),
    /// List the workers that the leader knows.
    List,
}

/// Options of `workers token`.
#[derive(Debug, clap::Args)]
pub struct Token {
    /// Make a new token; no worker can connect with the old one any more.
    #[arg(long)]
    rotate: bool,
    /// How many hours the new token is good for; without it, until the next one.
    #[arg(long, value_name = "HOURS", requires = "rotate", value_parser = clap::value_parser!(u32).range(1..=VALID_HOURS_MAX))]
    valid_hours: Option<u32>,
}

/// Does it.
///
/// # Errors
/// When the database, the key or, for a list, a leader is missing.
pub async fn run(settings: &Settings, workers: Workers) -> anyhow::Result<ExitCode> {
    let shared = Shared::open(settings, Schema::Check).await?;
    match workers {
        Workers::Token(Token { rotate: false, .. }) => println!("{}", shared.cluster.join_token().await?.reveal()),
        Workers::Token(Token { rotate: true, valid_hours }) => {
            let valid_for = valid_hours.map(|hours| Duration::from_secs(u64::from(hours) * 3600));
            println!("{}", shared.cluster.rotate(valid_for).await?.reveal());
            eprintln!(
                "The old token is revoked: no worker connects with it any more. Workers that are connected stay until \
                 their connection ends; give every worker the new token and start it again."
            );
        }
        Workers::List => list(&shared).await?,
    }
    shared.pool.close().await;
    Ok(ExitCode::SUCCESS)
}

async fn list(shared: &Shared) -> anyhow::Result<()> {
    let port = RemotePort::new(shared.cluster.caller()?, Arc::new(SeatFinder(shared.pool.clone())));
    let Reply::Cluster(view) = port.ask(Query::Cluster).await? else { bail!("the leader answered something else") };
    let rows: Vec<_> = view.workers.iter().map(row).collect();
    print!("{}", text::table(&["NAME", "STATE", "SLOTS", "USED", "SERVICES"], &rows));
    Ok(())
}

fn row(worker: &WorkerView) -> Vec<String> {
    let state = match (worker.alive, worker.leaving) {
        (true, false) => "alive",
        (true, true) => "leaving",
        (false, _) => "away",
    };
    let (slots, used) = (worker.slots.to_string(), worker.used.to_string());
    vec![worker.name.clone(), state.to_owned(), slots, used, worker.services.len().to_string()]
}
