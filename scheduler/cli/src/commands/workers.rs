//! `windlass workers …`: how workers join, and who has joined.

use std::{process::ExitCode, time::Duration};

use anyhow::bail;
use clap::Subcommand;
use daemon::cluster::Cluster;
use link::{Query, Reply, query::WorkerView};
use serde_json::{Value, json};
use sqlx::PgPool;
use store::audit::Actor;

use crate::{
    access::{Access, caller},
    ask::Leader,
    exit::Failure,
    fleet,
    output::{Listing, Output},
    settings::Settings,
};

/// The longest life of a token, in hours: ten years.
const VALID_HOURS_MAX: i64 = 24 * 3653;

/// What to do with workers.
#[derive(Debug, Subcommand)]
pub enum Workers {
    /// Print the token by which workers join; it is made when there is none.
    Token(Token),
    /// List the workers that the leader knows.
    List(#[command(flatten)] Output),
    /// Take back a worker's certificate: it can not connect any more, nor anybody in its name.
    Revoke(Worker),
    /// Forget a worker's certificate, so that it may join again with the token.
    Readmit(Worker),
}

/// Which worker is meant.
#[derive(Debug, clap::Args)]
pub struct Worker {
    /// Its name, or the id in the file worker-id of its log folder.
    worker: String,
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
    if let Workers::List(output) = workers {
        list(settings, output).await?;
        return Ok(ExitCode::SUCCESS);
    }
    let access = Access::open(settings).await?;
    let changed = change(settings, &access, workers).await;
    access.close().await;
    changed.map(|()| ExitCode::SUCCESS)
}

async fn change(settings: &Settings, access: &Access, workers: Workers) -> anyhow::Result<()> {
    let pool = access.pool().await?;
    match workers {
        Workers::Token(Token { rotate: false, .. }) => {
            outln!(
                "{}",
                cluster(settings, pool).await?.join_token(Actor::at_the_command_line(&caller())).await?.reveal()
            );
        }
        Workers::Token(Token { rotate: true, valid_hours }) => {
            let valid_for = valid_hours.map(|hours| Duration::from_secs(u64::from(hours) * 3600));
            outln!(
                "{}",
                cluster(settings, pool).await?.rotate(Actor::at_the_command_line(&caller()), valid_for).await?.reveal()
            );
            errln!(
                "The old token is revoked: no worker joins with it any more. Workers that have joined are known by their \
                 certificates and stay (`windlass workers revoke`); those that ask api processes for the leader need the \
                 new token when they are started again, and so do those of 0.1.0."
            );
        }
        Workers::List(output) => list(settings, output).await?,
        Workers::Revoke(Worker { worker }) => {
            let count = store::certificates::revoke(pool, &worker).await?;
            told(
                count,
                &worker,
                "is taken back; its connection ends at the next change of leader or when it is restarted",
            )?;
        }
        Workers::Readmit(Worker { worker }) => {
            let count = store::certificates::forget(pool, &worker).await?;
            told(count, &worker, "is forgotten: it may join again with the join token")?;
        }
    }
    Ok(())
}

/// Who the cluster is, which is made when there is nobody yet. On a server its key is that of all processes.
async fn cluster(settings: &Settings, pool: &PgPool) -> anyhow::Result<Cluster> {
    let key =
        if settings.database_url.is_some() { fleet::settings::secret_key()? } else { Access::secret_key(settings)? };
    Ok(Cluster::open(pool.clone(), key).await?)
}

fn told(count: u64, worker: &str, what: &str) -> anyhow::Result<()> {
    match count {
        0 => {
            return Err(Failure::missing(format!(
                "no worker {worker} has a certificate that this could be about; name it as its log does, or by the id in the file worker-id"
            )));
        }
        1 => outln!("the certificate of worker {worker} {what}"),
        many => outln!("{many} workers are called {worker}: the certificate of each {what}"),
    }
    Ok(())
}

async fn list(settings: &Settings, output: Output) -> anyhow::Result<()> {
    let answer = Leader::find(settings).await?.ask(Query::Cluster).await?;
    let Reply::Cluster(view) = answer else { bail!("the leader answered something else") };
    let mut listing = Listing::new(&["name", "state", "slots", "used", "services"]);
    for worker in &view.workers {
        listing.push(row(worker));
    }
    listing.print(output);
    Ok(())
}

fn row(worker: &WorkerView) -> [Value; 5] {
    let state = match (worker.alive, worker.leaving) {
        (true, false) => "alive",
        (true, true) => "leaving",
        (false, _) => "away",
    };
    [json!(worker.name), json!(state), json!(worker.slots), json!(worker.used), json!(worker.services.len())]
}
