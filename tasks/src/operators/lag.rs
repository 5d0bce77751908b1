//! Measures how far a reader is behind the ends of its topics.

use super::{Target, describe, lake_database};
use crate::pg::{group, watermark};
use crate::runtime::kafka::committed;
use crate::runtime::{LogError, Offsets};
use crate::settings::KafkaSettings;
use anyhow::Context as _;
use serde::Deserialize;
use serde_json::{Value, json};
use sqlx::PgPool;
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
    let log = target.open(NO_DELIVERY)?;
    let offsets = ReaderOffsets::of(&task.reader, target).await?;
    let (mut total, mut rows) = (0, Vec::new());
    for topic in &task.topics {
        let known = describe(&*log, topic).await?.ok_or_else(|| LogError::UnknownTopic(topic.clone()))?;
        let stands = offsets.of_topic(topic).await?;
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

/// Where a reader's offsets are.
enum ReaderOffsets<'a> {
    InSink { pool: PgPool, table: &'a str },
    OnEmbeddedLog { pool: PgPool, group_id: &'a str },
    OnKafka { settings: KafkaSettings, group_id: &'a str },
}

impl<'a> ReaderOffsets<'a> {
    async fn of(reader: &'a Reader, target: &Target) -> anyhow::Result<Self> {
        Ok(match (reader, target) {
            (Reader::Sink(table), Target::Embedded(pool)) => Self::InSink { pool: pool.clone(), table },
            (Reader::Sink(table), Target::Kafka(_)) => Self::InSink { pool: lake_database().await?, table },
            (Reader::Group(group_id), Target::Embedded(pool)) => Self::OnEmbeddedLog { pool: pool.clone(), group_id },
            (Reader::Group(group_id), Target::Kafka(settings)) => {
                Self::OnKafka { settings: settings.clone(), group_id }
            }
        })
    }

    /// What the reader reads next of each of a topic's partitions that it has read of.
    async fn of_topic(&self, topic: &str) -> anyhow::Result<Offsets> {
        match self {
            Self::InSink { pool, table } => {
                let feed = watermark::Feed { table, topic };
                watermark::read(pool, feed).await.context("cannot read where the sink stands")
            }
            Self::OnEmbeddedLog { pool, group_id } => {
                let rows = group::read(pool, group::Reading { group_id, topic }).await;
                let rows = rows.context("cannot read where the group stands")?;
                Ok(rows.into_iter().map(|row| (row.partition, row.next_offset)).collect())
            }
            Self::OnKafka { settings, group_id } => {
                let (settings, group_id, topic) = (settings.clone(), (*group_id).to_owned(), topic.to_owned());
                Ok(tokio::task::spawn_blocking(move || committed(&settings, &group_id, &topic)).await??)
            }
        }
    }
}
