//! Measures how far a reader is behind the ends of its topics.

use super::{Target, describe, lake_database};
use crate::pg::{group, watermark};
use crate::runtime::kafka::committed;
use crate::runtime::{LogError, Offsets};
use anyhow::Context as _;
use serde::Deserialize;
use serde_json::{Value, json};
use std::time::Duration;

/// Nothing is produced here; the client wants a time anyway.
const NO_DELIVERY: Duration = Duration::from_secs(60);

/// Who reads what.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Lag {
    topics: Vec<String>,
    reader: Reader,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Reader {
    /// A consumer group.
    Group(String),
    /// A table whose sink keeps its own offsets.
    Sink(String),
}

pub(super) async fn run(task: &Lag, target: &Target) -> anyhow::Result<Value> {
    let log = target.open(NO_DELIVERY).await?;
    let (mut total, mut rows) = (0, Vec::new());
    for topic in &task.topics {
        let known = describe(&*log, topic).await?.ok_or_else(|| LogError::UnknownTopic(topic.clone()))?;
        let stands = stands(&task.reader, topic, target).await?;
        for partition in known.partitions {
            let committed = stands.get(&partition.partition).copied();
            let lag = (partition.end - committed.unwrap_or(partition.start).max(partition.start)).max(0);
            total += lag;
            rows.push(json!({
                "topic": topic,
                "partition": partition.partition,
                "committed": committed,
                "end": partition.end,
                "lag": lag,
            }));
        }
    }
    Ok(json!({"lag": total, "partitions": rows}))
}

/// What the reader reads next of each partition that it has read of.
async fn stands(reader: &Reader, topic: &str, target: &Target) -> anyhow::Result<Offsets> {
    match (reader, target) {
        (Reader::Sink(table), _) => {
            let feed = watermark::Feed { table, topic };
            watermark::read(&lake_database().await?, feed).await.context("cannot read where the sink stands")
        }
        (Reader::Group(group_id), Target::Embedded) => {
            let reading = group::Reading { group_id, topic };
            let rows =
                group::read(&lake_database().await?, reading).await.context("cannot read where the group stands")?;
            Ok(rows.into_iter().map(|row| (row.partition, row.next_offset)).collect())
        }
        (Reader::Group(group_id), Target::Kafka(settings)) => {
            let (settings, group_id, topic) = (settings.clone(), group_id.clone(), topic.to_owned());
            Ok(tokio::task::spawn_blocking(move || committed(&settings, &group_id, &topic)).await??)
        }
    }
}
