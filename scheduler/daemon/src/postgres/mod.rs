//! A private PostgreSQL for an installation that was given none.
//!
//! It outlives the process that started it: after a kill -9 the next start finds it alive and adopts it, or finds it
//! dead and lets it recover. One process at a time looks after a home's server. The server listens on loopback and on a
//! socket in a private folder, and every role needs its password.

mod binaries;
mod cluster;
mod databases;
mod error;
mod layout;
mod owner;
mod server;

use std::{
    fs::{File, TryLockError},
    path::{Path, PathBuf},
};

use self::{binaries::Binaries, layout::Layout, owner::Owner, server::Server};

pub use self::{binaries::Clients, databases::Urls, error::PostgresError};

/// A running private PostgreSQL. Dropped without [`EmbeddedPostgres::stop`] it runs on, for the next start to adopt.
#[derive(Debug)]
pub struct EmbeddedPostgres {
    home: PathBuf,
    server: Server,
    urls: Urls,
    _claim: File,
}

impl EmbeddedPostgres {
    /// Starts the server of a home, or adopts it when it still runs; makes the cluster at the first start.
    ///
    /// # Errors
    /// [`PostgresError`], whose text says what to do: no binaries, another process looks after this home, …
    pub async fn start(home: &Path) -> Result<Self, PostgresError> {
        let owner = Owner::find()?;
        let layout = Layout::prepare(home, &owner)?;
        let claim = claim(&layout.lock)?;
        let binaries = Binaries::find(&layout)?;
        let passwords = cluster::make_unless_there(&layout, &binaries, &owner).await?;
        let server = Server::start(&layout, &binaries, &owner).await?;
        let urls = passwords.urls(server.port());
        server.wait_until_ready(&urls, &layout).await?;
        databases::prepare(&urls, &passwords).await?;
        server.write_run_file(&layout)?;
        Ok(Self { home: home.to_owned(), server, urls, _claim: claim })
    }

    /// The databases of a home whose server runs already, for a command beside a standalone.
    ///
    /// # Errors
    /// [`PostgresError::NotRunning`] when it does not.
    pub async fn running(home: &Path) -> Result<Urls, PostgresError> {
        let layout = Layout::existing(home)?;
        let port = server::running_port(&layout).ok_or(PostgresError::NotRunning { home: home.to_owned() })?;
        let urls = cluster::read_passwords(&layout)?.urls(port);
        databases::reach(&urls).await.map_err(|_| PostgresError::NotRunning { home: home.to_owned() })?;
        Ok(urls)
    }

    /// Whether a home has a cluster, running or not.
    #[must_use]
    pub fn exists(home: &Path) -> bool {
        Layout::existing(home).is_ok_and(|layout| layout.data.is_dir())
    }

    /// Where its databases are.
    #[must_use]
    pub const fn urls(&self) -> &Urls {
        &self.urls
    }

    /// The state database.
    #[must_use]
    pub fn state_url(&self) -> &str {
        &self.urls.state
    }

    /// The database of the lake and the event log.
    #[must_use]
    pub fn lake_url(&self) -> &str {
        &self.urls.lake
    }

    /// Starts the server again when it has ended, on its port, so that everybody who knew it finds it there.
    ///
    /// # Errors
    /// As [`EmbeddedPostgres::start`]; trying again later may help.
    pub async fn revive(&mut self) -> Result<(), PostgresError> {
        if self.server.is_alive() {
            return Ok(());
        }
        tracing::error!("the private PostgreSQL has ended; starting it again");
        let owner = Owner::find()?;
        let layout = Layout::prepare(&self.home, &owner)?;
        let binaries = Binaries::find(&layout)?;
        self.server = Server::start(&layout, &binaries, &owner).await?;
        self.server.wait_until_ready(&self.urls, &layout).await?;
        self.server.write_run_file(&layout)
    }

    /// Deletes the cluster of a home, with everything in it. Nothing may run on it any more.
    ///
    /// # Errors
    /// [`PostgresError`] when a folder of it can not be deleted.
    pub fn discard(home: &Path) -> Result<(), PostgresError> {
        layout::Layout::existing(home)?.delete()
    }

    /// Stops the server in order: connections are ended, everything is written.
    pub async fn stop(self) {
        self.server.stop().await;
    }
}

/// Claims the server for this process, until the file is closed, however that happens.
fn claim(path: &Path) -> Result<File, PostgresError> {
    let io = error::at(path);
    let file = File::options().create(true).truncate(false).write(true).open(path).map_err(&io)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(PostgresError::InUse { lock: path.to_owned() }),
        Err(TryLockError::Error(error)) => Err(io(error)),
    }
}

#[cfg(test)]
mod tests;
