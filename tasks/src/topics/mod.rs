//! `topics …`: looking at topics and putting records into them by hand, on either log.
//!
//! Results go to standard output, one a line; nothing else does.

use crate::runtime::record::Record;
use crate::runtime::{Creation, EventLog, FetchRequest, Headers, NewRecord, Offsets, TopicSpec, partition_of};
use anyhow::{Context as _, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Map, Value, json};
use std::io::{Read, Write};
use std::path::PathBuf;
use std::time::Duration;

/// One fetch of `consume`.
const FETCH_BYTES: usize = 1 << 20;
/// How long `consume` waits for records that should be there, and how often `--follow` looks whether to stop.
const FETCH_WAIT: Duration = Duration::from_secs(5);

/// What can be done with topics.
#[derive(Debug, Subcommand)]
pub enum TopicsCommand {
    /// List the topics.
    List,
    /// Show a topic's partitions, their first and next offsets, and its retention.
    Describe {
        /// The topic.
        topic: String,
    },
    /// Make a topic.
    Create {
        /// The topic.
        topic: String,
        /// Number of partitions.
        #[arg(long, default_value_t = 3)]
        partitions: i32,
        /// How many hours records are kept.
        #[arg(long, default_value_t = 168)]
        retention_hours: u64,
    },
    /// Append one record; its value is read from standard input unless given.
    Produce(ProduceArgs),
    /// Print records, up to the end that the topic has now.
    Consume(ConsumeArgs),
}

/// A record to be appended.
#[derive(Debug, Args)]
pub struct ProduceArgs {
    /// The topic.
    topic: String,
    /// The key; it also chooses the partition.
    #[arg(long)]
    key: Option<String>,
    /// The partition, instead of the key's.
    #[arg(long)]
    partition: Option<i32>,
    /// The value as text.
    #[arg(long, conflicts_with = "file")]
    value: Option<String>,
    /// A file that holds the value, byte for byte.
    #[arg(long)]
    file: Option<PathBuf>,
    /// A header, as name=value; may be repeated.
    #[arg(long = "header", value_name = "NAME=VALUE")]
    headers: Vec<String>,
}

/// Which records are printed, and how.
#[derive(Debug, Args)]
pub struct ConsumeArgs {
    /// The topic.
    topic: String,
    /// Only this partition.
    #[arg(long)]
    partition: Option<i32>,
    /// The first offset, in each partition read; by default the first that is kept.
    #[arg(long, value_name = "OFFSET")]
    from: Option<i64>,
    /// At most so many records.
    #[arg(long)]
    max: Option<usize>,
    /// How records are printed.
    #[arg(long, value_enum, default_value_t = Format::Json)]
    format: Format,
    /// Go on with what comes in, until interrupted.
    #[arg(long)]
    follow: bool,
}

/// How records are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// A JSON object a line; bytes that are no text are given in base64.
    Json,
    /// The values alone, each followed by a line end.
    Raw,
}

/// Runs a command, writing its result to `out`.
///
/// # Errors
/// When the log refuses, or the result cannot be written.
pub async fn run(log: &dyn EventLog, command: TopicsCommand, out: &mut (dyn Write + Send)) -> anyhow::Result<()> {
    match command {
        TopicsCommand::List => {
            for topic in log.topics().await? {
                writeln!(out, "{topic}")?;
            }
        }
        TopicsCommand::Describe { topic } => describe(log, &topic, out).await?,
        TopicsCommand::Create { topic, partitions, retention_hours } => {
            let retention = Duration::from_secs(retention_hours.saturating_mul(3600));
            let said = match log.create_topic(&TopicSpec { name: topic.clone(), partitions, retention }).await? {
                Creation::Created => "created",
                Creation::Existed => "existed already",
            };
            writeln!(out, "{topic} {said}")?;
        }
        TopicsCommand::Produce(args) => produce(log, args, out).await?,
        TopicsCommand::Consume(args) => consume(log, args, out).await?,
    }
    out.flush()?;
    Ok(())
}

async fn describe(log: &dyn EventLog, topic: &str, out: &mut (dyn Write + Send)) -> anyhow::Result<()> {
    let description = log.describe(topic).await?;
    if let Some(retention) = description.retention {
        writeln!(out, "retention {} h", retention.as_secs() / 3600)?;
    }
    writeln!(out, "{:>9} {:>12} {:>12} {:>12}", "partition", "start", "end", "records")?;
    for p in &description.partitions {
        writeln!(out, "{:>9} {:>12} {:>12} {:>12}", p.partition, p.start, p.end, p.end - p.start)?;
    }
    Ok(())
}

async fn produce(log: &dyn EventLog, args: ProduceArgs, out: &mut (dyn Write + Send)) -> anyhow::Result<()> {
    let pairs = args.headers.iter().map(|text| header_of(text)).collect::<anyhow::Result<Vec<_>>>()?;
    let partitions = i32::try_from(log.describe(&args.topic).await?.partitions.len())?;
    let key = args.key.as_ref().map(|key| Bytes::copy_from_slice(key.as_bytes()));
    let partition = match (args.partition, &key) {
        (Some(partition), _) => partition,
        (None, Some(key)) => partition_of(key, partitions),
        (None, None) => 0,
    };
    ensure!((0..partitions).contains(&partition), "`{}` has partitions 0 to {}", args.topic, partitions - 1);
    let record = NewRecord {
        partition,
        key,
        value: Some(value_of(&args)?),
        headers: Headers::new(pairs),
        time_ms: Utc::now().timestamp_millis(),
    };
    let ends = log.produce(&args.topic, vec![record]).await?;
    log.close().await?;
    for (partition, end) in ends {
        writeln!(out, "{}", json!({"topic": args.topic, "partition": partition, "offset": end - 1}))?;
    }
    Ok(())
}

fn header_of(text: &str) -> anyhow::Result<(&str, &[u8])> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name, value.as_bytes())),
        _ => bail!("--header is `{text}`, but it must be name=value"),
    }
}

fn value_of(args: &ProduceArgs) -> anyhow::Result<Bytes> {
    if let Some(value) = &args.value {
        return Ok(Bytes::copy_from_slice(value.as_bytes()));
    }
    if let Some(path) = &args.file {
        let bytes = std::fs::read(path).with_context(|| format!("cannot read the value from {}", path.display()))?;
        return Ok(bytes.into());
    }
    let mut value = Vec::new();
    std::io::stdin().read_to_end(&mut value).context("cannot read the value from standard input")?;
    Ok(value.into())
}

async fn consume(log: &dyn EventLog, args: ConsumeArgs, out: &mut (dyn Write + Send)) -> anyhow::Result<()> {
    let description = log.describe(&args.topic).await?;
    let wanted = |partition: i32| args.partition.is_none_or(|only| only == partition);
    let mut positions: Offsets = description
        .partitions
        .iter()
        .filter(|p| wanted(p.partition))
        .map(|p| (p.partition, args.from.unwrap_or(p.start).max(p.start)))
        .collect();
    ensure!(!positions.is_empty(), "`{}` has no partition {}", args.topic, args.partition.unwrap_or(0));
    let ends = description.end_offsets();
    let mut left = args.max.unwrap_or(usize::MAX);
    loop {
        if !args.follow {
            positions.retain(|partition, position| ends.get(partition).is_some_and(|end| *position < *end));
        }
        if left == 0 || positions.is_empty() {
            return Ok(());
        }
        let request =
            FetchRequest { topic: &args.topic, positions: &positions, bytes_max: FETCH_BYTES, wait_max: FETCH_WAIT };
        let mut records = log.fetch(request).await?;
        if records.is_empty() && !args.follow {
            // The last offsets of a partition of Kafka may hold marks of transactions instead of records.
            return Ok(());
        }
        if !args.follow {
            records.retain(|record| ends.get(&record.partition).is_some_and(|end| record.offset < *end));
        }
        for record in records.iter().take(left) {
            print(record, args.format, out)?;
        }
        out.flush()?;
        left = left.saturating_sub(records.len());
        for record in &records {
            positions.insert(record.partition, record.offset + 1);
        }
    }
}

fn print(record: &Record, format: Format, out: &mut (dyn Write + Send)) -> std::io::Result<()> {
    match format {
        Format::Json => writeln!(out, "{}", json_of(record)),
        Format::Raw => {
            out.write_all(record.value.as_deref().unwrap_or_default())?;
            out.write_all(b"\n")
        }
    }
}

fn json_of(record: &Record) -> Value {
    let mut object = Map::new();
    object.insert("partition".to_owned(), json!(record.partition));
    object.insert("offset".to_owned(), json!(record.offset));
    object.insert("time".to_owned(), json!(DateTime::from_timestamp_millis(record.time_ms)));
    insert_bytes(&mut object, "key", record.key.as_deref());
    insert_bytes(&mut object, "value", record.value.as_deref());
    let mut headers = Map::new();
    for (name, value) in record.headers.iter() {
        insert_bytes(&mut headers, name, Some(value));
    }
    object.insert("headers".to_owned(), Value::Object(headers));
    Value::Object(object)
}

/// Text as it is; other bytes in base64, under a name that says so.
fn insert_bytes(object: &mut Map<String, Value>, name: &str, bytes: Option<&[u8]>) {
    match bytes.map(|bytes| (bytes, std::str::from_utf8(bytes))) {
        None => object.insert(name.to_owned(), Value::Null),
        Some((_, Ok(text))) => object.insert(name.to_owned(), json!(text)),
        Some((bytes, Err(_))) => object.insert(format!("{name}_base64"), json!(BASE64.encode(bytes))),
    };
}
