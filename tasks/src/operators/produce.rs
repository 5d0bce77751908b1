//! Produces messages and waits until the log has all of them.
//!
//! The producer is idempotent: its own repetitions double nothing. A further try of the task sends all messages again.

use super::message::GivenMessage;
use super::{Target, describe, say};
use crate::runtime::{EventLog, LogError, NewRecord};
use anyhow::{Context as _, bail};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio_util::sync::CancellationToken;

/// Messages that are on their way together, which bounds memory.
const BATCH_MESSAGES_MAX: usize = 10_000;
/// Their size, likewise.
const BATCH_BYTES_MAX: usize = 8 << 20;

/// What is produced, and where.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Produce {
    topic: String,
    source: Source,
    delivery_timeout_ms: u64,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Source {
    Messages(Vec<Value>),
    Filepath(PathBuf),
}

/// Sends batches, and counts.
struct Sender<'a> {
    log: &'a dyn EventLog,
    topic: &'a str,
    partitions: i32,
    batch: Vec<NewRecord>,
    bytes: usize,
    sent: usize,
    done: BTreeMap<i32, Done>,
}

/// What a partition got.
#[derive(Debug, Default, Clone, Copy)]
struct Done {
    messages: usize,
    next_offset: i64,
}

pub(super) async fn run(task: Produce, target: &Target, stop: &CancellationToken) -> anyhow::Result<Value> {
    let log = target.open(Duration::from_millis(task.delivery_timeout_ms))?;
    let Some(description) = describe(&*log, &task.topic).await? else {
        return Err(LogError::UnknownTopic(task.topic).into());
    };
    let partitions = i32::try_from(description.partitions.len()).unwrap_or(i32::MAX);
    let mut sender = Sender {
        log: &*log,
        topic: &task.topic,
        partitions,
        batch: Vec::new(),
        bytes: 0,
        sent: 0,
        done: BTreeMap::new(),
    };
    match task.source {
        Source::Messages(messages) => {
            for (index, message) in messages.into_iter().enumerate() {
                sender.add(message, stop).await.with_context(|| format!("messages[{index}]"))?;
            }
        }
        Source::Filepath(path) => sender.add_file(&path, stop).await?,
    }
    sender.flush(stop).await?;
    let (sent, done) = (sender.sent, sender.done);
    log.close().await?;
    say(&format!("{sent} messages were acknowledged by {}", task.topic))?;
    let of = |(partition, done): (i32, Done)| {
        (partition.to_string(), json!({"messages": done.messages, "next_offset": done.next_offset}))
    };
    let partitions: serde_json::Map<String, Value> = done.into_iter().map(of).collect();
    Ok(json!({"topic": task.topic, "messages": sent, "partitions": partitions}))
}

impl Sender<'_> {
    async fn add_file(&mut self, path: &Path, stop: &CancellationToken) -> anyhow::Result<()> {
        let shown = path.display();
        let file = tokio::fs::File::open(path).await.with_context(|| format!("cannot open {shown}"))?;
        let mut lines = BufReader::new(file).lines();
        let mut number = 0_usize;
        while let Some(line) = lines.next_line().await.with_context(|| format!("cannot read {shown}"))? {
            number += 1;
            if line.trim().is_empty() {
                continue;
            }
            let place = || format!("{shown} line {number}");
            let message = serde_json::from_str(&line).context("this is not JSON").with_context(place)?;
            self.add(message, stop).await.with_context(place)?;
        }
        Ok(())
    }

    async fn add(&mut self, message: Value, stop: &CancellationToken) -> anyhow::Result<()> {
        let turn = self.sent + self.batch.len();
        let message = GivenMessage::of(message).map_err(anyhow::Error::msg)?;
        let record = message.into_record(turn, self.partitions);
        if !(0..self.partitions).contains(&record.partition) {
            let last = self.partitions - 1;
            bail!(LogError::UnknownPartition { topic: self.topic.to_owned(), partition: record.partition, last });
        }
        self.bytes += record.size();
        self.batch.push(record);
        if self.batch.len() >= BATCH_MESSAGES_MAX || self.bytes >= BATCH_BYTES_MAX {
            self.flush(stop).await?;
        }
        Ok(())
    }

    async fn flush(&mut self, stop: &CancellationToken) -> anyhow::Result<()> {
        if stop.is_cancelled() {
            bail!("it was stopped after {} messages", self.sent);
        }
        let batch = std::mem::take(&mut self.batch);
        self.bytes = 0;
        for record in &batch {
            self.done.entry(record.partition).or_default().messages += 1;
        }
        let count = batch.len();
        let ends = self.log.produce(self.topic, batch).await.with_context(|| {
            format!("{} messages were acknowledged before, and of the next {count} some may be", self.sent)
        })?;
        self.sent += count;
        for (partition, end) in ends {
            self.done.entry(partition).or_default().next_offset = end;
        }
        Ok(())
    }
}
