//! Keys of the Kafka operators: `kafka_produce`, `kafka_consume`, `kafka_sensor`, `kafka_topic` and `kafka_lag`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Poking;

/// Keys of `kafka_produce`, as Airflow's ProduceToTopicOperator has them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct KafkaProduce {
    /// The connection; the worker's own settings, or the embedded log, when absent.
    #[serde(default)]
    pub kafka_config_id: Option<String>,
    /// The topic.
    pub topic: String,
    /// What is produced.
    pub source: KafkaMessages,
    /// How long a message may be on its way, in seconds.
    pub delivery_timeout_secs: f64,
}

/// Where messages come from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KafkaMessages {
    /// A list of messages whose texts are templates, or a template that gives one.
    Given(serde_json::Value),
    /// A file of JSON lines on the worker's machine.
    File(String),
}

/// Keys of `kafka_consume`, in the place of Airflow's ConsumeFromTopicOperator.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct KafkaConsume {
    /// The connection; the worker's own settings, or the embedded log, when absent.
    #[serde(default)]
    pub kafka_config_id: Option<String>,
    /// What is read, and as whom.
    pub subscription: KafkaSubscription,
    /// How many messages it takes at most.
    pub max_messages: u32,
}

/// Keys of `kafka_sensor`, in the place of Airflow's AwaitMessageSensor.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct KafkaSensor {
    /// The connection; the worker's own settings, or the embedded log, when absent.
    #[serde(default)]
    pub kafka_config_id: Option<String>,
    /// What it waits for.
    pub goal: KafkaGoal,
    /// How it waits.
    pub poking: Poking,
}

/// What a Kafka sensor waits for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KafkaGoal {
    /// Messages.
    Messages {
        /// What is read, and as whom.
        subscription: KafkaSubscription,
        /// A template with the name `message` that says whether one counts; all count when absent.
        condition: Option<String>,
        /// How many of them.
        messages: u32,
    },
    /// A reader that has caught up.
    Lag {
        /// Whose lag.
        of: KafkaProgress,
        /// The most messages that it may be behind.
        lag_at_most: u64,
    },
}

/// What is read, and as whom.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct KafkaSubscription {
    /// The topics.
    pub topics: Vec<String>,
    /// The consumer group; the connection's, or one of the task's own, when absent.
    #[serde(default)]
    pub group_id: Option<String>,
    /// Where a group begins that has never committed.
    #[serde(default)]
    pub auto_offset_reset: KafkaStart,
    /// How long one look waits for messages, in seconds.
    pub poll_timeout_secs: f64,
}

/// Where a group begins that has never committed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KafkaStart {
    /// At the first message that is kept.
    #[default]
    Earliest,
    /// Behind the last message that is there now.
    Latest,
}

/// A reader of topics and what it reads.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct KafkaProgress {
    /// Who reads.
    pub reader: KafkaReader,
    /// The topics.
    pub topics: Vec<String>,
}

/// Who reads a topic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KafkaReader {
    /// A consumer group.
    Group(String),
    /// The table of a sink, which keeps its offsets itself.
    Sink(String),
}

/// Keys of `kafka_topic`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct KafkaTopic {
    /// The connection; the worker's own settings, or the embedded log, when absent.
    #[serde(default)]
    pub kafka_config_id: Option<String>,
    /// The topic.
    pub topic: String,
    /// What it is to be.
    pub state: KafkaTopicState,
}

/// What a topic is to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KafkaTopicState {
    /// There, like this.
    Present {
        /// At least so many partitions; the cluster's own number when absent.
        partitions: Option<i32>,
        /// The copies that a new topic has; the cluster's own number when absent.
        replication_factor: Option<i32>,
        /// Its settings, such as `retention.ms`; what is not named is left as it is.
        config: BTreeMap<String, String>,
    },
    /// Not there.
    Absent,
}

/// Keys of `kafka_lag`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct KafkaLag {
    /// The connection; the worker's own settings, or the embedded log, when absent.
    #[serde(default)]
    pub kafka_config_id: Option<String>,
    /// Whose lag.
    pub of: KafkaProgress,
    /// The task fails when the reader is further behind.
    #[serde(default)]
    pub fail_above: Option<u64>,
}
