//! The leader's door on the network: TLS, a greeting, a verdict, and only then a link.
//!
//! Every visitor is given one time limit for all of that, the number of visitors on the doorstep and in the house is
//! bounded, and whoever is turned away hears why, as far as it can be told.

use std::{
    collections::{BTreeMap, VecDeque},
    io,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures::future::BoxFuture;
use tokio::{
    io::AsyncWriteExt as _,
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch},
    time::{sleep, timeout},
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{self, pki_types::CertificateDer},
    server::TlsStream,
};
use uuid::Uuid;

use super::{
    Authority, Fingerprint, GREETING_BYTES_MAX, HANDSHAKE_WAIT, Purpose, Secret, WorkerCertificate,
    greeting::{Greeting, Verdict},
    identity::is_of_worker,
};
use crate::{
    PROTOCOL_OLDEST, PROTOCOL_VERSION,
    remote::AnswerLink,
    transport::{Claim, FrameError, LeaderLink, frame::read_frame_within, stream::over_stream_with, write_frame},
};

/// Visitors whose handshake is under way. More wait in the kernel's queue; each may stay for [`HANDSHAKE_WAIT`] at most.
const HANDSHAKES_MAX: usize = 256;
/// Of those, so many from one address: one that opens connections and says nothing keeps nobody else out. Workers behind one
/// address that all come back at once try again.
const HANDSHAKES_PER_ADDRESS_MAX: usize = 32;
/// Connections that are open at once: some hundred workers and api processes, with room. Each has two tasks and buffers.
const CONNECTIONS_MAX: usize = 2048;
/// Refusals that are remembered, so that a worker that tries each 2 s with an old token does not fill the log.
const REFUSALS_KEPT: usize = 64;
/// The pause when no connection can be accepted, as without free descriptors.
const ACCEPT_AGAIN_AFTER: Duration = Duration::from_millis(500);

/// Knows who may come in.
pub trait Gatekeeper: Send + Sync {
    /// Decides about a visitor by the secret that it knows.
    fn admit<'a>(&'a self, purpose: Purpose, id: &'a str, secret: &'a Secret) -> BoxFuture<'a, Admission>;

    /// Whether a worker's certificate, which the cluster's authority has signed, is the one that it was given.
    fn recognise(&self, worker: Uuid, certificate: Fingerprint) -> BoxFuture<'_, Recognition>;

    /// Gives a worker that was admitted by this token its certificate, once.
    fn enroll<'a>(&'a self, worker: Uuid, token: &'a str) -> BoxFuture<'a, Enrollment>;
}

/// What a gatekeeper knows of a worker's certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Recognition {
    /// It is the worker's.
    Known,
    /// Nothing is known of it: the worker has to show its token.
    Unknown,
    /// It was taken back; the sentence says what to do.
    Denied(String),
}

/// What a worker with a token is given.
#[derive(Debug)]
pub enum Enrollment {
    /// Its certificate.
    Certified(WorkerCertificate),
    /// Nothing: another worker has this identity already. The sentence says what to do.
    Denied(String),
}

/// A gatekeeper's decision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Admission {
    /// The visitor may come in.
    Granted,
    /// It may not; the sentence is for both sides, and ends in what to do.
    Denied(String),
}

/// Whether this process leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// It does.
    Leads,
    /// It does not.
    StandsBy {
        /// Where the leader is, as far as this process knows.
        leader: Option<String>,
    },
}

/// Somebody who was let in.
#[derive(Debug)]
pub enum Visitor {
    /// A worker.
    Worker(LeaderLink),
    /// An api process.
    Api(AnswerLink),
}

/// A listening door.
pub struct Door {
    listener: TcpListener,
    hall: Arc<Hall>,
}

/// What every visitor passes.
struct Hall {
    tls: TlsAcceptor,
    gatekeeper: Arc<dyn Gatekeeper>,
    standing: watch::Receiver<Standing>,
    places: Arc<Semaphore>,
    /// Who was turned away and why, the newest last.
    refusals: Mutex<VecDeque<(IpAddr, String)>>,
}

/// The handshakes that are under way, by address.
#[derive(Default)]
struct Doorstep(Mutex<BTreeMap<IpAddr, usize>>);

/// One handshake's place, given up when it is dropped.
struct Step {
    doorstep: Arc<Doorstep>,
    address: IpAddr,
}

impl Doorstep {
    /// A place for one more handshake from this address; none when it has as many as it may.
    fn enter(self: &Arc<Self>, from: IpAddr) -> Option<Step> {
        let address = network(from);
        let mut under_way = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = under_way.entry(address).or_default();
        if *count >= HANDSHAKES_PER_ADDRESS_MAX {
            return None;
        }
        *count += 1;
        Some(Step { doorstep: Arc::clone(self), address })
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        let mut under_way = self.doorstep.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = under_way.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                under_way.remove(&self.address);
            }
        }
    }
}

/// What counts as one address: a machine has a whole /64 of IPv6.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX))),
    }
}

/// Why a visitor was turned away.
#[derive(Debug, thiserror::Error)]
enum TurnedAway {
    #[error("it does not speak TLS; only `windlass worker` and `windlass api` have business here")]
    NoTls,
    #[error("it does not trust this cluster's certificate: its join token is of another cluster")]
    OtherCluster,
    #[error("its handshake failed: {0}")]
    Handshake(io::Error),
    #[error("it did not finish its handshake within {HANDSHAKE_WAIT:?}")]
    TooSlow,
    #[error("its greeting can not be read: {0}")]
    Greeting(FrameError),
    #[error("it hung up before it was admitted")]
    Gone,
    #[error("{0}")]
    Refused(String),
    #[error("this process stands by")]
    StandsBy,
    #[error("it was given its certificate, and calls again with it")]
    Certified,
}

impl Door {
    /// Listens, with a certificate made for this process.
    ///
    /// # Errors
    /// When the certificate can not be made, or the address can not be listened on.
    pub async fn open(
        address: SocketAddr,
        authority: &Authority,
        gatekeeper: Arc<dyn Gatekeeper>,
        standing: watch::Receiver<Standing>,
    ) -> io::Result<Self> {
        let config = authority.server_config().map_err(io::Error::other)?;
        let tls = TlsAcceptor::from(Arc::new(config));
        let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let hall = Arc::new(Hall { tls, gatekeeper, standing, places, refusals: Mutex::default() });
        Ok(Self { listener: TcpListener::bind(address).await?, hall })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// When the system does not tell.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Lets visitors in until nobody receives them any more.
    pub async fn receive(self, visitors: mpsc::Sender<Visitor>) {
        let places = Arc::new(Semaphore::new(HANDSHAKES_MAX));
        let doorstep = Arc::new(Doorstep::default());
        loop {
            let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                () = visitors.closed() => return,
            };
            match accepted {
                Ok((stream, from)) => match doorstep.enter(from.ip()) {
                    Some(step) => {
                        tokio::spawn(one(Arc::clone(&self.hall), (stream, from), (place, step), visitors.clone()));
                    }
                    None if self.hall.is_news(from.ip(), "too many") => {
                        tracing::warn!(
                            peer = %from,
                            "more than {HANDSHAKES_PER_ADDRESS_MAX} connections from one address say nothing; further ones are closed"
                        );
                    }
                    None => {}
                },
                Err(error) => {
                    tracing::error!(%error, "no worker can connect");
                    sleep(ACCEPT_AGAIN_AFTER).await;
                }
            }
        }
    }
}

async fn one(
    hall: Arc<Hall>,
    (stream, from): (TcpStream, SocketAddr),
    step: (OwnedSemaphorePermit, Step),
    visitors: mpsc::Sender<Visitor>,
) {
    let admitted = timeout(HANDSHAKE_WAIT, hall.admit(stream)).await.unwrap_or(Err(TurnedAway::TooSlow));
    drop(step);
    let visitor = match admitted {
        Ok(Admitted { purpose: Purpose::Work, claim, stream, place }) => {
            Visitor::Worker(over_stream_with(stream, place).claimed(claim))
        }
        Ok(Admitted { purpose: Purpose::Ask, stream, place, .. }) => Visitor::Api(over_stream_with(stream, place)),
        // Workers look for the leader among all schedulers; that is no news.
        Err(TurnedAway::StandsBy | TurnedAway::Certified) => return,
        Err(reason) => {
            if hall.is_news(from.ip(), &reason.to_string()) {
                tracing::warn!(peer = %from, "a connection is turned away: {reason}");
            }
            return;
        }
    };
    // Nobody receives visitors any more: the process is ending.
    drop(visitors.send(visitor).await);
}

/// A visitor that was let in.
struct Admitted {
    purpose: Purpose,
    claim: Claim,
    stream: TlsStream<TcpStream>,
    place: OwnedSemaphorePermit,
}

/// Who a visitor is, and what it is given.
struct Judged {
    claim: Claim,
    certificate: Option<WorkerCertificate>,
}

impl Hall {
    /// Whether this address was not turned away for this reason a short while ago.
    fn is_news(&self, from: IpAddr, reason: &str) -> bool {
        let mut refusals = self.refusals.lock().unwrap_or_else(PoisonError::into_inner);
        if refusals.iter().any(|(address, said)| *address == from && said == reason) {
            return false;
        }
        if refusals.len() >= REFUSALS_KEPT {
            refusals.pop_front();
        }
        refusals.push_back((from, reason.to_owned()));
        true
    }

    async fn admit(&self, stream: TcpStream) -> Result<Admitted, TurnedAway> {
        stream.set_nodelay(true).map_err(TurnedAway::Handshake)?;
        let mut stream = self.tls.accept(stream).await.map_err(failed_handshake)?;
        let greeting = read_frame_within::<_, Greeting>(&mut stream, GREETING_BYTES_MAX).await;
        let greeting = match greeting {
            Ok(Some(greeting)) => greeting,
            Ok(None) => return Err(TurnedAway::Gone),
            Err(error) => {
                tell(&mut stream, Verdict::Refused { reason: format!("the greeting can not be read: {error}") })
                    .await?;
                return Err(TurnedAway::Greeting(error));
            }
        };
        let standing = self.standing.borrow().clone();
        let judged = match self.judge(&greeting, certificate_of(&stream), &standing).await {
            Ok(judged) => judged,
            Err(reason) => {
                tell(&mut stream, Verdict::Refused { reason: reason.clone() }).await?;
                return Err(TurnedAway::Refused(reason));
            }
        };
        if let Standing::StandsBy { leader } = standing {
            tell(&mut stream, Verdict::StandsBy { leader }).await?;
            return Err(TurnedAway::StandsBy);
        }
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
            let reason = format!("the leader has {CONNECTIONS_MAX} connections open, and takes no more");
            tell(&mut stream, Verdict::Refused { reason: reason.clone() }).await?;
            return Err(TurnedAway::Refused(reason));
        };
        if let Some(certificate) = judged.certificate {
            // It calls again with it.
            tell(&mut stream, Verdict::Admitted { certificate: Some(certificate.reveal()) }).await?;
            return Err(TurnedAway::Certified);
        }
        say(&mut stream, &Verdict::Admitted { certificate: None }).await?;
        Ok(Admitted { purpose: greeting.purpose, claim: judged.claim, stream, place })
    }

    async fn judge(
        &self,
        greeting: &Greeting,
        shown: Option<CertificateDer<'static>>,
        standing: &Standing,
    ) -> Result<Judged, String> {
        if !crate::speaks(greeting.protocol, greeting.protocol_oldest) {
            let theirs = greeting.protocol;
            return Err(format!(
                "the leader speaks versions {PROTOCOL_OLDEST} to {PROTOCOL_VERSION} of the link, the caller {theirs}: update the older one"
            ));
        }
        let worker = greeting.worker.filter(|_| greeting.purpose == Purpose::Work);
        if let (Some(worker), Some(shown)) = (worker, shown)
            && is_of_worker(&shown, worker)
        {
            match self.gatekeeper.recognise(worker, Fingerprint::of(&shown)).await {
                Recognition::Known => return Ok(Judged { claim: Claim::Proven(worker), certificate: None }),
                Recognition::Denied(reason) => return Err(reason),
                Recognition::Unknown => {}
            }
        }
        match self.gatekeeper.admit(greeting.purpose, &greeting.id, &greeting.secret).await {
            Admission::Denied(reason) => return Err(reason),
            Admission::Granted => {}
        }
        // A standby sends it on: a certificate that it noted would take the place of the one that the leader gives meanwhile.
        let (Some(worker), Standing::Leads) = (worker, standing) else {
            return Ok(Judged { claim: Claim::Unproven, certificate: None });
        };
        match self.gatekeeper.enroll(worker, &greeting.id).await {
            Enrollment::Certified(certificate) => {
                Ok(Judged { claim: Claim::Proven(worker), certificate: Some(certificate) })
            }
            Enrollment::Denied(reason) => Err(reason),
        }
    }
}

fn certificate_of(stream: &TlsStream<TcpStream>) -> Option<CertificateDer<'static>> {
    stream.get_ref().1.peer_certificates()?.first().map(|certificate| certificate.clone().into_owned())
}

/// The last word to a visitor.
async fn tell(stream: &mut TlsStream<TcpStream>, verdict: Verdict) -> Result<(), TurnedAway> {
    say(stream, &verdict).await?;
    stream.shutdown().await.map_err(|_| TurnedAway::Gone)
}

async fn say(stream: &mut TlsStream<TcpStream>, verdict: &Verdict) -> Result<(), TurnedAway> {
    write_frame(stream, verdict).await.map_err(|_| TurnedAway::Gone)?;
    stream.flush().await.map_err(|_| TurnedAway::Gone)
}

fn failed_handshake(error: io::Error) -> TurnedAway {
    use rustls::{AlertDescription as Alert, Error as Tls};
    match error.get_ref().and_then(|inner| inner.downcast_ref::<Tls>()) {
        Some(Tls::InvalidMessage(_)) => TurnedAway::NoTls,
        Some(Tls::AlertReceived(Alert::UnknownCA | Alert::BadCertificate)) => TurnedAway::OtherCluster,
        _ if error.kind() == io::ErrorKind::UnexpectedEof => TurnedAway::Gone,
        Some(_) | None => TurnedAway::Handshake(error),
    }
}
