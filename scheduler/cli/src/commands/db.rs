//! `windlass db …`: the schema of the state database.

use std::process::ExitCode;

use clap::Subcommand;

use crate::{access::Access, settings::Settings};

/// What to do with the database.
#[derive(Debug, Subcommand)]
pub enum Db {
    /// Bring the schema to this version; schedulers and api processes do it by themselves when they start.
    Migrate,
    /// Say whether the database can be reached and its schema is this version's; status 1 when not.
    Check,
}

/// Does it.
///
/// # Errors
/// When the database can not be reached or used.
pub async fn run(settings: &Settings, db: Db) -> anyhow::Result<ExitCode> {
    let access = Access::open(settings).await?;
    let done = work(&access, db).await;
    access.close().await;
    done
}

async fn work(access: &Access, db: Db) -> anyhow::Result<ExitCode> {
    match db {
        Db::Migrate => {
            access.pool().await?;
            println!("the schema is up to date");
            Ok(ExitCode::SUCCESS)
        }
        Db::Check => {
            let pending = access.pending_migrations().await?;
            if pending.is_empty() {
                println!("the database answers, and its schema is up to date");
                return Ok(ExitCode::SUCCESS);
            }
            println!("the database answers; `windlass db migrate` would apply: {}", pending.join(", "));
            Ok(ExitCode::FAILURE)
        }
    }
}
