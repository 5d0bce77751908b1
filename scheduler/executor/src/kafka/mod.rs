//! The Kafka operators. Kafka's client is not linked into the scheduler: each attempt runs the program `windlass-tasks
//! kafka run`, gives it its request over a pipe, and judges the messages that it shows.
//!
//! The same task runs on a connection's cluster, on the cluster of the worker's own settings, or on the embedded log.

mod cluster;
mod judge;
mod program;

use futures::{FutureExt as _, future::BoxFuture};
use model::operator::{
    KafkaConsume, KafkaLag, KafkaMessages, KafkaProduce, KafkaProgress, KafkaReader, KafkaStart, KafkaSubscription,
    KafkaTopic, KafkaTopicState,
};
use serde_json::{Value, json};

use crate::{
    Attempt, Executor, Outcome, Stop,
    template::{Renderer, TemplateError},
};
pub(crate) use cluster::{Cluster, mask as mask_kafka};
use judge::Collect;
pub(crate) use judge::{Judge, Unasked, Verdict, too_large};
pub(crate) use program::run;

/// Which of the operators that end by themselves a task is.
pub(crate) enum KafkaTask {
    /// `kafka_produce`
    Produce(KafkaProduce),
    /// `kafka_consume`
    Consume(KafkaConsume),
    /// `kafka_topic`
    Topic(KafkaTopic),
    /// `kafka_lag`
    Lag(KafkaLag),
}

/// Carries out a Kafka operator.
pub(crate) struct KafkaExecutor {
    task: KafkaTask,
}

impl KafkaExecutor {
    /// An executor for one task.
    pub(crate) fn new(task: KafkaTask) -> Self {
        Self { task }
    }

    async fn outcome(&self, attempt: &Attempt, stop: &Stop) -> Result<Outcome, Outcome> {
        let value = match &self.task {
            KafkaTask::Produce(keys) => produce(keys, attempt, stop).await?,
            KafkaTask::Consume(keys) => consume(keys, attempt, stop).await?,
            KafkaTask::Topic(keys) => topic(keys, attempt, stop).await?,
            KafkaTask::Lag(keys) => lag(keys, attempt, stop).await?,
        };
        Ok(returned(attempt, value))
    }
}

impl Executor for KafkaExecutor {
    fn run<'a>(&'a self, attempt: &'a Attempt, stop: &'a Stop) -> BoxFuture<'a, Outcome> {
        self.outcome(attempt, stop).map(|outcome| outcome.unwrap_or_else(|outcome| outcome)).boxed()
    }
}

/// A success that returns something, if it may.
pub(crate) fn returned(attempt: &Attempt, value: Value) -> Outcome {
    let outcome = Outcome::success();
    if attempt.assignment.do_xcom_push { outcome.returned(value) } else { outcome }
}

async fn produce(keys: &KafkaProduce, attempt: &Attempt, stop: &Stop) -> Result<Value, Outcome> {
    let own = keys.clone();
    let rendered = attempt.render(move |renderer| {
        let source = match &own.source {
            KafkaMessages::File(path) => json!({"filepath": renderer.text("filepath", path)?}),
            KafkaMessages::Given(messages) => json!({"messages": given(renderer, messages)?}),
        };
        Ok((renderer.text("topic", &own.topic)?, source))
    });
    let (topic, source) = rendered.await?;
    attempt.log_rendered(json!({"topic": topic, "source": source}));
    if let Some(given) = source.get("messages").filter(|given| !given.is_array()) {
        return Err(Outcome::failed(format!("messages gives {given}; a list of messages is expected")));
    }
    let timeout_ms = millis(keys.delivery_timeout_secs);
    let request = json!({"do": "produce", "topic": topic, "source": source, "delivery_timeout_ms": timeout_ms});
    let cluster = Cluster::of(attempt, keys.kafka_config_id.as_deref()).await?;
    run(attempt, stop, &cluster, request, &mut Unasked).await
}

/// A template that gives messages or their JSON text, or messages with templates in them.
fn given(renderer: &Renderer, messages: &Value) -> Result<Value, TemplateError> {
    match messages {
        Value::String(template) => renderer.structure("messages", template),
        other => renderer.json("messages", other),
    }
}

async fn consume(keys: &KafkaConsume, attempt: &Attempt, stop: &Stop) -> Result<Value, Outcome> {
    let cluster = Cluster::of(attempt, keys.kafka_config_id.as_deref()).await?;
    let mut request = take_request(attempt, &cluster, &keys.subscription).await?;
    request["at_end"] = "commit".into();
    let mut taken = Collect::new(keys.max_messages);
    run(attempt, stop, &cluster, request, &mut taken).await?;
    attempt.log.system(&format!("Took {} messages", taken.messages.len()));
    Ok(taken.messages.into())
}

/// What to ask of the program so that it shows messages.
pub(crate) async fn take_request(
    attempt: &Attempt,
    cluster: &Cluster,
    keys: &KafkaSubscription,
) -> Result<Value, Outcome> {
    let own = keys.clone();
    let rendered = attempt.render(move |renderer| {
        let group = own.group_id.as_deref().map(|id| renderer.text("group_id", id)).transpose()?;
        Ok((renderer.list("topics", &own.topics)?, group))
    });
    let (topics, group_id) = rendered.await?;
    let context = &attempt.assignment.context;
    let group_id = group_id
        .or_else(|| cluster.property("group.id").map(str::to_owned))
        .unwrap_or_else(|| format!("windlass.{}.{}", context.dag_id, context.task_id));
    attempt.log_rendered(json!({"topics": topics, "group_id": group_id}));
    let start = match keys.auto_offset_reset {
        KafkaStart::Earliest => "earliest",
        KafkaStart::Latest => "latest",
    };
    // A further try of the same instance begins where this one did.
    let by = format!("{}/{}/{}/{}", context.dag_id, context.run_id, context.task_id, context.map_index);
    let timeout_ms = millis(keys.poll_timeout_secs);
    Ok(json!({
        "do": "take", "topics": topics, "group_id": group_id, "start": start, "by": by, "poll_timeout_ms": timeout_ms,
    }))
}

async fn topic(keys: &KafkaTopic, attempt: &Attempt, stop: &Stop) -> Result<Value, Outcome> {
    let own = keys.clone();
    let rendered = attempt.render(move |renderer| {
        let state = match &own.state {
            KafkaTopicState::Absent => Value::Null,
            KafkaTopicState::Present { partitions, replication_factor, config } => json!({
                "partitions": partitions,
                "replication_factor": replication_factor,
                "config": renderer.map("config", config)?,
            }),
        };
        Ok((renderer.text("topic", &own.topic)?, state))
    });
    let (topic, present) = rendered.await?;
    attempt.log_rendered(json!({"topic": topic, "present": present}));
    let cluster = Cluster::of(attempt, keys.kafka_config_id.as_deref()).await?;
    run(attempt, stop, &cluster, json!({"do": "topic", "topic": topic, "present": present}), &mut Unasked).await
}

async fn lag(keys: &KafkaLag, attempt: &Attempt, stop: &Stop) -> Result<Value, Outcome> {
    let cluster = Cluster::of(attempt, keys.kafka_config_id.as_deref()).await?;
    let request = lag_request(attempt, &keys.of).await?;
    let measured = run(attempt, stop, &cluster, request, &mut Unasked).await?;
    let behind = total_lag(&measured)?;
    attempt.log.system(&format!("{} is {behind} messages behind", reader_name(&keys.of)));
    match keys.fail_above {
        Some(most) if behind > most => {
            let who = reader_name(&keys.of);
            Err(Outcome::failed(format!("{who} is {behind} messages behind, more than fail_above: {most}")))
        }
        Some(_) | None => Ok(measured),
    }
}

/// What to ask of the program so that it measures a lag.
pub(crate) async fn lag_request(attempt: &Attempt, of: &KafkaProgress) -> Result<Value, Outcome> {
    let own = of.clone();
    let rendered = attempt.render(move |renderer| {
        let reader = match &own.reader {
            KafkaReader::Group(id) => json!({"group": renderer.text("group_id", id)?}),
            KafkaReader::Sink(table) => json!({"sink": renderer.text("sink", table)?}),
        };
        Ok((renderer.list("topics", &own.topics)?, reader))
    });
    let (topics, reader) = rendered.await?;
    attempt.log_rendered(json!({"topics": topics, "reader": reader}));
    Ok(json!({"do": "lag", "topics": topics, "reader": reader}))
}

/// The sum of a measured lag.
pub(crate) fn total_lag(measured: &Value) -> Result<u64, Outcome> {
    let total = measured.get("lag").and_then(Value::as_u64);
    total.ok_or_else(|| Outcome::failed(format!("windlass-tasks gave {measured} for a lag; are both of one version?")))
}

/// A reader as people call it.
pub(crate) fn reader_name(of: &KafkaProgress) -> String {
    match &of.reader {
        KafkaReader::Group(id) => format!("group {id}"),
        KafkaReader::Sink(table) => format!("the sink of {table}"),
    }
}

fn millis(secs: f64) -> u64 {
    std::time::Duration::try_from_secs_f64(secs)
        .map_or(u64::MAX, |duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
}
