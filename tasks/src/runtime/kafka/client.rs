//! The settings that every client of a cluster starts from, and errors that say why.

use super::trouble::{Complaints, Listener};
use crate::runtime::event_log::LogError;
use crate::settings::KafkaSettings;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::metadata::MetadataTopic;
use std::time::Duration;

/// How long a broker may take to answer a question.
pub(super) const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// The longest pause before a lost connection is tried again, so that work goes on soon after a broker is back.
const RECONNECT_MS_MAX: &str = "1000";

/// A cluster: its settings, and what its clients complain about.
#[derive(Clone)]
pub struct Cluster {
    settings: KafkaSettings,
    listener: Listener,
}

impl Cluster {
    /// A cluster that nobody has talked to yet.
    pub fn new(settings: KafkaSettings) -> Self {
        Self { settings, listener: Listener::default() }
    }

    /// What all clients share; a user's own properties come after ours.
    pub(super) fn config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        // Why a broker hung up is told as news; the listener chooses what is kept and what is printed.
        config.set_log_level(RDKafkaLogLevel::Info);
        config.set("reconnect.backoff.max.ms", RECONNECT_MS_MAX);
        for (name, value) in &self.settings.properties {
            config.set(name, value);
        }
        config.set("bootstrap.servers", &self.settings.bootstrap_servers);
        config
    }

    /// What its clients report to.
    pub(super) fn listener(&self) -> Listener {
        self.listener.clone()
    }

    /// What they complain about.
    pub(super) fn complaints(&self) -> &Complaints {
        &self.listener.complaints
    }

    /// An error with what the client said of it.
    pub(super) fn failed(&self, doing: &'static str) -> impl FnOnce(KafkaError) -> LogError {
        let complaints = self.complaints().clone();
        move |cause| {
            let said = complaints.fresh().or_else(|| hung_up(&cause));
            LogError::Kafka { doing, said: Said(said), cause }
        }
    }
}

/// What is likely when a connection fails and the client has nothing to say of it.
fn hung_up(cause: &KafkaError) -> Option<String> {
    let silent = cause.rdkafka_error_code() == Some(RDKafkaErrorCode::BrokerTransportFailure);
    silent.then(|| {
        "the broker hung up without a word; perhaps this port expects TLS or a login: set security.protocol \
         (KAFKA_SECURITY_PROTOCOL) to SSL, SASL_SSL or SASL_PLAINTEXT"
            .to_owned()
    })
}

/// What the client said of an error, behind a colon; nothing when it said nothing.
#[derive(Debug)]
pub struct Said(Option<String>);

impl std::fmt::Display for Said {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.0 {
            Some(text) => write!(f, ": {text}"),
            None => Ok(()),
        }
    }
}

/// Whether an error is of the kind that passes when the brokers are back.
pub(crate) fn is_passing(error: &KafkaError) -> bool {
    let code = match error {
        KafkaError::AdminOp(code) => Some(*code),
        other => other.rdkafka_error_code(),
    };
    code.is_some_and(is_passing_code)
}

fn is_passing_code(code: RDKafkaErrorCode) -> bool {
    use RDKafkaErrorCode as Code;
    matches!(
        code,
        Code::BrokerTransportFailure
            | Code::AllBrokersDown
            | Code::OperationTimedOut
            | Code::TimedOutQueue
            | Code::MessageTimedOut
            | Code::RequestTimedOut
            | Code::Resolve
            | Code::LeaderNotAvailable
            | Code::NotLeaderForPartition
            | Code::NotController
            | Code::CoordinatorNotAvailable
            | Code::CoordinatorLoadInProgress
            | Code::NotCoordinator
            | Code::WaitingForCoordinator
            | Code::BrokerNotAvailable
            | Code::NetworkException
            | Code::NotEnoughReplicas
            | Code::NotEnoughReplicasAfterAppend
    )
}

/// The partitions of a topic in their order; none when there is no such topic.
pub(super) fn partitions<C: ConsumerContext, K: Consumer<C>>(client: &K, topic: &str) -> Result<Vec<i32>, KafkaError> {
    let metadata = client.fetch_metadata(Some(topic), ANSWER_TIMEOUT)?;
    let known = metadata.topics().iter().find(|known| known.name() == topic);
    Ok(known.map(partition_numbers).unwrap_or_default())
}

fn partition_numbers(topic: &MetadataTopic) -> Vec<i32> {
    let mut numbers: Vec<i32> = topic.partitions().iter().map(|partition| partition.id()).collect();
    numbers.sort_unstable();
    numbers
}

/// Whether the brokers show a topic, and who leads its partitions. One that is known by its name alone has none yet.
pub(super) fn is_led<C: ConsumerContext, K: Consumer<C>>(client: &K, name: &str) -> Result<bool, KafkaError> {
    let metadata = client.fetch_metadata(None, ANSWER_TIMEOUT)?;
    let led = |topic: &MetadataTopic| {
        !topic.partitions().is_empty() && topic.partitions().iter().all(|partition| partition.leader() >= 0)
    };
    Ok(metadata.topics().iter().any(|topic| topic.name() == name && led(topic)))
}
