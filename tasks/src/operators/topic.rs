//! Brings a topic to what it is to be. What is so already stays as it is.

use super::{LOOK_AGAIN, Target, describe, say};
use crate::runtime::embedded::EmbeddedLog;
use crate::runtime::kafka::{KafkaLog, TopicChange, TopicWish};
use crate::runtime::{Creation, EventLog, TopicSpec};
use crate::settings::KafkaSettings;
use anyhow::{Context as _, bail};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::Instant;

/// Partitions of a topic on the embedded log, unless the task says how many.
const PARTITIONS_DEFAULT: i32 = 3;
/// The one setting that the embedded log knows.
const RETENTION: &str = "retention.ms";
/// How long the brokers may take to show what was changed.
const SHOWN_WITHIN: Duration = Duration::from_secs(15);

/// What a topic is to be.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Topic {
    topic: String,
    /// None when it is not to be there.
    present: Option<Present>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Present {
    partitions: Option<i32>,
    replication_factor: Option<i32>,
    config: BTreeMap<String, String>,
}

pub(super) async fn run(task: &Topic, target: &Target) -> anyhow::Result<Value> {
    match target {
        Target::Kafka(settings) => on_kafka(task, settings).await,
        Target::Embedded(pool) => on_embedded(task, &EmbeddedLog::new(pool.clone())).await,
    }
}

async fn on_kafka(task: &Topic, settings: &KafkaSettings) -> anyhow::Result<Value> {
    let name = task.topic.as_str();
    let log = KafkaLog::new(settings)?;
    let admin = log.admin();
    let Some(present) = &task.present else {
        let deleted = admin.delete(name).await?;
        if deleted {
            shown(&log, name, |partitions| partitions.is_none()).await?;
        }
        say(&format!("{name} {}", if deleted { "was deleted" } else { "was not there" }))?;
        return Ok(json!({"topic": name, "changed": deleted, "partitions": 0}));
    };
    let before = partitions(&log, name).await?;
    let wish = TopicWish {
        partitions: present.partitions,
        replication_factor: present.replication_factor,
        config: present.config.clone(),
    };
    let changes = admin.ensure(name, before, &wish).await?;
    for change in &changes {
        say(&format!("{name} {}", told(change)))?;
    }
    if changes.is_empty() {
        say(&format!("{name} is as it should be"))?;
    }
    let least = present.partitions.unwrap_or(1);
    let now = shown(&log, name, |partitions| partitions.is_some_and(|partitions| partitions >= least)).await?;
    Ok(json!({"topic": name, "changed": !changes.is_empty(), "partitions": now}))
}

/// Waits until the brokers show a change: the controller answers before all of them have learnt of it.
async fn shown(log: &KafkaLog, name: &str, fits: impl Fn(Option<i32>) -> bool) -> anyhow::Result<Option<i32>> {
    let deadline = Instant::now() + SHOWN_WITHIN;
    loop {
        let partitions = partitions(log, name).await?;
        if fits(partitions) {
            return Ok(partitions);
        }
        if Instant::now() > deadline {
            bail!("the brokers do not show the change of {name} within {} s", SHOWN_WITHIN.as_secs());
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

async fn partitions(log: &dyn EventLog, name: &str) -> anyhow::Result<Option<i32>> {
    let known = describe(log, name).await?;
    Ok(known.map(|known| i32::try_from(known.partitions.len()).unwrap_or(i32::MAX)))
}

fn told(change: &TopicChange) -> String {
    match change {
        TopicChange::Created => "was created".to_owned(),
        TopicChange::Partitions { from, to } => format!("has {to} partitions, it had {from}"),
        TopicChange::Config { name, from: Some(from), to } => format!("has {name} {to}, it had {from}"),
        TopicChange::Config { name, from: None, to } => format!("has {name} {to}"),
    }
}

async fn on_embedded(task: &Topic, log: &EmbeddedLog) -> anyhow::Result<Value> {
    let name = task.topic.as_str();
    let known = partitions(log, name).await?;
    let Some(present) = &task.present else {
        if known.is_some() {
            bail!(
                "the embedded event log does not delete topics: the sinks' tables refer to their offsets; retention removes the records"
            );
        }
        say(&format!("{name} was not there"))?;
        return Ok(json!({"topic": name, "changed": false, "partitions": 0}));
    };
    if let (Some(has), Some(wished)) = (known, present.partitions)
        && has != wished
    {
        bail!("{name} has {has} partitions, and the embedded event log can not change that to {wished}");
    }
    for setting in present.config.keys().filter(|name| *name != RETENTION) {
        say(&format!("the embedded event log has no setting {setting}; it is left out"))?;
    }
    let mut spec = TopicSpec::new(name, known.or(present.partitions).unwrap_or(PARTITIONS_DEFAULT));
    if let Some(retention) = present.config.get(RETENTION) {
        let ms =
            retention.parse().with_context(|| format!("{RETENTION} is `{retention}`, not a number of milliseconds"))?;
        spec.retention = Duration::from_millis(ms);
    }
    let created = log.create_topic(&spec).await? == Creation::Created;
    say(&format!("{name} {}", if created { "was created" } else { "is there" }))?;
    Ok(json!({"topic": name, "changed": created, "partitions": spec.partitions}))
}
