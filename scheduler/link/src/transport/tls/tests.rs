//! Visitors of every kind at a real door on loopback.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use futures::{FutureExt as _, future::BoxFuture};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::{mpsc, watch},
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream, rustls::pki_types::ServerName};
use uuid::Uuid;

use super::{
    Admission, Authority, Caller, Door, Enrollment, Finder, Fingerprint, Gatekeeper, HANDSHAKE_WAIT, JoinToken,
    ListedEndpoints, Purpose, Recognition, SERVER_NAME, Secret, Standing, TcpConnector, Visitor, WorkerFiles,
    greeting::Verdict, verify::client_config,
};
use crate::{
    Connector as _, FromWorker, LeaderPort, NoLeader, Query, Reply, ToWorker, WorkerLink,
    remote::{RemotePort, answer_all},
    transport::{Claim, read_frame},
};

/// Nothing here takes longer unless it is broken.
const PATIENCE: Duration = Duration::from_secs(20);
const API_SECRET: &str = "what api processes share";

/// Knows one join token and the secret of api processes, and gives each worker one certificate.
struct Keeper {
    token: JoinToken,
    authority: Authority,
    given: Mutex<BTreeMap<Uuid, (Fingerprint, bool)>>,
}

impl Gatekeeper for Keeper {
    fn admit<'a>(&'a self, purpose: Purpose, id: &'a str, secret: &'a Secret) -> BoxFuture<'a, Admission> {
        let known = match purpose {
            Purpose::Work => id == self.token.id && secret.matches(&self.token.secret),
            Purpose::Ask => secret.matches(&Secret::new(API_SECRET)),
        };
        let admission =
            if known { Admission::Granted } else { Admission::Denied("the join token is not known".to_owned()) };
        std::future::ready(admission).boxed()
    }

    fn recognise(&self, worker: Uuid, certificate: Fingerprint) -> BoxFuture<'_, Recognition> {
        let recognition = match self.given.lock().unwrap().get_mut(&worker) {
            Some((given, used)) if *given == certificate => {
                *used = true;
                Recognition::Known
            }
            _ => Recognition::Unknown,
        };
        std::future::ready(recognition).boxed()
    }

    fn enroll<'a>(&'a self, worker: Uuid, _token: &'a str) -> BoxFuture<'a, Enrollment> {
        let mut given = self.given.lock().unwrap();
        let enrollment = if given.get(&worker).is_some_and(|(_, used)| *used) {
            Enrollment::Denied("the worker has its certificate".to_owned())
        } else {
            let certificate = self.authority.certify(worker).unwrap();
            given.insert(worker, (certificate.fingerprint(), false));
            Enrollment::Certified(certificate)
        };
        std::future::ready(enrollment).boxed()
    }
}

/// A scheduler's door.
struct Leader {
    endpoint: String,
    token: JoinToken,
    keeper: Arc<Keeper>,
    standing: watch::Sender<Standing>,
    visitors: mpsc::Receiver<Visitor>,
}

impl Leader {
    async fn open(authority: &Authority, token: &JoinToken, standing: Standing) -> Self {
        let (standing, watched) = watch::channel(standing);
        let again = Authority::from_stored(&authority.reveal()).unwrap();
        let keeper = Arc::new(Keeper { token: token.clone(), authority: again, given: Mutex::default() });
        let door = Door::open("127.0.0.1:0".parse().unwrap(), authority, keeper.clone(), watched).await.unwrap();
        let endpoint = door.address().unwrap().to_string();
        let (sender, visitors) = mpsc::channel(8);
        tokio::spawn(door.receive(sender));
        Self { endpoint, token: token.clone(), keeper, standing, visitors }
    }

    async fn leading() -> Self {
        let authority = Authority::generate().unwrap();
        let token = JoinToken::generate(authority.fingerprint());
        Self::open(&authority, &token, Standing::Leads).await
    }

    async fn visitor(&mut self) -> Visitor {
        timeout(PATIENCE, self.visitors.recv()).await.expect("nobody came in").unwrap()
    }

    /// A worker with the right token is still let in.
    async fn still_works(&mut self) {
        let worker = connect(&self.token, &[&self.endpoint]).await.unwrap();
        let Visitor::Worker(mut leader) = self.visitor().await else { panic!("a worker came") };
        worker.send(FromWorker::Beat { services: Vec::new(), started: Vec::new(), leaving: false }).await.unwrap();
        assert!(timeout(PATIENCE, leader.recv()).await.unwrap().unwrap().is_some());
    }
}

async fn connect(token: &JoinToken, endpoints: &[&str]) -> Result<WorkerLink, String> {
    let endpoints = ListedEndpoints(endpoints.iter().map(ToString::to_string).collect());
    // A folder without an id: a worker of 0.1.0 says no more.
    let files = WorkerFiles::new("/nowhere");
    let connector = TcpConnector::new(Caller::worker(token, files).unwrap(), Arc::new(endpoints));
    timeout(PATIENCE, connector.connect()).await.unwrap().map_err(|error| error.to_string())
}

#[tokio::test]
async fn a_worker_with_the_token_comes_in_and_messages_pass() {
    let mut leader = Leader::leading().await;
    let mut worker = connect(&leader.token, &[&leader.endpoint]).await.unwrap();
    let Visitor::Worker(link) = leader.visitor().await else { panic!("a worker came") };
    link.send(ToWorker::Ack { seq: 7 }).await.unwrap();
    assert_eq!(timeout(PATIENCE, worker.recv()).await.unwrap().unwrap(), Some(ToWorker::Ack { seq: 7 }));
}

#[tokio::test]
async fn an_unknown_secret_is_refused_with_the_reason() {
    let mut leader = Leader::leading().await;
    let stranger = JoinToken { secret: Secret::generate(), ..leader.token.clone() };
    let error = connect(&stranger, &[&leader.endpoint]).await.unwrap_err();
    assert!(error.contains("refuses: the join token is not known"), "{error}");
    leader.still_works().await;
}

#[tokio::test]
async fn a_token_of_another_cluster_tells_its_secret_to_nobody() {
    let mut leader = Leader::leading().await;
    let other = Authority::generate().unwrap();
    let token = JoinToken { authority: other.fingerprint(), ..leader.token.clone() };
    let error = connect(&token, &[&leader.endpoint]).await.unwrap_err();
    assert!(error.contains("does not belong to the cluster of this join token"), "{error}");
    leader.still_works().await;
}

#[tokio::test]
async fn a_server_that_shows_the_right_authority_but_was_not_signed_by_it_is_found_out() {
    let (ours, theirs) = (Authority::generate().unwrap(), Authority::generate().unwrap());
    let token = JoinToken::generate(ours.fingerprint());
    // A certificate that the other authority has signed, beside ours, which everybody can see.
    let forged = theirs.server_config_beside(&ours).unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let _refused = tokio_rustls::TlsAcceptor::from(Arc::new(forged)).accept(stream).await;
    });
    let error = connect(&token, &[&endpoint]).await.unwrap_err();
    assert!(error.contains("does not belong to the cluster"), "{error}");
}

#[tokio::test]
async fn a_client_without_tls_is_turned_away_and_disturbs_nobody() {
    let mut leader = Leader::leading().await;
    let mut plain = TcpStream::connect(&leader.endpoint).await.unwrap();
    plain.write_all(b"GET / HTTP/1.1\r\nHost: leader\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    let _reset_counts_too = timeout(PATIENCE, plain.read_to_end(&mut answer)).await.unwrap();
    assert!(answer.len() < 100, "{} bytes", answer.len());
    leader.still_works().await;
}

#[tokio::test]
async fn a_server_without_tls_is_named() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
        let _until_the_caller_leaves = stream.read_to_end(&mut Vec::new()).await;
    });
    let token = JoinToken::generate(Fingerprint::of(b"any"));
    let error = connect(&token, &[&endpoint]).await.unwrap_err();
    assert!(error.contains("does not speak TLS"), "{error}");
}

/// A connection with TLS that has not greeted yet.
async fn doorstep(leader: &Leader) -> TlsStream<TcpStream> {
    let stream = TcpStream::connect(&leader.endpoint).await.unwrap();
    let tls = TlsConnector::from(Arc::new(client_config(leader.token.authority, None).unwrap()));
    tls.connect(ServerName::try_from(SERVER_NAME).unwrap(), stream).await.unwrap()
}

#[tokio::test]
async fn a_greeting_that_is_too_long_is_refused_before_it_is_read() {
    let mut leader = Leader::leading().await;
    let mut stream = doorstep(&leader).await;
    stream.write_all(&(16 * 1024 * 1024_u32).to_be_bytes()).await.unwrap();
    stream.flush().await.unwrap();
    let verdict = timeout(PATIENCE, read_frame(&mut stream)).await.unwrap().unwrap();
    let Some(Verdict::Refused { reason }) = verdict else { panic!("{verdict:?}") };
    assert!(reason.contains("over the limit of 4096"), "{reason}");
    leader.still_works().await;
}

#[tokio::test]
async fn whoever_dawdles_at_the_door_is_sent_away() {
    let mut leader = Leader::leading().await;
    let mut before_tls = TcpStream::connect(&leader.endpoint).await.unwrap();
    let mut before_greeting = doorstep(&leader).await;
    leader.still_works().await;
    let closed = async {
        let _closed = before_tls.read(&mut [0]).await;
        let _closed = before_greeting.read(&mut [0]).await;
    };
    timeout(HANDSHAKE_WAIT + PATIENCE, closed).await.expect("the door closes");
    leader.still_works().await;
}

#[tokio::test]
async fn a_standby_says_where_the_leader_is_and_the_worker_goes_there() {
    let authority = Authority::generate().unwrap();
    let token = JoinToken::generate(authority.fingerprint());
    let mut leader = Leader::open(&authority, &token, Standing::Leads).await;
    let known = Standing::StandsBy { leader: Some(leader.endpoint.clone()) };
    let standby = Leader::open(&authority, &token, known).await;
    let _worker = connect(&token, &[&standby.endpoint]).await.unwrap();
    assert!(matches!(leader.visitor().await, Visitor::Worker(_)));

    standby.standing.send_replace(Standing::StandsBy { leader: None });
    let error = connect(&token, &[&standby.endpoint]).await.unwrap_err();
    assert!(error.contains("stands by"), "{error}");
}

#[tokio::test]
async fn of_several_addresses_the_dead_ones_cost_no_time() {
    let mut leader = Leader::leading().await;
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let silent = silent.local_addr().unwrap().to_string();
    let endpoints = [silent.as_str(), "127.0.0.1:1", &leader.endpoint];
    let worker = timeout(CALL_TIME, connect(&leader.token, &endpoints)).await;
    worker.expect("the living one answers first").unwrap();
    assert!(matches!(leader.visitor().await, Visitor::Worker(_)));
}

/// Less than a call to a silent address takes.
const CALL_TIME: Duration = Duration::from_millis(1500);

/// A leader that knows its name only.
struct Named(&'static str);

impl LeaderPort for Named {
    fn ask(&self, _query: Query) -> BoxFuture<'_, Result<Reply, NoLeader>> {
        std::future::ready(Ok(Reply::NotFound { detail: self.0.to_owned() })).boxed()
    }

    fn hint(&self) {}
}

fn answering(mut leader: Leader, name: &'static str) -> tokio::task::JoinHandle<()> {
    tokio::spawn(async move {
        while let Some(Visitor::Api(link)) = leader.visitors.recv().await {
            answer_all(link, Arc::new(Named(name))).await;
        }
    })
}

struct Switch(watch::Receiver<String>);

impl Finder for Switch {
    fn endpoints(&self) -> BoxFuture<'_, std::io::Result<Vec<String>>> {
        std::future::ready(Ok(vec![self.0.borrow().clone()])).boxed()
    }
}

#[tokio::test]
async fn questions_of_an_api_process_follow_the_leader() {
    let authority = Authority::generate().unwrap();
    let token = JoinToken::generate(authority.fingerprint());
    let first = Leader::open(&authority, &token, Standing::Leads).await;
    let second = Leader::open(&authority, &token, Standing::Leads).await;
    let (switch, endpoint) = watch::channel(first.endpoint.clone());
    let then = second.endpoint.clone();
    let caller = Caller::api(authority.fingerprint(), Secret::new(API_SECRET)).unwrap();
    let port = RemotePort::new(caller, Arc::new(Switch(endpoint)));

    let (first, _second) = (answering(first, "first"), answering(second, "second"));
    assert_eq!(port.ask(Query::Cluster).await.unwrap(), Reply::NotFound { detail: "first".to_owned() });
    first.abort();
    switch.send_replace(then);
    assert_eq!(port.ask(Query::Cluster).await.unwrap(), Reply::NotFound { detail: "second".to_owned() });
}

#[tokio::test]
async fn without_a_leader_an_api_process_says_why_in_time() {
    let (_switch, endpoint) = watch::channel("127.0.0.1:1".to_owned());
    let caller = Caller::api(Fingerprint::of(b"any"), Secret::new(API_SECRET)).unwrap();
    let port = RemotePort::new(caller, Arc::new(Switch(endpoint)));
    let asked = timeout(PATIENCE, port.ask(Query::Cluster)).await.unwrap();
    assert!(asked.unwrap_err().reason.contains("127.0.0.1:1 can not be reached"));
}

#[tokio::test]
async fn a_join_token_opens_no_way_to_ask() {
    let leader = Leader::leading().await;
    let caller = Caller::api(leader.token.authority, leader.token.secret.clone()).unwrap();
    let port = RemotePort::new(caller, Arc::new(ListedEndpoints(vec![leader.endpoint.clone()])));
    assert!(port.ask(Query::Cluster).await.unwrap_err().reason.contains("refuses"));
}

#[tokio::test]
async fn many_silent_connections_from_one_address_keep_none_from_another_out() {
    let mut leader = Leader::leading().await;
    let crowd = async |count: usize| {
        let mut silent = Vec::new();
        for _ in 0..count {
            silent.push(TcpStream::connect(&leader.endpoint).await.unwrap());
        }
        silent
    };
    // Twice as many as there are places for handshakes in all.
    let mut silent = crowd(512).await;
    let port = leader.endpoint.rsplit_once(':').unwrap().1.parse::<u16>().unwrap();
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
    let other = socket.connect(([127, 0, 0, 1], port).into()).await.unwrap();
    let tls = TlsConnector::from(Arc::new(client_config(leader.token.authority, None).unwrap()));
    let name = ServerName::try_from(SERVER_NAME).unwrap();
    timeout(HANDSHAKE_WAIT / 2, tls.connect(name, other)).await.expect("it is served at once").unwrap();
    // Those over the limit were closed at once, not after the time of a handshake.
    let mut byte = [0];
    let closed = timeout(Duration::from_secs(1), silent[511].read(&mut byte)).await.expect("it is closed");
    assert!(!matches!(closed, Ok(1)));
    drop(silent);
    leader.still_works().await;
}

/// A worker with a folder of its own.
async fn call_from(dir: &Path, token: &JoinToken, leader: &Leader) -> Result<WorkerLink, String> {
    let endpoints = ListedEndpoints(vec![leader.endpoint.clone()]);
    let caller = Caller::worker(token, WorkerFiles::new(dir)).unwrap();
    timeout(PATIENCE, TcpConnector::new(caller, Arc::new(endpoints)).connect())
        .await
        .unwrap()
        .map_err(|e| e.to_string())
}

fn folder_of(worker: Uuid) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(WorkerFiles::id_file(dir.path()), worker.to_string()).unwrap();
    dir
}

async fn claim(leader: &mut Leader) -> Claim {
    let Visitor::Worker(link) = leader.visitor().await else { panic!("a worker came") };
    link.claim()
}

#[tokio::test]
async fn a_token_buys_a_worker_its_certificate_once() {
    let mut leader = Leader::leading().await;
    let worker = Uuid::from_u128(7);
    let dir = folder_of(worker);
    let _first = call_from(dir.path(), &leader.token, &leader).await.unwrap();
    assert_eq!(claim(&mut leader).await, Claim::Proven(worker));
    let kept = dir.path().join("worker-certificate.json");
    use std::os::unix::fs::PermissionsExt as _;
    assert_eq!(std::fs::metadata(&kept).unwrap().permissions().mode() & 0o777, 0o600);

    // From now on the certificate is enough, and the token is not.
    let revoked = JoinToken { secret: Secret::generate(), ..leader.token.clone() };
    let _second = call_from(dir.path(), &revoked, &leader).await.unwrap();
    assert_eq!(claim(&mut leader).await, Claim::Proven(worker));
    let thief = folder_of(worker);
    let error = call_from(thief.path(), &leader.token, &leader).await.unwrap_err();
    assert!(error.contains("refuses: the worker has its certificate"), "{error}");
    // The certificate of one worker proves nothing of another.
    std::fs::copy(&kept, thief.path().join("worker-certificate.json")).unwrap();
    std::fs::write(WorkerFiles::id_file(thief.path()), Uuid::from_u128(8).to_string()).unwrap();
    let error = call_from(thief.path(), &revoked, &leader).await.unwrap_err();
    assert!(error.contains("the join token is not known"), "{error}");
    leader.still_works().await;
}

#[tokio::test]
async fn a_certificate_of_another_authority_and_a_workers_in_place_of_a_leaders_are_refused() {
    let mut leader = Leader::leading().await;
    let (worker, other) = (Uuid::from_u128(7), Authority::generate().unwrap());
    let dir = folder_of(worker);
    let forged = other.certify(worker).unwrap().reveal();
    WorkerFiles::new(dir.path()).keep(leader.token.authority, &forged).unwrap();
    assert!(call_from(dir.path(), &leader.token, &leader).await.is_err());
    leader.still_works().await;
}

#[tokio::test]
async fn a_worker_buys_a_new_certificate_when_its_cluster_has_another_authority() {
    let (mut before, mut after) = (Leader::leading().await, Leader::leading().await);
    let worker = Uuid::from_u128(7);
    let dir = folder_of(worker);
    for leader in [&mut before, &mut after] {
        let token = leader.token.clone();
        let _link = call_from(dir.path(), &token, leader).await.unwrap();
        assert_eq!(claim(leader).await, Claim::Proven(worker));
    }
}

#[tokio::test]
async fn a_standby_gives_no_certificate() {
    let authority = Authority::generate().unwrap();
    let token = JoinToken::generate(authority.fingerprint());
    let mut standby = Leader::open(&authority, &token, Standing::StandsBy { leader: None }).await;
    let worker = Uuid::from_u128(7);
    let dir = folder_of(worker);
    let error = call_from(dir.path(), &token, &standby).await.unwrap_err();
    assert!(error.contains("stands by"), "{error}");
    assert!(standby.keeper.given.lock().unwrap().is_empty(), "the leader alone notes certificates");
    standby.standing.send_replace(Standing::Leads);
    let _link = call_from(dir.path(), &token, &standby).await.unwrap();
    assert_eq!(claim(&mut standby).await, Claim::Proven(worker));
}
