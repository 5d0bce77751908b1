//! What an executor is given: the attempt, its log, and its ways to the leader and the machine.

use std::{path::PathBuf, sync::Arc, time::Duration};

use futures::{FutureExt as _, future::BoxFuture};
use link::{Assignment, ConnectionFields, FetchItem, FetchKey, ServiceStatus};
use model::{Operator, operator::ServiceSpec};
use serde_json::{Map, Value};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{
    Elements, Masker, Stop, Workspaces,
    docker::DockerPolicy,
    environment::{self, Variables},
    kafka::mask_kafka,
    log::Log,
    process::{GroupRegister, Launchers},
    sql::mask_trino,
    template::{GIVEN_UP, Renderer, TemplateError},
};

tokio::task_local! {
    /// The request to end the attempt that this task carries out: rendering and questions to the leader heed it wherever an
    /// executor renders or asks.
    pub(crate) static STOP: Stop;
}

/// The leader, as one attempt sees it: nothing of another run can be reached through it.
pub trait Host: Send + Sync {
    /// Asks for a connection, a variable, XComs of the attempt's run, or a file of its DAG version.
    fn fetch(&self, key: FetchKey) -> BoxFuture<'_, FetchItem>;

    /// Declares the services of an attempt of operator `service`; said again after each reconnect by the host.
    fn declare(&self, services: Vec<ServiceSpec>, hashes: Vec<String>) -> BoxFuture<'_, ()>;

    /// Tells the leader what an attempt that waits is waiting for. Without a leader nobody is told.
    fn say(&self, _line: String) -> BoxFuture<'_, ()> {
        std::future::ready(()).boxed()
    }

    /// How the declared services stand; empty until the leader has answered.
    fn services(&self) -> watch::Receiver<Vec<ServiceStatus>>;
}

/// Where the embedded lake is: handed to its programs by their environment, shown nowhere.
#[derive(Clone, PartialEq, Eq)]
pub struct LakeSettings {
    /// `WINDLASS_LAKE_DATABASE_URL`.
    pub database_url: String,
    /// `WINDLASS_LAKE_WAREHOUSE`.
    pub warehouse: String,
}

impl std::fmt::Debug for LakeSettings {
    /// Shows everything but the database's URL, which has a password in it.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LakeSettings").field("warehouse", &self.warehouse).finish_non_exhaustive()
    }
}

/// What all attempts of a worker share.
#[derive(Debug)]
pub struct WorkerContext {
    /// The worker's identity, by which its guard finds processes.
    pub worker: Uuid,
    /// Windlass's own directory, first in every task's PATH.
    pub program_dir: PathBuf,
    /// Where each attempt gets a directory of its own.
    pub workspaces: Workspaces,
    /// What attempts write down for the next try lies below it; it survives the worker's process.
    pub state_dir: PathBuf,
    /// The embedded lake, when this worker can reach one.
    pub lake: Option<LakeSettings>,
    /// Where process groups are made known to the guard.
    pub groups: Arc<GroupRegister>,
    /// What starts processes.
    pub launchers: Launchers,
    /// How long processes may take to end after TERM before they are killed.
    pub kill_grace: Duration,
    /// What containers may do with this machine.
    pub docker: DockerPolicy,
    /// How the instances of an expanded task get their operator.
    pub operators: GivenOperators,
}

/// An operator with values for its keys, of which the named ones have to be there; or why there is none.
type WithValues = fn(&Operator, &[String], &Map<String, Value>) -> Result<Operator, String>;

/// How operators take values for their keys, as whoever reads DAG files knows it.
#[derive(Debug, Clone, Copy)]
pub struct GivenOperators {
    /// Whether a name is a key of an operator.
    pub is_key: fn(&Operator, &str) -> bool,
    /// Whether a text in this key is rendered.
    pub is_template: fn(&str) -> bool,
    /// The operator with these values, of which the named ones have to be there; or why there is none.
    pub with: WithValues,
}

/// A connection that an attempt can not have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoConnection {
    /// Nobody has defined it.
    #[error("there is no connection {conn_id:?}: {detail}")]
    Missing {
        /// Its id.
        conn_id: String,
        /// Where it was looked for.
        detail: String,
    },
    /// The leader could not say.
    #[error("connection {conn_id:?}: {detail}")]
    Unavailable {
        /// Its id.
        conn_id: String,
        /// Why.
        detail: String,
    },
}

/// One execution of a task instance.
pub struct Attempt {
    /// What to do.
    pub assignment: Assignment,
    /// Its log.
    pub log: Log,
    /// What must not show in logs and reasons.
    pub masker: Masker,
    /// Its way to the leader.
    pub host: Arc<dyn Host>,
    /// What it shares with other attempts.
    pub worker: Arc<WorkerContext>,
    /// Its elements, when its task is expanded; fetched before it runs.
    pub elements: Elements,
}

impl Attempt {
    /// How long it may run; none when there is no limit that a clock can hold.
    #[must_use]
    pub fn execution_timeout(&self) -> Option<Duration> {
        self.assignment.execution_timeout_secs.and_then(|secs| Duration::try_from_secs_f64(secs).ok())
    }

    /// Runs `work` with a renderer on a thread that may block, since templates fetch what they name.
    ///
    /// # Errors
    /// What `work` answers; [`TemplateError`] when the template engine itself gives up.
    pub(crate) async fn render<T, F>(&self, work: F) -> Result<T, TemplateError>
    where
        F: FnOnce(&Renderer) -> Result<T, TemplateError> + Send + 'static,
        T: Send + 'static,
    {
        let (mut context, ti) = (self.assignment.context.clone(), self.assignment.ti);
        context.params = self.params();
        let (host, masker) = (Arc::clone(&self.host), self.masker.clone());
        let elements: Vec<(String, Value)> =
            self.elements.all().map(|(name, value)| (name.clone(), value.clone())).collect();
        let handle = tokio::runtime::Handle::current();
        let given_up = CancellationToken::new();
        // The thread ends soon after nobody waits for it: it fetches nothing more, and each template has a limit.
        let _given_up = given_up.clone().drop_guard();
        let task = tokio::task::spawn_blocking(move || {
            let renderer = Renderer::new(context, ti, host, masker, handle, given_up);
            work(&renderer.with_elements(elements))
        });
        let stop = STOP.try_with(Stop::clone).unwrap_or_default();
        tokio::select! {
            rendered = task => rendered.unwrap_or_else(|panic| Err(TemplateError::broken(&panic.to_string()))),
            cause = stop.requested() => Err(TemplateError::Stopped(cause)),
        }
    }

    /// Writes what it waits for to the log, and tells the leader, who shows it where people ask why.
    pub(crate) async fn say(&self, line: &str) {
        self.log.system(line);
        self.host.say(self.masker.mask(line).into_owned()).await;
    }

    /// Writes the rendered fields: the first line of the log. A further look of a wait adds its own lines only.
    pub(crate) fn log_rendered(&self, fields: Value) {
        if self.assignment.poked.is_some() && self.log.has_lines() {
            return;
        }
        match fields {
            Value::Object(fields) => self.log.rendered(&fields),
            other => self.log.rendered(&serde_json::Map::from_iter([("value".to_owned(), other)])),
        }
    }

    /// The worker's own variables that the operator may see; those with a secret's name are masked from now on.
    pub(crate) fn passed(&self, patterns: &[String]) -> Variables {
        let variables = environment::passed(patterns);
        self.mask_named(&variables);
        variables
    }

    /// From now on the values with a secret's name are masked.
    pub(crate) fn mask_named(&self, variables: &Variables) {
        variables.iter().for_each(|(name, value)| self.masker.add_named(name, value));
    }

    /// Asks the leader; a leader that is away keeps nobody from ending the attempt.
    pub(crate) async fn ask(&self, key: FetchKey) -> FetchItem {
        let stop = STOP.try_with(Stop::clone).unwrap_or_default();
        tokio::select! {
            item = self.host.fetch(key) => item,
            _ = stop.requested() => FetchItem::Unavailable(GIVEN_UP.to_owned()),
        }
    }

    /// A connection; its secrets are masked from now on.
    ///
    /// # Errors
    /// [`NoConnection`], whose text says which one.
    pub(crate) async fn connection(&self, conn_id: &str) -> Result<Box<ConnectionFields>, NoConnection> {
        let conn_id = conn_id.to_owned();
        match self.ask(FetchKey::Connection(conn_id.clone())).await {
            FetchItem::Connection(fields) => {
                mask_connection(&self.masker, &fields);
                Ok(fields)
            }
            FetchItem::Missing(detail) => Err(NoConnection::Missing { conn_id, detail }),
            other => Err(NoConnection::Unavailable { conn_id, detail: other.misfit() }),
        }
    }

    /// The text of a file of the DAG version.
    ///
    /// # Errors
    /// One sentence for the attempt's reason.
    pub(crate) async fn file_text(&self, name: &str) -> Result<String, String> {
        let bytes = self.file_bytes(name).await?;
        String::from_utf8(bytes).map_err(|error| format!("file {name:?} is not UTF-8 text: {error}"))
    }

    /// A file of the DAG version.
    ///
    /// # Errors
    /// One sentence for the attempt's reason.
    pub(crate) async fn file_bytes(&self, name: &str) -> Result<Vec<u8>, String> {
        let known = || self.assignment.files.keys().cloned().collect::<Vec<_>>().join(", ");
        let Some(sha256) = self.assignment.files.get(name) else {
            return Err(format!("the DAG version has no file {name:?}; it has: {}", known()));
        };
        match self.ask(FetchKey::File(sha256.clone())).await {
            FetchItem::File(bytes) => Ok(bytes),
            other => Err(format!("file {name:?}: {}", other.misfit())),
        }
    }
}

/// Masks the secrets of a connection, whoever has asked for it: some types have them where others have none.
pub(crate) fn mask_connection(masker: &Masker, fields: &ConnectionFields) {
    match fields.conn_type.as_str() {
        "trino" => mask_trino(masker, fields),
        "kafka" => mask_kafka(masker, fields),
        _ => masker.add_connection(fields),
    }
}
