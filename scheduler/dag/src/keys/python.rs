//! The operator that calls a Python function, by the names and keys that Airflow's and dag-factory's users know.

use super::{
    OperatorKeys, Shape, key,
    operators::{ENV, PASS_ENV},
};

/// Its short name.
pub(crate) const CALLABLE: &str = "python_callable";

/// The keys that name the function. A task of operator `python` that has one of them calls that function.
pub(crate) const FUNCTION_KEYS: &[&str] = &["python_callable", "python_callable_name", "python_callable_file"];

/// Airflow's classes that let a function decide what runs after it, and whether it is a branch.
pub(crate) const BRANCH_CLASS: &str = "BranchPythonOperator";
/// See [`BRANCH_CLASS`].
pub(crate) const SHORT_CIRCUIT_CLASS: &str = "ShortCircuitOperator";

/// What its value may decide.
pub(crate) const RETURNS: &[&str] = &["value", "follow", "proceed"];

pub(super) const CALLABLE_OPERATOR: OperatorKeys = OperatorKeys {
    name: CALLABLE,
    synonyms: &[
        "PythonOperator",
        "airflow.providers.standard.operators.python.PythonOperator",
        "airflow.operators.python.PythonOperator",
        "airflow.operators.python_operator.PythonOperator",
        "airflow.operators.PythonOperator",
        "BranchPythonOperator",
        "airflow.providers.standard.operators.python.BranchPythonOperator",
        "airflow.operators.python.BranchPythonOperator",
        "airflow.operators.python_operator.BranchPythonOperator",
        "airflow.operators.BranchPythonOperator",
        "ShortCircuitOperator",
        "airflow.providers.standard.operators.python.ShortCircuitOperator",
        "airflow.operators.python.ShortCircuitOperator",
        "airflow.operators.python_operator.ShortCircuitOperator",
        "airflow.operators.ShortCircuitOperator",
    ],
    tables: &[&[
        key("python_callable", Shape::Text, "The function: module.function, a module below the DAG folder."),
        key("python_callable_file", Shape::Text, "The file that holds the function, below the DAG folder."),
        key("python_callable_name", Shape::Text, "The function's name in that file."),
        key("op_args", Shape::List, "A list of what it is given by position; texts are templates."),
        key("op_kwargs", Shape::Any, "A mapping of what it is given by name; texts are templates."),
        key("templates_dict", Shape::Any, "A mapping that the context has as templates_dict; texts are templates."),
        key("returns", Shape::OneOf(RETURNS), "Whether its value decides what runs after it; value when absent."),
        key("ignore_downstream_trigger_rules", Shape::Bool, "Of a function that says whether to proceed: how far."),
        key("provide_context", Shape::Bool, "Accepted and not used: the context is always there."),
        ENV,
        PASS_ENV,
        key("python_bin", Shape::Text, "The interpreter; the worker's python3 when absent."),
    ]],
    required: &[],
};
