//! The Kafka operators.

use std::collections::BTreeMap;

use model::operator::{
    KafkaConsume, KafkaGoal, KafkaLag, KafkaMessages, KafkaProduce, KafkaProgress, KafkaReader, KafkaSensor,
    KafkaStart, KafkaSubscription, KafkaTopic, KafkaTopicState,
};

use super::{
    fields::{Fields, Item},
    operator::{optional, seconds_or, text_option},
    sensor::poking,
};
use crate::{
    keys::{
        Here,
        kafka::{MESSAGE, MESSAGES_MAX, PARTITIONS_MAX, REPLICATION_MAX, STARTS, TOPIC_STATES},
    },
    problem::Problems,
    yaml::Value,
};

/// How long a message may be on its way unless a task says otherwise.
const DELIVERY_TIMEOUT_SECS: f64 = 60.0;
/// How long one look waits for messages unless a task says otherwise.
const POLL_TIMEOUT_SECS: f64 = 10.0;
/// How many messages a task takes unless it says otherwise.
const CONSUME_MESSAGES: u32 = 1000;
/// The longest name of a topic.
const TOPIC_CHARS_MAX: usize = 249;

/// Reads `kafka_produce`.
pub(super) fn produce(fields: &Fields<'_>, problems: &mut Problems) -> Option<KafkaProduce> {
    let source = match (fields.take("messages"), fields.take("filepath")) {
        (Some(_), Some(second)) => return second.fail("messages and filepath are both given; keep one", problems),
        (Some(item), None) => KafkaMessages::Given(messages(&item, problems)?),
        (None, Some(item)) => KafkaMessages::File(item.text(problems)?),
        (None, None) => {
            problems.add(&fields.place, "messages is missing: a list of messages, or a file of them below filepath");
            return None;
        }
    };
    let item = fields.take("topic")?;
    Some(KafkaProduce {
        kafka_config_id: text_option(fields, "kafka_config_id", problems)?,
        topic: topic(item.text(problems)?, &item, problems)?,
        source,
        delivery_timeout_secs: seconds_or(fields, "delivery_timeout", DELIVERY_TIMEOUT_SECS, problems)?,
    })
}

/// Reads `kafka_consume`.
pub(super) fn consume(fields: &Fields<'_>, problems: &mut Problems) -> Option<KafkaConsume> {
    Some(KafkaConsume {
        kafka_config_id: text_option(fields, "kafka_config_id", problems)?,
        subscription: subscription(fields, problems)?,
        max_messages: count(fields, "max_messages", CONSUME_MESSAGES, problems)?,
    })
}

/// Reads `kafka_sensor`.
pub(super) fn sensor(fields: &Fields<'_>, problems: &mut Problems) -> Option<KafkaSensor> {
    Some(KafkaSensor {
        kafka_config_id: text_option(fields, "kafka_config_id", problems)?,
        goal: goal(fields, problems)?,
        poking: poking(fields, problems)?,
    })
}

/// Reads `kafka_topic`.
pub(super) fn topic_task(fields: &Fields<'_>, problems: &mut Problems) -> Option<KafkaTopic> {
    let item = fields.take("topic")?;
    Some(KafkaTopic {
        kafka_config_id: text_option(fields, "kafka_config_id", problems)?,
        topic: topic(item.text(problems)?, &item, problems)?,
        state: state(fields, problems)?,
    })
}

/// Reads `kafka_lag`.
pub(super) fn lag(fields: &Fields<'_>, problems: &mut Problems) -> Option<KafkaLag> {
    Some(KafkaLag {
        kafka_config_id: text_option(fields, "kafka_config_id", problems)?,
        of: progress(fields, problems)?,
        fail_above: optional(fields, "fail_above", |item| item.whole(0..=i64::MAX, problems).map(Some))?,
    })
}

fn goal(fields: &Fields<'_>, problems: &mut Problems) -> Option<KafkaGoal> {
    let Some(lag) = fields.take("lag_at_most") else {
        if let Some(item) = fields.take("sink") {
            return item.fail("a sink's lag is awaited with lag_at_most; messages are read by a group", problems);
        }
        return Some(KafkaGoal::Messages {
            subscription: subscription(fields, problems)?,
            condition: text_option(fields, "condition", problems)?,
            messages: count(fields, "messages", 1, problems)?,
        });
    };
    for name in ["messages", "condition"] {
        if let Some(item) = fields.take(name) {
            return item.fail(format!("lag_at_most and {name} are both given; keep one"), problems);
        }
    }
    Some(KafkaGoal::Lag { of: progress(fields, problems)?, lag_at_most: lag.whole(0..=i64::MAX, problems)? })
}

fn subscription(fields: &Fields<'_>, problems: &mut Problems) -> Option<KafkaSubscription> {
    let latest = optional(fields, "auto_offset_reset", |item| item.word::<String>(STARTS, problems))?;
    Some(KafkaSubscription {
        topics: topics(fields, problems)?,
        group_id: text_option(fields, "group_id", problems)?,
        auto_offset_reset: if latest == "latest" { KafkaStart::Latest } else { KafkaStart::Earliest },
        poll_timeout_secs: seconds_or(fields, "poll_timeout", POLL_TIMEOUT_SECS, problems)?,
    })
}

fn progress(fields: &Fields<'_>, problems: &mut Problems) -> Option<KafkaProgress> {
    let reader = match (fields.take("group_id"), fields.take("sink")) {
        (Some(_), Some(second)) => return second.fail("group_id and sink are both given; keep one", problems),
        (Some(item), None) => KafkaReader::Group(item.text(problems)?),
        (None, Some(item)) => KafkaReader::Sink(item.text(problems)?),
        (None, None) => {
            problems.add(&fields.place, "group_id is missing: whose lag it is; or sink, the table of a sink");
            return None;
        }
    };
    Some(KafkaProgress { reader, topics: topics(fields, problems)? })
}

fn state(fields: &Fields<'_>, problems: &mut Problems) -> Option<KafkaTopicState> {
    let state = optional(fields, "state", |item| item.word::<String>(TOPIC_STATES, problems))?;
    if state == "absent" {
        for name in ["partitions", "replication_factor", "config"] {
            if let Some(item) = fields.take(name) {
                return item.fail(format!("a topic that is to be absent has no {name}"), problems);
            }
        }
        return Some(KafkaTopicState::Absent);
    }
    let mut number = |name, most| optional(fields, name, |item| item.whole(1..=most, problems).map(Some));
    Some(KafkaTopicState::Present {
        partitions: number("partitions", PARTITIONS_MAX)?,
        replication_factor: number("replication_factor", REPLICATION_MAX)?,
        config: optional(fields, "config", |item| named_texts(item, problems))?,
    })
}

fn count(fields: &Fields<'_>, name: &str, absent: u32, problems: &mut Problems) -> Option<u32> {
    fields.take(name).map_or(Some(absent), |item| item.whole(1..=MESSAGES_MAX, problems))
}

/// The topics, or the one topic.
fn topics(fields: &Fields<'_>, problems: &mut Problems) -> Option<Vec<String>> {
    let Some(item) = fields.either(["topics", "topic"], problems) else {
        // Given under both names it is there, and told already.
        if fields.take("topics").is_none() {
            problems.add(&fields.place, "topics is missing");
        }
        return None;
    };
    let items = item.text_items(problems)?;
    if items.is_empty() {
        return item.fail("topics is empty: expected at least one topic", problems);
    }
    items.into_iter().map(|(name, item)| topic(name, &item, problems)).collect()
}

/// A topic's name, by Kafka's rules unless it is a template.
fn topic(name: String, item: &Item<'_>, problems: &mut Problems) -> Option<String> {
    let legal = |letter: char| letter.is_ascii_alphanumeric() || "._-".contains(letter);
    let is_name = !name.is_empty() && name.len() <= TOPIC_CHARS_MAX && name.chars().all(legal);
    if is_name || name.contains("{{") || name.contains("{%") {
        return Some(name);
    }
    item.fail(
        format!("{name:?} is no topic's name: use 1 to {TOPIC_CHARS_MAX} characters of A-Z a-z 0-9 _.-"),
        problems,
    )
}

/// Messages as JSON, or a template that gives them.
fn messages(item: &Item<'_>, problems: &mut Problems) -> Option<serde_json::Value> {
    if matches!(item.node.value, Value::Text(_)) {
        return item.json(problems);
    }
    let items = item.list("a list of messages, or a template that gives one", problems)?;
    let read = items.iter().map(|item| message(item, problems)).collect::<Vec<_>>();
    read.into_iter().collect::<Option<Vec<_>>>().map(serde_json::Value::Array)
}

/// A message: a mapping, or its value alone as text.
fn message(item: &Item<'_>, problems: &mut Problems) -> Option<serde_json::Value> {
    if matches!(item.node.value, Value::Map(_)) {
        let fields = item.fields("a message", problems)?;
        fields.check_keys(&[MESSAGE], &[], Here::Part, problems);
        optional(&fields, "headers", |item| named_texts(item, problems))?;
        optional::<i64>(&fields, "partition", |item| item.whole(0..=PARTITIONS_MAX - 1, problems))?;
        return item.json(problems);
    }
    let value = text_of(item, problems)?;
    Some(serde_json::json!({ "value": value }))
}

/// A mapping of any names to plain values.
fn named_texts(item: &Item<'_>, problems: &mut Problems) -> Option<BTreeMap<String, String>> {
    let layer = item.layer("a mapping of names to values", problems)?;
    layer.items().map(|(key, item)| Some((key.name.to_string(), item.plain_text(problems)?))).collect()
}

fn text_of(item: &Item<'_>, problems: &mut Problems) -> Option<String> {
    match item.node.value {
        Value::Text(_) => item.text(problems),
        _ => item.expected("a message: a mapping with value, key and headers, or its value as text", problems),
    }
}
