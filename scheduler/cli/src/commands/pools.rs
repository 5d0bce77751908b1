//! `windlass pools …`: Airflow's words for limits that tasks share.

use std::{path::PathBuf, process::ExitCode};

use anyhow::Context;
use clap::Subcommand;
use model::Pool;
use serde_json::{Map, Value, json};

use crate::{
    exit::Failure,
    installation::{Installation, NO_LIMIT, slots_of},
    output::{Listing, Output},
    secret_input::{read_file, write_file},
    settings::Settings,
};

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Pools {
    /// One line a pool.
    List {
        #[command(flatten)]
        output: Output,
    },
    /// One pool.
    Get {
        /// Its name.
        pool: String,
        #[command(flatten)]
        output: Output,
    },
    /// Create a pool or change it.
    Set {
        /// Its name.
        pool: String,
        /// How many slots it has; -1 for no limit.
        #[arg(allow_negative_numbers = true)]
        slots: i64,
        /// What it is for.
        description: String,
        /// Deferred tasks keep their slots.
        #[arg(long)]
        include_deferred: bool,
    },
    /// Delete a pool.
    Delete {
        /// Its name.
        pool: String,
    },
    /// Write every pool into a JSON file; `-` for standard output.
    Export {
        /// The file; one that is there is replaced.
        file: PathBuf,
    },
    /// Create or change the pools of a JSON file; `-` for standard input.
    Import {
        /// The file: `{"NAME": {"slots": …, "description": …, "include_deferred": …}}`.
        file: PathBuf,
    },
}

/// Carries one out.
///
/// # Errors
/// What went wrong, in words for people.
pub async fn run(settings: &Settings, command: Pools) -> anyhow::Result<ExitCode> {
    Installation::with(settings, async |installation| carry_out(installation, command).await).await?;
    Ok(ExitCode::SUCCESS)
}

async fn carry_out(installation: &Installation<'_>, command: Pools) -> anyhow::Result<()> {
    match command {
        Pools::List { output } => print(&installation.pools().await?, output),
        Pools::Get { pool, output } => print(&[installation.pool(&pool).await?], output),
        Pools::Set { pool: name, slots, description, include_deferred } => {
            set(installation, checked(Pool { name, slots: slots_of(slots)?, description, include_deferred })?).await?;
        }
        Pools::Delete { pool } => {
            let found = installation.pool(&pool).await?;
            installation.delete_pool(&found.name).await?;
            outln!("pool {pool} is deleted");
        }
        Pools::Export { file } => {
            let all: Map<String, Value> = installation.pools().await?.into_iter().map(entry).collect();
            write_file(&file, &(serde_json::to_string_pretty(&all)? + "\n"))?;
            errln!("{} pools are written", all.len());
        }
        Pools::Import { file } => {
            for pool in imported(&read_file(&file)?)? {
                set(installation, pool).await?;
            }
        }
    }
    Ok(())
}

async fn set(installation: &Installation<'_>, pool: Pool) -> anyhow::Result<()> {
    let told = told(&pool);
    installation.set_pool(pool).await?;
    outln!("{told}");
    Ok(())
}

fn print(pools: &[Pool], output: Output) {
    let mut listing = Listing::new(&["pool", "slots", "description", "include_deferred"]);
    for pool in pools {
        let slots = pool.slots.map_or(NO_LIMIT, i64::from);
        listing.push([json!(pool.name), json!(slots), json!(pool.description), json!(pool.include_deferred)]);
    }
    listing.print(output);
}

fn told(pool: &Pool) -> String {
    match pool.slots {
        Some(slots) => format!("pool {} has {slots} slots", pool.name),
        None => format!("pool {} has no limit", pool.name),
    }
}

fn checked(pool: Pool) -> anyhow::Result<Pool> {
    match pool.check() {
        Ok(()) => Ok(pool),
        Err(reason) => Err(Failure::refused(reason.to_string())),
    }
}

fn entry(pool: Pool) -> (String, Value) {
    let slots = pool.slots.map_or(NO_LIMIT, i64::from);
    let fields = json!({ "slots": slots, "description": pool.description, "include_deferred": pool.include_deferred });
    (pool.name, fields)
}

fn imported(text: &str) -> anyhow::Result<Vec<Pool>> {
    let all: Map<String, Value> = serde_json::from_str(text).context("the file is not a JSON object")?;
    let one = |(name, fields): (String, Value)| {
        let slots = fields["slots"].as_i64().with_context(|| format!("pool {name} of the file has no slots"))?;
        checked(Pool {
            slots: slots_of(slots).with_context(|| format!("pool {name} of the file"))?,
            description: fields["description"].as_str().unwrap_or_default().to_owned(),
            include_deferred: fields["include_deferred"].as_bool().unwrap_or(false),
            name,
        })
    };
    all.into_iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_exported_can_be_imported() {
        let pool = Pool { name: "etl".to_owned(), slots: None, description: "d".to_owned(), include_deferred: true };
        let text = json!({ "etl": entry(pool.clone()).1 }).to_string();
        assert_eq!(imported(&text).unwrap(), [pool]);
        assert!(imported(r#"{"etl": {"slots": -2}}"#).is_err());
        assert!(imported(r#"{"etl": {}}"#).is_err());
    }
}
