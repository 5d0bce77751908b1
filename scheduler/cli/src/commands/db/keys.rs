//! `windlass db reseal` and `db rotate`: keys and secrets are replaced, and old ones retire.

use std::{fs, process::ExitCode};

use anyhow::{Context, bail};
use clap::{Args, ValueEnum};
use daemon::{home::Home, private};
use store::{SecretKey, audit::Actor, cluster, cluster::ClusterSecret, secrets};

use super::confirmed;
use crate::{
    access::{Access, caller},
    exit::Exit,
    settings::Settings,
};

/// Options of `db reseal`.
#[derive(Debug, Args)]
pub struct Reseal {
    /// Make a new key first, and forget the older ones afterwards. Only for a private installation, which must not run.
    #[arg(long)]
    new_key: bool,
}

/// Options of `db rotate`.
#[derive(Debug, Args)]
pub struct Rotate {
    /// Which.
    #[arg(value_enum)]
    secret: Rotated,
    /// Do not ask.
    #[arg(long, short = 'y')]
    yes: bool,
}

/// A secret that can be given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Rotated {
    /// What logins are signed with: everybody logs in again once the standalone or the api processes have been restarted.
    Login,
    /// What api processes show to the leader: restart schedulers and api processes.
    Api,
    /// Who signs the certificates of leaders and workers: restart everything, workers with a new join token.
    Authority,
}

/// Seals everything anew.
///
/// # Errors
/// When a secret is sealed with a key that is not there, or the key file can not be written.
pub(super) async fn reseal(settings: &Settings, access: &Access, options: &Reseal) -> anyhow::Result<ExitCode> {
    let home = Home::open(&settings.home)?;
    let file = home.secret_key();
    if options.new_key {
        if !settings.has_own_key() {
            bail!(
                "the key comes from the environment: add a line with the next number to it (2 and 32 bytes in base64), give \
                 it to every process and restart them, run `windlass db reseal`, and then take the older lines away"
            );
        }
        if settings.database_url.is_some() {
            bail!(
                "the databases are on a server (DATABASE_URL), where other processes may use the key: add a line with the next \
                 number to {} (2 and 32 bytes in base64), restart whoever uses it, run `windlass db reseal`, and then take the \
                 older lines away",
                file.display()
            );
        }
        if !access.is_alone() {
            bail!("a process of this installation runs and knows only the old key; stop it first");
        }
        let old = fs::read_to_string(&file).with_context(|| format!("{} can not be read", file.display()))?;
        private::write(&file, SecretKey::with_new(&old)?.as_bytes())?;
    }
    let key = Access::secret_key(settings)?;
    let done = secrets::reseal(access.pool().await?, &key, Actor::at_the_command_line(&caller())).await?;
    outln!("{} secrets, {} of them sealed anew with the newest key", done.secrets, done.anew);
    if options.new_key {
        let both = fs::read_to_string(&file)?;
        private::write(&file, SecretKey::newest_only(&both)?.as_bytes())?;
        outln!("{} holds the new key alone; a backup from before needs the old one", file.display());
    }
    Ok(ExitCode::SUCCESS)
}

/// Gives a secret of the cluster up.
///
/// # Errors
/// When the database can not be used.
pub(super) async fn rotate(settings: &Settings, access: &Access, options: &Rotate) -> anyhow::Result<ExitCode> {
    let (secret, then) = match options.secret {
        Rotated::Login => {
            (ClusterSecret::Signing, "Restart the standalone or the api processes; everybody logs in again.")
        }
        Rotated::Api => (ClusterSecret::Api, "Restart the schedulers, then the api processes."),
        Rotated::Authority => (
            ClusterSecret::Authority,
            "Restart schedulers and api processes, and give the workers the token that `windlass workers token` prints.",
        ),
    };
    if !confirmed(options.yes, &format!("What is in use is forgotten. {then}"))? {
        return Ok(Exit::Error.into());
    }
    cluster::rotate_secret(access.pool().await?, secret, Actor::at_the_command_line(&caller())).await?;
    if options.secret == Rotated::Login {
        // A standalone signs with a key of its home.
        Home::forget_signing_key(&settings.home)?;
    }
    outln!("{then}");
    Ok(ExitCode::SUCCESS)
}
