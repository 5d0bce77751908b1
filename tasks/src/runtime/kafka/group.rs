//! A member of a consumer group, whose partitions come and go with the other members.
//!
//! Offsets are committed once, by name: beside each the group keeps who committed it and where that reader had begun. A
//! further try of the same task instance begins there again; everybody else goes on behind. Between assignment and commit
//! nothing is written, so whoever dies in between has taken nothing.

use super::client::{ANSWER_TIMEOUT, Cluster, is_passing, partitions};
use super::record_of;
use super::trouble::Complaints;
use crate::runtime::event_log::LogError;
use crate::runtime::group::{
    Assigned, GroupSpec, Member, Place, Places, Stretch, TopicRecord, assigned, goes_on, note_of,
};
use crate::settings::KafkaSettings;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::message::Message;
use rdkafka::topic_partition_list::TopicPartitionListElem;
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{Offset, TopicPartitionList};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Members that vanish are missed soon; the client's own default keeps their partitions for 45 s.
const SESSION_MS: &str = "10000";
const HEARTBEAT_MS: &str = "2000";

/// A member of a group.
pub struct KafkaGroup {
    cluster: Cluster,
    consumer: BaseConsumer<Hearer>,
}

/// Where the member stands; shared with the callback that learns of assignments.
#[derive(Debug, Default)]
struct Standing {
    assigned: BTreeMap<Place, Stretch>,
    /// What the last assignment could not find out.
    failure: Option<KafkaError>,
    generation: u32,
    goes_on: bool,
}

/// Hears of assignments.
struct Hearer {
    complaints: Complaints,
    listener: super::trouble::Listener,
    spec: GroupSpec,
    standing: Arc<Mutex<Standing>>,
}

impl KafkaGroup {
    /// Joins a group. Partitions are assigned while [`Member::poll`] is called.
    ///
    /// # Errors
    /// When librdkafka refuses a setting, or a topic is not there.
    pub fn join(settings: &KafkaSettings, spec: GroupSpec) -> Result<Self, LogError> {
        let cluster = Cluster::new(settings.clone());
        let mut config = cluster.config();
        config
            .set("group.id", &spec.group_id)
            .set("enable.auto.commit", "false")
            .set("auto.offset.reset", "earliest")
            .set("session.timeout.ms", SESSION_MS)
            .set("heartbeat.interval.ms", HEARTBEAT_MS);
        let hearer = Hearer {
            complaints: cluster.complaints().clone(),
            listener: cluster.listener(),
            spec: spec.clone(),
            standing: Arc::default(),
        };
        let consumer: BaseConsumer<Hearer> =
            config.create_with_context(hearer).map_err(cluster.failed("making the consumer"))?;
        for topic in &spec.topics {
            let known = partitions(&consumer, topic).map_err(cluster.failed("looking for a topic"))?;
            if known.is_empty() {
                return Err(LogError::UnknownTopic(topic.clone()));
            }
        }
        let topics: Vec<&str> = spec.topics.iter().map(String::as_str).collect();
        consumer.subscribe(&topics).map_err(cluster.failed("joining a group"))?;
        Ok(Self { cluster, consumer })
    }

    fn standing<T>(&self, with: impl FnOnce(&mut Standing) -> T) -> T {
        self.consumer.context().standing(with)
    }
}

impl Member for KafkaGroup {
    fn poll(&mut self, wait: Duration) -> Result<Option<TopicRecord>, LogError> {
        let polled = self.consumer.poll(wait);
        if let Some(failure) = self.standing(|standing| standing.failure.take()) {
            return Err(self.cluster.failed("looking where a group stands")(failure));
        }
        match polled {
            None => Ok(None),
            Some(Ok(message)) => {
                let place = (message.topic().to_owned(), message.partition());
                self.standing(|standing| {
                    if let Some(stretch) = standing.assigned.get_mut(&place) {
                        stretch.next = message.offset() + 1;
                    }
                });
                Ok(Some(TopicRecord { topic: place.0, record: record_of(&message) }))
            }
            Some(Err(error)) if is_passing(&error) => Ok(None),
            Some(Err(error)) => Err(self.cluster.failed("reading as a group")(error)),
        }
    }

    fn assigned(&self) -> Vec<Assigned> {
        self.standing(|standing| assigned(&standing.assigned))
    }

    fn generation(&self) -> u32 {
        self.standing(|standing| standing.generation)
    }

    fn goes_on(&self) -> bool {
        self.standing(|standing| standing.goes_on)
    }

    fn is_at_end(&self) -> bool {
        self.standing(|standing| !standing.assigned.is_empty() && standing.assigned.values().all(Stretch::is_read))
    }

    fn commit(&mut self, begun: &Places, next: &Places) -> Result<(), LogError> {
        if next.is_empty() {
            return Ok(());
        }
        let mut list = TopicPartitionList::new();
        for (place, offset) in next {
            let mut entry = list.add_partition(&place.0, place.1);
            entry.set_offset(Offset::Offset(*offset)).map_err(self.cluster.failed("committing offsets"))?;
            let from = begun.get(place).copied().unwrap_or(*offset);
            entry.set_metadata(note_of(&self.consumer.context().spec.by, from));
        }
        self.consumer.commit(&list, CommitMode::Sync).map_err(self.cluster.failed("committing offsets"))
    }

    fn trouble(&self) -> Option<String> {
        self.cluster.complaints().fresh()
    }
}

impl Hearer {
    fn standing<T>(&self, with: impl FnOnce(&mut Standing) -> T) -> T {
        // A panic in between would end the process.
        with(&mut self.standing.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Begins each partition where this reader has to.
    fn assign(&self, consumer: &BaseConsumer<Self>, list: &TopicPartitionList) -> KafkaResult<()> {
        let committed = consumer.committed_offsets(list.clone(), ANSWER_TIMEOUT)?;
        let place_of = |entry: &TopicPartitionListElem<'_>| (entry.topic().to_owned(), entry.partition());
        let offsets = committed.elements().iter().map(|entry| (place_of(entry), offset_of(entry.offset()))).collect();
        let goes_on = self.standing(|standing| standing.generation) == 0 && goes_on(&self.spec.positions, &offsets);
        let mut starts = TopicPartitionList::new();
        let mut assigned = BTreeMap::new();
        for entry in committed.elements() {
            let place = place_of(&entry);
            let bounds = consumer.fetch_watermarks(entry.topic(), entry.partition(), ANSWER_TIMEOUT)?;
            let committed = offset_of(entry.offset()).map(|offset| (offset, entry.metadata()));
            let stretch = Stretch::begin(&self.spec, goes_on, &place, committed, bounds);
            starts.add_partition_offset(entry.topic(), entry.partition(), Offset::Offset(stretch.next))?;
            assigned.insert(place, stretch);
        }
        consumer.assign(&starts)?;
        self.standing(|standing| {
            standing.assigned = assigned;
            standing.generation += 1;
            standing.goes_on = goes_on;
        });
        Ok(())
    }
}

/// The offset that stands in a list, if one does.
fn offset_of(offset: Offset) -> Option<i64> {
    match offset {
        Offset::Offset(offset) => Some(offset),
        Offset::Beginning | Offset::End | Offset::Stored | Offset::Invalid | Offset::OffsetTail(_) => None,
    }
}

impl ClientContext for Hearer {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        self.listener.log(level, facility, line);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.listener.error(error, reason);
    }
}

impl ConsumerContext for Hearer {
    fn rebalance(&self, consumer: &BaseConsumer<Self>, event: RDKafkaRespErr, list: &mut TopicPartitionList) {
        let done = if event == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS {
            self.complaints.clear();
            self.assign(consumer, list)
        } else {
            self.standing(|standing| standing.assigned.clear());
            consumer.unassign()
        };
        if let Err(error) = done {
            self.standing(|standing| standing.failure = Some(error));
        }
    }
}

/// The offsets that a group has committed of a topic's partitions; none for those that it never read. Blocks.
///
/// # Errors
/// When the topic is not there, or the brokers do not answer.
pub fn committed(settings: &KafkaSettings, group_id: &str, topic: &str) -> Result<BTreeMap<i32, i64>, LogError> {
    let cluster = Cluster::new(settings.clone());
    let mut config = cluster.config();
    config.set("group.id", group_id).set("enable.auto.commit", "false");
    let consumer: BaseConsumer<super::trouble::Listener> =
        config.create_with_context(cluster.listener()).map_err(cluster.failed("making the consumer"))?;
    let numbers = partitions(&consumer, topic).map_err(cluster.failed("describing a topic"))?;
    if numbers.is_empty() {
        return Err(LogError::UnknownTopic(topic.to_owned()));
    }
    let mut list = TopicPartitionList::new();
    for partition in numbers {
        list.add_partition(topic, partition);
    }
    let committed =
        consumer.committed_offsets(list, ANSWER_TIMEOUT).map_err(cluster.failed("looking where a group stands"))?;
    let elements = committed.elements();
    Ok(elements.iter().filter_map(|entry| Some((entry.partition(), offset_of(entry.offset())?))).collect())
}
