//! `kafka run`, the program behind the Kafka operators, as the worker runs it: on the embedded log, and where
//! `KAFKA_BOOTSTRAP_SERVERS_TEST` names a cluster, on Kafka.

use crate::support::{Database, kafka_settings};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Lines, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

/// Where the program works.
struct Place {
    database: Database,
    connection: Value,
}

impl Place {
    async fn embedded() -> Self {
        Self { database: Database::create().await, connection: Value::Null }
    }

    async fn kafka() -> Option<Self> {
        let settings = kafka_settings()?;
        let connection = json!({"bootstrap.servers": settings.bootstrap_servers});
        Some(Self { database: Database::create().await, connection })
    }

    async fn all() -> Vec<Self> {
        [Some(Self::embedded().await), Self::kafka().await].into_iter().flatten().collect()
    }

    fn start(&self, task: &Value) -> Program {
        let mut child = Command::new(env!("CARGO_BIN_EXE_windlass-tasks"))
            .args(["kafka", "run"])
            .env_remove("KAFKA_BOOTSTRAP_SERVERS")
            .env("WINDLASS_LAKE_DATABASE_URL", &self.database.url)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        writeln!(stdin, "{}", json!({"connection": self.connection, "task": task})).unwrap();
        Program { events: BufReader::new(child.stdout.take().unwrap()).lines(), stdin, child }
    }

    /// Runs a task that shows no messages.
    fn run(&self, task: &Value) -> Value {
        self.start(task).end()
    }

    fn topic(&self, partitions: i32) -> String {
        let topic = format!("ops-{}", uuid::Uuid::new_v4().simple());
        let present =
            json!({"partitions": partitions, "replication_factor": null, "config": {"retention.ms": "600000"}});
        let made = self.run(&json!({"do": "topic", "topic": topic, "present": present}));
        assert_eq!(made["changed"], true, "{made}");
        let again = self.run(&json!({"do": "topic", "topic": topic, "present": {"partitions": partitions, "replication_factor": null, "config": {}}}));
        assert_eq!(again["changed"], false, "{again}");
        topic
    }

    fn produce(&self, topic: &str, messages: &[Value]) -> Value {
        let task =
            json!({"do": "produce", "topic": topic, "source": {"messages": messages}, "delivery_timeout_ms": 20_000});
        self.run(&task)
    }
}

/// A run of it.
struct Program {
    child: Child,
    stdin: ChildStdin,
    events: Lines<BufReader<ChildStdout>>,
}

impl Program {
    fn event(&mut self) -> Option<Value> {
        self.events.next().map(|line| serde_json::from_str(&line.unwrap()).unwrap())
    }

    fn answer(&mut self, answer: &Value) {
        writeln!(self.stdin, "{answer}").unwrap();
    }

    /// The events up to one that is not for people.
    fn next(&mut self) -> Value {
        loop {
            let event = self.event().expect("it says how it ends");
            if event["event"] != "say" {
                return event;
            }
        }
    }

    fn end(mut self) -> Value {
        let event = self.next();
        assert_eq!(event["event"], "end", "{event}");
        assert!(self.child.wait().unwrap().success());
        event["value"].clone()
    }
}

/// The values of the messages that an event shows.
fn values_of(event: &Value) -> impl Iterator<Item = String> {
    let shown = event["messages"].as_array().unwrap();
    shown.iter().map(|message| message["value"].as_str().unwrap().to_owned())
}

fn take(topic: &str, by: &str) -> Value {
    json!({
        "do": "take", "topics": [topic], "group_id": format!("group-{topic}"), "start": "earliest", "by": by,
        "poll_timeout_ms": 3_000, "at_end": "commit",
    })
}

/// Waits until a group has so many members, those that still ask to join among them.
fn until_members(place: &Place, group: &str, wanted: usize) {
    let servers = place.connection["bootstrap.servers"].as_str().unwrap();
    let client: BaseConsumer = ClientConfig::new().set("bootstrap.servers", servers).create().unwrap();
    let within = Duration::from_secs(30);
    let began = Instant::now();
    loop {
        let groups = client.fetch_group_list(Some(group), within).unwrap();
        let members = groups.groups().first().map_or(0, |group| group.members().len());
        if members >= wanted {
            return;
        }
        assert!(began.elapsed() < within, "{group} has {members} of {wanted} members");
    }
}

/// Takes as many as are wanted, and gives their values.
fn taken(place: &Place, task: &Value, wanted: usize) -> Vec<String> {
    let mut program = place.start(task);
    let mut values: Vec<String> = Vec::new();
    loop {
        let event = program.next();
        match event["event"].as_str().unwrap() {
            "messages" => {
                let missing = wanted - values.len();
                values.extend(values_of(&event).take(missing));
                program.answer(&if values_of(&event).count() >= missing {
                    json!({"enough": missing})
                } else {
                    json!("more")
                });
            }
            "restart" => values.clear(),
            "end" => return values,
            other => panic!("{other}: {event}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn kafka_messages_are_produced_taken_once_and_taken_again_by_a_further_try() {
    for place in Place::all().await {
        let topic = place.topic(1);
        let messages: Vec<Value> = (0..10).map(|n| json!(format!("m{n}"))).collect();
        let produced = place.produce(&topic, &messages);
        assert_eq!((&produced["messages"], &produced["partitions"]["0"]["next_offset"]), (&json!(10), &json!(10)));
        assert_eq!(taken(&place, &take(&topic, "run-1"), 3), ["m0", "m1", "m2"]);
        assert_eq!(taken(&place, &take(&topic, "run-1"), 3), ["m0", "m1", "m2"], "a further try of the same instance");
        assert_eq!(taken(&place, &take(&topic, "run-2"), 4), ["m3", "m4", "m5", "m6"]);
        let task = json!({"do": "lag", "topics": [topic], "reader": {"group": format!("group-{topic}")}});
        assert_eq!(place.run(&task)["lag"], 3);
        assert_eq!(taken(&place, &take(&topic, "run-3"), 100).len(), 3, "what there is, when there is less");
        assert_eq!(place.run(&task)["lag"], 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn kafka_looks_without_success_commit_nothing_and_go_on_behind_one_another() {
    for place in Place::all().await {
        let topic = place.topic(1);
        place.produce(&topic, &[json!("a"), json!("b")]);
        let mut task = take(&topic, "run-1");
        task["at_end"] = "leave".into();
        let mut program = place.start(&task);
        let mut shown = 0;
        while shown < 2 {
            shown += program.next()["messages"].as_array().unwrap().len();
            program.answer(&json!("more"));
        }
        let left = program.end();
        place.produce(&topic, &[json!("c")]);
        task["positions"] = left["positions"].clone();
        task["begun"] = left["begun"].clone();
        assert_eq!(taken(&place, &task, 1), ["c"], "the next look goes on");
        assert_eq!(taken(&place, &take(&topic, "run-1"), 1), ["a"], "a further try begins where the first look did");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn kafka_mistakes_are_told_as_events() {
    for place in Place::all().await {
        let mut program = place.start(&json!({"do": "lag", "topics": ["no-such-topic"], "reader": {"group": "g"}}));
        let event = program.next();
        let said = event["message"].as_str().unwrap();
        assert!(said.starts_with("there is no topic `no-such-topic`"), "{said}");
        let topic = place.topic(1);
        let messages = json!([{"value": 1, "partition": 7}]);
        let task =
            json!({"do": "produce", "topic": topic, "source": {"messages": messages}, "delivery_timeout_ms": 9_000});
        let event = place.start(&task).next();
        assert!(event["message"].as_str().unwrap().starts_with("messages[0]: topic"), "{event}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_of_messages_is_produced_and_its_bad_line_named() {
    let place = Place::embedded().await;
    let topic = place.topic(3);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("messages.jsonl");
    let lines: String = (0..25_000).map(|n| format!("{{\"key\": \"k{n}\", \"value\": {{\"n\": {n}}}}}\n")).collect();
    std::fs::write(&path, &lines).unwrap();
    let task = |path: &std::path::Path| json!({"do": "produce", "topic": topic, "source": {"filepath": path}, "delivery_timeout_ms": 9_000});
    assert_eq!(place.run(&task(&path))["messages"], 25_000);
    std::fs::write(&path, "{\"value\": 1}\nnonsense\n").unwrap();
    let event = place.start(&task(&path)).next();
    assert!(event["message"].as_str().unwrap().contains("line 2: this is not JSON"), "{event}");
}

#[tokio::test(flavor = "multi_thread")]
async fn members_of_a_kafka_group_share_the_messages_when_one_joins_in_between() {
    let Some(place) = Place::kafka().await else { return };
    let topic = place.topic(4);
    // A dozen batches, and one message more with each: the first has something to read until its heartbeat tells it.
    let mut produced = 6_000;
    let messages: Vec<Value> = (0..produced).map(|n| json!(format!("m{n}"))).collect();
    place.produce(&topic, &messages);
    let mut first_task = take(&topic, "first");
    first_task["poll_timeout_ms"] = 15_000.into();
    let mut first = place.start(&first_task);
    let mut of_first: Vec<String> = Vec::new();
    let mut restarted = false;
    assert_eq!(first.next()["event"], "messages");
    let second_task = first_task.clone();
    let mut second = place.start(&{
        let mut task = second_task;
        task["by"] = "second".into();
        task
    });
    let other = std::thread::spawn(move || {
        let mut values = Vec::new();
        loop {
            let event = second.next();
            match event["event"].as_str().unwrap() {
                "messages" => {
                    values.extend(values_of(&event));
                    second.answer(&json!("more"));
                }
                "restart" => values.clear(),
                "end" => return values,
                other => panic!("{other}: {event}"),
            }
        }
    });
    // The first has all partitions and nothing for good when the second asks to join.
    until_members(&place, &format!("group-{topic}"), 2);
    first.answer(&json!("more"));
    loop {
        let event = first.next();
        match event["event"].as_str().unwrap() {
            "messages" => {
                of_first.extend(values_of(&event));
                if !restarted {
                    place.produce(&topic, &[json!(format!("m{produced}"))]);
                    produced += 1;
                }
                first.answer(&json!("more"));
            }
            "restart" => {
                restarted = true;
                of_first.clear();
            }
            "end" => break,
            other => panic!("{other}: {event}"),
        }
    }
    let of_second = other.join().unwrap();
    let all: BTreeSet<&String> = of_first.iter().chain(&of_second).collect();
    assert!(restarted && !of_second.is_empty(), "{} and {} messages", of_first.len(), of_second.len());
    assert_eq!(of_first.len() + of_second.len(), all.len(), "nothing is taken twice");
    assert_eq!(all.len(), produced, "nothing is lost");
}
