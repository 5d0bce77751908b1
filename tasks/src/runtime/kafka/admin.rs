//! Makes, changes and deletes topics of a Kafka cluster.
//!
//! A wish says what a topic is to be; what is so already is left alone, so a wish that is repeated changes nothing.

use super::client::{ANSWER_TIMEOUT, Cluster};
use super::trouble::Listener;
use crate::runtime::event_log::{Creation, LogError, TopicSpec};
use rdkafka::admin::{
    AdminClient, AdminOptions, AlterConfig, ConfigResource, ConfigSource, NewPartitions, NewTopic, ResourceSpecifier,
    TopicReplication,
};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use std::collections::BTreeMap;

/// The cluster's own number of partitions or copies.
const CLUSTERS_OWN: i32 = -1;

/// What a topic is to be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TopicWish {
    /// At least so many partitions; the cluster's own number for a new topic when absent.
    pub partitions: Option<i32>,
    /// The copies of a new topic; the cluster's own number when absent.
    pub replication_factor: Option<i32>,
    /// Settings; those that are not named stay as they are.
    pub config: BTreeMap<String, String>,
}

/// What was done to a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TopicChange {
    /// It was made.
    Created,
    /// It got more partitions.
    Partitions {
        /// How many it had.
        from: i32,
        /// How many it has.
        to: i32,
    },
    /// A setting has another value.
    Config {
        /// Its name.
        name: String,
        /// What it was.
        from: Option<String>,
        /// What it is.
        to: String,
    },
}

/// Asks the cluster's controller.
pub struct Administrator {
    cluster: Cluster,
    client: AdminClient<Listener>,
}

impl Administrator {
    /// Makes the client; it connects by itself when needed.
    ///
    /// # Errors
    /// When librdkafka refuses a setting.
    pub fn new(cluster: &Cluster) -> Result<Self, LogError> {
        let client = cluster.config().create_with_context(cluster.listener());
        Ok(Self { client: client.map_err(cluster.failed("making the admin client"))?, cluster: cluster.clone() })
    }

    /// Makes a topic of a stream unless it is there.
    pub(super) async fn create(&self, spec: &TopicSpec) -> Result<Creation, LogError> {
        let config = BTreeMap::from([("retention.ms".to_owned(), spec.retention.as_millis().to_string())]);
        let wish = TopicWish { partitions: Some(spec.partitions), replication_factor: None, config };
        self.make(&spec.name, &wish).await
    }

    async fn make(&self, name: &str, wish: &TopicWish) -> Result<Creation, LogError> {
        let copies = TopicReplication::Fixed(wish.replication_factor.unwrap_or(CLUSTERS_OWN));
        let topic = NewTopic::new(name, wish.partitions.unwrap_or(CLUSTERS_OWN), copies);
        let topic = wish.config.iter().fold(topic, |topic, (name, value)| topic.set(name, value));
        let results = self.client.create_topics([&topic], &options()).await;
        match results.map_err(self.cluster.failed("creating a topic"))?.into_iter().next() {
            Some(Err((_, RDKafkaErrorCode::TopicAlreadyExists))) => Ok(Creation::Existed),
            Some(Err((_, code))) => Err(self.refused("creating a topic", code)),
            Some(Ok(_)) | None => Ok(Creation::Created),
        }
    }

    /// Brings a topic to what it is to be; `partitions` is what it has now, none when it is not there.
    ///
    /// # Errors
    /// When the cluster refuses, or the topic has more partitions than are wished for.
    pub async fn ensure(
        &self,
        name: &str,
        partitions: Option<i32>,
        wish: &TopicWish,
    ) -> Result<Vec<TopicChange>, LogError> {
        let Some(from) = partitions else {
            return Ok(match self.make(name, wish).await? {
                Creation::Created => vec![TopicChange::Created],
                Creation::Existed => Vec::new(),
            });
        };
        let mut changes = Vec::new();
        match wish.partitions {
            Some(to) if to > from => {
                self.grow(name, to).await?;
                changes.push(TopicChange::Partitions { from, to });
            }
            Some(to) if to < from => {
                let reason = format!(
                    "it has {from} partitions, and Kafka can not take any away; ask for {from} or more, not {to}"
                );
                return Err(LogError::InvalidTopic { name: name.to_owned(), reason });
            }
            Some(_) | None => {}
        }
        changes.extend(self.configure(name, &wish.config).await?);
        Ok(changes)
    }

    /// Deletes a topic. False when there was none.
    ///
    /// # Errors
    /// When the cluster refuses.
    pub async fn delete(&self, name: &str) -> Result<bool, LogError> {
        let results = self.client.delete_topics(&[name], &options()).await;
        match results.map_err(self.cluster.failed("deleting a topic"))?.into_iter().next() {
            Some(Err((_, RDKafkaErrorCode::UnknownTopicOrPartition))) => Ok(false),
            Some(Err((_, code))) => Err(self.refused("deleting a topic", code)),
            Some(Ok(_)) | None => Ok(true),
        }
    }

    async fn grow(&self, name: &str, to: i32) -> Result<(), LogError> {
        let partitions = NewPartitions::new(name, usize::try_from(to).unwrap_or_default());
        let results = self.client.create_partitions([&partitions], &options()).await;
        match results.map_err(self.cluster.failed("adding partitions"))?.into_iter().next() {
            Some(Err((_, code))) => Err(self.refused("adding partitions", code)),
            Some(Ok(_)) | None => Ok(()),
        }
    }

    /// Sets what differs. The request replaces all settings of the topic, so those that it has go along.
    async fn configure(&self, name: &str, wished: &BTreeMap<String, String>) -> Result<Vec<TopicChange>, LogError> {
        if wished.is_empty() {
            return Ok(Vec::new());
        }
        let current = self.describe_config(name).await?;
        let differs = |(name, to): (&String, &String)| {
            let from = current.get(name).and_then(|entry| entry.value.clone());
            (from.as_ref() != Some(to)).then(|| TopicChange::Config { name: name.clone(), from, to: to.clone() })
        };
        let changes: Vec<_> = wished.iter().filter_map(differs).collect();
        if changes.is_empty() {
            return Ok(changes);
        }
        let own = current.entries.iter().filter(|entry| entry.source == ConfigSource::DynamicTopic);
        let mut settings: BTreeMap<&str, &str> =
            own.filter_map(|entry| Some((entry.name.as_str(), entry.value.as_deref()?))).collect();
        settings.extend(wished.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        let resource = AlterConfig::new(ResourceSpecifier::Topic(name));
        let resource = settings.into_iter().fold(resource, |resource, (name, value)| resource.set(name, value));
        let results = self.client.alter_configs([&resource], &options()).await;
        match results.map_err(self.cluster.failed("changing a topic's settings"))?.into_iter().next() {
            Some(Err((_, code))) => Err(self.refused("changing a topic's settings", code)),
            Some(Ok(_)) | None => Ok(changes),
        }
    }

    async fn describe_config(&self, name: &str) -> Result<ConfigResource, LogError> {
        let doing = "reading a topic's settings";
        let results = self.client.describe_configs([&ResourceSpecifier::Topic(name)], &options()).await;
        match results.map_err(self.cluster.failed(doing))?.into_iter().next() {
            Some(Ok(resource)) => Ok(resource),
            Some(Err(code)) => Err(self.refused(doing, code)),
            None => Err(LogError::UnknownTopic(name.to_owned())),
        }
    }

    /// The brokers' own answer: nothing that the client complained about explains it better.
    fn refused(&self, doing: &'static str, code: RDKafkaErrorCode) -> LogError {
        self.cluster.complaints().clear();
        self.cluster.failed(doing)(KafkaError::AdminOp(code))
    }
}

fn options() -> AdminOptions {
    AdminOptions::new().operation_timeout(Some(ANSWER_TIMEOUT)).request_timeout(Some(ANSWER_TIMEOUT))
}
