//! The operators that ask or wait for something outside of their run: HTTP, other DAGs, sensors.

use super::{Key, OperatorKeys, Shape, key};

/// The most redirects that a request may be told to follow.
pub(crate) const REDIRECTS_MAX: i64 = 100;

/// How a sensor waits.
pub(crate) const SENSOR_MODES: &[&str] = &["poke", "reschedule"];

const METHODS: &[&str] = model::operator::HttpMethod::NAMES;

/// What every sensor has.
pub(super) const SENSOR: &[Key] = &[
    key(
        "mode",
        Shape::OneOf(SENSOR_MODES),
        "How it waits: poke holds its slot, reschedule frees it between two looks.",
    ),
    key("poke_interval", Shape::Duration, "The pause between two looks; 60s when absent."),
    key("timeout", Shape::Duration, "After so long it fails without a further try; 7 days when absent."),
    key("soft_fail", Shape::Bool, "Whether it is skipped, not failed, when the time is over."),
    key("silent_fail", Shape::Bool, "Whether a look that fails is only logged."),
    key("never_fail", Shape::Bool, "Whether it is skipped, not failed, whatever goes wrong."),
    key("exponential_backoff", Shape::Bool, "Whether the pause doubles from look to look."),
    key("max_wait", Shape::Duration, "The longest pause of one that grows."),
    key("deferrable", Shape::Bool, "Whether it waits without a slot, held by a worker; instead of mode."),
];

/// What every request has.
const REQUEST: &[Key] = &[
    key("http_conn_id", Shape::Text, "The connection with host, login and headers; http_default when absent."),
    key("endpoint", Shape::Text, "The path below the connection's host; a template."),
    key("url", Shape::Text, "A whole URL in place of a connection; a template."),
    key("method", Shape::OneOf(METHODS), "POST when absent, GET for a sensor."),
    key("headers", Shape::Environment, "Headers beside those of the connection."),
    key("extra_options", Shape::Definition("http_options"), "How the request is made."),
    key("response_check", Shape::Text, "A template with the name response; it has to hold."),
];

/// Keys of `extra_options`.
pub(crate) const HTTP_OPTIONS: &[Key] = &[
    key("timeout", Shape::Duration, "How long the exchange may take; 60s when absent."),
    key("allow_redirects", Shape::Bool, "Whether redirects are followed; true when absent."),
    key("max_redirects", Shape::Whole(0, REDIRECTS_MAX), "How many redirects are followed; 30 when absent."),
    key("check_response", Shape::Bool, "Whether a status of 400 or more is a failure; true when absent."),
    key("verify", Shape::Bool, "Whether the server's certificate is checked; true when absent."),
];

pub(super) const HTTP_OPERATOR: OperatorKeys = OperatorKeys {
    name: "http",
    synonyms: &[
        "HttpOperator",
        "SimpleHttpOperator",
        "airflow.providers.http.operators.http.HttpOperator",
        "airflow.providers.http.operators.http.SimpleHttpOperator",
        "airflow.operators.http_operator.SimpleHttpOperator",
        "airflow.operators.SimpleHttpOperator",
    ],
    tables: &[
        REQUEST,
        &[
            key("data", Shape::Any, "A mapping or a text: the query of a GET, otherwise the body."),
            key("json", Shape::Any, "A body in JSON."),
            key("response_filter", Shape::Text, "A template with the name response: what the task returns."),
            key("log_response", Shape::Bool, "Whether the body is written to the log."),
        ],
    ],
    required: &[],
};

pub(super) const TRIGGER_DAG_RUN: OperatorKeys = OperatorKeys {
    name: "trigger_dag_run",
    synonyms: &[
        "TriggerDagRunOperator",
        "airflow.providers.standard.operators.trigger_dagrun.TriggerDagRunOperator",
        "airflow.operators.trigger_dagrun.TriggerDagRunOperator",
        "airflow.operators.dagrun_operator.TriggerDagRunOperator",
        "airflow.operators.TriggerDagRunOperator",
    ],
    tables: &[&[
        key("trigger_dag_id", Shape::Text, "The DAG that is to run; a template."),
        key("trigger_run_id", Shape::Text, "The id of its run; a template."),
        key("conf", Shape::Any, "Values for its params: a mapping, or a template that gives one."),
        key("logical_date", Shape::Date, "The date that its run stands for; a template; now when absent."),
        key("reset_dag_run", Shape::Bool, "Whether a run that exists already is cleared."),
        key("skip_when_already_exists", Shape::Bool, "Whether the task is skipped when the run exists already."),
        key("fail_when_dag_is_paused", Shape::Bool, "Whether the task fails when the DAG is paused."),
        key("wait_for_completion", Shape::Bool, "Whether the task waits for the run's end."),
        key("poke_interval", Shape::Duration, "The pause between two looks at the run; 60s when absent."),
        key("allowed_states", Shape::Texts, "States that end the wait well; success when absent."),
        key("failed_states", Shape::Texts, "States that fail the task; failed when absent."),
        key("deferrable", Shape::Bool, "Whether it waits without a slot; with wait_for_completion."),
    ]],
    required: &["trigger_dag_id"],
};

pub(super) const FILE_SENSOR: OperatorKeys = OperatorKeys {
    name: "file_sensor",
    synonyms: &[
        "FileSensor",
        "airflow.providers.standard.sensors.filesystem.FileSensor",
        "airflow.sensors.filesystem.FileSensor",
        "airflow.contrib.sensors.file_sensor.FileSensor",
    ],
    tables: &[
        &[
            key("filepath", Shape::Text, "A file, a folder or a pattern on the worker's machine; a template."),
            key("fs_conn_id", Shape::Text, "The connection whose extra path a relative name is below."),
            key("recursive", Shape::Bool, "Whether ** stands for any number of folders."),
        ],
        SENSOR,
    ],
    required: &["filepath"],
};

pub(super) const DATE_TIME_SENSOR: OperatorKeys = OperatorKeys {
    name: "date_time_sensor",
    synonyms: &[
        "DateTimeSensor",
        "airflow.providers.standard.sensors.date_time.DateTimeSensor",
        "airflow.sensors.date_time.DateTimeSensor",
        "airflow.sensors.date_time_sensor.DateTimeSensor",
    ],
    tables: &[&[key("target_time", Shape::Text, "The moment that it waits for; a template.")], SENSOR],
    required: &["target_time"],
};

pub(super) const TIME_DELTA_SENSOR: OperatorKeys = OperatorKeys {
    name: "time_delta_sensor",
    synonyms: &[
        "TimeDeltaSensor",
        "airflow.providers.standard.sensors.time_delta.TimeDeltaSensor",
        "airflow.sensors.time_delta.TimeDeltaSensor",
        "airflow.sensors.time_delta_sensor.TimeDeltaSensor",
    ],
    tables: &[
        &[key("delta", Shape::Duration, "How long after the end of the run's data interval, or after it was due.")],
        SENSOR,
    ],
    required: &["delta"],
};

pub(super) const HTTP_SENSOR: OperatorKeys = OperatorKeys {
    name: "http_sensor",
    synonyms: &[
        "HttpSensor",
        "airflow.providers.http.sensors.http.HttpSensor",
        "airflow.sensors.http_sensor.HttpSensor",
        "airflow.operators.sensors.HttpSensor",
    ],
    tables: &[
        REQUEST,
        &[
            key("request_params", Shape::Any, "A mapping or a text: the query of a GET, otherwise the body."),
            key(
                "response_error_codes_allowlist",
                Shape::ErrorStatuses,
                "Statuses that mean: not yet; 404 when absent.",
            ),
        ],
        SENSOR,
    ],
    required: &[],
};

pub(super) const SQL_SENSOR: OperatorKeys = OperatorKeys {
    name: "sql_sensor",
    synonyms: &[
        "SqlSensor",
        "airflow.providers.common.sql.sensors.sql.SqlSensor",
        "airflow.sensors.sql.SqlSensor",
        "airflow.sensors.sql_sensor.SqlSensor",
        "airflow.operators.sensors.SqlSensor",
    ],
    tables: &[
        &[
            key("conn_id", Shape::Text, "The connection to ask."),
            key("sql", Shape::Text, "The query, or a file whose name ends with .sql."),
            key("parameters", Shape::Any, "Bound parameters by name, or a template that gives them."),
            key("success", Shape::Text, "A template with the names value and row; it has to hold."),
            key("failure", Shape::Text, "A template with the same names; the task fails when it holds."),
            key("fail_on_empty", Shape::Bool, "Whether the task fails when no row comes back."),
        ],
        SENSOR,
    ],
    required: &["conn_id", "sql"],
};

pub(super) const EXTERNAL_TASK_SENSOR: OperatorKeys = OperatorKeys {
    name: "external_task_sensor",
    synonyms: &[
        "ExternalTaskSensor",
        "airflow.providers.standard.sensors.external_task.ExternalTaskSensor",
        "airflow.sensors.external_task.ExternalTaskSensor",
        "airflow.sensors.external_task_sensor.ExternalTaskSensor",
        "airflow.operators.sensors.ExternalTaskSensor",
        "airflow.sensors.ExternalTaskSensor",
    ],
    tables: &[
        &[
            key("external_dag_id", Shape::Text, "The other DAG."),
            key("external_task_id", Shape::Text, "Its task; its whole run when absent."),
            key("external_task_ids", Shape::Texts, "Several of its tasks."),
            key("execution_delta", Shape::Duration, "By how much the other run's logical date is earlier."),
            key("execution_delta_secs", Shape::Number, "The same in seconds."),
            key("allowed_states", Shape::Texts, "States that end the wait well; success when absent."),
            key("failed_states", Shape::Texts, "States that fail the task."),
            key("skipped_states", Shape::Texts, "States that skip the task."),
            key("check_existence", Shape::Bool, "Whether it fails when there is no such DAG or task."),
        ],
        SENSOR,
    ],
    required: &["external_dag_id"],
};

/// The statuses that are errors.
pub(crate) const ERROR_STATUSES: std::ops::RangeInclusive<i64> = 400..=599;
