//! A look at a Kafka cluster: brokers, topics, and how far consumer groups have come.

use std::collections::HashMap;
use std::time::Duration;

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaResult;
use rdkafka::metadata::{MetadataPartition, MetadataTopic};
use rdkafka::{Offset, TopicPartitionList};

use crate::settings::KafkaSettings;

/// How long a broker may take to answer one question.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// Partitions that are looked at: each costs a question, and a look should take seconds at most.
const PARTITIONS_MAX: usize = 10_000;
/// Consumer groups that are looked at: each has a client of its own, with threads.
const GROUPS_MAX: usize = 50;

/// A cluster at one moment.
#[derive(Debug, Default)]
pub struct Cluster {
    /// Its brokers, with their addresses.
    pub brokers: Vec<(i32, String)>,
    /// Its topics, but for those of Kafka itself.
    pub topics: Vec<Topic>,
    /// Who reads them.
    pub groups: Vec<Group>,
}

/// A topic.
#[derive(Debug)]
pub struct Topic {
    /// Its name.
    pub name: String,
    /// Its partitions.
    pub partitions: Vec<Partition>,
}

/// A partition.
#[derive(Debug)]
pub struct Partition {
    /// Its number.
    pub id: i32,
    /// The broker that leads it.
    pub leader: i32,
    /// The brokers that should have it; the first one should lead.
    pub replicas: Vec<i32>,
    /// How many of them are up to date.
    pub in_sync: usize,
    /// The first offset that can be read.
    pub oldest: i64,
    /// The offset after the last record.
    pub current: i64,
}

/// Somebody who reads.
#[derive(Debug)]
pub struct Group {
    /// The consumer group, or the table that a sink of Windlass writes.
    pub name: String,
    /// How many members it has; none for a sink, which keeps its offsets with its data and joins no group.
    pub members: Option<usize>,
    /// The next offset of each partition that was committed.
    pub offsets: Vec<Position>,
}

/// How far a reader has come in a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Position {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// The next offset to read.
    pub next: i64,
}

impl Cluster {
    /// All partitions, by topic and number.
    pub fn partitions(&self) -> HashMap<(&str, i32), &Partition> {
        let all = self.topics.iter().flat_map(|topic| topic.partitions.iter().map(move |partition| (topic, partition)));
        all.map(|(topic, partition)| ((&*topic.name, partition.id), partition)).collect()
    }
}

impl Partition {
    /// How many records wait for a reader that reads `next`.
    pub fn lag(&self, next: i64) -> i64 {
        // What retention has removed can not be read any more, so it does not wait.
        (self.current - next.max(self.oldest)).max(0)
    }
}

/// Looks at a cluster; its clients stay connected between two looks.
pub struct Observer {
    base: ClientConfig,
    client: BaseConsumer,
    by_group: HashMap<String, BaseConsumer>,
}

impl Observer {
    /// An observer that connects at its first look.
    ///
    /// # Errors
    /// When librdkafka refuses a setting.
    pub fn new(settings: &KafkaSettings) -> KafkaResult<Self> {
        let mut base = ClientConfig::new();
        base.set("bootstrap.servers", &settings.bootstrap_servers).set("enable.auto.commit", "false");
        for (name, value) in &settings.properties {
            base.set(name, value);
        }
        Ok(Self { client: base.create()?, base, by_group: HashMap::new() })
    }

    /// Looks; blocks for as long as brokers take to answer.
    ///
    /// # Errors
    /// When no broker answers.
    pub fn look(&mut self) -> KafkaResult<Cluster> {
        let metadata = self.client.fetch_metadata(None, ANSWER_TIMEOUT)?;
        let brokers =
            metadata.brokers().iter().map(|broker| (broker.id(), format!("{}:{}", broker.host(), broker.port())));
        let mut room = PARTITIONS_MAX;
        let mut topics = Vec::new();
        for topic in metadata.topics().iter().filter(|topic| !topic.name().starts_with("__")) {
            if topic.partitions().len() > room {
                tracing::warn!("the cluster has more than {PARTITIONS_MAX} partitions; some topics are left out");
                break;
            }
            room -= topic.partitions().len();
            topics.push(self.topic(topic)?);
        }
        let groups = self.groups(&topics)?;
        Ok(Cluster { brokers: brokers.collect(), topics, groups })
    }

    fn topic(&self, topic: &MetadataTopic) -> KafkaResult<Topic> {
        // One without a leader has no offsets to tell; it is shown as soon as it is led again.
        let led = topic.partitions().iter().filter(|partition| partition.leader() >= 0);
        let partitions = led.map(|partition| self.partition(topic.name(), partition)).collect::<KafkaResult<_>>()?;
        Ok(Topic { name: topic.name().to_owned(), partitions })
    }

    fn partition(&self, topic: &str, partition: &MetadataPartition) -> KafkaResult<Partition> {
        let (oldest, current) = self.client.fetch_watermarks(topic, partition.id(), ANSWER_TIMEOUT)?;
        Ok(Partition {
            id: partition.id(),
            leader: partition.leader(),
            replicas: partition.replicas().to_vec(),
            in_sync: partition.isr().len(),
            oldest,
            current,
        })
    }

    fn groups(&mut self, topics: &[Topic]) -> KafkaResult<Vec<Group>> {
        let found = self.client.fetch_group_list(None, ANSWER_TIMEOUT)?;
        let consumers = found.groups().iter().filter(|group| matches!(group.protocol_type(), "consumer" | ""));
        let mut names: Vec<(String, usize)> =
            consumers.map(|group| (group.name().to_owned(), group.members().len())).collect();
        names.sort();
        if names.len() > GROUPS_MAX {
            tracing::warn!("the cluster has {} consumer groups; the first {GROUPS_MAX} are shown", names.len());
            names.truncate(GROUPS_MAX);
        }
        self.by_group.retain(|known, _| names.iter().any(|(name, _)| name == known));
        let one = |(name, members): (String, usize)| {
            let offsets = self.offsets(&name, topics)?;
            Ok(Group { name, members: Some(members), offsets })
        };
        names.into_iter().map(one).collect()
    }

    /// What a group has committed; asked by a client in its name, which never joins it.
    fn offsets(&mut self, group: &str, topics: &[Topic]) -> KafkaResult<Vec<Position>> {
        if !self.by_group.contains_key(group) {
            let client = self.base.clone().set("group.id", group).create()?;
            self.by_group.insert(group.to_owned(), client);
        }
        let client = &self.by_group[group];
        let mut asked = TopicPartitionList::new();
        for topic in topics {
            for partition in &topic.partitions {
                asked.add_partition(&topic.name, partition.id);
            }
        }
        let committed = client.committed_offsets(asked, ANSWER_TIMEOUT)?;
        let positions = committed.elements().into_iter().filter_map(|element| match element.offset() {
            Offset::Offset(next) => {
                Some(Position { topic: element.topic().to_owned(), partition: element.partition(), next })
            }
            _ => None,
        });
        Ok(positions.collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_retention_has_removed_does_not_wait() {
        let partition = Partition { id: 0, leader: 1, replicas: vec![1], in_sync: 1, oldest: 50, current: 80 };
        let topics = vec![Topic { name: "t".to_owned(), partitions: vec![partition] }];
        let cluster = Cluster { topics, ..Cluster::default() };
        let partitions = cluster.partitions();
        let at = |next| partitions[&("t", 0)].lag(next);
        assert_eq!((at(0), at(60), at(80), at(90)), (30, 20, 0, 0));
        assert!(!partitions.contains_key(&("gone", 0)));
    }
}
