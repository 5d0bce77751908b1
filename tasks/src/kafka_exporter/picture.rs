//! The newest look at a cluster, under the names of kafka_exporter, so that its dashboards and alerts go on working.

use super::cluster::{Cluster, Group, Partition, Topic};
use metrics::Picture;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use std::collections::BTreeMap;
use std::fmt::Error;
use std::sync::{Arc, Mutex, PoisonError};

/// Shows the newest look, and nothing of the cluster while it can not be looked at.
#[derive(Debug, Clone, Default)]
pub struct Newest(Arc<Mutex<Option<Cluster>>>);

/// A name, its help, and the number of a partition that it shows.
type PartitionGauge = (&'static str, &'static str, fn(&Partition) -> f64);

const OF_PARTITIONS: [PartitionGauge; 7] = [
    ("kafka_topic_partition_current_offset", "Offset after the last record of a partition", |p| p.current as f64),
    ("kafka_topic_partition_oldest_offset", "First offset of a partition that can be read", |p| p.oldest as f64),
    ("kafka_topic_partition_leader", "Broker that leads a partition", |p| f64::from(p.leader)),
    ("kafka_topic_partition_leader_is_preferred", "Whether the first of its replicas leads a partition", |p| {
        f64::from(u8::from(p.replicas.first() == Some(&p.leader)))
    }),
    ("kafka_topic_partition_replicas", "Replicas of a partition", |p| p.replicas.len() as f64),
    ("kafka_topic_partition_in_sync_replica", "Replicas of a partition that are up to date", |p| p.in_sync as f64),
    ("kafka_topic_partition_under_replicated_partition", "Whether replicas of a partition are behind", |p| {
        f64::from(u8::from(p.in_sync < p.replicas.len()))
    }),
];

impl Newest {
    /// Replaces the look.
    pub fn set(&self, look: Option<Cluster>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = look;
    }
}

impl Collector for Newest {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> Result<(), Error> {
        let newest = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut picture = Picture::new(encoder);
        let up = f64::from(u8::from(newest.is_some()));
        picture.gauge("windlass_kafka_exporter_up", "Whether the last look at the cluster succeeded", up)?;
        let Some(cluster) = newest.as_ref() else { return Ok(()) };
        show_brokers(cluster, &mut picture)?;
        show_topics(&cluster.topics, &mut picture)?;
        show_groups(cluster, &mut picture)
    }
}

fn show_brokers(cluster: &Cluster, picture: &mut Picture<'_>) -> Result<(), Error> {
    picture.gauge("kafka_brokers", "Brokers of the cluster", cluster.brokers.len() as f64)?;
    let infos =
        cluster.brokers.iter().map(|(id, address)| ([("id", id.to_string()), ("address", address.clone())], 1.0));
    picture.gauges("kafka_broker_info", "A broker; the value is always 1", infos)
}

fn show_topics(topics: &[Topic], picture: &mut Picture<'_>) -> Result<(), Error> {
    let counts = topics.iter().map(|topic| ([("topic", topic.name.as_str())], topic.partitions.len() as f64));
    picture.gauges("kafka_topic_partitions", "Partitions of a topic", counts)?;
    for (name, help, number) in OF_PARTITIONS {
        let all = topics.iter().flat_map(|topic| topic.partitions.iter().map(move |partition| (topic, partition)));
        let values = all.map(|(topic, partition)| {
            ([("topic", topic.name.clone()), ("partition", partition.id.to_string())], number(partition))
        });
        picture.gauges(name, help, values)?;
    }
    Ok(())
}

fn show_groups(cluster: &Cluster, picture: &mut Picture<'_>) -> Result<(), Error> {
    let members = cluster.groups.iter().filter_map(|group| Some((group, group.members?)));
    let members = members.map(|(group, members)| ([("consumergroup", group.name.as_str())], members as f64));
    picture.gauges("kafka_consumergroup_members", "Members of a consumer group", members)?;
    let partitions = cluster.partitions();
    let mut offsets = Vec::new();
    let mut lags = Vec::new();
    let mut sums = BTreeMap::<(&str, &str), (f64, f64)>::new();
    for (group, position) in cluster.groups.iter().flat_map(positions) {
        let Some(partition) = partitions.get(&(&*position.topic, position.partition)) else { continue };
        let lag = partition.lag(position.next);
        let labels = [
            ("consumergroup", group.to_owned()),
            ("topic", position.topic.clone()),
            ("partition", position.partition.to_string()),
        ];
        offsets.push((labels.clone(), position.next as f64));
        lags.push((labels, lag as f64));
        let sum = sums.entry((group, &position.topic)).or_default();
        *sum = (sum.0 + position.next as f64, sum.1 + lag as f64);
    }
    let of_topics = |number: fn(&(f64, f64)) -> f64| {
        let labels =
            |(group, topic): &(&str, &str)| [("consumergroup", (*group).to_owned()), ("topic", (*topic).to_owned())];
        sums.iter().map(move |(names, sum)| (labels(names), number(sum))).collect::<Vec<_>>()
    };
    let help = "Next offset that a consumer group, or a sink's table, reads";
    picture.gauges("kafka_consumergroup_current_offset", help, offsets)?;
    let help = "Sum of the next offsets over a topic's partitions";
    picture.gauges("kafka_consumergroup_current_offset_sum", help, of_topics(|sum| sum.0))?;
    let help = "Records that wait for a consumer group, or for a sink's table";
    picture.gauges("kafka_consumergroup_lag", help, lags)?;
    let help = "Records that wait, over a topic's partitions";
    picture.gauges("kafka_consumergroup_lag_sum", help, of_topics(|sum| sum.1))
}

fn positions(group: &Group) -> impl Iterator<Item = (&str, &super::cluster::Position)> {
    group.offsets.iter().map(|position| (group.name.as_str(), position))
}

#[cfg(test)]
mod tests {
    use super::super::cluster::Position;
    use super::*;

    #[test]
    fn a_look_is_shown_under_the_names_of_kafka_exporter() {
        let partition =
            |id, in_sync| Partition { id, leader: 2, replicas: vec![1, 2], in_sync, oldest: 0, current: 10 };
        let topics = vec![Topic { name: "t".to_owned(), partitions: vec![partition(0, 2), partition(1, 1)] }];
        let at = |partition, next| Position { topic: "t".to_owned(), partition, next };
        let sink = Group { name: "bronze.t".to_owned(), members: None, offsets: vec![at(0, 4), at(1, 7)] };
        let newest = Newest::default();
        let mut registry = prometheus_client::registry::Registry::default();
        registry.register_collector(Box::new(newest.clone()));
        let page = metrics::Page::new(registry);
        assert!(page.text().contains("windlass_kafka_exporter_up 0"));
        newest.set(Some(Cluster { brokers: vec![(1, "kafka:9092".to_owned())], topics, groups: vec![sink] }));
        let text = page.text();
        for line in [
            "kafka_brokers 1",
            "kafka_broker_info{id=\"1\",address=\"kafka:9092\"} 1",
            "kafka_topic_partitions{topic=\"t\"} 2",
            "kafka_topic_partition_current_offset{topic=\"t\",partition=\"1\"} 10",
            "kafka_topic_partition_under_replicated_partition{topic=\"t\",partition=\"1\"} 1",
            "kafka_topic_partition_leader_is_preferred{topic=\"t\",partition=\"0\"} 0",
            "kafka_consumergroup_lag{consumergroup=\"bronze.t\",topic=\"t\",partition=\"0\"} 6",
            "kafka_consumergroup_lag_sum{consumergroup=\"bronze.t\",topic=\"t\"} 9",
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
    }
}
