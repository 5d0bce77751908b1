//! `windlass pools …`: Airflow's words for limits that tasks share.

use std::{path::PathBuf, process::ExitCode};

use anyhow::Context;
use clap::Subcommand;
use model::{Pool, RateLimit};
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
        /// How many attempts may start in a span of time, such as 10/1m; no such limit when absent.
        #[arg(long, value_name = "STARTS/SPAN")]
        rate_limit: Option<RateLimit>,
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
        /// The file: `{"NAME": {"slots": …, "description": …, "include_deferred": …, "rate_limit": "10/1m"}}`; the last is optional.
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
        Pools::Set { pool: name, slots, description, include_deferred, rate_limit } => {
            let pool = Pool { name, slots: slots_of(slots)?, description, include_deferred, rate_limit };
            set(installation, checked(pool)?).await?;
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
    let mut listing = Listing::new(&["pool", "slots", "description", "include_deferred", "rate_limit"]);
    for pool in pools {
        let slots = pool.slots.map_or(NO_LIMIT, i64::from);
        let (deferred, limit) = (json!(pool.include_deferred), json!(pool.rate_limit));
        listing.push([json!(pool.name), json!(slots), json!(pool.description), deferred, limit]);
    }
    listing.print(output);
}

fn told(pool: &Pool) -> String {
    let rate = pool.rate_limit.map_or_else(String::new, |limit| format!(", and starts {limit} at most"));
    match pool.slots {
        Some(slots) => format!("pool {} has {slots} slots{rate}", pool.name),
        None => format!("pool {} has no limit{rate}", pool.name),
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
    let mut fields =
        json!({ "slots": slots, "description": pool.description, "include_deferred": pool.include_deferred });
    if let (Some(limit), Some(fields)) = (pool.rate_limit, fields.as_object_mut()) {
        fields.insert("rate_limit".to_owned(), json!(limit));
    }
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
            rate_limit: match fields.get("rate_limit").and_then(Value::as_str) {
                Some(text) => Some(text.parse().with_context(|| format!("pool {name} of the file"))?),
                None => None,
            },
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
        let pool = Pool {
            name: "etl".to_owned(),
            slots: None,
            description: "d".to_owned(),
            include_deferred: true,
            rate_limit: "10/1m".parse().ok(),
        };
        let text = json!({ "etl": entry(pool.clone()).1 }).to_string();
        assert_eq!(imported(&text).unwrap(), [pool]);
        assert!(imported(r#"{"etl": {"slots": -2}}"#).is_err());
        assert!(imported(r#"{"etl": {}}"#).is_err());
    }
}
