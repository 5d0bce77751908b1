//! Expanded tasks: what may stand in a file, what is refused, and that it is read back as it was.

use dag::{Expand, ExpandBy, Over};
use expect_test::{Expect, expect};
use model::TaskId;

use crate::support::{load, messages, one};

const LIST: &str = "dag_id: x\ntasks:\n  - {task_id: list, operator: bash, bash_command: 'echo [1]'}\n";

fn with(task: &str) -> String {
    format!("{LIST}  - {{task_id: work, operator: bash, bash_command: 'echo {{{{ part }}}}', {task}}}\n")
}

fn by(task: &str) -> ExpandBy {
    expanded(&with(task)).by
}

/// How the second task of a file is expanded.
fn expanded(file: &str) -> Expand {
    one(file).dag.tasks[1].expand.clone().expect("it is expanded")
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
        "expand: {retries: [1], ds: [1], 'a-b': [1], part: 7}",
        expect![[r#"
            dags/x.yaml:4:79: tasks[1].expand.retries: all instances of a task have one retries; write it at the task, or below partial
            dags/x.yaml:4:93: tasks[1].expand.ds: templates have ds already; choose another name
            dags/x.yaml:4:102: tasks[1].expand.a-b: "a-b" can not be used in a template: use letters, digits and _
            dags/x.yaml:4:120: tasks[1].expand.part: expected a list, a mapping, what a task returns, such as list_parts.output or exactly {{ ti.xcom_pull(task_ids='list_parts') }}, or these joined by {zip: […]} or {concat: […]}, found the number 7
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

/// A DAG whose second task is this one.
fn second(task: &str) -> String {
    format!("{LIST}  - {{task_id: work, {task}}}\n")
}

fn keys(task: &str) -> Vec<String> {
    expanded(&second(task)).keys
}

#[test]
fn keys_of_the_operator_may_be_expanded() {
    for (task, open) in [
        ("operator: bash, expand: {bash_command: ['echo 1', 'echo {{ ds }}']}", vec!["bash_command"]),
        ("operator: bash, bash_command: env, expand: {env: [{A: 1}, {A: 2}], part: [x]}", vec!["env"]),
        ("operator: bash, expand: {bash_command: list.output}", vec!["bash_command"]),
        ("operator: bash, partial: {bash_command: env}, expand: {env: list.output}", vec!["env"]),
        ("operator: bash, expand_kwargs: [{bash_command: a, env: {A: 1}}, {bash_command: b}]", vec!["bash_command"]),
        ("operator: bash, expand_kwargs: list.output", vec!["bash_command"]),
        ("operator: bash, bash_command: env, expand_kwargs: list.output", vec![]),
        ("operator: bash, bash_command: env, expand: {params: [{a: 1}]}", vec![]),
        (
            "operator: sql, conn_id: c, expand: {sql: [select 1, select 2], parameters: [{a: 1}]}",
            vec!["sql", "parameters"],
        ),
        ("operator: python, expand: {python: ['print(1)'], args: [[a], [b]]}", vec!["python", "args"]),
        ("operator: trigger_dag_run, trigger_dag_id: x, expand: {conf: [{a: 1}, {a: 2}]}", vec!["conf"]),
        ("operator: docker, image: i, expand: {command: [a, b]}", vec!["command"]),
        ("operator: http, endpoint: /, expand: {data: list.output}", vec!["data"]),
        ("operator: file_sensor, expand: {filepath: [a, b]}", vec!["filepath"]),
    ] {
        assert_eq!(keys(task), open, "{task}");
        let first = one(&second(task));
        let again = one(&first.canonical_yaml);
        assert_eq!((&first.content_hash, &first.dag.tasks), (&again.content_hash, &again.dag.tasks), "{task}");
    }
}

#[test]
fn values_for_keys_are_tried_when_the_file_is_read() {
    let check = |task: &str, expected: Expect| expected.assert_eq(&messages(&load(&second(task))));
    check(
        "operator: bash, bash_command: env, expand: {env: [{A: 1}, 7]}",
        expect![[r#"
            dags/x.yaml:4:56: tasks[1].expand.env: expected a mapping of names to texts, found the number 7
        "#]],
    );
    check(
        "operator: bash, bash_command: a, expand: {bash_command: [b]}",
        expect![[r#"
            dags/x.yaml:4:54: tasks[1].expand: bash_command is given at the task, too; keep one
        "#]],
    );
    check(
        "operator: bash, partial: {bash_command: a}, expand: {bash_command: [b]}",
        expect![[r#"
            dags/x.yaml:4:61: tasks[1].partial.bash_command: the task is expanded over bash_command, too; keep one
        "#]],
    );
    check(
        "operator: bash, expand_kwargs: [{bash_command: a}, {env: {A: 1}}]",
        expect![[r#"
            dags/x.yaml:4:5: tasks[1]: bash_command is missing
        "#]],
    );
    check(
        "operator: bash, bash_command: a, expand: {pass_env: [x]}",
        expect![[r#"
            dags/x.yaml:4:63: tasks[1].expand.pass_env: all instances of a task have one pass_env; write it at the task, or below partial
        "#]],
    );
    check(
        "operator: python, expand: {script: list.output}",
        expect![[r#"
            dags/x.yaml:4:39: tasks[1].expand: the files of a version are known before its runs: script is given as a list in the file
        "#]],
    );
    check(
        "operator: external_task_sensor, external_dag_id: x, expand: {external_task_id: [a]}",
        expect![[r#"
            dags/x.yaml:4:82: tasks[1].expand.external_task_id: write external_task_ids, which says the same and can be expanded
        "#]],
    );
}

#[test]
fn the_operator_of_an_instance_has_its_values() {
    let task = one(&second("operator: bash, cwd: /x, expand_kwargs: list.output")).dag.tasks[1].clone();
    let open = task.expand.unwrap().keys;
    let given = serde_json::json!({"bash_command": "echo 1", "env": {"A": 1}});
    let found = dag::Expand::operator_with(&task.operator, &open, given.as_object().unwrap()).unwrap();
    let model::Operator::Bash(bash) = found else { panic!("{found:?}") };
    assert_eq!((&*bash.bash_command, bash.cwd.as_deref(), &*bash.env["A"]), ("echo 1", Some("/x"), "1"));
    let none = dag::Expand::operator_with(&task.operator, &open, &serde_json::Map::new()).unwrap_err();
    assert_eq!(none, "its element gives no bash_command; it gives nothing");
}

const GROUP: &str = "dag_id: x
task_groups: [{group_name: each, expand: {part: list.output, region: [eu, us]}}]
tasks:
  - {task_id: list, operator: bash, bash_command: 'echo [1]'}
  - {task_id: other, operator: empty}
  - {task_id: a, task_group_name: each, operator: bash, bash_command: 'echo {{ part }}', map_index_template: '{{ part }}'}
  - {task_id: b, task_group_name: each, operator: bash, bash_command: 'echo {{ region }}', dependencies: [a, other]}
  - {task_id: end, operator: empty, dependencies: [each]}
";

#[test]
fn the_tasks_of_an_expanded_group_are_expanded_together() {
    let first = one(GROUP);
    let again = one(&first.canonical_yaml);
    assert_eq!(first.dag, again.dag, "{}", first.canonical_yaml);
    assert_eq!(first.content_hash, again.content_hash);
    let task = |id: &str| first.dag.task(first.dag.position(&TaskId::new(id).unwrap()).unwrap());
    for id in ["each.a", "each.b"] {
        let expand = task(id).expand.clone().unwrap();
        assert_eq!(expand.group.as_deref(), Some("each"));
        assert_eq!(expand.sources(), [&TaskId::new("list").unwrap()]);
    }
    assert_eq!(task("each.a").expand.as_ref().unwrap().map_index_template.as_deref(), Some("{{ part }}"));
    let before =
        |id: &str| -> Vec<&str> { task(id).upstream.iter().map(|pos| first.dag.task(*pos).task_id.as_str()).collect() };
    assert_eq!(
        (before("each.a"), before("each.b"), before("end")),
        (vec!["list"], vec!["other", "each.a"], vec!["each.b"])
    );
}

#[test]
fn what_an_expanded_group_can_not_hold_is_refused() {
    let group = |more: &str| {
        let text = format!(
            "dag_id: x\ntask_groups: [{{group_name: each, expand: {{part: [1]}}}}, {{group_name: inner, parent_group_name: each}}]\ntasks:\n  - {{task_id: a, task_group_name: inner, {more}}}\n"
        );
        messages(&load(&text))
    };
    for (task, sentence) in [
        (
            "operator: bash, bash_command: x, expand: {y: [1]}",
            "its group is expanded; a task of it can not be expanded once more",
        ),
        ("operator: branch, follow: x", "its group is expanded, and a branch task decides for all that follow it"),
        (
            "operator: empty, trigger_rule: always",
            "its group is expanded, and a task of it can not have the trigger_rule always",
        ),
    ] {
        assert!(group(task).contains(sentence), "{}", group(task));
    }
    let nested = "dag_id: x\ntask_groups: [{group_name: a, expand: {part: [1]}}, {group_name: b, parent_group_name: a, expand: {y: [1], env: [2]}}]\ntasks: [{task_id: t, operator: empty}]\n";
    let told = messages(&load(nested));
    assert!(told.contains("env is a key of tasks; choose another name, and use it in their templates"), "{told}");
    let nested = nested.replace(", env: [2]", "");
    let told = messages(&load(&nested));
    assert!(told.contains("it is in the group a, which is expanded itself; expand one of them"), "{told}");
}
