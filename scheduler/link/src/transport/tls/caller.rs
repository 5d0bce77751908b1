//! Calls a leader over the network: TLS with the pinned authority, a greeting, a verdict.

use std::{collections::BTreeSet, io, sync::Arc, time::Duration};

use futures::{StreamExt as _, stream::FuturesUnordered};
use tokio::{io::AsyncWriteExt as _, net::TcpStream, time::timeout};
use tokio_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::{self, pki_types::ServerName},
};

use super::{
    Fingerprint, GREETING_BYTES_MAX, IdentityError, JoinToken, Purpose, SERVER_NAME, Secret, WorkerFiles,
    greeting::{Greeting, Verdict},
    verify::client_config,
};
use crate::{
    PROTOCOL_OLDEST, PROTOCOL_VERSION,
    transport::{FrameError, frame::read_frame_within, write_frame},
};

/// How long one address may take to answer. A stopped process accepts connections and says nothing: whoever waits for it
/// longer finds its successor later.
const CALL_WAIT: Duration = Duration::from_secs(2);
/// Addresses that are tried at once, at most: the schedulers of a cluster.
const ENDPOINTS_MAX: usize = 16;
/// The id of the secret that api processes share; join tokens have others.
const API_ID: &str = "api";

/// Knows a cluster's authority and has a secret that the cluster knows.
#[derive(Clone)]
pub struct Caller {
    tls: TlsConnector,
    purpose: Purpose,
    id: String,
    secret: Secret,
    authority: Fingerprint,
    /// Where a worker keeps what proves who it is.
    files: Option<WorkerFiles>,
}

impl std::fmt::Debug for Caller {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Caller").field("purpose", &self.purpose).field("id", &self.id).finish_non_exhaustive()
    }
}

/// Why a call led to nothing.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// Nobody says where to call.
    #[error("no address of a leader is known")]
    NoAddress,
    /// Nobody is there.
    #[error("{endpoint} can not be reached: {error}")]
    Unreachable {
        /// The address.
        endpoint: String,
        /// Why.
        error: io::Error,
    },
    /// Somebody is there and says nothing.
    #[error("{endpoint} did not answer within {CALL_WAIT:?}")]
    Silent {
        /// The address.
        endpoint: String,
    },
    /// Something else listens there.
    #[error("{endpoint} does not speak TLS: it is not the link address of a `windlass scheduler`")]
    NoTls {
        /// The address.
        endpoint: String,
    },
    /// A server of another cluster, or one that pretends to be of ours.
    #[error("{endpoint} does not belong to the cluster of this join token: nothing was said to it")]
    OtherCluster {
        /// The address.
        endpoint: String,
    },
    /// The server has turned the caller away.
    #[error("{endpoint} refuses: {reason}")]
    Refused {
        /// The address.
        endpoint: String,
        /// In the server's words.
        reason: String,
    },
    /// The server is of the cluster, but does not lead.
    #[error("{endpoint} stands by")]
    StandsBy {
        /// The address.
        endpoint: String,
        /// Where the leader is, as far as it knows.
        leader: Option<String>,
    },
    /// What proves who the worker is can not be kept or used.
    #[error("the worker's certificate (worker-certificate.json in its log folder): {error}")]
    Unkept {
        /// Why.
        error: io::Error,
    },
    /// The conversation broke.
    #[error("{endpoint} answered in a way that can not be understood: {error}")]
    Broken {
        /// The address.
        endpoint: String,
        /// How.
        error: FrameError,
    },
    /// Every address failed in its own way.
    #[error("{}", sentences(.0))]
    All(Vec<CallError>),
}

fn sentences(failures: &[CallError]) -> String {
    failures.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

impl Caller {
    /// A worker that has this token. Its first call brings it a certificate, by which it is known from then on.
    ///
    /// # Errors
    /// [`IdentityError::Tls`].
    pub fn worker(token: &JoinToken, files: WorkerFiles) -> Result<Self, IdentityError> {
        let caller = Self::new(Purpose::Work, token.id.clone(), token.secret.clone(), token.authority)?;
        Ok(Self { files: Some(files), ..caller })
    }

    /// An api process of the cluster with this authority, with the secret that its api processes share.
    ///
    /// # Errors
    /// [`IdentityError::Tls`].
    pub fn api(authority: Fingerprint, secret: Secret) -> Result<Self, IdentityError> {
        Self::new(Purpose::Ask, API_ID.to_owned(), secret, authority)
    }

    fn new(purpose: Purpose, id: String, secret: Secret, authority: Fingerprint) -> Result<Self, IdentityError> {
        let tls = TlsConnector::from(Arc::new(client_config(authority, None)?));
        Ok(Self { tls, purpose, id, secret, authority, files: None })
    }

    /// Calls all of these addresses at once; the first that leads and admits the caller is the one. A standby's word of
    /// where the leader is counts as a further address.
    pub(crate) async fn reach(&self, endpoints: Vec<String>) -> Result<TlsStream<TcpStream>, CallError> {
        let mut called = BTreeSet::new();
        let mut calls = FuturesUnordered::new();
        for endpoint in endpoints.into_iter().take(ENDPOINTS_MAX) {
            if called.insert(endpoint.clone()) {
                calls.push(self.call(endpoint));
            }
        }
        let mut failures = Vec::new();
        while let Some(called_back) = calls.next().await {
            let failure = match called_back {
                Ok(stream) => return Ok(stream),
                Err(failure) => failure,
            };
            if let CallError::StandsBy { leader: Some(leader), .. } = &failure
                && called.len() < ENDPOINTS_MAX
                && called.insert(leader.clone())
            {
                calls.push(self.call(leader.clone()));
            }
            failures.push(failure);
        }
        Err(match failures.pop() {
            None => CallError::NoAddress,
            Some(only) if failures.is_empty() => only,
            Some(last) => {
                failures.push(last);
                CallError::All(failures)
            }
        })
    }

    async fn call(&self, endpoint: String) -> Result<TlsStream<TcpStream>, CallError> {
        let silent = CallError::Silent { endpoint: endpoint.clone() };
        let called = async {
            let certificate = match self.introduce(endpoint.clone()).await? {
                Introduced::In(stream) => return Ok(stream),
                Introduced::Certified(certificate) => certificate,
            };
            if let Some(files) = &self.files
                && let Err(error) = files.keep(self.authority, &certificate)
            {
                return Err(CallError::Unkept { error });
            }
            // The next call shows it: only then nobody else can have one under this name.
            match self.introduce(endpoint.clone()).await? {
                Introduced::In(stream) => Ok(stream),
                Introduced::Certified(_) => {
                    let reason = "it gives a certificate, and does not know it".to_owned();
                    Err(CallError::Refused { endpoint, reason })
                }
            }
        };
        timeout(CALL_WAIT, called).await.unwrap_or(Err(silent))
    }

    fn tls(&self) -> Result<TlsConnector, IdentityError> {
        match self.files.as_ref().and_then(|files| files.certificate(self.authority)) {
            Some(own) => Ok(TlsConnector::from(Arc::new(client_config(self.authority, Some(&own))?))),
            None => Ok(self.tls.clone()),
        }
    }

    async fn introduce(&self, endpoint: String) -> Result<Introduced, CallError> {
        let tls = match self.tls() {
            Ok(tls) => tls,
            Err(error) => return Err(CallError::Unkept { error: io::Error::other(error) }),
        };
        let stream = match TcpStream::connect(&endpoint).await {
            Ok(stream) => stream,
            Err(error) => return Err(CallError::Unreachable { endpoint, error }),
        };
        // Acknowledgements are small and must not wait for company; a socket that can not be told so works, too.
        let _works_without = stream.set_nodelay(true);
        let name = ServerName::try_from(SERVER_NAME).expect("the constant is a DNS name");
        let mut stream = match tls.connect(name, stream).await {
            Ok(stream) => stream,
            Err(error) => return Err(failed_handshake(endpoint, error)),
        };
        let verdict = match self.greet(&mut stream).await {
            Ok(verdict) => verdict,
            Err(error) => return Err(CallError::Broken { endpoint, error }),
        };
        match verdict {
            Verdict::Admitted { certificate: None } => Ok(Introduced::In(stream)),
            Verdict::Admitted { certificate: Some(certificate) } => Ok(Introduced::Certified(certificate)),
            Verdict::Refused { reason } => Err(CallError::Refused { endpoint, reason }),
            Verdict::StandsBy { leader } => Err(CallError::StandsBy { endpoint, leader }),
        }
    }

    async fn greet(&self, stream: &mut TlsStream<TcpStream>) -> Result<Verdict, FrameError> {
        let greeting = Greeting {
            protocol: PROTOCOL_VERSION,
            protocol_oldest: Some(PROTOCOL_OLDEST),
            purpose: self.purpose,
            id: self.id.clone(),
            secret: self.secret.clone(),
            worker: self.files.as_ref().and_then(WorkerFiles::worker),
        };
        write_frame(stream, &greeting).await?;
        stream.flush().await?;
        let verdict = read_frame_within(stream, GREETING_BYTES_MAX).await?;
        verdict.ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof).into())
    }
}

/// What came of a call.
#[allow(clippy::large_enum_variant, reason = "there is one at a time, and it is taken apart at once")]
enum Introduced {
    /// The caller is in.
    In(TlsStream<TcpStream>),
    /// The caller was given this to call with.
    Certified(String),
}

fn failed_handshake(endpoint: String, error: io::Error) -> CallError {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(rustls::Error::InvalidMessage(_)) => CallError::NoTls { endpoint },
        Some(rustls::Error::InvalidCertificate(_)) => CallError::OtherCluster { endpoint },
        Some(_) | None => CallError::Unreachable { endpoint, error },
    }
}
