//! The messages between a leader and a worker.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use model::{
    AssetNews, AttemptEnd, AttemptId, Callback, Capability, DagId, EndKind, Epoch, MapIndex, NotificationId, Operator,
    RetryRule, RunId, RunKey, RunType, ServiceKey, ServiceState, TaskId, TaskIdx, TiKey, Timestamp, TryNumber,
    operator::ServiceSpec,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use uuid::Uuid;

use crate::fetch::{ConnectionFields, FetchKey, Fetched};

/// From the leader to a worker.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ToWorker {
    /// Answer to Hello: this leader knows the worker. A worker heeds only the highest epoch that it has seen.
    Welcome {
        /// The leadership that speaks.
        epoch: Epoch,
        /// The attempts of this worker that the leader counts as live; the worker kills every other one it holds.
        live: BTreeSet<AttemptId>,
        /// The same for instances of services.
        services: BTreeSet<Uuid>,
    },
    /// Run this attempt.
    Assign(Box<Assignment>),
    /// End this attempt; its end is reported as always.
    Kill {
        /// Which one.
        attempt: AttemptId,
        /// Why, for the log.
        reason: String,
    },
    /// The reports up to this number are durable and can be forgotten. Sent at each beat at the latest.
    Ack {
        /// The highest number that is stored.
        seq: u64,
    },
    /// Run this instance of a service.
    StartService(Box<ServiceStart>),
    /// End this instance: TERM, then KILL after its stop_timeout.
    StopService {
        /// Which instance.
        instance: Uuid,
    },
    /// How the services that an attempt declared stand: at each change, and each second.
    Services {
        /// The attempt that declared them.
        attempt: AttemptId,
        /// A line each replica.
        status: Vec<ServiceStatus>,
    },
    /// What a Fetch asked for.
    Fetched(Fetched),
    /// Read this log for an api process.
    ReadLog {
        /// The number of the question, repeated in the answer.
        id: u64,
        /// Whose log.
        log: LogName,
        /// From this byte.
        offset: u64,
        /// At most so many bytes.
        bytes_max: u32,
    },
    /// Try this connection out for an api process. Sent only to workers that say they can.
    TryConnection {
        /// The number of the question, repeated in the answer.
        id: u64,
        /// The connection, as it would be for a task.
        connection: Box<ConnectionFields>,
    },
    /// Tell somebody outside of something. Sent only to workers that say they can.
    Notify {
        /// The number of the question, repeated in the answer.
        id: u64,
        /// What, and how.
        notification: Box<Notification>,
    },
    /// A message that this version can not read, in a frame that is whole: it is told of, and the connection goes on.
    #[serde(skip)]
    Unreadable {
        /// What it calls itself.
        kind: String,
        /// The attempt that it is about.
        attempt: Option<AttemptId>,
        /// Why it can not be read.
        why: String,
    },
}

/// Which log is meant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogName {
    /// An attempt's.
    Attempt(AttemptId),
    /// A service's: one file a replica, over all its instances.
    Service(ServiceKey),
}

/// From a worker to the leader.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum FromWorker {
    /// The first message on a connection.
    Hello(Hello),
    /// An attempt's process has started. Sent only when it outlives 200 ms: the end carries the start otherwise.
    Started {
        /// The report's number on this worker, from 1, rising.
        seq: u64,
        /// Which attempt.
        attempt: AttemptId,
        /// How long ago it started, in microseconds.
        ago_micros: i64,
    },
    /// An attempt waits without a slot from now on, and this worker holds the wait. Sent again after each reconnect until acknowledged.
    Deferred {
        /// The report's number on this worker.
        seq: u64,
        /// Which attempt.
        attempt: AttemptId,
        /// How long ago it began, in microseconds.
        ago_micros: i64,
        /// What its first look found and left; free of secrets.
        end: Box<AttemptEnd>,
    },
    /// An attempt has ended. Sent again after each reconnect until acknowledged.
    Ended {
        /// The report's number on this worker.
        seq: u64,
        /// Which attempt.
        attempt: AttemptId,
        /// How.
        end: Box<AttemptEnd>,
    },
    /// The worker lives: once a second.
    Beat {
        /// What its services wrote since the last beat: the newest line of each kind.
        services: Vec<ServiceReport>,
        /// Instances that have started since.
        started: Vec<Uuid>,
        /// Whether it was asked to end: it takes nothing new.
        #[serde(default)]
        leaving: bool,
    },
    /// An attempt that waits says what it waits for: for pages, and said again after each reconnect.
    Said {
        /// Which attempt.
        attempt: AttemptId,
        /// One sentence, free of secrets.
        line: String,
    },
    /// An instance of a service has ended.
    ServiceExited(ServiceExit),
    /// An attempt of operator `service` wants these, rendered. Declaring the same again changes nothing.
    DeclareServices {
        /// The attempt.
        attempt: AttemptId,
        /// What it wants.
        services: Vec<ServiceSpec>,
        /// SHA-256 in hex of each service's spec with the values of its passed environment, in the same order:
        /// a changed value is a changed service.
        hashes: Vec<String>,
    },
    /// An attempt needs something to render or run.
    Fetch {
        /// The question's number, repeated in the answer.
        id: u64,
        /// The attempt that asks; the leader answers only what that attempt may see.
        attempt: Option<AttemptId>,
        /// What it needs.
        key: FetchKey,
    },
    /// An answer to ReadLog.
    Log {
        /// The question's number.
        id: u64,
        /// The bytes from the offset asked for; empty at the end.
        #[serde(with = "serde_bytes")]
        bytes: Vec<u8>,
        /// The log's length now.
        length: u64,
        /// Whether nothing more will come.
        ended: bool,
    },
    /// An answer to TryConnection.
    Tried {
        /// The question's number.
        id: u64,
        /// Whether the connection works.
        works: bool,
        /// How that was found out, or what is wrong; free of secrets.
        message: String,
    },
    /// An answer to Notify.
    Notified {
        /// The question's number.
        id: u64,
        /// What has come of it.
        told: Told,
        /// What is said of it; free of secrets.
        message: String,
    },
    /// A message that this version can not read, in a frame that is whole: it is told of, and the connection goes on.
    #[serde(skip)]
    Unreadable {
        /// What it calls itself.
        kind: String,
        /// Why it can not be read.
        why: String,
    },
}

/// Who a worker is and what it still holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Hello {
    /// [`crate::PROTOCOL_VERSION`] of the worker.
    pub protocol: u16,
    /// [`crate::PROTOCOL_OLDEST`] of the worker; none for those that speak one version only.
    #[serde(default)]
    pub protocol_oldest: Option<u16>,
    /// Its identity: a file in its log directory, not its process.
    pub worker: Uuid,
    /// The process: a new number each start, so that a restarted worker is told from a reconnected one.
    pub incarnation: Uuid,
    /// A name for people, such as `host:pid`.
    pub name: String,
    /// How many attempts it runs at once.
    pub slots: u32,
    /// The queues that it serves.
    pub queues: BTreeSet<String>,
    /// What it can do.
    pub capabilities: BTreeSet<Capability>,
    /// The attempts that it runs or whose end is not acknowledged.
    pub attempts: BTreeSet<AttemptId>,
    /// The instances of services that it runs.
    pub services: BTreeSet<Uuid>,
    /// The operators that it knows, by their short names. Nothing else is given to it.
    #[serde(default = "operators_of_0_1_0")]
    pub operators: BTreeSet<String>,
    /// Whether it was asked to end: it takes nothing new.
    #[serde(default)]
    pub leaving: bool,
    /// How long its process has lived, in microseconds: what was assigned since then and is not among its attempts has
    /// never reached it. None when it does not say.
    #[serde(default)]
    pub up_micros: Option<i64>,
    /// Whether it tries connections out when it is asked.
    #[serde(default)]
    pub tries_connections: bool,
    /// Whether it carries notifications out when it is asked.
    #[serde(default)]
    pub notifies: bool,
}

/// What has come of a notification.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Told {
    /// It was carried out.
    Yes,
    /// It was not; it may be, if it is tried again.
    NotNow,
    /// It was not, and would not be if it were tried again.
    No,
}

impl Notification {
    /// A worker carries out so many at once; the leader gives it no more.
    pub const AT_ONCE_MAX: usize = 32;
}

/// A callback that a worker carries out: an attempt of no task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Notification {
    /// Its id: the same however often it is sent.
    pub notification: NotificationId,
    /// This try's own id, with which it asks for connections and variables.
    pub attempt: AttemptId,
    /// The instance that its context is about.
    pub ti: TiKey,
    /// The facts that its templates show; what has happened is among its macros.
    pub context: TaskContext,
    /// What to do.
    pub callback: Callback,
    /// The files of the DAG version: name to SHA-256 in hex.
    pub files: BTreeMap<String, String>,
    /// How long it may take, in seconds.
    pub timeout_secs: f64,
}

/// Workers of 0.1.0 do not say what they know.
fn operators_of_0_1_0() -> BTreeSet<String> {
    Operator::NAMES_OF_0_1_0.iter().map(ToString::to_string).collect()
}

/// The operators that workers of this version know, and that they know expanded tasks, sensors that look again later, and waits
/// without a slot.
#[must_use]
pub fn known_operators() -> BTreeSet<String> {
    Operator::NAMES
        .iter()
        .copied()
        .chain([Operator::EXPANDED, Operator::RESCHEDULES, Operator::DEFERS])
        .map(str::to_owned)
        .collect()
}

/// What can be read of any message.
#[derive(Debug, Deserialize)]
pub struct Head {
    #[serde(rename = "type")]
    kind: String,
    attempt: Option<AttemptId>,
    seq: Option<u64>,
}

/// What a connection carries.
pub trait Message: Serialize + DeserializeOwned {
    /// What stands for a message that this version can not read; none when the connection is of no use without it.
    #[must_use]
    fn unreadable(head: Head, why: String) -> Option<Self> {
        let _nothing_is_made_of = (head, why);
        None
    }
}

impl Message for ToWorker {
    fn unreadable(head: Head, why: String) -> Option<Self> {
        Some(Self::Unreadable { kind: head.kind, attempt: head.attempt, why })
    }
}

impl Message for FromWorker {
    fn unreadable(head: Head, why: String) -> Option<Self> {
        match (head.kind.as_str(), head.attempt, head.seq) {
            ("hello", ..) => None,
            // Left out, it would be acknowledged with the next report, and its attempt would never end.
            ("ended", Some(attempt), Some(seq)) => {
                let end = AttemptEnd::new(EndKind::Failed, format!("the report of its end can not be read: {why}"));
                Some(Self::Ended { seq, attempt, end: Box::new(end) })
            }
            _ => Some(Self::Unreadable { kind: head.kind, why }),
        }
    }
}

/// Everything that a worker needs to run an attempt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Assignment {
    /// The execution's id, the fence of everything it does.
    pub attempt: AttemptId,
    /// The instance that it belongs to.
    pub ti: TiKey,
    /// The facts that its templates and its environment show.
    pub context: TaskContext,
    /// What to do.
    pub operator: Operator,
    /// The files of the DAG version that the operator may name: name to SHA-256 in hex.
    pub files: BTreeMap<String, String>,
    /// How long it may run, in seconds.
    pub execution_timeout_secs: Option<f64>,
    /// Whether what it returns becomes an XCom (Airflow's `do_xcom_push`, true unless said otherwise).
    pub do_xcom_push: bool,
    /// Whether each key of the mapping that it returns is an XCom, too.
    #[serde(default)]
    pub multiple_outputs: bool,
    /// Rules that decide for some failures whether a try follows, and when.
    #[serde(default)]
    pub retry_policy: Vec<RetryRule>,
    /// What an instance of an expanded task gets, and what it is called; none for a task that is not expanded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mapped: Option<Box<Mapped>>,
    /// What a sensor has done in its try before, when it looks again; of one that defers: when another worker had its wait.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub poked: Option<Poked>,
}

/// What a sensor has done in its try before.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Poked {
    /// How long ago it looked first, in seconds.
    pub waited_secs: f64,
    /// How often it was put off.
    pub times: u32,
}

/// What an instance of an expanded task gets.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Mapped {
    /// Its elements; none when they can not be told any more, because a task before it was cleared.
    pub given: Option<Given>,
    /// A template of what it is called.
    pub map_index_template: Option<String>,
    /// The keys of its operator that its elements have to give.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<String>,
}

/// The elements of one instance.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Given {
    /// One for each name.
    Named(Vec<(String, Element)>),
    /// A mapping of names to values.
    Kwargs(Element),
}

/// An element: a value, or where it is found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Element {
    /// This value.
    Value(serde_json::Value),
    /// An element of what a task of the run has returned.
    Output {
        /// Its id, for sentences.
        task_id: TaskId,
        /// The task.
        task: TaskIdx,
        /// Which element.
        index: u64,
    },
    /// A list of these.
    List(Vec<Element>),
}

/// The facts of a task instance, with Airflow's names.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TaskContext {
    /// The DAG.
    pub dag_id: DagId,
    /// The run.
    pub run_id: RunId,
    /// The run's number.
    pub run_key: RunKey,
    /// The run's type.
    pub run_type: RunType,
    /// The task.
    pub task_id: TaskId,
    /// Task ids of the DAG and their numbers, for `xcom_pull(task_ids=…)`.
    pub task_numbers: Arc<BTreeMap<TaskId, TaskIdx>>,
    /// Which instance of an expanded task.
    pub map_index: MapIndex,
    /// Which try.
    pub try_number: TryNumber,
    /// The last try that a failure may lead to.
    pub max_tries: i16,
    /// The date that the run stands for.
    pub logical_date: Option<Timestamp>,
    /// The data that the run covers.
    pub data_interval: Option<(Timestamp, Timestamp)>,
    /// The earliest start of the run.
    pub run_after: Timestamp,
    /// When the run started.
    pub run_started_at: Timestamp,
    /// The run's conf.
    pub conf: serde_json::Map<String, serde_json::Value>,
    /// The DAG's params with the conf over them.
    pub params: serde_json::Map<String, serde_json::Value>,
    /// The DAG's owner, tags and the like, for `dag.…` in templates.
    pub dag_fields: serde_json::Map<String, serde_json::Value>,
    /// The task's owner, operator and the like, for `task.…` and `ti.…` in templates.
    #[serde(default)]
    pub task_fields: serde_json::Map<String, serde_json::Value>,
    /// Whether a template in a value gives what it is, a number, list or mapping, instead of its text.
    #[serde(default)]
    pub native: bool,
    /// Values that the DAG's templates know by a name.
    #[serde(default)]
    pub macros: serde_json::Map<String, serde_json::Value>,
    /// The end of the previous successful run's data interval, and its start.
    pub prev_success_interval: Option<(Timestamp, Timestamp)>,
    /// The assets and aliases that the task writes.
    #[serde(default)]
    pub outlets: Vec<AssetNews>,
    /// Those that it reads.
    #[serde(default)]
    pub inlets: Vec<AssetNews>,
}

/// Everything that a worker needs to run a service's instance.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ServiceStart {
    /// The instance's id, its fence.
    pub instance: Uuid,
    /// The replica that it is.
    pub key: ServiceKey,
    /// What to run. `pass_env` is resolved on the worker at each start.
    pub spec: ServiceSpec,
}

/// What an instance of a service wrote to its report descriptor, passed on as it is (see `model::service`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ServiceReport {
    /// Which instance.
    pub instance: Uuid,
    /// A JSON object with the tag `type`: progress, ready, completed or error.
    pub line: serde_json::Value,
}

/// The end of an instance.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ServiceExit {
    /// Which instance.
    pub instance: Uuid,
    /// Its exit code, none when a signal ended it.
    pub exit_code: Option<i32>,
    /// One sentence: how it ended, with the last line of its error output.
    pub reason: String,
}

/// How a replica stands, for the attempt that declared it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ServiceStatus {
    /// Which replica.
    pub key: ServiceKey,
    /// Its state.
    pub state: ServiceState,
    /// Rises whenever the service reports progress; the declaring attempt's patience starts again then.
    pub progress: u64,
    /// One sentence: `41,000 records, 1,200 behind`.
    pub sentence: String,
}
