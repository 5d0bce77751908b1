//! `windlass quarantine …`: what the leader could not take in, and went on without.

use std::process::ExitCode;

use clap::Subcommand;
use serde_json::json;
use store::quarantine::{self, Subject};

use crate::{
    access::{Access, caller},
    exit::Failure,
    output::{Listing, Output},
    settings::Settings,
};

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Quarantine {
    /// One line for each thing that is held, the newest first.
    List {
        /// At most so many lines.
        #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(i64).range(1..=10_000))]
        limit: i64,
        #[command(flatten)]
        output: Output,
    },
    /// Let the leader try one again.
    Release {
        /// Its id, as the list shows it.
        id: String,
    },
}

/// Carries one out.
///
/// # Errors
/// What went wrong, in words for people.
pub async fn run(settings: &Settings, command: Quarantine) -> anyhow::Result<ExitCode> {
    let access = Access::open(settings).await?;
    let done = carry_out(&access, command).await;
    access.close().await;
    done.map(|()| ExitCode::SUCCESS)
}

async fn carry_out(access: &Access, command: Quarantine) -> anyhow::Result<()> {
    let pool = access.pool().await?;
    match command {
        Quarantine::List { limit, output } => {
            let (entries, total) = quarantine::list(pool, None, (limit, 0)).await?;
            let mut listing = Listing::new(&["id", "failures", "last_failed_at", "reason"]);
            for entry in &entries {
                listing.push([json!(entry.id), json!(entry.failures), json!(entry.last_at), json!(entry.reason)]);
            }
            listing.print(output);
            let more = total - i64::try_from(entries.len()).unwrap_or(i64::MAX);
            if more > 0 {
                eprintln!("{more} more: give a larger --limit");
            }
        }
        Quarantine::Release { id } => {
            let subject: Subject = id.parse()?;
            if !quarantine::release(pool, &caller(), &subject).await? {
                let text =
                    format!("nothing in quarantine has the id {id}; `windlass quarantine list` shows what is held");
                return Err(Failure::missing(text));
            }
            println!("{id} is released: the leader tries it again");
        }
    }
    Ok(())
}
