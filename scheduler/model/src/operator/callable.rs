//! Keys of `python_callable`: a function of a file of the DAG version, called in a process.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::SkipReach;

/// Keys of `python_callable`, as Airflow's PythonOperator and its kin have them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PythonCallable {
    /// The file that holds the function, below the DAG folder; not a template.
    pub file: String,
    /// The function's name, with a class before it (`Loader.run`) when it is a method that needs no instance.
    pub function: String,
    /// What it is given by position. Texts in it are templates.
    #[serde(default)]
    pub op_args: Vec<Value>,
    /// What it is given by name, before the context. Texts in it are templates.
    #[serde(default)]
    pub op_kwargs: serde_json::Map<String, Value>,
    /// What the context has as `templates_dict`. Texts in it are templates.
    #[serde(default)]
    pub templates_dict: Option<serde_json::Map<String, Value>>,
    /// What becomes of the value that it returns.
    #[serde(default)]
    pub returns: Returns,
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

/// What the value of a function decides beside being an XCom.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Returns {
    /// Nothing (PythonOperator).
    #[default]
    Value,
    /// Which of the tasks after it run (BranchPythonOperator).
    Follow,
    /// Whether what is after it runs, and how much of it (ShortCircuitOperator).
    Proceed(SkipReach),
}
