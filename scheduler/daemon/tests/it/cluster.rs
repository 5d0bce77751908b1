//! The identity of a cluster: one for all who have its key, and a door that knows who may come in.

use std::{sync::Arc, time::Duration};

use daemon::cluster::{Cluster, SeatFinder};
use link::transport::tls::{Admission, Finder as _, Gatekeeper as _, JoinToken, Purpose, Secret};
use sqlx::PgPool;
use store::{Candidate, SecretKey, Writer};

use crate::leader::database;

async fn migrated() -> (String, PgPool) {
    let url = database().await;
    let pool = store::open(&url).await.unwrap();
    store::migrate(&pool).await.unwrap();
    (url, pool)
}

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
    let (one, other) = tokio::join!(first.join_token(), second.join_token());
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
    let token = cluster.join_token().await.unwrap();
    assert_eq!(cluster.admit(Purpose::Work, &token.id, &token.secret).await, Admission::Granted);
    assert!(matches!(cluster.admit(Purpose::Ask, &token.id, &token.secret).await, Admission::Denied(_)));

    let unknown = JoinToken::generate(token.authority);
    assert!(denied(&cluster, &unknown).await.contains("never had such a join token"));
    let wrong = JoinToken { secret: Secret::generate(), ..token.clone() };
    assert!(denied(&cluster, &wrong).await.contains("is another one"));
    let short = cluster.rotate(Some(Duration::ZERO)).await.unwrap();
    assert!(denied(&cluster, &token).await.contains("was revoked"));
    assert!(denied(&cluster, &short).await.contains("has expired"));
    // An expired token is replaced when somebody asks for the one in use.
    let next = cluster.join_token().await.unwrap();
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
