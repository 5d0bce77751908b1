//! What a task does: the operators' own keys, shared by the DAG format and the executors.
//!
//! Texts are Jinja templates unless said otherwise; they are rendered in the worker and nowhere else.

mod asking;
mod callable;
mod http;
mod kafka;
mod sensor;
mod trigger;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use asking::{AnswerMeans, Approval, Asking, Choice, HitlUser, OnReject};
pub use callable::{PythonCallable, Returns};
pub use http::{Http, HttpMethod, HttpOptions, HttpPayload, HttpRequest, HttpTarget};
pub use kafka::{
    KafkaConsume, KafkaGoal, KafkaLag, KafkaMessages, KafkaProduce, KafkaProgress, KafkaReader, KafkaSensor,
    KafkaStart, KafkaSubscription, KafkaTopic, KafkaTopicState,
};
pub use sensor::{
    DateTimeSensor, ExternalTaskSensor, FileSensor, HttpSensor, PokeMode, Poking, SqlSensor, TimeDeltaSensor,
};
pub use trigger::{TriggerDagRunTask, TriggerDate};

use crate::container::{Container, Docker};

/// An operator with its keys. The tag is the operator's short name, as in YAML.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "operator", rename_all = "snake_case")]
pub enum Operator {
    /// Does nothing; the engine ends it without a worker, as Airflow does with EmptyOperator.
    Empty,
    /// Runs a bash command.
    Bash(Bash),
    /// Runs Python code as a process.
    Python(Python),
    /// Runs SQL statements.
    Sql(Sql),
    /// Runs SQL queries that must return no row.
    SqlCheck(Sql),
    /// Declares services and waits until they are ready.
    Service(ServiceTask),
    /// Runs a command in a container.
    Docker(Box<Docker>),
    /// Chooses which of the tasks after it run.
    Branch(Branch),
    /// Skips what is after it unless a condition holds.
    ShortCircuit(ShortCircuit),
    /// Makes an HTTP request.
    Http(Http),
    /// Starts a run of another DAG.
    TriggerDagRun(TriggerDagRunTask),
    /// Waits for a file.
    FileSensor(FileSensor),
    /// Waits for an answer to an HTTP request.
    HttpSensor(HttpSensor),
    /// Waits for what a query gives.
    SqlSensor(SqlSensor),
    /// Waits for a run of another DAG, or for tasks of it.
    ExternalTaskSensor(ExternalTaskSensor),
    /// Produces messages to a topic.
    KafkaProduce(KafkaProduce),
    /// Takes messages from topics.
    KafkaConsume(KafkaConsume),
    /// Waits for messages, or for a reader to catch up.
    KafkaSensor(KafkaSensor),
    /// Makes, changes or deletes a topic.
    KafkaTopic(KafkaTopic),
    /// Measures how far a reader is behind.
    KafkaLag(KafkaLag),
    /// Calls a Python function in a process.
    PythonCallable(Box<PythonCallable>),
    /// Waits for a moment.
    DateTimeSensor(DateTimeSensor),
    /// Waits for so long after the run's data interval.
    TimeDeltaSensor(TimeDeltaSensor),
    /// Passes over what follows when there is a newer interval.
    LatestOnly,
    /// Asks people whether what follows may go on.
    Approval(Box<Approval>),
    /// Asks people to choose, or to give values.
    Choice(Box<Choice>),
}

impl Operator {
    /// The short names of all operators: what a worker of this version can be given.
    pub const NAMES: &'static [&'static str] = &[
        "empty",
        "bash",
        "python",
        "sql",
        "sql_check",
        "service",
        "docker",
        "branch",
        "short_circuit",
        "http",
        "trigger_dag_run",
        "file_sensor",
        "http_sensor",
        "sql_sensor",
        "external_task_sensor",
        "kafka_produce",
        "kafka_consume",
        "kafka_sensor",
        "kafka_topic",
        "kafka_lag",
        "python_callable",
        "date_time_sensor",
        "time_delta_sensor",
        "latest_only",
        "approval",
        "choice",
    ];
    /// What a worker says beside the operators that it knows, when its sensors can look again later.
    pub const RESCHEDULES: &'static str = "reschedule";
    /// What a worker says beside the operators that it knows, when it holds waits without a slot.
    pub const DEFERS: &'static str = "deferrable";
    /// What a worker says beside the operators that it knows, when it knows expanded tasks.
    pub const EXPANDED: &'static str = "expand";
    /// What workers know that do not say it: those of version 0.1.0.
    pub const NAMES_OF_0_1_0: &'static [&'static str] = &[
        "empty",
        "bash",
        "python",
        "sql",
        "sql_check",
        "service",
        "docker",
        "branch",
        "short_circuit",
        "http",
        "trigger_dag_run",
        "file_sensor",
        "http_sensor",
        "sql_sensor",
        "external_task_sensor",
    ];

    /// The operator's short name, as in YAML.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::Bash(_) => "bash",
            Self::Python(_) => "python",
            Self::Sql(_) => "sql",
            Self::SqlCheck(_) => "sql_check",
            Self::Service(_) => "service",
            Self::Docker(_) => "docker",
            Self::Branch(_) => "branch",
            Self::ShortCircuit(_) => "short_circuit",
            Self::Http(_) => "http",
            Self::TriggerDagRun(_) => "trigger_dag_run",
            Self::FileSensor(_) => "file_sensor",
            Self::HttpSensor(_) => "http_sensor",
            Self::SqlSensor(_) => "sql_sensor",
            Self::ExternalTaskSensor(_) => "external_task_sensor",
            Self::KafkaProduce(_) => "kafka_produce",
            Self::KafkaConsume(_) => "kafka_consume",
            Self::KafkaSensor(_) => "kafka_sensor",
            Self::KafkaTopic(_) => "kafka_topic",
            Self::KafkaLag(_) => "kafka_lag",
            Self::PythonCallable(_) => "python_callable",
            Self::DateTimeSensor(_) => "date_time_sensor",
            Self::TimeDeltaSensor(_) => "time_delta_sensor",
            Self::LatestOnly => "latest_only",
            Self::Approval(_) => "approval",
            Self::Choice(_) => "choice",
        }
    }

    /// Whether it is over as soon as it may run, without a slot and without a worker.
    #[must_use]
    pub const fn has_no_work(&self) -> bool {
        matches!(self, Self::Empty | Self::LatestOnly)
    }

    /// What a worker must be able to do to run it.
    #[must_use]
    pub const fn capability(&self) -> Capability {
        match self {
            Self::Bash(_) | Self::Python(_) | Self::PythonCallable(_) => Capability::Process,
            // An engine that the task names is reached over the network, from anywhere.
            Self::Docker(keys) if keys.container.docker_url.is_some() => Capability::Light,
            Self::Docker(_) => Capability::Docker,
            Self::Empty
            | Self::Sql(_)
            | Self::SqlCheck(_)
            | Self::Service(_)
            | Self::Branch(_)
            | Self::ShortCircuit(_)
            | Self::Http(_)
            | Self::TriggerDagRun(_)
            | Self::FileSensor(_)
            | Self::HttpSensor(_)
            | Self::SqlSensor(_)
            | Self::ExternalTaskSensor(_)
            | Self::KafkaProduce(_)
            | Self::KafkaConsume(_)
            | Self::KafkaSensor(_)
            | Self::KafkaTopic(_)
            | Self::KafkaLag(_)
            | Self::DateTimeSensor(_)
            | Self::TimeDeltaSensor(_)
            | Self::LatestOnly
            | Self::Approval(_)
            | Self::Choice(_) => Capability::Light,
        }
    }

    /// How it waits; none when it is no sensor.
    #[must_use]
    pub const fn poking(&self) -> Option<&Poking> {
        match self {
            Self::FileSensor(keys) => Some(&keys.poking),
            Self::HttpSensor(keys) => Some(&keys.poking),
            Self::SqlSensor(keys) => Some(&keys.poking),
            Self::ExternalTaskSensor(keys) => Some(&keys.poking),
            Self::KafkaSensor(keys) => Some(&keys.poking),
            Self::DateTimeSensor(keys) => Some(&keys.poking),
            Self::TimeDeltaSensor(keys) => Some(&keys.poking),
            Self::Empty
            | Self::Bash(_)
            | Self::Python(_)
            | Self::PythonCallable(_)
            | Self::Docker(_)
            | Self::Sql(_)
            | Self::SqlCheck(_)
            | Self::Service(_)
            | Self::Branch(_)
            | Self::ShortCircuit(_)
            | Self::Http(_)
            | Self::TriggerDagRun(_)
            | Self::KafkaProduce(_)
            | Self::KafkaConsume(_)
            | Self::KafkaTopic(_)
            | Self::KafkaLag(_)
            | Self::LatestOnly
            | Self::Approval(_)
            | Self::Choice(_) => None,
        }
    }

    /// Whether it is a sensor that looks again later.
    #[must_use]
    pub fn reschedules(&self) -> bool {
        self.poking().is_some_and(|poking| poking.mode == PokeMode::Reschedule)
    }

    /// Whether it gives its slot back while it waits, and its worker holds the wait.
    #[must_use]
    pub fn defers(&self) -> bool {
        match self {
            Self::TriggerDagRun(keys) => keys.deferrable && keys.wait_for_completion,
            _ => self.poking().is_some_and(|poking| poking.mode == PokeMode::Deferrable),
        }
    }

    /// What it asks people; none when it asks nobody.
    #[must_use]
    pub const fn asking(&self) -> Option<&Asking> {
        match self {
            Self::Approval(keys) => Some(&keys.asking),
            Self::Choice(keys) => Some(&keys.asking),
            Self::Empty
            | Self::Bash(_)
            | Self::Python(_)
            | Self::PythonCallable(_)
            | Self::Docker(_)
            | Self::Sql(_)
            | Self::SqlCheck(_)
            | Self::Service(_)
            | Self::Branch(_)
            | Self::ShortCircuit(_)
            | Self::Http(_)
            | Self::TriggerDagRun(_)
            | Self::FileSensor(_)
            | Self::HttpSensor(_)
            | Self::SqlSensor(_)
            | Self::ExternalTaskSensor(_)
            | Self::KafkaProduce(_)
            | Self::KafkaConsume(_)
            | Self::KafkaSensor(_)
            | Self::KafkaTopic(_)
            | Self::KafkaLag(_)
            | Self::DateTimeSensor(_)
            | Self::TimeDeltaSensor(_)
            | Self::LatestOnly => None,
        }
    }
}

/// What a worker can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Capability {
    /// Templates, network clients, waits.
    Light,
    /// Child processes.
    Process,
    /// Containers.
    Docker,
    /// The directory of a `file://` warehouse.
    LakeLocal,
}

/// Keys of `bash`, as Airflow's BashOperator has them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Bash {
    /// The command, run by `bash -c`.
    pub bash_command: String,
    /// Variables of its environment.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Patterns (`STOCK_*`) of the worker's own variables that it may see.
    #[serde(default)]
    pub pass_env: Vec<String>,
    /// Whether `env` adds to the standard environment; otherwise it replaces it.
    #[serde(default)]
    pub append_env: bool,
    /// Its working directory; a fresh one for each attempt when absent.
    #[serde(default)]
    pub cwd: Option<String>,
    /// Exit codes that mean: skipped.
    #[serde(default = "skip_on_99")]
    pub skip_on_exit_code: Vec<i32>,
}

fn skip_on_99() -> Vec<i32> {
    vec![99]
}

/// Keys of `python`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Python {
    /// The code: a file of the DAG version, or the text itself.
    pub source: PythonSource,
    /// Its arguments, `sys.argv[1:]`.
    #[serde(default)]
    pub args: Vec<String>,
    /// Variables of its environment.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Patterns of the worker's own variables that it may see.
    #[serde(default)]
    pub pass_env: Vec<String>,
    /// The interpreter; `python3` of the worker when absent.
    #[serde(default)]
    pub python_bin: Option<String>,
}

/// Where Python code comes from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PythonSource {
    /// A file below the DAG folder, not a template.
    Script(String),
    /// Code in the DAG file, not a template either.
    Inline(String),
}

/// Keys of `sql` and `sql_check`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sql {
    /// The connection to run on.
    pub conn_id: String,
    /// What to run, in order.
    pub sql: Vec<SqlSource>,
    /// Bound parameters (`:name` in the text).
    #[serde(default)]
    pub parameters: SqlParameters,
    /// Whether the rows of the last statement become the task's XCom.
    #[serde(default)]
    pub output: SqlOutput,
}

/// Parameters of SQL.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum SqlParameters {
    /// By name.
    Named(BTreeMap<String, serde_json::Value>),
    /// A template that gives them, as JSON text.
    Template(String),
}

impl SqlParameters {
    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        matches!(self, Self::Named(named) if named.is_empty())
    }
}

impl Default for SqlParameters {
    fn default() -> Self {
        Self::Named(BTreeMap::new())
    }
}

/// One piece of SQL.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SqlSource {
    /// A file of the DAG version; its text is a template.
    File(String),
    /// Text in the DAG file; a template.
    Text(String),
}

/// What becomes of the last statement's rows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SqlOutput {
    /// Nothing; they are counted in the log.
    #[default]
    None,
    /// They are pushed as a list of objects.
    Rows,
}

/// Keys of `service`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ServiceTask {
    /// The services that must be there.
    pub services: Vec<ServiceSpec>,
    /// How long they may make no progress before the task gives up, in seconds.
    #[serde(default = "two_minutes")]
    pub ready_timeout_secs: f64,
}

fn two_minutes() -> f64 {
    120.0
}

/// One declared service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ServiceSpec {
    /// Its name, unique in the DAG.
    pub name: String,
    /// Program and arguments; of a container: what its image runs, its own when empty.
    pub command: Vec<String>,
    /// The container that it runs in; a process of the worker's machine when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container: Option<Box<Container>>,
    /// How many of it run.
    #[serde(default = "one")]
    pub replicas: i32,
    /// Variables of its environment.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Patterns of the worker's own variables that it may see.
    #[serde(default)]
    pub pass_env: Vec<String>,
    /// When it counts as ready.
    #[serde(default)]
    pub ready_when: ReadyWhen,
    /// How long it may take to stop before it is killed, in seconds.
    #[serde(default = "ten")]
    pub stop_timeout_secs: f64,
}

impl ServiceSpec {
    /// What a worker must be able to do to run it.
    #[must_use]
    pub const fn capability(&self) -> Capability {
        match self.container {
            Some(_) => Capability::Docker,
            None => Capability::Process,
        }
    }
}

fn one() -> i32 {
    1
}

fn ten() -> f64 {
    10.0
}

/// When a service counts as ready.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReadyWhen {
    /// Its process has started and says so, or has completed.
    #[default]
    Started,
    /// It says that it has caught up: a finite source up to its end, an endless one at its first commit.
    CaughtUp,
    /// A number that it reports has reached a value.
    Metric {
        /// The number's name in its reports.
        name: String,
        /// The least value that counts.
        at_least: f64,
    },
}

/// Keys of `branch`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Branch {
    /// A template that gives a task or group id, or a list of them.
    pub follow: String,
}

/// Keys of `short_circuit`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ShortCircuit {
    /// A template that is true or not.
    pub condition: String,
    /// Whether everything after it is skipped, or only what is directly after it.
    #[serde(default)]
    pub reach: SkipReach,
}

/// How far a short circuit skips (Airflow's `ignore_downstream_trigger_rules`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SkipReach {
    /// All tasks after it, whatever their rules say.
    #[default]
    AllDownstream,
    /// The tasks directly after it; rules decide about the rest.
    DirectDownstream,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operator_is_named_once() {
        let error =
            serde_json::from_value::<Operator>(serde_json::json!({"operator": "nothing"})).unwrap_err().to_string();
        let known: Vec<&str> = error.split('`').skip(3).step_by(2).collect();
        assert_eq!(known, Operator::NAMES, "{error}");
        assert!(Operator::NAMES_OF_0_1_0.iter().all(|name| Operator::NAMES.contains(name)));
    }
}
