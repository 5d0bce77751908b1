//! The Kafka operators with a stand-in for the program that has Kafka's client.

use std::os::unix::fs::PermissionsExt as _;

use link::ConnectionFields;
use model::{
    EndKind, Operator,
    operator::{
        KafkaConsume, KafkaGoal, KafkaLag, KafkaMessages, KafkaProduce, KafkaProgress, KafkaReader, KafkaSensor,
        KafkaStart, KafkaSubscription, Poking,
    },
};
use serde_json::{Value, json};

use crate::rig::Rig;

/// A program that keeps its first line of input and says what `script` says.
fn program(rig: &Rig, script: &str) {
    let path = rig.program_dir.join("windlass-tasks");
    let keep = format!("{}/request", rig.dir.path().display());
    let text = format!(
        "#!/bin/sh\n[ \"$*\" = 'kafka run' ] || exit 7\nread -r request\necho \"$request\" >> {keep}\n{script}\n"
    );
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

fn requests(rig: &Rig) -> Vec<Value> {
    let text = std::fs::read_to_string(rig.dir.path().join("request")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn subscription() -> KafkaSubscription {
    KafkaSubscription {
        topics: vec!["orders-{{ ds_nodash }}".into()],
        group_id: None,
        auto_offset_reset: KafkaStart::Earliest,
        poll_timeout_secs: 1.0,
    }
}

fn sensor(condition: Option<&str>, messages: u32) -> Operator {
    let goal = KafkaGoal::Messages { subscription: subscription(), condition: condition.map(str::to_owned), messages };
    let poking = Poking { poke_interval_secs: 0.1, timeout_secs: 20.0, ..Poking::default() };
    Operator::KafkaSensor(KafkaSensor { kafka_config_id: None, goal, poking })
}

#[tokio::test]
async fn messages_are_rendered_and_given_to_the_program_with_the_connection_and_no_secret_shows() {
    let mut rig = Rig::new();
    let fields = ConnectionFields {
        conn_id: "events".into(),
        conn_type: "kafka".into(),
        host: None,
        schema: None,
        login: Some("me".into()),
        password: Some("open-sesame".into()),
        port: None,
        extra: Some(r#"{"bootstrap.servers": "k:9093", "security.protocol": "SASL_SSL"}"#.into()),
    };
    rig.leader.connections.insert("events".into(), fields);
    program(
        &rig,
        r#"echo "$request" >&2
echo '{"event":"say","text":"1 messages were acknowledged by orders"}'
echo '{"event":"end","value":{"messages":1}}'"#,
    );
    let task = KafkaProduce {
        kafka_config_id: Some("events".into()),
        topic: "orders".into(),
        source: KafkaMessages::Given(json!([{"key": "{{ ds }}", "value": {"run": "{{ run_id }}"}}])),
        delivery_timeout_secs: 5.0,
    };
    let ran = rig.run(Operator::KafkaProduce(task)).await;
    assert_eq!(ran.end.kind, EndKind::Success, "{}", ran.text());
    assert_eq!(ran.xcom("return_value"), Some(&json!({"messages": 1})));
    assert!(!ran.text().contains("open-sesame") && ran.text().contains("SASL_SSL"), "{}", ran.text());
    let request = &requests(&rig)[0];
    assert_eq!(request["connection"]["sasl.password"], "open-sesame");
    let source = json!({"messages": [{"key": "2026-01-30", "value": {"run": "manual__1"}}]});
    assert_eq!(
        request["task"],
        json!({"do": "produce", "topic": "orders", "source": source, "delivery_timeout_ms": 5000})
    );
}

#[tokio::test]
async fn a_sensor_takes_the_message_that_its_condition_agrees_to() {
    let rig = Rig::new();
    program(
        &rig,
        r#"echo '{"event":"messages","messages":[{"value":{"n":1}},{"value":{"n":2}},{"value":{"n":3}}]}'
read -r answer
echo "$answer" >&2
echo '{"event":"end","value":{"read":3}}'"#,
    );
    let ran = rig.run(sensor(Some("{{ message.value.n == 2 }}"), 1)).await;
    assert_eq!(ran.end.kind, EndKind::Success, "{}", ran.text());
    assert_eq!(ran.xcom("return_value"), Some(&json!({"value": {"n": 2}})));
    assert_eq!(ran.lines("err"), [r#"{"enough":2}"#]);
    let task = &requests(&rig)[0]["task"];
    assert_eq!((&task["topics"], &task["group_id"]), (&json!(["orders-20260130"]), &json!("windlass.tour.own")));
    assert_eq!((&task["by"], &task["at_end"]), (&json!("tour/manual__1/own/-1"), &json!("leave")));
}

#[tokio::test]
async fn a_sensor_counts_over_its_looks_and_begins_anew_when_the_group_changes() {
    let rig = Rig::new();
    // The third look finds other partitions: the two messages of the looks before count no more.
    program(
        &rig,
        r#"case "$request" in *'"offset":2'*) echo '{"event":"restart"}';; esac
echo '{"event":"messages","messages":[{"value":"x"}]}'
read -r answer
n=$(wc -l < "$(dirname "$0")/../request")
echo "{\"event\":\"end\",\"value\":{\"read\":1,\"positions\":[{\"topic\":\"t\",\"partition\":0,\"offset\":$n}],\"begun\":[]}}""#,
    );
    let ran = rig.run(sensor(None, 3)).await;
    assert_eq!(ran.end.kind, EndKind::Success, "{}", ran.text());
    assert_eq!(requests(&rig).len(), 5, "{}", ran.text());
    assert_eq!(ran.xcom("return_value").and_then(Value::as_array).map(Vec::len), Some(3));
}

#[tokio::test]
async fn a_mistake_in_a_condition_ends_the_program_and_is_the_reason() {
    let rig = Rig::new();
    program(&rig, "echo '{\"event\":\"messages\",\"messages\":[{\"value\":1}]}'; read -r answer || exit 1; sleep 60");
    let end = rig.run(sensor(Some("{{ message.valu.x }}"), 1)).await.end;
    assert_eq!(end.kind, EndKind::Failed);
    assert!(end.reason.contains("condition"), "{}", end.reason);
}

#[tokio::test]
async fn too_much_lag_and_errors_of_the_program_are_the_reason() {
    let rig = Rig::new();
    let of = KafkaProgress { reader: KafkaReader::Group("g".into()), topics: vec!["t".into()] };
    let lag = |fail_above| Operator::KafkaLag(KafkaLag { kafka_config_id: None, of: of.clone(), fail_above });
    program(&rig, r#"echo '{"event":"end","value":{"lag":5,"partitions":[]}}'"#);
    assert_eq!(rig.run(lag(Some(5))).await.xcom("return_value").unwrap()["lag"], 5);
    let end = rig.run(lag(Some(4))).await.end;
    assert_eq!(end.reason, "group g is 5 messages behind, more than fail_above: 4");
    program(&rig, r#"echo '{"event":"error","message":"there is no topic `t`"}'; exit 1"#);
    assert_eq!(rig.run(lag(None)).await.end.reason, "there is no topic `t`");
    program(&rig, "exit 3");
    assert!(rig.run(lag(None)).await.end.reason.contains("exit code 3"));
}

#[tokio::test]
async fn a_task_that_runs_too_long_ends_its_program() {
    let mut rig = Rig::new();
    rig.execution_timeout_secs = Some(0.3);
    program(&rig, "sleep 300");
    let task = KafkaConsume { kafka_config_id: None, subscription: subscription(), max_messages: 5 };
    let end = rig.run(Operator::KafkaConsume(task)).await.end;
    assert_eq!(end.kind, EndKind::TimedOut);
}

#[tokio::test]
async fn a_named_connection_has_to_be_there() {
    let task = KafkaConsume { kafka_config_id: Some("nope".into()), subscription: subscription(), max_messages: 5 };
    let end = Rig::new().run(Operator::KafkaConsume(task)).await.end;
    assert_eq!(end.reason, "there is no connection \"nope\": not configured");
}
