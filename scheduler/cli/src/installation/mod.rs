//! The installation that a command is about: this machine's or that of `DATABASE_URL`, by its databases and its leader, or one
//! elsewhere, by its server's REST API.
//!
//! Each file has one kind of thing and both ways to it; commands print what comes of it, whichever way it came.

mod approvals;
mod assets;
mod backfills;
mod bundles;
mod connections;
mod dags;
mod forecast;
mod log;
mod notifications;
mod pools;
mod quarantine;
mod runs;
mod tasks;
mod variables;

pub use approvals::{AnswerWish, ApprovalsWanted};
pub use assets::{AssetRow, AssetsWanted};
pub use backfills::{BackfillProgress, BackfillView, BackfillWish, Control};
pub use bundles::Deployment;
pub use connections::NoPassword;
pub use dags::{TriggerWish, now, parse_conf};
pub use log::{Follow, not_begun};
pub use pools::{NO_LIMIT, slots_of};
pub use runs::{ClearWish, InstanceView, RunLook, RunView};
pub use variables::is_masked;

use crate::{
    access::Access,
    server::{Auth, Server, token_for},
    settings::Settings,
};

/// An open way to an installation.
pub enum Installation<'s> {
    /// By its databases.
    Here(Box<Here<'s>>),
    /// By its server.
    Server(Server),
}

/// What the way by databases needs.
pub struct Here<'s> {
    /// The settings of this machine.
    pub settings: &'s Settings,
    /// The databases.
    pub access: Access,
}

impl<'s> Installation<'s> {
    /// Opens the way that the settings name, works by it, and closes it however that has ended.
    ///
    /// # Errors
    /// When there is no token for the server, or the databases can not be used; those of the work.
    pub async fn with<T>(
        settings: &'s Settings,
        work: impl AsyncFnOnce(&Self) -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        let installation = Self::open(settings).await?;
        let done = work(&installation).await;
        installation.close().await;
        done
    }

    /// Opens the way that the settings name. A server is not asked anything yet.
    ///
    /// # Errors
    /// When there is no token for the server, or the databases can not be used.
    async fn open(settings: &'s Settings) -> anyhow::Result<Self> {
        match &settings.server.url {
            Some(url) => {
                let token = token_for(&settings.server, url)?;
                Ok(Self::Server(Server::at(url.clone(), Auth::Token(token))?))
            }
            None => Ok(Self::Here(Box::new(Here { settings, access: Access::open(settings).await? }))),
        }
    }

    /// Stops what was started for this command.
    async fn close(self) {
        match self {
            Self::Here(here) => here.access.close().await,
            Self::Server(_) => {}
        }
    }
}
