//! `windlass db …`: the state database: its schema, its size, its copies, its keys.

mod backup;
mod clean;
mod keys;

use std::process::ExitCode;

use clap::Subcommand;

use crate::{access::Access, exit::Exit, settings::Settings};

/// What to do with the database.
#[derive(Debug, Subcommand)]
pub enum Db {
    /// Bring the schema to this version; schedulers and api processes do it by themselves unless WINDLASS_AUTO_MIGRATE is false.
    Migrate,
    /// Say whether the database can be reached and its schema is this version's; status 1 when not.
    Check,
    /// Delete ended runs, audit lines, failures and DAG versions that are older than a date. The leader does it, in small steps.
    Clean(clean::Clean),
    /// Copy everything that belongs together into a folder: both databases, the key, the DAG folder, the lake's files.
    Backup(backup::Backup),
    /// Put a backup back; nothing may run meanwhile.
    Restore(backup::Restore),
    /// Seal every secret anew with the newest key, so that older keys can be given up.
    Reseal(keys::Reseal),
    /// Give up a secret of the cluster; the processes that start next make a new one.
    Rotate(keys::Rotate),
}

/// Does it.
///
/// # Errors
/// When the database can not be reached or used.
pub async fn run(settings: &Settings, db: Db) -> anyhow::Result<ExitCode> {
    if let Db::Restore(restore) = db {
        return backup::restore(settings, &restore).await;
    }
    let access = Access::open(settings).await?;
    let done = work(settings, &access, db).await;
    access.close().await;
    done
}

async fn work(settings: &Settings, access: &Access, db: Db) -> anyhow::Result<ExitCode> {
    match db {
        Db::Migrate => {
            access.migrate().await?;
            outln!("the schema is up to date");
            Ok(ExitCode::SUCCESS)
        }
        Db::Check => {
            let pending = access.pending_migrations().await?;
            if pending.is_empty() {
                outln!("the database answers, and its schema is up to date");
                return Ok(ExitCode::SUCCESS);
            }
            outln!("the database answers; `windlass db migrate` would apply: {}", pending.join(", "));
            Ok(Exit::Error.into())
        }
        Db::Clean(options) => clean::run(access, &options).await,
        Db::Backup(options) => backup::backup(settings, access, &options).await,
        Db::Restore(_) => unreachable!("it opens its own way"),
        Db::Reseal(options) => keys::reseal(settings, access, &options).await,
        Db::Rotate(options) => keys::rotate(settings, access, &options).await,
    }
}

/// Asks before something that can not be taken back. Without a terminal only `--yes` is an answer.
fn confirmed(yes: bool, question: &str) -> anyhow::Result<bool> {
    use std::io::IsTerminal as _;
    if yes {
        return Ok(true);
    }
    if !std::io::stdin().is_terminal() {
        anyhow::bail!("{question} Say --yes when that is meant");
    }
    out!("{question} [y/N] ");
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
