//! Questions to the leader from the command line: over a socket of the home that a standalone runs on, or as an api process
//! asks, when `DATABASE_URL` and the key say which cluster is meant.

use std::{fs, io, os::unix::fs::PermissionsExt, path::PathBuf, sync::Arc, time::Duration};

use daemon::{cluster::SeatFinder, home::Home};
use link::{
    LeaderPort, NoLeader, Query, RemotePort, Reply,
    remote::{AskLink, Question, answer_all},
    transport::over_stream,
};
use tokio::net::{UnixListener, UnixStream};
use tokio_util::task::AbortOnDropHandle;

use crate::{
    fleet::{Schema, Shared},
    settings::Settings,
};

/// The socket's name in the home's folder of sockets.
const SOCKET: &str = "questions.sock";
/// A leader that is asked on its own machine answers within this.
const ANSWER_WITHIN: Duration = Duration::from_secs(6);
/// The pause after a connection could not be taken, such as for want of descriptors.
const AGAIN_AFTER: Duration = Duration::from_millis(100);

/// Answers the command line for as long as the handle lives. The caller holds the home's lock.
///
/// # Errors
/// When the socket can not be made.
pub fn answer(home: &Home, leader: Arc<dyn LeaderPort>) -> anyhow::Result<AbortOnDropHandle<()>> {
    let path = home.sockets()?.join(SOCKET);
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
        Ok(()) | Err(_) => {}
    }
    let listener = UnixListener::bind(&path)?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
    Ok(AbortOnDropHandle::new(tokio::spawn(async move {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => drop(tokio::spawn(answer_all(over_stream(stream), Arc::clone(&leader)))),
                Err(_) => tokio::time::sleep(AGAIN_AFTER).await,
            }
        }
    })))
}

/// The way to the leader, if there is one.
pub struct Leader {
    socket: Option<PathBuf>,
    remote: Option<RemotePort>,
}

impl Leader {
    /// Finds the way; nothing is asked yet.
    ///
    /// # Errors
    /// When the home can not be used, or the cluster's key or database is wrong.
    pub async fn find(settings: &Settings) -> anyhow::Result<Self> {
        let socket = Home::open(&settings.home)?.sockets()?.join(SOCKET);
        if socket.exists() && UnixStream::connect(&socket).await.is_ok() {
            return Ok(Self { socket: Some(socket), remote: None });
        }
        if settings.database_url.is_none() {
            return Ok(Self { socket: None, remote: None });
        }
        let shared = Shared::open(settings, Schema::Check).await?;
        let remote = RemotePort::new(shared.cluster.caller()?, Arc::new(SeatFinder(shared.pool)));
        Ok(Self { socket: None, remote: Some(remote) })
    }

    /// Asks.
    ///
    /// # Errors
    /// [`NoLeader`] when nobody answers.
    pub async fn ask(&self, query: Query) -> Result<Reply, NoLeader> {
        match (&self.socket, &self.remote) {
            (Some(socket), _) => ask_over(socket, query).await.map_err(|reason| NoLeader { reason }),
            (None, Some(remote)) => remote.ask(query).await,
            (None, None) => {
                let reason = "no `windlass standalone` runs on this home. Start it, name its folder in WINDLASS_HOME, or the \
                              database of schedulers elsewhere in DATABASE_URL";
                Err(NoLeader { reason: reason.to_owned() })
            }
        }
    }
}

async fn ask_over(socket: &PathBuf, query: Query) -> Result<Reply, String> {
    let exchange = async {
        let stream = UnixStream::connect(socket).await.map_err(|error| error.to_string())?;
        let mut link: AskLink = over_stream(stream);
        link.send(Question { id: 0, query }).await.map_err(|error| error.to_string())?;
        let answer = link.recv().await.map_err(|error| error.to_string())?;
        answer.ok_or_else(|| "it hung up".to_owned())?.reply
    };
    tokio::time::timeout(ANSWER_WITHIN, exchange).await.unwrap_or_else(|_| Err("it does not answer".to_owned()))
}
