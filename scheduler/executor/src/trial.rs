//! Tries a connection out: the smallest thing that a task could do with it, by the executor that a task would have.
//!
//! What always holds: a try ends within [`TRY_MAX`], changes nothing where it goes, leaves nothing on this machine, and says
//! nothing that is secret in the connection.

use std::{collections::BTreeMap, io, path::Path, sync::Arc, time::Duration};

use futures::{FutureExt as _, future::BoxFuture};
use link::{Assignment, ConnectionFields, FetchItem, FetchKey, ServiceStatus, TaskContext};
use model::{
    AttemptId, DagId, EndKind, MapIndex, Operator, RunId, RunKey, RunType, TaskId, TaskIdx, TiKey, Timestamp,
    TryNumber,
    operator::{
        Http, HttpMethod, HttpOptions, HttpPayload, HttpRequest, HttpTarget, KafkaLag, KafkaProgress, KafkaReader,
        ServiceSpec, Sql, SqlOutput, SqlParameters, SqlSource,
    },
};
use serde::{Deserialize, de::IgnoredAny};
use tokio::sync::watch;
use uuid::Uuid;

use crate::{
    Attempt, Elements, Host, Masker, Stop, WorkerContext, Workspace,
    attempt::mask_connection,
    log::{Log, Overflow},
};

/// How long a try may take; whoever asks waits for it.
pub const TRY_MAX: Duration = Duration::from_secs(10);
/// And how long whoever asks waits for it: an executor may take a moment to end what it began.
const ANSWER_MAX: Duration = Duration::from_secs(12);
/// The connection's name while it is tried.
const CONN_ID: &str = "tested";
/// What is asked of a database.
const QUESTION: &str = "SELECT 1";
/// What Airflow says of a connection that works.
const WORKS: &str = "Connection successfully tested";
/// What came of a try.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tried {
    /// Whether the connection can be used.
    pub works: bool,
    /// How that was found out, or what is wrong.
    pub message: String,
}

impl Tried {
    fn failed(message: impl Into<String>) -> Self {
        Self { works: false, message: message.into() }
    }
}

/// Tries a connection from this worker.
pub async fn try_connection(worker: &Arc<WorkerContext>, connection: ConnectionFields) -> Tried {
    // The topic is one that no cluster has.
    let topic = format!("windlass-connection-test-{}", Uuid::new_v4());
    let Some(operator) = operator_for(&connection.conn_type, &topic) else {
        let of = &connection.conn_type;
        return Tried::failed(format!(
            "Connections of type {of:?} can not be tested: those that can are postgres, trino, lake, http and kafka"
        ));
    };
    let masker = Masker::default();
    mask_connection(&masker, &connection);
    // What the Kafka program says of a topic that a cluster does not have: the cluster has said so.
    let no_topic = format!("there is no topic `{topic}`");
    let scratch = match worker.workspaces.make() {
        Ok(scratch) => scratch,
        Err(error) => return Tried::failed(format!("the worker could not try it: {error}")),
    };
    let log_path = scratch.path().join("log.jsonl");
    // What takes its time to end is not waited for: it ends by itself, with all that it has started.
    let running = tokio::spawn(run(Arc::clone(worker), connection, operator, masker.clone(), scratch));
    match tokio::time::timeout(ANSWER_MAX, running).await {
        Ok(Ok(Ok((EndKind::Success, _)))) => Tried { works: true, message: WORKS.to_owned() },
        Ok(Ok(Ok((EndKind::TimedOut, said)))) => no_answer(&masker, &said),
        Ok(Ok(Ok((_, reason)))) if reason.contains(&no_topic) => Tried { works: true, message: WORKS.to_owned() },
        Ok(Ok(Ok((_, reason)))) => Tried::failed(masker.mask(&reason)),
        Ok(Ok(Err(error))) => Tried::failed(format!("the worker could not try it: {error}")),
        Ok(Err(panic)) => Tried::failed(format!("its executor broke down: {panic}")),
        Err(_) => no_answer(&masker, &last_words(&log_path)),
    }
}

/// A try that took too long, with what was last heard of it.
fn no_answer(masker: &Masker, said: &str) -> Tried {
    let said = masker.mask(said);
    let heard = if said.is_empty() { String::new() } else { format!("; last heard: {said}") };
    Tried::failed(format!("No answer within {} s{heard}", TRY_MAX.as_secs()))
}

/// The last line that the executor wrote to the log, but for that of its limit; nothing when there is none.
fn last_words(log: &Path) -> String {
    #[derive(Deserialize)]
    struct Line {
        stream: String,
        text: String,
        rendered: Option<IgnoredAny>,
    }
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let mut lines = text.lines().rev().filter_map(|line| serde_json::from_str::<Line>(line).ok());
    let is_said =
        |line: &Line| line.stream == "sys" && line.rendered.is_none() && !line.text.contains("execution_timeout");
    lines.find(is_said).map(|line| line.text).unwrap_or_default()
}

/// Runs the attempt; what it has written goes with it.
async fn run(
    worker: Arc<WorkerContext>,
    connection: ConnectionFields,
    operator: Operator,
    masker: Masker,
    scratch: Workspace,
) -> io::Result<(EndKind, String)> {
    let path = scratch.path().join("log.jsonl");
    let log = Log::open(&path, masker.clone(), Overflow::Fault)?;
    let host = Arc::new(OneConnection(ConnectionFields { conn_id: CONN_ID.to_owned(), ..connection }));
    let attempt =
        Attempt { assignment: assignment(operator), elements: Elements::default(), log, masker, host, worker };
    let end = crate::run(&attempt, &Stop::default()).await;
    // Its reason is the limit, which says nothing of the connection.
    let told = if end.kind == EndKind::TimedOut { last_words(&path) } else { end.reason };
    Ok((end.kind, told))
}

fn operator_for(conn_type: &str, topic: &str) -> Option<Operator> {
    let conn_id = CONN_ID.to_owned();
    Some(match conn_type {
        "postgres" | "postgresql" | "trino" | "lake" => Operator::Sql(Sql {
            conn_id,
            sql: vec![SqlSource::Text(QUESTION.to_owned())],
            parameters: SqlParameters::default(),
            output: SqlOutput::None,
        }),
        "http" => Operator::Http(Http {
            request: HttpRequest {
                target: HttpTarget::Connection { http_conn_id: conn_id, endpoint: String::new() },
                method: HttpMethod::Get,
                headers: BTreeMap::new(),
                payload: HttpPayload::None,
                options: HttpOptions { timeout_secs: TRY_MAX.as_secs_f64(), ..HttpOptions::default() },
            },
            response_check: None,
            response_filter: None,
            log_response: false,
        }),
        "kafka" => Operator::KafkaLag(KafkaLag {
            kafka_config_id: Some(conn_id),
            of: KafkaProgress { reader: KafkaReader::Group(topic.to_owned()), topics: vec![topic.to_owned()] },
            fail_above: None,
        }),
        _ => return None,
    })
}

/// An attempt of no run: nothing of it is stored or reported.
fn assignment(operator: Operator) -> Assignment {
    let name = "connection_test";
    // It stands for no time.
    let now = Timestamp::default();
    Assignment {
        attempt: AttemptId(Uuid::new_v4()),
        ti: TiKey::unmapped(RunKey(0), TaskIdx(0)),
        context: TaskContext {
            dag_id: DagId::new(name).expect("the name is one of a DAG"),
            run_id: RunId::new(name).expect("the name is one of a run"),
            run_key: RunKey(0),
            run_type: RunType::Manual,
            task_id: TaskId::new(name).expect("the name is one of a task"),
            task_numbers: Arc::default(),
            map_index: MapIndex::UNMAPPED,
            try_number: TryNumber::FIRST,
            max_tries: 0,
            logical_date: None,
            data_interval: None,
            run_after: now,
            run_started_at: now,
            conf: serde_json::Map::new(),
            params: serde_json::Map::new(),
            dag_fields: serde_json::Map::new(),
            task_fields: serde_json::Map::new(),
            native: false,
            macros: serde_json::Map::new(),
            prev_success_interval: None,
            outlets: Vec::new(),
            inlets: Vec::new(),
        },
        operator,
        files: BTreeMap::new(),
        execution_timeout_secs: Some(TRY_MAX.as_secs_f64()),
        do_xcom_push: false,
        multiple_outputs: false,
        retry_policy: Vec::new(),
        mapped: None,
        poked: None,
    }
}

/// A leader that has one connection and nothing else.
struct OneConnection(ConnectionFields);

impl Host for OneConnection {
    fn fetch(&self, key: FetchKey) -> BoxFuture<'_, FetchItem> {
        let item = match key {
            FetchKey::Connection(id) if id == self.0.conn_id => FetchItem::Connection(Box::new(self.0.clone())),
            FetchKey::Connection(_)
            | FetchKey::Variable(_)
            | FetchKey::XCom { .. }
            | FetchKey::File(_)
            | FetchKey::TriggerRun(_)
            | FetchKey::Run { .. }
            | FetchKey::AssetEvents(_) => {
                FetchItem::Missing("a test of a connection has nothing but this connection".to_owned())
            }
        };
        std::future::ready(item).boxed()
    }

    fn declare(&self, _: Vec<ServiceSpec>, _: Vec<String>) -> BoxFuture<'_, ()> {
        std::future::ready(()).boxed()
    }

    fn services(&self) -> watch::Receiver<Vec<ServiceStatus>> {
        watch::channel(Vec::new()).1
    }
}
