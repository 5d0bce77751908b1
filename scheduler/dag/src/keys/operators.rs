//! Every operator: its names, and its own keys.

use std::sync::LazyLock;

use super::{Key, Shape, asking, docker, kafka, key, python, waiting};

/// An operator: its short name, the other names that mean it, and its own keys.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OperatorKeys {
    /// The short name.
    pub(crate) name: &'static str,
    /// Class names and paths of Airflow for the same.
    pub(crate) synonyms: &'static [&'static str],
    /// Its own keys, in tables of which other operators may have some, too.
    pub(crate) tables: &'static [&'static [Key]],
    /// The keys that it can not do without.
    pub(crate) required: &'static [&'static str],
}

impl OperatorKeys {
    /// Its own keys.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &'static Key> + use<> {
        self.tables.iter().copied().flatten()
    }

    /// Whether it has a key of this name.
    fn has(&self, name: &str) -> bool {
        self.keys().any(|key| key.name == name)
    }
}

pub(super) const ENV: Key = key("env", Shape::Environment, "Variables of its environment.");
pub(super) const PASS_ENV: Key =
    key("pass_env", Shape::Texts, "Patterns (STOCK_*) of the worker's variables that it may see.");

const SQL: &[Key] = &[
    key("conn_id", Shape::Text, "The connection to run on."),
    key("sql", Shape::Texts, "Statements, or files whose names end with .sql."),
    key("parameters", Shape::Any, "Bound parameters by name, or a template that gives them."),
    key("split_statements", Shape::Bool, "Statements are always split; false is not supported yet."),
    key("output", Shape::OneOf(&["none", "rows"]), "What becomes of the last statement's rows."),
];

/// Every operator of this version.
pub(crate) const OPERATORS: &[OperatorKeys] = &[
    OperatorKeys {
        name: "empty",
        synonyms: &[
            "EmptyOperator",
            "airflow.providers.standard.operators.empty.EmptyOperator",
            "airflow.operators.empty.EmptyOperator",
            "airflow.operators.dummy.DummyOperator",
            "airflow.operators.dummy_operator.DummyOperator",
            "airflow.operators.EmptyOperator",
            "airflow.operators.DummyOperator",
            "DummyOperator",
        ],
        tables: &[],
        required: &[],
    },
    OperatorKeys {
        name: "bash",
        synonyms: &[
            "BashOperator",
            "airflow.providers.standard.operators.bash.BashOperator",
            "airflow.operators.bash.BashOperator",
            "airflow.operators.bash_operator.BashOperator",
            "airflow.operators.BashOperator",
        ],
        tables: &[&[
            key("bash_command", Shape::Text, "The command, run by bash -c; a template."),
            ENV,
            PASS_ENV,
            key("append_env", Shape::Bool, "Whether env adds to the standard environment or replaces it."),
            key("cwd", Shape::TextOrNull, "Its working directory; a fresh one when absent."),
            key("skip_on_exit_code", Shape::ExitCodes, "Exit codes that mean skipped; 99 when absent."),
        ]],
        required: &["bash_command"],
    },
    OperatorKeys {
        name: "python",
        synonyms: &[],
        tables: &[&[
            key("script", Shape::Text, "The file that holds the code, below the DAG folder."),
            key("python", Shape::Text, "The code itself."),
            key("args", Shape::Texts, "Its arguments."),
            ENV,
            PASS_ENV,
            key("python_bin", Shape::Text, "The interpreter; the worker's python3 when absent."),
        ]],
        required: &[],
    },
    OperatorKeys {
        name: "sql",
        synonyms: &["SQLExecuteQueryOperator", "airflow.providers.common.sql.operators.sql.SQLExecuteQueryOperator"],
        tables: &[SQL],
        required: &["conn_id", "sql"],
    },
    OperatorKeys { name: "sql_check", synonyms: &[], tables: &[SQL], required: &["conn_id", "sql"] },
    OperatorKeys {
        name: "service",
        synonyms: &[],
        tables: &[&[
            key("services", Shape::Definition("services"), "The services that must be there."),
            key("ready_timeout", Shape::Duration, "How long they may make no progress; 2m when absent."),
        ]],
        required: &["services"],
    },
    docker::OPERATOR,
    OperatorKeys {
        name: "branch",
        synonyms: &[],
        tables: &[&[key("follow", Shape::Text, "A template that gives a task or group id, or a list of them.")]],
        required: &["follow"],
    },
    OperatorKeys {
        name: "short_circuit",
        synonyms: &[],
        tables: &[&[
            key("condition", Shape::Text, "A template that is true or not."),
            key(
                "ignore_downstream_trigger_rules",
                Shape::Bool,
                "Whether all tasks after it are skipped, or only the next.",
            ),
        ]],
        required: &["condition"],
    },
    waiting::HTTP_OPERATOR,
    waiting::TRIGGER_DAG_RUN,
    waiting::FILE_SENSOR,
    waiting::HTTP_SENSOR,
    waiting::SQL_SENSOR,
    waiting::EXTERNAL_TASK_SENSOR,
    kafka::PRODUCE,
    kafka::CONSUME,
    kafka::SENSOR_OPERATOR,
    kafka::TOPIC_OPERATOR,
    kafka::LAG,
    python::CALLABLE_OPERATOR,
    waiting::DATE_TIME_SENSOR,
    waiting::TIME_DELTA_SENSOR,
    OperatorKeys {
        name: "latest_only",
        synonyms: &[
            "LatestOnlyOperator",
            "airflow.providers.standard.operators.latest_only.LatestOnlyOperator",
            "airflow.operators.latest_only.LatestOnlyOperator",
            "airflow.operators.latest_only_operator.LatestOnlyOperator",
            "airflow.operators.LatestOnlyOperator",
        ],
        tables: &[],
        required: &[],
    },
    asking::APPROVAL,
    asking::CHOICE,
];

/// Airflow's operators that call a Python function, and what does the same here.
const PYTHON_INSTEAD: &[(&str, &str)] = &[
    ("BranchExternalPythonOperator", "use branch, whose template follow gives the ids"),
    ("ExternalPythonOperator", "use PythonOperator with python_bin"),
    ("PythonVirtualenvOperator", "use PythonOperator with python_bin"),
    ("PythonSensor", "use python with retries, or one of the sensors"),
];

/// What to use for an operator, or its class path, that calls a Python function.
pub(crate) fn python_instead(name: &str) -> Option<&'static str> {
    let class = name.rsplit('.').next().unwrap_or(name);
    PYTHON_INSTEAD.iter().find(|(known, _)| *known == class).map(|(_, instead)| *instead)
}

/// Operators that Windlass will have later.
pub(crate) const OPERATORS_NOT_YET: &[&str] = &["time_sensor", "kubernetes", "flink", "spark"];

/// The operator that a name or class path means.
pub(crate) fn operator(name: &str) -> Option<&'static OperatorKeys> {
    OPERATORS.iter().find(|operator| operator.name == name || operator.synonyms.contains(&name))
}

/// All keys that some operator has, each once.
pub(crate) fn operator_keys() -> &'static [Key] {
    static KEYS: LazyLock<Vec<Key>> = LazyLock::new(|| {
        let earlier_has = |index: usize, key: &Key| OPERATORS[..index].iter().any(|earlier| earlier.has(key.name));
        let keys = OPERATORS
            .iter()
            .enumerate()
            .flat_map(|(index, operator)| operator.keys().filter(move |key| !earlier_has(index, key)).copied());
        keys.collect()
    });
    &KEYS
}
