//! Functions that tasks call: where their files are looked for, and what comes along with them.

use expect_test::expect;
use model::{
    Operator,
    operator::{PythonCallable, Returns, SkipReach},
};
use serde_json::json;

use crate::support::{Memory, messages};

const FILES: &[(&str, &str)] = &[
    (
        "etl/orders.py",
        "import json\nfrom etl.common import db\nfrom . import names\nimport beside\n\ndef load(x): pass\n",
    ),
    ("etl/__init__.py", ""),
    ("etl/common/__init__.py", "from .db import connect\n"),
    ("etl/common/db.py", "import etl.orders\n\ndef connect(): pass\n"),
    ("etl/names.py", ""),
    ("etl/beside.py", ""),
    ("etl/other.py", "def nobody_asks(): pass\n"),
    ("top.py", "class Loader:\n    @staticmethod\n    def run(): pass\n"),
    ("team/near.py", "def f(): pass\n"),
    ("bad name.py", "def f(): pass\n"),
];

fn load(keys: &str) -> dag::Loaded {
    let text = format!("dag_id: x\ntasks: [{{task_id: a, {keys}}}]\n");
    dag::load("team/x.yaml", &text, &Memory::with(FILES))
}

fn callable(keys: &str) -> (PythonCallable, Vec<String>, String) {
    let loaded = load(keys);
    assert!(loaded.errors.is_empty(), "{}", messages(&loaded));
    let remarks = loaded.warnings.iter().map(ToString::to_string).collect();
    let dag = &loaded.dags[0].dag;
    let again = dag::load("team/x.yaml", &loaded.dags[0].canonical_yaml, &Memory::with(FILES));
    assert_eq!(again.dags[0].dag, *dag, "{}", loaded.dags[0].canonical_yaml);
    match &dag.tasks[0].operator {
        Operator::PythonCallable(keys) => ((**keys).clone(), dag.files.keys().cloned().collect(), remarks),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_file_brings_the_modules_of_the_folder_along_that_it_imports() {
    let (keys, files, _) = callable("operator: PythonOperator, python_callable: etl.orders.load");
    assert_eq!((keys.file.as_str(), keys.function.as_str()), ("etl/orders.py", "load"));
    let expected = [
        "etl/__init__.py",
        "etl/beside.py",
        "etl/common/__init__.py",
        "etl/common/db.py",
        "etl/names.py",
        "etl/orders.py",
    ];
    assert_eq!(files, expected);
}

#[test]
fn a_function_is_found_by_every_way_to_write_it() {
    for (keys, file, function) in [
        ("operator: python, python_callable: etl.orders.load", "etl/orders.py", "load"),
        ("operator: python_callable, python_callable: top.Loader.run", "top.py", "Loader.run"),
        ("operator: PythonOperator, python_callable: near.f", "team/near.py", "f"),
        ("operator: PythonOperator, python_callable_file: near.py, python_callable_name: f", "team/near.py", "f"),
        (
            "operator: airflow.operators.python_operator.PythonOperator, python_callable_file: etl/orders.py, \
             python_callable_name: load",
            "etl/orders.py",
            "load",
        ),
        ("operator: PythonOperator, python_callable_file: 'bad name.py', python_callable_name: f", "bad name.py", "f"),
    ] {
        let (found, _, remarks) = callable(keys);
        assert_eq!((found.file.as_str(), found.function.as_str()), (file, function), "{keys}");
        assert_eq!(remarks, "", "{keys}");
    }
}

#[test]
fn a_path_of_an_airflow_is_taken_for_a_file_of_the_folder_with_a_remark() {
    for path in ["/usr/local/airflow/dags/etl/orders.py", "$CONFIG_ROOT_DIR/x/etl/orders.py", "~/dags/etl/orders.py"] {
        let (found, _, remarks) =
            callable(&format!("operator: PythonOperator, python_callable_file: {path}, python_callable_name: load"));
        assert_eq!(found.file, "etl/orders.py");
        assert!(remarks.contains("is taken for \"etl/orders.py\""), "{remarks}");
    }
    let (_, _, remarks) =
        callable("operator: PythonOperator, python_callable_file: $DAGS/etl/orders.py, python_callable_name: load");
    assert_eq!(remarks, "", "the variable is the folder");
}

#[test]
fn arguments_and_what_the_value_decides_are_read() {
    let (keys, ..) = callable(
        "operator: PythonOperator, python_callable: near.f, op_args: [1, '{{ ds }}'], op_kwargs: {a: [2]}, \
         templates_dict: {q: '{{ ts }}'}, provide_context: true, env: {A: b}, python_bin: /opt/python",
    );
    assert_eq!(json!(keys.op_args), json!([1, "{{ ds }}"]));
    assert_eq!(json!(keys.op_kwargs), json!({"a": [2]}));
    assert_eq!(json!(keys.templates_dict), json!({"q": "{{ ts }}"}));
    for (words, returns) in [
        ("operator: BranchPythonOperator", Returns::Follow),
        ("operator: airflow.operators.python.ShortCircuitOperator", Returns::Proceed(SkipReach::AllDownstream)),
        (
            "operator: ShortCircuitOperator, ignore_downstream_trigger_rules: false",
            Returns::Proceed(SkipReach::DirectDownstream),
        ),
        ("operator: python, returns: follow", Returns::Follow),
    ] {
        assert_eq!(callable(&format!("{words}, python_callable: near.f")).0.returns, returns);
    }
}

#[test]
fn what_can_not_be_called_is_refused_with_its_place() {
    let problems: String = [
        "python_callable: f",
        "python_callable: etl.nothing.f",
        "python_callable: etl.orders.missing",
        "python_callable: near.f, python_callable_file: near.py",
        "python_callable_file: near.py",
        "python_callable_file: ../secret.py, python_callable_name: f",
        "python_callable_file: /opt/airflow/include/gone.py, python_callable_name: f",
        "python_callable_file: near.py, python_callable_name: 'f()'",
        "python_callable: near.f, op_args: {a: 1}",
        "python_callable: near.f, op_kwargs: [1]",
        "python_callable: near.f, returns: value, ignore_downstream_trigger_rules: true",
    ]
    .iter()
    .map(|keys| messages(&load(&format!("operator: PythonOperator, {keys}"))))
    .collect();
    expect![[r#"
        team/x.yaml:2:65: tasks[0].python_callable: expected module.function, with a module below the DAG folder, found the text "f"
        team/x.yaml:2:65: tasks[0].python_callable: there is neither etl/nothing.py nor etl/nothing/__init__.py below the DAG folder
        team/x.yaml:2:65: tasks[0].python_callable: file "etl/orders.py" has no function "missing"
        team/x.yaml:2:95: tasks[0].python_callable_file: python_callable and python_callable_file are both given; keep one
        team/x.yaml:2:9: tasks[0]: python_callable_name is missing
        team/x.yaml:2:70: tasks[0].python_callable_file: file "../secret.py": there is no such file below the DAG folder; write its name from there
        team/x.yaml:2:70: tasks[0].python_callable_file: file "/opt/airflow/include/gone.py": there is no such file below the DAG folder; put it there, and write its name from there, such as gone.py
        team/x.yaml:2:101: tasks[0].python_callable_name: expected the name of a function, found the text "f()"
        team/x.yaml:2:73: tasks[0].op_args: expected a list of values, found a mapping
        team/x.yaml:2:73: tasks[0].op_kwargs: expected a mapping of names to values, found a list
        team/x.yaml:2:122: tasks[0].ignore_downstream_trigger_rules: only a function that says whether to proceed has this key: returns: proceed
    "#]].assert_eq(&problems);
}

#[test]
fn files_are_looked_for_beside_the_dag_file_and_in_the_folders_that_it_names() {
    let files =
        Memory::with(&[("team/near.sql", "SELECT 1"), ("include/sql/a.sql", "SELECT 2"), ("top.sql", "SELECT 3")]);
    let text = |sql: &str, more: &str| {
        format!("dag_id: x\n{more}tasks: [{{task_id: a, operator: sql, conn_id: c, sql: {sql}}}]\n")
    };
    let named = |sql: &str, more: &str| {
        let loaded = dag::load("team/x.yaml", &text(sql, more), &files);
        match loaded.dags.first() {
            Some(compiled) => {
                let again = dag::load("team/x.yaml", &compiled.canonical_yaml, &files);
                assert_eq!(again.dags[0].content_hash, compiled.content_hash);
                compiled.dag.files.keys().cloned().collect::<String>()
            }
            None => messages(&loaded),
        }
    };
    assert_eq!(named("top.sql", ""), "top.sql");
    assert_eq!(named("near.sql", ""), "team/near.sql");
    assert!(named("a.sql", "").contains("there is no such file below the DAG folder"));
    for folder in ["include/sql", "/usr/local/airflow/include/sql", "[nothing, /opt/include/sql/]"] {
        assert_eq!(named("a.sql", &format!("template_searchpath: {folder}\n")), "include/sql/a.sql");
    }
}

#[test]
fn macros_are_values_and_no_functions() {
    let load = |macros: &str| {
        let text = format!("dag_id: x\nuser_defined_macros: {macros}\ntasks: [{{task_id: a, operator: empty}}]\n");
        dag::load("team/x.yaml", &text, &Memory::with(FILES))
    };
    let loaded = load("{bucket: s3://b, limits: {rows: [1, 2]}, dotted: not.a.module}");
    let dag = &loaded.dags[0].dag;
    assert_eq!(
        json!(dag.user_defined_macros),
        json!({"bucket": "s3://b", "limits": {"rows": [1, 2]}, "dotted": "not.a.module"})
    );
    assert_eq!(dag::load("team/x.yaml", &loaded.dags[0].canonical_yaml, &Memory::with(FILES)).dags[0].dag, *dag);
    for (macros, says) in [
        ("{f: near.f}", "this is a Python function, which a template can not call"),
        ("{a: {f: etl.orders.load}}", "this is a Python function, which a template can not call"),
        ("{a-b: 1}", "\"a-b\" is not the name of a macro"),
        ("[a]", "expected a mapping of names to values"),
    ] {
        let loaded = load(macros);
        assert!(loaded.dags.is_empty() && messages(&loaded).contains(says), "{macros}: {}", messages(&loaded));
    }
}

#[test]
fn what_a_function_is_given_can_be_expanded_and_which_one_it_is_can_not() {
    let task = "operator: PythonOperator, python_callable: etl.orders.load";
    let loaded = load(&format!("{task}, expand: {{op_args: [[1], [2]]}}"));
    assert!(loaded.errors.is_empty(), "{}", messages(&loaded));
    let of_version = &loaded.dags[0].dag.tasks[0].operator;
    let given = json!({"op_args": [2]}).as_object().unwrap().clone();
    let Operator::PythonCallable(keys) =
        dag::Expand::operator_with(of_version, &["op_args".to_owned()], &given).unwrap()
    else {
        panic!("another operator")
    };
    assert_eq!((keys.file.as_str(), keys.function.as_str(), &keys.op_args), ("etl/orders.py", "load", &vec![json!(2)]));
    let text = format!(
        "dag_id: x\ntasks:\n  - {{task_id: l, operator: bash, bash_command: x}}\n  - {{task_id: a, {task}, expand: {{op_args: l.output}}}}\n"
    );
    let loaded = dag::load("team/x.yaml", &text, &Memory::with(FILES));
    assert!(loaded.errors.is_empty(), "{}", messages(&loaded));
    let refused = [
        load("operator: PythonOperator, expand: {python_callable: [etl.orders.load, top.Loader.run]}"),
        load("operator: BranchPythonOperator, python_callable: etl.orders.load, expand: {op_args: [[1], [2]]}"),
    ];
    let refused: String = refused.iter().map(messages).collect();
    expect![[r#"
        team/x.yaml:2:57: tasks[0].expand.python_callable: all instances of a task have one python_callable; write it at the task, or below partial
        team/x.yaml:2:9: tasks[0]: a function that decides what follows it decides for the whole task, and can not be expanded; expand what follows
    "#]].assert_eq(&refused);
}
