//! The Kafka operators, with the names of Airflow's provider for Apache Kafka where it has them.

use super::{Key, OperatorKeys, Shape, key, waiting::SENSOR};

/// The most messages that a task may take or wait for.
pub(crate) const MESSAGES_MAX: i64 = 1_000_000;
/// The most partitions that a topic may be given.
pub(crate) const PARTITIONS_MAX: i64 = 1024;
/// The most copies that a topic may be given: Kafka's own limit is the number of brokers.
pub(crate) const REPLICATION_MAX: i64 = 100;
/// Where a group begins that has never committed.
pub(crate) const STARTS: &[&str] = &["earliest", "latest"];
/// What a topic is to be.
pub(crate) const TOPIC_STATES: &[&str] = &["present", "absent"];

const CONNECTION: Key =
    key("kafka_config_id", Shape::Text, "The connection; kafka_default, or the worker's own settings, when absent.");
const TOPIC: Key = key("topic", Shape::Text, "The topic; a template.");
const TOPICS: Key = key("topics", Shape::Texts, "The topics; templates.");
const GROUP: Key =
    key("group_id", Shape::Text, "The consumer group; the connection's, or the task's own, when absent.");
const SINK: Key = key("sink", Shape::Text, "In place of a group the table of a sink, such as bronze.stock_trades.");

/// Who reads what.
const SUBSCRIPTION: &[Key] = &[
    CONNECTION,
    TOPICS,
    key("topic", Shape::Text, "The one topic."),
    GROUP,
    key(
        "auto_offset_reset",
        Shape::OneOf(STARTS),
        "Where a group begins that has never committed; earliest when absent.",
    ),
    key("poll_timeout", Shape::Duration, "How long one look waits for messages; 10s when absent."),
];

/// Keys of a message in a list.
pub(crate) const MESSAGE: &[Key] = &[
    key("key", Shape::Any, "Its key; it also chooses the partition."),
    key("value", Shape::Any, "Its value: text as it is, null for none, anything else as JSON."),
    key("headers", Shape::Environment, "Its headers."),
    key("partition", Shape::Whole(0, PARTITIONS_MAX - 1), "The partition, in place of the key's."),
];

pub(super) const PRODUCE: OperatorKeys = OperatorKeys {
    name: "kafka_produce",
    synonyms: &["ProduceToTopicOperator", "airflow.providers.apache.kafka.operators.produce.ProduceToTopicOperator"],
    tables: &[&[
        CONNECTION,
        TOPIC,
        key("messages", Shape::Definition("messages"), "The messages, or a template that gives a list of them."),
        key("filepath", Shape::Text, "A file of JSON lines on the worker's machine, a message each; a template."),
        key("delivery_timeout", Shape::Duration, "How long a message may be on its way; 60s when absent."),
    ]],
    required: &["topic"],
};

pub(super) const CONSUME: OperatorKeys = OperatorKeys {
    name: "kafka_consume",
    synonyms: &[
        "ConsumeFromTopicOperator",
        "airflow.providers.apache.kafka.operators.consume.ConsumeFromTopicOperator",
    ],
    tables: &[
        SUBSCRIPTION,
        &[key("max_messages", Shape::Whole(1, MESSAGES_MAX), "How many messages it takes at most; 1000 when absent.")],
    ],
    required: &[],
};

pub(super) const SENSOR_OPERATOR: OperatorKeys = OperatorKeys {
    name: "kafka_sensor",
    synonyms: &["AwaitMessageSensor", "airflow.providers.apache.kafka.sensors.kafka.AwaitMessageSensor"],
    tables: &[
        SUBSCRIPTION,
        &[
            key("condition", Shape::Text, "A template with the name message; every message counts when absent."),
            key("messages", Shape::Definition("messages"), "How many messages have to come; 1 when absent."),
            key("lag_at_most", Shape::Whole(0, i64::MAX), "In place of messages: how far the reader may be behind."),
            SINK,
        ],
        SENSOR,
    ],
    required: &[],
};

pub(super) const TOPIC_OPERATOR: OperatorKeys = OperatorKeys {
    name: "kafka_topic",
    synonyms: &[],
    tables: &[&[
        CONNECTION,
        TOPIC,
        key("state", Shape::OneOf(TOPIC_STATES), "Whether it is to be there; present when absent."),
        key("partitions", Shape::Whole(1, PARTITIONS_MAX), "At least so many; the cluster's own number when absent."),
        key("replication_factor", Shape::Whole(1, REPLICATION_MAX), "The copies of a new topic."),
        key("config", Shape::Environment, "Its settings, such as retention.ms; templates."),
    ]],
    required: &["topic"],
};

pub(super) const LAG: OperatorKeys = OperatorKeys {
    name: "kafka_lag",
    synonyms: &[],
    tables: &[&[
        CONNECTION,
        TOPICS,
        key("topic", Shape::Text, "The one topic."),
        GROUP,
        SINK,
        key("fail_above", Shape::Whole(0, i64::MAX), "The task fails when the reader is further behind."),
    ]],
    required: &[],
};
