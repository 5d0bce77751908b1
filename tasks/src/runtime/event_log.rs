//! The trait that the embedded log and Kafka implement, and the plain types around it.
//!
//! A topic is a fixed number of partitions, each an ordered log of records numbered by offset. What [`EventLog::produce`]
//! has answered is durable. A reader that got an offset has got every smaller one that is kept and visible to it.

use super::record::{NewRecord, Record};
use async_trait::async_trait;
use std::collections::BTreeMap;
use std::time::Duration;

/// The largest key, value and headers of one record together; Kafka's own default is the same.
pub const RECORD_BYTES_MAX: usize = 1 << 20;
/// The most partitions that a topic may be made with.
pub const PARTITIONS_MAX: i32 = 1024;

/// An offset for each partition.
pub type Offsets = BTreeMap<i32, i64>;

/// A topic to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicSpec {
    /// Its name.
    pub name: String,
    /// Number of partitions, from 1 to [`PARTITIONS_MAX`].
    pub partitions: i32,
    /// How long records are kept at least.
    pub retention: Duration,
}

impl TopicSpec {
    /// Records of a stream can be read again for a week.
    pub const RETENTION_DEFAULT: Duration = Duration::from_secs(7 * 24 * 3600);

    /// A topic with the default retention.
    pub fn new(name: impl Into<String>, partitions: i32) -> Self {
        Self { name: name.into(), partitions, retention: Self::RETENTION_DEFAULT }
    }
}

/// Whether a topic was made or stood already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Creation {
    /// It was made now.
    Created,
    /// It was there and is unchanged.
    Existed,
}

/// What is known of a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicDescription {
    /// Its name.
    pub name: String,
    /// Its partitions in their order.
    pub partitions: Vec<PartitionDescription>,
    /// How long records are kept, where the log tells.
    pub retention: Option<Duration>,
}

impl TopicDescription {
    /// The offset after the last record of each partition.
    pub fn end_offsets(&self) -> Offsets {
        self.partitions.iter().map(|p| (p.partition, p.end)).collect()
    }

    /// The first offset kept of each partition.
    pub fn start_offsets(&self) -> Offsets {
        self.partitions.iter().map(|p| (p.partition, p.start)).collect()
    }
}

/// The records of a partition lie from `start` to before `end`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartitionDescription {
    /// Its number.
    pub partition: i32,
    /// First offset kept.
    pub start: i64,
    /// Offset of the next record.
    pub end: i64,
}

/// What a reader wants.
#[derive(Debug, Clone)]
pub struct FetchRequest<'a> {
    /// The topic.
    pub topic: &'a str,
    /// The offset wanted next, for each partition that is to be read.
    pub positions: &'a Offsets,
    /// About how many bytes at most; one record is given even when it is larger.
    pub bytes_max: usize,
    /// How long to wait when there is nothing.
    pub wait_max: Duration,
}

/// Why the log did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// There is no such topic.
    #[error("there is no topic `{0}`; `windlass topics create {0}` makes one, `windlass topics list` shows all")]
    UnknownTopic(String),
    /// There is no such partition.
    #[error("topic `{topic}` has partitions 0 to {last}, not {partition}")]
    UnknownPartition {
        /// The topic.
        topic: String,
        /// What was asked for.
        partition: i32,
        /// Its last partition.
        last: i32,
    },
    /// A topic cannot be made like this.
    #[error("cannot create topic `{name}`: {reason}")]
    InvalidTopic {
        /// The name.
        name: String,
        /// What is wrong.
        reason: String,
    },
    /// A record is larger than [`RECORD_BYTES_MAX`].
    #[error("a record of {0} bytes is too large: at most {RECORD_BYTES_MAX} fit, with key and headers")]
    RecordTooLarge(usize),
    /// What is stored cannot be read.
    #[error("the stored records of `{topic}`, partition {partition}, up to offset {last_offset} are damaged: {reason}")]
    Damaged {
        /// The topic.
        topic: String,
        /// The partition.
        partition: i32,
        /// Last offset of the batch.
        last_offset: i64,
        /// What does not fit.
        reason: String,
    },
    /// The producer was stopped while the log was away.
    #[error("stopped while records were on their way; the next start finds out which of them are stored")]
    Unacknowledged,
    /// Another reader of the group was faster.
    #[error("another reader of the group `{group_id}` has committed meanwhile; a further try goes on behind it")]
    Overtaken {
        /// The group.
        group_id: String,
    },
    /// The lake database failed.
    #[error("the embedded event log's database failed while {doing}: {cause}")]
    Database {
        /// What was being done.
        doing: &'static str,
        /// What the database said.
        cause: sqlx::Error,
    },
    /// Kafka failed.
    #[error("Kafka failed while {doing}: {cause}{said}")]
    Kafka {
        /// What was being done.
        doing: &'static str,
        /// What the client answered.
        cause: rdkafka::error::KafkaError,
        /// What it has said of the reason.
        said: super::kafka::Said,
    },
}

impl LogError {
    /// Whether it passes by itself when the brokers are back.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Kafka { cause, .. } => super::kafka::is_passing(cause),
            Self::UnknownTopic(_)
            | Self::UnknownPartition { .. }
            | Self::InvalidTopic { .. }
            | Self::RecordTooLarge(_)
            | Self::Damaged { .. }
            | Self::Unacknowledged
            | Self::Overtaken { .. }
            | Self::Database { .. } => false,
        }
    }
}

/// A log of events: topics, partitions, offsets.
#[async_trait]
pub trait EventLog: Send + Sync {
    /// Makes a topic unless it is there.
    async fn create_topic(&self, spec: &TopicSpec) -> Result<Creation, LogError>;

    /// The names of all topics, sorted.
    async fn topics(&self) -> Result<Vec<String>, LogError>;

    /// Partitions, offsets and retention of a topic.
    async fn describe(&self, topic: &str) -> Result<TopicDescription, LogError>;

    /// The same, once every append that a dead producer may have left on its way is stored or void.
    async fn describe_settled(&self, topic: &str) -> Result<TopicDescription, LogError>;

    /// Appends records, each partition's in the given order, and waits until they are durable. Gives the offset after
    /// the last record appended for each partition that got some.
    async fn produce(&self, topic: &str, records: Vec<NewRecord>) -> Result<Offsets, LogError>;

    /// Records from the positions on, a partition's in the order of offsets. Waits for one when there is none, and gives
    /// nothing when the wait is over. Where retention has passed a position, the first record kept comes.
    async fn fetch(&self, request: FetchRequest<'_>) -> Result<Vec<Record>, LogError>;

    /// Sends what is still on its way. To be called before the process ends.
    async fn close(&self) -> Result<(), LogError>;

    /// What keeps it from answering, where it can tell; one sentence.
    fn trouble(&self) -> Option<String> {
        None
    }
}

/// Checks a topic's name and number of partitions by Kafka's rules.
pub(super) fn check_spec(spec: &TopicSpec) -> Result<(), LogError> {
    let refuse = |reason: &str| Err(LogError::InvalidTopic { name: spec.name.clone(), reason: reason.to_owned() });
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if spec.name.is_empty() || spec.name.len() > 249 || !spec.name.chars().all(legal) {
        return refuse("a name has 1 to 249 letters, digits, dots, underscores and hyphens");
    }
    if !(1..=PARTITIONS_MAX).contains(&spec.partitions) {
        return refuse("a topic has 1 to 1024 partitions");
    }
    if spec.retention.is_zero() {
        return refuse("the retention must be longer than nothing");
    }
    Ok(())
}
