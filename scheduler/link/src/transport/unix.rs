//! The link over a Unix socket, for workers on the leader's machine.
//!
//! The socket is reachable by its owner only. Workers find it by an endpoint file, which each new leader rewrites.

use std::{
    fs, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use futures::{FutureExt, future::BoxFuture};
use tokio::net::{UnixListener, UnixStream};

use super::{Acceptor, Connector, LeaderLink, WorkerLink, over_stream};

/// The longest path that a socket can have on Linux, without its closing NUL.
pub const SOCKET_PATH_BYTES_MAX: usize = 107;

/// How an endpoint file names a Unix socket.
const SCHEME: &str = "unix:";

/// The leader's door on this machine. The socket's file goes with it.
#[derive(Debug)]
pub struct UnixAcceptor {
    listener: UnixListener,
    path: PathBuf,
}

impl UnixAcceptor {
    /// Listens at the path, in place of a socket that a dead leader left there. The caller holds the lock that says
    /// that no living leader uses the path.
    ///
    /// # Errors
    /// When the path is too long for a socket, or its directory can not be written.
    pub fn bind(path: impl Into<PathBuf>) -> io::Result<Self> {
        let path = path.into();
        check_length(&path)?;
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let listener = UnixListener::bind(&path)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
        Ok(Self { listener, path })
    }

    /// Where it listens.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for UnixAcceptor {
    fn drop(&mut self) {
        // A file that is gone already, or can not be removed, is replaced by the next leader.
        let _ = fs::remove_file(&self.path);
    }
}

impl Acceptor for UnixAcceptor {
    fn accept(&mut self) -> BoxFuture<'_, io::Result<LeaderLink>> {
        async {
            let (stream, _) = self.listener.accept().await?;
            Ok(over_stream(stream))
        }
        .boxed()
    }
}

/// Writes the endpoint file by which workers find a socket: whole or not at all.
///
/// # Errors
/// When the file's directory can not be written.
pub fn write_endpoint(endpoint_file: &Path, socket: &Path) -> io::Result<()> {
    let draft = endpoint_file.with_extension("new");
    fs::write(&draft, format!("{SCHEME}{}\n", socket.display()))?;
    fs::rename(&draft, endpoint_file)
}

/// A worker's way to whichever leader last wrote the endpoint file.
#[derive(Debug, Clone)]
pub struct UnixConnector {
    endpoint_file: PathBuf,
}

impl UnixConnector {
    /// Reads the endpoint from this file at each connect.
    #[must_use]
    pub fn new(endpoint_file: impl Into<PathBuf>) -> Self {
        Self { endpoint_file: endpoint_file.into() }
    }

    fn socket(&self) -> io::Result<PathBuf> {
        let text = fs::read_to_string(&self.endpoint_file).map_err(|error| {
            io::Error::new(error.kind(), format!("reading the endpoint file {}: {error}", self.endpoint_file.display()))
        })?;
        let text = text.trim();
        let path = PathBuf::from(text.strip_prefix(SCHEME).unwrap_or(text));
        check_length(&path)?;
        Ok(path)
    }
}

impl Connector for UnixConnector {
    fn connect(&self) -> BoxFuture<'_, io::Result<WorkerLink>> {
        async {
            let path = self.socket()?;
            let stream = UnixStream::connect(&path).await.map_err(|error| {
                io::Error::new(error.kind(), format!("connecting to the leader at {}: {error}", path.display()))
            })?;
            Ok(over_stream(stream))
        }
        .boxed()
    }
}

fn check_length(path: &Path) -> io::Result<()> {
    let bytes = path.as_os_str().len();
    if (1..=SOCKET_PATH_BYTES_MAX).contains(&bytes) {
        return Ok(());
    }
    let text = format!(
        "the socket path {} has {bytes} bytes; 1 to {SOCKET_PATH_BYTES_MAX} are possible: choose a shorter directory",
        path.display()
    );
    Err(io::Error::new(io::ErrorKind::InvalidInput, text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{FromWorker, ToWorker};

    #[tokio::test]
    async fn a_worker_finds_the_leader_that_wrote_the_endpoint_last() {
        let dir = tempfile::tempdir().unwrap();
        let endpoint = dir.path().join("endpoint");
        let connector = UnixConnector::new(&endpoint);
        assert_eq!(connector.connect().await.unwrap_err().kind(), io::ErrorKind::NotFound);
        for leader in ["a.sock", "b.sock"] {
            let mut acceptor = UnixAcceptor::bind(dir.path().join(leader)).unwrap();
            write_endpoint(&endpoint, acceptor.path()).unwrap();
            let worker = connector.connect().await.unwrap();
            let mut accepted = acceptor.accept().await.unwrap();
            worker.send(FromWorker::Beat { services: Vec::new(), started: Vec::new(), leaving: false }).await.unwrap();
            assert!(accepted.recv().await.unwrap().is_some());
            accepted.send(ToWorker::Ack { seq: 1 }).await.unwrap();
        }
    }

    #[tokio::test]
    async fn a_socket_belongs_to_its_owner_alone_and_replaces_a_dead_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("leader.sock");
        std::mem::forget(UnixAcceptor::bind(&path).unwrap());
        let _again = UnixAcceptor::bind(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[tokio::test]
    async fn a_path_that_no_socket_can_have_is_refused_with_its_length() {
        let error = UnixAcceptor::bind(format!("/{}", "x".repeat(200))).unwrap_err();
        assert!(error.to_string().contains("201 bytes"), "{error}");
    }
}
