//! Expanded tasks: what may stand in a file, what is refused, and that it is read back as it was.

use dag::{ExpandBy, Over};
use expect_test::{Expect, expect};
use model::TaskId;

use crate::support::{load, messages, one};

const LIST: &str = "dag_id: x\ntasks:\n  - {task_id: list, operator: bash, bash_command: 'echo [1]'}\n";

fn with(task: &str) -> String {
    format!("{LIST}  - {{task_id: work, operator: bash, bash_command: 'echo {{{{ part }}}}', {task}}}\n")
}

fn by(task: &str) -> ExpandBy {
    let dag = one(&with(task)).dag;
    dag.task(dag.position(&TaskId::new("work").unwrap()).unwrap()).expand.clone().unwrap().by
}

fn check(task: &str, expected: Expect) {
    expected.assert_eq(&messages(&load(&with(task))));
}

#[test]
fn an_output_is_written_in_several_ways_and_comes_first() {
    let output = ExpandBy::Product(vec![("part".to_owned(), Over::Output(TaskId::new("list").unwrap()))]);
    for form in [
        "list.output",
        "\"{{ ti.xcom_pull(task_ids='list') }}\"",
        "'{{ ti.xcom_pull(\"list\") }}'",
        "\"{{task_instance.xcom_pull(task_ids='list', key='return_value')}}\"",
    ] {
        assert_eq!(by(&format!("expand: {{part: {form}}}")), output, "{form}");
    }
    let dag = one(&with("expand: {part: list.output}")).dag;
    assert_eq!(dag.tasks[1].upstream, [dag::TaskPos(0)]);
}

#[test]
fn everything_that_a_task_can_be_expanded_over_is_read_back() {
    for task in [
        "expand: {part: [1, two, {three: 3}], other: {a: 1, b: 2}}",
        "expand: {part: {zip: [list.output, [1, 2]]}}, map_index_template: '{{ part }}'",
        "expand: {part: {zip: [list.output, [1, 2]], fillvalue: null}}",
        "expand: {part: {concat: [list.output, [x]]}}, max_active_tis_per_dagrun: 2",
        "expand_kwargs: [{part: 1}, {part: 2}]",
        "expand_kwargs: list.output",
        "expand: {part: [1]}, partial: {retries: 3, pool: small}",
    ] {
        let first = one(&with(task));
        let again = one(&first.canonical_yaml);
        assert_eq!((first.content_hash, first.dag.tasks), (again.content_hash, again.dag.tasks), "{task}");
    }
    assert_eq!(one(&with("expand: {part: [1]}, partial: {retries: 3}")).dag.tasks[1].retries, 3);
}

#[test]
fn what_can_not_be_expanded_is_refused_with_a_sentence() {
    check(
        "expand: {bash_command: [a], ds: [1], 'a-b': [1], part: 7}",
        expect![[r#"
            dags/x.yaml:4:79: tasks[1].expand.bash_command: bash_command is a key of the task: choose another name, such as item, and write "{{ item }}" where bash_command needs it
            dags/x.yaml:4:98: tasks[1].expand.ds: templates have ds already; choose another name
            dags/x.yaml:4:107: tasks[1].expand.a-b: "a-b" can not be used in a template: use letters, digits and _
            dags/x.yaml:4:125: tasks[1].expand.part: expected a list, a mapping, what a task returns, such as list_parts.output or exactly {{ ti.xcom_pull(task_ids='list_parts') }}, or these joined by {zip: […]} or {concat: […]}, found the number 7
        "#]],
    );
    check(
        "expand: {part: missing.output}",
        expect![[r#"
            dags/x.yaml:4:85: tasks[1].expand.part: there is no task or group "missing" in this DAG
        "#]],
    );
    check(
        "expand: {part: \"{{ ti.xcom_pull(task_ids='list', key='parts') }}\"}",
        expect![[r#"
            dags/x.yaml:4:85: tasks[1].expand.part: a task is expanded over what another one returns, not over its XCom "parts"
        "#]],
    );
    check(
        "partial: {retries: 1}, map_index_template: x",
        expect![[r#"
            dags/x.yaml:4:70: tasks[1].partial: partial stands beside expand or expand_kwargs; write its keys directly at the task
            dags/x.yaml:4:113: tasks[1].map_index_template: map_index_template names the instances of an expanded task; this one has no expand
        "#]],
    );
    let service = "dag_id: x\ntasks:\n  - {task_id: e, operator: empty}\n  - {task_id: b, operator: branch, follow: e, expand: {x: [1]}}\n  - {task_id: w, operator: empty, expand: {x: e.output}}\n";
    expect![[r#"
        dags/x.yaml:4:47: tasks[1].expand: a branch task decides for all that follow it, and can not be expanded; expand what follows
        dags/x.yaml:5:47: tasks[2].expand.x: nothing can be expanded over "e": it is empty
    "#]]
    .assert_eq(&messages(&load(service)));
}
