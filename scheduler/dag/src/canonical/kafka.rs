//! The canonical form of the Kafka operators.

use model::operator::{
    KafkaConsume, KafkaGoal, KafkaLag, KafkaMessages, KafkaProduce, KafkaProgress, KafkaReader, KafkaSensor,
    KafkaStart, KafkaSubscription, KafkaTopic, KafkaTopicState,
};
use serde_json::{Map, Value};

use super::{Fields, operator::seconds_text, waiting::poking};

pub(super) fn produce(task: &KafkaProduce, fields: &mut Fields) {
    fields.some("kafka_config_id", task.kafka_config_id.clone());
    fields.put("topic", task.topic.clone());
    match &task.source {
        KafkaMessages::Given(messages) => fields.put("messages", messages.clone()),
        KafkaMessages::File(path) => fields.put("filepath", path.clone()),
    }
    fields.put("delivery_timeout", seconds_text(task.delivery_timeout_secs));
}

pub(super) fn consume(task: &KafkaConsume, fields: &mut Fields) {
    fields.some("kafka_config_id", task.kafka_config_id.clone());
    subscription(&task.subscription, fields);
    fields.put("max_messages", task.max_messages);
}

pub(super) fn sensor(task: &KafkaSensor, fields: &mut Fields) {
    fields.some("kafka_config_id", task.kafka_config_id.clone());
    match &task.goal {
        KafkaGoal::Messages { subscription: read, condition, messages } => {
            subscription(read, fields);
            fields.some("condition", condition.clone());
            fields.put("messages", *messages);
        }
        KafkaGoal::Lag { of, lag_at_most } => {
            progress(of, fields);
            fields.put("lag_at_most", *lag_at_most);
        }
    }
    poking(&task.poking, fields);
}

pub(super) fn topic(task: &KafkaTopic, fields: &mut Fields) {
    fields.some("kafka_config_id", task.kafka_config_id.clone());
    fields.put("topic", task.topic.clone());
    match &task.state {
        KafkaTopicState::Absent => fields.put("state", "absent"),
        KafkaTopicState::Present { partitions, replication_factor, config } => {
            fields.put("state", "present");
            fields.some("partitions", *partitions);
            fields.some("replication_factor", *replication_factor);
            if !config.is_empty() {
                let config = config.iter().map(|(name, text)| (name.clone(), Value::from(text.clone())));
                fields.put("config", config.collect::<Map<_, _>>());
            }
        }
    }
}

pub(super) fn lag(task: &KafkaLag, fields: &mut Fields) {
    fields.some("kafka_config_id", task.kafka_config_id.clone());
    progress(&task.of, fields);
    fields.some("fail_above", task.fail_above);
}

fn subscription(read: &KafkaSubscription, fields: &mut Fields) {
    fields.put("topics", read.topics.clone());
    fields.some("group_id", read.group_id.clone());
    let start = match read.auto_offset_reset {
        KafkaStart::Earliest => "earliest",
        KafkaStart::Latest => "latest",
    };
    fields.put("auto_offset_reset", start);
    fields.put("poll_timeout", seconds_text(read.poll_timeout_secs));
}

fn progress(of: &KafkaProgress, fields: &mut Fields) {
    match &of.reader {
        KafkaReader::Group(id) => fields.put("group_id", id.clone()),
        KafkaReader::Sink(table) => fields.put("sink", table.clone()),
    }
    fields.put("topics", of.topics.clone());
}
