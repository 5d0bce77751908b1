//! Instances of expanded tasks: their elements, and what they are called.

use std::collections::BTreeMap;

use link::{Assignment, Element, Given, Mapped};
use model::{AttemptEnd, EndKind, MapIndex, Operator, TaskId, TaskIdx, XComValue, operator::Bash};
use serde_json::{Value, json};

use crate::rig::{Ran, Rig};

fn bash(command: &str) -> Operator {
    Operator::Bash(Bash {
        bash_command: command.to_owned(),
        env: BTreeMap::new(),
        pass_env: Vec::new(),
        append_env: false,
        cwd: None,
        skip_on_exit_code: vec![99],
    })
}

async fn run(rig: &Rig, operator: Operator, given: Option<Given>, template: Option<&str>) -> Ran {
    let mapped = Mapped { given, map_index_template: template.map(str::to_owned), keys: Vec::new() };
    run_mapped(rig, operator, mapped).await
}

async fn run_mapped(rig: &Rig, operator: Operator, mapped: Mapped) -> Ran {
    let mut assignment = Assignment { mapped: Some(Box::new(mapped)), ..rig.assignment(operator) };
    assignment.context.map_index = MapIndex(1);
    let attempt = rig.attempt(assignment);
    let end: AttemptEnd = windlass_executor::run(&attempt, &rig.stop).await;
    rig.ran(end, &attempt.assignment)
}

/// A worker whose leader knows what the task `before` has returned.
fn rig_with(returned: Value) -> Rig {
    let mut rig = Rig::new();
    rig.leader.xcoms.insert((0, XComValue::RETURN_VALUE.to_owned()), returned);
    rig
}

/// The element of this index of what the task `before` has returned.
fn output(index: u64) -> Element {
    Element::Output { task_id: TaskId::new("before").unwrap(), task: TaskIdx(0), index }
}

#[tokio::test]
async fn an_instance_has_its_elements_as_names_and_is_called_by_its_template() {
    let rig = rig_with(json!([{"name": "x y"}, {"name": "two words"}]));
    let given = Given::Named(vec![("part".to_owned(), output(1)), ("n".to_owned(), Element::Value(json!(7)))]);
    let command = bash("echo {{ part.name }} {{ n }} {{ ti.map_index }}");
    let ran = run(&rig, command, Some(given), Some("{{ part.name }}/{{ n }}")).await;
    assert_eq!(ran.end.kind, EndKind::Success, "{}", ran.end.reason);
    assert_eq!(ran.lines("out"), ["two words 7 1"], "the element is one word of the command");
    assert_eq!(ran.end.rendered_map_index.as_deref(), Some("two words/7"));
}

#[tokio::test]
async fn the_names_of_expand_kwargs_are_those_of_the_element() {
    let rig = rig_with(json!([{"a": 1}, {"a": 2}]));
    let ran = run(&rig, bash("echo {{ a }}"), Some(Given::Kwargs(output(1))), None).await;
    assert_eq!(ran.lines("out"), ["2"]);
    assert_eq!(ran.end.rendered_map_index, None);
}

#[tokio::test]
async fn elements_that_are_gone_fail_the_attempt_with_a_sentence() {
    let rig = rig_with(json!([1]));
    let ran = run(&rig, bash("true"), Some(Given::Named(vec![("x".to_owned(), output(1))])), None).await;
    let why = "what before has returned has no element 1 any more; clear before and what follows it";
    assert_eq!((ran.end.kind, ran.end.reason.as_str()), (EndKind::Failed, why));
    let ran = run(&rig, bash("true"), None, None).await;
    let why = "what it is expanded over is gone: a task before it was cleared; clear it, too";
    assert_eq!((ran.end.kind, ran.end.reason.as_str()), (EndKind::Failed, why));
}

#[tokio::test]
async fn keys_of_the_operator_are_given_by_elements() {
    let rig = rig_with(json!([
        {"bash_command": "echo never"},
        {"bash_command": "echo {{ ds }} $WORD ${#WORD}", "env": {"WORD": "{% endraw %}{{ ds }}"}},
    ]));
    let keys = vec!["bash_command".to_owned()];
    let given = |index| Some(Given::Kwargs(output(index)));
    let mapped = Mapped { given: given(1), map_index_template: None, keys: keys.clone() };
    let ran = run_mapped(&rig, bash("expanded"), mapped).await;
    assert_eq!(ran.end.kind, EndKind::Success, "{}", ran.end.reason);
    let lines = ran.lines("out");
    assert_eq!(lines, ["{{ ds }} {% endraw %}{{ ds }} 20"], "what a task has returned is no template");

    // What stands in the file is one.
    let named = Given::Named(vec![("bash_command".to_owned(), Element::Value(json!("echo {{ ti.map_index }}")))]);
    let mapped = Mapped { given: Some(named), map_index_template: None, keys: keys.clone() };
    assert_eq!(run_mapped(&rig, bash("expanded"), mapped).await.lines("out"), ["1"]);

    let rig = rig_with(json!([{"env": {"A": "b"}}, {"bash_command": "true", "env": 7}]));
    let mapped = Mapped { given: given(0), map_index_template: None, keys: keys.clone() };
    let ran = run_mapped(&rig, bash("expanded"), mapped).await;
    assert_eq!((ran.end.kind, &*ran.end.reason), (EndKind::Failed, "its element gives no bash_command; it gives env"));
    let mapped = Mapped { given: given(1), map_index_template: None, keys };
    let ran = run_mapped(&rig, bash("expanded"), mapped).await;
    assert_eq!(ran.end.kind, EndKind::Failed);
    assert!(ran.end.reason.starts_with("env: expected a mapping"), "{}", ran.end.reason);
}

#[tokio::test]
async fn an_instance_may_have_params_of_its_own() {
    let mut rig = rig_with(json!(null));
    rig.params = json!({"region": "eu", "kept": "yes"});
    let given = Given::Named(vec![("params".to_owned(), Element::Value(json!({"region": "us"})))]);
    let ran = run(&rig, bash("echo {{ params.region }} {{ params.kept }}"), Some(given), None).await;
    assert_eq!(ran.lines("out"), ["us yes"]);
}
