//! TLS and logins on a real Kafka: what is set right works with every client, what is set wrong is told with its reason and
//! without a secret. Without `KAFKA_TLS_SERVERS_TEST` there is nothing to test.

use crate::support::{PATIENCE, kafka_settings, read_all};
use bytes::Bytes;
use chrono::Utc;
use std::sync::Arc;
use std::time::Duration;
use windlass_tasks::runtime::group::{GroupSpec, Member, Places, Start};
use windlass_tasks::runtime::kafka::{Administrator, Cluster, KafkaGroup, KafkaLog, TopicChange, TopicWish};
use windlass_tasks::runtime::{EventLog, Headers, NewRecord, TopicSpec};
use windlass_tasks::settings::KafkaSettings;

const PASSWORD: &str = "stack-password";

/// The port with TLS and a login, and the settings that fit it.
fn secured(mechanism: &str) -> Option<KafkaSettings> {
    let servers = std::env::var("KAFKA_TLS_SERVERS_TEST").ok().filter(|value| !value.is_empty())?;
    let authority = std::env::var("KAFKA_TLS_CA_TEST").expect("KAFKA_TLS_CA_TEST names the authority's file");
    let properties = [
        ("security.protocol", "SASL_SSL"),
        ("sasl.mechanism", mechanism),
        ("sasl.username", "windlass"),
        ("sasl.password", PASSWORD),
        ("ssl.ca.location", &authority),
    ];
    Some(settings(servers, &properties))
}

fn settings(bootstrap_servers: String, properties: &[(&str, &str)]) -> KafkaSettings {
    let properties = properties.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    KafkaSettings { bootstrap_servers, properties }
}

fn with(mut settings: KafkaSettings, name: &str, value: Option<&str>) -> KafkaSettings {
    settings.properties.retain(|(known, _)| known != name);
    settings.properties.extend(value.map(|value| (name.to_owned(), value.to_owned())));
    settings
}

async fn every_client_works(settings: &KafkaSettings) {
    let topic = format!("secured-{}", uuid::Uuid::new_v4().simple());
    let log: Arc<dyn EventLog> = Arc::new(KafkaLog::new(settings).unwrap());
    log.create_topic(&TopicSpec::new(&topic, 1)).await.unwrap();
    let record = NewRecord {
        partition: 0,
        key: None,
        value: Some(Bytes::from_static(b"over TLS")),
        headers: Headers::default(),
        time_ms: Utc::now().timestamp_millis(),
    };
    log.produce(&topic, vec![record]).await.unwrap();
    assert_eq!(read_all(&*log, &topic).await[0].value.as_deref(), Some(&b"over TLS"[..]));
    let admin = Administrator::new(&Cluster::new(settings.clone())).unwrap();
    let wish = TopicWish { partitions: Some(2), ..TopicWish::default() };
    let changes = admin.ensure(&topic, Some(1), &wish).await.unwrap();
    assert_eq!(changes, [TopicChange::Partitions { from: 1, to: 2 }]);
    let (settings, group) = (settings.clone(), topic.clone());
    let read = tokio::task::spawn_blocking(move || {
        let spec = GroupSpec {
            group_id: group.clone(),
            topics: vec![group],
            start: Start::Earliest,
            by: "test".into(),
            positions: Places::new(),
            begun: Places::new(),
        };
        let mut member = KafkaGroup::join(&settings, spec).unwrap();
        let started = std::time::Instant::now();
        while started.elapsed() < PATIENCE {
            if let Some(read) = member.poll(Duration::from_millis(200)).unwrap() {
                return read.record.value;
            }
        }
        None
    });
    assert_eq!(read.await.unwrap().as_deref(), Some(&b"over TLS"[..]));
}

#[tokio::test(flavor = "multi_thread")]
async fn kafka_works_over_tls_with_a_login_by_either_mechanism() {
    for mechanism in ["PLAIN", "SCRAM-SHA-256"] {
        let Some(settings) = secured(mechanism) else { return };
        every_client_works(&settings).await;
    }
}

/// What is said when these settings are used.
async fn complaint(settings: KafkaSettings) -> String {
    let log = KafkaLog::new(&settings).unwrap();
    log.topics().await.unwrap_err().to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn kafka_misconfigured_says_what_to_do_and_no_secret() {
    let (Some(right), Some(open)) = (secured("SCRAM-SHA-256"), kafka_settings()) else { return };
    let stranger = tempfile::NamedTempFile::new().unwrap();
    let other_authority = rcgen::generate_simple_self_signed(vec!["other".to_owned()]).unwrap();
    std::fs::write(stranger.path(), other_authority.cert.pem()).unwrap();
    let to_open_port = KafkaSettings { bootstrap_servers: open.bootstrap_servers.clone(), ..right.clone() };
    let cases = [
        (
            "a wrong password",
            with(right.clone(), "sasl.password", Some("open-sesame")),
            "check sasl.username and sasl.password",
        ),
        ("another authority", with(right.clone(), "ssl.ca.location", stranger.path().to_str()), "ssl.ca.location"),
        ("no protection", settings(right.bootstrap_servers.clone(), &[]), "this port expects TLS or a login"),
        ("TLS to the open port", to_open_port, "this port does not speak TLS"),
        ("nobody there", settings("127.0.0.1:1".to_owned(), &[]), "is the broker up"),
        ("no such host", settings("no-such-host.invalid:1".to_owned(), &[]), "is the host's name"),
    ];
    let said = futures::future::join_all(
        cases.into_iter().map(|(case, settings, part)| async move { (case, part, complaint(settings).await) }),
    );
    for (case, part, said) in said.await {
        println!("{case}: {said}");
        assert!(said.contains(part), "{case}: {said}");
        assert!(!said.contains("open-sesame") && !said.contains(PASSWORD), "{case}: {said}");
    }
}
