//! The identity of a cluster: one for all who have its key, and a door that knows who may come in.

use std::{collections::BTreeSet, path::Path, sync::Arc, time::Duration};

use daemon::{
    cluster::{Cluster, SeatFinder},
    leader::{self, Ear, LeaderSettings, NetworkAcceptor},
};
use link::{
    ToWorker,
    transport::{
        Connector as _,
        tls::{
            Admission, Caller, Door, Enrollment, Finder as _, Gatekeeper as _, JoinToken, ListedEndpoints, Purpose,
            Recognition, Secret, TcpConnector, WorkerFiles,
        },
    },
};
use store::{
    Candidate, SecretKey, Writer, certificates,
    cluster::{ClusterSecret, rotate_secret},
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::leader::{WITHIN, hello, migrated};

/// A key of 32 equal bytes in base64.
fn key(byte: &str) -> SecretKey {
    SecretKey::parse(&format!("{}{}=", byte.repeat(10), &byte[..3])).unwrap()
}

async fn denied(cluster: &Cluster, token: &JoinToken) -> String {
    match cluster.admit(Purpose::Work, &token.id, &token.secret).await {
        Admission::Denied(reason) => reason,
        Admission::Granted => panic!("it was let in"),
    }
}

#[tokio::test]
async fn processes_that_start_at_once_get_one_identity_and_one_token() {
    let (_, pool) = migrated().await;
    let open = || async { Cluster::open(pool.clone(), key("AAAA")).await.unwrap() };
    let (first, second) = tokio::join!(open(), open());
    assert_eq!(first.authority().fingerprint(), second.authority().fingerprint());
    let (one, other) = tokio::join!(first.join_token("me".into()), second.join_token("me".into()));
    assert_eq!(one.unwrap().reveal(), other.unwrap().reveal());
    assert!(first.signing_secret().await.unwrap().matches(&second.signing_secret().await.unwrap()));
}

#[tokio::test]
async fn another_key_is_told_so_and_gets_no_identity_of_its_own() {
    let (_, pool) = migrated().await;
    Cluster::open(pool.clone(), key("AAAA")).await.unwrap();
    let error = Cluster::open(pool, key("EEEE")).await.err().unwrap().to_string();
    assert!(error.contains("needs the same WINDLASS_SECRET_KEY"), "{error}");
}

#[tokio::test]
async fn the_door_knows_a_token_from_one_that_is_unknown_wrong_revoked_or_expired() {
    let (_, pool) = migrated().await;
    let cluster = Arc::new(Cluster::open(pool, key("AAAA")).await.unwrap());
    let token = cluster.join_token("me".into()).await.unwrap();
    assert_eq!(cluster.admit(Purpose::Work, &token.id, &token.secret).await, Admission::Granted);
    assert!(matches!(cluster.admit(Purpose::Ask, &token.id, &token.secret).await, Admission::Denied(_)));

    let unknown = JoinToken::generate(token.authority);
    assert!(denied(&cluster, &unknown).await.contains("never had such a join token"));
    let wrong = JoinToken { secret: Secret::generate(), ..token.clone() };
    assert!(denied(&cluster, &wrong).await.contains("is another one"));
    let short = cluster.rotate("me".into(), Some(Duration::ZERO)).await.unwrap();
    assert!(denied(&cluster, &token).await.contains("was revoked"));
    assert!(denied(&cluster, &short).await.contains("has expired"));
    // An expired token is replaced when somebody asks for the one in use.
    let next = cluster.join_token("me".into()).await.unwrap();
    assert_eq!(cluster.admit(Purpose::Work, &next.id, &next.secret).await, Admission::Granted);
}

#[tokio::test]
async fn an_api_process_finds_the_leader_where_the_takeover_says_it_is() {
    let (url, pool) = migrated().await;
    let finder = SeatFinder(pool);
    assert!(finder.endpoints().await.unwrap_err().to_string().contains("no scheduler has led yet"));
    for (endpoint, found) in [("10.0.0.5:8084", Some("10.0.0.5:8084")), ("/run/leader.sock", None)] {
        let mut writer = Writer::connect(&url).await.unwrap();
        let candidate = Candidate { holder: "first".to_owned(), endpoint: endpoint.to_owned() };
        store::lead(&mut writer, &candidate).await.unwrap();
        match (finder.endpoints().await, found) {
            (Ok(endpoints), Some(found)) => assert_eq!(endpoints, [found]),
            (Err(error), None) => assert!(error.to_string().contains("no address on the network"), "{error}"),
            (other, _) => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_worker_has_one_certificate_until_it_is_taken_back_or_forgotten() {
    let (_, pool) = migrated().await;
    let cluster = Cluster::open(pool.clone(), key("AAAA")).await.unwrap();
    let worker = Uuid::new_v4();
    let buy = async || match cluster.enroll(worker, "token").await {
        Enrollment::Certified(certificate) => Ok(certificate),
        Enrollment::Denied(reason) => Err(reason),
    };
    let unused = buy().await.unwrap();
    let certificate = buy().await.expect("the first one was never used: its way back may have been cut");
    assert_eq!(cluster.recognise(worker, unused.fingerprint()).await, Recognition::Unknown);
    assert_eq!(cluster.recognise(worker, certificate.fingerprint()).await, Recognition::Known);
    assert!(buy().await.unwrap_err().contains("windlass workers readmit"));
    assert_eq!(certificates::revoke(&pool, &worker.to_string()).await.unwrap(), 1);
    assert!(matches!(cluster.recognise(worker, certificate.fingerprint()).await, Recognition::Denied(_)));
    assert!(buy().await.unwrap_err().contains("was taken back"));
    assert_eq!(certificates::forget(&pool, &worker.to_string()).await.unwrap(), 1);
    buy().await.unwrap();
}

#[tokio::test]
async fn after_a_change_of_the_authority_workers_buy_new_certificates_and_revoked_ones_do_not() {
    let (_, pool) = migrated().await;
    let cluster = Cluster::open(pool.clone(), key("AAAA")).await.unwrap();
    let (worker, revoked) = (Uuid::new_v4(), Uuid::new_v4());
    for one in [worker, revoked] {
        let Enrollment::Certified(given) = cluster.enroll(one, "token").await else { panic!("it is new") };
        assert_eq!(cluster.recognise(one, given.fingerprint()).await, Recognition::Known);
    }
    certificates::revoke(&pool, &revoked.to_string()).await.unwrap();
    rotate_secret(&pool, ClusterSecret::Authority, "test").await.unwrap();

    let again = Cluster::open(pool, key("AAAA")).await.unwrap();
    assert_ne!(again.authority().fingerprint(), cluster.authority().fingerprint());
    assert!(matches!(again.enroll(worker, "token").await, Enrollment::Certified(_)));
    assert!(matches!(again.enroll(revoked, "token").await, Enrollment::Denied(_)));
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_speaks_in_the_name_of_a_worker_that_has_a_certificate() {
    let (url, pool) = migrated().await;
    let folder = tempfile::tempdir().unwrap();
    let cluster = Arc::new(Cluster::open(pool, key("AAAA")).await.unwrap());
    let token = cluster.join_token("me".into()).await.unwrap();
    let (leading, endpoint) = lead_on_network(&url, folder.path(), &cluster).await;
    let (own, other) = (Uuid::new_v4(), Uuid::new_v4());
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(WorkerFiles::id_file(dir.path()), own.to_string()).unwrap();
    // A version without certificates writes no id where the link looks for it.
    let old = tempfile::tempdir().unwrap();
    for (files, named, welcome) in [(&dir, own, true), (&dir, other, false), (&old, own, false), (&old, other, true)] {
        let caller = Caller::worker(&token, WorkerFiles::new(files.path())).unwrap();
        let connector = TcpConnector::new(caller, Arc::new(ListedEndpoints(vec![endpoint.clone()])));
        let connect = async {
            loop {
                match connector.connect().await {
                    Ok(worker) => break worker,
                    Err(_stands_by) => tokio::time::sleep(Duration::from_millis(50)).await,
                }
            }
        };
        let mut worker = tokio::time::timeout(WITHIN, connect).await.expect("it is let in");
        worker.send(hello(named, BTreeSet::new())).await.unwrap();
        let first = tokio::time::timeout(WITHIN, worker.recv()).await.expect("it is answered").unwrap();
        assert_eq!(matches!(first, Some(ToWorker::Welcome { .. })), welcome, "{named} of {own}: {first:?}");
    }
    leading.abort();
}

async fn lead_on_network(
    url: &str,
    folder: &Path,
    cluster: &Arc<Cluster>,
) -> (tokio::task::JoinHandle<Result<(), leader::LeaderError>>, String) {
    let news = leader::news_channel();
    let ear = Ear::new(news, CancellationToken::new());
    let port = Arc::new(ear.port());
    let listen = "127.0.0.1:0".parse().unwrap();
    let door = Door::open(listen, cluster.authority(), cluster.clone(), ear.standing()).await.unwrap();
    let endpoint = door.address().unwrap().to_string();
    let acceptor = NetworkAcceptor::new(door, port, ear.standing());
    let settings = LeaderSettings {
        database_url: url.to_owned(),
        name: "network".to_owned(),
        endpoint: endpoint.clone(),
        dags: leader::DagSource::Folder(folder.to_owned()),
        bundles: Arc::default(),
        secret_key: key("AAAA"),
        secrets: Default::default(),
        metrics: leader::LeaderMetrics::default(),
        retention: Default::default(),
        engine: engine::Settings::default(),
    };
    (tokio::spawn(leader::run(settings, Box::new(acceptor), ear)), endpoint)
}
