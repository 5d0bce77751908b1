//! `kafka run`: carries out one Kafka operator for the scheduler.
//!
//! A request comes as a line of JSON on standard input, events go out as lines of JSON on standard output. Messages that are
//! shown are answered, on standard input again, by how many of them are taken. A SIGTERM ends it within a moment, and what
//! was not committed by then was not taken.

mod lag;
mod message;
mod produce;
mod take;
mod topic;

use crate::errors;
use crate::pg;
use crate::runtime::embedded::EmbeddedLog;
use crate::runtime::kafka::KafkaLog;
use crate::runtime::service::stop_on_signals;
use crate::runtime::{EventLog, LogError, TopicDescription};
use crate::settings::{self, KafkaSettings, LogChoice, process_environment};
use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::PgPool;
use std::collections::BTreeMap;
use std::io::{self, BufRead, Read as _, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// The largest request: messages of a task, which stand in a DAG file or an XCom.
const REQUEST_BYTES_MAX: u64 = 64 << 20;
/// How long a topic may be without leaders; a cluster that is away takes longer to say so.
const LED_WITHIN: Duration = Duration::from_secs(10);
/// How often it is asked.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// How long what minds a stop by itself may take.
const STOP_WITHIN: Duration = Duration::from_secs(2);

/// What is asked of this process.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Request {
    /// Properties of librdkafka; this process's own settings choose the log when absent.
    connection: Option<BTreeMap<String, String>>,
    task: Task,
}

#[derive(Debug, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
enum Task {
    Produce(produce::Produce),
    Take(take::Take),
    Topic(topic::Topic),
    Lag(lag::Lag),
}

/// What is said to the scheduler.
#[derive(Debug, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum Event<'a> {
    /// A line for the task's log.
    Say { text: &'a str },
    /// Messages to be judged.
    Messages { messages: Vec<Value> },
    /// What was judged is void: others have come into the group.
    Restart,
    /// It is done.
    End { value: Value },
    /// It failed.
    Error { message: String },
}

/// How many messages are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Answer {
    /// The first so many, and no more are wanted.
    Enough(usize),
    /// All of them, and more are wanted.
    More,
}

/// Which log a task works on.
enum Target {
    Kafka(KafkaSettings),
    /// The lake database, which has the embedded log.
    Embedded(PgPool),
}

/// Carries out what standard input asks for. A failure is told as an event.
///
/// # Errors
/// When nobody reads the events.
pub async fn run() -> anyhow::Result<ExitCode> {
    let stop = CancellationToken::new();
    stop_on_signals(stop.clone()).context("listening to signals")?;
    let done = tokio::select! {
        done = carry_out(stop.clone()) => done,
        // Taking messages sees the stop by itself, to leave its group.
        () = stopped_for(stop, STOP_WITHIN) => Err(anyhow::anyhow!("it was stopped")),
    };
    match done {
        Ok(value) => {
            emit(&Event::End { value })?;
            Ok(ExitCode::SUCCESS)
        }
        Err(error) => {
            emit(&Event::Error { message: errors::sentence(&error) })?;
            Ok(ExitCode::FAILURE)
        }
    }
}

async fn stopped_for(stop: CancellationToken, time: Duration) {
    stop.cancelled().await;
    tokio::time::sleep(time).await;
}

async fn carry_out(stop: CancellationToken) -> anyhow::Result<Value> {
    let line = tokio::task::spawn_blocking(|| read_line(REQUEST_BYTES_MAX)).await??;
    let request: Request =
        serde_json::from_str(&line).context("the request on standard input is not the expected JSON")?;
    let target = Target::of(request.connection).await?;
    match request.task {
        Task::Produce(task) => produce::run(task, &target, &stop).await,
        Task::Take(task) => take::run(task, target, stop).await,
        Task::Topic(task) => topic::run(&task, &target).await,
        Task::Lag(task) => lag::run(&task, &target).await,
    }
}

impl Target {
    async fn of(connection: Option<BTreeMap<String, String>>) -> anyhow::Result<Self> {
        let Some(mut properties) = connection else {
            return Ok(match LogChoice::from_env(&process_environment)? {
                LogChoice::Kafka(settings) => Self::Kafka(settings),
                LogChoice::Embedded => Self::Embedded(lake_database().await?),
            });
        };
        let bootstrap_servers =
            properties.remove("bootstrap.servers").context("the connection has no bootstrap.servers")?;
        Ok(Self::Kafka(KafkaSettings { bootstrap_servers, properties: properties.into_iter().collect() }))
    }

    /// The log, for a task that waits so long for the acknowledgement of a record.
    fn open(&self, delivery_timeout: Duration) -> anyhow::Result<Arc<dyn EventLog>> {
        Ok(match self {
            Self::Kafka(settings) => Arc::new(KafkaLog::with_delivery_timeout(settings, delivery_timeout)?),
            Self::Embedded(pool) => Arc::new(EmbeddedLog::new(pool.clone())),
        })
    }
}

/// The lake database, which holds the embedded log and the offsets of sinks.
async fn lake_database() -> anyhow::Result<PgPool> {
    Ok(pg::connect(&settings::database_url(&process_environment)?).await?)
}

fn read_line(bytes_max: u64) -> anyhow::Result<String> {
    let mut line = String::new();
    io::stdin().lock().take(bytes_max).read_line(&mut line).context("reading standard input")?;
    Ok(line)
}

/// Shows messages and gives the answer.
fn ask(messages: Vec<Value>) -> anyhow::Result<Answer> {
    emit(&Event::Messages { messages })?;
    let line = read_line(1024)?;
    anyhow::ensure!(!line.is_empty(), "the worker has closed the pipe");
    serde_json::from_str(&line).context("the answer on standard input is not the expected JSON")
}

fn say(text: &str) -> anyhow::Result<()> {
    emit(&Event::Say { text })
}

/// Each event is flushed, so that the log shows it while the task runs.
fn emit(event: &Event<'_>) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    let write = |out: &mut dyn Write| -> io::Result<()> {
        serde_json::to_writer(&mut *out, event)?;
        out.write_all(b"\n")?;
        out.flush()
    };
    write(&mut out).context("writing an event to standard output")
}

/// What is known of a topic, or nothing when it is not there. A new topic, or one that moves, has no leaders for a moment.
async fn describe(log: &dyn EventLog, topic: &str) -> Result<Option<TopicDescription>, LogError> {
    let deadline = Instant::now() + LED_WITHIN;
    loop {
        match log.describe(topic).await {
            Ok(description) => return Ok(Some(description)),
            Err(LogError::UnknownTopic(_)) => return Ok(None),
            Err(error) if error.is_passing() && Instant::now() < deadline => tokio::time::sleep(LOOK_AGAIN).await,
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_and_answers_have_the_form_that_the_worker_writes() {
        let text = r#"{"connection": null, "task": {"do": "lag", "topics": ["t"], "reader": {"group": "g"}}}"#;
        assert!(matches!(serde_json::from_str::<Request>(text).unwrap().task, Task::Lag(_)));
        assert_eq!(serde_json::from_str::<Answer>(r#"{"enough": 3}"#).unwrap(), Answer::Enough(3));
        assert_eq!(serde_json::from_str::<Answer>("\"more\"").unwrap(), Answer::More);
    }

    #[tokio::test]
    async fn a_connection_without_brokers_is_refused() {
        let error = Target::of(Some(BTreeMap::new())).await.err().unwrap();
        assert_eq!(error.to_string(), "the connection has no bootstrap.servers");
    }
}
