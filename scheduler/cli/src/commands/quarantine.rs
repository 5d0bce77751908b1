//! `windlass quarantine …`: what the leader could not take in, and went on without.

use std::process::ExitCode;

use clap::Subcommand;
use serde_json::json;

use crate::{
    installation::Installation,
    output::{Listing, Output},
    settings::Settings,
};

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Quarantine {
    /// One line for each thing that is held, the newest first.
    List {
        /// At most so many lines.
        #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u16).range(1..=10_000))]
        limit: u16,
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
    Installation::with(settings, async |installation| carry_out(installation, command).await).await?;
    Ok(ExitCode::SUCCESS)
}

async fn carry_out(installation: &Installation<'_>, command: Quarantine) -> anyhow::Result<()> {
    match command {
        Quarantine::List { limit, output } => {
            let most = usize::from(limit);
            // One more than is printed, to know whether there is more.
            let held = installation.held(most + 1).await?;
            let mut listing = Listing::new(&["id", "failures", "last_failed_at", "reason"]);
            for entry in held.iter().take(most) {
                listing.push([
                    json!(entry.id),
                    json!(entry.failures),
                    json!(entry.last_failed_at),
                    json!(entry.reason),
                ]);
            }
            listing.print(output);
            if held.len() > most {
                errln!("there are more: give a larger --limit");
            }
        }
        Quarantine::Release { id } => {
            installation.release(&id).await?;
            outln!("{id} is released: the leader tries it again");
        }
    }
    Ok(())
}
