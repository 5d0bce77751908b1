//! The Kafka operators: their keys, defaults, canonical forms and mistakes.

use expect_test::expect;
use model::{
    Operator,
    operator::{KafkaGoal, KafkaMessages, KafkaProgress, KafkaReader, KafkaStart, KafkaTopicState, Poking},
};
use serde_json::json;

use crate::support::{assert_canonical, one, operator, refused};

#[test]
fn the_names_of_airflows_provider_mean_the_same() {
    for (path, keys) in [
        ("airflow.providers.apache.kafka.operators.produce.ProduceToTopicOperator", "topic: t, messages: [a]"),
        ("airflow.providers.apache.kafka.operators.consume.ConsumeFromTopicOperator", "topics: [t], max_messages: 5"),
        ("airflow.providers.apache.kafka.sensors.kafka.AwaitMessageSensor", "topics: [t]"),
        ("AwaitMessageSensor", "kafka_config_id: k, topics: t, poll_timeout: 1"),
    ] {
        let by_path = operator(&format!("operator: {path}, {keys}"));
        assert_eq!(by_path, operator(&format!("operator: {}, {keys}", by_path.name())), "{path}");
    }
}

#[test]
fn absent_keys_have_their_defaults() {
    let Operator::KafkaSensor(sensor) = operator("operator: kafka_sensor, topic: t") else { panic!("a sensor") };
    assert_eq!((sensor.kafka_config_id, sensor.poking), (None, Poking::default()));
    let KafkaGoal::Messages { subscription, condition, messages } = sensor.goal else { panic!("messages") };
    assert_eq!((condition, messages, subscription.group_id), (None, 1, None));
    assert_eq!((subscription.auto_offset_reset, subscription.poll_timeout_secs), (KafkaStart::Earliest, 10.0));
    let Operator::KafkaProduce(task) =
        operator("operator: kafka_produce, topic: t, messages: [a, {key: k, value: [1]}]")
    else {
        panic!("a producer")
    };
    assert_eq!(task.source, KafkaMessages::Given(json!([{"value": "a"}, {"key": "k", "value": [1]}])));
    let Operator::KafkaTopic(task) = operator("operator: kafka_topic, topic: t") else { panic!("a topic") };
    let any = KafkaTopicState::Present { partitions: None, replication_factor: None, config: [].into() };
    assert_eq!(task.state, any);
    let Operator::KafkaLag(task) = operator("operator: kafka_lag, topic: t, sink: bronze.x") else { panic!("a lag") };
    assert_eq!(task.of, KafkaProgress { reader: KafkaReader::Sink("bronze.x".into()), topics: vec!["t".into()] });
}

#[test]
fn a_tasks_own_topic_counts_more_than_topics_that_it_inherits() {
    let text =
        "dag_id: x\ndefault_args: {topics: [all, of, them]}\ntasks: [{task_id: a, operator: kafka_sensor, topic: t}]\n";
    let Operator::KafkaSensor(sensor) = one(text).dag.tasks.remove(0).operator else { panic!("a sensor") };
    let KafkaGoal::Messages { subscription, .. } = sensor.goal else { panic!("messages") };
    assert_eq!(subscription.topics, ["t"]);
}

#[test]
fn every_operator_comes_back_from_its_canonical_form() {
    assert_canonical(&[
        "operator: kafka_produce, kafka_config_id: k, topic: 't-{{ ds }}', messages: [{key: 1, value: {a: '{{ ds }}'}, headers: {h: 1}, partition: 2}, text, {value: null}], delivery_timeout: 5s",
        "operator: kafka_produce, topic: t, messages: \"{{ ti.xcom_pull(task_ids='b') }}\"",
        "operator: kafka_produce, topic: t, filepath: /data/x.jsonl",
        "operator: kafka_consume, topics: [t, u], group_id: g, auto_offset_reset: latest, poll_timeout: 1m, max_messages: 7",
        "operator: kafka_sensor, topics: t, condition: '{{ message.value.ok }}', messages: 3, poke_interval: 1s, soft_fail: true",
        "operator: kafka_sensor, topics: t, group_id: g, lag_at_most: 0",
        "operator: kafka_topic, topic: t, partitions: 6, replication_factor: 3, config: {retention.ms: 60000}",
        "operator: kafka_topic, topic: t, state: absent",
        "operator: kafka_lag, topics: [t], group_id: g, fail_above: 100",
    ]);
}

#[test]
fn mistakes_are_refused_with_their_place() {
    let tasks = [
        "operator: kafka_produce, topic: t",
        "operator: kafka_produce, topic: a b, messages: [x]",
        "operator: kafka_produce, topic: t, messages: [x], filepath: /x",
        "operator: kafka_produce, topic: t, messages: [{vale: x}, 5]",
        "operator: kafka_produce, topic: t, producer_function: f",
        "operator: kafka_consume, max_messages: 5",
        "operator: kafka_consume, topics: t, max_messages: 0, auto_offset_reset: earlest",
        "operator: kafka_sensor, topics: t, lag_at_most: 3",
        "operator: kafka_sensor, topics: t, sink: bronze.x",
        "operator: kafka_sensor, topics: t, group_id: g, lag_at_most: 3, condition: x",
        "operator: kafka_sensor, topcs: t",
        "operator: kafka_topic, topic: t, state: absent, partitions: 3",
        "operator: kafka_topic, topic: t, partitions: 5000, state: there",
        "operator: kafka_lag, topics: [], group_id: g",
        "operator: kafka_lag, topics: t, group_id: g, sink: bronze.x",
    ];
    expect![[r#"
        dags/x.yaml:3:5: tasks[0]: messages is missing: a list of messages, or a file of them below filepath
        dags/x.yaml:4:50: tasks[1].topic: "a b" is no topic's name: use 1 to 249 characters of A-Z a-z 0-9 _.-
        dags/x.yaml:5:78: tasks[2].filepath: messages and filepath are both given; keep one
        dags/x.yaml:6:65: tasks[3].messages[0].vale: unknown field; did you mean "value"?
        dags/x.yaml:6:75: tasks[3].messages[1]: expected a message: a mapping with value, key and headers, or its value as text, found the number 5
        dags/x.yaml:7:5: tasks[4]: messages is missing: a list of messages, or a file of them below filepath
        dags/x.yaml:7:53: tasks[4].producer_function: not supported yet: Python functions; write the messages below messages
        dags/x.yaml:8:5: tasks[5]: topics is missing
        dags/x.yaml:9:90: tasks[6].auto_offset_reset: expected one of earliest, latest, found "earlest"; did you mean "earliest"?
        dags/x.yaml:10:5: tasks[7]: group_id is missing: whose lag it is; or sink, the table of a sink
        dags/x.yaml:11:59: tasks[8].sink: a sink's lag is awaited with lag_at_most; messages are read by a group
        dags/x.yaml:12:93: tasks[9].condition: lag_at_most and condition are both given; keep one
        dags/x.yaml:13:5: tasks[10]: topics is missing
        dags/x.yaml:13:42: tasks[10].topcs: unknown field; did you mean "topics"?
        dags/x.yaml:14:78: tasks[11].partitions: a topic that is to be absent has no partitions
        dags/x.yaml:15:76: tasks[12].state: expected one of present, absent, found "there"
        dags/x.yaml:16:39: tasks[13].topics: topics is empty: expected at least one topic
        dags/x.yaml:17:69: tasks[14].sink: group_id and sink are both given; keep one
    "#]].assert_eq(&refused(&tasks));
}
