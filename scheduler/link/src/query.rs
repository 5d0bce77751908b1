//! What api processes ask the leader, beside the commands that go through the inbox: nothing here changes what is stored
//! by itself.

use std::time::Duration;

use futures::future::BoxFuture;
use model::{AttemptId, DagId, MapIndex, RunId, ServiceKey, TaskId, WorkerId};
use serde::{Deserialize, Serialize};

use crate::fetch::ConnectionFields;
pub use crate::message::LogName;

/// A question that only the leader can answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "query", rename_all = "snake_case")]
pub enum Query {
    /// Why a task instance does not run, or how it stands.
    WhyTask {
        /// The DAG.
        dag_id: DagId,
        /// The run.
        run_id: RunId,
        /// The task.
        task_id: TaskId,
        /// The instance.
        map_index: MapIndex,
    },
    /// How a run stands, in one sentence, and why each of its unfinished tasks waits.
    WhyRun {
        /// The DAG.
        dag_id: DagId,
        /// The run.
        run_id: RunId,
    },
    /// How a DAG stands: paused, when its next run comes, what holds it.
    WhyDag {
        /// The DAG.
        dag_id: DagId,
    },
    /// A piece of a log.
    ReadLog {
        /// Whose.
        log: LogName,
        /// The worker that has it, by the stored row; without one all are asked.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        worker: Option<WorkerId>,
        /// From this byte.
        offset: u64,
        /// At most so many bytes.
        bytes_max: u32,
    },
    /// Whether a connection works, tried out by a worker.
    TryConnection {
        /// The connection, as it would be for a task.
        connection: Box<ConnectionFields>,
    },
    /// Read a file of the DAG folder again, whether it looks changed or not.
    LookAgain {
        /// Its name below the folder.
        file: String,
    },
    /// Leader, workers and slots, for the foot of every page.
    Cluster,
    /// How pools are used, and who waits for them.
    Pools,
}

impl Query {
    /// How long its answer may take. A page does not wait longer for a sentence or a piece of a log; what a worker tries out
    /// takes the time that the other end takes.
    #[must_use]
    pub const fn answered_within(&self) -> Duration {
        match self {
            Self::TryConnection { .. } => Duration::from_secs(18),
            Self::WhyTask { .. }
            | Self::WhyRun { .. }
            | Self::WhyDag { .. }
            | Self::ReadLog { .. }
            | Self::LookAgain { .. }
            | Self::Cluster
            | Self::Pools => Duration::from_secs(5),
        }
    }
}

/// The leader's answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "reply", rename_all = "snake_case")]
pub enum Reply {
    /// One sentence.
    Why {
        /// The sentence.
        sentence: String,
        /// A sentence for each unfinished task instance, for WhyRun.
        tasks: Vec<TaskWhy>,
    },
    /// A piece of a log.
    Log(LogChunk),
    /// How the cluster stands.
    Cluster(ClusterView),
    /// How pools are used.
    Pools {
        /// Every pool.
        pools: Vec<PoolView>,
    },
    /// What came of a connection that was tried out.
    Tried {
        /// Whether it works.
        works: bool,
        /// How that was found out, or what is wrong; free of secrets.
        message: String,
    },
    /// What was asked for is done soon.
    Noted,
    /// What was named does not exist, or its worker is gone: the text says which.
    NotFound {
        /// One sentence.
        detail: String,
    },
}

/// Why one task instance waits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskWhy {
    /// The task.
    pub task_id: TaskId,
    /// The instance.
    pub map_index: MapIndex,
    /// The sentence.
    pub sentence: String,
}

/// A piece of a log, as stored: JSON lines `{"ts": …, "stream": "out|err|sys", "text": …}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogChunk {
    /// The bytes from the offset asked for.
    #[serde(with = "serde_bytes")]
    pub bytes: Vec<u8>,
    /// The log's length now.
    pub length: u64,
    /// Whether nothing more will come.
    pub ended: bool,
}

/// How the cluster stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterView {
    /// The leader's name.
    pub leader: String,
    /// Its epoch.
    pub epoch: i64,
    /// Every known worker.
    pub workers: Vec<WorkerView>,
}

/// A worker as people see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerView {
    /// Its name.
    pub name: String,
    /// How many attempts it can run.
    pub slots: u32,
    /// How many it runs.
    pub used: u32,
    /// Whether it is connected and beats.
    pub alive: bool,
    /// Whether it was asked to end: it takes nothing new.
    #[serde(default)]
    pub leaving: bool,
    /// The services that run on it.
    pub services: Vec<ServiceKey>,
    /// The first attempts that it has, waits without a slot among them.
    pub attempts: Vec<AttemptId>,
}

/// How a pool is used, in slots.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolView {
    /// Its name.
    pub name: String,
    /// Whether it exists: tasks may name one that does not, and wait for it.
    pub exists: bool,
    /// Taken by attempts that run.
    pub running: u32,
    /// Taken by attempts that have not begun.
    pub queued: u32,
    /// Asked for by instances that wait.
    pub scheduled: u32,
    /// Taken by deferred instances, if the pool counts them.
    pub deferred: u32,
    /// What counts against its limit.
    pub occupied: u32,
    /// The first few that wait, in their order.
    pub next: Vec<PoolWaiter>,
}

/// A task instance that waits for a pool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolWaiter {
    /// Its DAG.
    pub dag_id: DagId,
    /// Its run.
    pub run_id: RunId,
    /// Its task.
    pub task_id: TaskId,
}

/// There is no leader to ask right now.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no leader answers: {reason}")]
pub struct NoLeader {
    /// Why, in words for people.
    pub reason: String,
}

/// The way to the leader: a channel in its own process, a connection from another.
pub trait LeaderPort: Send + Sync {
    /// Asks and waits for the answer, within the port's own time limit.
    fn ask(&self, query: Query) -> BoxFuture<'_, Result<Reply, NoLeader>>;

    /// Tells the leader that the inbox has something: a hint, never needed for correctness.
    fn hint(&self);
}
