//! A version's identity: what a DAG means and the files it names, nothing else.

use crate::support::{Memory, messages, one};

const DAG: &str = "dag_id: x\nschedule: '@daily'\nparams: {a: 1, b: 2}\ntasks:\n  - {task_id: t, operator: bash, bash_command: x, retries: 1}\n";

#[test]
fn comments_order_and_spelling_do_not_change_the_hash() {
    let other = "# hello\ntasks:\n- retries:   1\n  bash_command: \"x\"  # run\n  operator: BashOperator\n  task_id: t\n\
                 params: {a: 1, b: 2}\nschedule: 0 0 * * *\ncatchup: false\ndag_id: x\n";
    assert_eq!(one(other).content_hash, one(DAG).content_hash);
}

#[test]
fn every_change_of_meaning_changes_the_hash() {
    let before = one(DAG).content_hash;
    for (from, to) in
        [("bash_command: x", "bash_command: y"), ("retries: 1", "retries: 2"), ("a: 1", "a: 3"), ("@daily", "@hourly")]
            // A form asks for params in their order.
            .into_iter()
            .chain([("a: 1, b: 2", "b: 2, a: 1")])
    {
        assert_ne!(one(&DAG.replace(from, to)).content_hash, before, "{from} -> {to}");
    }
}

#[test]
fn a_changed_file_changes_the_hash_and_the_file_is_carried() {
    let text = "dag_id: x\ntasks: [{task_id: t, operator: sql, conn_id: lake, sql: ./sql/a.sql}]";
    let load = |content: &str| {
        let loaded = dag::load("x.yaml", text, &Memory::with(&[("sql/a.sql", content)]));
        assert!(loaded.errors.is_empty(), "{}", messages(&loaded));
        loaded.dags.into_iter().next().expect("one DAG")
    };
    let (one, two) = (load("SELECT 1"), load("SELECT 2"));
    assert_ne!(one.content_hash, two.content_hash);
    assert_eq!(one.canonical_yaml, two.canonical_yaml);
    assert_eq!((one.files[0].name.as_str(), &*one.files[0].bytes), ("sql/a.sql", b"SELECT 1".as_slice()));
    assert_eq!(one.dag.files["sql/a.sql"], one.files[0].sha256);
}

#[test]
fn the_file_that_defines_it_is_not_part_of_the_hash() {
    let moved = dag::load("elsewhere.yaml", DAG, &Memory::default()).dags.remove(0);
    assert_eq!(moved.content_hash, one(DAG).content_hash);
    assert_eq!(moved.fileloc, "elsewhere.yaml");
}
