//! `verify-ca`: a certificate is checked, and the name in it is not.
//!
//! sqlx 0.8 can not do that with a current rustls: its check of names fails with an error that it does not expect. So these
//! connections, and only they, go through a socket of our own: sqlx speaks without TLS to a Unix socket in a folder that is
//! this user's alone, and a thread beside it speaks TLS to the server. There is one socket for each server and set of
//! certificates, for the life of the process; a connection costs one more hand-over of its bytes.

use std::{
    collections::BTreeMap,
    fs, io,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, OnceLock, PoisonError, mpsc},
    time::Duration,
};

use sqlx::postgres::{PgConnectOptions, PgSslMode};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, copy},
    net::{TcpStream, UnixListener, UnixStream},
};
use tokio_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::{
        CertificateError, ClientConfig, DigitallySignedStruct, Error as TlsError, RootCertStore, SignatureScheme,
        client::{
            WebPkiServerVerifier,
            danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        },
        crypto::ring,
        pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject as _},
    },
};

use crate::explained;

/// How many servers one process may reach in this way.
const TUNNELS_MAX: usize = 256;
/// How many connections may go through one of them at a time.
const CONNECTIONS_MAX: usize = 1024;
/// A folder whose process is gone is removed once it is so old: a younger one may be about to be listened at.
const LEFT_AFTER: Duration = Duration::from_secs(60);
/// How many folders are looked at for that.
const LEFT_MAX: usize = 1000;
/// How the names of the folders begin.
const FOLDER: &str = "windlass-pg-";
/// How long a server may take to hear that its client is gone.
const GOODBYE_LIMIT: Duration = Duration::from_secs(5);
/// How long reaching the server and the handshake may take.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(15);
/// PostgreSQL's request for TLS: length 8, code 80877103.
const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];

/// The certificates of a connection.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Certificates {
    /// The authority; none is those that the system trusts.
    pub(crate) root: Option<PathBuf>,
    /// The client's own certificate.
    pub(crate) client: Option<PathBuf>,
    /// Its key.
    pub(crate) key: Option<PathBuf>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    host: String,
    port: u16,
    certificates: Certificates,
}

/// The folders of the sockets. They outlast the process, which may end at any moment; another one removes them.
static TUNNELS: Mutex<BTreeMap<Key, tempfile::TempDir>> = Mutex::new(BTreeMap::new());

/// The same connection by way of a checked tunnel.
///
/// # Errors
/// When the server can not be reached, has no TLS or another certificate: [`sqlx::Error::Tls`], [`sqlx::Error::Io`].
pub(crate) async fn through(
    options: &PgConnectOptions,
    certificates: &Certificates,
) -> Result<PgConnectOptions, sqlx::Error> {
    let key = Key { host: options.get_host().to_owned(), port: options.get_port(), certificates: certificates.clone() };
    // Tried once before, since a socket that closes says nothing of the reason.
    drop(reach(&key).await.map_err(explained)?);
    let folder = folder_of(key).map_err(sqlx::Error::Io)?;
    Ok(options.clone().socket(folder).ssl_mode(PgSslMode::Disable))
}

fn folder_of(key: Key) -> io::Result<PathBuf> {
    let mut tunnels = TUNNELS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(folder) = tunnels.get(&key) {
        return Ok(folder.path().to_owned());
    }
    if tunnels.len() >= TUNNELS_MAX {
        return Err(io::Error::other(format!("more than {TUNNELS_MAX} servers are reached with sslmode=verify-ca")));
    }
    remove_left(&std::env::temp_dir());
    let folder = tempfile::Builder::new().prefix(FOLDER).tempdir()?;
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o700))?;
    let socket = folder.path().join(format!(".s.PGSQL.{}", key.port));
    let listener = std::os::unix::net::UnixListener::bind(socket)?;
    listener.set_nonblocking(true)?;
    thread()?.send((key.clone(), listener)).map_err(|_| io::Error::other("the thread of TLS connections has ended"))?;
    let path = folder.path().to_owned();
    tunnels.insert(key, folder);
    Ok(path)
}

/// Removes the folders of processes that are gone: nobody listens at their sockets. Another user's can not be removed.
fn remove_left(among: &Path) {
    let is_old = |folder: &Path| {
        let made = fs::metadata(folder).and_then(|of| of.modified());
        made.is_ok_and(|made| made.elapsed().is_ok_and(|age| age >= LEFT_AFTER))
    };
    let is_left = |folder: &Path| {
        let mut sockets = fs::read_dir(folder).into_iter().flatten().flatten();
        sockets.next().is_none_or(|socket| {
            let answer = std::os::unix::net::UnixStream::connect(socket.path());
            answer.is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
        })
    };
    let entries = fs::read_dir(among).into_iter().flatten().flatten();
    let ours = entries.filter(|entry| entry.file_name().as_encoded_bytes().starts_with(FOLDER.as_bytes()));
    for folder in ours.take(LEFT_MAX).map(|entry| entry.path()) {
        if is_old(&folder) && is_left(&folder) {
            // Whoever is as far as we are has removed it.
            let _removed = fs::remove_dir_all(folder);
        }
    }
}

type NewTunnel = (Key, std::os::unix::net::UnixListener);

/// The thread has a runtime of its own, since a tunnel outlives the runtime of whoever asked for it first.
fn thread() -> io::Result<&'static mpsc::Sender<NewTunnel>> {
    static SENDER: OnceLock<mpsc::Sender<NewTunnel>> = OnceLock::new();
    if let Some(sender) = SENDER.get() {
        return Ok(sender);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (sender, receiver) = mpsc::channel::<NewTunnel>();
    std::thread::Builder::new().name("postgres-tls".to_owned()).spawn(move || {
        let handle = runtime.handle().clone();
        // New tunnels come seldom, and waiting for them must not hold the runtime's only thread.
        std::thread::Builder::new().name("postgres-tls-new".to_owned()).spawn(move || {
            while let Ok((key, listener)) = receiver.recv() {
                handle.spawn(serve(key, listener));
            }
        })?;
        runtime.block_on(std::future::pending::<io::Result<()>>())
    })?;
    // Callers hold the lock of the tunnels, so there is one of us.
    Ok(SENDER.get_or_init(|| sender))
}

async fn serve(key: Key, listener: std::os::unix::net::UnixListener) {
    let listener = match UnixListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!(%error, "a socket for TLS connections to PostgreSQL can not be served");
            return;
        }
    };
    let places = Arc::new(tokio::sync::Semaphore::new(CONNECTIONS_MAX));
    let key = Arc::new(key);
    loop {
        let place = places.clone().acquire_owned().await;
        match listener.accept().await {
            Ok((client, _)) => {
                let key = key.clone();
                tokio::spawn(async move {
                    let _place = place;
                    carry(&key, client).await;
                });
            }
            Err(error) => {
                // Out of file handles, say: others may be given back.
                tracing::warn!(%error, "a TLS connection to PostgreSQL can not be taken");
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        }
    }
}

/// Carries bytes until one side is gone: then there is nothing left that the other one could want.
async fn carry(key: &Key, client: UnixStream) {
    match reach(key).await {
        Ok(server) => {
            let (mut from_client, mut to_client) = tokio::io::split(client);
            let (mut from_server, mut to_server) = tokio::io::split(server);
            // However it ends, the client sees it end.
            tokio::select! {
                _ = copy(&mut from_client, &mut to_server) => {
                    let _ended = tokio::time::timeout(GOODBYE_LIMIT, to_server.shutdown()).await;
                }
                _ = copy(&mut from_server, &mut to_client) => {}
            }
        }
        Err(error) => {
            tracing::warn!(postgres.server = %format_args!("{}:{}", key.host, key.port), %error, "no TLS connection")
        }
    }
}

async fn reach(key: &Key) -> Result<TlsStream<TcpStream>, sqlx::Error> {
    let reaching = async {
        let mut stream = TcpStream::connect((key.host.as_str(), key.port)).await?;
        stream.set_nodelay(true)?;
        stream.write_all(&SSL_REQUEST).await?;
        if stream.read_u8().await? != b'S' {
            return Err(sqlx::Error::Tls("server does not support TLS".into()));
        }
        let name = ServerName::try_from(key.host.clone()).map_err(tls)?;
        let config = config(&key.certificates).await?;
        TlsConnector::from(Arc::new(config)).connect(name, stream).await.map_err(tls)
    };
    tokio::time::timeout(HANDSHAKE_LIMIT, reaching).await.unwrap_or_else(|_| {
        let text = format!("no answer from {}:{} for {} s", key.host, key.port, HANDSHAKE_LIMIT.as_secs());
        Err(sqlx::Error::Io(io::Error::new(io::ErrorKind::TimedOut, text)))
    })
}

async fn config(certificates: &Certificates) -> Result<ClientConfig, sqlx::Error> {
    let verifier = IgnoringNames(
        WebPkiServerVerifier::builder_with_provider(
            Arc::new(roots(certificates.root.as_deref()).await?),
            Arc::new(ring::default_provider()),
        )
        .build()
        .map_err(tls)?,
    );
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(tls)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    match (&certificates.client, &certificates.key) {
        (Some(client), Some(key)) => {
            let chain =
                CertificateDer::pem_slice_iter(&read(client).await?).collect::<Result<Vec<_>, _>>().map_err(tls)?;
            let key = PrivateKeyDer::from_pem_slice(&read(key).await?).map_err(tls)?;
            config.with_client_auth_cert(chain, key).map_err(tls)
        }
        (None, None) => Ok(config.with_no_client_auth()),
        (Some(_), None) | (None, Some(_)) => {
            Err(sqlx::Error::Configuration("sslcert and sslkey are given together".into()))
        }
    }
}

async fn roots(root: Option<&Path>) -> Result<RootCertStore, sqlx::Error> {
    let mut store = RootCertStore::empty();
    let Some(root) = root else {
        let (_added, _ignored) = store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        return Ok(store);
    };
    for certificate in CertificateDer::pem_slice_iter(&read(root).await?) {
        store.add(certificate.map_err(tls)?).map_err(tls)?;
    }
    Ok(store)
}

async fn read(path: &Path) -> Result<Vec<u8>, sqlx::Error> {
    tokio::fs::read(path)
        .await
        .map_err(|error| sqlx::Error::Io(io::Error::new(error.kind(), format!("{}: {error}", path.display()))))
}

fn tls(error: impl std::error::Error + Send + Sync + 'static) -> sqlx::Error {
    sqlx::Error::Tls(error.into())
}

/// Checks everything of a certificate but whom it names.
#[derive(Debug)]
struct IgnoringNames(Arc<WebPkiServerVerifier>);

impl ServerCertVerifier for IgnoringNames {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, TlsError> {
        // The name is looked at last, when the chain has been found good.
        match self.0.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            Err(TlsError::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        self.0.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        self.0.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_of_processes_that_are_gone_are_removed_and_no_others() {
        let among = tempfile::tempdir().unwrap();
        let folder = |name: &str| {
            let folder = among.path().join(name);
            fs::create_dir(&folder).unwrap();
            folder
        };
        let old = |folder: &Path| {
            let long_ago = std::time::SystemTime::now() - 2 * LEFT_AFTER;
            fs::File::open(folder).unwrap().set_modified(long_ago).unwrap();
        };
        let listen = |folder: &Path| std::os::unix::net::UnixListener::bind(folder.join(".s.PGSQL.5432")).unwrap();
        let (left, living, young) = (folder("windlass-pg-a"), folder("windlass-pg-b"), folder("windlass-pg-c"));
        let other = folder("somebody-elses");
        drop(listen(&left));
        let _living = listen(&living);
        drop(listen(&young));
        [&left, &living, &other].into_iter().for_each(|folder| old(folder));
        remove_left(among.path());
        assert!(!left.exists(), "nobody listens there any more");
        assert!(living.exists() && young.exists() && other.exists());
    }
}
